// SPDX-License-Identifier: Apache-2.0
//! E2, E3, E7, E8: what the host offers to firmware and kernel before the agent runs.

use anyhow::ensure;
use casemate_boot_formats::ovmf::Ovmf;
use casemate_boot_formats::ovmf::OvmfError;
use casemate_guest_image::ImageTee;
use casemate_guest_image::command_line;
use casemate_guest_image::command_line_smp;

use super::vm;
use crate::Case;
use crate::Context;
use crate::Defence;
use crate::Guard;
use crate::Level;
use crate::Outcome;
use crate::Verdict;

const LINE: &str = "casemate_guest_image::cmdline::line";

pub(super) static E2: Case = Case {
    id: "E2",
    level: Level::V,
    attack: "ACPI tables whose code stores to the guest's memory",
    defence: Defence::Code(Guard {
        function: LINE,
        sabotage: "{ let kept = PARAMETERS.iter().filter(|word| **word != \"acpi=off\"); \
                   kept.fold(format!(\"casemate.tee={tee}\"), |line, word| line + \" \" + word) }",
    }),
    run: |context| Box::pin(async move { run_aml(&context) }),
};

pub(super) static E3: Case = Case {
    id: "E3",
    level: Level::V,
    attack: "firmware settings, SMBIOS strings, boot order, loaders on disks, a card's ROM",
    defence: Defence::Code(Guard {
        function: "casemate_boot_formats::ovmf::Ovmf::hash_table_address",
        sabotage: "Ok(self.hash_table.map_or(0, |area| area.base))",
    }),
    run: |context| Box::pin(async move { offer_settings(&context) }),
};

pub(super) static E7: Case = Case {
    id: "E7",
    level: Level::V,
    attack: "looks for a console: serial ports, magic keys, kernel dumps",
    defence: Defence::Code(Guard {
        function: LINE,
        sabotage: "format!(\"casemate.tee={tee} acpi=off panic=-1 reboot=triple console=ttyS0\")",
    }),
    run: |context| Box::pin(async move { attach_console(&context) }),
};

pub(super) static E8: Case = Case {
    id: "E8",
    level: Level::V,
    attack: "feeds the guest's random numbers, or starves them",
    defence: Defence::Code(Guard {
        function: LINE,
        sabotage: "{ let kept = PARAMETERS.iter().filter(|word| !word.starts_with(\"random.\")); \
                   kept.fold(format!(\"casemate.tee={tee}\"), |line, word| line + \" \" + word) }",
    }),
    run: |context| Box::pin(async move { feed_entropy(&context) }),
};

fn run_aml(context: &Context) -> Verdict {
    let pair = vm::pair(context)?;
    ensure!(pair.tables_arrived, "the hostile tables did not come to the guest's memory");
    for (table, stored) in ["DSDT", "SSDT"].into_iter().zip(pair.hostile.stored) {
        ensure!(stored == [0; 2], "code of the {table} stored {stored:x?} of {:x?}", vm::STORED);
    }
    ensure!(pair.honest.stored == [[0; 2]; 2], "the words are used by somebody else");
    ensure!(pair.hostile.value("tables") == "false", "the kernel takes the host's tables");
    Ok(Outcome::pass(
        "with one virtual CPU the measured command line keeps the kernel from the host's tables: \
         neither DSDT nor SSDT stored anything. With several CPUs the hole is open, under another \
         launch digest",
    ))
}

