// SPDX-License-Identifier: Apache-2.0
//! The few file operations that the kernel's text interfaces need, as a seam for tests.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

/// Access to files. Tests put a model of the kernel in the place of the kernel.
pub(crate) trait Files: fmt::Debug + Send + Sync {
    /// Creates a folder that must not exist.
    fn make_folder(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty folder.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;

    /// Reads a file whole; `None` if it has more than `cap` bytes.
    fn read(&self, path: &Path, cap: usize) -> io::Result<Option<Vec<u8>>>;

    /// Writes `bytes` into a file that must exist, in one system call, and closes it.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
}

/// The files of this machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kernel;

impl Files for Kernel {
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn read(&self, path: &Path, cap: usize) -> io::Result<Option<Vec<u8>>> {
        let limit = u64::try_from(cap).unwrap_or(u64::MAX).saturating_add(1);
        let mut bytes = Vec::new();
        File::open(path)?.take(limit).read_to_end(&mut bytes)?;
        Ok((bytes.len() <= cap).then_some(bytes))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(path)?;
        // These interfaces take a value whole or not at all: a second call would be another value.
        match file.write(bytes)? {
            written if written == bytes.len() => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_up_to_the_cap_and_not_a_byte_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("value");
        fs::write(&path, [7; 10]).unwrap();
        assert_eq!(Kernel.read(&path, 10).unwrap(), Some(vec![7; 10]));
        assert_eq!(Kernel.read(&path, 9).unwrap(), None);
        // An endless file ends at the cap.
        assert_eq!(Kernel.read(Path::new("/dev/zero"), 1000).unwrap(), None);
        let missing = Kernel.read(&folder.path().join("other"), 10).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn writes_existing_files_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("value");
        let missing = Kernel.write(&path, b"1").unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        assert!(!path.exists());
        fs::write(&path, "").unwrap();
        Kernel.write(&path, b"1").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"1");
    }

    #[test]
    fn folders_are_created_once_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("entry");
        Kernel.make_folder(&path).unwrap();
        let again = Kernel.make_folder(&path).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        Kernel.remove_folder(&path).unwrap();
        assert!(!path.exists());
    }
}
