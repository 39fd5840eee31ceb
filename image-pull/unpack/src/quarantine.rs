// SPDX-License-Identifier: Apache-2.0
//! A directory for what is not verified yet.

use std::fs;
use std::fs::Permissions;
use std::io;
use std::io::Read;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;

use crate::apply::apply_archive;
use crate::decompress::Compression;
use crate::error::UnpackError;
use crate::tree::Tree;

/// What an image may take unpacked, all layers together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Entries of all archives.
    pub entries: u64,
    /// Bytes of all archives, decompressed, headers and padding included.
    pub bytes: u64,
    /// Bytes of one file, holes included.
    pub file_bytes: u64,
}

impl Default for Limits {
    /// Enough for the largest images in use; in a guest the size of its file system comes first.
    fn default() -> Self {
        Self { entries: 2_000_000, bytes: 128 << 30, file_bytes: 64 << 30 }
    }
}

/// A root file system being made from layers, lowest first.
///
/// Its methods take and return it by value: whoever has one knows that every layer in it had the
/// right diff_id. It is removed when dropped.
///
/// # Security
///
/// The directory is the caller's parent directory's child `.<name>.quarantine`, mode 0700.
#[derive(Debug)]
pub struct Quarantine {
    place: Place,
    left: Limits,
    limits: Limits,
    skipped_devices: u64,
}

/// A finished root file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rootfs {
    /// Where it is.
    pub path: PathBuf,
    /// Device nodes that were in the layers and were not made.
    pub skipped_devices: u64,
}

impl Quarantine {
    /// Makes a quarantine for what will be at `destination`, on the same file system.
    ///
    /// # Errors
    ///
    /// [`UnpackError::Place`] if `destination` exists, is unpacked to already, or has no parent
    /// directory.
    pub fn create(destination: &Path, limits: Limits) -> Result<Self, UnpackError> {
        let place = Place::create(destination)?;
        Ok(Self { place, left: limits, limits, skipped_devices: 0 })
    }

    /// Applies the next layer: reads `layer` to its end, decompresses and unpacks it over the layers
    /// before, and compares the archive's SHA-256 with `diff_id`.
    ///
    /// # Errors
    ///
    /// [`UnpackError`] if the layer is malformed, over a limit, cannot be unpacked or differs from
    /// `diff_id`. The quarantine is gone then.
    pub fn apply(
        mut self,
        layer: &mut dyn Read,
        compression: Compression,
        diff_id: &[u8; 32],
    ) -> Result<Self, UnpackError> {
        let tree = self.place.tree("open")?;
        let used = apply_archive(&tree, layer, compression, diff_id, self.left, self.limits)?;
        self.left.entries = self.left.entries.saturating_sub(used.entries);
        self.left.bytes = self.left.bytes.saturating_sub(used.bytes);
        self.skipped_devices = self.skipped_devices.saturating_add(used.devices);
        Ok(self)
    }

    /// Gives the root file system its final name.
    ///
    /// # Errors
    ///
    /// [`UnpackError::Place`] if it cannot be moved there.
    pub fn release(self) -> Result<Rootfs, UnpackError> {
        let destination = self.place.destination.clone();
        // Fails if something that is not an empty directory came to be there.
        fs::rename(self.place.root(), &destination)
            .map_err(|source| self.place.failed("move the root file system to", source))?;
        Ok(Rootfs { path: destination, skipped_devices: self.skipped_devices })
    }
}

/// The quarantine's directories; removed when dropped.
#[derive(Debug)]
struct Place {
    directory: PathBuf,
    destination: PathBuf,
}

impl Place {
    fn create(destination: &Path) -> Result<Self, UnpackError> {
        let failed = |source| UnpackError::Place {
            path: destination.to_owned(),
            action: "make a quarantine for",
            source,
        };
        if destination.symlink_metadata().is_ok() {
            return Err(failed(io::ErrorKind::AlreadyExists.into()));
        }
        let name =
            destination.file_name().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(".quarantine");
        let directory = destination.with_file_name(hidden);
        fs::create_dir(&directory).map_err(failed)?;
        // From here on dropping removes it.
        let place = Self { directory, destination: destination.to_owned() };
        let set_mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode));
        set_mode(&place.directory, 0o700).map_err(failed)?;
        for path in [place.root(), place.trash()] {
            fs::create_dir(path).map_err(failed)?;
        }
        set_mode(&place.root(), 0o755).map_err(failed)?;
        Ok(place)
    }

    fn tree(&self, action: &'static str) -> Result<Tree, UnpackError> {
        Tree::open(&self.root(), &self.trash()).map_err(|source| self.failed(action, source))
    }

    fn root(&self) -> PathBuf {
        self.directory.join("rootfs")
    }

    fn trash(&self) -> PathBuf {
        self.directory.join("trash")
    }

    fn failed(&self, action: &'static str, source: io::Error) -> UnpackError {
        UnpackError::Place { path: self.destination.clone(), action, source }
    }
}

impl Drop for Place {
    /// Best effort: an error cannot be told from here, and what stays behind is in a directory that
    /// nobody takes for a root file system.
    fn drop(&mut self) {
        if let Ok(tree) = self.tree("remove") {
            let _ = tree.clear();
        }
        let _ = fs::remove_dir(self.root());
        let _ = fs::remove_dir(self.trash());
        let _ = fs::remove_dir(&self.directory);
    }
}
