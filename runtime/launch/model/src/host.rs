// SPDX-License-Identifier: Apache-2.0
//! What the modelled host offers.

use casemate_launch::CpuidRegister;
use casemate_launch::abi;
use casemate_launch::abi::CpuidEntry;

/// A host with both TEEs, which no machine has; tests take away what they need missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// `KVM_CAP_VM_TYPES`.
    pub vm_types: u64,
    /// `KVM_CAP_GUEST_MEMFD`.
    pub guest_memfd: u64,
    /// `KVM_CAP_MEMORY_ATTRIBUTES`.
    pub memory_attributes: u64,
    /// `KVM_CAP_SPLIT_IRQCHIP`.
    pub split_irqchip: u64,
    /// `KVM_CAP_EXIT_HYPERCALL`.
    pub exit_hypercall: u64,
    /// `KVM_CAP_MAX_VCPUS`.
    pub max_vcpus: u64,
    /// `KVM_X86_SEV_VMSA_FEATURES`.
    pub vmsa_features: u64,
    /// Policy bits that KVM takes.
    pub policy_bits: u64,
    /// Whether KVM tells [`Host::policy_bits`]; older ones do not.
    pub tells_policy_bits: bool,
    /// CPUID bits that the PSP does not accept.
    pub cpuid_limits: Vec<CpuidLimit>,
    /// TD attributes that KVM takes.
    pub td_attributes: u64,
    /// XFAM bits that KVM takes.
    pub xfam: u64,
    /// CPUID bits of TDs that the VMM may choose.
    pub td_cpuid: Vec<CpuidEntry>,
}

/// Bits of a CPUID value that the PSP wants otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuidLimit {
    /// EAX of the query.
    pub function: u32,
    /// ECX of the query.
    pub index: u32,
    /// Register of the answer.
    pub register: CpuidRegister,
    /// Bits that must be zero.
    pub zeros: u32,
    /// Bits that must be one.
    pub ones: u32,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            vm_types: 1 | 1 << abi::VM_TYPE_SNP | 1 << abi::VM_TYPE_TDX,
            guest_memfd: 1,
            memory_attributes: abi::MEMORY_ATTRIBUTE_PRIVATE,
            split_irqchip: 1,
            exit_hypercall: 1 << abi::HC_MAP_GPA_RANGE,
            max_vcpus: 512,
            // DebugSwap and secure TSC.
            vmsa_features: 1 << 5 | 1 << 9,
            // ABI version, SMT, the reserved one, debug, single socket.
            policy_bits: 0x1b_ffff,
            tells_policy_bits: true,
            cpuid_limits: Vec::new(),
            td_attributes: 1 << 28,
            xfam: 0x6_02e7,
            td_cpuid: vec![
                CpuidEntry { function: 1, ecx: 1 << 24, ..CpuidEntry::default() },
                CpuidEntry { function: 7, ebx: 1 << 9, flags: 1, ..CpuidEntry::default() },
            ],
        }
    }
}
