// SPDX-License-Identifier: Apache-2.0
//! Loads the kernel modules of the initramfs, in the order that its builder wrote down.

use std::fs::File;
use std::io;
use std::io::Write;
use std::path::Path;

use rustix::io::Errno;

use crate::boot::initdata_device::read_capped;

/// Loads every module of `load-order` in `directory`. A kernel with everything built in has none.
pub(crate) fn load_all(directory: &Path) -> Result<(), ModuleError> {
    let order = directory.join("load-order");
    let text = match read_capped(&order, MAX_ORDER) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Err(ModuleError::Order),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(ModuleError::Read { source }),
    };
    for name in parse(&text)? {
        let load = File::open(directory.join(name))
            .map_err(|e| e.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error))
            .and_then(|file| rustix::system::finit_module(&file, c"", flags(name)));
        match load {
            Ok(()) | Err(Errno::EXIST) => {}
            // No such device here; whoever needs it will say so.
            Err(Errno::NODEV) => tracing::info!(module = name, "no device"),
            Err(source) => return Err(ModuleError::Load { name: name.to_owned(), source }),
        }
    }
    Ok(())
}

/// Ends the loading of code into the kernel, until the guest ends.
///
/// # Security
///
/// What runs in the kernel is what was measured: no module is loaded after these, on request of a
/// container or of a device that the host adds (E4), and no other kernel is started.
pub(crate) fn close_kernel(settings: &Path) -> Result<(), ModuleError> {
    for name in ["modules_disabled", "kexec_load_disabled"] {
        let setting = File::options().write(true).open(settings.join(name));
        match setting.and_then(|mut file| file.write_all(b"1\n")) {
            Ok(()) => {}
            // A kernel without modules or kexec has nothing to close.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(ModuleError::Close { name, source }),
        }
    }
    Ok(())
}

fn parse(text: &[u8]) -> Result<Vec<&str>, ModuleError> {
    let text = std::str::from_utf8(text).map_err(|_| ModuleError::Order)?;
    text.lines()
        .map(|name| {
            let plain =
                name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
            let module = name.ends_with(".ko") || name.ends_with(".ko.xz");
            if plain && module { Ok(name) } else { Err(ModuleError::Order) }
        })
        .collect()
}

fn flags(name: &str) -> std::ffi::c_int {
    if name.ends_with(".xz") { MODULE_INIT_COMPRESSED_FILE } else { 0 }
}

/// A module of the initramfs cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ModuleError {
    #[error("failed to read the list of kernel modules")]
    Read {
        #[source]
        source: io::Error,
    },
    #[error("the list of kernel modules is malformed")]
    Order,
    #[error("failed to set kernel.{name}")]
    Close {
        name: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("failed to load the kernel module {name}")]
    Load {
        name: String,
        #[source]
        source: Errno,
    },
}

/// finit_module(2).
const MODULE_INIT_COMPRESSED_FILE: std::ffi::c_int = 4;
/// Largest list in bytes.
const MAX_ORDER: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_sets_what_there_is_and_fails_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        close_kernel(&folder.path().join("absent")).unwrap();
        std::fs::write(folder.path().join("modules_disabled"), "0\n").unwrap();
        close_kernel(folder.path()).unwrap();
        let text = std::fs::read_to_string(folder.path().join("modules_disabled")).unwrap();
        assert_eq!(text, "1\n");
        std::fs::create_dir(folder.path().join("kexec_load_disabled")).unwrap();
        let error = close_kernel(folder.path()).unwrap_err();
        assert!(matches!(error, ModuleError::Close { name: "kexec_load_disabled", .. }));
    }

    #[test]
    fn reads_one_name_a_line() {
        let names = parse(b"virtio_blk.ko.xz\noverlay.ko\n").unwrap();
        assert_eq!(names, ["virtio_blk.ko.xz", "overlay.ko"]);
        assert_eq!((flags(names[0]), flags(names[1])), (4, 0));
    }

    #[test]
    fn refuses_paths_and_other_files() {
        for text in ["../x.ko", "a/b.ko", "x.so", "", "a b.ko", "\u{e9}.ko"] {
            let text = format!("{text}\n");
            assert!(matches!(parse(text.as_bytes()), Err(ModuleError::Order)), "{text:?}");
        }
        assert!(matches!(parse(b"\xff.ko"), Err(ModuleError::Order)));
    }

    #[test]
    fn no_list_means_no_modules_and_a_missing_module_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        load_all(directory.path()).unwrap();
        std::fs::write(directory.path().join("load-order"), "absent.ko\n").unwrap();
        assert!(matches!(load_all(directory.path()), Err(ModuleError::Load { .. })));
    }
}
