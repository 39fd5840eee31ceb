// SPDX-License-Identifier: Apache-2.0
//! Carries out an SNP plan.

use casemate_launch_digest::plan::SnpPlan;
use casemate_launch_digest::snp::PageContents;
use casemate_launch_digest::snp::PageRange;
use casemate_launch_digest::snp::VMSA_GPA;
use rustix::io::Errno;

use crate::Call;
use crate::CpuidChange;
use crate::Identity;
use crate::LaunchError;
use crate::Machine;
use crate::Refusal;
use crate::SnpKvm;
use crate::Source;
use crate::Tee;
use crate::abi;
use crate::abi::PAGE_SIZE;
use crate::abi::SevInit;
use crate::abi::SnpLaunchFinish;
use crate::abi::SnpLaunchStart;
use crate::abi::SnpLaunchUpdate;
use crate::calls::address;
use crate::calls::size;
use crate::cpuid::CpuidPage;
use crate::pages;
use crate::pages::Page;
use crate::pages::PageBuffer;
use crate::retry::Caller;
use crate::retry::MAX_ATTEMPTS;
use crate::retry::Patience;
use crate::vcpu::Registers;

/// What a finished SNP launch has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnpLaunched {
    /// How often calls had to be made again.
    pub retries: u32,
    /// CPUID values that the PSP corrected, all of them harmless.
    pub cpuid_changes: Vec<CpuidChange>,
}

/// Launches an SNP guest exactly as planned: on success the PSP has the plan's digest, policy, host
/// data and ID block, and the virtual CPUs can run.
///
/// # Errors
///
/// See [`LaunchError`]. The VM is then of no use and must be dropped.
///
/// # Security
///
/// E21: there is no other kind of guest on any path. E1: what KVM reports as done is counted, so
/// that no page of the plan is left out in silence; the digest in the guest's report is the proof.
pub fn launch_snp<K: SnpKvm>(
    plan: &SnpPlan<'_>,
    machine: &Machine,
    kvm: &mut K,
) -> Result<SnpLaunched, LaunchError> {
    let registers = check_plan(plan, machine)?;
    let cpuid_page = CpuidPage::new(&machine.cpuid)?;

    let caller = &mut Caller::new(kvm);
    check_host(plan, caller)?;
    caller.create_vm(Tee::Snp)?;
    caller.check_vcpu_count(plan.vcpus().count().get().into())?;
    caller.exit_on_page_state_change()?;
    let init = SevInit {
        vmsa_features: plan.vcpus().features().bits() & !FEATURE_SNP,
        ghcb_version: GHCB_VERSION,
        ..SevInit::default()
    };
    caller.call(Call::SevInit2, |kvm| kvm.sev_init2(&init))?;
    caller.split_irqchip()?;
    caller.add_memory(machine)?;
    for (vcpu, registers) in (0..).zip(&registers) {
        caller.create_vcpu(vcpu, machine)?;
        registers.apply(vcpu, caller)?;
    }

    let start = SnpLaunchStart { policy: plan.guest().policy.bits(), ..SnpLaunchStart::default() };
    caller.call(Call::SnpLaunchStart, |kvm| kvm.snp_launch_start(&start))?;
    let mut cpuid_changes = Vec::new();
    for range in plan.ranges() {
        match range.contents() {
            PageContents::Cpuid => {
                cpuid_changes.extend(launch_cpuid(range, &cpuid_page, caller)?);
            }
            _ => launch_pages(range, caller)?,
        }
    }
    finish(plan, caller)?;
    Ok(SnpLaunched { retries: caller.retries(), cpuid_changes })
}

/// What can be refused without the host's help.
fn check_plan(plan: &SnpPlan<'_>, machine: &Machine) -> Result<Vec<Registers>, LaunchError> {
    if let Some(range) =
        plan.ranges().iter().find(|range| !machine.memory.covers(range.gpa(), range.end()))
    {
        return Err(LaunchError::OutsideMemory { gpa: range.gpa() });
    }
    if plan.vcpus().gpa() != VMSA_GPA {
        return Err(LaunchError::ImpossibleVcpu { vcpu: 0, register: "measured address" });
    }
    (0..).zip(plan.vcpus().states()).map(|(vcpu, state)| Registers::new(vcpu, state)).collect()
}

