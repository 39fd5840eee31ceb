// SPDX-License-Identifier: Apache-2.0
//! Ownership, mode, extended attributes and time of an entry.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs;
use rustix::fs::AtFlags;
use rustix::fs::Gid;
use rustix::fs::Mode;
use rustix::fs::Timespec;
use rustix::fs::Timestamps;
use rustix::fs::Uid;
use rustix::fs::XattrFlags;
use rustix::io::Errno;

use crate::tar::Entry;
use crate::tar::Time;

/// Sets everything but the time on an open file, directory or FIFO.
///
/// The order matters: a change of owner clears setuid bits and capabilities.
pub(crate) fn set(file: BorrowedFd<'_>, entry: &Entry) -> io::Result<()> {
    fs::fchown(file, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))?;
    fs::fchmod(file, Mode::from_raw_mode(entry.mode))?;
    for (name, value) in &entry.xattrs {
        match attribute(name) {
            Attribute::Skip => {}
            Attribute::Set => {
                match fs::fsetxattr(file, name.as_slice(), value, XattrFlags::empty()) {
                    // As containerd does: the file system has no such attributes.
                    Ok(()) | Err(Errno::OPNOTSUPP) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            // A program that lost its capabilities would fail much later.
            Attribute::Must => fs::fsetxattr(file, name.as_slice(), value, XattrFlags::empty())?,
        }
    }
    Ok(())
}

/// Sets the owner of a symbolic link.
pub(crate) fn set_link_owner(
    directory: BorrowedFd<'_>,
    name: &[u8],
    entry: &Entry,
) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    fs::chownat(directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}

/// Sets the time of `name`; a link is not followed.
pub(crate) fn set_time(directory: BorrowedFd<'_>, name: &[u8], time: Time) -> io::Result<()> {
    let time = Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() };
    let times = Timestamps { last_access: time, last_modification: time };
    fs::utimensat(directory, name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}

/// Does `work`, which makes or removes something in `directory`, and sets the directory's time back:
/// it is the image's, not that of unpacking.
pub(crate) fn keeping_time<T>(
    directory: BorrowedFd<'_>,
    work: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    let before = time(directory)?;
    let done = work()?;
    set_time(directory, b".", before)?;
    Ok(done)
}

/// The time of `directory`.
pub(crate) fn time(directory: BorrowedFd<'_>) -> io::Result<Time> {
    let found = fs::statat(directory, ".", AtFlags::empty())?;
    let nanoseconds = u32::try_from(found.st_mtime_nsec).unwrap_or_default();
    Ok(Time { seconds: found.st_mtime, nanoseconds })
}

enum Attribute {
    Skip,
    Set,
    Must,
}

/// What happens with an extended attribute of an image.
fn attribute(name: &[u8]) -> Attribute {
    if name == b"security.capability" {
        Attribute::Must
    } else if name.starts_with(b"user.overlay.") {
        // C5: would speak to an overlay mounted above.
        Attribute::Skip
    } else if name.starts_with(b"user.") || name.starts_with(b"system.posix_acl_") {
        Attribute::Set
    } else {
        // Labels of the machine that built the image (security.selinux, security.ima), and
        // trusted.*, which speaks to overlays.
        Attribute::Skip
    }
}
