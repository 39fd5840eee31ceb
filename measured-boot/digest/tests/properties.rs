// SPDX-License-Identifier: Apache-2.0
//! Properties of the digest that hold for every launch.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod fixtures;

use std::num::NonZeroU16;

use casemate_boot_formats::sev_hashes::KernelHashes;
use casemate_launch_digest::GuestFeatures;
use casemate_launch_digest::LaunchError;
use casemate_launch_digest::SnpLaunch;
use casemate_launch_digest::VcpuType;
use casemate_launch_digest::measure_memory;
use proptest::prelude::*;

#[test]
fn every_input_changes_the_digest() {
    // E1: kernel, initrd, command line, firmware, vCPU count and type, SEV features.
    let Some(firmware) = fixtures::amd_sev_firmware() else { return };
    let mut other_firmware = firmware.clone();
    other_firmware[0x1234] ^= 1;
    let hashes = KernelHashes::of(b"kernel", b"initrd", b"quiet").unwrap();
    let plain = SnpLaunch {
        firmware: &firmware,
        hashes: Some(hashes),
        vcpu_type: "EPYC-v4".parse::<VcpuType>().unwrap(),
        features: GuestFeatures::SNP,
    };
    let with = |kernel: &[u8], initrd: &[u8], cmdline: &[u8]| SnpLaunch {
        hashes: KernelHashes::of(kernel, initrd, cmdline).ok(),
        ..plain
    };
    let one = NonZeroU16::MIN;
    let digests = [
        plain.digest(one),
        plain.digest(NonZeroU16::new(2).unwrap()),
        with(b"Kernel", b"initrd", b"quiet").digest(one),
        with(b"kernel", b"initrd2", b"quiet").digest(one),
        with(b"kernel", b"initrd", b"quiet ").digest(one),
        SnpLaunch { hashes: None, ..plain }.digest(one),
        SnpLaunch { firmware: &other_firmware, ..plain }.digest(one),
        SnpLaunch { vcpu_type: "EPYC-Milan".parse().unwrap(), ..plain }.digest(one),
        SnpLaunch { features: GuestFeatures::SNP_DEBUG_SWAP, ..plain }.digest(one),
    ]
    .map(|digest| *digest.unwrap().as_bytes());
    let distinct: std::collections::HashSet<_> = digests.iter().collect();
    assert_eq!(distinct.len(), digests.len());
}

#[test]
fn a_byte_changed_in_memory_alone_changes_the_digest() {
    let Some(firmware) = fixtures::amd_sev_firmware() else { return };
    let page =
        KernelHashes::of(b"kernel", b"initrd", b"quiet").unwrap().to_page(0x81_0c00).unwrap();
    let digest = measure_memory(&firmware, Some(&page)).unwrap();
    let mut changed = page.clone();
    changed[0xfff] = 1; // beside the table, where no firmware looks
    assert_ne!(measure_memory(&firmware, Some(&changed)), Ok(digest));
    assert_ne!(measure_memory(&firmware, None), Ok(digest));
}

#[test]
fn refuses_short_firmware() {
    let launch = SnpLaunch {
        firmware: &[],
        hashes: None,
        vcpu_type: VcpuType::ALL[0],
        features: GuestFeatures::SNP,
    };
    let refused = launch.digest(NonZeroU16::MIN);
    assert!(matches!(refused, Err(LaunchError::Firmware(_))), "{refused:?}");
}

proptest! {
    #[test]
    fn hostile_firmware_never_panics(tail in proptest::collection::vec(any::<u8>(), 0..4096)) {
        let mut firmware = vec![0; 4096];
        let start = firmware.len() - tail.len();
        firmware[start..].copy_from_slice(&tail);
        let _ = measure_memory(&firmware, Some(&[0; 4096]));
    }
}
