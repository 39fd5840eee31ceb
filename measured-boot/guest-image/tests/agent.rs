// SPDX-License-Identifier: Apache-2.0
//! The agent of the built production image under a hostile host, with a console to read its log.
//!
//! Its disk holds no initdata: the agent comes as far as that, and then waits for a host to tell why
//! it does not start. What it does before is the same for every guest.

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
#[path = "fixtures/qmp.rs"]
mod qmp;

use std::num::NonZeroU16;
use std::time::Duration;

use casemate_boot_formats::sev_hashes::KernelHashes;
use casemate_guest_image::GuestImage;

use qemu::Guest;
use qemu::PATIENCE;
use qemu::ProbeImage;
use qemu::Running;

/// The agent's last word.
const END: &str = "the guest does not start";

/// E9: ten years back, the clock is set to a date of the image; ten years ahead it is left.
#[test]
fn a_clock_before_the_image_is_raised() {
    let Some(image) = built() else { return };
    let back = Session::start(&image, &["-rtc", "base=2016-11-23T12:00:00"]);
    let log = back.machine.wait_for(END, PATIENCE);
    let line = line(&log, "the host's clock was before");
    let from = field(line, "from");
    let to = field(line, "to");
    assert!((1_479_859_200..1_480_032_000).contains(&from), "{line}");
    // Not before the oldest sources that do this.
    assert!(to >= 1_795_392_000, "{line}");
    drop(back);

    let ahead = Session::start(&image, &["-rtc", "base=2036-11-23T12:00:00"]);
    let log = ahead.machine.wait_for(END, PATIENCE);
    assert!(!log.contains("the host's clock was before"), "{log}");
}

/// E4: devices beyond a guest's are counted.
#[test]
fn added_devices_are_counted() {
    let Some(image) = built() else { return };
    let usual = Session::start(&image, &[]);
    let log = usual.machine.wait_for(END, PATIENCE);
    let devices = line(&log, "unwanted=");
    assert_eq!((field(devices, "unwanted"), field(devices, "surplus")), (0, 0), "{log}");
    let idle = field(devices, "idle");
    drop(usual);

    let hardware = ["virtio-balloon-pci", "virtio-serial-pci", "virtio-rng-pci"];
    let hardware = hardware.map(|device| ["-device", device]).concat();
    let added = Session::start(&image, &hardware);
    let log = added.machine.wait_for(END, PATIENCE);
    let devices = line(&log, "unwanted=");
    assert_eq!((field(devices, "unwanted"), field(devices, "surplus")), (0, 1), "{log}");
    assert_eq!(field(devices, "idle"), idle + 2, "{log}");
    assert!(line(&log, "more devices than a guest uses").contains("virtio_console"), "{log}");
}

/// E4: a card that is plugged in while the guest runs.
#[test]
fn a_late_device_gets_no_driver() {
    let Some(image) = built() else { return };
    let port = ["-device", "pcie-root-port,id=late,chassis=1,slot=1"];
    let net = ["-netdev", "hubport,id=late-net,hubid=7"];
    let session = Session::start(&image, &[port, net].concat());
    session.machine.wait_for(END, PATIENCE);
    // What the drivers tell their devices is seen from outside.
    let mut qmp = session.machine.qmp();
    let before = qmp.virtio_devices().unwrap();
    assert!(before.iter().all(|(_, is_ready)| *is_ready), "{before:?}");
    let properties = [("bus", "late"), ("netdev", "late-net"), ("romfile", "")];
    qmp.add_device("virtio-net-pci", "late-card", &properties).unwrap();
    std::thread::sleep(Duration::from_secs(5));
    let after = qmp.virtio_devices().unwrap();
    let ready = after.iter().filter(|(_, is_ready)| *is_ready).count();
    assert_eq!((after.len(), ready), (before.len() + 1, before.len()), "{after:?}");
}

struct Session {
    machine: Running,
}

impl Session {
    /// Starts the image with a console and more arguments for QEMU. The console is on the command
    /// line, so the table is another one.
    fn start(image: &GuestImage, hardware: &[&str]) -> Self {
        let cmdline = std::str::from_utf8(&image.cmdline).unwrap();
        let cmdline = cmdline.replace("console=null", "console=hvc0").replace("quiet ", "");
        let cmdline = cmdline.replace("loglevel=0", "loglevel=7");
        let hashes = KernelHashes::of(&image.kernel, &image.initramfs, cmdline.as_bytes());
        let guest = Guest {
            cmdline: &cmdline,
            table: Some(hashes.unwrap().to_table()),
            ..ProbeImage::of(image, NonZeroU16::MIN)
        };
        Self { machine: guest.run_with_console(hardware) }
    }
}

/// The image with the real agent, from the build folder.
fn built() -> Option<GuestImage> {
    qemu::installed()?;
    let folder = fixtures::build_folder().join("guest/production");
    match GuestImage::read(&folder) {
        Ok(image) => Some(image),
        Err(error) => fixtures::skip(&format!("{error}; run cargo xtask build")),
    }
}

fn line<'a>(log: &'a str, part: &str) -> &'a str {
    log.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("no {part} in {log}"))
}

fn field(line: &str, name: &str) -> i64 {
    let mut words = line.split([' ', ',']).filter_map(|word| word.split_once('='));
    let value = words.find(|(known, _)| *known == name).unwrap_or_else(|| panic!("{name}: {line}"));
    value.1.trim().parse().unwrap()
}
