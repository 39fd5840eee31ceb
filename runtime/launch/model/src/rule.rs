// SPDX-License-Identifier: Apache-2.0
//! The rules, and how KVM answers who breaks them.

use casemate_launch::FirmwareError;
use casemate_launch::PspStatus;
use casemate_launch::Refusal;
use rustix::io::Errno;

/// Why a call ends without success.
#[derive(Clone, Copy, Debug)]
pub(crate) enum No {
    /// It broke a rule.
    Broken(Rule),
    /// It broke a rule of private memory while the TDX module was given pages: KVM hands on the
    /// error of guest_memfd, where it says EIO for whatever goes wrong with SNP.
    BrokenInTdx(Rule),
    /// A signal came before all pages were done.
    Interrupted,
}

impl From<Rule> for No {
    fn from(rule: Rule) -> Self {
        Self::Broken(rule)
    }
}

/// One rule of a launch, named by what breaks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    // Virtual machines, memory, virtual CPUs.
    /// A call on a VM that does not exist.
    NoVm,
    /// A second VM, which this model does not have.
    SecondVm,
    /// A type of VM that the host does not offer.
    UnknownVmType,
    /// A capability that cannot be enabled, or another value than it takes.
    UnknownCapability,
    /// A second interrupt controller.
    IrqchipTwice,
    /// An interrupt controller, or the speed of its timer, behind the first virtual CPU.
    IrqchipAfterVcpu,
    /// The APIC's speed without an APIC in the kernel.
    ApicBusWithoutIrqchip,
    /// A reserved field that is not zero. Kernels of today overlook some of them.
    ReservedField,
    /// Sizes or addresses that are not whole pages, or nothing at all.
    NotWholePages,
    /// Unknown flags.
    UnknownFlags,
    /// A slot of memory on top of another one, or with its number.
    SlotTaken,
    /// A descriptor that is no guest_memfd, or too small a one.
    WrongGuestMemfd,
    /// Shared memory that is not mapped.
    NotMapped,
    /// Attributes that the host does not offer.
    UnknownAttributes,
    /// More virtual CPUs than there may be.
    TooManyVcpus,
    /// A virtual CPU with the number of another one.
    VcpuTwice,
    /// A call on a virtual CPU that does not exist.
    NoVcpu,
    /// A TD's virtual CPU without an APIC in the kernel.
    VcpuWithoutIrqchip,
    /// A virtual CPU behind the end of the launch.
    VcpuAfterLaunch,
    /// Registers of a virtual CPU that the guest owns by now.
    ProtectedState,
    /// A model-specific register that cannot be set.
    UnknownMsr,

    // SNP.
    /// An attribute that this KVM does not know.
    UnknownSevAttribute,
    /// A command for SNP guests on another kind of VM.
    NotSnp,
    /// A command of SEV or SEV-ES on an SNP guest.
    LegacyCommand,
    /// INIT2 behind the first virtual CPU.
    InitAfterVcpu,
    /// INIT2 with features that the host does not offer; the SNP bit is among them.
    UnsupportedFeatures,
    /// INIT2 with a GHCB version that SNP guests cannot use.
    GhcbVersion,
    /// LAUNCH_START before INIT2.
    StartBeforeInit,
    /// A second LAUNCH_START.
    StartTwice,
    /// A policy with bits that the host does not offer.
    UnsupportedPolicy,
    /// A policy without bit 17, which is reserved and must be one.
    PolicyReservedBit,
    /// LAUNCH_UPDATE before LAUNCH_START.
    UpdateBeforeStart,
    /// LAUNCH_UPDATE behind LAUNCH_FINISH.
    UpdateAfterFinish,
    /// LAUNCH_UPDATE with the state of a virtual CPU.
    VmsaFromUser,
    /// LAUNCH_UPDATE with an unknown type of page.
    UnknownPageType,
    /// Pages without a slot that has private memory.
    NoPrivateSlot,
    /// Pages that are not private.
    NotPrivate,
    /// A page that the guest has already.
    PageTwice,
    /// A page at an address that a TD shares with its host.
    SharedAddress,
    /// A source outside of the memory that was lent, or none where one is needed.
    WrongSource,
    /// CPUID values that the PSP does not accept.
    CpuidValues,
    /// LAUNCH_FINISH before LAUNCH_START.
    FinishBeforeStart,
    /// A second LAUNCH_FINISH.
    FinishTwice,
    /// A virtual CPU with breakpoints at its start.
    DebugRegister,
    /// A switch that is neither 0 nor 1, or an author key without an ID block.
    WrongSwitch,
    /// An ID block of another version.
    IdBlockVersion,
    /// An ID block whose signature, or whose key's signature, is wrong.
    IdBlockSignature,
    /// An ID block for another digest.
    IdBlockDigest,
    /// An ID block for another policy.
    IdBlockPolicy,

    // TDX.
    /// A command for TDs on another kind of VM.
    NotTdx,
    /// Too little room for the CPUID table.
    CapabilitiesRoom,
    /// A second INIT_VM.
    InitVmTwice,
    /// TD attributes that the host does not offer.
    UnsupportedTdAttributes,
    /// XFAM bits that the host does not offer.
    UnsupportedXfam,
    /// Fewer CPUID entries than announced.
    CpuidCount,
    /// A CPUID entry that the VMM may not choose.
    CpuidEntry,
    /// CPUID bits that the VMM may not choose.
    CpuidBits,
    /// A virtual CPU before INIT_VM.
    VcpuBeforeInitVm,
    /// A second INIT_VCPU.
    InitVcpuTwice,
    /// INIT_VCPU on a virtual CPU whose CPUID has no x2APIC.
    NoX2Apic,
    /// A region before INIT_VCPU of its virtual CPU.
    RegionBeforeInitVcpu,
    /// Any change behind FINALIZE_VM.
    AfterFinalize,
    /// FINALIZE_VM before INIT_VM.
    FinalizeBeforeInitVm,
}

