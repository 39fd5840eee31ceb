// SPDX-License-Identifier: Apache-2.0
//! The lock: which packages the guest image is made of, to the byte.

use std::path::Path;

use serde::Deserialize;
use serde::Serialize;

use super::FetchError;
use crate::ImageTee;
use crate::Sha256;
use crate::image::read_capped;

/// The packages that a release of the guest image is made of.
///
/// Two builds from one lock have the same firmware, kernel and modules, wherever the packages came
/// from. The lock is committed beside this crate; `casemate guest-image lock` writes a newer one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Version of this format: [`Lock::FORMAT`].
    pub format: u32,
    /// The firmware's package.
    pub firmware: LockedPackage,
    /// The kernel's package.
    pub kernel: LockedPackage,
}

/// One Debian package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedPackage {
    /// Its name.
    pub package: String,
    /// Its version.
    pub version: String,
    /// Its architecture, `all` or `amd64`.
    pub architecture: String,
    /// Digest of the package file.
    pub sha256: Sha256,
}

impl Lock {
    /// The only version of the format.
    pub const FORMAT: u32 = 1;
    /// Largest accepted lock, in bytes.
    pub const MAX_SIZE: u64 = 64 * 1024;

    /// The lock of this release for a TEE.
    ///
    /// # Errors
    ///
    /// None in practice: a test reads it.
    pub fn of_this_release(tee: ImageTee) -> Result<Self, FetchError> {
        Self::parse(match tee {
            ImageTee::Snp => include_bytes!("../../inputs.lock.json"),
            ImageTee::Tdx => include_bytes!("../../inputs-tdx.lock.json"),
        })
    }

    /// Reads a lock file.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or is no lock.
    pub fn read(path: &Path) -> Result<Self, FetchError> {
        let bytes =
            read_capped(path, Self::MAX_SIZE).map_err(|source| FetchError::Record { source })?;
        Self::parse(&bytes)
    }

    /// Parses a lock.
    ///
    /// # Errors
    ///
    /// Anything but a lock of this format.
    pub fn parse(bytes: &[u8]) -> Result<Self, FetchError> {
        let lock: Self =
            serde_json::from_slice(bytes).map_err(|source| FetchError::Lock { source })?;
        if lock.format != Self::FORMAT {
            return Err(FetchError::LockFormat);
        }
        Ok(lock)
    }

    /// The lock as a file.
    #[must_use]
    pub fn to_json(&self) -> String {
        format!("{:#}\n", serde_json::json!(self))
    }

    /// The TEE that the firmware is for.
    #[must_use]
    pub fn tee(&self) -> ImageTee {
        let is_locked = |tee: &ImageTee| self.firmware.package == tee.firmware_package();
        ImageTee::ALL.into_iter().find(is_locked).unwrap_or(ImageTee::Snp)
    }

    /// Release of the kernel, as its modules' folder is named.
    #[must_use]
    pub fn kernel_release(&self) -> &str {
        let name = self.kernel.package.as_str();
        name.strip_prefix("linux-image-").unwrap_or(name)
    }
}

impl LockedPackage {
    /// Name of the package file, as apt names it.
    #[must_use]
    pub fn file_name(&self) -> String {
        let version = self.version.replace(':', "%3a");
        format!("{}_{version}_{}.deb", self.package, self.architecture)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locks_of_this_release_are_some() {
        for tee in ImageTee::ALL {
            let lock = Lock::of_this_release(tee).unwrap();
            assert_eq!(lock.tee(), tee);
            assert!(lock.kernel_release().ends_with("-cloud-amd64"), "{lock:?}");
            assert!(lock.firmware.file_name().ends_with("_all.deb"), "{lock:?}");
            assert_eq!(Lock::parse(lock.to_json().as_bytes()).unwrap(), lock);
        }
    }

    #[test]
    fn every_tee_has_the_same_kernel() {
        let [snp, tdx] = ImageTee::ALL.map(|tee| Lock::of_this_release(tee).unwrap());
        assert_eq!(snp.kernel, tdx.kernel);
        assert_ne!(snp.firmware, tdx.firmware);
    }

    #[test]
    fn refuses_other_formats_and_unknown_fields() {
        let text = Lock::of_this_release(ImageTee::Snp).unwrap().to_json();
        let other = text.replace("\"format\": 1", "\"format\": 2");
        assert!(matches!(Lock::parse(other.as_bytes()), Err(FetchError::LockFormat)));
        let more = text.replace("\"format\": 1", "\"more\": 1, \"format\": 1");
        assert!(matches!(Lock::parse(more.as_bytes()), Err(FetchError::Lock { .. })));
        assert!(matches!(Lock::parse(b""), Err(FetchError::Lock { .. })));
    }

    #[test]
    fn epochs_are_written_as_apt_writes_them() {
        let mut package = Lock::of_this_release(ImageTee::Snp).unwrap().firmware;
        package.version = "1:2-3".to_owned();
        assert_eq!(package.file_name(), format!("{}_1%3a2-3_all.deb", package.package));
    }
}
