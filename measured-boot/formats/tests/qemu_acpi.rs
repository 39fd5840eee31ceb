// SPDX-License-Identifier: Apache-2.0
//! The ACPI files of the installed QEMU, read from fw_cfg as a guest's firmware reads them.

#![allow(clippy::as_conversions, reason = "small numbers of known size")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]
#![allow(clippy::indexing_slicing, reason = "a test may panic")]

mod fixtures;

use std::collections::BTreeMap;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::process::Child;
use std::process::ChildStdin;
use std::process::ChildStdout;
use std::process::Command;
use std::process::Stdio;

use casemate_boot_formats::acpi::AcpiFiles;
use casemate_boot_formats::acpi::AcpiFilesError;

#[test]
fn takes_the_files_of_qemu_and_no_two_mixed() {
    let machines: [&[&str]; 4] = [
        &["-machine", "q35", "-m", "512"],
        &["-machine", "q35", "-m", "4096", "-smp", "8", "-device", "vmgenid"],
        &[
            "-machine",
            "q35",
            "-device",
            "virtio-blk-pci,drive=d",
            "-drive",
            "if=none,id=d,file=/dev/null,format=raw,readonly=on",
        ],
        &["-machine", "pc", "-m", "512"],
    ];
    let mut seen = Vec::new();
    for machine in machines {
        let Some(mut qemu) = Qemu::start(machine) else { return };
        let files = qemu.files();
        let [loader, rsdp, tables] = ["etc/table-loader", "etc/acpi/rsdp", "etc/acpi/tables"]
            .map(|name| qemu.read(files[name].0, files[name].1));
        let parsed = AcpiFiles::parse(&loader, &rsdp, &tables);
        assert!(parsed.is_ok(), "{machine:?}: {parsed:?}");
        assert_eq!(parsed.unwrap().tables(), tables);
        seen.push((loader, rsdp, tables));
    }
    // The list of another machine speaks of other tables.
    let mixed = AcpiFiles::parse(&seen[1].0, &seen[0].1, &seen[0].2);
    assert!(matches!(mixed, Err(AcpiFilesError::NoTable { .. })), "{mixed:?}");
}

/// A machine that does not run; its devices are asked over the test protocol.
struct Qemu {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Qemu {
    fn start(machine: &[&str]) -> Option<Self> {
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-accel", "tcg", "-S", "-nodefaults", "-display", "none"]);
        command.args(["-qtest", "stdio", "-qtest-log", "none"]).args(machine);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let Ok(mut child) = command.spawn() else {
            return fixtures::skip("qemu-system-x86_64 cannot be run");
        };
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Some(Self { child, to, from: BufReader::new(from) })
    }

    fn ask(&mut self, line: &str) -> String {
        writeln!(self.to, "{line}").unwrap();
        let mut answer = String::new();
        self.from.read_line(&mut answer).unwrap();
        answer.trim().strip_prefix("OK").unwrap_or_else(|| panic!("{line}: {answer}")).trim().into()
    }

    /// Selects an item and has it written to memory (QEMU, `docs/specs/fw_cfg.rst`).
    fn read(&mut self, key: u16, size: usize) -> Vec<u8> {
        let mut access = (u32::from(key) << 16 | SELECT_AND_READ).to_be_bytes().to_vec();
        access.extend((size as u32).to_be_bytes());
        access.extend(BUFFER.to_be_bytes());
        let access = hex::encode(access);
        self.ask(&format!("write {REQUEST:#x} 16 0x{access}"));
        self.ask("outl 0x514 0");
        self.ask(&format!("outl 0x518 {:#x}", REQUEST.swap_bytes()));
        let answer = self.ask(&format!("read {BUFFER:#x} {size}"));
        hex::decode(answer.trim_start_matches("0x")).unwrap()
    }

    /// Key and size of each file.
    fn files(&mut self) -> BTreeMap<String, (u16, usize)> {
        let head = self.read(DIRECTORY, 4);
        let count = u32::from_be_bytes(head.try_into().unwrap()) as usize;
        let directory = self.read(DIRECTORY, 4 + 64 * count);
        let entry = |entry: &[u8]| {
            let size = u32::from_be_bytes(entry[..4].try_into().unwrap()) as usize;
            let key = u16::from_be_bytes(entry[4..6].try_into().unwrap());
            let name = entry[8..].split(|byte| *byte == 0).next().unwrap();
            (String::from_utf8(name.to_vec()).unwrap(), (key, size))
        };
        directory[4..].chunks(64).map(entry).collect()
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const DIRECTORY: u16 = 0x19;
const SELECT_AND_READ: u32 = 8 | 2;
const REQUEST: u32 = 0x8000;
const BUFFER: u64 = 0x10_0000;
