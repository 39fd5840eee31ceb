// SPDX-License-Identifier: Apache-2.0
//! The calls of a launch, one method each, so that the kernel and a model of it are exchangeable.
//!
//! Arguments are the kernel's own structures, padding included: what an implementation gets is what
//! the kernel would see. Memory that a structure points to is passed beside it, and an
//! implementation refuses addresses outside of it with EFAULT, so that no call can read or write
//! memory that its caller did not lend.

use kvm_bindings::kvm_debugregs;
use kvm_bindings::kvm_fpu;
use kvm_bindings::kvm_regs;
use kvm_bindings::kvm_sregs;
use kvm_bindings::kvm_xcrs;

use crate::Call;
use crate::Refusal;
use crate::abi;

/// Calls that every launch makes.
pub trait Kvm {
    /// `KVM_CHECK_EXTENSION` on the VM, or on /dev/kvm before there is one: 0 if unknown.
    ///
    /// # Errors
    ///
    /// KVM's answer.
    fn check_extension(&mut self, capability: u32) -> Result<u64, Refusal>;

    /// `KVM_CREATE_VM` with a type of [`abi`].
    ///
    /// # Errors
    ///
    /// KVM's answer: EINVAL for a type that it does not know.
    fn create_vm(&mut self, vm_type: u32) -> Result<(), Refusal>;

    /// `KVM_ENABLE_CAP` on the VM with one argument.
    ///
    /// # Errors
    ///
    /// KVM's answer.
    fn enable_cap(&mut self, capability: u32, argument: u64) -> Result<(), Refusal>;

    /// `memfd_create` and `mmap`: memory that guest and host share. Returns its address.
    ///
    /// # Errors
    ///
    /// The kernel's answer.
    fn map_shared(&mut self, size: u64) -> Result<u64, Refusal>;

    /// `KVM_CREATE_GUEST_MEMFD`: private memory. Returns the descriptor, which the implementation
    /// owns.
    ///
    /// # Errors
    ///
    /// KVM's answer.
    fn create_guest_memfd(&mut self, create: &abi::CreateGuestMemfd) -> Result<u32, Refusal>;

    /// `KVM_SET_USER_MEMORY_REGION2` with memory of [`Kvm::map_shared`] and
    /// [`Kvm::create_guest_memfd`].
    ///
    /// # Errors
    ///
    /// KVM's answer; EFAULT for memory that this object did not map.
    fn set_user_memory_region2(&mut self, region: &abi::UserMemoryRegion2) -> Result<(), Refusal>;

    /// `KVM_SET_MEMORY_ATTRIBUTES`.
    ///
    /// # Errors
    ///
    /// KVM's answer.
    fn set_memory_attributes(&mut self, attributes: &abi::MemoryAttributes) -> Result<(), Refusal>;

    /// `KVM_CREATE_VCPU`.
    ///
    /// # Errors
    ///
    /// KVM's answer.
    fn create_vcpu(&mut self, vcpu: u16) -> Result<(), Refusal>;

    /// `KVM_SET_CPUID2`.
    ///
    /// # Errors
    ///
    /// KVM's answer.
    fn set_cpuid2(&mut self, vcpu: u16, entries: &[abi::CpuidEntry]) -> Result<(), Refusal>;

    /// Notes how KVM answered a call of the launch; for those who keep a transcript.
    fn note(&mut self, call: Call, answer: Result<(), Refusal>) {
        let _ = (call, answer);
    }

    /// Waits before another try; a kernel waits longer with each attempt, a model not at all.
    fn pause(&mut self, attempt: u32);
}

/// Calls of an SNP launch.
pub trait SnpKvm: Kvm {
    /// `KVM_GET_DEVICE_ATTR` on /dev/kvm, group [`abi::GRP_SEV`].
    ///
    /// # Errors
    ///
    /// KVM's answer: ENXIO for an attribute that it does not know.
    fn sev_attribute(&mut self, attribute: u64) -> Result<u64, Refusal>;

    /// `KVM_SEV_INIT2`.
    ///
    /// # Errors
    ///
    /// KVM's answer.
    fn sev_init2(&mut self, init: &abi::SevInit) -> Result<(), Refusal>;

    /// `KVM_SET_SREGS`.
    ///
    /// # Errors
    ///
    /// KVM's answer.
    fn set_sregs(&mut self, vcpu: u16, sregs: &kvm_sregs) -> Result<(), Refusal>;

    /// `KVM_SET_REGS`.
    ///
    /// # Errors
    ///
    /// KVM's answer.
    fn set_regs(&mut self, vcpu: u16, regs: &kvm_regs) -> Result<(), Refusal>;

    /// `KVM_SET_FPU`.
    ///
    /// # Errors
    ///
    /// KVM's answer.
    fn set_fpu(&mut self, vcpu: u16, fpu: &kvm_fpu) -> Result<(), Refusal>;

    /// `KVM_SET_XCRS`.
    ///
    /// # Errors
    ///
    /// KVM's answer.
    fn set_xcrs(&mut self, vcpu: u16, xcrs: &kvm_xcrs) -> Result<(), Refusal>;

