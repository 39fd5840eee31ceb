// SPDX-License-Identifier: Apache-2.0
//! KVM's commands of an SNP launch.

use casemate_launch::Call;
use casemate_launch::Identity;
use casemate_launch::Refusal;
use casemate_launch::SnpKvm;
use casemate_launch::Source;
use casemate_launch::abi;
use casemate_launch::abi::PAGE_SIZE;
use casemate_launch::abi::SevInit;
use casemate_launch::abi::SnpLaunchFinish;
use casemate_launch::abi::SnpLaunchStart;
use casemate_launch::abi::SnpLaunchUpdate;
use kvm_bindings::kvm_debugregs;
use kvm_bindings::kvm_fpu;
use kvm_bindings::kvm_regs;
use kvm_bindings::kvm_sregs;
use kvm_bindings::kvm_xcrs;

use crate::Host;
use crate::Manner;
use crate::Model;
use crate::Rule;
use crate::id_block;
use crate::kvm::Vm;
use crate::psp::Context;
use crate::psp::SnpGuest;
use crate::psp::correct_cpuid;
use crate::rule::No;
use crate::sha384;

fn init2(host: &Host, vm: &mut Vm, init: &SevInit) -> Result<(), Rule> {
    vm.require_snp()?;
    if vm.snp.features.is_some() {
        return Err(Rule::LegacyCommand);
    }
    if !vm.vcpus.is_empty() {
        return Err(Rule::InitAfterVcpu);
    }
    if init.flags != 0 {
        return Err(Rule::UnknownFlags);
    }
    if init.pad1 != 0 || init.pad2 != [0; 8] {
        return Err(Rule::ReservedField);
    }
    if init.vmsa_features & !host.vmsa_features != 0 {
        return Err(Rule::UnsupportedFeatures);
    }
    if !matches!(init.ghcb_version, 0 | 2) {
        return Err(Rule::GhcbVersion);
    }
    vm.snp.features = Some(init.vmsa_features | 1);
    Ok(())
}

fn start(host: &Host, vm: &mut Vm, start: &SnpLaunchStart) -> Result<(), Rule> {
    vm.require_snp()?;
    if vm.snp.features.is_none() {
        return Err(Rule::StartBeforeInit);
    }
    if vm.snp.context.is_some() {
        return Err(Rule::StartTwice);
    }
    if start.flags != 0 {
        return Err(Rule::UnknownFlags);
    }
    if start.pad0 != [0; 6] || start.pad1 != [0; 4] {
        return Err(Rule::ReservedField);
    }
    if start.policy & !host.policy_bits != 0 {
        return Err(Rule::UnsupportedPolicy);
    }
    if start.policy & POLICY_RESERVED_ONE == 0 {
        return Err(Rule::PolicyReservedBit);
    }
    vm.snp.context = Some(Context { policy: start.policy, digest: [0; 48], cpuid_page: None });
    Ok(())
}

fn update(
    host: &Host,
    vm: &mut Vm,
    update: &mut SnpLaunchUpdate,
    mut source: Source<'_>,
    manner: Manner,
) -> Result<(), Rule> {
    vm.require_snp()?;
    let Some(context) = vm.snp.context.as_mut() else {
        return Err(Rule::UpdateBeforeStart);
    };
    if vm.snp.guest.is_some() {
        return Err(Rule::UpdateAfterFinish);
    }
    if update.flags != 0 {
        return Err(Rule::UnknownFlags);
    }
    if update.pad0 != 0 || update.pad1 != 0 || update.pad2 != [0; 4] {
        return Err(Rule::ReservedField);
    }
    match update.page_type {
        abi::PAGE_TYPE_NORMAL..=abi::PAGE_TYPE_CPUID if update.page_type != VMSA => {}
        VMSA => return Err(Rule::VmsaFromUser),
        _ => return Err(Rule::UnknownPageType),
    }
    let asked = update.len / PAGE_SIZE;
    if asked == 0 || !update.len.is_multiple_of(PAGE_SIZE) {
        return Err(Rule::NotWholePages);
    }
    let needs_source = update.page_type != abi::PAGE_TYPE_ZERO;
    if needs_source && !update.uaddr.is_multiple_of(PAGE_SIZE) {
        return Err(Rule::NotWholePages);
    }
    if needs_source && !source.holds(update.uaddr, update.len) {
        return Err(Rule::WrongSource);
    }

    let gpa = update.gfn_start.checked_mul(PAGE_SIZE).ok_or(Rule::NoPrivateSlot)?;
    let pages = asked.min(vm.memory.pages_in_slot(gpa)?).min(manner.most);
    let mut done = 0;
    let mut stopped = Ok(());
    while done < pages && stopped.is_ok() {
        let offset = done.saturating_mul(PAGE_SIZE);
        let gpa = gpa.saturating_add(offset);
        stopped = vm.memory.take(gpa).and_then(|()| {
            let at = update.uaddr.saturating_add(offset);
            let contents = if needs_source { page_at(&source, at)? } else { &[0; 4096] };
            let measured = match update.page_type {
                abi::PAGE_TYPE_NORMAL => sha384(&[contents]),
                _ => [0; 48],
            };
            if update.page_type == abi::PAGE_TYPE_CPUID {
                if let Some(right) = correct_cpuid(host, contents) {
                    vm.memory.give_back(gpa);
                    if let Source::Correctable(page) = &mut source {
                        page.copy_from_slice(&right);
                    }
                    return Err(Rule::CpuidValues);
                }
                context.cpuid_page = Some(contents.to_vec());
            }
            context.fold(gpa, update.page_type, &measured);
            Ok(())
        });
        if stopped.is_ok() {
            done = done.saturating_add(1);
        }
    }
    // As in KVM, an error behind the first page only ends the part that was done.
    if done == 0 {
        stopped?;
    }
    update.gfn_start = update.gfn_start.saturating_add(done);
    if manner.misreports {
        update.gfn_start = update.gfn_start.saturating_add(1);
    }
    update.len = update.len.saturating_sub(done.saturating_mul(PAGE_SIZE));
    if needs_source {
        update.uaddr = update.uaddr.saturating_add(done.saturating_mul(PAGE_SIZE));
    }
    Ok(())
}

