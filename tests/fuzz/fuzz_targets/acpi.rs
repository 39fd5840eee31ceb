// SPDX-License-Identifier: Apache-2.0
//! The ACPI files of QEMU: one byte and one word with the sizes of root pointer and commands, then
//! these two and the tables.

#![no_main]

use casemate_boot_formats::acpi::AcpiFiles;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some(([rsdp, low, high], rest)) = input.split_first_chunk() else { return };
    let Some((rsdp, rest)) = rest.split_at_checked(usize::from(*rsdp)) else { return };
    let size = usize::from(u16::from_le_bytes([*low, *high]));
    let Some((loader, tables)) = rest.split_at_checked(size) else { return };
    let Ok(files) = AcpiFiles::parse(loader, rsdp, tables) else { return };
    assert_eq!((files.loader(), files.rsdp(), files.tables()), (loader, rsdp, tables));
    // Behind the last command and the last table is room for more.
    let more = [loader, &[0; 128]].concat();
    assert!(AcpiFiles::parse(&more, rsdp, &[tables, &[0; 64]].concat()).is_ok());
});
