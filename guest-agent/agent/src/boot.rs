// SPDX-License-Identifier: Apache-2.0
//! From the first instruction of PID 1 to the verdict on the initdata.

pub(crate) mod clock;
mod command_line;
mod devices;
mod documents;
mod initdata_device;
mod modules;
mod mounts;
mod self_check;
pub mod steps;

use std::path::Path;

use casemate_agent_api::Code;
use casemate_attester::SourceKind;

pub(crate) use initdata_device::read_capped;
pub(crate) use self_check::Launch;

/// Makes the guest usable: root, file systems, kernel modules; reads the kernel command line. The
/// process has one thread still.
pub(crate) fn prepare() -> Result<SourceKind, BootError> {
    casemate_containers::make_root_pivotable().map_err(|source| BootError::Root { source })?;
    mounts::mount_all()?;
    crate::log::start();
    mounts::harden();
    clock::raise_to_floor(Path::new("/proc/version"))?;
    modules::load_all(Path::new("/lib/modules"))?;
    devices::settle(Path::new("/sys"))?;
    modules::close_kernel(Path::new("/proc/sys/kernel"))?;
    let source = command_line::read(Path::new("/proc/cmdline"))?;
    match source {
        SourceKind::SevGuest => {}
        SourceKind::SevTsm | SourceKind::Tdx => mounts::mount_configfs()?,
    }
    Ok(source)
}

/// Reads the initdata and compares it with the guest's own report. Blocks.
pub(crate) fn check(source: SourceKind) -> Result<Launch, BootError> {
    let initdata = initdata_device::read(Path::new("/sys/block"), Path::new("/dev"))?;
    Ok(self_check::check(source, &initdata)?)
}

/// Why the guest does not boot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum BootError {
    #[error("failed to prepare the root")]
    Root {
        #[source]
        source: casemate_containers::GuestRootError,
    },
    #[error(transparent)]
    Mount(#[from] mounts::MountError),
    #[error(transparent)]
    Module(#[from] modules::ModuleError),
    #[error(transparent)]
    Clock(#[from] clock::ClockError),
    #[error(transparent)]
    Devices(#[from] devices::DevicesError),
    #[error(transparent)]
    CommandLine(#[from] command_line::CommandLineError),
    #[error(transparent)]
    Device(#[from] initdata_device::DeviceError),
    #[error(transparent)]
    SelfCheck(#[from] self_check::SelfCheckError),
}

impl BootError {
    /// The stable code for the host.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Root { .. } | Self::Mount(_) | Self::Module(_) | Self::CommandLine(_) => {
                Code::Internal
            }
            Self::Clock(_) => Code::GuestClock,
            Self::Devices(_) => Code::GuestDevice,
            Self::Device(error) => error.code(),
            Self::SelfCheck(error) => error.code(),
        }
    }
}

/// An error with its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
