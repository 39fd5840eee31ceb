// SPDX-License-Identifier: Apache-2.0
//! TDX: KVM's commands and the module below.
//!
//! Source of MRTD: Intel, TDX Module Base Architecture Specification, TDH.MEM.PAGE.ADD and
//! TDH.MR.EXTEND.

use casemate_launch::Call;
use casemate_launch::Refusal;
use casemate_launch::Source;
use casemate_launch::TdxKvm;
use casemate_launch::TdxSupport;
use casemate_launch::abi;
use casemate_launch::abi::CpuidEntry;
use casemate_launch::abi::PAGE_SIZE;
use casemate_launch::abi::TdxInitMemRegion;
use casemate_launch::abi::TdxInitVm;
use ring::digest;

use crate::Host;
use crate::Manner;
use crate::Model;
use crate::Rule;
use crate::kvm::Vm;
use crate::rule::No;

/// A launched TD, as its report would describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TdxGuest {
    /// MRTD.
    pub mrtd: [u8; 48],
    /// ATTRIBUTES.
    pub attributes: u64,
    /// XFAM.
    pub xfam: u64,
    /// MRCONFIGID.
    pub mrconfigid: [u8; 48],
    /// MROWNER.
    pub mrowner: [u8; 48],
    /// MROWNERCONFIG.
    pub mrownerconfig: [u8; 48],
    /// Number of virtual CPUs that can run.
    pub vcpus: usize,
    /// The address that the virtual CPUs got.
    pub hob: Option<u64>,
}

/// What the TDX module and KVM know of a launch.
#[derive(Debug, Default)]
pub(crate) struct TdxModule {
    td: Option<Td>,
    guest: Option<TdxGuest>,
}

#[derive(Debug)]
struct Td {
    init: TdxInitVm,
    stream: Stream,
    hob: Option<u64>,
}

#[derive(Debug)]
struct Stream(Vec<u8>);

impl Stream {
    fn record(&mut self, name: &[u8], gpa: u64) {
        let start = self.0.len();
        self.0.extend(name);
        self.0.resize(start.saturating_add(16), 0);
        self.0.extend(gpa.to_le_bytes());
        self.0.resize(start.saturating_add(128), 0);
    }

    /// TDH.MEM.PAGE.ADD and, if measured, 16 times TDH.MR.EXTEND.
    fn add(&mut self, gpa: u64, page: &[u8], is_measured: bool) {
        self.record(b"MEM.PAGE.ADD", gpa);
        if is_measured {
            for (chunk, at) in page.chunks(256).zip((gpa..).step_by(256)) {
                self.record(b"MR.EXTEND", at);
                self.0.extend(chunk);
            }
        }
    }

    fn finish(&self) -> [u8; 48] {
        let mut mrtd = [0; 48];
        mrtd.copy_from_slice(digest::digest(&digest::SHA384, &self.0).as_ref());
        mrtd
    }
}

impl TdxModule {
    pub(crate) fn guest(&self) -> Option<&TdxGuest> {
        self.guest.as_ref()
    }

    pub(crate) fn is_initialized(&self) -> bool {
        self.td.is_some()
    }

    fn unfinished(&mut self, missing: Rule) -> Result<&mut Td, Rule> {
        if self.guest.is_some() {
            return Err(Rule::AfterFinalize);
        }
        self.td.as_mut().ok_or(missing)
    }
}

fn capabilities(host: &Host, vm: &Vm, room: u32) -> Result<TdxSupport, Rule> {
    vm.require_tdx()?;
    if u32::try_from(host.td_cpuid.len()).is_ok_and(|entries| entries > room) {
        return Err(Rule::CapabilitiesRoom);
    }
    Ok(TdxSupport { attributes: host.td_attributes, xfam: host.xfam, cpuid: host.td_cpuid.clone() })
}

fn init_vm(host: &Host, vm: &mut Vm, init: &TdxInitVm, cpuid: &[CpuidEntry]) -> Result<(), Rule> {
    vm.require_tdx()?;
    if vm.tdx.td.is_some() {
        return Err(Rule::InitVmTwice);
    }
    let announced = usize::try_from(init.cpuid_nent).unwrap_or(usize::MAX);
    let cpuid = cpuid.get(..announced).ok_or(Rule::CpuidCount)?;
    let has_padding = cpuid.iter().any(|entry| entry.padding != [0; 3]);
    if init.reserved != [0; 12] || init.cpuid_padding != 0 || has_padding {
        return Err(Rule::ReservedField);
    }
    if init.attributes & !host.td_attributes != 0 {
        return Err(Rule::UnsupportedTdAttributes);
    }
    if init.xfam & !host.xfam != 0 || init.xfam & XFAM_FIXED != XFAM_FIXED {
        return Err(Rule::UnsupportedXfam);
    }
    for entry in cpuid {
        let same =
            |mask: &&CpuidEntry| (mask.function, mask.index) == (entry.function, entry.index);
        let mask = host.td_cpuid.iter().find(same).ok_or(Rule::CpuidEntry)?;
        let registers = [
            (entry.eax, mask.eax),
            (entry.ebx, mask.ebx),
            (entry.ecx, mask.ecx),
            (entry.edx, mask.edx),
        ];
        if registers.iter().any(|(value, mask)| value & !mask != 0) {
            return Err(Rule::CpuidBits);
        }
    }
    vm.tdx.td = Some(Td { init: *init, stream: Stream(Vec::new()), hob: None });
    Ok(())
}

