// SPDX-License-Identifier: Apache-2.0

use casemate_audit::OwnerKey;

use super::*;

fn call(name: &str, outcome: Outcome) -> Call {
    Call { name: name.into(), names: vec![("container_id".into(), "c1".into())], outcome }
}

fn refused(code: Code, detail: &str) -> Outcome {
    Outcome::Refused(ApiError::new(code, detail))
}

struct Bench {
    owner: OwnerKey,
    audit: Audit,
}

impl Bench {
    fn new() -> Self {
        let owner = OwnerKey::generate().unwrap();
        let audit = Audit::sealed(owner.public_key()).unwrap();
        Self { owner, audit }
    }

    fn records(&self) -> Vec<Record> {
        let inner = self.audit.lock();
        let frames = std::iter::once(inner.log.boot_frame()).chain(inner.log.frames_from(0));
        let file: String = frames.map(casemate_audit::line).collect();
        let head = inner.log.head();
        let checked = casemate_audit::check(file.as_bytes(), Some(&self.owner), &[head]).unwrap();
        assert_eq!(checked.findings, []);
        checked.entries.into_iter().map(|entry| entry.record.unwrap()).collect()
    }
}

#[test]
fn each_outcome_has_its_verdict() {
    let bench = Bench::new();
    let outcomes = [
        (Outcome::Answered, Verdict::Allowed, None, None),
        (Outcome::Abandoned, Verdict::Abandoned, None, None),
        (
            refused(Code::PolicyArgv, "argv[1]: \"x\" is not in the policy"),
            Verdict::Denied,
            Some("policy.argv"),
            Some("argv[1]"),
        ),
        (
            refused(Code::RequestInvalid, "env: over the cap of 4096"),
            Verdict::Denied,
            Some("request.invalid"),
            Some("env"),
        ),
        (
            refused(Code::RequestPhase, "Start: the guest is not attested yet"),
            Verdict::Denied,
            Some("request.phase"),
            None,
        ),
        (
            refused(Code::GuestPoisoned, "an earlier failure: and more"),
            Verdict::Denied,
            Some("guest.poisoned"),
            None,
        ),
        (
            refused(Code::ContainerFailed, "exec: no such file"),
            Verdict::Failed,
            Some("container.failed"),
            None,
        ),
    ];
    for (outcome, ..) in &outcomes {
        bench.audit.witness(call("Start", outcome.clone()));
    }
    let records = bench.records();
    assert_eq!(records.len(), outcomes.len());
    for (record, (outcome, verdict, code, field)) in records.iter().zip(&outcomes) {
        assert_eq!(record.verdict, *verdict, "{outcome:?}");
        assert_eq!(record.code.as_ref().map(Text::as_str), *code, "{outcome:?}");
        assert_eq!(record.field.as_ref().map(Text::as_str), *field, "{outcome:?}");
        assert_eq!(record.names[0].1.as_str(), "c1");
    }
}

#[test]
fn the_hosts_words_are_shortened_and_escaped() {
    // E20.
    let bench = Bench::new();
    let mut call = call("Start", refused(Code::RequestId, "id"));
    call.names = vec![("id".into(), "a\nb\u{1b}[2J".repeat(1000))];
    bench.audit.witness(call);
    let shown = bench.records()[0].names[0].1.as_str().to_owned();
    assert!(shown.starts_with("a\\u{a}b\\u{1b}[2Ja") && shown.len() <= 96, "{shown}");
}

#[test]
fn equal_polls_are_folded_and_nothing_else() {
    let bench = Bench::new();
    for _ in 0..1 + FOLD + FOLD / 2 {
        bench.audit.witness(call("Stats", Outcome::Answered));
    }
    let times = |records: &[Record]| records.iter().map(|r| r.times.get()).collect::<Vec<_>>();
    assert_eq!(times(&bench.records()), [1, FOLD]);
    // What is refused, what changes something and what is about another container.
    bench.audit.witness(call("Stats", refused(Code::RequestId, "container_id: unknown")));
    bench.audit.witness(call("Stats", refused(Code::RequestId, "container_id: unknown")));
    bench.audit.witness(call("Start", Outcome::Answered));
    bench.audit.witness(call("Start", Outcome::Answered));
    let mut other = call("Stats", Outcome::Answered);
    other.names = Vec::new();
    bench.audit.witness(other);
    assert_eq!(times(&bench.records()), [1, FOLD, 1, 1, 1, 1, 1]);
    // At the end every request is accounted for.
    bench.audit.witness(call("Shutdown", Outcome::Answered));
    let records = bench.records();
    assert_eq!(times(&records[7..]), [FOLD / 2, 1]);
    assert_eq!(records[8].call.as_str(), "Shutdown");
    // Polls after it, of the host that reads these, are folded as before.
    bench.audit.witness(call("Stats", Outcome::Answered));
    assert_eq!(bench.records().len(), 9);
}

#[test]
fn kinds_of_polls_are_bounded() {
    // A25.
    let bench = Bench::new();
    for n in 0..3 * MAX_POLLS {
        let mut poll = call("State", Outcome::Answered);
        poll.names = vec![("container_id".into(), n.to_string())];
        bench.audit.witness(poll);
    }
    assert_eq!(bench.audit.lock().polls.len(), MAX_POLLS);
    assert_eq!(bench.records().len(), 3 * MAX_POLLS);
}

#[tokio::test(start_paused = true)]
async fn reading_waits_and_is_bounded() {
    let bench = Bench::new();
    let read =
        |from, max| proto::ReadAuditRequest { from_sequence: from, max, ..Default::default() };
    let none = bench.audit.read(&read(0, 0), Duration::from_secs(5)).await;
    assert_eq!((none.first_sequence, none.records.len()), (0, 0));
    assert!(!none.boot.is_empty());
    for _ in 0..5000 {
        bench.audit.witness(call("Start", Outcome::Answered));
    }
    let some = bench.audit.read(&read(0, 3), Duration::ZERO).await;
    assert_eq!(some.records.len(), 3);
    let many = bench.audit.read(&read(some.first_sequence, 0), Duration::ZERO).await;
    assert_eq!(many.records.len(), MAX_REPLY_RECORDS);
    let end = bench.audit.read(&read(4999, 0), Duration::from_secs(5)).await;
    assert_eq!((end.first_sequence, end.records.len()), (4999, 1));
    let after = bench.audit.read(&read(u64::MAX, u32::MAX), Duration::from_secs(5)).await;
    assert_eq!(after.records.len(), 0);
}

#[tokio::test]
async fn a_reader_that_waits_gets_the_next_record() {
    let bench = std::sync::Arc::new(Bench::new());
    let reading = tokio::spawn({
        let bench = std::sync::Arc::clone(&bench);
        async move {
            let request = proto::ReadAuditRequest::default();
            bench.audit.read(&request, Duration::from_secs(60)).await
        }
    });
    tokio::task::yield_now().await;
    bench.audit.witness(call("Start", Outcome::Answered));
    assert_eq!(reading.await.unwrap().records.len(), 1);
}