impl Rule {
    /// KVM's answer.
    pub(crate) fn refusal(self) -> Refusal {
        let errno = match self {
            Self::NoVm | Self::NoVcpu | Self::WrongGuestMemfd => Errno::BADF,
            Self::IrqchipTwice | Self::SlotTaken | Self::VcpuTwice => Errno::EXIST,
            Self::ApicBusWithoutIrqchip | Self::UnknownSevAttribute => Errno::NXIO,
            Self::NotMapped | Self::CpuidCount => Errno::FAULT,
            Self::NotSnp | Self::NotTdx | Self::StartBeforeInit => Errno::NOTTY,
            Self::LegacyCommand => Errno::PERM,
            Self::CapabilitiesRoom => Errno::TOOBIG,
            // Whatever goes wrong with an SNP page comes back as EIO without a word of the PSP.
            Self::NotPrivate | Self::PageTwice | Self::WrongSource | Self::VcpuBeforeInitVm => {
                Errno::IO
            }
            Self::UpdateAfterFinish => return Refusal::psp(PspStatus::INVALID_GUEST_STATE),
            Self::CpuidValues | Self::IdBlockVersion => {
                return Refusal::psp(PspStatus::INVALID_PARAM);
            }
            Self::IdBlockSignature => return Refusal::psp(PspStatus::BAD_SIGNATURE),
            Self::IdBlockDigest => return Refusal::psp(PspStatus::BAD_MEASUREMENT),
            Self::IdBlockPolicy => return Refusal::psp(PspStatus::POLICY_FAILURE),
            Self::CpuidBits => {
                let firmware = Some(FirmwareError::TdxModule(TDX_OPERAND_INVALID));
                return Refusal { errno: Errno::INVAL, firmware };
            }
            _ => Errno::INVAL,
        };
        Refusal::kernel(errno)
    }

    /// KVM's answer to pages for the TDX module.
    pub(crate) fn tdx_refusal(self) -> Refusal {
        Refusal::kernel(match self {
            Self::NotPrivate => Errno::INVAL,
            Self::PageTwice => Errno::EXIST,
            Self::WrongSource | Self::NoPrivateSlot => Errno::FAULT,
            _ => return self.refusal(),
        })
    }
}

/// `TDX_OPERAND_INVALID` of the TDX module's interface.
const TDX_OPERAND_INVALID: u64 = 0xc000_0100_0000_0000;
