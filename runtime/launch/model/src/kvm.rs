// SPDX-License-Identifier: Apache-2.0
//! The VM and the calls that every launch makes.

use casemate_launch::Call;
use casemate_launch::Kvm;
use casemate_launch::Refusal;
use casemate_launch::abi;
use casemate_launch::abi::CpuidEntry;
use casemate_launch::abi::CreateGuestMemfd;
use casemate_launch::abi::MemoryAttributes;
use casemate_launch::abi::UserMemoryRegion2;

use crate::Host;
use crate::Model;
use crate::Rule;
use crate::memory::Memory;
use crate::psp::Psp;
use crate::tdx::TdxModule;
use crate::vcpu::Vcpu;

/// A VM.
#[derive(Debug)]
pub(crate) struct Vm {
    vm_type: u32,
    has_irqchip: bool,
    pub(crate) memory: Memory,
    pub(crate) vcpus: Vec<Vcpu>,
    pub(crate) snp: Psp,
    pub(crate) tdx: TdxModule,
}

impl Vm {
    pub(crate) fn require_snp(&self) -> Result<(), Rule> {
        if self.vm_type == abi::VM_TYPE_SNP { Ok(()) } else { Err(Rule::NotSnp) }
    }

    pub(crate) fn require_tdx(&self) -> Result<(), Rule> {
        if self.vm_type == abi::VM_TYPE_TDX { Ok(()) } else { Err(Rule::NotTdx) }
    }

    pub(crate) fn vcpu(&mut self, id: u16) -> Result<&mut Vcpu, Rule> {
        self.vcpus.iter_mut().find(|vcpu| vcpu.id == id).ok_or(Rule::NoVcpu)
    }

    fn create_vcpu(&mut self, host: &Host, id: u16) -> Result<(), Rule> {
        let count = u64::try_from(self.vcpus.len()).unwrap_or(u64::MAX);
        if u64::from(id) >= host.max_vcpus || count >= host.max_vcpus {
            return Err(Rule::TooManyVcpus);
        }
        if self.vcpus.iter().any(|vcpu| vcpu.id == id) {
            return Err(Rule::VcpuTwice);
        }
        if self.snp.guest().is_some() || self.tdx.guest().is_some() {
            return Err(Rule::VcpuAfterLaunch);
        }
        if self.vm_type == abi::VM_TYPE_TDX {
            if !self.tdx.is_initialized() {
                return Err(Rule::VcpuBeforeInitVm);
            }
            if !self.has_irqchip {
                return Err(Rule::VcpuWithoutIrqchip);
            }
        }
        self.vcpus.push(Vcpu::at_reset(id));
        Ok(())
    }

    fn enable(&mut self, host: &Host, capability: u32, argument: u64) -> Result<(), Rule> {
        match capability {
            abi::CAP_EXIT_HYPERCALL if argument & !host.exit_hypercall == 0 => Ok(()),
            abi::CAP_SPLIT_IRQCHIP if host.split_irqchip == 1 && argument <= 24 => {
                if self.has_irqchip {
                    return Err(Rule::IrqchipTwice);
                }
                if !self.vcpus.is_empty() {
                    return Err(Rule::IrqchipAfterVcpu);
                }
                self.has_irqchip = true;
                Ok(())
            }
            abi::CAP_X86_APIC_BUS_CYCLES_NS if argument > 0 => {
                if !self.has_irqchip {
                    return Err(Rule::ApicBusWithoutIrqchip);
                }
                if self.vcpus.is_empty() { Ok(()) } else { Err(Rule::IrqchipAfterVcpu) }
            }
            _ => Err(Rule::UnknownCapability),
        }
    }
}

impl Kvm for Model {
    fn check_extension(&mut self, capability: u32) -> Result<u64, Refusal> {
        self.call(Call::CheckExtension, |host, _, _| {
            Ok(match capability {
                abi::CAP_VM_TYPES => host.vm_types,
                abi::CAP_GUEST_MEMFD => host.guest_memfd,
                abi::CAP_MEMORY_ATTRIBUTES => host.memory_attributes,
                abi::CAP_SPLIT_IRQCHIP => host.split_irqchip,
                abi::CAP_EXIT_HYPERCALL => host.exit_hypercall,
                abi::CAP_MAX_VCPUS => host.max_vcpus,
                abi::CAP_X86_APIC_BUS_CYCLES_NS => 1,
                _ => 0,
            })
        })
    }

    fn create_vm(&mut self, vm_type: u32) -> Result<(), Refusal> {
        self.call(Call::CreateVm, |host, vm, _| {
            if vm.is_some() {
                return Err(Rule::SecondVm.into());
            }
            if host.vm_types.checked_shr(vm_type).is_none_or(|bit| bit & 1 == 0) {
                return Err(Rule::UnknownVmType.into());
            }
            *vm = Some(Vm {
                vm_type,
                has_irqchip: false,
                memory: Memory::default(),
                vcpus: Vec::new(),
                snp: Psp::default(),
                tdx: TdxModule::default(),
            });
            Ok(())
        })
    }

    fn enable_cap(&mut self, capability: u32, argument: u64) -> Result<(), Refusal> {
        self.vm_call(Call::EnableCap, |host, vm, _| Ok(vm.enable(host, capability, argument)?))
    }

    fn map_shared(&mut self, size: u64) -> Result<u64, Refusal> {
        self.vm_call(Call::MapShared, |_, vm, _| Ok(vm.memory.map_shared(size)?))
    }

    fn create_guest_memfd(&mut self, create: &CreateGuestMemfd) -> Result<u32, Refusal> {
        self.vm_call(Call::CreateGuestMemfd, |_, vm, _| Ok(vm.memory.create_guest_memfd(create)?))
    }

    fn set_user_memory_region2(&mut self, region: &UserMemoryRegion2) -> Result<(), Refusal> {
        self.vm_call(Call::SetUserMemoryRegion2, |_, vm, _| Ok(vm.memory.set_region(region)?))
    }

    fn set_memory_attributes(&mut self, attributes: &MemoryAttributes) -> Result<(), Refusal> {
        self.vm_call(Call::SetMemoryAttributes, |host, vm, _| {
            Ok(vm.memory.set_attributes(host, attributes)?)
        })
    }

    fn create_vcpu(&mut self, vcpu: u16) -> Result<(), Refusal> {
        self.vm_call(Call::CreateVcpu, |host, vm, _| Ok(vm.create_vcpu(host, vcpu)?))
    }

    fn set_cpuid2(&mut self, vcpu: u16, entries: &[CpuidEntry]) -> Result<(), Refusal> {
        self.vm_call(Call::SetCpuid2, |_, vm, _| {
            let vcpu = vm.vcpu(vcpu)?;
            if entries.iter().any(|entry| entry.padding != [0; 3]) {
                return Err(Rule::ReservedField.into());
            }
            vcpu.has_x2apic =
                entries.iter().any(|entry| entry.function == 1 && entry.ecx >> 21 & 1 == 1);
            Ok(())
        })
    }

    fn pause(&mut self, _: u32) {
        self.pauses = self.pauses.saturating_add(1);
    }
}
