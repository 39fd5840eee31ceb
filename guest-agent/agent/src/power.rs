// SPDX-License-Identifier: Apache-2.0
//! Ends the VM.

use std::path::Path;

use rustix::system::RebootCommand;

use crate::backend::Power;

/// The guest's own power switch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GuestPower;

impl Power for GuestPower {
    fn off(&self) {
        rustix::fs::sync();
        // A kernel without ACPI cannot power off and would halt with the VM alive. It can reset,
        // which ends the VM: the host runs it with resets turned off.
        let has_acpi = Path::new("/sys/firmware/acpi").exists();
        let command = if has_acpi { RebootCommand::PowerOff } else { RebootCommand::Restart };
        if let Err(error) = rustix::system::reboot(command) {
            tracing::error!(%error, "power off failed");
        }
    }
}
