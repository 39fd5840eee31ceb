// SPDX-License-Identifier: Apache-2.0
//! The shim's log: lines into the FIFO `log` of the bundle, from where containerd takes them.

use std::fs::File;
use std::io;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;

use rustix::fs::Mode;
use rustix::fs::OFlags;
use tracing::level_filters::LevelFilter;

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verbosity {
    /// State changes.
    Normal,
    /// Every request.
    Debug,
}

/// Sends the log to the FIFO at `path`; without one, nothing is logged.
pub(crate) fn start(path: &Path, verbosity: Verbosity) {
    let Ok(fifo) = open(path) else { return };
    let level = match verbosity {
        Verbosity::Normal => LevelFilter::INFO,
        Verbosity::Debug => LevelFilter::DEBUG,
    };
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(level)
        .with_target(false)
        .with_writer(Mutex::new(LossyFifo(fifo)))
        .init();
}

/// Open for both directions, so that the FIFO lives on while containerd restarts; never blocking,
/// so that a full FIFO does not stop the pod.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

/// Drops lines that the FIFO has no room for.
struct LossyFifo(File);

impl Write for LossyFifo {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let _ = self.0.write(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
