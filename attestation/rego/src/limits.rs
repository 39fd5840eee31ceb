// SPDX-License-Identifier: Apache-2.0
//! Caps on the process that runs a policy.

use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::setrlimit;

/// Caps the address space of this process, in bytes, and its processor time, in seconds. A policy
/// that wants more ends the process.
///
/// # Errors
///
/// The kernel refuses the limits.
pub fn limit_memory(bytes: u64, seconds: u64) -> Result<(), LimitsError> {
    for (resource, most) in [(Resource::As, bytes), (Resource::Cpu, seconds)] {
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        setrlimit(resource, limit).map_err(|source| LimitsError { source })?;
    }
    Ok(())
}

/// The kernel refused a limit.
#[derive(Debug, thiserror::Error)]
#[error("failed to limit this process")]
pub struct LimitsError {
    /// Why.
    #[source]
    source: rustix::io::Errno,
}
