// SPDX-License-Identifier: Apache-2.0
//! One ioctl with one structure.

#![allow(unsafe_code, reason = "ioctls whose arguments hold user addresses have no safe wrapper")]

use std::ffi::c_void;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::ioctl::Ioctl;
use rustix::ioctl::IoctlOutput;
use rustix::ioctl::Opcode;

/// Makes an ioctl whose argument is the address of a structure. Returns what the kernel returns.
///
/// # Safety
///
/// `argument` must be the structure of `request`, valid for reads and writes of its whole size, and
/// every address in it must be valid for what the kernel does with it.
pub(super) unsafe fn ioctl<T>(
    fd: &impl AsRawFd,
    request: u32,
    argument: *mut T,
) -> Result<i32, Errno> {
    // SAFETY: the descriptor is open for as long as its owner is borrowed.
    let fd = unsafe { BorrowedFd::borrow_raw(fd.as_raw_fd()) };
    // SAFETY: the caller vouches for the argument.
    unsafe { rustix::ioctl::ioctl(fd, Command { request, argument: argument.cast() }) }
}

struct Command {
    request: Opcode,
    argument: *mut c_void,
}

// SAFETY: the request and its argument are passed on as they are, the kernel may write to the
// argument, and the output is the kernel's number, not a value behind the pointer.
unsafe impl Ioctl for Command {
    type Output = i32;

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        self.request
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.argument
    }

    unsafe fn output_from_ptr(output: IoctlOutput, _: *mut c_void) -> rustix::io::Result<i32> {
        Ok(output)
    }
}
