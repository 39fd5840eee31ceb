// SPDX-License-Identifier: Apache-2.0
//! A hostile host keeps the log: each thing that it can do to the file has its own finding.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use casemate_audit::Checked;
use casemate_audit::Finding;
use casemate_audit::FrameError;
use casemate_audit::Head;
use casemate_audit::Log;
use casemate_audit::MAX_LOG_BYTES;
use casemate_audit::OwnerKey;
use casemate_audit::ReadError;
use casemate_audit::Record;
use casemate_audit::Verdict;
use casemate_audit::check;
use casemate_audit::line;
use proptest::prelude::*;

/// A log of ten records, its lines with the boot's first, and the head after each.
struct Made {
    owner: OwnerKey,
    lines: Vec<String>,
    heads: Vec<Head>,
}

const RECORDS: usize = 10;

fn made() -> Made {
    let owner = OwnerKey::generate().unwrap();
    let (lines, heads) = log_of(&owner);
    Made { owner, lines, heads }
}

fn log_of(owner: &OwnerKey) -> (Vec<String>, Vec<Head>) {
    let mut log = Log::sealed(owner.public_key()).unwrap();
    let mut heads = vec![log.head()];
    for n in 0..RECORDS {
        log.append(&record(n)).unwrap();
        heads.push(log.head());
    }
    let lines = std::iter::once(log.boot_frame()).chain(log.frames_from(0)).map(line).collect();
    (lines, heads)
}

fn record(n: usize) -> Record {
    Record::new("Signal", Verdict::Denied, 7).with_name("container_id", &format!("c{n}"))
}

impl Made {
    fn check(&self, heads: &[Head]) -> Checked {
        check(self.lines.concat().as_bytes(), Some(&self.owner), heads).unwrap()
    }

    fn newest(&self) -> Head {
        *self.heads.last().unwrap()
    }

    /// Numbers of the records that are reported.
    fn sequences(&self) -> Vec<u64> {
        self.check(&[]).entries.iter().map(|entry| entry.sequence).collect()
    }
}

#[test]
fn an_honest_log_has_no_findings() {
    let made = made();
    let checked = made.check(&made.heads);
    assert_eq!(checked.findings, []);
    assert!(checked.is_anchored);
    assert_eq!(checked.head, Some(made.newest()));
    let records: Vec<_> = checked.entries.into_iter().map(|entry| entry.record.unwrap()).collect();
    assert_eq!(records, (0..RECORDS).map(record).collect::<Vec<_>>());
}

#[test]
fn the_host_reads_nothing() {
    let made = made();
    let file = made.lines.concat();
    let without = check(file.as_bytes(), None, &[made.newest()]).unwrap();
    // The chain can be checked by anybody; no record is opened.
    assert_eq!((without.findings.len(), without.is_anchored), (0, true));
    assert!(without.entries.iter().all(|entry| entry.record.is_none()));
    let other = OwnerKey::generate().unwrap();
    let checked = check(file.as_bytes(), Some(&other), &[]).unwrap();
    let key = made.owner.public_key().id();
    assert_eq!(checked.findings, [Finding::OtherKey { key }]);
    assert!(checked.entries.iter().all(|entry| entry.record.is_none()));
}

#[test]
fn a_cut_tail() {
    let mut made = made();
    made.lines.truncate(1 + 6);
    // The chain of what is left is whole: only the head tells.
    assert_eq!(made.check(&[]).findings, []);
    assert_eq!(made.check(&made.heads[..=6]).findings, []);
    let checked = made.check(&[made.newest()]);
    assert_eq!(checked.findings, [Finding::CutTail { attested: 10, found: 6 }]);
    assert!(!checked.is_anchored);
    // All of it.
    made.lines.truncate(1);
    let checked = made.check(&[made.newest()]);
    assert_eq!(checked.findings, [Finding::CutTail { attested: 10, found: 0 }]);
}

#[test]
fn a_cut_head() {
    let mut made = made();
    made.lines.drain(1..4);
    let checked = made.check(&[made.newest()]);
    assert_eq!(checked.findings, [Finding::CutHead { first: 3 }]);
    assert_eq!(checked.entries[0].record, Some(record(3)));
    assert!(checked.is_anchored);
    // The boot's line too: then no record opens.
    made.lines.remove(0);
    let checked = made.check(&[]);
    assert_eq!(checked.findings, [Finding::NoBoot, Finding::CutHead { first: 3 }]);
    assert!(checked.entries.iter().all(|entry| entry.record.is_none()));
}

