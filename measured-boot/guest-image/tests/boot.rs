// SPDX-License-Identifier: Apache-2.0
//! Boots the built image in a virtual machine: what was measured starts, anything else does not.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may panic"
)]

mod fixtures;
#[path = "fixtures/fw_cfg.rs"]
mod fw_cfg;
#[path = "fixtures/qemu.rs"]
mod qemu;
#[path = "fixtures/qmp.rs"]
mod qmp;

use std::num::NonZeroU16;
use std::time::Duration;

use casemate_boot_formats::sev_hashes::KernelHashes;
use casemate_boot_formats::sev_hashes::KernelHashesError;
use casemate_boot_formats::sev_hashes::TABLE_SIZE;
use casemate_guest_image::GuestImage;
use casemate_guest_image::Kind;
use casemate_guest_image::build;

use fw_cfg::FwCfg;
use qemu::Boot;
use qemu::End;
use qemu::Guest;
use qemu::PATIENCE;
use qemu::ProbeImage;
use qemu::value;

/// A refused boot is seen to hang, which takes less than a right one. Under load both are slower,
/// so the limit follows the time of the right one: twice that and this.
const EXTRA: Duration = Duration::from_secs(5);

#[test]
fn only_what_was_measured_boots() {
    let Some(image) = ProbeImage::build(|_| Kind::Production) else { return };
    let right = image.guest(NonZeroU16::MIN);
    let cmdline = right.cmdline;
    let boot = right.boot(PATIENCE);
    check_production_report(report(&boot), cmdline);
    eprintln!("the right guest was up after {} ms", boot.time.as_millis());
    let limit = boot.time.saturating_mul(2).saturating_add(EXTRA);

    // E1: one change each, with the table of the right guest.
    let longer_cmdline = format!("{cmdline} init=/bin/sh");
    let same_length = cmdline.replacen("loglevel=0", "loglevel=7", 1);
    let without_a_blank = cmdline.replacen(' ', "", 1);
    let smp_cmdline = std::str::from_utf8(&image.parts.cmdline_smp).unwrap();
    let last_kernel_byte = flipped(right.kernel, right.kernel.len() - 1);
    let other_header = flipped(right.kernel, 0x210);
    let other_initramfs = flipped(right.initramfs, right.initramfs.len() / 2);
    let padded_initramfs = [right.initramfs, &[0; 4]].concat();
    let two_archives = with_second_archive(right.initramfs, "lib/modules/load-order", b"");
    assert_eq!(same_length.len(), cmdline.len());
    assert_ne!(same_length, cmdline);

    // A table over the kernel as QEMU hands it to old firmware, with a setup header filled in:
    // what the owner measured is the file, so this is another kernel.
    let setup = FwCfg::of(&right, &[]).kernel_setup();
    let patched = [&setup, &right.kernel[setup.len()..]].concat();
    assert_ne!(patched, right.kernel);
    let of_patched = table(&Guest { kernel: &patched, ..right });

    let tampered = [
        ("longer command line", Guest { cmdline: &longer_cmdline, ..right }),
        ("command line of the same length", Guest { cmdline: &same_length, ..right }),
        ("shorter command line", Guest { cmdline: &without_a_blank, ..right }),
        // E2: the owner's table for one CPU does not start the guest that takes ACPI tables.
        ("command line for several CPUs", Guest { cmdline: smp_cmdline, ..right }),
        ("last byte of the kernel", Guest { kernel: &last_kernel_byte, ..right }),
        ("kernel setup header", Guest { kernel: &other_header, ..right }),
        ("byte of the initramfs", Guest { initramfs: &other_initramfs, ..right }),
        ("padding after the initramfs", Guest { initramfs: &padded_initramfs, ..right }),
        ("second archive", Guest { initramfs: &two_archives, ..right }),
        ("missing table", Guest { table: None, ..right }),
        ("table over the patched header", Guest { table: Some(of_patched), ..right }),
    ];
    std::thread::scope(|scope| {
        for (name, guest) in tampered {
            scope.spawn(move || {
                let boot = guest.boot(limit);
                assert_eq!(boot.report, None, "a guest with another {name} booted");
                // Not a slow guest, nor one that came to the kernel and crashed there.
                assert_eq!(boot.end, End::DeadLoop, "{name}: {}", boot.errors);
            });
        }
    });

    // The other command line and the second archive are bootable as such, and the archive is read:
    // only the table kept them from booting.
    let other = Guest { cmdline: &longer_cmdline, initramfs: &two_archives, ..right };
    let boot = Guest { table: Some(table(&other)), ..other }.boot(PATIENCE);
    let report = report(&boot);
    assert_eq!(value(report, "cmdline"), seen_by_the_guest(&longer_cmdline));
    assert!(!report.contains("\nmodule "), "{report}");
}

