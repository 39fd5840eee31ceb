// SPDX-License-Identifier: Apache-2.0
//! A guest image that was read back whole.

use std::fs::File;
use std::io;
use std::io::Read;
use std::num::NonZeroU16;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::path::PathBuf;

use casemate_boot_formats::sev_hashes::KernelHashes;
use casemate_boot_formats::sev_hashes::KernelHashesError;

use crate::Manifest;
use crate::PartRecord;

/// The measured parts of a guest image, equal to what its manifest says.
#[derive(Debug)]
pub struct GuestImage {
    /// What the image consists of.
    pub manifest: Manifest,
    /// The firmware image.
    pub firmware: Vec<u8>,
    /// The kernel, as the guest gets it.
    pub kernel: Vec<u8>,
    /// The initramfs.
    pub initramfs: Vec<u8>,
    /// The command line of guests with one virtual CPU, without NUL or newline.
    pub cmdline: Vec<u8>,
    /// The command line of guests with several virtual CPUs.
    pub cmdline_smp: Vec<u8>,
}

impl GuestImage {
    /// Reads a guest image.
    ///
    /// # Errors
    ///
    /// A part that is absent, too large or not what the manifest says: see [`ReadError`].
    pub fn read(folder: &Path) -> Result<Self, ReadError> {
        let manifest = read_manifest(folder)?;
        let part = |name: &'static str| {
            let bytes = read_capped(&folder.join(name), MAX_PART_SIZE)?;
            if manifest.parts.get(name) == Some(&PartRecord::of(&bytes)) {
                Ok(bytes)
            } else {
                Err(ReadError::Changed { part: name })
            }
        };
        Ok(Self {
            firmware: part(Manifest::FIRMWARE)?,
            kernel: part(Manifest::KERNEL)?,
            initramfs: part(Manifest::INITRAMFS)?,
            cmdline: part(Manifest::CMDLINE)?,
            cmdline_smp: part(Manifest::CMDLINE_SMP)?,
            manifest,
        })
    }

    /// The measured files, by name.
    #[must_use]
    pub fn parts(&self) -> [(&'static str, &[u8]); 5] {
        [
            (Manifest::CMDLINE_SMP, &self.cmdline_smp),
            (Manifest::CMDLINE, &self.cmdline),
            (Manifest::FIRMWARE, &self.firmware),
            (Manifest::INITRAMFS, &self.initramfs),
            (Manifest::KERNEL, &self.kernel),
        ]
    }

    /// The command line of a guest with so many virtual CPUs.
    #[must_use]
    pub fn cmdline_for(&self, vcpus: NonZeroU16) -> &[u8] {
        if vcpus.get() == 1 { &self.cmdline } else { &self.cmdline_smp }
    }

    /// The digests that the firmware of a guest with so many virtual CPUs will demand.
    ///
    /// # Errors
    ///
    /// A command line that no kernel reads whole.
    pub fn hashes(&self, vcpus: NonZeroU16) -> Result<KernelHashes, KernelHashesError> {
        KernelHashes::of(&self.kernel, &self.initramfs, self.cmdline_for(vcpus))
    }
}

/// Why a guest image cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// A file cannot be read.
    #[error("failed to read {}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A named pipe, device or folder lies in a file's place.
    #[error("{} is no regular file", path.display())]
    NotRegular {
        /// Its path.
        path: PathBuf,
    },
    /// A file is larger than any part of a guest image.
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// Its path.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// The manifest is not what this version writes.
    #[error("failed to read the manifest {}", path.display())]
    Manifest {
        /// Its path.
        path: PathBuf,
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },
    /// The manifest is of another version or names other parts.
    #[error("the manifest {} is not of format {}", path.display(), Manifest::FORMAT)]
    UnknownFormat {
        /// Its path.
        path: PathBuf,
    },
    /// A part is not what the manifest says.
    #[error("the part {part} of the guest image is not what its manifest says")]
    Changed {
        /// Name of the part.
        part: &'static str,
    },
}

pub(crate) fn read_manifest(folder: &Path) -> Result<Manifest, ReadError> {
    let path = folder.join(Manifest::FILE);
    let bytes = read_capped(&path, Manifest::MAX_SIZE)?;
    let manifest: Manifest = serde_json::from_slice(&bytes)
        .map_err(|source| ReadError::Manifest { path: path.clone(), source })?;
    if manifest.format != Manifest::FORMAT || !manifest.parts.keys().eq(Manifest::PARTS) {
        return Err(ReadError::UnknownFormat { path });
    }
    Ok(manifest)
}

pub(crate) fn read_capped(path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    let failed = |source| ReadError::File { path: path.to_owned(), source };
    // A named pipe that nobody writes to would keep the reader waiting; a device has no end.
    let no_wait = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(no_wait).open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(ReadError::NotRegular { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    if u64::try_from(bytes.len()).is_ok_and(|size| size <= limit) {
        Ok(bytes)
    } else {
        Err(ReadError::TooLarge { path: path.to_owned(), limit })
    }
}

/// Largest accepted part, in bytes.
pub(crate) const MAX_PART_SIZE: u64 = 256 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join(Manifest::FILE);
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        for path in [pipe.as_path(), folder.path(), Path::new("/dev/zero")] {
            let error = read_capped(path, 10).unwrap_err();
            assert!(matches!(error, ReadError::NotRegular { .. }), "{error}");
        }
        assert!(matches!(GuestImage::read(folder.path()), Err(ReadError::NotRegular { .. })));
        assert!(matches!(crate::verify(folder.path()), Err(ReadError::NotRegular { .. })));
    }
}
