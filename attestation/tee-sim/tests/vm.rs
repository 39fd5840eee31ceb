// SPDX-License-Identifier: Apache-2.0
//! Simulated guests in QEMU: what their reports say is what was really launched.
//!
//! Needs QEMU, the inputs of a guest image (`target/casemate/inputs`) and a Python with
//! `sev-snp-measure` and `cryptography` (`target/casemate/venv`, or `CASEMATE_SEV_SNP_MEASURE`).
//! The guest's static programs are built by the test unless `CASEMATE_TEST_GUEST_PROGRAMS` names a
//! folder with them. With `CASEMATE_REQUIRE=1` a missing one is a failure. The tests stop what they start.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may panic"
)]

#[path = "vm/gdb.rs"]
mod gdb;
#[path = "vm/guest.rs"]
mod guest;
#[path = "vm/judge.rs"]
mod judge;

use std::time::Duration;

use casemate_tee_sim::measure::{MeasureError, PausedVm};
use casemate_tee_sim::protocol::Launch;
use casemate_vmm::qemu::{Platform, Sockets, command_line};
use casemate_vmm::qmp::Qmp;
use casemate_vmm::{Acceleration, Exit, QemuVmm, Vmm};

use guest::{Bench, HASH_TABLE};

/// A guest's report: genuine in form, signed down to the simulated root, and about this launch.
#[tokio::test(flavor = "multi_thread")]
async fn reports_tell_the_launch() {
    let Some(bench) = Bench::find("reports") else { return };
    let psp = bench.psp();
    // One vCPU without ACPI, and two with it.
    for vcpus in [1, 2] {
        reports_tell_this_launch(&bench, bench.config(vcpus, &psp), vcpus).await;
    }
}

async fn reports_tell_this_launch(bench: &Bench, config: casemate_vmm::VmConfig, vcpus: u32) {
    let vm = QemuVmm::new().launch(&config).await.unwrap();
    let mut agent = guest::Agent::connect(vm.as_ref()).await;
    for nonce in [[0x11; 64], [0xee; 64]] {
        let evidence = agent.evidence(nonce).await;
        bench.judge.signatures(&bench.folder("evidence"), &evidence);
        assert_eq!(evidence.report[0x50..0x90], nonce, "report data");
        assert_eq!(evidence.report[0xc0..0xe0], guest::HOST_DATA, "host data");
        assert_eq!(evidence.report[0x08..0x10], 0x3_0000_u64.to_le_bytes(), "policy");
        assert_eq!(evidence.report[0x30..0x34], [0; 4], "VMPL");
        let digest = hex::encode(&evidence.report[0x90..0xc0]);
        assert_eq!(digest, bench.judge.digest(&config.guest_image, vcpus), "measurement");
        assert_eq!(digest, vm.launch_digest().unwrap().to_string());
    }
    drop(agent);
    assert_eq!(vm.quit(Duration::from_secs(30)).await, Exit::Requested);
}

/// E3, E4: whatever strings, boot order and devices the host adds, the report has the MEASUREMENT of
/// the honest launch, and the guest comes up and answers.
#[tokio::test(flavor = "multi_thread")]
async fn additions_of_the_host_change_nothing() {
    let Some(bench) = Bench::find("added") else { return };
    let psp = bench.psp();
    let mut config = bench.config(1, &psp);
    config.qemu = bench.hostile_qemu(&[
        "-boot order=cdn,menu=on,strict=on",
        "-fw_cfg name=opt/org.casemate/cmdline,string=init=/bin/sh",
        "-fw_cfg name=opt/ovmf/PcdSetNxForStack,string=no",
        "-smbios type=1,manufacturer=host,serial=init=/bin/sh",
        "-smbios type=11,value=io.systemd.stub.kernel-cmdline-extra=init=/bin/sh",
        "-blockdev driver=null-co,node-name=added,size=1048576,read-zeroes=on",
        "-device virtio-blk-pci,drive=added,serial=added,bootindex=1",
        "-netdev hubport,id=added-net,hubid=1",
        "-device virtio-net-pci,netdev=added-net,romfile=",
        "-device virtio-balloon-pci",
        "-device virtio-rng-pci",
        "-device virtio-gpu-pci",
        "-device qemu-xhci",
    ]);
    reports_tell_this_launch(&bench, config, 1).await;
}

