// SPDX-License-Identifier: Apache-2.0
//! Caps on the process that evaluates.

use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::setrlimit;

/// Caps the address space of this process, in bytes, and its processor time, in seconds, and lets it
/// leave no core dump. A program that wants more ends the process.
///
/// # Errors
///
/// The kernel refuses the limits.
pub fn confine(bytes: u64, seconds: u64) -> Result<(), ConfineError> {
    for (resource, most) in [(Resource::Core, 0), (Resource::As, bytes), (Resource::Cpu, seconds)] {
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        setrlimit(resource, limit).map_err(|source| ConfineError { source })?;
    }
    Ok(())
}

/// The kernel refused a limit.
#[derive(Debug, thiserror::Error)]
#[error("failed to limit this process")]
pub struct ConfineError {
    /// Why.
    #[source]
    source: rustix::io::Errno,
}
