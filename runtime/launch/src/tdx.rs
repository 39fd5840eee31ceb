// SPDX-License-Identifier: Apache-2.0
//! Carries out a TDX plan.

use casemate_launch_digest::plan::TdxPlan;
use casemate_launch_digest::plan::TdxSection;
use casemate_launch_digest::plan::TdxSectionKind;
use rustix::io::Errno;
use zerocopy::FromZeros;

use crate::Call;
use crate::LaunchError;
use crate::Machine;
use crate::Refusal;
use crate::TdxKvm;
use crate::TdxSupport;
use crate::Tee;
use crate::abi;
use crate::abi::CpuidEntry;
use crate::abi::PAGE_SIZE;
use crate::abi::TdxInitMemRegion;
use crate::abi::TdxInitVm;
use crate::calls::address;
use crate::hob::td_hob;
use crate::pages;
use crate::pages::PageBuffer;
use crate::retry::Caller;
use crate::retry::MAX_ATTEMPTS;
use crate::retry::MAX_TDX_INIT_ATTEMPTS;
use crate::retry::Patience;

/// Most CPUID entries that KVM has for a TD (`KVM_MAX_CPUID_ENTRIES`).
pub const MAX_TDX_CPUID_ENTRIES: u32 = 256;

/// What a finished TDX launch has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TdxLaunched {
    /// How often calls had to be made again.
    pub retries: u32,
}

/// Launches a TD exactly as planned: on success the TDX module has the plan's MRTD, attributes,
/// XFAM and owner's fields, and the virtual CPUs can run.
///
/// # Errors
///
/// See [`LaunchError`]. The VM is then of no use and must be dropped.
///
/// # Security
///
/// E21: there is no other kind of guest on any path.
pub fn launch_tdx<K: TdxKvm>(
    plan: &TdxPlan<'_>,
    machine: &Machine,
    kvm: &mut K,
) -> Result<TdxLaunched, LaunchError> {
    let hob = td_hob(plan, &machine.memory);
    check_plan(plan, machine, &hob)?;

    let caller = &mut Caller::new(kvm);
    caller.require_tee(Tee::Tdx)?;
    caller.create_vm(Tee::Tdx)?;
    caller.check_vcpu_count(plan.vcpus().get().into())?;
    caller.exit_on_page_state_change()?;
    caller.split_irqchip()?;
    caller.enable(abi::CAP_X86_APIC_BUS_CYCLES_NS, APIC_BUS_CYCLE_NS)?;

    let support = capabilities(caller)?;
    init_vm(plan, machine, &support, caller)?;
    caller.add_memory(machine)?;
    for vcpu in 0..plan.vcpus().get() {
        caller.create_vcpu(vcpu, machine)?;
        caller.call(Call::TdxInitVcpu, |kvm| kvm.tdx_init_vcpu(vcpu, plan.hob_address()))?;
    }
    for section in plan.sections() {
        let contents = match section.kind() {
            TdxSectionKind::Hob => &hob,
            _ => section.contents(),
        };
        add_section(section, contents, caller)?;
    }
    caller.call(Call::TdxFinalizeVm, K::tdx_finalize_vm)?;
    Ok(TdxLaunched { retries: caller.retries() })
}

/// What can be refused without the host's help.
fn check_plan(plan: &TdxPlan<'_>, machine: &Machine, hob: &[u8]) -> Result<(), LaunchError> {
    let has_x2apic = |entry: &CpuidEntry| entry.function == 1 && entry.ecx & CPUID_1_X2APIC != 0;
    if !machine.cpuid.iter().any(has_x2apic) {
        return Err(LaunchError::NoX2Apic);
    }
    for section in plan.sections() {
        let gpa = section.gpa();
        if !machine.memory.covers(gpa, section.end()) {
            return Err(LaunchError::OutsideMemory { gpa });
        }
        let needed = crate::calls::size(hob);
        if section.kind() == TdxSectionKind::Hob && needed > section.size() {
            return Err(LaunchError::HobTooLarge { needed, room: section.size() });
        }
    }
    Ok(())
}

fn capabilities<K: TdxKvm>(caller: &mut Caller<'_, K>) -> Result<TdxSupport, LaunchError> {
    let mut room = 8;
    loop {
        let answer = caller.call(Call::TdxCapabilities, |kvm| kvm.tdx_capabilities(room));
        match answer {
            Err(LaunchError::Refused { source: Refusal { errno: Errno::TOOBIG, .. }, .. })
                if room < MAX_TDX_CPUID_ENTRIES =>
            {
                room *= 2;
            }
            answer => return answer,
        }
    }
}

