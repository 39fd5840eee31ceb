// SPDX-License-Identifier: Apache-2.0
//! From frames to records: the chain, the seals, and the heads that were attested.

use super::Entry;
use super::Finding;
use super::lines::Lines;
use crate::frame::BootFrame;
use crate::frame::RecordFrame;
use crate::frame::hash;
use crate::head::HASH_BYTES;
use crate::head::Head;
use crate::hpke;
use crate::key::OwnerKey;
use crate::log::info;
use crate::record::Record;

/// What the frames say.
pub(super) struct Chain {
    pub(super) entries: Vec<Entry>,
    pub(super) head: Option<Head>,
    pub(super) is_anchored: bool,
}

/// Follows the frames in the order of their numbers.
pub(super) fn follow(
    lines: &Lines,
    key: Option<&OwnerKey>,
    heads: &[Head],
    findings: &mut Vec<Finding>,
) -> Chain {
    let opener = match &lines.boot {
        None => {
            findings.push(Finding::NoBoot);
            None
        }
        Some(boot) => opener(boot, key, findings),
    };
    let mut entries = Vec::new();
    let mut link = lines.boot.as_ref().map(|boot| Link { next: 0, hash: hash(&boot.to_bytes()) });
    let mut expected = 0;
    for (&sequence, frame) in &lines.records {
        let follows = sequence == expected;
        if !follows {
            findings.push(match expected {
                0 => Finding::CutHead { first: sequence },
                first => Finding::Missing { first, last: sequence.saturating_sub(1) },
            });
        }
        expected = sequence.saturating_add(1);
        let record = match opener.as_ref().map(|opener| open(opener, frame)).transpose() {
            Ok(record) => record,
            Err(finding) => {
                findings.push(finding);
                // One finding for one frame: the next cannot follow an altered one.
                link = None;
                continue;
            }
        };
        if follows && link.is_some_and(|link| link.hash != frame.previous) {
            findings.push(Finding::Broken { sequence });
        }
        link = Some(Link { next: expected, hash: hash(&frame.to_bytes()) });
        entries.push(Entry { sequence, record });
    }
    let mut is_anchored = false;
    for head in heads {
        match compare(lines, expected, head) {
            Ok(()) => is_anchored = true,
            Err(finding) => findings.push(finding),
        }
    }
    let head =
        link.zip(lines.id).map(|(link, boot)| Head { boot, sequence: link.next, hash: link.hash });
    Chain { entries, head, is_anchored }
}

/// The newest frame whose place in the chain is known.
#[derive(Clone, Copy)]
struct Link {
    next: u64,
    hash: [u8; HASH_BYTES],
}

fn opener(
    boot: &BootFrame,
    key: Option<&OwnerKey>,
    findings: &mut Vec<Finding>,
) -> Option<hpke::Context> {
    let key = key?;
    let Some(sealing) = &boot.sealing else {
        findings.push(Finding::NotSealed);
        return None;
    };
    let context = hpke::recipient(key, &sealing.encapsulated, &info(boot.boot)).ok();
    if sealing.owner != key.public_key().id() || context.is_none() {
        findings.push(Finding::OtherKey { key: sealing.owner });
        return None;
    }
    context
}

fn open(opener: &hpke::Context, frame: &RecordFrame) -> Result<Record, Finding> {
    let sequence = frame.sequence;
    let aad = RecordFrame::aad(frame.boot, sequence, &frame.previous);
    let json = opener
        .open(sequence, &aad, frame.body.clone())
        .map_err(|_| Finding::Altered { sequence })?;
    Record::from_json(&json).map_err(|_| Finding::Unreadable { sequence })
}

/// Compares a head that was attested with the frame that it names.
fn compare(lines: &Lines, found: u64, head: &Head) -> Result<(), Finding> {
    let attested = head.sequence;
    if lines.id != Some(head.boot) {
        return Err(Finding::OtherLog { attested });
    }
    if attested > found {
        return Err(Finding::CutTail { attested, found });
    }
    // The frame itself, or what the record behind it says of it.
    let own = match attested.checked_sub(1) {
        None => lines.boot.as_ref().map(BootFrame::to_bytes),
        Some(sequence) => lines.records.get(&sequence).map(RecordFrame::to_bytes),
    };
    let hash = own
        .map(|frame| hash(&frame))
        .or_else(|| lines.records.get(&attested).map(|frame| frame.previous));
    match hash {
        Some(hash) if hash == head.hash => Ok(()),
        Some(_) => Err(Finding::OtherLog { attested }),
        None => Err(Finding::Uncomparable { attested }),
    }
}
