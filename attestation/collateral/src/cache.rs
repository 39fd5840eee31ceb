// SPDX-License-Identifier: Apache-2.0
//! Things kept on disk, with the marks and waits that outlive a process.
//!
//! One file per item, one for marks and waits; each is replaced as a whole, under a lock that all
//! processes share.

mod state;

use std::fs;
use std::fs::File;
use std::io;
use std::io::Read as _;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

use crate::answer::Answer;
use crate::item::Item;

pub(crate) use state::State;

/// A folder that keeps what was fetched. Its content is not trusted: it is checked again whenever
/// it is read.
///
/// # Security
///
/// Marks are believed, for nobody signs them: who can write to the folder can forget them. It is
/// made for its owner alone.
#[derive(Debug, Clone)]
pub struct Cache {
    dir: PathBuf,
}

/// An item as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// When it was fetched, seconds since 1970.
    pub(crate) fetched: u64,
    pub(crate) answer: Answer,
}

impl Cache {
    /// Opens a folder, and makes it if it is not there.
    ///
    /// # Errors
    ///
    /// [`CacheError::File`] when it cannot be made.
    pub fn open(dir: &Path) -> Result<Self, CacheError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(CacheError::file("make", dir))?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// An item, unchecked; `None` when there is none, or no well-formed one.
    pub(crate) fn read(&self, item: &Item) -> Result<Option<Entry>, CacheError> {
        let path = self.path(item);
        let bytes = match read_capped(&path, MAX_ENTRY_BYTES) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(None),
            Err(error @ CacheError::TooLarge { .. }) => {
                tracing::warn!(%item, %error, "a kept item is left out");
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let entry = serde_json::from_slice(&bytes);
        if let Err(error) = &entry {
            tracing::warn!(%item, %error, "a kept item is malformed and left out");
        }
        Ok(entry.ok())
    }

    /// Every item of which there is a file.
    pub(crate) fn items(&self) -> Result<Vec<Item>, CacheError> {
        let failed = || CacheError::file("list", &self.dir);
        let mut items = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed())?.take(MAX_FILES) {
            let name = entry.map_err(failed())?.file_name();
            let item = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)?.parse().ok());
            items.extend(item);
        }
        items.sort_by_key(Item::to_string);
        Ok(items)
    }

    /// Marks and waits.
    pub(crate) fn state(&self) -> Result<State, CacheError> {
        let path = self.dir.join(STATE);
        match read_capped(&path, MAX_STATE_BYTES)? {
            Some(bytes) => serde_json::from_slice(&bytes)
                .map_err(|source| CacheError::State { path, source }),
            None => Ok(State::default()),
        }
    }

    /// Changes marks and waits and, if `change` returns one, an item: alone, and on disk when this
    /// returns. The state is written first, so that no item is kept whose mark is not.
    pub(crate) fn update<E: From<CacheError>>(
        &self,
        item: &Item,
        change: impl FnOnce(&mut State) -> Result<Option<Entry>, E>,
    ) -> Result<(), E> {
        let lock = self.lock()?;
        let before = self.state()?;
        let mut state = before.clone();
        let entry = change(&mut state)?;
        if state != before {
            self.replace(STATE, &encode(&state))?;
        }
        if let Some(entry) = entry {
            self.keep(item, &entry)?;
        }
        drop(lock);
        Ok(())
    }

    /// Writes an item, unless the folder is full of others: who can ask for the certificates of
    /// many chips cannot fill the disk.
    fn keep(&self, item: &Item, entry: &Entry) -> Result<(), CacheError> {
        let failed = CacheError::file("list", &self.dir);
        let files = fs::read_dir(&self.dir).map_err(failed)?.take(MAX_FILES).count();
        if files >= MAX_FILES && !self.path(item).exists() {
            tracing::warn!(%item, dir = %self.dir.display(), "the folder is full; not kept");
            return Ok(());
        }
        self.replace(&format!("{item}{SUFFIX}"), &encode(entry))
    }

    /// Held until dropped.
    fn lock(&self) -> Result<File, CacheError> {
        let path = self.dir.join(LOCK);
        let failed = || CacheError::file("lock", &path);
        let file = File::options().create(true).append(true).open(&path).map_err(failed())?;
        file.lock().map_err(failed())?;
        Ok(file)
    }

    /// Writes a file so that it is there as a whole or not at all. Only under the lock.
    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), CacheError> {
        let (path, new) = (self.dir.join(name), self.dir.join(format!("{name}{NEW}")));
        let failed = || CacheError::file("write", &path);
        let mut file = File::create(&new).map_err(failed())?;
        file.write_all(bytes).map_err(failed())?;
        file.sync_all().map_err(failed())?;
        fs::rename(&new, &path).map_err(failed())?;
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(failed())
    }

    fn path(&self, item: &Item) -> PathBuf {
        self.dir.join(format!("{item}{SUFFIX}"))
    }
}

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// A file or the folder cannot be read or written.
    #[error("failed to {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file of marks is malformed. It is not started anew by itself: that would forget what was
    /// seen, and let an old list pass for new.
    #[error("{} is malformed; removing it forgets which numbers were seen", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A file is larger than what is written.
    #[error("{} is too large", path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
    },
}

impl CacheError {
    fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }
}

fn read_capped(path: &Path, cap: u64) -> Result<Option<Vec<u8>>, CacheError> {
    let failed = || CacheError::file("read", path);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed()(error)),
    };
    let mut bytes = Vec::new();
    file.take(cap.saturating_add(1)).read_to_end(&mut bytes).map_err(failed())?;
    match u64::try_from(bytes.len()) {
        Ok(read) if read <= cap => Ok(Some(bytes)),
        _ => Err(CacheError::TooLarge { path: path.to_owned() }),
    }
}

/// JSON of types that have nothing JSON cannot say.
fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

const STATE: &str = "state";
const LOCK: &str = "lock";
const SUFFIX: &str = ".json";
const NEW: &str = ".new";
/// A list of the largest size, twice in base64.
const MAX_ENTRY_BYTES: u64 = 4 << 20;
/// Some ten thousand marks.
const MAX_STATE_BYTES: u64 = 4 << 20;
/// Most files of a folder.
const MAX_FILES: usize = 16_384;

#[cfg(test)]
mod tests;
