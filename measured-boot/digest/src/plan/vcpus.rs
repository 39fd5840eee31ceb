// SPDX-License-Identifier: Apache-2.0
//! The virtual CPUs of an SNP guest.

use std::num::NonZeroU16;

use crate::snp::GuestFeatures;
use crate::snp::VMSA_GPA;
use crate::snp::VcpuState;
use crate::snp::VmmProfile;

/// The virtual CPUs in the order of their creation, which is that of their measurement: the first
/// one and others that are all alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vcpus {
    first: Box<VcpuState>,
    other: Box<VcpuState>,
    count: NonZeroU16,
    gpa: u64,
}

impl Vcpus {
    /// CPUs as a VMM starts them; `reset_eip` is the address that firmware names for all but the
    /// first one.
    ///
    /// # Errors
    ///
    /// [`VcpusError::NoResetEip`] for more than one CPU without an address.
    pub fn of(
        vmm: VmmProfile,
        features: GuestFeatures,
        reset_eip: Option<u32>,
        count: NonZeroU16,
    ) -> Result<Self, VcpusError> {
        let eip = match reset_eip {
            Some(eip) => eip,
            None if count == NonZeroU16::MIN => VcpuState::RESET_VECTOR,
            None => return Err(VcpusError::NoResetEip),
        };
        Ok(Self {
            first: Box::new(vmm.vcpu_state(features, VcpuState::RESET_VECTOR)),
            other: Box::new(vmm.vcpu_state(features, eip)),
            count,
            gpa: vmm.vmsa_gpa(),
        })
    }

    /// CPUs in states of the caller's choice, measured as KVM does.
    ///
    /// # Errors
    ///
    /// [`VcpusError::MixedFeatures`]: the features are those of the guest, not of a CPU.
    pub fn new(first: VcpuState, other: VcpuState, count: NonZeroU16) -> Result<Self, VcpusError> {
        if first.features != other.features {
            return Err(VcpusError::MixedFeatures);
        }
        Ok(Self { first: Box::new(first), other: Box::new(other), count, gpa: VMSA_GPA })
    }

    /// The state of each CPU, first one first.
    pub fn states(&self) -> impl ExactSizeIterator<Item = &VcpuState> {
        (0..self.count.get()).map(|index| if index == 0 { self.first() } else { self.other() })
    }

    /// The first CPU's state.
    #[must_use]
    pub fn first(&self) -> &VcpuState {
        &self.first
    }

    /// The state of every CPU but the first.
    #[must_use]
    pub fn other(&self) -> &VcpuState {
        &self.other
    }

    /// Number of CPUs.
    #[must_use]
    pub fn count(&self) -> NonZeroU16 {
        self.count
    }

    /// Guest-physical address under which their states are measured. KVM knows [`VMSA_GPA`] only.
    #[must_use]
    pub fn gpa(&self) -> u64 {
        self.gpa
    }

    /// SEV features of the guest. KVM_SEV_INIT2 takes them without bit 0, which KVM sets itself.
    #[must_use]
    pub fn features(&self) -> GuestFeatures {
        self.first.features
    }
}

/// Why there cannot be such virtual CPUs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VcpusError {
    /// More than one CPU, and the firmware does not say where the others start.
    #[error("the firmware has no SEV-ES reset block, so it can start one virtual CPU only")]
    NoResetEip,
    /// The CPUs do not have the same SEV features.
    #[error("the virtual CPUs have different SEV features")]
    MixedFeatures,
}