    /// `KVM_SET_DEBUGREGS`.
    ///
    /// # Errors
    ///
    /// KVM's answer.
    fn set_debug_regs(&mut self, vcpu: u16, regs: &kvm_debugregs) -> Result<(), Refusal>;

    /// `KVM_SET_MSRS` with one register.
    ///
    /// # Errors
    ///
    /// KVM's answer; EINVAL for a register that it does not set.
    fn set_msr(&mut self, vcpu: u16, index: u32, value: u64) -> Result<(), Refusal>;

    /// `KVM_SEV_SNP_LAUNCH_START`.
    ///
    /// # Errors
    ///
    /// KVM's answer.
    fn snp_launch_start(&mut self, start: &abi::SnpLaunchStart) -> Result<(), Refusal>;

    /// `KVM_SEV_SNP_LAUNCH_UPDATE`. KVM may do a part of it and moves `update` on by that part.
    ///
    /// # Errors
    ///
    /// KVM's answer; EFAULT if `update` points outside of `source`.
    fn snp_launch_update(
        &mut self,
        update: &mut abi::SnpLaunchUpdate,
        source: Source<'_>,
    ) -> Result<(), Refusal>;

    /// `KVM_SEV_SNP_LAUNCH_FINISH`, with the ID block that `finish` points to.
    ///
    /// # Errors
    ///
    /// KVM's answer; EFAULT if `finish` points outside of `identity`.
    fn snp_launch_finish(
        &mut self,
        finish: &abi::SnpLaunchFinish,
        identity: Option<Identity<'_>>,
    ) -> Result<(), Refusal>;
}

/// Where the contents of launched pages come from.
#[derive(Debug)]
pub enum Source<'a> {
    /// From nowhere: pages of zeros.
    Nothing,
    /// From memory that the kernel reads.
    Read(&'a [u8]),
    /// From a page into which the kernel may write a correction.
    Correctable(&'a mut [u8; 4096]),
}

impl Source<'_> {
    /// The memory's address, 0 for none, and its size in bytes.
    #[must_use]
    pub fn range(&self) -> (u64, u64) {
        match self {
            Self::Nothing => (0, 0),
            Self::Read(bytes) => (address(bytes), size(bytes)),
            Self::Correctable(page) => (address(page.as_slice()), abi::PAGE_SIZE),
        }
    }

    /// Whether a call that points to this memory stays inside it.
    #[must_use]
    pub fn holds(&self, start: u64, length: u64) -> bool {
        let (own, size) = self.range();
        let offset = start.checked_sub(own);
        offset.and_then(|offset| offset.checked_add(length)).is_some_and(|end| end <= size)
    }
}

/// The signed identity of a guest.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The ID block.
    pub block: &'a [u8; abi::ID_BLOCK_SIZE],
    /// The ID authentication page.
    pub auth: &'a [u8; abi::ID_AUTH_SIZE],
}

/// Calls of a TDX launch.
pub trait TdxKvm: Kvm {
    /// `KVM_TDX_CAPABILITIES` with room for this many CPUID entries.
    ///
    /// # Errors
    ///
    /// KVM's answer: E2BIG if there are more.
    fn tdx_capabilities(&mut self, room: u32) -> Result<TdxSupport, Refusal>;

    /// `KVM_TDX_INIT_VM` with a CPUID table of `init.cpuid_nent` entries.
    ///
    /// # Errors
    ///
    /// KVM's answer; EFAULT if there are fewer entries.
    fn tdx_init_vm(
        &mut self,
        init: &abi::TdxInitVm,
        cpuid: &[abi::CpuidEntry],
    ) -> Result<(), Refusal>;

    /// `KVM_TDX_INIT_VCPU`: the virtual CPU starts with the TD HOB's address in RCX and R8.
    ///
    /// # Errors
    ///
    /// KVM's answer.
    fn tdx_init_vcpu(&mut self, vcpu: u16, hob: u64) -> Result<(), Refusal>;

    /// `KVM_TDX_INIT_MEM_REGION`. KVM may do a part of it and moves `region` on by that part.
    ///
    /// # Errors
    ///
    /// KVM's answer; EFAULT if `region` points outside of `source`.
    fn tdx_init_mem_region(
        &mut self,
        vcpu: u16,
        flags: u32,
        region: &mut abi::TdxInitMemRegion,
        source: &[u8],
    ) -> Result<(), Refusal>;

    /// `KVM_TDX_FINALIZE_VM`.
    ///
    /// # Errors
    ///
    /// KVM's answer.
    fn tdx_finalize_vm(&mut self) -> Result<(), Refusal>;
}

/// What KVM and the TDX module support.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TdxSupport {
    /// TD attributes that may be set.
    pub attributes: u64,
    /// XFAM bits that may be set.
    pub xfam: u64,
    /// CPUID bits that the VMM may choose.
    pub cpuid: Vec<abi::CpuidEntry>,
}

/// The address under which the kernel finds these bytes.
pub(crate) fn address(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.as_ptr().expose_provenance()).unwrap_or(u64::MAX)
}

pub(crate) fn size(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