/// Asks KVM for what the plan needs, so that the answer has a name before it is an EINVAL.
fn check_host<K: SnpKvm>(
    plan: &SnpPlan<'_>,
    caller: &mut Caller<'_, K>,
) -> Result<(), LaunchError> {
    caller.require_tee(Tee::Snp)?;
    let planned = plan.vcpus().features().bits() & !FEATURE_SNP;
    let supported =
        caller.call(Call::GetDeviceAttr, |kvm| kvm.sev_attribute(abi::VMSA_FEATURES))?;
    if planned & !supported != 0 {
        return Err(LaunchError::UnsupportedFeatures { planned, supported });
    }
    // Only newer kernels tell their policy bits; all of them refuse others at the start.
    let planned = plan.guest().policy.bits();
    let supported =
        caller.call(Call::GetDeviceAttr, |kvm| match kvm.sev_attribute(abi::SNP_POLICY_BITS) {
            Err(Refusal { errno: Errno::NXIO, .. }) => Ok(u64::MAX),
            answer => answer,
        })?;
    if planned & !supported != 0 {
        return Err(LaunchError::UnsupportedPolicy { planned, supported });
    }
    Ok(())
}

/// Gives one range to the PSP, in as many parts as KVM likes.
fn launch_pages<K: SnpKvm>(
    range: &PageRange<'_>,
    caller: &mut Caller<'_, K>,
) -> Result<(), LaunchError> {
    let mut update = SnpLaunchUpdate {
        gfn_start: range.gpa() / PAGE_SIZE,
        len: range.length(),
        page_type: range.page_type().number(),
        ..SnpLaunchUpdate::default()
    };
    if let PageContents::Zero(_) = range.contents() {
        return update_all(&mut update, &[], caller);
    }
    // KVM copies from the source into pages of all other types. Where nobody measures what it
    // copies, it copies zeros.
    let contents = range.bytes().unwrap_or_default();
    let mut buffer = PageBuffer::new();
    for (first, count) in pages::calls(range.count()) {
        let outside = LaunchError::OutsideMemory { gpa: range.gpa() };
        let page_count = usize::try_from(count).map_err(|_| outside)?;
        let source = buffer.fill(pages::part(contents, first, count), page_count);
        update.uaddr = address(source);
        update.len = size(source);
        update_all(&mut update, source, caller)?;
    }
    Ok(())
}

/// Makes LAUNCH_UPDATE until all of its pages are done.
fn update_all<K: SnpKvm>(
    update: &mut SnpLaunchUpdate,
    source: &[u8],
    caller: &mut Caller<'_, K>,
) -> Result<(), LaunchError> {
    let mut patience = Patience::new(Call::SnpLaunchUpdate, MAX_ATTEMPTS);
    while update.len > 0 {
        let before = *update;
        let answer = caller.make(Call::SnpLaunchUpdate, |kvm| {
            let source = if source.is_empty() { Source::Nothing } else { Source::Read(source) };
            kvm.snp_launch_update(update, source)
        });
        let progressed = check_progress(&before, update)?;
        caller.go_on(&mut patience, progressed, answer)?;
    }
    Ok(())
}

/// Gives the CPUID page to the PSP, and once more if it asks for harmless changes.
fn launch_cpuid<K: SnpKvm>(
    range: &PageRange<'_>,
    ours: &CpuidPage,
    caller: &mut Caller<'_, K>,
) -> Result<Vec<CpuidChange>, LaunchError> {
    let mut page = Box::new(Page(ours.as_page()));
    match launch_cpuid_page(range, &mut page, caller) {
        Ok(()) => return Ok(Vec::new()),
        Err(LaunchError::Refused { source, .. }) if source.is_cpuid_correction() => {}
        Err(error) => return Err(error),
    }
    let (theirs, changes) = ours.corrected(&page.0)?;
    page.0 = theirs.as_page();
    match launch_cpuid_page(range, &mut page, caller) {
        Ok(()) => Ok(changes),
        Err(LaunchError::Refused { source, .. }) if source.is_cpuid_correction() => {
            Err(LaunchError::CpuidRefused)
        }
        Err(error) => Err(error),
    }
}

