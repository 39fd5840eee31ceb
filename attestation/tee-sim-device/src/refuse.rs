// SPDX-License-Identifier: Apache-2.0
//! Refuses to simulate a TEE inside a real one.

use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::path::Path;

/// Why this machine is no place for a simulated device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RealTee {
    /// SEV, SEV-ES or SEV-SNP are active or offered.
    #[error("this is a SEV machine: the simulated device must not run here")]
    Sev,
    /// A TDX guest.
    #[error("this is a TDX guest: the simulated device must not run here")]
    Tdx,
    /// The kernel made its own device.
    #[error("the kernel has a TEE device: the simulated device must not run here")]
    Device,
}

/// What the processor says, apart for tests.
#[derive(Debug, Clone, Copy)]
pub struct CpuidFacts {
    /// EAX of leaf 0x8000001f, 0 if there is no such leaf.
    pub encryption: u32,
    /// EBX, EDX, ECX of leaf 0x21, as text.
    pub tdx_signature: [u8; 12],
}

impl CpuidFacts {
    /// Asks the processor. In a real SNP guest the kernel answers from the page that the PSP
    /// checked, so that the host cannot hide the TEE.
    #[must_use]
    pub fn of_this_machine() -> Self {
        let encryption = match __cpuid(0x8000_0000).eax {
            highest if highest >= ENCRYPTION_LEAF => __cpuid_count(ENCRYPTION_LEAF, 0).eax,
            _ => 0,
        };
        let mut tdx_signature = [0; 12];
        if __cpuid(0).eax >= TDX_LEAF {
            let leaf = __cpuid_count(TDX_LEAF, 0);
            let text = [leaf.ebx, leaf.edx, leaf.ecx].into_iter().flat_map(u32::to_le_bytes);
            tdx_signature.iter_mut().zip(text).for_each(|(to, from)| *to = from);
        }
        Self { encryption, tdx_signature }
    }

    /// Judges the facts.
    ///
    /// # Errors
    ///
    /// [`RealTee`].
    pub fn check(&self) -> Result<(), RealTee> {
        if self.encryption & SEV_BITS != 0 {
            return Err(RealTee::Sev);
        }
        if &self.tdx_signature == b"IntelTDX    " {
            return Err(RealTee::Tdx);
        }
        Ok(())
    }
}

/// Looks for devices that only a kernel in a real TEE makes.
///
/// # Errors
///
/// [`RealTee::Device`].
pub fn check_devices() -> Result<(), RealTee> {
    let real = ["/dev/sev-guest", "/dev/tdx_guest", "/sys/bus/platform/devices/sev-guest"];
    if real.iter().any(|path| Path::new(path).exists()) { Err(RealTee::Device) } else { Ok(()) }
}

const ENCRYPTION_LEAF: u32 = 0x8000_001f;
const TDX_LEAF: u32 = 0x21;
/// SEV, SEV-ES, SEV-SNP.
const SEV_BITS: u32 = 1 << 1 | 1 << 3 | 1 << 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_real_tee_is_refused() {
        let plain = CpuidFacts { encryption: 0, tdx_signature: [0; 12] };
        assert_eq!(plain.check(), Ok(()));
        for bit in [1, 3, 4] {
            let sev = CpuidFacts { encryption: 1 << bit, ..plain };
            assert_eq!(sev.check(), Err(RealTee::Sev), "bit {bit}");
        }
        let tdx = CpuidFacts { tdx_signature: *b"IntelTDX    ", ..plain };
        assert_eq!(tdx.check(), Err(RealTee::Tdx));
        // Host memory encryption alone (SME, bit 0) is no guest TEE.
        assert_eq!(CpuidFacts { encryption: 1, ..plain }.check(), Ok(()));
    }
}