/// E1: firmware accepts unchecked what the table does not name. The table is measured, so owners
/// see another launch digest; and nothing of this project reads such a table, whoever wrote it.
#[test]
fn a_table_without_one_of_the_entries_is_refused_before_the_start() {
    let Some(image) = ProbeImage::build(|_| Kind::Production) else { return };
    let right = image.guest(NonZeroU16::MIN);
    let longer_cmdline = format!("{} init=/bin/sh", right.cmdline);
    let padded_initramfs = [right.initramfs, &[0; 4]].concat();
    // In the part of the kernel for starts without UEFI, so that it would not crash.
    let other_kernel = flipped(right.kernel, 0x1000);
    // In the order of the table.
    let unnamed = [
        ("command line", Guest { cmdline: &longer_cmdline, ..right }),
        ("initrd", Guest { initramfs: &padded_initramfs, ..right }),
        ("kernel", Guest { kernel: &other_kernel, ..right }),
    ];
    std::thread::scope(|scope| {
        for (position, (name, guest)) in unnamed.into_iter().enumerate() {
            let table = without_entry(&table(&right), position);
            let refusal = KernelHashes::from_table(&table).unwrap_err();
            assert_eq!(refusal, KernelHashesError::MissingEntry { entry: name });
            scope.spawn(move || {
                // The reason for the refusal: the tampered guest would come up.
                let boot = Guest { table: Some(table), ..guest }.boot(PATIENCE);
                assert!(report(&boot).starts_with("reached\n"), "{name}");
            });
        }
    });
}

#[test]
fn two_cpus_boot_with_acpi() {
    let Some(image) = ProbeImage::build(|_| Kind::Production) else { return };
    let boot = image.guest(NonZeroU16::MIN.saturating_add(1)).boot(PATIENCE);
    let report = report(&boot);
    assert_eq!(value(report, "cpus"), "2");
    assert_eq!(value(report, "tables"), "true");
    assert_eq!(value(report, "consoles"), "");
    assert_eq!(value(report, "nets"), "eth0 lo");
    assert_eq!(value(report, "disk"), "casemate-initdata");
    check_modules(report);
}

/// Outside of a TD, the firmware measures nothing; that the kernel starts through it is the same.
#[test]
fn tdx_firmware_starts_the_kernel_once_its_keys_are_out() {
    if qemu::installed().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let Some(debian) = fixtures::debian_tdx(folder.path()) else { return };
    let probe = fixtures::compile_probe(folder.path());
    let out = folder.path().join("image");
    build(&fixtures::build_inputs(&debian, &probe, Kind::Production), &out).unwrap();
    let image = GuestImage::read(&out).unwrap();
    let guest = Guest {
        firmware: &image.firmware,
        kernel: &image.kernel,
        initramfs: &image.initramfs,
        cmdline: std::str::from_utf8(&image.cmdline).unwrap(),
        table: None,
        table_address: 0,
        vcpus: NonZeroU16::MIN,
        acpi: None,
        hardware: &[],
    };
    let boot = guest.boot(PATIENCE);
    let report = report(&boot);
    assert!(value(report, "cmdline").contains("casemate.tee=tdx "), "{report}");
    check_modules(report);

    // The package's firmware knows Microsoft's keys and refuses Debian's kernel.
    let original = std::fs::read(&debian.firmware).unwrap();
    let limit = boot.time.saturating_mul(2).saturating_add(EXTRA);
    let boot = Guest { firmware: &original, ..guest }.boot(limit);
    assert_eq!(boot.report, None, "{}", boot.errors);
}

