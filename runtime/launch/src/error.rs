// SPDX-License-Identifier: Apache-2.0
//! How KVM says no, and why a launch ends.

use std::fmt;

use rustix::io::Errno;

use crate::CpuidChange;
use crate::Tee;

/// KVM refused a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The error number.
    pub errno: Errno,
    /// What the firmware below KVM said, if it was asked and did not agree.
    pub firmware: Option<FirmwareError>,
}

impl Refusal {
    /// A refusal of KVM itself.
    #[must_use]
    pub const fn kernel(errno: Errno) -> Self {
        Self { errno, firmware: None }
    }

    /// A refusal of the PSP, for which KVM answers EIO.
    #[must_use]
    pub const fn psp(status: PspStatus) -> Self {
        Self { errno: Errno::IO, firmware: Some(FirmwareError::Psp(status)) }
    }

    /// Whether nothing was done, or progress was noted, and the same call may succeed later.
    pub(crate) fn is_transient(&self, call: Call) -> bool {
        match self.errno {
            Errno::AGAIN | Errno::INTR => true,
            // The TDX module found a lock taken. For KVM_TDX_INIT_VM the same number says that
            // there are virtual CPUs already.
            Errno::BUSY => {
                matches!(call, Call::TdxInitVcpu | Call::TdxInitMemRegion | Call::TdxFinalizeVm)
            }
            _ => false,
        }
    }

    pub(crate) fn is_cpuid_correction(&self) -> bool {
        self.errno == Errno::IO
            && self.firmware == Some(FirmwareError::Psp(PspStatus::INVALID_PARAM))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.errno)?;
        self.firmware.iter().try_for_each(|firmware| write!(formatter, " ({firmware})"))
    }
}

impl std::error::Error for Refusal {}

/// The status word of the firmware below KVM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirmwareError {
    /// AMD's secure processor.
    Psp(PspStatus),
    /// Intel's TDX module: RAX of the SEAMCALL.
    TdxModule(u64),
}

impl fmt::Display for FirmwareError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Psp(status) => write!(formatter, "PSP status {status}"),
            Self::TdxModule(status) => write!(formatter, "TDX module status {status:#x}"),
        }
    }
}

/// A status of the PSP.
///
/// Source: SEV Secure Nested Paging Firmware ABI (56860) 1.57, table 87 "Status codes".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PspStatus(pub u32);

impl PspStatus {
    /// The guest is not in the state that the command needs.
    pub const INVALID_GUEST_STATE: Self = Self(0x02);
    /// The policy forbids the command, or differs from the ID block's.
    pub const POLICY_FAILURE: Self = Self(0x07);
    /// A signature is wrong.
    pub const BAD_SIGNATURE: Self = Self(0x0a);
    /// The launch digest differs from the ID block's.
    pub const BAD_MEASUREMENT: Self = Self(0x0b);
    /// A parameter is wrong; for the CPUID page, the right values are in the page.
    pub const INVALID_PARAM: Self = Self(0x16);
}

impl fmt::Display for PspStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::INVALID_GUEST_STATE => "INVALID_GUEST_STATE",
            Self::POLICY_FAILURE => "POLICY_FAILURE",
            Self::BAD_SIGNATURE => "BAD_SIGNATURE",
            Self::BAD_MEASUREMENT => "BAD_MEASUREMENT",
            Self::INVALID_PARAM => "INVALID_PARAM",
            Self(number) => return write!(formatter, "{number:#x}"),
        };
        formatter.write_str(name)
    }
}

/// One call of the launch, as errors and transcripts name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of the kernel's interface")]
pub enum Call {
    CheckExtension,
    GetDeviceAttr,
    CreateVm,
    EnableCap,
    MapShared,
    CreateGuestMemfd,
    SetUserMemoryRegion2,
    SetMemoryAttributes,
    CreateVcpu,
    SetCpuid2,
    SetSregs,
    SetRegs,
    SetFpu,
    SetXcrs,
    SetDebugRegs,
    SetMsrs,
    SevInit2,
    SnpLaunchStart,
    SnpLaunchUpdate,
    SnpLaunchFinish,
    TdxCapabilities,
    TdxInitVm,
    TdxInitVcpu,
    TdxInitMemRegion,
    TdxFinalizeVm,
}

impl fmt::Display for Call {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::CheckExtension => "KVM_CHECK_EXTENSION",
            Self::GetDeviceAttr => "KVM_GET_DEVICE_ATTR",
            Self::CreateVm => "KVM_CREATE_VM",
            Self::EnableCap => "KVM_ENABLE_CAP",
            Self::MapShared => "memfd_create and mmap",
            Self::CreateGuestMemfd => "KVM_CREATE_GUEST_MEMFD",
            Self::SetUserMemoryRegion2 => "KVM_SET_USER_MEMORY_REGION2",
            Self::SetMemoryAttributes => "KVM_SET_MEMORY_ATTRIBUTES",
            Self::CreateVcpu => "KVM_CREATE_VCPU",
            Self::SetCpuid2 => "KVM_SET_CPUID2",
            Self::SetSregs => "KVM_SET_SREGS",
            Self::SetRegs => "KVM_SET_REGS",
            Self::SetFpu => "KVM_SET_FPU",
            Self::SetXcrs => "KVM_SET_XCRS",
            Self::SetDebugRegs => "KVM_SET_DEBUGREGS",
            Self::SetMsrs => "KVM_SET_MSRS",
            Self::SevInit2 => "KVM_SEV_INIT2",
            Self::SnpLaunchStart => "KVM_SEV_SNP_LAUNCH_START",
            Self::SnpLaunchUpdate => "KVM_SEV_SNP_LAUNCH_UPDATE",
            Self::SnpLaunchFinish => "KVM_SEV_SNP_LAUNCH_FINISH",
            Self::TdxCapabilities => "KVM_TDX_CAPABILITIES",
            Self::TdxInitVm => "KVM_TDX_INIT_VM",
            Self::TdxInitVcpu => "KVM_TDX_INIT_VCPU",
            Self::TdxInitMemRegion => "KVM_TDX_INIT_MEM_REGION",
            Self::TdxFinalizeVm => "KVM_TDX_FINALIZE_VM",
        })
    }
}

