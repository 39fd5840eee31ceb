// SPDX-License-Identifier: Apache-2.0
//! Steps that launches of both TEEs share: the VM, its memory, its virtual CPUs.

use crate::Call;
use crate::Kvm;
use crate::LaunchError;
use crate::Machine;
use crate::Tee;
use crate::abi;
use crate::abi::CreateGuestMemfd;
use crate::abi::MemoryAttributes;
use crate::abi::UserMemoryRegion2;
use crate::retry::Caller;

/// Pins of the I/O APIC in user space, as many as the usual one has.
const IOAPIC_PINS: u64 = 24;

impl<K: Kvm> Caller<'_, K> {
    /// Refuses to go on if KVM does not make such guests.
    ///
    /// # Security
    ///
    /// E21: KVM is asked for exactly the TEE of the plan, and its no is final.
    pub(crate) fn require_tee(&mut self, tee: Tee) -> Result<(), LaunchError> {
        let types = self.extension(abi::CAP_VM_TYPES)?;
        if types.checked_shr(tee.vm_type()).is_none_or(|bit| bit & 1 == 0) {
            return Err(LaunchError::TeeMissing { tee });
        }
        Ok(())
    }

    /// Makes the VM and looks at what it can do.
    pub(crate) fn create_vm(&mut self, tee: Tee) -> Result<(), LaunchError> {
        self.call(Call::CreateVm, |kvm| kvm.create_vm(tee.vm_type()))?;
        for (capability, number, needed) in [
            ("GUEST_MEMFD", abi::CAP_GUEST_MEMFD, 1),
            ("MEMORY_ATTRIBUTES", abi::CAP_MEMORY_ATTRIBUTES, abi::MEMORY_ATTRIBUTE_PRIVATE),
            ("SPLIT_IRQCHIP", abi::CAP_SPLIT_IRQCHIP, 1),
            ("EXIT_HYPERCALL", abi::CAP_EXIT_HYPERCALL, 1 << abi::HC_MAP_GPA_RANGE),
        ] {
            if self.extension(number)? & needed != needed {
                return Err(LaunchError::CapabilityMissing { capability, number });
            }
        }
        Ok(())
    }

    /// Interrupt controllers: the local ones in the kernel, the rest in user space.
    pub(crate) fn split_irqchip(&mut self) -> Result<(), LaunchError> {
        self.enable(abi::CAP_SPLIT_IRQCHIP, IOAPIC_PINS)
    }

    /// Lets the guest's requests to share or unshare pages end up in user space.
    pub(crate) fn exit_on_page_state_change(&mut self) -> Result<(), LaunchError> {
        self.enable(abi::CAP_EXIT_HYPERCALL, 1 << abi::HC_MAP_GPA_RANGE)
    }

    pub(crate) fn enable(&mut self, capability: u32, argument: u64) -> Result<(), LaunchError> {
        self.call(Call::EnableCap, |kvm| kvm.enable_cap(capability, argument))
    }

    pub(crate) fn extension(&mut self, capability: u32) -> Result<u64, LaunchError> {
        self.call(Call::CheckExtension, |kvm| kvm.check_extension(capability))
    }

    /// Gives the VM its memory, each region with shared and private pages, and makes all of it
    /// private: the guest itself shares what devices may see.
    ///
    /// # Security
    ///
    /// E13: the guest_memfds have no flags, so that private pages cannot be mapped into this or
    /// any other process, encrypted or not.
    pub(crate) fn add_memory(&mut self, machine: &Machine) -> Result<(), LaunchError> {
        for (slot, region) in (0..).zip(machine.memory.regions()) {
            let size = region.size;
            let userspace_addr = self.call(Call::MapShared, |kvm| kvm.map_shared(size))?;
            let create = CreateGuestMemfd { size, ..CreateGuestMemfd::default() };
            let guest_memfd =
                self.call(Call::CreateGuestMemfd, |kvm| kvm.create_guest_memfd(&create))?;
            let region2 = UserMemoryRegion2 {
                slot,
                flags: abi::MEM_GUEST_MEMFD,
                guest_phys_addr: region.gpa,
                memory_size: size,
                userspace_addr,
                guest_memfd,
                ..UserMemoryRegion2::default()
            };
            self.call(Call::SetUserMemoryRegion2, |kvm| kvm.set_user_memory_region2(&region2))?;
            let attributes = MemoryAttributes {
                address: region.gpa,
                size,
                attributes: abi::MEMORY_ATTRIBUTE_PRIVATE,
                flags: 0,
            };
            self.call(Call::SetMemoryAttributes, |kvm| kvm.set_memory_attributes(&attributes))?;
        }
        Ok(())
    }

    /// Makes a virtual CPU with the machine's CPUID.
    pub(crate) fn create_vcpu(&mut self, vcpu: u16, machine: &Machine) -> Result<(), LaunchError> {
        self.call(Call::CreateVcpu, |kvm| kvm.create_vcpu(vcpu))?;
        self.call(Call::SetCpuid2, |kvm| kvm.set_cpuid2(vcpu, &machine.cpuid))
    }

    /// Refuses more virtual CPUs than the VM may have.
    pub(crate) fn check_vcpu_count(&mut self, planned: u64) -> Result<(), LaunchError> {
        let allowed = self.extension(abi::CAP_MAX_VCPUS)?;
        if planned > allowed {
            return Err(LaunchError::TooManyVcpus { planned, allowed });
        }
        Ok(())
    }
}
