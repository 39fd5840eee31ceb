// SPDX-License-Identifier: Apache-2.0
//! What KVM was asked and how it answered, for a report from a host that others cannot reach.

use std::fmt;

use crate::Call;
use crate::Refusal;

/// Most lines of a transcript; a launch of 512 virtual CPUs has about 4,200.
pub const MAX_TRANSCRIPT_LINES: usize = 16 * 1024;

/// The calls of one launch in order. Calls with the same answer, one after the other, share a line.
///
/// It holds no addresses and no contents, so it can be sent to somebody else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transcript {
    lines: Vec<Line>,
    left_off: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    call: Call,
    answer: Result<(), Refusal>,
    times: u32,
}

impl Transcript {
    pub(crate) fn note(&mut self, call: Call, answer: Result<(), Refusal>) {
        let is_full = self.lines.len() >= MAX_TRANSCRIPT_LINES;
        match self.lines.last_mut() {
            Some(last) if self.left_off == 0 && (last.call, last.answer) == (call, answer) => {
                last.times = last.times.saturating_add(1);
            }
            _ if is_full => self.left_off = self.left_off.saturating_add(1),
            _ => self.lines.push(Line { call, answer, times: 1 }),
        }
    }
}

/// Writes a line for each call: `KVM_CREATE_VM: ok`.
impl fmt::Display for Transcript {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Line { call, answer, times } in &self.lines {
            write!(formatter, "{call}")?;
            if *times > 1 {
                write!(formatter, " x{times}")?;
            }
            match answer {
                Ok(()) => writeln!(formatter, ": ok")?,
                Err(refusal) => writeln!(formatter, ": {refusal}")?,
            }
        }
        if self.left_off > 0 {
            writeln!(formatter, "{} more", self.left_off)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;
    use crate::PspStatus;

    #[test]
    fn joins_equal_lines_and_shows_firmware_errors() {
        let mut transcript = Transcript::default();
        transcript.note(Call::CreateVm, Ok(()));
        let again = Err(Refusal::kernel(Errno::AGAIN));
        transcript.note(Call::SnpLaunchUpdate, again);
        transcript.note(Call::SnpLaunchUpdate, again);
        transcript.note(Call::SnpLaunchUpdate, Ok(()));
        let refused = Err(Refusal::psp(PspStatus::BAD_MEASUREMENT));
        transcript.note(Call::SnpLaunchFinish, refused);
        let text = transcript.to_string();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[0], "KVM_CREATE_VM: ok");
        assert!(lines[1].starts_with("KVM_SEV_SNP_LAUNCH_UPDATE x2: "), "{text}");
        assert_eq!(lines[2], "KVM_SEV_SNP_LAUNCH_UPDATE: ok");
        assert!(lines[3].ends_with("(PSP status BAD_MEASUREMENT)"), "{text}");
    }

    #[test]
    fn is_bounded() {
        let mut transcript = Transcript::default();
        for _ in 0..MAX_TRANSCRIPT_LINES {
            transcript.note(Call::SetRegs, Ok(()));
            transcript.note(Call::SetSregs, Ok(()));
        }
        assert_eq!(transcript.lines.len(), MAX_TRANSCRIPT_LINES);
        assert!(transcript.to_string().ends_with("\n16384 more\n"), "{}", transcript.left_off);
    }
}
