// SPDX-License-Identifier: Apache-2.0
//! Stands in for the agent in VM tests: answers each 64 bytes of report data that come through the
//! agent's port with a report and its certificates, and resets the machine at the end, which is how a
//! guest without ACPI ends.
//!
//! An answer is a status byte (0, or 1 for an error), a length (u32, little-endian) and the content:
//! report and certificate table, or the error as text.

#![allow(clippy::expect_used, reason = "a test program; its panic stops the guest")]

use std::io::{Read, Write};

use casemate_attester::{ReportData, SevGuest};
use casemate_evidence::snp::write_table;
use casemate_tee_sim_device::port::open_device;
use rustix::mount::{MountFlags, mount};
use rustix::system::RebootCommand;

fn main() {
    for (kind, target) in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev")] {
        let _ = std::fs::create_dir(target);
        mount(kind, target, kind, MountFlags::empty(), None).expect("nothing is mounted here");
    }
    let mut host = open_device("casemate.agent").expect("the agent's port");
    let mut data = [0; ReportData::LEN];
    while host.read_exact(&mut data).is_ok() {
        let (status, content) = match evidence(&ReportData(data)) {
            Ok(content) => (0, content),
            Err(error) => (1, format!("{error:?}").into_bytes()),
        };
        let len = u32::try_from(content.len()).expect("less than 4 GiB");
        let answer = [&[status], len.to_le_bytes().as_slice(), &content].concat();
        host.write_all(&answer).expect("the host reads");
    }
    rustix::system::reboot(RebootCommand::Restart).expect("process 1 may do this");
}

fn evidence(data: &ReportData) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let device = SevGuest::open()?;
    // Both ways must give the same report but for its signature.
    let plain = device.report(data)?;
    let extended = device.extended_report(data)?;
    let signed = 0..0x2a0;
    if plain.as_bytes().get(signed.clone()) != extended.report.as_bytes().get(signed) {
        return Err("the two reports differ".into());
    }
    let table = write_table(&extended.certificates)?;
    Ok([extended.report.as_bytes().as_slice(), &table].concat())
}
