// SPDX-License-Identifier: Apache-2.0
//! The generated command lines against the parsers of real QEMUs: the installed one, and 11.1,
//! which knows TDX.
//!
//! A line for hardware must be parsed up to the point where QEMU finds that the hardware is
//! missing. That point comes before the devices, so the rest of the line is tried without the TEE.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may panic"
)]

mod fixtures;

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use casemate_vmm::qemu::{CPU_MODEL, Platform, command_line};
use casemate_vmm::qmp::Qmp;
use casemate_vmm::{OwnerId, QuoteSocket, SnpOptions, TdxOptions};
use fixtures::{Folder, identity, is_tee, newer_qemu, qemu, snp};

/// QEMU takes every option of the simulated line: it comes up, paused.
#[tokio::test]
async fn both_accept_the_simulated_line() {
    for qemu in both() {
        let folder = Folder::new();
        let mut config = folder.config(&qemu);
        config.console = Some(folder.path("console.log"));
        let line = command_line(&config, &folder.image(), &folder.sockets(), &folder.sim());
        let (mut child, mut qmp) = start(&qemu, &line.unwrap()).await;
        assert_eq!(qmp.status().await.unwrap(), "prelaunch");
        let vcpus = qmp.vcpu_paths().await.unwrap();
        assert_eq!(vcpus.len(), 2);
        let model = qmp.property(&vcpus[0], "type").await.unwrap();
        assert_eq!(model, format!("{CPU_MODEL}-x86_64-cpu"));
        let saved = folder.path("memory");
        qmp.save_memory(0x81_0c00, 176, saved.to_str().unwrap()).await.unwrap();
        assert_eq!(std::fs::read(saved).unwrap(), [0x77; 176]);
        qmp.quit().await.unwrap();
        assert!(child.wait().unwrap().success());
    }
}

/// With and without an ID block, QEMU fails for the TEE's absence and for nothing else.
#[test]
fn both_parse_the_snp_line() {
    if host_has("/sys/module/kvm_amd/parameters/sev_snp") {
        return;
    }
    for qemu in both() {
        for (options, identity) in [
            (SnpOptions::default(), None),
            (SnpOptions::default(), Some(identity(false))),
            (SnpOptions { vcek_disabled: true, ..SnpOptions::default() }, Some(identity(true))),
        ] {
            let folder = Folder::new();
            let line = line(&folder, &qemu, &snp(options, identity));
            assert_absent(&refused(&qemu, &line), "SEV-SNP");
        }
    }
}

/// The same parsers refuse each of our own options misspelt or of another size: the test above can
/// fail.
#[test]
fn both_refuse_a_wrong_snp_line() {
    if host_has("/sys/module/kvm_amd/parameters/sev_snp") {
        return;
    }
    for qemu in both() {
        let options = SnpOptions { vcek_disabled: true, ..SnpOptions::default() };
        let folder = Folder::new();
        let line = line(&folder, &qemu, &snp(options, Some(identity(true))));
        for (from, to, said) in [
            ("host-data=", "host-dats=", "Invalid parameter 'host-dats'"),
            ("id-block=", "id-blocks=", "Invalid parameter 'id-blocks'"),
            ("id-auth=", "id-auths=", "Invalid parameter 'id-auths'"),
            ("author-key-enabled=on", "author-key-enabled=1", "expects 'on' or 'off'"),
            ("vcek-disabled=on", "vcek-disabled=1", "expects 'on' or 'off'"),
            ("kernel-hashes=on", "kernel-hash=on", "Invalid parameter 'kernel-hash'"),
            ("policy=0x30000", "policy=SMT", "'policy' expects a uint64 value"),
            ("host-data=", "host-data=AAAA", "parameter length of 35 not equal to 32"),
            ("id-block=", "id-block=AAAA", "parameter length of 99 not equal to 96"),
            ("id-auth=", "id-auth=AAAA", "ID_AUTH 4099 exceeds max of 4096"),
            ("smm=off", "smn=off", "machine.smn' not found"),
            ("kernel-irqchip=split", "kernel-irqchip=half", "kernel-irqchip"),
        ] {
            let text = refused(&qemu, &changed(&line, from, to));
            assert!(text.contains(said), "{to}: {text}");
        }
    }
}

/// QEMU 11.1 fails for the TEE's absence and for nothing else, with any choice of the operator.
#[test]
fn the_newer_one_parses_the_tdx_line() {
    let Some(qemu) = newer_qemu() else { return };
    if host_has("/sys/module/kvm_intel/parameters/tdx") {
        return;
    }
    for options in [TdxOptions::default(), every_tdx_option()] {
        let folder = Folder::new();
        let line = line(&folder, &qemu, &Platform::Tdx(options));
        assert_absent(&refused(&qemu, &line), "TDX");
    }
}

