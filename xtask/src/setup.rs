// SPDX-License-Identifier: Apache-2.0
//! Installs and fetches what building, demo and tests need on a bare Debian 12.
//!
//! Programs that Debian would start as services (containerd, the registry) or that clash with other
//! packages (runc) are unpacked below the build folder and not installed.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use casemate_guest_image::ImageTee;
use casemate_guest_image::inputs;
use casemate_guest_image::inputs::Archive;
use casemate_guest_image::inputs::FetchError;
use casemate_guest_image::inputs::Lock;

use crate::step;
use crate::step::Steps;
use crate::step::quiet;

/// How much is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// What building and the demo need.
    Demo,
    /// The tests' oracles too.
    Test,
}

/// Sets up; what is there already is left alone.
pub(crate) fn run(steps: &Steps, scope: Scope) -> anyhow::Result<()> {
    ensure_room(scope)?;
    let tests: &[&str] = if scope == Scope::Test { TEST_PACKAGES } else { &[] };
    let wanted = PACKAGES.iter().chain(tests).copied();
    let missing: Vec<&str> = wanted.filter(|name| !is_installed(name)).collect();
    if !missing.is_empty() {
        steps.step(&format!("install Debian packages: {}", missing.join(" ")), || {
            apt(&["update"])?;
            let mut args = vec!["install", "--yes", "--no-install-recommends"];
            args.extend(&missing);
            apt(&args)
        })?;
    }
    let lists = step::build_folder().join("apt");
    if !has_new_qemu() {
        steps.step("install QEMU from bookworm-backports", || {
            let suites = ["bookworm", "bookworm-updates", "bookworm-backports"];
            let archive = Archive::open(&lists.join("backports"), &suites)?;
            archive.install("bookworm-backports", &["qemu-system-x86"])?;
            Ok(())
        })?;
    }
    for (folder, suite, packages) in UNPACKED {
        let place = step::build_folder().join(folder);
        if !is_complete(&place, packages) {
            steps.step(&format!("fetch {} ({suite})", packages.join(", ")), || {
                let archive = Archive::open(&lists.join(suite), &[suite])?;
                for package in *packages {
                    archive.unpack(package, &place)?;
                }
                mark_complete(&place, packages)
            })?;
        }
    }
    if scope == Scope::Test {
        fetch_newer_qemu(steps, &lists)?;
    }
    let inputs = step::build_folder().join("inputs");
    steps.step("fetch the guest's kernel and firmware", || guest_inputs(&inputs))?;
    if scope == Scope::Test && !is_complete(&step::build_folder().join("venv"), ORACLES) {
        steps.step("install the tests' oracles from PyPI", python_oracles)?;
    }
    Ok(())
}

/// A full disk ends a build after half an hour in words that do not name it.
fn ensure_room(scope: Scope) -> anyhow::Result<()> {
    let used = step::target();
    std::fs::create_dir_all(&used).with_context(|| format!("make {}", used.display()))?;
    // What an earlier run left counts as room: it is built over.
    if step::build_folder().exists() {
        return Ok(());
    }
    let disk = nix::sys::statvfs::statvfs(&used).context("ask for the free space")?;
    let free = disk.blocks_available().saturating_mul(disk.fragment_size()) / GIB;
    let wanted = match scope {
        Scope::Demo => ROOM_FOR_DEMO_GIB,
        Scope::Test => ROOM_FOR_TESTS_GIB,
    };
    anyhow::ensure!(
        free >= wanted,
        "{} lies on a disk with {free} GiB free; a first run wants {wanted}: make room, or let \
         `target` be a link to a folder on another disk",
        used.display()
    );
    Ok(())
}

/// Kernel and firmware as locked. Where the archive has moved on, the newest ones are locked for this
/// machine, and whoever reads the output knows that digests differ from the release's.
fn guest_inputs(folder: &Path) -> anyhow::Result<()> {
    let own = step::own_lock();
    let lock = if own.exists() { Lock::read(&own)? } else { Lock::of_this_release(ImageTee::Snp)? };
    match inputs::prepare(folder, &lock) {
        Ok(_) => Ok(()),
        Err(moved_on @ FetchError::NotOffered { .. }) => {
            let newest =
                inputs::lock_newest(folder, ImageTee::Snp).context("lock the newest packages")?;
            std::fs::write(&own, newest.to_json()).context("write a lock")?;
            eprintln!(
                "note: {moved_on}: the guest images are built from the offered ones, and their \
                 digests are not the release's ({})",
                own.display()
            );
            inputs::prepare(folder, &newest).map(drop).context("fetch the inputs")
        }
        Err(error) => Err(error).context("fetch the inputs"),
    }
}

