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
#[path = "fixtures/qemu.rs"]
mod qemu;

use std::num::NonZeroU16;
use std::sync::Mutex;
use std::time::Duration;

use casemate_boot_formats::ovmf::Ovmf;
use casemate_boot_formats::sev_hashes::KernelHashes;
use casemate_guest_image::GuestImage;
use casemate_guest_image::Kind;
use casemate_guest_image::build;

use qemu::Guest;

/// A right boot takes 4 s on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// A refused boot hangs, so its limit follows the time of the right one: twice that and this.
const EXTRA: Duration = Duration::from_secs(2);

/// Builds an image of the probe and gives it with the address of its hash table.
fn probe_image(kind: fn(&std::path::Path) -> Kind<'_>) -> Option<(GuestImage, u64)> {
    qemu::installed()?;
    let debian = fixtures::debian()?;
    let folder = tempfile::tempdir().unwrap();
    let probe = fixtures::compile_probe(folder.path());
    let out = folder.path().join("image");
    build(&fixtures::build_inputs(&debian, &probe, kind(&probe)), &out).unwrap();
    let image = GuestImage::read(&out).unwrap();
    let address = Ovmf::parse(&image.firmware).unwrap().hash_table_address().unwrap();
    Some((image, address))
}

#[test]
fn only_what_was_measured_boots() {
    let Some((image, address)) = probe_image(|_| Kind::Production) else { return };
    let cmdline = std::str::from_utf8(&image.cmdline).unwrap();
    let table = image.hashes(NonZeroU16::MIN).unwrap().to_table();
    let right = Guest {
        firmware: &image.firmware,
        kernel: &image.kernel,
        initramfs: &image.initramfs,
        cmdline,
        table: Some((&table, address)),
        vcpus: NonZeroU16::MIN,
    };
    let boot = right.boot(PATIENCE);
    let report =
        boot.report.unwrap_or_else(|| panic!("the right guest did not boot: {}", boot.errors));
    check_production_report(&report, cmdline);
    eprintln!("the right guest was up after {} ms", boot.time.as_millis());
    let limit = boot.time.saturating_mul(2).saturating_add(EXTRA);

    // E1: one change each, with the table of the right guest.
    let changed = |bytes: &[u8], position: usize| {
        let mut bytes = bytes.to_vec();
        bytes[position] ^= 1;
        bytes
    };
    let other_cmdline = format!("{cmdline} init=/bin/sh");
    let other_kernel = changed(&image.kernel, image.kernel.len() - 1);
    let patched_header = changed(&image.kernel, 0x210);
    let other_initramfs = changed(&image.initramfs, image.initramfs.len() / 2);
    let longer_initramfs = [image.initramfs.as_slice(), &[0; 4]].concat();
    let tampered = [
        ("command line", Guest { cmdline: &other_cmdline, ..right }),
        ("kernel byte", Guest { kernel: &other_kernel, ..right }),
        ("kernel setup header", Guest { kernel: &patched_header, ..right }),
        ("initramfs byte", Guest { initramfs: &other_initramfs, ..right }),
        ("appended initramfs", Guest { initramfs: &longer_initramfs, ..right }),
        ("no table", Guest { table: None, ..right }),
    ];
    // Two at a time: as many as a small machine has processors.
    let queue = Mutex::new(tampered.into_iter());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some((name, guest)) = queue.lock().unwrap().next() else { return };
                    let report = guest.boot(limit).report;
                    assert_eq!(report, None, "a guest with another {name} booted");
                }
            });
        }
    });

    // The other command line is bootable as such: only the table kept it from booting.
    let fitting = KernelHashes::of(&image.kernel, &image.initramfs, other_cmdline.as_bytes());
    let fitting = fitting.unwrap().to_table();
    let guest = Guest { cmdline: &other_cmdline, table: Some((&fitting, address)), ..right };
    let report = guest.boot(PATIENCE).report.unwrap();
    assert_eq!(value(&report, "cmdline"), seen_by_the_guest(&other_cmdline));
}

#[test]
fn two_cpus_boot_with_acpi() {
    let Some((image, address)) = probe_image(|_| Kind::Production) else { return };
    let two = NonZeroU16::MIN.saturating_add(1);
    let table = image.hashes(two).unwrap().to_table();
    let guest = Guest {
        firmware: &image.firmware,
        kernel: &image.kernel,
        initramfs: &image.initramfs,
        cmdline: std::str::from_utf8(image.cmdline_for(two)).unwrap(),
        table: Some((&table, address)),
        vcpus: two,
    };
    let boot = guest.boot(PATIENCE);
    let report = boot.report.unwrap_or_else(|| panic!("no boot: {}", boot.errors));
    assert_eq!(value(&report, "cpus"), "2");
    assert_eq!(value(&report, "tables"), "true");
    assert_eq!(value(&report, "consoles"), "");
    assert_eq!(value(&report, "nets"), "eth0 lo");
    assert_eq!(value(&report, "disk"), "casemate-initdata");
    check_modules(&report);
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

/// What stands behind a word at the start of a line of the report.
fn value<'a>(report: &'a str, key: &str) -> &'a str {
    let mut lines = report.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(known, _)| *known == key).unwrap_or_else(|| panic!("no {key} in {report}")).1
}

#[test]
fn simulated_image_has_the_device_driver() {
    let Some((image, address)) = probe_image(|device| Kind::Simulated { device }) else { return };
    let table = image.hashes(NonZeroU16::MIN).unwrap().to_table();
    let guest = Guest {
        firmware: &image.firmware,
        kernel: &image.kernel,
        initramfs: &image.initramfs,
        cmdline: std::str::from_utf8(&image.cmdline).unwrap(),
        table: Some((&table, address)),
        vcpus: NonZeroU16::MIN,
    };
    let report = guest.boot(PATIENCE).report.unwrap();
    check_modules(&report);
    assert_eq!(value(&report, "cuse"), "true");
}
