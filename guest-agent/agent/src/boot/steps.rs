// SPDX-License-Identifier: Apache-2.0
//! The steps of the boot that judge what the host gives, one by one.
//!
//! For tests that play the host: they cannot boot a guest for each lie. The boot itself calls the
//! same functions. An error is the stable code that the host is told before the guest powers off.

use std::path::Path;
use std::path::PathBuf;

use casemate_agent_api::Code;
use casemate_attester::OwnReport;
use casemate_attester::SourceKind;
use casemate_boot_formats::initdata::Initdata;

use super::BootError;
use super::clock;
use super::command_line;
use super::devices as buses;
use super::initdata_device;
use super::self_check as check;
use crate::port as ports;

/// Where the kernel command line says that reports come from.
///
/// # Errors
///
/// The code of a command line that names no source, an unknown one or two.
pub fn report_source(command_line: &Path) -> Result<SourceKind, Code> {
    command_line::read(command_line).map_err(|error| BootError::from(error).code())
}

/// Reads the initdata from the disks of `sys_block`, whose devices lie in `dev`.
///
/// # Errors
///
/// The code of a disk that is absent, there twice, or holds no initdata.
pub fn initdata(sys_block: &Path, dev: &Path) -> Result<Initdata, Code> {
    initdata_device::read(sys_block, dev).map_err(|error| error.code())
}

/// Compares the initdata with the guest's own report, and reads its documents.
///
/// # Errors
///
/// The code of another document than the one of the launch, or of one that is malformed.
pub fn self_check(initdata: &Initdata, report: &OwnReport) -> Result<(), Code> {
    check::judge(initdata, report).map(drop).map_err(|error| error.code())
}

/// Takes the driver from every device that no guest uses, in the kernel's tree `sys`.
///
/// # Errors
///
/// The code of buses that cannot be brought in order.
pub fn devices(sys: &Path) -> Result<(), Code> {
    buses::settle(sys).map_err(|error| BootError::from(error).code())
}

/// What a clock that shows `now`, in seconds since 1970, is set to at boot under a kernel with this
/// banner.
#[must_use]
pub fn clock(now: i64, banner: &[u8]) -> Option<i64> {
    clock::step(now, clock::floor(banner))
}

/// The port that the agent listens on, among those of `sys`, whose devices lie in `dev`.
#[must_use]
pub fn port(sys: &Path, dev: &Path) -> Option<PathBuf> {
    ports::find(sys, dev).ok()
}
