// SPDX-License-Identifier: Apache-2.0
//! What this host can really do, found out by asking the hardware and by trying.

use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::fs::OpenOptions;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

use crate::config::{Acceleration, TeeKind};
use crate::error::Error;
use crate::qemu::SnpHost;
use crate::spawn::{Child, Plan};

/// What this host says of memory encryption, if it can run SNP guests.
///
/// # Errors
///
/// [`Error::TeeMissing`], which says what is missing.
pub fn snp() -> Result<SnpHost, Error> {
    let missing = |reason: &str| Error::TeeMissing { tee: TeeKind::Snp, reason: reason.to_owned() };
    let Some(leaf) = cpuid(ENCRYPTION_LEAF).filter(|leaf| leaf.0 & SNP_BIT != 0) else {
        return Err(missing("the processor has no SEV-SNP"));
    };
    if !module_parameter("/sys/module/kvm_amd/parameters/sev_snp") {
        return Err(missing("the host kernel has SEV-SNP off (kvm_amd.sev_snp)"));
    }
    device("/dev/sev", TeeKind::Snp)?;
    device("/dev/kvm", TeeKind::Snp)?;
    let field = |value: u32| u8::try_from(value & 0x3f).unwrap_or_default();
    Ok(SnpHost { cbitpos: field(leaf.1), reduced_phys_bits: field(leaf.1 >> 6) })
}

/// Whether this host can run TDs.
///
/// # Errors
///
/// [`Error::TeeMissing`], which says what is missing.
pub fn tdx() -> Result<(), Error> {
    if !module_parameter("/sys/module/kvm_intel/parameters/tdx") {
        let reason = "processor or host kernel have no TDX (kvm_intel.tdx)".to_owned();
        return Err(Error::TeeMissing { tee: TeeKind::Tdx, reason });
    }
    device("/dev/kvm", TeeKind::Tdx)
}

/// KVM where it really runs a Linux guest, TCG elsewhere.
///
/// `/dev/kvm` alone says little: some environments emulate KVM in software and execute real-mode
/// and simple long-mode code, but no kernel. So the guest image's own kernel is started on KVM
/// without a root file system, and only its panic about that proves KVM.
pub async fn acceleration(qemu: &Path, kernel: &Path) -> Acceleration {
    if !has_virtualization() || OpenOptions::new().read(true).write(true).open(KVM).is_err() {
        return Acceleration::Tcg;
    }
    if runs_kernel(qemu, kernel, Acceleration::Kvm, TRIAL_LIMIT).await {
        return Acceleration::Kvm;
    }
    tracing::warn!("KVM exists but does not run the guest's kernel; using TCG");
    Acceleration::Tcg
}

/// Whether the kernel comes to the end of its own start within the limit.
pub async fn runs_kernel(
    qemu: &Path,
    kernel: &Path,
    acceleration: Acceleration,
    limit: Duration,
) -> bool {
    let outcome = tokio::time::timeout(limit, trial(qemu, kernel, acceleration)).await;
    matches!(outcome, Ok(Ok(true)))
}

const KVM: &str = "/dev/kvm";
/// A kernel on KVM needs well under a second.
const TRIAL_LIMIT: Duration = Duration::from_secs(8);
/// CPUID leaf of the memory encryption features; EBX holds the positions.
const ENCRYPTION_LEAF: u32 = 0x8000_001f;
const SNP_BIT: u32 = 1 << 4;
const SVM_BIT: u32 = 1 << 2;
const VMX_BIT: u32 = 1 << 5;

/// Whether the processor shows AMD's or Intel's virtualization.
fn has_virtualization() -> bool {
    let vmx = cpuid_full(1).is_some_and(|leaf| leaf.2 & VMX_BIT != 0);
    let svm = cpuid_full(0x8000_0001).is_some_and(|leaf| leaf.2 & SVM_BIT != 0);
    vmx || svm
}

/// EAX and EBX of a leaf that exists.
fn cpuid(leaf: u32) -> Option<(u32, u32)> {
    cpuid_full(leaf).map(|(eax, ebx, _)| (eax, ebx))
}

