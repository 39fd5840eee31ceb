// SPDX-License-Identifier: Apache-2.0
//! Makes the guest's root one that containers can pivot away from.

use rustix::io::Errno;
use rustix::mount;

/// Moves the guest's root onto a mount that pivot_root(2) accepts. The first act of PID 1, before
/// anything else is mounted, in a process with one thread.
///
/// The kernel unpacks the initramfs into its very first mount, which has no parent, and pivot_root
/// refuses to leave such a root (`EINVAL`). A bind mount of the same files, moved over it, has a
/// parent; nothing is copied.
///
/// # Errors
///
/// What a mount call says, with the name of the step.
pub fn make_root_pivotable() -> Result<(), GuestRootError> {
    let step = |step| move |source| GuestRootError { step, source };
    match std::fs::create_dir(STAGE) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            let source = error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error);
            return Err(GuestRootError { step: "make the stage", source });
        }
        _ => {}
    }
    mount::mount_bind("/", STAGE).map_err(step("bind the root"))?;
    rustix::process::chdir(STAGE).map_err(step("enter the new root"))?;
    mount::mount_move(".", "/").map_err(step("move the new root"))?;
    rustix::process::chroot(".").map_err(step("change the root"))?;
    rustix::process::chdir("/").map_err(step("enter the root"))
}

/// The guest's root could not be moved.
#[derive(Debug, thiserror::Error)]
#[error("failed to {step}")]
pub struct GuestRootError {
    step: &'static str,
    #[source]
    source: Errno,
}

const STAGE: &str = "/mnt";