fn init_vcpu(vm: &mut Vm, id: u16, hob: u64) -> Result<(), Rule> {
    vm.require_tdx()?;
    vm.vcpu(id)?;
    let td = vm.tdx.unfinished(Rule::NoVcpu)?;
    let vcpu = vm.vcpus.iter_mut().find(|vcpu| vcpu.id == id).ok_or(Rule::NoVcpu)?;
    if vcpu.is_td_initialized {
        return Err(Rule::InitVcpuTwice);
    }
    if !vcpu.has_x2apic {
        return Err(Rule::NoX2Apic);
    }
    vcpu.is_td_initialized = true;
    td.hob = Some(hob);
    Ok(())
}

fn init_mem_region(
    vm: &mut Vm,
    id: u16,
    flags: u32,
    region: &mut TdxInitMemRegion,
    source: &[u8],
    manner: Manner,
) -> Result<(), No> {
    vm.require_tdx()?;
    let is_initialized = vm.vcpu(id)?.is_td_initialized;
    let td = vm.tdx.unfinished(Rule::RegionBeforeInitVcpu)?;
    if !is_initialized {
        return Err(Rule::RegionBeforeInitVcpu.into());
    }
    if flags & !abi::TDX_MEASURE_MEMORY_REGION != 0 {
        return Err(Rule::UnknownFlags.into());
    }
    let length = region.nr_pages.checked_mul(PAGE_SIZE).ok_or(Rule::NotWholePages)?;
    let is_whole =
        region.source_addr.is_multiple_of(PAGE_SIZE) && region.gpa.is_multiple_of(PAGE_SIZE);
    if length == 0 || !is_whole || region.gpa.checked_add(length).is_none() {
        return Err(Rule::NotWholePages.into());
    }
    if region.gpa.saturating_add(length) > SHARED_BIT {
        return Err(Rule::SharedAddress.into());
    }
    let source = Source::Read(source);
    if !source.holds(region.source_addr, length) {
        return Err(No::BrokenInTdx(Rule::WrongSource));
    }
    let is_measured = flags & abi::TDX_MEASURE_MEMORY_REGION != 0;
    let mut left = manner.most;
    while region.nr_pages > 0 {
        if left == 0 {
            return Err(No::Interrupted);
        }
        vm.memory.pages_in_slot(region.gpa).map_err(No::BrokenInTdx)?;
        vm.memory.take(region.gpa).map_err(No::BrokenInTdx)?;
        let page = crate::snp::page_at(&source, region.source_addr)?;
        td.stream.add(region.gpa, page, is_measured);
        region.source_addr = region.source_addr.saturating_add(PAGE_SIZE);
        region.gpa = region.gpa.saturating_add(PAGE_SIZE);
        region.nr_pages = region.nr_pages.saturating_sub(1);
        left = left.saturating_sub(1);
    }
    if manner.misreports {
        region.gpa = region.gpa.saturating_add(PAGE_SIZE);
    }
    Ok(())
}

fn finalize(vm: &mut Vm) -> Result<(), Rule> {
    vm.require_tdx()?;
    let vcpus = vm.vcpus.iter().filter(|vcpu| vcpu.is_td_initialized).count();
    let td = vm.tdx.unfinished(Rule::FinalizeBeforeInitVm)?;
    let guest = TdxGuest {
        mrtd: td.stream.finish(),
        attributes: td.init.attributes,
        xfam: td.init.xfam,
        mrconfigid: td.init.mrconfigid,
        mrowner: td.init.mrowner,
        mrownerconfig: td.init.mrownerconfig,
        vcpus,
        hob: td.hob,
    };
    vm.tdx.guest = Some(guest);
    Ok(())
}

impl TdxKvm for Model {
    fn tdx_capabilities(&mut self, room: u32) -> Result<TdxSupport, Refusal> {
        self.vm_call(Call::TdxCapabilities, |host, vm, _| Ok(capabilities(host, vm, room)?))
    }

    fn tdx_init_vm(&mut self, init: &TdxInitVm, cpuid: &[CpuidEntry]) -> Result<(), Refusal> {
        self.vm_call(Call::TdxInitVm, |host, vm, _| Ok(init_vm(host, vm, init, cpuid)?))
    }

    fn tdx_init_vcpu(&mut self, vcpu: u16, hob: u64) -> Result<(), Refusal> {
        self.vm_call(Call::TdxInitVcpu, |_, vm, _| Ok(init_vcpu(vm, vcpu, hob)?))
    }

    fn tdx_init_mem_region(
        &mut self,
        vcpu: u16,
        flags: u32,
        region: &mut TdxInitMemRegion,
        source: &[u8],
    ) -> Result<(), Refusal> {
        self.vm_call(Call::TdxInitMemRegion, |_, vm, manner| {
            init_mem_region(vm, vcpu, flags, region, source, manner)
        })
    }

    fn tdx_finalize_vm(&mut self) -> Result<(), Refusal> {
        self.vm_call(Call::TdxFinalizeVm, |_, vm, _| Ok(finalize(vm)?))
    }
}

/// x87 and SSE, which every TD has.
const XFAM_FIXED: u64 = 3;
/// The address bit by which a TD with 48-bit addresses names what it shares.
const SHARED_BIT: u64 = 1 << 47;