fn cpuid_full(leaf: u32) -> Option<(u32, u32, u32)> {
    let highest = __cpuid(leaf & 0x8000_0000).eax;
    (highest >= leaf).then(|| {
        let result = __cpuid_count(leaf, 0);
        (result.eax, result.ebx, result.ecx)
    })
}

fn module_parameter(path: &str) -> bool {
    std::fs::read_to_string(path).is_ok_and(|text| matches!(text.trim(), "Y" | "1"))
}

fn device(path: &str, tee: TeeKind) -> Result<(), Error> {
    match OpenOptions::new().read(true).write(true).open(path) {
        Ok(_) => Ok(()),
        Err(source) => {
            Err(Error::TeeMissing { tee, reason: format!("{path} cannot be opened: {source}") })
        }
    }
}

/// Starts the kernel with nothing to run and waits for it to say so on its serial console.
async fn trial(qemu: &Path, kernel: &Path, acceleration: Acceleration) -> std::io::Result<bool> {
    let Some(kernel) = kernel.to_str() else { return Ok(false) };
    let mut arguments: Vec<String> = TRIAL_ARGUMENTS.iter().map(|&text| text.to_owned()).collect();
    let acceleration = acceleration.to_string();
    arguments.extend(["-accel", &acceleration, "-kernel", kernel].map(str::to_owned));
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let plan = Plan {
        program: qemu,
        arguments: &arguments,
        control: theirs.into(),
        network_namespace: None,
        cgroups: &[],
    };
    let child = Child::spawn(plan).await.map_err(|error| error.source)?;
    let found = console_says(UnixStream::from_std(ours)?, LAST_WORDS).await;
    drop(child);
    found
}

const TRIAL_ARGUMENTS: &[&str] = &[
    "-nodefaults",
    "-no-user-config",
    "-no-reboot",
    "-display",
    "none",
    "-machine",
    "q35",
    "-m",
    "256M",
    "-chardev",
    "socket,id=console,fd=0",
    "-serial",
    "chardev:console",
    "-append",
    "console=ttyS0 panic=-1",
];
/// A kernel without root file system ends so, and only after all of its own start.
const LAST_WORDS: &[u8] = b"Kernel panic - not syncing: VFS";
/// Kernel messages are some 60 KiB.
const CONSOLE_MAX: usize = 1024 * 1024;

async fn console_says(mut console: UnixStream, words: &[u8]) -> std::io::Result<bool> {
    let mut window: Vec<u8> = Vec::new();
    let mut total = 0_usize;
    let mut buffer = [0; 4096];
    loop {
        let read = console.read(&mut buffer).await?;
        total = total.saturating_add(read);
        if read == 0 || total > CONSOLE_MAX {
            return Ok(false);
        }
        window.extend(buffer.iter().take(read));
        if window.windows(words.len()).any(|found| found == words) {
            return Ok(true);
        }
        let keep = window.len().saturating_sub(words.len());
        window.drain(..keep);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn finds_words_across_pieces() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let writer = tokio::spawn(async move {
            for piece in [&b"booting Kernel panic - "[..], b"not syncing: VFS: Unable"] {
                theirs.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        assert!(console_says(ours, LAST_WORDS).await.unwrap());
        writer.await.unwrap();
    }

    #[tokio::test]
    async fn a_reset_without_the_words_proves_nothing() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"early boot").await.unwrap();
        drop(theirs);
        assert!(!console_says(ours, LAST_WORDS).await.unwrap());
    }

    #[tokio::test]
    async fn a_flood_ends_the_trial() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        tokio::spawn(async move { while theirs.write_all(&[b'x'; 4096]).await.is_ok() {} });
        assert!(!console_says(ours, LAST_WORDS).await.unwrap());
    }

    #[test]
    fn missing_hardware_is_a_missing_tee() {
        // E21, on machines without the hardware; on others the platform is found.
        for (tee, found) in [(TeeKind::Snp, snp().map(drop)), (TeeKind::Tdx, tdx())] {
            match found {
                Ok(_) => eprintln!("{tee} exists here"),
                Err(Error::TeeMissing { tee: named, .. }) => assert_eq!(named, tee),
                Err(other) => panic!("{other}"),
            }
        }
    }
}
