// SPDX-License-Identifier: Apache-2.0
//! E2, BadAML: code in the host's ACPI tables runs in the kernel, before the agent and unmeasured.
//!
//! The host here rewrites the DSDT and adds an SSDT, both with code that stores to the guest's
//! memory. In a guest with one virtual CPU, whose measured command line says `acpi=off`, nothing is
//! stored. In a guest with two it is: the control that shows that the attack works, and a hole that
//! stays until firmware or kernel stop such tables.

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
#[path = "fixtures/bad_aml.rs"]
mod tables;

use std::num::NonZeroU16;

use casemate_guest_image::Kind;

use qemu::Boot;
use qemu::End;
use qemu::Guest;
use qemu::MEMORY;
use qemu::PATIENCE;
use qemu::ProbeImage;
use qemu::value;
use tables::DSDT_TARGET;
use tables::HostileTables;
use tables::SSDT_TARGET;
use tables::STORED;

/// A guest of an honest and one of a hostile host, as they are at the end.
struct Pair {
    honest: Boot,
    hostile: Boot,
    tables: HostileTables,
}

impl Pair {
    fn boot(image: &ProbeImage, vcpus: u16) -> Self {
        let guest = image.guest(NonZeroU16::new(vcpus).unwrap());
        let tables = HostileTables::of(&guest);
        let victim = Guest { acpi: Some(&tables.files), ..guest };
        let (honest, hostile) = std::thread::scope(|scope| {
            let honest = scope.spawn(|| guest.boot(PATIENCE));
            let hostile = victim.boot(PATIENCE);
            (honest.join().unwrap(), hostile)
        });
        Self { honest, hostile, tables }
    }

    /// The firmware took the tables, and the guest came up as under an honest host.
    fn check_alike(&self) {
        for boot in [&self.honest, &self.hostile] {
            assert_eq!(boot.end, End::Reset, "{}", boot.errors);
        }
        let report = self.honest.report.as_deref().unwrap();
        assert!(report.starts_with("reached\n") && report.ends_with("end\n"), "{report}");
        assert_eq!(self.hostile.report.as_deref(), Some(report));

        // Firmware puts tables near the end of memory.
        const SEARCHED: u64 = 32 << 20;
        let memory = self.hostile.memory(MEMORY - SEARCHED, SEARCHED);
        for table in [&self.tables.dsdt, &self.tables.ssdt] {
            let mut places = (0..memory.len()).step_by(16);
            assert!(places.any(|place| memory[place..].starts_with(table)));
        }
    }
}

/// The two words to which a hostile table stores.
fn stored(boot: &Boot, target: u32) -> [u32; 2] {
    let bytes = boot.memory(target.into(), 8);
    [&bytes[..4], &bytes[4..]].map(|word| u32::from_le_bytes(word.try_into().unwrap()))
}

#[test]
fn code_of_the_host_does_not_run_in_a_guest_with_one_cpu() {
    let Some(image) = ProbeImage::build(|_| Kind::Production) else { return };
    let pair = Pair::boot(&image, 1);
    pair.check_alike();
    assert_eq!(value(pair.hostile.report.as_ref().unwrap(), "tables"), "false");
    // E2: neither at load nor at initialisation, from neither table.
    assert_eq!(stored(&pair.hostile, DSDT_TARGET), [0; 2]);
    assert_eq!(stored(&pair.hostile, SSDT_TARGET), [0; 2]);
}

#[test]
fn code_of_the_host_runs_in_a_guest_with_two_cpus() {
    let Some(image) = ProbeImage::build(|_| Kind::Production) else { return };
    let pair = Pair::boot(&image, 2);
    pair.check_alike();
    assert_eq!(value(pair.hostile.report.as_ref().unwrap(), "tables"), "true");
    // E2 is open: the same code in the same tables ran, in spite of lockdown=confidentiality.
    assert_eq!(stored(&pair.hostile, DSDT_TARGET), STORED);
    assert_eq!(stored(&pair.hostile, SSDT_TARGET), STORED);
    // Nothing but that code stores there.
    assert_eq!(stored(&pair.honest, DSDT_TARGET), [0; 2]);
    assert_eq!(stored(&pair.honest, SSDT_TARGET), [0; 2]);
}