/// E1: another kernel command line with a table that fits it boots, and its digest tells.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_command_line_boots_with_another_digest() {
    let Some(bench) = Bench::find("cmdline") else { return };
    let psp = bench.psp();
    let before = bench.judge.digest(&bench.image, 1);
    let mut config = bench.config(1, &psp);
    config.guest_image = bench.image_with_command_line(" casemate.changed=1");
    let vm = QemuVmm::new().launch(&config).await.unwrap();
    let evidence = guest::Agent::connect(vm.as_ref()).await.evidence([1; 64]).await;
    let digest = hex::encode(&evidence.report[0x90..0xc0]);
    assert_ne!(digest, before);
    assert_eq!(digest, bench.judge.digest(&config.guest_image, 1));
    // The guest ends when the host leaves its port.
    let exit = tokio::time::timeout(Duration::from_secs(60), vm.wait()).await.unwrap();
    assert_eq!(exit, Exit::GuestReset);
}

/// The digest is that of the memory: equal to the other tool's on the files that were meant, and
/// another one when a byte is changed in memory alone. A VM that runs is not measured.
#[tokio::test(flavor = "multi_thread")]
async fn a_byte_changed_in_memory_alone_changes_the_digest() {
    let Some(bench) = Bench::find("memory") else { return };
    for vcpus in [1, 3] {
        let (mut vm, launch) = paused(&bench, vcpus).await;
        let folder = bench.folder("copies");
        let digest = async || {
            let measured = PausedVm::measure(&launch, &folder).await.unwrap();
            hex::encode(measured.digest().as_bytes())
        };
        let meant = bench.judge.digest(&bench.image, vcpus);
        assert_eq!(digest().await, meant);
        let mut gdb = vm.gdb(&bench.folder("gdb")).await;
        let firmware_byte = (1_u64 << 32) - launch.firmware_bytes + 0x1234;
        for address in [HASH_TABLE + 20, HASH_TABLE - 0xc00, HASH_TABLE + 0x3ff, firmware_byte] {
            let byte = gdb.read(address).await;
            gdb.write(address, byte ^ 1).await;
            assert_ne!(digest().await, meant, "{address:#x}");
            gdb.write(address, byte).await;
            assert_eq!(digest().await, meant, "{address:#x} restored");
        }
        gdb.detach().await;
        vm.qmp.cont().await.unwrap();
        let refused = PausedVm::measure(&launch, &folder).await;
        assert!(matches!(refused.err(), Some(MeasureError::NotPaused { .. })));
        vm.qmp.quit().await.unwrap();
        vm.child.wait().unwrap();
    }
}

/// A QEMU that the test itself holds, before its first instruction.
struct Held {
    child: std::process::Child,
    qmp: Qmp,
}

async fn paused(bench: &Bench, vcpus: u32) -> (Held, Launch) {
    let folder = bench.folder("held");
    let mut config = bench.config_without_psp(vcpus);
    config.runtime_dir = folder.clone();
    let image = casemate_vmm::GuestImage::open(&bench.image, config.vcpus).unwrap();
    let hash_table = folder.join("table");
    std::fs::write(&hash_table, bench.table(vcpus)).unwrap();
    let platform = Platform::Sim {
        acceleration: Acceleration::Tcg,
        hash_table,
        hash_table_address: HASH_TABLE,
    };
    let sockets = Sockets::in_folder(&folder);
    let line = command_line(&config, &image, &sockets, &platform).unwrap();
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let child = std::process::Command::new(&config.qemu)
        .args(line)
        .stdin(std::process::Stdio::from(std::os::fd::OwnedFd::from(theirs)))
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    ours.set_nonblocking(true).unwrap();
    let qmp = Qmp::negotiate(tokio::net::UnixStream::from_std(ours).unwrap()).await.unwrap();
    let launch = Launch {
        qmp: sockets.psp_control,
        psp: sockets.psp,
        firmware_bytes: std::fs::metadata(&image.firmware).unwrap().len(),
        host_data: guest::HOST_DATA,
        policy: 0x3_0000,
    };
    (Held { child, qmp }, launch)
}

impl Held {
    /// Opens QEMU's debugger port, which reads and writes memory behind everybody's back.
    async fn gdb(&mut self, folder: &std::path::Path) -> gdb::Gdb {
        let socket = folder.join("gdb.sock");
        let command = format!("gdbserver unix:{},server=on,wait=off", socket.display());
        let arguments = serde_json::json!({ "command-line": command });
        let said = self.qmp.execute("human-monitor-command", Some(arguments)).await.unwrap();
        assert!(socket.exists(), "{said}");
        gdb::Gdb::connect(&socket).await
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
