// SPDX-License-Identifier: Apache-2.0
//! The two kinds of guests.

use std::fmt;

use crate::abi;

/// The hardware that protects a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tee {
    /// AMD SEV-SNP.
    Snp,
    /// Intel TDX.
    Tdx,
}

impl Tee {
    /// The type that `KVM_CREATE_VM` takes.
    #[must_use]
    pub const fn vm_type(self) -> u32 {
        match self {
            Self::Snp => abi::VM_TYPE_SNP,
            Self::Tdx => abi::VM_TYPE_TDX,
        }
    }
}

impl fmt::Display for Tee {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Snp => "SNP",
            Self::Tdx => "TDX",
        })
    }
}