#[test]
fn a_missing_range() {
    let mut made = made();
    made.lines.drain(5..7);
    let checked = made.check(&[made.newest(), made.heads[5], made.heads[6], made.heads[4]]);
    // The head with 5 records lies inside of what is missing; those at its ends can be compared.
    assert_eq!(
        checked.findings,
        [Finding::Missing { first: 4, last: 5 }, Finding::Uncomparable { attested: 5 }]
    );
    assert_eq!(checked.head, Some(made.newest()));
    assert_eq!(made.sequences(), [0, 1, 2, 3, 6, 7, 8, 9]);
}

#[test]
fn reordered_records() {
    let mut made = made();
    made.lines.swap(3, 5);
    let findings = made.check(&made.heads).findings;
    assert_eq!(
        findings,
        [
            Finding::Reordered { line: 5, sequence: 3, after: 4 },
            Finding::Reordered { line: 6, sequence: 2, after: 4 },
        ]
    );
    // They are shown in their order all the same.
    assert_eq!(made.sequences(), (0..10).collect::<Vec<_>>());
}

#[test]
fn a_repeated_line() {
    let mut made = made();
    made.lines.insert(4, made.lines[2].clone());
    made.lines.push(made.lines[0].clone());
    let findings = made.check(&made.heads).findings;
    assert_eq!(findings, [Finding::Repeated { line: 5 }, Finding::Repeated { line: 13 }]);
    assert_eq!(made.sequences().len(), RECORDS);
}

#[test]
fn a_record_of_another_boot() {
    // D8: sealed to the same owner, replayed from an earlier start of the same pod.
    let mut made = made();
    let (others, _) = log_of(&made.owner);
    made.lines.insert(4, others[4].clone());
    let findings = made.check(&made.heads).findings;
    assert!(matches!(findings[..], [Finding::OtherBoot { line: 5, .. }]), "{findings:?}");
    // In the place of the record with its number.
    made.lines.remove(5);
    let findings = made.check(&[]).findings;
    let missing = Finding::Missing { first: 3, last: 3 };
    assert!(matches!(findings[0], Finding::OtherBoot { line: 5, .. }), "{findings:?}");
    assert_eq!(findings[1..], [missing]);
}

#[test]
fn a_record_of_another_boot_that_claims_to_be_of_this_one() {
    let mut made = made();
    let (others, _) = log_of(&made.owner);
    let mut forged = decode(&others[4]);
    forged[2..18].copy_from_slice(&decode(&made.lines[4])[2..18]);
    made.lines[4] = line(&forged);
    let findings = made.check(&[]).findings;
    assert_eq!(findings, [Finding::Altered { sequence: 3 }]);
    // With the hash that belongs there, the seal tells all the same.
    forged[26..58].copy_from_slice(&made.heads[3].hash);
    made.lines[4] = line(&forged);
    assert_eq!(made.check(&[]).findings, [Finding::Altered { sequence: 3 }]);
}

#[test]
fn a_record_under_another_number() {
    let mut made = made();
    let mut forged = decode(&made.lines[4]);
    forged[18..26].copy_from_slice(&10_u64.to_be_bytes());
    forged[26..58].copy_from_slice(&made.newest().hash);
    made.lines.push(line(&forged));
    assert_eq!(made.check(&[]).findings, [Finding::Altered { sequence: 10 }]);
}

#[test]
fn another_whole_log() {
    // Replayed from an earlier boot: true in itself, and not the one that was attested.
    let mut made = made();
    let (others, heads) = log_of(&made.owner);
    made.lines = others;
    assert_eq!(made.check(&heads).findings, []);
    for attested in [0, 1, 10_u64] {
        let head = made.heads[usize::try_from(attested).unwrap()];
        let checked = made.check(&[head]);
        assert_eq!(checked.findings, [Finding::OtherLog { attested }]);
        assert!(!checked.is_anchored);
    }
}

#[test]
fn a_forged_whole_log_is_not_anchored() {
    // Anybody can seal to a public key.
    let made = made();
    let checked = made.check(&[]);
    assert_eq!(checked.findings, []);
    assert!(!checked.is_anchored);
}

#[test]
fn two_records_of_one_number() {
    let mut made = made();
    let mut forged = decode(&made.lines[4]);
    let last = forged.len() - 1;
    forged[last] ^= 1;
    made.lines.insert(5, line(&forged));
    assert_eq!(made.check(&[]).findings, [Finding::Twice { line: 6, sequence: 3 }]);
}

