// SPDX-License-Identifier: Apache-2.0
//! Parameters of an SNP guest that stand in its report beside the launch digest.

use std::fmt;
use std::str::FromStr;

use casemate_boot_formats::initdata::Initdata;

/// The guest policy: what the PSP demands of the platform for as long as the guest lives.
///
/// Source: AMD, SEV Secure Nested Paging Firmware ABI (56860) 1.57, table 9.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GuestPolicy(u64);

impl GuestPolicy {
    /// Simultaneous multithreading is allowed, everything else is refused: 0x30000.
    pub const DEFAULT: Self = Self(ALWAYS_ONE | SMT);

    /// Takes the policy's word.
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy`] without bit 17, which must be one, or with a bit above 25, all of which
    /// must be zero: the PSP refuses both.
    pub const fn from_bits(bits: u64) -> Result<Self, InvalidPolicy> {
        if bits & ALWAYS_ONE == 0 || bits & !KNOWN != 0 {
            return Err(InvalidPolicy { bits });
        }
        Ok(Self(bits))
    }

    /// The policy's word.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Bit 16: simultaneous multithreading is allowed.
    #[must_use]
    pub const fn allows_smt(self) -> bool {
        self.0 & SMT != 0
    }

    /// Bit 19: the host may read and change the guest's memory.
    #[must_use]
    pub const fn allows_debug(self) -> bool {
        self.0 & DEBUG != 0
    }

    /// Bit 18: the guest may be bound to a migration agent.
    #[must_use]
    pub const fn allows_migration_agent(self) -> bool {
        self.0 & MIGRATION_AGENT != 0
    }
}

impl Default for GuestPolicy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl FromStr for GuestPolicy {
    type Err = InvalidPolicy;

    /// Reads hexadecimal digits, with or without `0x`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        // from_str_radix would take a sign.
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(InvalidPolicy { bits: 0 });
        }
        let bits = u64::from_str_radix(digits, 16).map_err(|_| InvalidPolicy { bits: 0 })?;
        Self::from_bits(bits)
    }
}

impl fmt::Display for GuestPolicy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:#x}", self.0)
    }
}

/// A policy that every PSP refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{bits:#x} is no SNP guest policy: bit 17 must be one, bits 26 and above must be zero")]
pub struct InvalidPolicy {
    /// The refused word.
    pub bits: u64,
}

/// 32 bytes that the launcher chooses and every report repeats: the digest of the initdata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct HostData(pub [u8; 32]);

impl From<&Initdata> for HostData {
    /// The digest of the whole document, cut or filled with zeros to 32 bytes as in CoCo.
    fn from(initdata: &Initdata) -> Self {
        Self(initdata.host_data())
    }
}

const SMT: u64 = 1 << 16;
const ALWAYS_ONE: u64 = 1 << 17;
const MIGRATION_AGENT: u64 = 1 << 18;
const DEBUG: u64 = 1 << 19;
/// Bits 0 to 25: ABI version, the four above, single socket, CXL, AES-256-XTS, RAPL, ciphertext
/// hiding and page swap.
const KNOWN: u64 = (1 << 26) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_that_the_psp_refuses_do_not_exist() {
        assert_eq!(GuestPolicy::from_bits(0x3_0000), Ok(GuestPolicy::DEFAULT));
        assert!(GuestPolicy::from_bits(0x2_0000).is_ok_and(|policy| !policy.allows_smt()));
        for bits in [0, 0x1_0000, 1 << 26 | 0x3_0000, u64::MAX] {
            assert_eq!(GuestPolicy::from_bits(bits), Err(InvalidPolicy { bits }));
        }
        assert!(GuestPolicy::from_bits(0xb_0000).is_ok_and(GuestPolicy::allows_debug));
        assert!(GuestPolicy::from_bits(0x6_0000).is_ok_and(GuestPolicy::allows_migration_agent));
    }

    #[test]
    fn reads_hexadecimal_digits_only() {
        assert_eq!("0x30000".parse(), Ok(GuestPolicy::DEFAULT));
        assert_eq!("30000".parse(), Ok(GuestPolicy::DEFAULT));
        for text in ["", "0x", "+30000", "0x+30000", "3_0000", "10000000000000000", "196608 "] {
            assert!(text.parse::<GuestPolicy>().is_err(), "{text:?}");
        }
    }
}
