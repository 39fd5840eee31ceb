// SPDX-License-Identifier: Apache-2.0
//! Boots a virtual machine whose PID 1 runs the container runtime through its cases.
#![expect(clippy::unwrap_used, reason = "a step of a test that fails, fails the test")]

#[path = "vm/initramfs.rs"]
mod initramfs;
#[path = "vm/machine.rs"]
mod machine;

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use initramfs::Initramfs;

/// Fewer cases than this did not all run.
const CASES: usize = 37;

#[test]
fn containers_in_a_virtual_machine() {
    let needs = match Needs::find() {
        Ok(needs) => needs,
        Err(missing) if std::env::var_os("CASEMATE_REQUIRE").is_some_and(|v| v == "1") => {
            panic!("required, but {missing}")
        }
        Err(missing) => {
            eprintln!("skipped: {missing}");
            return;
        }
    };
    let scratch = tempfile::tempdir().unwrap();
    let init = build_init(scratch.path());
    let initramfs = scratch.path().join("initramfs");
    let mut archive = Initramfs::default();
    for directory in ["bin", "dev", "lib", "lib/modules", "mnt", "proc", "run", "sys", "tmp"] {
        archive.directory(directory);
    }
    archive.file("init", 0o755, &std::fs::read(init).unwrap());
    archive.file("bin/busybox", 0o755, &std::fs::read(&needs.busybox).unwrap());
    archive.file("lib/modules/overlay.ko.xz", 0o644, &std::fs::read(&needs.overlay).unwrap());
    archive.file("lib/modules/load-order", 0o644, b"overlay.ko.xz\n");
    std::fs::write(&initramfs, archive.finish()).unwrap();

    let files =
        machine::Files { firmware: &needs.firmware, kernel: &needs.kernel, initramfs: &initramfs };
    let lines = machine::boot(&files);
    let with = |prefix: &str| lines.iter().filter(|l| l.starts_with(prefix)).collect::<Vec<_>>();
    let failed: Vec<_> = with("CASE ").into_iter().filter(|l| l.contains(" FAIL ")).collect();
    assert_eq!(with("ABORT "), Vec::<&String>::new());
    assert_eq!(failed, Vec::<&String>::new());
    assert_eq!(with("PLAN "), [&format!("PLAN {CASES}")]);
    assert_eq!(with("CASE ").len(), CASES);
    assert_eq!(with("END").len(), 1, "the guest did not come to the end");
}

/// What the test takes from the machine it runs on.
struct Needs {
    firmware: PathBuf,
    kernel: PathBuf,
    overlay: PathBuf,
    busybox: PathBuf,
}

impl Needs {
    fn find() -> Result<Self, String> {
        let inputs = target().join("casemate/inputs");
        let directory = std::env::var_os("CASEMATE_KERNEL_DIR")
            .map_or_else(|| inputs.join("kernel"), PathBuf::from);
        let kernel = find(&directory, &|name| name.starts_with("vmlinuz-"));
        let overlay = find(&directory, &|name| name == "overlay.ko.xz");
        let (Some(kernel), Some(overlay)) = (kernel, overlay) else {
            return Err(format!(
                "{} holds no kernel package with overlay.ko.xz; build a guest image once or set \
                 CASEMATE_KERNEL_DIR",
                directory.display()
            ));
        };
        let Some(firmware) = find(&inputs.join("firmware"), &|name| name == FIRMWARE) else {
            return Err(format!(
                "{} holds no {FIRMWARE}; build a guest image once",
                inputs.display()
            ));
        };
        let busybox = PathBuf::from("/bin/busybox");
        if !busybox.exists() {
            return Err("/bin/busybox is missing; install busybox-static".to_owned());
        }
        if Command::new(machine::QEMU).arg("--version").output().is_err() {
            return Err(format!("{} is missing; install qemu-system-x86", machine::QEMU));
        }
        Ok(Self { firmware, kernel, overlay, busybox })
    }
}

/// The first file below `directory` whose name fits.
fn find(directory: &Path, fits: &dyn Fn(&str) -> bool) -> Option<PathBuf> {
    for entry in std::fs::read_dir(directory).ok()?.flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            if let Some(found) = find(&path, fits) {
                return Some(found);
            }
        } else if entry.file_name().to_str().is_some_and(fits) {
            return Some(path);
        }
    }
    None
}

/// Builds the static PID 1, without its symbols.
fn build_init(scratch: &Path) -> PathBuf {
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--target", TARGET, "-p", env!("CARGO_PKG_NAME")])
        .args(["--bin", "vm-containers-init"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .env("CARGO_TARGET_DIR", target())
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env("LIBSECCOMP_LINK_TYPE", "static")
        .env("LIBSECCOMP_LIB_PATH", "/usr/lib/x86_64-linux-gnu")
        .status()
        .unwrap();
    assert!(status.success(), "the guest's program does not build");
    let built = target().join(TARGET).join("debug/vm-containers-init");
    let stripped = scratch.join("init");
    let status = Command::new("strip").arg("-o").arg(&stripped).arg(&built).status();
    // Only to boot faster: binutils comes with every compiler, but need not.
    if status.is_ok_and(|s| s.success()) { stripped } else { built }
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from)
}

const FIRMWARE: &str = "OVMF.amdsev.fd";
const TARGET: &str = "x86_64-unknown-linux-gnu";
