// SPDX-License-Identifier: Apache-2.0
//! The guest image folder as the launcher reads it.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use casemate_boot_formats::ovmf::{MAX_FIRMWARE_SIZE, Ovmf};
use casemate_boot_formats::sev_hashes::{KernelHashes, MAX_COMMAND_LINE};

use crate::config::VcpuCount;
use crate::error::Error;

/// A folder with `firmware.fd`, `kernel`, `initramfs`, `cmdline.txt` and, for guests with several
/// vCPUs, `cmdline-smp.txt`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestImage {
    /// The firmware.
    pub firmware: PathBuf,
    /// The kernel.
    pub kernel: PathBuf,
    /// The initial file system.
    pub initramfs: PathBuf,
    /// The kernel command line, printable ASCII.
    pub cmdline: String,
}

/// The SEV kernel-hashes table and where the firmware looks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HashTable {
    pub(crate) address: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) firmware_size: u64,
}

impl GuestImage {
    /// Reads the command line for so many vCPUs and checks that the other files exist.
    ///
    /// # Errors
    ///
    /// [`Error::File`] or [`Error::GuestImage`].
    pub fn open(folder: &Path, vcpus: VcpuCount) -> Result<Self, Error> {
        let cmdline = if vcpus == VcpuCount::ONE { "cmdline.txt" } else { "cmdline-smp.txt" };
        let image = Self {
            firmware: folder.join("firmware.fd"),
            kernel: folder.join("kernel"),
            initramfs: folder.join("initramfs"),
            cmdline: read_cmdline(&folder.join(cmdline))?,
        };
        for file in [&image.firmware, &image.kernel, &image.initramfs] {
            open(file)?;
        }
        Ok(image)
    }

    /// The table that makes the firmware accept exactly these files.
    pub(crate) fn hash_table(&self) -> Result<HashTable, Error> {
        let firmware = read_capped(&self.firmware, MAX_FIRMWARE_SIZE)?;
        let refuse = |path: &Path, reason: String| Error::GuestImage { path: path.into(), reason };
        let ovmf =
            Ovmf::parse(&firmware).map_err(|error| refuse(&self.firmware, error.to_string()))?;
        let address =
            ovmf.hash_table_address().map_err(|error| refuse(&self.firmware, error.to_string()))?;
        let of_cmdline = KernelHashes::of(&[], &[], self.cmdline.as_bytes())
            .map_err(|error| refuse(&self.kernel, error.to_string()))?;
        let hashes = KernelHashes {
            kernel: sha256_of_file(&self.kernel)?,
            initrd: sha256_of_file(&self.initramfs)?,
            ..of_cmdline
        };
        let bytes = hashes.to_table().to_vec();
        Ok(HashTable { address, bytes, firmware_size: ovmf.image_size() })
    }
}

fn read_cmdline(path: &Path) -> Result<String, Error> {
    let bytes = read_capped(path, MAX_COMMAND_LINE)?;
    let printable = bytes.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    match String::from_utf8(bytes) {
        Ok(text) if printable => Ok(text),
        _ => Err(Error::GuestImage {
            path: path.to_owned(),
            reason: "the command line is not one line of printable ASCII".to_owned(),
        }),
    }
}

fn read_capped(path: &Path, cap: usize) -> Result<Vec<u8>, Error> {
    let limit = u64::try_from(cap).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    open(path)?.take(limit).read_to_end(&mut bytes).map_err(|source| Error::File {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    if bytes.len() > cap {
        let reason = format!("the file has more than {cap} bytes");
        return Err(Error::GuestImage { path: path.to_owned(), reason });
    }
    Ok(bytes)
}

/// Streams, so that the shim never holds kernel and initramfs in memory.
fn sha256_of_file(path: &Path) -> Result<[u8; 32], Error> {
    let mut file = open(path)?;
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => context.update(buffer.get(..n).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => {
                return Err(Error::File { action: "read", path: path.to_owned(), source });
            }
        }
    }
    let mut digest = [0; 32];
    digest.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    Ok(digest)
}

fn open(path: &Path) -> Result<File, Error> {
    File::open(path).map_err(|source| Error::File { action: "open", path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(cmdline: &[u8]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in ["firmware.fd", "kernel", "initramfs"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        std::fs::write(folder.path().join("cmdline.txt"), cmdline).unwrap();
        folder
    }

    fn open(folder: &Path) -> Result<GuestImage, Error> {
        GuestImage::open(folder, VcpuCount::ONE)
    }

    #[test]
    fn takes_the_command_line_as_it_is() {
        let folder = folder(b"console=ttyS0 quiet ");
        assert_eq!(open(folder.path()).unwrap().cmdline, "console=ttyS0 quiet ");
    }

    #[test]
    fn refuses_command_lines_that_would_change_on_the_way() {
        for bad in [b"a\n".as_slice(), b"a\0b", b"\xff", &[b'a'; MAX_COMMAND_LINE + 1]] {
            let folder = folder(bad);
            let error = open(folder.path()).unwrap_err();
            assert!(matches!(error, Error::GuestImage { .. }), "{error}");
        }
    }

    #[test]
    fn several_vcpus_have_a_command_line_of_their_own() {
        let folder = folder(b"quiet acpi=off");
        let several = VcpuCount::new(2).unwrap();
        let error = GuestImage::open(folder.path(), several).unwrap_err();
        assert!(error.to_string().contains("cmdline-smp.txt"), "{error}");
        std::fs::write(folder.path().join("cmdline-smp.txt"), b"quiet").unwrap();
        assert_eq!(GuestImage::open(folder.path(), several).unwrap().cmdline, "quiet");
        assert_eq!(open(folder.path()).unwrap().cmdline, "quiet acpi=off");
    }

    #[test]
    fn names_the_missing_file() {
        let folder = folder(b"quiet");
        std::fs::remove_file(folder.path().join("initramfs")).unwrap();
        let error = open(folder.path()).unwrap_err();
        assert!(error.to_string().contains("initramfs"), "{error}");
    }

    #[test]
    fn firmware_without_a_place_for_the_table_is_refused() {
        // E1: such firmware would boot any kernel.
        let folder = folder(b"quiet");
        std::fs::write(folder.path().join("firmware.fd"), vec![0; 8192]).unwrap();
        let error = open(folder.path()).unwrap().hash_table().unwrap_err();
        assert!(matches!(error, Error::GuestImage { .. }), "{error}");
    }

    #[test]
    fn hashes_files_in_pieces_as_the_table_demands() {
        let folder = folder(b"quiet");
        let kernel = vec![7; 200_000];
        std::fs::write(folder.path().join("kernel"), &kernel).unwrap();
        let hashes = KernelHashes::of(&kernel, b"initramfs", b"quiet").unwrap();
        assert_eq!(sha256_of_file(&folder.path().join("kernel")).unwrap(), hashes.kernel);
        assert_eq!(sha256_of_file(&folder.path().join("initramfs")).unwrap(), hashes.initrd);
    }
}
