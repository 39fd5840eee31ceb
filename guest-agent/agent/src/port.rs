// SPDX-License-Identifier: Apache-2.0
//! The virtio-serial port to the host, as a transport.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::fs::Mode;
use rustix::fs::OFlags;

use crate::boot;
use crate::stdio::AsyncDescriptor;
use crate::transport::Transport;

/// Name of the port, as the VMM gives it.
const NAME: &str = "casemate.agent";
/// Ports that are looked at.
const MAX_PORTS: usize = 64;
/// How often the guest looks whether a host is there.
const POLL_EVERY: Duration = Duration::from_millis(20);

/// The open port. The kernel lets nobody else open it while this is alive.
#[derive(Debug)]
pub(crate) struct Port {
    descriptor: OwnedFd,
}

impl Port {
    /// Finds the port by its name and opens it.
    ///
    /// # Errors
    ///
    /// When there is no such port or it cannot be opened.
    pub(crate) fn open() -> io::Result<Self> {
        let path = find(Path::new("/sys/class/virtio-ports"), Path::new("/dev"))?;
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(Self { descriptor: rustix::fs::open(path, flags, Mode::empty())? })
    }

    fn is_connected(&self) -> io::Result<bool> {
        let mut poll = [PollFd::new(&self.descriptor, PollFlags::IN)];
        rustix::event::poll(&mut poll, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
        let [poll] = poll;
        Ok(!poll.revents().contains(PollFlags::HUP))
    }
}

#[async_trait]
impl Transport for Port {
    type Io = AsyncDescriptor;

    async fn accept(&mut self) -> io::Result<AsyncDescriptor> {
        // The kernel reports a hang-up as long as no host is there: there is nothing to wait on.
        while !self.is_connected()? {
            tokio::time::sleep(POLL_EVERY).await;
        }
        // Registered anew for each connection: tokio never forgets a hang-up of a descriptor.
        AsyncDescriptor::new(self.descriptor.try_clone()?)
    }
}

pub(crate) fn find(sys: &Path, dev: &Path) -> io::Result<PathBuf> {
    for entry in std::fs::read_dir(sys)?.take(MAX_PORTS) {
        let entry = entry?;
        let name = boot::read_capped(&entry.path().join("name"), NAME.len() + 1);
        if matches!(name, Ok(Some(name)) if name.trim_ascii() == NAME.as_bytes()) {
            return Ok(dev.join(entry.file_name()));
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, "no virtio port for the agent"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_found_by_its_name() {
        let sys = tempfile::tempdir().unwrap();
        for (port, name) in [("vport1p1", "other\n"), ("vport1p2", "casemate.agent\n")] {
            std::fs::create_dir(sys.path().join(port)).unwrap();
            std::fs::write(sys.path().join(port).join("name"), name).unwrap();
        }
        let path = find(sys.path(), Path::new("/dev")).unwrap();
        assert_eq!(path, Path::new("/dev/vport1p2"));
    }

    #[test]
    fn a_guest_without_the_port_says_so() {
        let sys = tempfile::tempdir().unwrap();
        let error = find(sys.path(), Path::new("/dev")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