/// The page of the source at this address.
pub(crate) fn page_at<'a>(source: &'a Source<'_>, address: u64) -> Result<&'a [u8; 4096], Rule> {
    let offset = address.checked_sub(source.range().0).and_then(|at| usize::try_from(at).ok());
    let bytes: &[u8] = match source {
        Source::Nothing => &[],
        Source::Read(bytes) => bytes,
        Source::Correctable(page) => page.as_slice(),
    };
    let page = offset.and_then(|at| bytes.get(at..)).and_then(|rest| rest.first_chunk());
    page.ok_or(Rule::WrongSource)
}

fn finish(
    vm: &mut Vm,
    finish: &SnpLaunchFinish,
    identity: Option<Identity<'_>>,
) -> Result<(), Rule> {
    vm.require_snp()?;
    let (Some(context), Some(features)) = (vm.snp.context.as_mut(), vm.snp.features) else {
        return Err(Rule::FinishBeforeStart);
    };
    if vm.snp.guest.is_some() {
        return Err(Rule::FinishTwice);
    }
    if finish.flags != 0 {
        return Err(Rule::UnknownFlags);
    }
    if finish.pad0 != [0; 3] || finish.pad1 != [0; 4] {
        return Err(Rule::ReservedField);
    }
    let switches = [finish.id_block_en, finish.auth_key_en, finish.vcek_disabled];
    if switches.iter().any(|switch| *switch > 1) || finish.auth_key_en > finish.id_block_en {
        return Err(Rule::WrongSwitch);
    }
    let identity = match (finish.id_block_en, identity) {
        (0, _) => None,
        (_, Some(identity))
            if Source::Read(identity.block).range().0 == finish.id_block_uaddr
                && Source::Read(identity.auth).range().0 == finish.id_auth_uaddr =>
        {
            Some(identity)
        }
        _ => return Err(Rule::WrongSource),
    };

    for vcpu in &mut vm.vcpus {
        if vcpu.is_protected {
            // An earlier LAUNCH_FINISH failed behind this point.
            return Err(Rule::FinishTwice);
        }
        let page = vcpu.vmsa(features)?;
        context.fold(VMSA_ADDRESS, VMSA, &sha384(&[&page]));
        vcpu.is_protected = true;
    }
    let has_author_key = finish.auth_key_en == 1;
    if let Some(identity) = &identity {
        id_block::check(identity, has_author_key, &context.digest, context.policy)?;
    }
    vm.snp.guest = Some(SnpGuest {
        digest: context.digest,
        policy: context.policy,
        host_data: finish.host_data,
        vcek_disabled: finish.vcek_disabled == 1,
        id_block: identity.map(|identity| *identity.block),
        has_author_key,
        features,
        vcpus: vm.vcpus.len(),
        cpuid_page: context.cpuid_page.take(),
    });
    Ok(())
}

