// SPDX-License-Identifier: Apache-2.0
//! IGVM files. The checksum of the input is made right first, as a host would.

#![no_main]

use casemate_boot_formats::igvm::Igvm;
use casemate_boot_formats::igvm::Tee;
use flate2::Crc;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut file = input.to_vec();
    seal(&mut file);
    let Ok(igvm) = Igvm::parse(&file) else { return };
    for tee in [Tee::Snp, Tee::Tdx] {
        let Ok(plan) = igvm.plan(tee) else { continue };
        // Parameter areas become pages, of which there can be too many for headers.
        let Ok(written) = plan.to_bytes() else { continue };
        let again = Igvm::parse(&written).expect("what is written is read");
        assert_eq!(again.plan(tee).as_ref(), Ok(&plan));
    }
});

/// Puts the length of the file and the checksum of its headers in their places.
fn seal(file: &mut [u8]) -> Option<()> {
    let size = u32::try_from(file.len()).ok()?;
    file.get_mut(16..20)?.copy_from_slice(&size.to_le_bytes());
    file.get_mut(20..24)?.fill(0);
    let word = |at: usize| file.get(at..)?.first_chunk().copied().map(u32::from_le_bytes);
    let end = word(8)?.checked_add(word(12)?)?;
    let mut crc = Crc::new();
    crc.update(file.get(..usize::try_from(end).ok()?)?);
    file.get_mut(20..24)?.copy_from_slice(&crc.sum().to_le_bytes());
    Some(())
}
