// SPDX-License-Identifier: Apache-2.0
//! How each virtual machine monitor launches the same firmware.
//!
//! | | QEMU | EC2 | GCE | Casemate |
//! |---|---|---|---|---|
//! | image | first | first | first | first |
//! | sections | in table order | in table order, CPUID last | in table order | by address, hash table last |
//! | SEC_MEM | ZERO | ZERO | UNMEASURED | ZERO |
//! | rdx | CPU model | 0x600 (once 0) | 0x600 | 0 |
//! | cs of CPU 0 / ss / tr | 9b / 93 / 8b | 9a / 92 / 83 | 9b / 93 / 8b | 9b / 93 / 8b |
//! | mxcsr, fcw | 0x1f80, 0x37f | 0, 0 | 0, 0 | 0x1f80, 0x37f |
//! | g_pat | power-on | power-on | 0x00070106 | power-on |
//! | VMSA address | 48 bits | 48 bits | 48 bits, Genoa 52 | 48 bits |
//!
//! Sources: QEMU, `target/i386/sev.c`; sev-snp-measure 0.0.13 (EC2, GCE); google/gce-tcb-verifier,
//! `sev/ld_from_ovmf.go` and `sev/measurement.go` (GCE).

use casemate_boot_formats::ovmf::SectionKind;

use super::GuestFeatures;
use super::Section;
use super::VMSA_GPA;
use super::VcpuState;
use super::VcpuType;

/// A virtual machine monitor: the order of its pages, their types, its CPUs' first state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VmmProfile {
    /// QEMU 9.1 and newer, whose CPUs say which model they are.
    Qemu(VcpuType),
    /// Amazon EC2.
    Ec2,
    /// Amazon EC2 as it launched guests at first, with another RDX.
    Ec2WithoutRdx,
    /// Google Compute Engine, which starts one virtual CPU and lets the guest start the others.
    Gce(GceHost),
    /// Casemate's own VMM.
    ///
    /// Its order is made so that all that hangs on the firmware alone comes first: the image, its
    /// sections by ascending address, and only then the page with the hash table. So one digest per
    /// firmware covers everything but that page and the CPUs. The CPU model is in no register,
    /// since the page of CPUID values shows it anyway: one reference value holds on every host.
    Casemate,
}

/// The processor below a GCE guest: it decides how many address bits enter the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GceHost {
    /// Milan: 48 bits.
    Milan,
    /// Genoa: 52 bits. Google's tool says so; no vector covers it.
    Genoa,
}

impl VmmProfile {
    /// The name that [`VmmProfile::from_name`] reads.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Qemu(_) => "qemu",
            Self::Ec2 => "ec2",
            Self::Ec2WithoutRdx => "ec2-without-rdx",
            Self::Gce(GceHost::Milan) => "gce",
            Self::Gce(GceHost::Genoa) => "gce-genoa",
            Self::Casemate => "casemate",
        }
    }

    /// Finds a profile by its name. Only QEMU's depends on the CPU model.
    ///
    /// # Errors
    ///
    /// [`UnknownVmm`].
    pub fn from_name(name: &str, vcpu_type: VcpuType) -> Result<Self, UnknownVmm> {
        let all = [
            Self::Qemu(vcpu_type),
            Self::Ec2,
            Self::Ec2WithoutRdx,
            Self::Gce(GceHost::Milan),
            Self::Gce(GceHost::Genoa),
            Self::Casemate,
        ];
        let mut all = all.into_iter();
        all.find(|vmm| vmm.name() == name).ok_or_else(|| UnknownVmm { name: name.to_owned() })
    }

    /// The state of a CPU at its start, at this linear address.
    #[must_use]
    pub fn vcpu_state(self, features: GuestFeatures, eip: u32) -> VcpuState {
        let power_on = VcpuState::at_reset(eip, features);
        match self {
            Self::Qemu(model) => VcpuState { rdx: u64::from(model.signature()), ..power_on },
            Self::Casemate => power_on,
            Self::Ec2 => VcpuState { rdx: KVM_RESET_RDX, ..ec2_state(power_on, eip) },
            Self::Ec2WithoutRdx => ec2_state(power_on, eip),
            Self::Gce(_) => VcpuState {
                rdx: KVM_RESET_RDX,
                g_pat: 0x0007_0106,
                mxcsr: 0,
                x87_fcw: 0,
                ..power_on
            },
        }
    }

    /// Guest-physical address under which the CPUs are measured.
    #[must_use]
    pub const fn vmsa_gpa(self) -> u64 {
        match self {
            Self::Gce(GceHost::Genoa) => 0xf_ffff_ffff_f000,
            _ => VMSA_GPA,
        }
    }

    /// Whether the sections that firmware uses as plain memory are zeros by measurement.
    pub(crate) const fn zeroes_memory(self) -> bool {
        !matches!(self, Self::Gce(_))
    }

    /// The sections in the order of their measurement.
    pub(crate) fn order(self, sections: &[Section]) -> Vec<Section> {
        let mut ordered = sections.to_vec();
        match self {
            Self::Qemu(_) | Self::Gce(_) => {}
            Self::Ec2 | Self::Ec2WithoutRdx => {
                ordered.sort_by_key(|section| section.kind == SectionKind::Cpuid);
            }
            Self::Casemate => ordered
                .sort_by_key(|section| (section.kind == SectionKind::KernelHashes, section.gpa)),
        }
        ordered
    }
}

/// A virtual machine monitor whose launch is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the VMM {name:?} is unknown, expected qemu, ec2, gce or casemate")]
pub struct UnknownVmm {
    /// The unknown name.
    pub name: String,
}

fn ec2_state(power_on: VcpuState, eip: u32) -> VcpuState {
    let mut state = VcpuState { mxcsr: 0, x87_fcw: 0, ..power_on };
    if eip == VcpuState::RESET_VECTOR {
        state.cs.attributes = 0x9a;
    }
    state.ss.attributes = 0x92;
    state.tr.attributes = 0x83;
    state
}

/// What KVM leaves in RDX at reset if it knows no CPUID: family 6.
const KVM_RESET_RDX: u64 = 0x600;
