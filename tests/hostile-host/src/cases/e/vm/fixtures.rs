// SPDX-License-Identifier: Apache-2.0
//! What the guest image's own boot tests are given, from this program's place.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use casemate_guest_image::BuildInputs;
use casemate_guest_image::Kind;
use casemate_guest_image::inputs::DebianInputs;

/// There is nothing to boot with; the case says so.
pub(crate) fn skip<T>(reason: &str) -> Option<T> {
    eprintln!("cannot boot: {reason}");
    None
}

/// The packages that the set-up fetched and unpacked.
pub(crate) fn debian() -> Option<DebianInputs> {
    let exe = std::env::current_exe().ok()?;
    let target = exe.ancestors().find(|dir| dir.join("CACHEDIR.TAG").is_file())?;
    DebianInputs::open(&target.join("casemate/inputs")).ok().flatten()
}

/// The inputs of an image whose agent is another program.
pub(crate) fn build_inputs<'a>(
    debian: &'a DebianInputs,
    agent: &'a Path,
    kind: Kind<'a>,
) -> BuildInputs<'a> {
    BuildInputs {
        firmware: &debian.firmware,
        kernel: &debian.kernel,
        modules: &debian.modules,
        agent,
        lock: debian.lock.clone(),
        kind,
        crates: &[],
    }
}

/// Compiles the probe of the guest image's tests, a static program, into a folder.
pub(crate) fn compile_probe(folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../measured-boot/guest-image/tests/probe/init.rs");
    let program = folder.join("probe");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let status = Command::new(rustc)
        .args(["--edition", "2024", "-O", "-C", "panic=abort", "-C", "strip=symbols"])
        .args(["--target", "x86_64-unknown-linux-gnu", "-C", "target-feature=+crt-static", "-o"])
        .args([&program, &source])
        .status()
        .unwrap();
    assert!(status.success(), "rustc did not compile the probe");
    program
}
