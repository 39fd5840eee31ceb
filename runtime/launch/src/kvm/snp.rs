// SPDX-License-Identifier: Apache-2.0
//! Commands of an SNP launch.

use std::fs::OpenOptions;
use std::io;

use kvm_bindings::Msrs;
use kvm_bindings::kvm_debugregs;
use kvm_bindings::kvm_fpu;
use kvm_bindings::kvm_msr_entry;
use kvm_bindings::kvm_regs;
use kvm_bindings::kvm_sregs;
use kvm_bindings::kvm_xcrs;
use rustix::io::Errno;

use super::HostKvm;
use super::ioctl::ioctl;
use super::raw_fd;
use super::refusal;
use crate::FirmwareError;
use crate::Identity;
use crate::PspStatus;
use crate::Refusal;
use crate::SnpKvm;
use crate::Source;
use crate::abi;
use crate::abi::DeviceAttr;
use crate::abi::SevCmd;
use crate::abi::SevInit;
use crate::abi::SnpLaunchFinish;
use crate::abi::SnpLaunchStart;
use crate::abi::SnpLaunchUpdate;
use crate::calls::address;

impl HostKvm {
    /// Makes a SEV command.
    ///
    /// # Safety
    ///
    /// `data` must be the command's structure, valid for reads and writes, and every address in it
    /// must be valid for what the command does with it.
    unsafe fn sev_command<T>(&mut self, id: u32, data: *mut T) -> Result<(), Refusal> {
        let sev = match &self.sev {
            Some(sev) => sev,
            None => self.sev.insert(open_sev()?),
        };
        let mut command = SevCmd {
            id,
            data: u64::try_from(data.expose_provenance()).unwrap_or(u64::MAX),
            sev_fd: raw_fd(sev)?,
            ..SevCmd::default()
        };
        // SAFETY: the structure is the request's, and the caller vouches for the one behind it.
        let answer = unsafe { self.vm_ioctl(abi::MEMORY_ENCRYPT_OP, &raw mut command) };
        answer.map(drop).map_err(|refusal| {
            let asked = !matches!(command.error, 0 | NO_FIRMWARE_CALL);
            let firmware = asked.then_some(FirmwareError::Psp(PspStatus(command.error)));
            Refusal { firmware, ..refusal }
        })
    }
}

impl SnpKvm for HostKvm {
    fn sev_attribute(&mut self, attribute: u64) -> Result<u64, Refusal> {
        let mut value = 0_u64;
        let mut request = DeviceAttr {
            flags: 0,
            group: abi::GRP_SEV,
            attr: attribute,
            addr: u64::try_from((&raw mut value).expose_provenance()).unwrap_or(u64::MAX),
        };
        // SAFETY: the structure is the request's, and all attributes of this group are words of 64
        // bits, for which there is room.
        unsafe { ioctl(&self.kvm, abi::GET_DEVICE_ATTR, &raw mut request) }
            .map_err(Refusal::kernel)?;
        Ok(value)
    }

    fn sev_init2(&mut self, init: &SevInit) -> Result<(), Refusal> {
        let mut init = *init;
        // SAFETY: the structure is the command's and holds no address.
        unsafe { self.sev_command(abi::SEV_INIT2, &raw mut init) }
    }

    fn set_sregs(&mut self, vcpu: u16, sregs: &kvm_sregs) -> Result<(), Refusal> {
        self.vcpu(vcpu)?.set_sregs(sregs).map_err(refusal)
    }

    fn set_regs(&mut self, vcpu: u16, regs: &kvm_regs) -> Result<(), Refusal> {
        self.vcpu(vcpu)?.set_regs(regs).map_err(refusal)
    }

    fn set_fpu(&mut self, vcpu: u16, fpu: &kvm_fpu) -> Result<(), Refusal> {
        self.vcpu(vcpu)?.set_fpu(fpu).map_err(refusal)
    }

    fn set_xcrs(&mut self, vcpu: u16, xcrs: &kvm_xcrs) -> Result<(), Refusal> {
        self.vcpu(vcpu)?.set_xcrs(xcrs).map_err(refusal)
    }

    fn set_debug_regs(&mut self, vcpu: u16, regs: &kvm_debugregs) -> Result<(), Refusal> {
        self.vcpu(vcpu)?.set_debug_regs(regs).map_err(refusal)
    }

    fn set_msr(&mut self, vcpu: u16, index: u32, data: u64) -> Result<(), Refusal> {
        let entry = kvm_msr_entry { index, data, ..kvm_msr_entry::default() };
        let msrs = Msrs::from_entries(&[entry]).map_err(|_| Refusal::kernel(Errno::INVAL))?;
        // KVM answers with the number of registers that it has set.
        match self.vcpu(vcpu)?.set_msrs(&msrs).map_err(refusal)? {
            1 => Ok(()),
            _ => Err(Refusal::kernel(Errno::INVAL)),
        }
    }

    fn snp_launch_start(&mut self, start: &SnpLaunchStart) -> Result<(), Refusal> {
        let mut start = *start;
        // SAFETY: the structure is the command's and holds no address.
        unsafe { self.sev_command(abi::SNP_LAUNCH_START, &raw mut start) }
    }

    fn snp_launch_update(
        &mut self,
        update: &mut SnpLaunchUpdate,
        source: Source<'_>,
    ) -> Result<(), Refusal> {
        match (update.page_type, &source) {
            (abi::PAGE_TYPE_ZERO, _) => {}
            // The kernel writes to the source of a CPUID page, so it must not be borrowed for
            // reading only.
            (abi::PAGE_TYPE_CPUID, Source::Nothing | Source::Read(_)) => {
                return Err(Refusal::kernel(Errno::FAULT));
            }
            _ if source.holds(update.uaddr, update.len) => {}
            _ => return Err(Refusal::kernel(Errno::FAULT)),
        }
        // SAFETY: the structure is the command's. The kernel reads from its source, which lies in
        // `source`, and writes to it for a CPUID page only, where `source` may be written to.
        unsafe { self.sev_command(abi::SNP_LAUNCH_UPDATE, &raw mut *update) }
    }

    fn snp_launch_finish(
        &mut self,
        finish: &SnpLaunchFinish,
        identity: Option<Identity<'_>>,
    ) -> Result<(), Refusal> {
        if finish.id_block_en != 0 {
            let lent = identity.is_some_and(|identity| {
                finish.id_block_uaddr == address(identity.block)
                    && finish.id_auth_uaddr == address(identity.auth)
            });
            if !lent {
                return Err(Refusal::kernel(Errno::FAULT));
            }
        }
        let mut finish = *finish;
        // SAFETY: the structure is the command's, and the kernel reads the ID block and its
        // authentication, whose addresses are those of `identity`.
        unsafe { self.sev_command(abi::SNP_LAUNCH_FINISH, &raw mut finish) }
    }
}

fn open_sev() -> Result<std::fs::File, Refusal> {
    let opened = OpenOptions::new().read(true).write(true).open("/dev/sev");
    opened.map_err(|error: io::Error| {
        Refusal::kernel(Errno::from_io_error(&error).unwrap_or(Errno::NODEV))
    })
}

/// `SEV_RET_NO_FW_CALL`: KVM did not ask the PSP.
const NO_FIRMWARE_CALL: u32 = u32::MAX;