fn launch_cpuid_page<K: SnpKvm>(
    range: &PageRange<'_>,
    page: &mut Page,
    caller: &mut Caller<'_, K>,
) -> Result<(), LaunchError> {
    let mut update = SnpLaunchUpdate {
        gfn_start: range.gpa() / PAGE_SIZE,
        uaddr: address(&page.0),
        len: PAGE_SIZE,
        page_type: abi::PAGE_TYPE_CPUID,
        ..SnpLaunchUpdate::default()
    };
    let mut patience = Patience::new(Call::SnpLaunchUpdate, MAX_ATTEMPTS);
    while update.len > 0 {
        let before = update;
        let answer = caller.make(Call::SnpLaunchUpdate, |kvm| {
            kvm.snp_launch_update(&mut update, Source::Correctable(&mut page.0))
        });
        let progressed = check_progress(&before, &update)?;
        caller.go_on(&mut patience, progressed, answer)?;
    }
    Ok(())
}

/// Whether KVM got on. What it says must be a part of what it was asked: pages that it skipped, or
/// did twice, would be missing from the digest or make it another one.
fn check_progress(before: &SnpLaunchUpdate, after: &SnpLaunchUpdate) -> Result<bool, LaunchError> {
    let impossible = LaunchError::ImpossibleProgress {
        call: Call::SnpLaunchUpdate,
        gpa: before.gfn_start.saturating_mul(PAGE_SIZE),
    };
    let Some(pages) = after.gfn_start.checked_sub(before.gfn_start) else {
        return Err(impossible);
    };
    let Some(bytes) = pages.checked_mul(PAGE_SIZE) else {
        return Err(impossible);
    };
    let has_source = before.page_type != abi::PAGE_TYPE_ZERO;
    let expected = SnpLaunchUpdate {
        gfn_start: after.gfn_start,
        uaddr: before.uaddr.saturating_add(if has_source { bytes } else { 0 }),
        len: before.len.checked_sub(bytes).ok_or(impossible.clone())?,
        ..*before
    };
    if *after == expected { Ok(pages > 0) } else { Err(impossible) }
}

/// Ends the launch. The call is made once, whatever it answers: KVM measures the virtual CPUs
/// before it asks the PSP, a second call would measure them again, and kernels without the fixes of
/// 2026 crash over it.
fn finish<K: SnpKvm>(plan: &SnpPlan<'_>, caller: &mut Caller<'_, K>) -> Result<(), LaunchError> {
    let guest = plan.guest();
    let mut finish = SnpLaunchFinish {
        vcek_disabled: guest.vcek_disabled.into(),
        host_data: guest.host_data.0,
        ..SnpLaunchFinish::default()
    };
    let Some(identity) = plan.identity() else {
        return caller.once(Call::SnpLaunchFinish, |kvm| kvm.snp_launch_finish(&finish, None));
    };
    let block = identity.block().to_bytes();
    let auth = identity.auth().to_bytes();
    finish.id_block_uaddr = address(&block);
    finish.id_auth_uaddr = address(auth.as_slice());
    finish.id_block_en = 1;
    finish.auth_key_en = identity.auth().author_key().is_some().into();
    let identity = Identity { block: &block, auth: &auth };
    caller.once(Call::SnpLaunchFinish, |kvm| kvm.snp_launch_finish(&finish, Some(identity)))
}

/// Bit 0 of the SEV features, which KVM itself sets.
const FEATURE_SNP: u64 = 1;
/// Version of the GHCB protocol: the one that all SNP hosts and guests speak.
const GHCB_VERSION: u16 = 2;