/// Why a launch ended without a guest.
///
/// # Security
///
/// No variant leads to another kind of guest: what cannot be launched as planned is not launched
/// (E21: a confidential guest on a host without the TEE).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The host's KVM makes no such guests.
    #[error("KVM on this host does not launch {tee} guests")]
    TeeMissing {
        /// The TEE that the plan asks for.
        tee: Tee,
    },
    /// The host's KVM lacks something else that the launch needs.
    #[error("KVM on this host lacks capability {capability} ({number})")]
    CapabilityMissing {
        /// Its name in the kernel's header, without `KVM_CAP_`.
        capability: &'static str,
        /// Its number.
        number: u32,
    },
    /// KVM refused a call for good.
    #[error("{call} failed")]
    Refused {
        /// The call.
        call: Call,
        /// KVM's answer.
        #[source]
        source: Refusal,
    },
    /// KVM asked for another try too often.
    #[error("{call} was still not done after {attempts} tries")]
    RetriesExhausted {
        /// The call.
        call: Call,
        /// How often it was made.
        attempts: u32,
        /// The last answer; absent if KVM said yes and did nothing.
        #[source]
        source: Option<Refusal>,
    },
    /// KVM reported progress that is no progress of this request.
    #[error("{call} reported impossible progress at {gpa:#x}")]
    ImpossibleProgress {
        /// The call.
        call: Call,
        /// Guest-physical address at which the call began.
        gpa: u64,
    },
    /// The plan wants more virtual CPUs than KVM gives.
    #[error("the plan has {planned} virtual CPUs, KVM allows {allowed}")]
    TooManyVcpus {
        /// Number in the plan.
        planned: u64,
        /// KVM's limit.
        allowed: u64,
    },
    /// The plan wants SEV features that KVM does not take.
    #[error("the plan's SEV features {planned:#x} are not all among KVM's {supported:#x}")]
    UnsupportedFeatures {
        /// Features in the plan.
        planned: u64,
        /// KVM's features.
        supported: u64,
    },
    /// The plan's guest policy has bits that KVM does not take.
    #[error("the guest policy {planned:#x} has bits that are not among KVM's {supported:#x}")]
    UnsupportedPolicy {
        /// The plan's policy.
        planned: u64,
        /// KVM's bits.
        supported: u64,
    },
    /// The plan's TD attributes have bits that KVM does not take.
    #[error("the TD attributes {planned:#x} have bits that are not among KVM's {supported:#x}")]
    UnsupportedAttributes {
        /// The plan's attributes.
        planned: u64,
        /// KVM's bits.
        supported: u64,
    },
    /// The plan's XFAM has bits that KVM does not take.
    #[error("XFAM {planned:#x} has bits that are not among KVM's {supported:#x}")]
    UnsupportedXfam {
        /// The plan's XFAM.
        planned: u64,
        /// KVM's bits.
        supported: u64,
    },
    /// The plan's virtual CPUs start in a state that KVM cannot give them, so that the digest would
    /// be another one.
    #[error("KVM cannot start virtual CPU {vcpu} with the plan's {register}")]
    ImpossibleVcpu {
        /// Number of the CPU.
        vcpu: u16,
        /// What cannot be set.
        register: &'static str,
    },
    /// The plan puts pages where the machine has no private memory.
    #[error("the plan has pages at {gpa:#x}, where the machine has no memory")]
    OutsideMemory {
        /// Guest-physical address of the first of them.
        gpa: u64,
    },
    /// The machine's CPUID table has no x2APIC, without which a TD's virtual CPUs do not start.
    #[error("the machine's CPUID table lacks x2APIC, which TDX guests need")]
    NoX2Apic,
    /// The list of memory resources does not fit the plan's section for it.
    #[error("the TD HOB needs {needed} bytes, the plan has {room} for it")]
    HobTooLarge {
        /// Size in bytes.
        needed: u64,
        /// Size of the section in bytes.
        room: u64,
    },
    /// The machine's CPUID table does not fit the CPUID page.
    #[error("the machine has {entries} CPUID entries, the CPUID page holds {limit}")]
    TooManyCpuidEntries {
        /// Number of entries.
        entries: usize,
        /// Room in the page.
        limit: usize,
    },
    /// The PSP corrected the CPUID page in a way that the policy does not allow.
    #[error("the PSP wants CPUID values that would change the guest: {}", list(.changes))]
    CpuidCorrection {
        /// The changes that are not allowed.
        changes: Vec<CpuidChange>,
    },
    /// The PSP refused the CPUID page without a usable correction, or refused its own correction.
    #[error("the PSP refused the CPUID page and gave no usable correction")]
    CpuidRefused,
}

fn list(changes: &[CpuidChange]) -> String {
    changes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