impl Model {
    /// A command by its number alone: those of SEV and SEV-ES, which have no method.
    ///
    /// # Errors
    ///
    /// Always: an SNP guest takes none of them ([`Rule::LegacyCommand`]), and this model has no
    /// others ([`Rule::NotSnp`]).
    pub fn sev_command(&mut self, number: u32) -> Result<(), Refusal> {
        self.vm_call(Call::SevInit2, |_, vm, _| {
            let is_snp = vm.snp.features.is_some() && number < abi::SNP_LAUNCH_START;
            Err(if is_snp { Rule::LegacyCommand } else { Rule::NotSnp }.into())
        })
    }
}

impl SnpKvm for Model {
    fn sev_attribute(&mut self, attribute: u64) -> Result<u64, Refusal> {
        self.call(Call::GetDeviceAttr, |host, _, _| match attribute {
            abi::VMSA_FEATURES => Ok(host.vmsa_features),
            abi::SNP_POLICY_BITS if host.tells_policy_bits => Ok(host.policy_bits),
            _ => Err(Rule::UnknownSevAttribute.into()),
        })
    }

    fn sev_init2(&mut self, init: &SevInit) -> Result<(), Refusal> {
        self.vm_call(Call::SevInit2, |host, vm, _| Ok(init2(host, vm, init)?))
    }

    fn set_sregs(&mut self, vcpu: u16, sregs: &kvm_sregs) -> Result<(), Refusal> {
        self.vm_call(Call::SetSregs, |_, vm, _| {
            vm.vcpu(vcpu)?.unprotected()?.sregs = *sregs;
            Ok(())
        })
    }

    fn set_regs(&mut self, vcpu: u16, regs: &kvm_regs) -> Result<(), Refusal> {
        self.vm_call(Call::SetRegs, |_, vm, _| {
            vm.vcpu(vcpu)?.unprotected()?.regs = *regs;
            Ok(())
        })
    }

    fn set_fpu(&mut self, vcpu: u16, fpu: &kvm_fpu) -> Result<(), Refusal> {
        self.vm_call(Call::SetFpu, |_, vm, _| {
            vm.vcpu(vcpu)?.unprotected()?.fpu = *fpu;
            Ok(())
        })
    }

    fn set_xcrs(&mut self, vcpu: u16, xcrs: &kvm_xcrs) -> Result<(), Refusal> {
        self.vm_call(Call::SetXcrs, |_, vm, _| {
            let vcpu = vm.vcpu(vcpu)?.unprotected()?;
            let count = usize::try_from(xcrs.nr_xcrs).unwrap_or(usize::MAX);
            for xcr in xcrs.xcrs.iter().take(count).filter(|xcr| xcr.xcr == 0) {
                vcpu.xcr0 = xcr.value;
            }
            Ok(())
        })
    }

    fn set_debug_regs(&mut self, vcpu: u16, regs: &kvm_debugregs) -> Result<(), Refusal> {
        self.vm_call(Call::SetDebugRegs, |_, vm, _| {
            vm.vcpu(vcpu)?.unprotected()?.debug = *regs;
            Ok(())
        })
    }

    fn set_msr(&mut self, vcpu: u16, index: u32, value: u64) -> Result<(), Refusal> {
        self.vm_call(Call::SetMsrs, |_, vm, _| {
            let vcpu = vm.vcpu(vcpu)?.unprotected()?;
            if index != MSR_PAT {
                return Err(Rule::UnknownMsr.into());
            }
            vcpu.g_pat = value;
            Ok(())
        })
    }

    fn snp_launch_start(&mut self, command: &SnpLaunchStart) -> Result<(), Refusal> {
        self.vm_call(Call::SnpLaunchStart, |host, vm, _| Ok(start(host, vm, command)?))
    }

    fn snp_launch_update(
        &mut self,
        command: &mut SnpLaunchUpdate,
        source: Source<'_>,
    ) -> Result<(), Refusal> {
        self.vm_call(Call::SnpLaunchUpdate, |host, vm, manner| {
            update(host, vm, command, source, manner).map_err(No::from)
        })
    }

    fn snp_launch_finish(
        &mut self,
        command: &SnpLaunchFinish,
        identity: Option<Identity<'_>>,
    ) -> Result<(), Refusal> {
        self.vm_call(Call::SnpLaunchFinish, |_, vm, _| Ok(finish(vm, command, identity)?))
    }
}

const VMSA: u8 = abi::PAGE_TYPE_VMSA;
/// `INITIAL_VMSA_GPA` of KVM.
const VMSA_ADDRESS: u64 = 0xffff_ffff_f000;
/// `SNP_POLICY_MASK_RSVD_MBO` of KVM.
const POLICY_RESERVED_ONE: u64 = 1 << 17;
/// IA32_PAT.
const MSR_PAT: u32 = 0x277;
