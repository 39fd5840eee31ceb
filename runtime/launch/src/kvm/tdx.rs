// SPDX-License-Identifier: Apache-2.0
//! Commands of a TDX launch.

use std::os::fd::AsRawFd;

use rustix::io::Errno;
use zerocopy::FromBytes;
use zerocopy::IntoBytes;

use super::HostKvm;
use super::ioctl::ioctl;
use crate::FirmwareError;
use crate::Refusal;
use crate::Source;
use crate::TdxKvm;
use crate::TdxSupport;
use crate::abi;
use crate::abi::CpuidEntry;
use crate::abi::TdxCapabilities;
use crate::abi::TdxCmd;
use crate::abi::TdxInitMemRegion;
use crate::abi::TdxInitVm;

impl TdxKvm for HostKvm {
    fn tdx_capabilities(&mut self, room: u32) -> Result<TdxSupport, Refusal> {
        let too_big = Refusal::kernel(Errno::TOOBIG);
        let entries = usize::try_from(room).map_err(|_| too_big)?;
        let mut buffer = words::<TdxCapabilities>(entries);
        let (header, _) =
            TdxCapabilities::mut_from_prefix(buffer.as_mut_bytes()).map_err(|_| too_big)?;
        header.cpuid_nent = room;
        let mut command =
            TdxCmd { id: abi::TDX_CAPABILITIES, data: pointer(&mut buffer), ..TdxCmd::default() };
        // SAFETY: the command's structure has room for as many entries as it says, and holds no
        // address.
        unsafe { tdx_command(self.made_vm()?, &mut command) }?;

        let invalid = Refusal::kernel(Errno::INVAL);
        let (header, rest) =
            TdxCapabilities::ref_from_prefix(buffer.as_bytes()).map_err(|_| invalid)?;
        let count = usize::try_from(header.cpuid_nent).map_err(|_| invalid)?;
        let (cpuid, _) =
            <[CpuidEntry]>::ref_from_prefix_with_elems(rest, count).map_err(|_| invalid)?;
        Ok(TdxSupport {
            attributes: header.supported_attrs,
            xfam: header.supported_xfam,
            cpuid: cpuid.to_vec(),
        })
    }

    fn tdx_init_vm(&mut self, init: &TdxInitVm, cpuid: &[CpuidEntry]) -> Result<(), Refusal> {
        let announced = usize::try_from(init.cpuid_nent).ok();
        let fault = Refusal::kernel(Errno::FAULT);
        let cpuid = announced.and_then(|count| cpuid.get(..count)).ok_or(fault)?;
        let mut buffer = words::<TdxInitVm>(cpuid.len());
        let bytes = buffer.as_mut_bytes().iter_mut();
        let contents = init.as_bytes().iter().chain(cpuid.as_bytes());
        bytes.zip(contents).for_each(|(place, byte)| *place = *byte);
        let mut command =
            TdxCmd { id: abi::TDX_INIT_VM, data: pointer(&mut buffer), ..TdxCmd::default() };
        // SAFETY: the command's structure is followed by as many entries as it says, and holds no
        // address.
        unsafe { tdx_command(self.made_vm()?, &mut command) }
    }

    fn tdx_init_vcpu(&mut self, vcpu: u16, hob: u64) -> Result<(), Refusal> {
        let mut command = TdxCmd { id: abi::TDX_INIT_VCPU, data: hob, ..TdxCmd::default() };
        // SAFETY: the command takes a guest-physical address, which is not one of this process.
        unsafe { tdx_command(self.vcpu(vcpu)?, &mut command) }
    }

    fn tdx_init_mem_region(
        &mut self,
        vcpu: u16,
        flags: u32,
        region: &mut TdxInitMemRegion,
        source: &[u8],
    ) -> Result<(), Refusal> {
        let length = region.nr_pages.checked_mul(abi::PAGE_SIZE);
        if !length.is_some_and(|length| Source::Read(source).holds(region.source_addr, length)) {
            return Err(Refusal::kernel(Errno::FAULT));
        }
        let data = u64::try_from((&raw mut *region).expose_provenance()).unwrap_or(u64::MAX);
        let mut command = TdxCmd { id: abi::TDX_INIT_MEM_REGION, flags, data, ..TdxCmd::default() };
        // SAFETY: the command's structure is lent for writing, and the kernel reads pages that lie
        // in `source`.
        unsafe { tdx_command(self.vcpu(vcpu)?, &mut command) }
    }

    fn tdx_finalize_vm(&mut self) -> Result<(), Refusal> {
        let mut command = TdxCmd { id: abi::TDX_FINALIZE_VM, ..TdxCmd::default() };
        // SAFETY: the command takes no structure.
        unsafe { tdx_command(self.made_vm()?, &mut command) }
    }
}

/// Makes a command on a VM or a virtual CPU.
///
/// # Safety
///
/// `command.data` must be valid for what the command does with it.
unsafe fn tdx_command(fd: &impl AsRawFd, command: &mut TdxCmd) -> Result<(), Refusal> {
    // SAFETY: the structure is the request's, and the caller vouches for the one behind it.
    let answer = unsafe { ioctl(fd, abi::MEMORY_ENCRYPT_OP, &raw mut *command) };
    answer.map(drop).map_err(|errno| {
        let status = (command.hw_error != 0).then_some(command.hw_error);
        Refusal { errno, firmware: status.map(FirmwareError::TdxModule) }
    })
}

/// Aligned zeros for a structure and the entries behind it.
fn words<T>(entries: usize) -> Vec<u64> {
    let entries = size_of::<CpuidEntry>().saturating_mul(entries);
    vec![0; size_of::<T>().saturating_add(entries).div_ceil(size_of::<u64>())]
}

fn pointer(buffer: &mut [u64]) -> u64 {
    u64::try_from(buffer.as_mut_ptr().expose_provenance()).unwrap_or(u64::MAX)
}
