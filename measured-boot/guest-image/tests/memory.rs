// SPDX-License-Identifier: Apache-2.0
//! E13: without hardware that encrypts it, a guest's memory is the host's to read. The shim says so
//! of such a pod (`confidential` in its `status.json`); this shows that it is true.

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

use casemate_guest_image::Kind;

use qemu::End;
use qemu::PATIENCE;
use qemu::ProbeImage;

#[test]
fn the_host_reads_what_a_guest_without_encryption_made_up() {
    let Some(image) = ProbeImage::build(|_| Kind::Production) else { return };
    let boot = image.guest(NonZeroU16::MIN).boot(PATIENCE);
    assert_eq!(boot.end, End::Reset, "{}", boot.errors);
    // As the probe computes it; it is in no file and went through no port.
    let canary: Vec<u8> =
        (0..64_u8).map(|at| at.wrapping_mul(181).wrapping_add(77).rotate_left(3) ^ 0x3c).collect();
    let files = [&image.parts.kernel, &image.parts.initramfs, &image.parts.firmware];
    assert!(files.iter().all(|file| !file.windows(64).any(|window| window == canary)));
    assert!(!boot.report.as_deref().unwrap().as_bytes().windows(64).any(|w| w == canary));
    assert!(boot.process_holds(&canary));
    // The search can fail.
    let absent: Vec<u8> = canary.iter().map(|byte| !byte).collect();
    assert!(!boot.process_holds(&absent));
}
