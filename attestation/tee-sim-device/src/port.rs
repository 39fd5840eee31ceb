// SPDX-License-Identifier: Apache-2.0
//! The guest's end of the port to the PSP.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::ioctl::{Psp, PspError};
use crate::wire::{Request, Response, WireError};

/// The port, with one request at a time.
#[derive(Debug)]
pub struct Port {
    file: File,
    /// An exchange broke off: a late answer would be taken for that of the next request.
    broken: bool,
}

/// Ports get their names a little after their driver.
const APPEARANCE_LIMIT: Duration = Duration::from_secs(20);
const APPEARANCE_STEP: Duration = Duration::from_millis(5);
/// As long as the kernel's driver waits for a busy host.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// Names of ports are short.
const NAME_MAX: u64 = 64;

impl Port {
    /// Opens the port as [`open_device`] does.
    ///
    /// # Errors
    ///
    /// As [`open_device`].
    pub fn open(name: &str) -> io::Result<Self> {
        Ok(Self { file: open_device(name)?, broken: false })
    }

    fn exchange(&mut self, request: &Request) -> io::Result<Response> {
        self.file.write_all(&request.to_bytes())?;
        let deadline = Instant::now() + ANSWER_LIMIT;
        let mut head = [0; Response::HEAD_LEN];
        self.read_exact(&mut head, deadline)?;
        let malformed = |error: WireError| io::Error::new(io::ErrorKind::InvalidData, error);
        let (mut response, len) = Response::parse_head(&head).map_err(malformed)?;
        response.certificates.resize(len, 0);
        self.read_exact(&mut response.certificates, deadline)?;
        Ok(response)
    }

    fn read_exact(&mut self, buffer: &mut [u8], deadline: Instant) -> io::Result<()> {
        let mut rest = buffer;
        while !rest.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            let limit = Timespec::try_from(left).map_err(|_| io::ErrorKind::InvalidInput)?;
            let mut fds = [PollFd::new(&self.file, PollFlags::IN)];
            match poll(&mut fds, Some(&limit)) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            match self.file.read(rest)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => rest = rest.get_mut(n..).unwrap_or_default(),
            }
        }
        Ok(())
    }
}

/// Waits for the port of this name and for the host's end of it, and opens the device node.
///
/// # Errors
///
/// When it does not appear in time or cannot be opened.
pub fn open_device(name: &str) -> io::Result<File> {
    let deadline = Instant::now() + APPEARANCE_LIMIT;
    loop {
        if let Some(device) = find(Path::new("/sys/class/virtio-ports"), name)? {
            let file = OpenOptions::new().read(true).write(true).open(device)?;
            if has_peer(&file)? {
                return Ok(file);
            }
        }
        if Instant::now() >= deadline {
            return Err(io::ErrorKind::NotFound.into());
        }
        std::thread::sleep(APPEARANCE_STEP);
    }
}

/// Whether the host's end is open.
fn has_peer(file: &File) -> io::Result<bool> {
    let mut fds = [PollFd::new(file, PollFlags::OUT)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    let [fd] = fds;
    Ok(!fd.revents().contains(PollFlags::HUP))
}

impl Psp for Port {
    fn ask(&mut self, request: &Request) -> Result<Response, PspError> {
        if self.broken {
            return Err(PspError::Gone { source: io::ErrorKind::BrokenPipe.into() });
        }
        self.exchange(request).map_err(|source| {
            self.broken = true;
            match source.kind() {
                io::ErrorKind::TimedOut => PspError::Busy,
                _ => PspError::Gone { source },
            }
        })
    }
}

/// The device node of the port with this name.
fn find(class: &Path, name: &str) -> io::Result<Option<PathBuf>> {
    let entries = match fs::read_dir(class) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let mut found = String::new();
        let read = File::open(entry.path().join("name"))
            .and_then(|file| file.take(NAME_MAX).read_to_string(&mut found));
        if read.is_ok() && found.trim_end() == name {
            return Ok(Some(Path::new("/dev").join(entry.file_name())));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_found_by_name() {
        let class = tempfile::tempdir().unwrap();
        for (port, name) in [("vport1p1", "casemate.agent\n"), ("vport1p2", "casemate.psp\n")] {
            fs::create_dir(class.path().join(port)).unwrap();
            fs::write(class.path().join(port).join("name"), name).unwrap();
        }
        let found = |name| find(class.path(), name).unwrap();
        assert_eq!(found("casemate.psp"), Some(PathBuf::from("/dev/vport1p2")));
        assert_eq!(found("casemate"), None);
        assert_eq!(find(&class.path().join("none"), "casemate.psp").unwrap(), None);
    }
}
