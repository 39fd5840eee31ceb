// SPDX-License-Identifier: Apache-2.0
//! A folder with what registries said of images: generating without a network, and the same policy
//! again later.
//!
//! `images.json` names for each image the digest of the document that its name stood for, and of
//! `/etc/passwd` and `/etc/group`; `blobs` holds documents and files under their digests. Whoever
//! gives the folder decides what the tags meant, nothing else: every byte is compared with its digest.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use casemate_image_crypt::Digest;
use casemate_image_crypt::oci::MAX_CONFIG;
use casemate_image_pull::Accounts;
use casemate_image_pull::Documents;
use casemate_image_pull::ResolvedImage;
use casemate_image_pull::resolve_documents;
use casemate_policy_generate::ImageName;
use serde::Deserialize;
use serde::Serialize;

use crate::failure::Failure;
use crate::file;

/// A folder with what registries said of images.
pub(super) struct Captured {
    folder: PathBuf,
    images: BTreeMap<String, Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    version: u32,
    images: BTreeMap<String, Entry>,
}

/// What is kept of one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// What the name stood for: an index or a manifest.
    digest: Digest,
    /// The manifest, the configuration and, if there was one, the index.
    documents: Vec<Digest>,
    /// `/etc/passwd` and `/etc/group`; absent if the layers could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    accounts: Option<[Digest; 2]>,
}

impl Captured {
    /// Opens a folder that was captured before.
    pub(super) fn open(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join(LIST);
        let text = file::read_text(&path, MAX_LIST)?;
        let wire: Wire = serde_json::from_str(&text).map_err(|error| {
            let place = format!("line {}, column {}", error.line(), error.column());
            malformed(format_args!("{}: {place}: no list of captured images", path.display()))
        })?;
        if wire.version != VERSION {
            return Err(malformed(format_args!("{}: another version", path.display())));
        }
        Ok(Self { folder: folder.to_owned(), images: wire.images })
    }

    /// Opens a folder to add to it; makes it if it is not there.
    pub(super) fn open_or_make(folder: &Path) -> Result<Self, Failure> {
        let blobs = folder.join(BLOBS);
        fs::create_dir_all(&blobs).map_err(|error| {
            let message = format!("failed to make {}: {error}", blobs.display());
            Failure::new("file", message, "check the path and its permissions")
        })?;
        if folder.join(LIST).exists() {
            return Self::open(folder);
        }
        Ok(Self { folder: folder.to_owned(), images: BTreeMap::new() })
    }

    /// What was kept of an image.
    pub(super) fn image(
        &self,
        name: &ImageName,
    ) -> Result<(ResolvedImage, Option<Accounts>), Failure> {
        let entry = self.images.get(&name.to_string()).ok_or_else(|| {
            let message = format!("image {name}: {} does not have it", self.folder.display());
            Failure::new("image", message, "capture it: casemate policy generate --capture DIR")
        })?;
        let mut documents = Documents::new();
        for digest in &entry.documents {
            documents.insert(*digest, self.read(digest)?.into());
        }
        let resolved = resolve_documents(entry.digest, &documents).map_err(|error| {
            Failure::coded(error.code(), &error).about(format_args!("image {name}"))
        })?;
        let accounts = match &entry.accounts {
            None => None,
            Some([passwd, group]) => Some(Accounts::new(self.read(passwd)?, self.read(group)?)),
        };
        Ok((resolved, accounts))
    }

    /// Keeps what a registry said.
    pub(super) fn keep(
        &mut self,
        name: &ImageName,
        resolved: &ResolvedImage,
        accounts: Option<&Accounts>,
    ) -> Result<(), Failure> {
        for (digest, bytes) in &resolved.documents {
            self.write(digest, bytes)?;
        }
        let accounts = match accounts {
            None => None,
            Some(accounts) => {
                let files = [accounts.passwd(), accounts.group()];
                let digests = files.map(Digest::of);
                for (digest, bytes) in digests.iter().zip(files) {
                    self.write(digest, bytes)?;
                }
                Some(digests)
            }
        };
        let documents = resolved.documents.keys().copied().collect();
        let entry = Entry { digest: resolved.digest, documents, accounts };
        self.images.insert(name.to_string(), entry);
        Ok(())
    }

    /// Writes the list, last, so that what it names is there.
    pub(super) fn finish(self) -> Result<(), Failure> {
        let wire = Wire { version: VERSION, images: self.images };
        let text = serde_json::to_string_pretty(&wire)
            .map_err(|error| Failure::new("internal", error, "report this"))?;
        file::write(Some(&self.folder.join(LIST)), &format!("{text}\n"))
    }

    fn read(&self, digest: &Digest) -> Result<Vec<u8>, Failure> {
        let path = self.path(digest);
        let max = u64::try_from(MAX_CONFIG).unwrap_or(u64::MAX);
        let bytes = file::read(&path, max)?;
        if Digest::of(&bytes) != *digest {
            return Err(malformed(format_args!("{} is not what its name says", path.display())));
        }
        Ok(bytes)
    }

    fn write(&self, digest: &Digest, bytes: &[u8]) -> Result<(), Failure> {
        file::write_bytes(&self.path(digest), bytes)
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(BLOBS).join(digest.to_hex())
    }
}

fn malformed(message: std::fmt::Arguments<'_>) -> Failure {
    Failure::new("offline", message, "capture the images again")
}

const VERSION: u32 = 1;
const LIST: &str = "images.json";
const BLOBS: &str = "blobs";
/// Most bytes of the list.
const MAX_LIST: u64 = 4 << 20;
