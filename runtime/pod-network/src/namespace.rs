// SPDX-License-Identifier: Apache-2.0
//! Work inside another network namespace.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::thread;

use rustix::thread::LinkNameSpaceType;
use rustix::thread::move_into_link_name_space;

use crate::error::NetworkError;

/// Runs `work` on a thread of its own inside the network namespace at `path`, and waits for it.
///
/// The thread ends afterwards, so that no thread with a changed namespace is ever used again.
pub(crate) fn run_inside<T: Send>(
    path: &Path,
    work: impl AsyncFnOnce() -> Result<T, NetworkError> + Send,
) -> Result<T, NetworkError> {
    let namespace = File::open(path)
        .map_err(|source| NetworkError::OpenNamespace { path: path.to_owned(), source })?;
    let enter_and_work = || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).map_err(
            |errno| NetworkError::EnterNamespace { path: path.to_owned(), source: errno.into() },
        )?;
        tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .map_err(|source| NetworkError::Thread { source })?
            .block_on(work())
    };
    thread::scope(|scope| {
        thread::Builder::new()
            .name("pod-network".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, enter_and_work)
            .map_err(|source| NetworkError::Thread { source })?
            .join()
            .unwrap_or_else(|_| {
                Err(NetworkError::Thread { source: io::Error::other("the thread panicked") })
            })
    })
}

/// Enough for netlink messages; the shim's memory is counted.
const STACK_BYTES: usize = 512 * 1024;