#[test]
fn the_newer_one_refuses_a_wrong_tdx_line() {
    let Some(qemu) = newer_qemu() else { return };
    if host_has("/sys/module/kvm_intel/parameters/tdx") {
        return;
    }
    let folder = Folder::new();
    let line = line(&folder, &qemu, &Platform::Tdx(every_tdx_option()));
    for (from, to, said) in [
        ("\"mrconfigid\"", "\"mrconfigit\"", "'mrconfigit' is unexpected"),
        ("\"mrowner\"", "\"mrowners\"", "'mrowners' is unexpected"),
        ("\"mrownerconfig\"", "\"mrownerconf\"", "'mrownerconf' is unexpected"),
        ("\"attributes\":268435456", "\"attributes\":\"ve\"", "'attributes' expects uint64"),
        ("\"quote-generation-socket\"", "\"quote-socket\"", "'quote-socket' is unexpected"),
        ("\"type\":\"unix\"", "\"type\":\"unit\"", "does not accept value 'unit'"),
        ("\"path\":", "\"file\":", "'quote-generation-socket.path' is missing"),
        ("pic=off", "pik=off", "machine.pik' not found"),
    ] {
        let text = refused(&qemu, &changed(&line, from, to));
        assert!(text.contains(said), "{to}: {text}");
    }
}

/// A QEMU without TDX says so, and nothing of another kind.
#[test]
fn qemu_10_0_does_not_know_tdx() {
    let Some(qemu) = qemu() else { return };
    let version = Command::new(&qemu).arg("--version").output().unwrap();
    if !String::from_utf8_lossy(&version.stdout).contains("version 10.0.") {
        eprintln!("skipped: {} is not QEMU 10.0", qemu.display());
        return;
    }
    let folder = Folder::new();
    let said = refused(&qemu, &line(&folder, &qemu, &Platform::Tdx(every_tdx_option())));
    assert!(said.ends_with("Parameter 'qom-type' does not accept value 'tdx-guest'"), "{said}");
}

/// Devices, disks, ports and sandbox of the hardware lines, on a machine of the same settings.
#[tokio::test]
async fn the_rest_of_the_hardware_lines_is_accepted() {
    for qemu in both() {
        for platform in [snp(SnpOptions::default(), None), Platform::Tdx(TdxOptions::default())] {
            let folder = Folder::new();
            let line = line(&folder, &qemu, &platform);
            let (mut child, mut qmp) = start(&qemu, &without_tee(&line)).await;
            assert_eq!(qmp.status().await.unwrap(), "prelaunch");
            qmp.quit().await.unwrap();
            assert!(child.wait().unwrap().success());
        }
    }
}

fn both() -> Vec<PathBuf> {
    [qemu(), newer_qemu()].into_iter().flatten().collect()
}

/// On such a host the line would work, and there is nothing to see in what QEMU says.
fn host_has(parameter: &str) -> bool {
    let has = std::fs::read_to_string(parameter).is_ok_and(|text| text == "Y\n");
    if has {
        eprintln!("skipped: this host has the TEE");
    }
    has
}

fn line(folder: &Folder, qemu: &Path, platform: &Platform) -> Vec<String> {
    command_line(&folder.config(qemu), &folder.image(), &folder.sockets(), platform).unwrap()
}

fn every_tdx_option() -> TdxOptions {
    TdxOptions {
        mr_owner: OwnerId([1; 48]),
        mr_owner_config: OwnerId([2; 48]),
        quote_socket: QuoteSocket::Unix("/run/qgs,a.sock".into()),
    }
}

fn changed(line: &[String], from: &str, to: &str) -> Vec<String> {
    assert!(line.iter().any(|argument| argument.contains(from)), "{from}");
    line.iter().map(|argument| argument.replace(from, to)).collect()
}

/// The line with a processor of TCG and without the object of the TEE.
fn without_tee(line: &[String]) -> Vec<String> {
    let tee = line.iter().position(|argument| is_tee(argument)).unwrap();
    let mut line = line.to_vec();
    line.drain(tee - 1..=tee);
    for (option, from, to) in [
        ("-machine", ",kernel-irqchip=split,confidential-guest-support=tee", ""),
        ("-accel", "kvm", "tcg"),
        ("-cpu", "host", "max"),
    ] {
        let value = line.iter().position(|argument| argument == option).unwrap() + 1;
        line[value] = line[value].replace(from, to);
    }
    line
}

async fn start(qemu: &Path, line: &[String]) -> (Child, Qmp) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let child =
        Command::new(qemu).args(line).stdin(Stdio::from(OwnedFd::from(theirs))).spawn().unwrap();
    ours.set_nonblocking(true).unwrap();
    let ours = tokio::net::UnixStream::from_std(ours).unwrap();
    (child, Qmp::negotiate(ours).await.unwrap())
}

fn refused(qemu: &Path, line: &[String]) -> String {
    let (_ours, theirs) = UnixStream::pair().unwrap();
    let stdin = Stdio::from(OwnedFd::from(theirs));
    let output = Command::new(qemu).args(line).stdin(stdin).output().unwrap();
    assert!(!output.status.success(), "QEMU must not start");
    String::from_utf8_lossy(&output.stderr).trim_end().to_owned()
}

/// KVM without this kind of VM, or no KVM at all.
fn assert_absent(said: &str, tee: &str) {
    let no_type = format!("-accel kvm: vm-type {tee} not supported by KVM");
    let last = said.lines().last().unwrap_or_default();
    let last = last.strip_prefix("qemu-system-x86_64: ").unwrap_or(last);
    let no_kvm = "-accel kvm: failed to initialize kvm: ";
    assert!(last == no_type || last.starts_with(no_kvm), "{said}");
}
