// SPDX-License-Identifier: Apache-2.0
//! Users and groups of an image, for a `USER` that is a name.

use std::io::Read;

use casemate_image_crypt::Digest;
use casemate_image_crypt::LayerKey;
use casemate_image_crypt::oci::Descriptor;
use casemate_policy::User;
use casemate_unpack::Compression;
use casemate_unpack::FoundFile;
use casemate_unpack::Limits;
use casemate_unpack::find_files;
use tokio::task::spawn_blocking;

use crate::blob;
use crate::build_step;
use crate::error::PullError;
use crate::keys::KeySource;
use crate::keys::LayerKeys;
use crate::progress::Progress;
use crate::puller::Puller;
use crate::puller::compression;
use crate::puller::consume;
use crate::resolve::ImageSource;
use crate::resolve::ResolvedImage;

/// `/etc/passwd` and `/etc/group` of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accounts {
    passwd: Vec<u8>,
    group: Vec<u8>,
}

impl Accounts {
    /// Accounts from the content of the two files; empty if the image has none.
    #[must_use]
    pub fn new(passwd: Vec<u8>, group: Vec<u8>) -> Self {
        Self { passwd, group }
    }

    /// The content of `/etc/passwd`.
    #[must_use]
    pub fn passwd(&self) -> &[u8] {
        &self.passwd
    }

    /// The content of `/etc/group`.
    #[must_use]
    pub fn group(&self) -> &[u8] {
        &self.group
    }

    /// Resolves a `USER` of an image configuration as containerd does: `user`, `uid`, `user:group`,
    /// `uid:gid`, a mixture, or empty for root. The groups are the primary one and, after it, those
    /// that list the user.
    ///
    /// # Errors
    ///
    /// [`AccountError`] if a name is unknown or the text malformed.
    ///
    /// # Security
    ///
    /// C14: of several lines with one name the first counts, and lines that are malformed do not.
    pub fn user(&self, text: &str) -> Result<User, AccountError> {
        let text = if text.is_empty() { "0" } else { text };
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        if user.is_empty() || group.is_some_and(|g| g.is_empty() || g.contains(':')) {
            return Err(AccountError::Malformed { text: text.to_owned() });
        }
        let account = match number(user) {
            Some(uid) => self.accounts().find(|a| a.uid == uid),
            None => self.accounts().find(|a| a.name == user.as_bytes()),
        };
        let uid = number(user)
            .or(account.map(|a| a.uid))
            .ok_or_else(|| AccountError::Unknown { kind: "user", name: user.to_owned() })?;
        let gid = match group {
            None => account.map_or(0, |a| a.gid),
            Some(group) => number(group)
                .or_else(|| self.groups().find(|g| g.name == group.as_bytes()).map(|g| g.gid))
                .ok_or_else(|| AccountError::Unknown { kind: "group", name: group.to_owned() })?,
        };
        let mut groups = vec![gid];
        let name = account.map(|a| a.name);
        for group in self.groups() {
            let is_member =
                name.is_some_and(|n| group.name != n && group.members().any(|m| m == n));
            if is_member && !groups.contains(&group.gid) {
                groups.push(group.gid);
            }
        }
        Ok(User { uid, gid, groups })
    }

    fn accounts(&self) -> impl Iterator<Item = Account<'_>> {
        lines(&self.passwd).filter_map(|line| {
            let mut fields = line.split(|b| *b == b':');
            let (name, _, uid, gid) =
                (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
            Some(Account { name, uid: number_in(uid)?, gid: number_in(gid)? })
        })
    }

    fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        lines(&self.group).filter_map(|line| {
            let mut fields = line.split(|b| *b == b':');
            let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
            Some(Group { name, gid: number_in(gid)?, list: fields.next().unwrap_or_default() })
        })
    }
}

impl Puller {
    /// Reads the accounts of an image from its layers, topmost first and no more than needed: a layer
    /// is not fetched if its build step put files into one place that is not `/etc`, and no layer
    /// below the one that has both files.
    ///
    /// The build steps are the image's own word. One that lies gives other users than the image's
    /// files would; whoever asks puts the answer into a policy, where it stands for everybody to read.
    ///
    /// # Errors
    ///
    /// [`PullError`] if a layer cannot be fetched, decrypted or read.
    pub async fn accounts(
        &self,
        image: &ResolvedImage,
        keys: &dyn KeySource,
    ) -> Result<Accounts, PullError> {
        let keys = LayerKeys::get(image, keys).await?.into_keys();
        let layers = image.manifest.layers().zip(&image.config.diff_ids).zip(keys);
        let mut found = [None, None];
        for (index, (((descriptor, kind), diff_id), key)) in
            layers.enumerate().collect::<Vec<_>>().into_iter().rev()
        {
            if image.config.steps.get(index).is_some_and(|step| build_step::leaves_etc_alone(step))
            {
                continue;
            }
            let search = Search {
                descriptor: descriptor.clone(),
                compression: compression(kind.compression),
                diff_id: *diff_id,
                key,
                limits: Limits { file_bytes: MAX_FILE, ..self.limits },
            };
            let files = self.search(&image.source, search).await?;
            for ((slot, file), path) in found.iter_mut().zip(files).zip(PATHS) {
                match file {
                    _ if slot.is_some() => {}
                    FoundFile::Absent => {}
                    FoundFile::Hidden => *slot = Some(Vec::new()),
                    FoundFile::Content(content) => *slot = Some(content),
                    FoundFile::Special => return Err(PullError::AccountFile { path }),
                }
            }
            if found.iter().all(Option::is_some) {
                break;
            }
        }
        let [passwd, group] = found.map(Option::unwrap_or_default);
        Ok(Accounts { passwd, group })
    }