#[test]
fn a_torn_last_line_and_rubbish() {
    let mut made = made();
    let last = made.lines.pop().unwrap();
    made.lines.push(last[..last.len() - 9].to_owned());
    let findings = made.check(&[made.newest()]).findings;
    assert_eq!(findings, [Finding::Torn { line: 11 }, Finding::CutTail { attested: 10, found: 9 }]);
    made.lines.pop();
    made.lines.insert(1, "\n".to_owned());
    made.lines.insert(1, "hello there\n".to_owned());
    let findings = made.check(&[]).findings;
    assert_eq!(
        findings,
        [
            Finding::Malformed { line: 2, source: FrameError::Base64 },
            Finding::Malformed { line: 3, source: FrameError::Length },
        ]
    );
}

#[test]
fn a_file_that_is_no_log() {
    let key = OwnerKey::generate().unwrap();
    assert_eq!(check(b"", Some(&key), &[]), Err(ReadError::Empty));
    assert_eq!(check(b"hello\n", Some(&key), &[]), Err(ReadError::Empty));
    assert_eq!(check(&vec![b'\n'; MAX_LOG_BYTES + 1], None, &[]), Err(ReadError::TooLarge));
}

#[test]
fn a_log_without_an_owner() {
    let mut log = Log::unsealed();
    for n in 0..RECORDS {
        log.append(&record(n)).unwrap();
    }
    let frames = std::iter::once(log.boot_frame()).chain(log.frames_from(0));
    let mut lines: Vec<_> = frames.map(line).collect();
    let key = OwnerKey::generate().unwrap();
    let checked = check(lines.concat().as_bytes(), None, &[log.head()]).unwrap();
    assert_eq!((checked.findings.len(), checked.entries.len()), (0, RECORDS));
    let checked = check(lines.concat().as_bytes(), Some(&key), &[log.head()]).unwrap();
    assert_eq!(checked.findings, [Finding::NotSealed]);
    // An altered hash breaks the chain behind it.
    let mut forged = decode(&lines[4]);
    forged[60] ^= 1;
    lines[4] = line(&forged);
    let checked = check(lines.concat().as_bytes(), None, &[log.head()]).unwrap();
    assert_eq!(checked.findings, [Finding::Broken { sequence: 4 }]);
    // The last one's shows against the head.
    let mut forged = decode(&lines[10]);
    forged[60] ^= 1;
    lines[10] = line(&forged);
    let checked = check(lines.concat().as_bytes(), None, &[log.head()]).unwrap();
    assert!(checked.findings.contains(&Finding::OtherLog { attested: 10 }));
}

#[test]
fn every_altered_byte_of_a_record_shows() {
    let mut made = made();
    let honest = made.lines[4].clone();
    for at in 0..decode(&honest).len() {
        for bit in [1, 0x80] {
            let mut forged = decode(&honest);
            forged[at] ^= bit;
            made.lines[4] = line(&forged);
            let checked = made.check(&[]);
            assert!(!checked.findings.is_empty(), "byte {at}");
            assert!(checked.entries.iter().all(|entry| entry.sequence != 3), "byte {at}");
        }
    }
}

#[test]
fn every_altered_byte_of_the_boot_shows() {
    let mut made = made();
    let honest = made.lines[0].clone();
    for at in 0..decode(&honest).len() {
        let mut forged = decode(&honest);
        forged[at] ^= 1;
        made.lines[0] = line(&forged);
        let checked = made.check(&[made.newest()]);
        assert!(!checked.findings.is_empty(), "byte {at}");
        assert!(checked.entries.iter().all(|entry| entry.record.is_none()), "byte {at}");
    }
}

#[test]
fn every_truncation_of_the_file_shows() {
    let made = made();
    let file = made.lines.concat();
    for end in (0..file.len()).step_by(7) {
        match check(&file.as_bytes()[..end], Some(&made.owner), &[made.newest()]) {
            Ok(checked) => assert!(!checked.findings.is_empty(), "{end}"),
            Err(error) => assert_eq!(error, ReadError::Empty, "{end}"),
        }
    }
}

fn decode(line: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(line.trim_end()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_other_set_of_lines_shows(keep in proptest::collection::vec(0..=RECORDS, 0..14)) {
        let mut made = made();
        let honest: Vec<_> = (0..=RECORDS).collect();
        made.lines = keep.iter().map(|at| made.lines[*at].clone()).collect();
        let result = check(made.lines.concat().as_bytes(), Some(&made.owner), &[made.newest()]);
        if let Ok(checked) = result {
            prop_assert_eq!(checked.findings.is_empty(), keep == honest);
        } else {
            prop_assert!(keep.is_empty());
        }
    }

    #[test]
    fn rubbish_never_panics(file in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = check(&file, None, &[]);
    }
}