fn offer_settings(context: &Context) -> Verdict {
    // Firmware that has no place for the owner's table starts what the host offers: it goes into no
    // guest image, is launched by no driver of ours, and is measured as nothing.
    let pair = vm::pair(context)?;
    let image = vm::probe_image(context)?;
    let mut ordinary = image.parts.firmware.clone();
    let mut places = 0;
    // SEV_HASH_TABLE_RV_GUID, 7255371f-3a3b-4b04-927b-1da6efa8d454, in the footer's table.
    const GUID: [u8; 16] = [
        0x1f, 0x37, 0x55, 0x72, 0x3b, 0x3a, 0x04, 0x4b, 0x92, 0x7b, 0x1d, 0xa6, 0xef, 0xa8, 0xd4,
        0x54,
    ];
    for at in 0..ordinary.len() - GUID.len() {
        if ordinary[at..].starts_with(&GUID) {
            ordinary[at] ^= 0xff;
            places += 1;
        }
    }
    ensure!(places > 0, "the firmware names no place for the table");
    let refused = Ovmf::parse(&ordinary)?.hash_table_address();
    ensure!(refused == Err(OvmfError::NoHashTable), "ordinary firmware is taken: {refused:?}");

    // The one thing that ran is the ROM of a card, once: this guest is not encrypted, and in no other
    // may software look. What it could change is compared below.
    let rom = vm::boot_code::EFI_ROM;
    ensure!(pair.said == [rom], "code of the host ran: {:?}", String::from_utf8_lossy(&pair.said));
    ensure!(pair.hostile.firmware_is_intact, "the firmware in memory is another one");
    // The same to the byte: no word on the command line, no name, no time. The hostile guest has
    // more devices, some of which have names.
    let (honest, hostile) = (pair.honest.value("cmdline"), pair.hostile.value("cmdline"));
    ensure!(honest == hostile, "the command line is {hostile} instead of {honest}");
    for key in ["lockdown", "consoles", "sysrq", "tables", "tsm", "debugfs", "cpus"] {
        let (honest, hostile) = (pair.honest.value(key), pair.hostile.value(key));
        ensure!(honest == hostile, "{key} is {hostile} instead of {honest}");
    }
    ensure!(pair.hostile.without_drivers().len() == pair.honest.without_drivers().len());
    Ok(Outcome::pass(
        "strings, settings, boot order and loaders of the host changed nothing; firmware that would \
         obey them is refused. Known hole: the ROM of a card ran, as in every guest without \
         encryption; firmware, command line and the kernel's view were the same after it. In SNP this \
         firmware takes none, which its binary shows (hostile_hardware.rs) and only hardware proves",
    ))
}

fn attach_console(context: &Context) -> Verdict {
    for line in ImageTee::ALL.into_iter().flat_map(|tee| [command_line(tee), command_line_smp(tee)])
    {
        let words: Vec<_> = line.split(' ').collect();
        for needed in ["console=null", "8250.nr_uarts=0", "loglevel=0", "debugfs=off"] {
            ensure!(words.contains(&needed), "the measured command line lacks {needed}");
        }
        for weak in ["earlyprintk", "kgdb", "crashkernel=", "init=", "rdinit=", "debug"] {
            let found = words.iter().any(|word| word.starts_with(weak) && *word != "debugfs=off");
            ensure!(!found, "the measured command line has {weak}");
        }
    }
    let hostile = vm::pair(context)?.hostile;
    ensure!(hostile.value("consoles").is_empty(), "a console: {}", hostile.value("consoles"));
    ensure!(
        !hostile.value("serial").contains("ttyS"),
        "a serial port: {}",
        hostile.value("serial")
    );
    ensure!(hostile.value("sysrq") == "0", "the magic key works");
    ensure!(hostile.value("debugfs") == "false", "debugfs is there");
    let lockdown = hostile.value("lockdown");
    ensure!(lockdown.contains("[confidentiality]"), "lockdown is {lockdown}");
    Ok(Outcome::pass(
        "with two serial cards and a console of the host's: no console, no serial driver, no magic \
         key, no log; the image holds no shell to attach to",
    ))
}

fn feed_entropy(context: &Context) -> Verdict {
    for line in ImageTee::ALL.into_iter().flat_map(|tee| [command_line(tee), command_line_smp(tee)])
    {
        for needed in ["random.trust_cpu=on", "random.trust_bootloader=off"] {
            ensure!(line.split(' ').any(|word| word == needed), "{needed} is not measured");
        }
    }
    let hostile = vm::pair(context)?.hostile;
    let line = hostile.value("cmdline");
    ensure!(line.contains(" random.trust_bootloader=off "), "the guest sees {line}");
    let fed = hostile.drivers().into_keys().find(|(_, driver)| driver.contains("rng"));
    ensure!(fed.is_none(), "the host's source of zeros has the driver {fed:?}");
    Ok(Outcome::pass(
        "entropy is the CPU's: the host's device of zeros has no driver and firmware's seed no \
         credit. Keys are drawn with getrandom(2), which waits for the kernel's generator",
    ))
}
