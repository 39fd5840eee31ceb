// SPDX-License-Identifier: Apache-2.0
//! Memory that guest and host share.

#![allow(unsafe_code, reason = "maps memory that the guest writes to while we run")]

use std::ffi::c_void;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::ptr;

use rustix::fs::MemfdFlags;
use rustix::fs::ftruncate;
use rustix::fs::memfd_create;
use rustix::io::Errno;
use rustix::mm::MapFlags;
use rustix::mm::ProtFlags;
use rustix::mm::mmap;
use rustix::mm::munmap;

/// A memfd and its mapping in this process.
///
/// The guest writes to it whenever it likes, so there are no references to its bytes: who reads or
/// writes them does so through the descriptor, or with volatile accesses.
#[derive(Debug)]
pub struct SharedMemory {
    address: *mut c_void,
    length: usize,
    memfd: OwnedFd,
}

// SAFETY: the mapping belongs to the process, not to a thread, and this type never dereferences it.
unsafe impl Send for SharedMemory {}

impl SharedMemory {
    pub(super) fn new(size: u64) -> Result<Self, Errno> {
        let length = usize::try_from(size).map_err(|_| Errno::INVAL)?;
        let memfd = memfd_create("casemate-guest", MemfdFlags::CLOEXEC)?;
        ftruncate(&memfd, size)?;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::SHARED | MapFlags::NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice replaces nothing.
        let address = unsafe { mmap(ptr::null_mut(), length, protection, flags, &memfd, 0) }?;
        Ok(Self { address, length, memfd })
    }

    /// Address of the mapping, as KVM takes it.
    #[must_use]
    pub fn address(&self) -> u64 {
        u64::try_from(self.address.expose_provenance()).unwrap_or(u64::MAX)
    }

    /// Length in bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// Whether a range of addresses lies inside the mapping.
    pub(super) fn holds(&self, start: u64, length: u64) -> bool {
        let offset = start.checked_sub(self.address());
        let end = offset.and_then(|offset| offset.checked_add(length));
        end.is_some_and(|end| usize::try_from(end).is_ok_and(|end| end <= self.length))
    }
}

impl AsFd for SharedMemory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.memfd.as_fd()
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and whole, nothing in this process refers to it any more, and
        // the VM that used it is gone: its owner drops it first.
        let unmapped = unsafe { munmap(self.address, self.length) };
        debug_assert!(unmapped.is_ok());
    }
}
