// SPDX-License-Identifier: Apache-2.0
//! The kernel's KVM behind the traits of the launch.

#![allow(unsafe_code, reason = "ioctls whose arguments hold user addresses have no safe wrapper")]

mod ioctl;
mod shared;
mod snp;
mod tdx;

pub use shared::SharedMemory;

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use kvm_bindings::CpuId;
use kvm_bindings::KVM_MAX_CPUID_ENTRIES;
use kvm_bindings::kvm_cpuid_entry2;
use kvm_bindings::kvm_enable_cap;
use kvm_ioctls::VcpuFd;
use kvm_ioctls::VmFd;
use rustix::io::Errno;

use self::ioctl::ioctl;
use crate::Call;
use crate::Kvm;
use crate::Refusal;
use crate::Transcript;
use crate::abi;
use crate::abi::CpuidEntry;
use crate::abi::CreateGuestMemfd;
use crate::abi::MemoryAttributes;
use crate::abi::UserMemoryRegion2;

/// /dev/kvm of this host, and the VM that a launch makes on it.
///
/// # Security
///
/// Addresses in the structures that it is given are checked against the memory lent with them or
/// mapped here, so that the kernel touches nothing else of this process.
#[derive(Debug)]
pub struct HostKvm {
    // In the order of their end: the virtual CPUs and the VM before the memory that they use.
    vcpus: Vec<VcpuFd>,
    vm: Option<VmFd>,
    sev: Option<File>,
    guest_memfds: Vec<OwnedFd>,
    shared: Vec<SharedMemory>,
    kvm: kvm_ioctls::Kvm,
    transcript: Transcript,
}

impl HostKvm {
    /// Opens /dev/kvm.
    ///
    /// # Errors
    ///
    /// The kernel's answer: ENOENT without KVM, EACCES without the right to use it.
    pub fn open() -> Result<Self, Refusal> {
        let kvm = kvm_ioctls::Kvm::new().map_err(refusal)?;
        let (vcpus, guest_memfds, shared) = (Vec::new(), Vec::new(), Vec::new());
        let transcript = Transcript::default();
        Ok(Self { vcpus, vm: None, sev: None, guest_memfds, shared, kvm, transcript })
    }

    /// The CPUID table that this host's KVM supports, for a machine that needs no other.
    ///
    /// # Errors
    ///
    /// The kernel's answer.
    pub fn supported_cpuid(&self) -> Result<Vec<CpuidEntry>, Refusal> {
        let table = self.kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).map_err(refusal)?;
        let entry = |entry: &kvm_cpuid_entry2| CpuidEntry {
            function: entry.function,
            index: entry.index,
            flags: entry.flags,
            eax: entry.eax,
            ebx: entry.ebx,
            ecx: entry.ecx,
            edx: entry.edx,
            padding: [0; 3],
        };
        Ok(table.as_slice().iter().map(entry).collect())
    }

    /// The VM, once a launch has made it: for what a VMM adds, such as interrupts and devices.
    #[must_use]
    pub fn vm(&self) -> Option<&VmFd> {
        self.vm.as_ref()
    }

    /// The virtual CPUs in the order of their creation: a VMM runs them behind the launch.
    pub fn vcpus_mut(&mut self) -> &mut [VcpuFd] {
        &mut self.vcpus
    }

    /// The memory that guest and host share, in the order of the machine's regions.
    #[must_use]
    pub fn shared_memory(&self) -> &[SharedMemory] {
        &self.shared
    }

    /// What was asked and answered so far.
    #[must_use]
    pub fn transcript(&self) -> &Transcript {
        &self.transcript
    }

    fn made_vm(&self) -> Result<&VmFd, Refusal> {
        self.vm.as_ref().ok_or(Refusal::kernel(Errno::BADF))
    }

    fn vcpu(&self, vcpu: u16) -> Result<&VcpuFd, Refusal> {
        self.vcpus.get(usize::from(vcpu)).ok_or(Refusal::kernel(Errno::BADF))
    }

    /// An ioctl on the VM with a structure that holds no addresses, or checked ones.
    ///
    /// # Safety
    ///
    /// As for [`ioctl`].
    unsafe fn vm_ioctl<T>(&self, request: u32, argument: *mut T) -> Result<i32, Refusal> {
        // SAFETY: the caller vouches for the argument.
        unsafe { ioctl(self.made_vm()?, request, argument) }.map_err(Refusal::kernel)
    }
}

impl Kvm for HostKvm {
    fn check_extension(&mut self, capability: u32) -> Result<u64, Refusal> {
        let answer = match &self.vm {
            Some(vm) => vm.check_extension_raw(capability.into()),
            None => self.kvm.check_extension_raw(capability.into()),
        };
        // A negative answer is an error number of kernels that do not know the question.
        Ok(u64::try_from(answer).unwrap_or(0))
    }

