// SPDX-License-Identifier: Apache-2.0
//! Carries the guest's audit log to a file of the host, which outlives the pod.
//!
//! The records are sealed to the pod's owner: the host keeps them and can neither read nor change
//! them unnoticed. One line of the file is one frame of the log.

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use casemate_agent_api::Code;
use casemate_agent_api::proto;
use casemate_sandbox::Id;
use tokio::time::sleep;

use crate::guest::Guest;

/// The file of one guest's audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditFile(PathBuf);

/// Takes the guest's records as they come, until the connection ends.
pub async fn carry(guest: Guest, file: AuditFile) {
    let mut carrier = Carrier { file, open: None, next: 0 };
    loop {
        match guest.read_audit(carrier.next).await {
            Ok(reply) => {
                if let Err(error) = carrier.take(&reply) {
                    tracing::warn!(%error, path = %carrier.file.0.display(), "audit log not kept");
                    return;
                }
                // E19: a guest that floods the host with records is slowed down.
                sleep(PAUSE).await;
            }
            Err(error) if error.code() == Code::VmDied => return,
            Err(error) => {
                tracing::debug!(%error, "no audit records");
                sleep(RETRY).await;
            }
        }
    }
}

impl AuditFile {
    /// The file of the sandbox `id` in `dir`; nothing is made yet.
    #[must_use]
    pub fn new(dir: &Path, id: &Id) -> Self {
        Self(dir.join(format!("{id}.{EXTENSION}")))
    }

    /// Makes the file, for root alone, and removes the oldest ones if there are too many.
    fn open(&self) -> io::Result<File> {
        if let Some(dir) = self.0.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
            make_room(dir)?;
        }
        OpenOptions::new().append(true).create(true).mode(0o600).open(&self.0)
    }
}

/// What was carried so far.
struct Carrier {
    file: AuditFile,
    open: Option<File>,
    next: u64,
}

impl Carrier {
    fn take(&mut self, reply: &proto::ReadAuditReply) -> io::Result<()> {
        let mut text = String::new();
        let file = match &mut self.open {
            Some(file) => file,
            None => {
                line(&mut text, &reply.boot)?;
                self.open.insert(self.file.open()?)
            }
        };
        for record in &reply.records {
            line(&mut text, record)?;
        }
        let size = file.metadata()?.len();
        let grown = size.saturating_add(u64::try_from(text.len()).unwrap_or(u64::MAX));
        if grown > MAX_BYTES {
            let full = format!("it has {size} bytes, and {MAX_BYTES} is the most");
            return Err(io::Error::other(full));
        }
        file.write_all(text.as_bytes())?;
        let count = u64::try_from(reply.records.len()).unwrap_or(u64::MAX);
        // What the guest has forgotten is skipped; the owner sees the gap.
        self.next = self.next.max(reply.first_sequence).saturating_add(count);
        Ok(())
    }
}

/// A frame as a line. E19: whatever its bytes are, they are one line of bounded length.
fn line(text: &mut String, frame: &[u8]) -> io::Result<()> {
    if frame.is_empty() || frame.len() > MAX_FRAME_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the guest sent no audit record"));
    }
    URL_SAFE_NO_PAD.encode_string(frame, text);
    text.push('\n');
    Ok(())
}

/// Removes the oldest files so that one more fits.
fn make_room(dir: &Path) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            let changed = fs::metadata(&path).and_then(|metadata| metadata.modified());
            files.push((changed.unwrap_or(SystemTime::UNIX_EPOCH), path));
        }
    }
    files.sort();
    let surplus = files.len().saturating_add(1).saturating_sub(MAX_FILES);
    for (_, path) in files.iter().take(surplus) {
        // Another shim may have been quicker.
        let _ = fs::remove_file(path);
    }
    Ok(())
}

const EXTENSION: &str = "log";
/// Most bytes of one log. With the folding of equal requests in the guest that is months of a pod.
const MAX_BYTES: u64 = 16 << 20;
/// Most logs that are kept.
const MAX_FILES: usize = 256;
/// Most bytes of a frame that an honest guest sends.
const MAX_FRAME_BYTES: usize = 4096;
const PAUSE: Duration = Duration::from_millis(50);
const RETRY: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn reply(first: u64, records: &[&[u8]]) -> proto::ReadAuditReply {
        proto::ReadAuditReply {
            boot: b"boot".to_vec(),
            first_sequence: first,
            records: records.iter().map(|record| record.to_vec()).collect(),
            ..Default::default()
        }
    }

    fn carrier(dir: &Path) -> Carrier {
        let file = AuditFile::new(&dir.join("audit"), &Id::new("pod-1").unwrap());
        Carrier { file, open: None, next: 0 }
    }

    fn decoded(carrier: &Carrier) -> Vec<Vec<u8>> {
        let text = fs::read_to_string(&carrier.file.0).unwrap();
        text.lines().map(|line| URL_SAFE_NO_PAD.decode(line).unwrap()).collect()
    }

    #[test]
    fn frames_become_lines_of_a_private_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut carrier = carrier(dir.path());
        carrier.take(&reply(0, &[b"one\n", b"two"])).unwrap();
        assert_eq!(carrier.next, 2);
        carrier.take(&reply(2, &[])).unwrap();
        carrier.take(&reply(5, &[b"six"])).unwrap();
        assert_eq!(carrier.next, 6);
        assert_eq!(decoded(&carrier), [&b"boot"[..], b"one\n", b"two", b"six"]);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&carrier.file.0), 0o600);
        assert_eq!(mode(carrier.file.0.parent().unwrap()), 0o700);
    }

    #[test]
    fn a_hostile_guest_fills_no_disk() {
        // E19.
        let dir = tempfile::tempdir().unwrap();
        let mut carrier = carrier(dir.path());
        assert!(carrier.take(&reply(0, &[&[7; MAX_FRAME_BYTES + 1]])).is_err());
        assert!(carrier.take(&reply(0, &[b""])).is_err());
        let frame = vec![7; MAX_FRAME_BYTES];
        let records = vec![frame.as_slice(); 256];
        let rounds = (0..).take_while(|n| carrier.take(&reply(n * 256, &records)).is_ok()).count();
        assert!(rounds > 0);
        assert!(fs::metadata(&carrier.file.0).unwrap().len() <= MAX_BYTES);
        // A number from the guest cannot make the next one wrap.
        carrier.next = 0;
        fs::write(&carrier.file.0, "").unwrap();
        carrier.take(&reply(u64::MAX, &[b"last"])).unwrap();
        assert_eq!(carrier.next, u64::MAX);
    }

    #[test]
    fn the_oldest_logs_make_room() {
        let dir = tempfile::tempdir().unwrap();
        let start = SystemTime::now() - Duration::from_secs(10_000);
        for n in 0..MAX_FILES + 3 {
            let file = File::create(dir.path().join(format!("{n:04}.log"))).unwrap();
            let seconds = u64::try_from(n).unwrap();
            file.set_modified(start + Duration::from_secs(seconds)).unwrap();
        }
        fs::write(dir.path().join("notes.txt"), "").unwrap();
        make_room(dir.path()).unwrap();
        let left = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left, MAX_FILES);
        assert!(!dir.path().join("0003.log").exists() && dir.path().join("0004.log").exists());
        assert!(dir.path().join("notes.txt").exists());
    }
}
