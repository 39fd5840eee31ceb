// SPDX-License-Identifier: Apache-2.0
//! Tap devices.
#![allow(unsafe_code, reason = "the tun driver is configured by ioctls that no crate in use wraps")]

use std::ffi::c_char;
use std::ffi::c_short;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsRawFd;

/// Makes a tap device of this name in the calling thread's network namespace, for a VMM to open.
///
/// Frames carry a virtio-net header (checksum and segmentation offloads cross the tap unchanged).
/// The device stays until it is deleted or its namespace goes.
pub(crate) fn create(name: &str) -> io::Result<()> {
    let device = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: `ifreq` is plain data for which all zeros is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // One byte stays zero as the terminator.
    let room = request.ifr_name.len().saturating_sub(1);
    if name.is_empty() || name.len() > room || !name.is_ascii() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_flags = FLAGS;
    // SAFETY: the descriptor is open and the pointer is to an `ifreq`, as TUNSETIFF demands; the
    // kernel reads and writes within it.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is an attached tap device; TUNSETPERSIST takes a plain integer.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETPERSIST, 1) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "flags of 15 bits, in const context"
)]
const FLAGS: c_short =
    (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_TUN_EXCL) as c_short;