/// The QEMU whose parser knows TDX. It needs a newer C library than Debian 12 has, so it comes with
/// all its libraries and is started by the loader among them.
fn fetch_newer_qemu(steps: &Steps, lists: &Path) -> anyhow::Result<()> {
    let place = step::build_folder().join("tools-qemu-11");
    let packages = ["qemu-system-x86"];
    if is_complete(&place, &packages) {
        return Ok(());
    }
    steps.step("fetch QEMU 11 with its libraries (sid)", || {
        let archive = Archive::open(&lists.join("sid"), &["sid"])?;
        archive.unpack_with_dependencies("qemu-system-x86", &place)?;
        let program = place.join("qemu-system-x86_64");
        std::fs::write(&program, NEWER_QEMU).context("write the start script of QEMU")?;
        std::fs::set_permissions(&program, Permissions::from_mode(0o755))
            .context("make the start script of QEMU executable")?;
        let mut version = Command::new(&program);
        version.arg("--version");
        quiet(version).context("the unpacked QEMU does not start")?;
        mark_complete(&place, &packages)
    })
}

fn apt(args: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new("apt-get");
    command.arg("-q").args(args).env("DEBIAN_FRONTEND", "noninteractive");
    quiet(command).map(drop)
}

fn python_oracles() -> anyhow::Result<()> {
    let venv = step::build_folder().join("venv");
    let mut make = Command::new("python3");
    make.args(["-m", "venv", "--clear"]).arg(&venv);
    quiet(make)?;
    let mut pip = Command::new(venv.join("bin/pip"));
    pip.args(["install", "--quiet", "--no-cache-dir", "--disable-pip-version-check"]).args(ORACLES);
    quiet(pip)?;
    mark_complete(&venv, ORACLES)
}

fn is_installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat=${db:Status-Status}", package]);
    quiet(query).is_ok_and(|status| status == "installed")
}

/// QEMU 9.1 or newer knows `sev-snp-guest`.
fn has_new_qemu() -> bool {
    let mut version = Command::new("qemu-system-x86_64");
    version.arg("--version");
    let Ok(text) = quiet(version) else { return false };
    let number = text.split_whitespace().nth(3).unwrap_or_default();
    let mut parts = number.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (9, 1)
}

fn is_complete(place: &Path, packages: &[&str]) -> bool {
    std::fs::read_to_string(place.join(STAMP)).is_ok_and(|text| text == packages.join("\n"))
}

fn mark_complete(place: &Path, packages: &[&str]) -> anyhow::Result<()> {
    std::fs::write(place.join(STAMP), packages.join("\n")).context("write the stamp")
}

const GIB: u64 = 1 << 30;

/// The target folder after a demo is 3 GiB.
const ROOM_FOR_DEMO_GIB: u64 = 5;

/// The target folder after all tests is 8 GiB, and the second build of the guest in another folder
/// wants 1 more for a while.
const ROOM_FOR_TESTS_GIB: u64 = 11;

const STAMP: &str = ".unpacked";

/// Starts the unpacked QEMU with its own loader, libraries and firmware files.
const NEWER_QEMU: &str = "\
#!/bin/sh
here=$(dirname -- \"$(readlink -f -- \"$0\")\")
exec \"$here/usr/lib64/ld-linux-x86-64.so.2\" --library-path \"$here/usr/lib/x86_64-linux-gnu\" \\
    \"$here/usr/bin/qemu-system-x86_64\" -L \"$here/usr/share/qemu\" -L \"$here/usr/share/seabios\" \"$@\"
";

const PACKAGES: &[&str] = &[
    "build-essential",
    "busybox-static",
    "cpio",
    "iproute2",
    "libelf-dev",
    "libseccomp-dev",
    "openssl",
    "pkg-config",
    "protobuf-compiler",
    "python3-venv",
    "skopeo",
    "umoci",
    "zstd",
];

/// A browser shows the page of `casemate verify --html`: 64 MB to fetch, 220 MB unpacked.
const TEST_PACKAGES: &[&str] = &["chromium-headless-shell"];

const UNPACKED: &[(&str, &str, &[&str])] = &[
    (
        "tools",
        "bookworm",
        &["containerd", "containernetworking-plugins", "docker-registry", "runc"],
    ),
    ("tools-containerd-1.7", "trixie", &["containerd"]),
];

/// From PyPI, pinned.
const ORACLES: &[&str] = &["regopy==1.5.2", "sev-snp-measure==0.0.13"];
