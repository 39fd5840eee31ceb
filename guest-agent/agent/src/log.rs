// SPDX-License-Identifier: Apache-2.0
//! The agent's log goes to the kernel's: visible on a console where the measured command line names
//! one, and nowhere else.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::sync::Arc;

use tracing_subscriber::fmt::MakeWriter;

/// Starts to log. Without `/dev/kmsg` there is no log.
pub(crate) fn start() {
    let Ok(kmsg) = OpenOptions::new().write(true).open("/dev/kmsg") else { return };
    let subscriber = tracing_subscriber::fmt()
        .with_writer(Kmsg(Arc::new(kmsg)))
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .with_max_level(tracing::Level::INFO)
        .finish();
    // Fails only if a log was started before.
    drop(tracing::subscriber::set_global_default(subscriber));
}

#[derive(Clone)]
struct Kmsg(Arc<File>);

impl<'a> MakeWriter<'a> for Kmsg {
    type Writer = Record;

    fn make_writer(&'a self) -> Self::Writer {
        Record { kmsg: Arc::clone(&self.0), text: b"<6>casemate-agent: ".to_vec() }
    }
}

/// One record: the kernel takes each write as one.
struct Record {
    kmsg: Arc<File>,
    text: Vec<u8>,
}

impl Write for Record {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.text.truncate(MAX_RECORD);
        // A log that cannot be written has nowhere to say so.
        drop((&*self.kmsg).write_all(&self.text));
    }
}

/// Longest record that the kernel takes (`PRINTKRB_RECORD_MAX`).
const MAX_RECORD: usize = 1024 - 32;