    async fn search(
        &self,
        source: &ImageSource,
        search: Search,
    ) -> Result<Vec<FoundFile>, PullError> {
        let found = match source {
            ImageSource::Registry(reference) => {
                let (sender, reader) = blob::channel();
                let descriptor = search.descriptor.clone();
                let progress = Progress::default();
                let fetch = blob::fetch(&self.client, reference, &descriptor, &progress, sender);
                tokio::join!(spawn_blocking(move || search.run(reader)), fetch).0
            }
            ImageSource::Nowhere => return Err(PullError::NoLayers),
            ImageSource::Layout(layout) => {
                let file = layout
                    .open_blob(&search.descriptor.digest)
                    .map_err(|source| PullError::Layout { source })?;
                spawn_blocking(move || search.run(file)).await
            }
        };
        found.map_err(|_| PullError::Thread)?
    }
}

/// A user cannot be resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AccountError {
    /// The name is not in the image.
    #[error("image has no {kind} {name:?}")]
    Unknown {
        /// `user` or `group`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// The text is not of a form that names a user.
    #[error("user {text:?} is malformed")]
    Malformed {
        /// The text.
        text: String,
    },
}

/// A layer to look into.
struct Search {
    descriptor: Descriptor,
    compression: Compression,
    diff_id: Digest,
    key: Option<LayerKey>,
    limits: Limits,
}

impl Search {
    fn run(self, input: impl Read) -> Result<Vec<FoundFile>, PullError> {
        let Self { descriptor, compression, diff_id, key, limits } = self;
        let find = |layer: &mut dyn Read| {
            find_files(layer, compression, diff_id.as_bytes(), &PATHS, limits)
        };
        blob::verified(input, &descriptor, |blob| consume(blob, &descriptor, key, find))
    }
}

/// A line of `/etc/passwd`.
#[derive(Clone, Copy)]
struct Account<'a> {
    name: &'a [u8],
    uid: u32,
    gid: u32,
}

/// A line of `/etc/group`.
struct Group<'a> {
    name: &'a [u8],
    gid: u32,
    list: &'a [u8],
}

impl<'a> Group<'a> {
    fn members(&self) -> impl Iterator<Item = &'a [u8]> {
        self.list.split(|b| *b == b',')
    }
}

fn lines(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    file.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).filter(|l| !l.is_empty())
}

fn number_in(field: &[u8]) -> Option<u32> {
    number(std::str::from_utf8(field).ok()?)
}

/// A uid or gid; what is larger than containerd's limit counts as a name.
fn number(text: &str) -> Option<u32> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then_some(text)?.parse().ok().filter(|n| *n <= MAX_ID)
}

/// The files, in the order of [`Accounts`]' fields.
const PATHS: [&str; 2] = ["etc/passwd", "etc/group"];
/// Largest file of accounts in bytes.
const MAX_FILE: u64 = 1 << 20;
/// Largest uid and gid.
const MAX_ID: u32 = (1 << 31) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n\
            # a comment\n\
            web:x:33:34:web:/:/bin/false\n\
            web:x:0:0:again:/:/bin/sh\n\
            bad:x:x:0::/:\n\
            short:x:5\n\
            77:x:78:79::/:\n";
        let group =
            "root:x:0:\nweb:x:34:web\nadm:x:4:syslog,web\nlogs:x:5:web,root\ntwice:x:4:web\n";
        Accounts::new(passwd.into(), group.into())
    }

    #[track_caller]
    fn check(text: &str, uid: u32, gid: u32, groups: &[u32]) {
        let expected = User { uid, gid, groups: groups.to_vec() };
        assert_eq!(accounts().user(text), Ok(expected), "{text}");
    }

    #[test]
    fn users_and_groups_by_name_and_number() {
        check("", 0, 0, &[0, 5]);
        check("root", 0, 0, &[0, 5]);
        check("web", 33, 34, &[34, 4, 5]);
        check("33", 33, 34, &[34, 4, 5]);
        check("web:adm", 33, 4, &[4, 5]);
        check("web:9", 33, 9, &[9, 4, 5]);
        check("1000", 1000, 0, &[0]);
        check("1000:1000", 1000, 1000, &[1000]);
        check("1000:web", 1000, 34, &[34]);
    }

    // C14: duplicate names, names that are numbers, malformed lines.
    #[test]
    fn tricks_have_no_effect() {
        check("web", 33, 34, &[34, 4, 5]); // not the second line, which is root
        check("77", 77, 0, &[0]); // a number is a number
        for text in ["bad", "short", "nobody", "2147483648", "-1", "web2"] {
            let name = text.to_owned();
            assert_eq!(accounts().user(text), Err(AccountError::Unknown { kind: "user", name }));
        }
        let name = "nogroup".to_owned();
        let unknown = AccountError::Unknown { kind: "group", name };
        assert_eq!(accounts().user("web:nogroup"), Err(unknown));
        for text in [":", "web:", ":web", "web:adm:x"] {
            let text = text.to_owned();
            assert_eq!(accounts().user(&text), Err(AccountError::Malformed { text }));
        }
    }
}
