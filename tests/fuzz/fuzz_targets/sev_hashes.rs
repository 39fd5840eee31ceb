// SPDX-License-Identifier: Apache-2.0
//! The SEV kernel-hashes table: what is accepted is written back byte for byte.

#![no_main]

use casemate_boot_formats::sev_hashes::KernelHashes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|table: &[u8]| {
    if let Ok(hashes) = KernelHashes::from_table(table) {
        assert_eq!(hashes.to_table(), table);
    }
});