    fn create_vm(&mut self, vm_type: u32) -> Result<(), Refusal> {
        if self.vm.is_some() {
            return Err(Refusal::kernel(Errno::EXIST));
        }
        self.vm = Some(self.kvm.create_vm_with_type(vm_type.into()).map_err(refusal)?);
        Ok(())
    }

    fn enable_cap(&mut self, capability: u32, argument: u64) -> Result<(), Refusal> {
        let cap = kvm_enable_cap {
            cap: capability,
            args: [argument, 0, 0, 0],
            ..kvm_enable_cap::default()
        };
        self.made_vm()?.enable_cap(&cap).map_err(refusal)
    }

    fn map_shared(&mut self, size: u64) -> Result<u64, Refusal> {
        let shared = SharedMemory::new(size).map_err(Refusal::kernel)?;
        let address = shared.address();
        self.shared.push(shared);
        Ok(address)
    }

    fn create_guest_memfd(&mut self, create: &CreateGuestMemfd) -> Result<u32, Refusal> {
        let mut create = *create;
        // SAFETY: the structure is the request's and holds no address.
        let fd = unsafe { self.vm_ioctl(abi::CREATE_GUEST_MEMFD, &raw mut create) }?;
        // SAFETY: KVM has just opened this descriptor, and nobody else knows it.
        let guest_memfd = unsafe { OwnedFd::from_raw_fd(fd) };
        self.guest_memfds.push(guest_memfd);
        u32::try_from(fd).map_err(|_| Refusal::kernel(Errno::BADF))
    }

    fn set_user_memory_region2(&mut self, region: &UserMemoryRegion2) -> Result<(), Refusal> {
        let (start, size) = (region.userspace_addr, region.memory_size);
        if !self.shared.iter().any(|shared| shared.holds(start, size)) {
            return Err(Refusal::kernel(Errno::FAULT));
        }
        let mut region = *region;
        // SAFETY: the structure is the request's, and the guest gets memory that was mapped for it
        // and outlives the VM.
        unsafe { self.vm_ioctl(abi::SET_USER_MEMORY_REGION2, &raw mut region) }.map(drop)
    }

    fn set_memory_attributes(&mut self, attributes: &MemoryAttributes) -> Result<(), Refusal> {
        let mut attributes = *attributes;
        // SAFETY: the structure is the request's and holds no address of this process.
        unsafe { self.vm_ioctl(abi::SET_MEMORY_ATTRIBUTES, &raw mut attributes) }.map(drop)
    }

    fn create_vcpu(&mut self, vcpu: u16) -> Result<(), Refusal> {
        if usize::from(vcpu) != self.vcpus.len() {
            return Err(Refusal::kernel(Errno::INVAL));
        }
        let created = self.made_vm()?.create_vcpu(vcpu.into()).map_err(refusal)?;
        self.vcpus.push(created);
        Ok(())
    }

    fn set_cpuid2(&mut self, vcpu: u16, entries: &[CpuidEntry]) -> Result<(), Refusal> {
        let entries: Vec<_> = entries.iter().map(to_kvm_entry).collect();
        let table = CpuId::from_entries(&entries).map_err(|_| Refusal::kernel(Errno::TOOBIG))?;
        self.vcpu(vcpu)?.set_cpuid2(&table).map_err(refusal)
    }

    fn note(&mut self, call: Call, answer: Result<(), Refusal>) {
        self.transcript.note(call, answer);
    }

    fn pause(&mut self, attempt: u32) {
        thread::sleep(PAUSE.saturating_mul(attempt.min(MAX_PAUSES)));
    }
}

fn to_kvm_entry(entry: &CpuidEntry) -> kvm_cpuid_entry2 {
    let CpuidEntry { function, index, flags, eax, ebx, ecx, edx, padding } = *entry;
    kvm_cpuid_entry2 { function, index, flags, eax, ebx, ecx, edx, padding }
}

fn refusal(error: kvm_ioctls::Error) -> Refusal {
    Refusal::kernel(Errno::from_raw_os_error(error.errno()))
}

/// The first wait between tries; later ones are as many times longer, up to [`MAX_PAUSES`].
const PAUSE: Duration = Duration::from_micros(100);
const MAX_PAUSES: u32 = 10;

/// The descriptor as SEV commands name it.
fn raw_fd(file: &File) -> Result<u32, Refusal> {
    u32::try_from(file.as_raw_fd()).map_err(|_| Refusal::kernel(Errno::BADF))
}