fn init_vm<K: TdxKvm>(
    plan: &TdxPlan<'_>,
    machine: &Machine,
    support: &TdxSupport,
    caller: &mut Caller<'_, K>,
) -> Result<(), LaunchError> {
    let params = plan.params();
    let (planned, supported) = (params.attributes.bits(), support.attributes);
    if planned & !supported != 0 {
        return Err(LaunchError::UnsupportedAttributes { planned, supported });
    }
    let (planned, supported) = (params.xfam.bits(), support.xfam);
    if planned & !supported != 0 {
        return Err(LaunchError::UnsupportedXfam { planned, supported });
    }
    let cpuid = configurable(&machine.cpuid, &support.cpuid);
    let mut init = TdxInitVm::new_zeroed();
    init.attributes = params.attributes.bits();
    init.xfam = params.xfam.bits();
    init.mrconfigid = params.mr_config_id;
    init.mrowner = params.mr_owner;
    init.mrownerconfig = params.mr_owner_config;
    init.cpuid_nent = u32::try_from(cpuid.len()).unwrap_or(u32::MAX);
    caller.call_patiently(Call::TdxInitVm, MAX_TDX_INIT_ATTEMPTS, |kvm| {
        kvm.tdx_init_vm(&init, &cpuid)
    })
}

/// The machine's answers as far as a VMM may choose them: KVM refuses entries that it cannot hand
/// on, and the TDX module bits that are its own.
fn configurable(machine: &[CpuidEntry], supported: &[CpuidEntry]) -> Vec<CpuidEntry> {
    let choose = |mask: &CpuidEntry| {
        let ours = machine
            .iter()
            .find(|entry| entry.function == mask.function && entry.index == mask.index)?;
        Some(CpuidEntry {
            eax: ours.eax & mask.eax,
            ebx: ours.ebx & mask.ebx,
            ecx: ours.ecx & mask.ecx,
            edx: ours.edx & mask.edx,
            ..*mask
        })
    };
    supported.iter().filter_map(choose).collect()
}

/// Adds the pages of one section, in as many parts as KVM likes.
fn add_section<K: TdxKvm>(
    section: &TdxSection<'_>,
    contents: &[u8],
    caller: &mut Caller<'_, K>,
) -> Result<(), LaunchError> {
    let flags = if section.is_measured() { abi::TDX_MEASURE_MEMORY_REGION } else { 0 };
    let mut buffer = PageBuffer::new();
    let mut region = TdxInitMemRegion { gpa: section.gpa(), ..TdxInitMemRegion::default() };
    for (first, count) in pages::calls(section.pages()) {
        let outside = LaunchError::OutsideMemory { gpa: section.gpa() };
        let page_count = usize::try_from(count).map_err(|_| outside)?;
        let source = buffer.fill(pages::part(contents, first, count), page_count);
        region.source_addr = address(source);
        region.nr_pages = count;
        let mut patience = Patience::new(Call::TdxInitMemRegion, MAX_ATTEMPTS);
        while region.nr_pages > 0 {
            let before = region;
            let answer = caller.make(Call::TdxInitMemRegion, |kvm| {
                kvm.tdx_init_mem_region(BOOT_VCPU, flags, &mut region, source)
            });
            let progressed = check_progress(&before, &region)?;
            caller.go_on(&mut patience, progressed, answer)?;
        }
    }
    Ok(())
}

/// Whether KVM got on; what it says must be a part of what it was asked.
fn check_progress(
    before: &TdxInitMemRegion,
    after: &TdxInitMemRegion,
) -> Result<bool, LaunchError> {
    let impossible =
        LaunchError::ImpossibleProgress { call: Call::TdxInitMemRegion, gpa: before.gpa };
    let Some(pages) = before.nr_pages.checked_sub(after.nr_pages) else {
        return Err(impossible);
    };
    let bytes = pages.saturating_mul(PAGE_SIZE);
    let expected = TdxInitMemRegion {
        source_addr: before.source_addr.saturating_add(bytes),
        gpa: before.gpa.saturating_add(bytes),
        nr_pages: after.nr_pages,
    };
    if *after == expected { Ok(pages > 0) } else { Err(impossible) }
}

/// The virtual CPU on whose descriptor memory is added.
const BOOT_VCPU: u16 = 0;
/// CPUID leaf 1, ECX: KVM starts a TD's APICs in no other mode.
const CPUID_1_X2APIC: u32 = 1 << 21;
/// A TD's APIC timer ticks at 25 MHz.
const APIC_BUS_CYCLE_NS: u64 = 40;
