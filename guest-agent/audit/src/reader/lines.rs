// SPDX-License-Identifier: Apache-2.0
//! From a file to frames: which lines are frames of one boot, and whether they stand in their order.

use std::collections::BTreeMap;

use super::Finding;
use crate::frame::BootFrame;
use crate::frame::BootId;
use crate::frame::Frame;
use crate::frame::RecordFrame;

/// The frames of one boot.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The boot's id, known from its frame or from the first record.
    pub(super) id: Option<BootId>,
    pub(super) boot: Option<BootFrame>,
    pub(super) records: BTreeMap<u64, RecordFrame>,
}

/// Reads every line; the boot is that of the first boot frame, or of the first record without one.
pub(super) fn read(file: &[u8], findings: &mut Vec<Finding>) -> Lines {
    let mut frames = Vec::new();
    for (index, line) in file.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let number = index.saturating_add(1);
        let Some(line) = line.strip_suffix(b"\n") else {
            findings.push(Finding::Torn { line: number });
            break;
        };
        match Frame::from_line(line) {
            Ok(frame) => frames.push((number, frame)),
            Err(source) => findings.push(Finding::Malformed { line: number, source }),
        }
    }
    let boot = frames
        .iter()
        .find(|(_, frame)| matches!(frame, Frame::Boot(_)))
        .or_else(|| frames.first())
        .map(|(_, frame)| frame.boot());
    let mut lines = Lines { id: boot, ..Lines::default() };
    if let Some(boot) = boot {
        let mut last = None;
        for (line, frame) in frames {
            lines.add(boot, line, frame, &mut last, findings);
        }
    }
    lines
}

impl Lines {
    fn add(
        &mut self,
        boot: BootId,
        line: usize,
        frame: Frame,
        last: &mut Option<u64>,
        findings: &mut Vec<Finding>,
    ) {
        if frame.boot() != boot {
            findings.push(Finding::OtherBoot { line, boot: frame.boot() });
            return;
        }
        match frame {
            Frame::Boot(frame) => match &self.boot {
                None => self.boot = Some(frame),
                Some(known) if *known == frame => findings.push(Finding::Repeated { line }),
                Some(_) => findings.push(Finding::OtherBoot { line, boot }),
            },
            Frame::Record(frame) => {
                let sequence = frame.sequence;
                match self.records.get(&sequence) {
                    Some(known) if *known == frame => findings.push(Finding::Repeated { line }),
                    Some(_) => findings.push(Finding::Twice { line, sequence }),
                    None => {
                        if let Some(after) = last.filter(|last| *last > sequence) {
                            findings.push(Finding::Reordered { line, sequence, after });
                        }
                        *last = (*last).max(Some(sequence));
                        self.records.insert(sequence, frame);
                    }
                }
            }
        }
    }
}