#[test]
fn simulated_image_has_the_device_driver() {
    let Some(image) = ProbeImage::build(|device| Kind::Simulated { device }) else { return };
    let boot = image.guest(NonZeroU16::MIN).boot(PATIENCE);
    check_modules(report(&boot));
    assert_eq!(value(report(&boot), "cuse"), "true");
}

/// What the probe of a guest that came up said.
fn report(boot: &Boot) -> &str {
    let report = boot.report.as_deref();
    report.unwrap_or_else(|| panic!("no boot, {:?}: {}", boot.end, boot.errors))
}

/// The table that fits a guest.
fn table(guest: &Guest<'_>) -> [u8; TABLE_SIZE] {
    let hashes = KernelHashes::of(guest.kernel, guest.initramfs, guest.cmdline.as_bytes());
    hashes.unwrap().to_table()
}

/// A table that lacks one of its three entries and says so in its length.
fn without_entry(table: &[u8; TABLE_SIZE], position: usize) -> [u8; TABLE_SIZE] {
    const HEADER: usize = 18;
    const ENTRY: usize = 50;
    let mut bytes = table.to_vec();
    let start = HEADER + ENTRY * position;
    bytes.drain(start..start + ENTRY);
    bytes.resize(TABLE_SIZE, 0);
    let length = u16::try_from(HEADER + ENTRY * 2).unwrap();
    bytes[16..HEADER].copy_from_slice(&length.to_le_bytes());
    bytes.try_into().unwrap()
}

fn flipped(bytes: &[u8], position: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[position] ^= 1;
    bytes
}

/// Puts a cpio archive (`newc`) with one file behind the first, where Linux looks for one: at a
/// multiple of four.
fn with_second_archive(initramfs: &[u8], name: &str, content: &[u8]) -> Vec<u8> {
    let mut archive = initramfs.to_vec();
    archive.resize(archive.len().next_multiple_of(4), 0);
    for (name, mode, content) in [(name, 0o10_0644, content), ("TRAILER!!!", 0, b"".as_slice())] {
        let (length, name_size) = (content.len(), name.len() + 1);
        // inode, mode, owner, group, links, time, length, device, device, name's size, checksum
        let fields = [1, mode, 0, 0, 1, 0, length, 0, 0, 0, 0, name_size, 0];
        archive.extend(b"070701");
        archive.extend(fields.map(|field| format!("{field:08X}")).concat().bytes());
        archive.extend(name.bytes());
        archive.push(0);
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend(content);
        archive.resize(archive.len().next_multiple_of(4), 0);
    }
    archive
}

fn check_production_report(report: &str, cmdline: &str) {
    assert!(report.starts_with("reached\n") && report.ends_with("end\n"), "{report}");
    assert_eq!(value(report, "cmdline"), seen_by_the_guest(cmdline));
    assert_eq!(value(report, "cpus"), "1");
    // E2: the kernel takes no table from the host.
    assert_eq!(value(report, "tables"), "false");
    // E7: nothing to read the log from or to type on.
    assert_eq!(value(report, "consoles"), "");
    assert!(!value(report, "serial").contains("ttyS"), "{report}");
    assert_eq!(value(report, "sysrq"), "0");
    assert_eq!(value(report, "debugfs"), "false");
    assert!(value(report, "lockdown").contains("[confidentiality]"));
    // Network card, disk and port work without ACPI.
    assert_eq!(value(report, "nets"), "eth0 lo");
    assert_eq!(value(report, "disk"), "casemate-initdata");
    assert_eq!(value(report, "tsm"), "true");
    check_modules(report);
    assert_eq!(value(report, "cuse"), "false");
}

/// The firmware, which is measured, tells the kernel where the initramfs is.
fn seen_by_the_guest(cmdline: &str) -> String {
    format!("initrd=initrd {cmdline}")
}

/// Every module loads, though locked down; but for drivers whose machine this is not.
fn check_modules(report: &str) {
    const ENODEV: &str = "errno 19";
    let modules: Vec<_> = report.lines().filter_map(|line| line.strip_prefix("module ")).collect();
    assert!(modules.len() >= 9, "{report}");
    for line in modules {
        let (name, result) = line.split_once(' ').unwrap();
        let foreign = matches!(name, "tdx-guest.ko.xz" | "sev-guest.ko.xz") && result == ENODEV;
        assert!(result == "ok" || foreign, "{line}");
    }
}
