// SPDX-License-Identifier: Apache-2.0
//! Event logs against the registers of minted quotes, D20.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail the test")]

use casemate_verifier::Outcome;
use casemate_verifier::Status;
use casemate_verifier::Verdict;
use ring::digest;

mod tdx_mint;

use tdx_mint::World;

const SEPARATOR: u32 = 4;
const TAGGED: u32 = 6;
const NO_ACTION: u32 = 3;
const FIRMWARE_BLOB2: u32 = 0x8000_000A;

#[derive(Clone)]
struct Event {
    register: u32,
    kind: u32,
    digest: Vec<u8>,
    data: Vec<u8>,
}

fn sha384(bytes: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA384, bytes).as_ref().to_vec()
}

fn event(register: u32, kind: u32, data: &[u8]) -> Event {
    Event { register, kind, digest: sha384(data), data: data.to_vec() }
}

/// An entry of a guest's runtime log.
fn runtime(words: &str) -> Event {
    let mut data = 0x4141_454C_u32.to_le_bytes().to_vec();
    data.extend(u32::try_from(words.len()).unwrap().to_le_bytes());
    data.extend(words.as_bytes());
    event(4, TAGGED, &data)
}

fn boot() -> Vec<Event> {
    vec![
        Event { digest: sha384(b"the firmware"), ..event(1, FIRMWARE_BLOB2, b"Fv(somewhere)") },
        event(1, SEPARATOR, &[0; 4]),
        event(2, SEPARATOR, &[0; 4]),
        event(3, SEPARATOR, &[0; 4]),
        runtime("image sha256:aa"),
        runtime("ready"),
    ]
}

fn write(events: &[Event]) -> Vec<u8> {
    let mut spec = b"Spec ID Event03\0\0\0\0\0\0\x02\0\x02".to_vec();
    spec.extend(1_u32.to_le_bytes());
    spec.extend([0x0C, 0x00, 48, 0, 0]);
    let mut log = 1_u32.to_le_bytes().to_vec();
    log.extend(NO_ACTION.to_le_bytes());
    log.extend([0; 20]);
    log.extend(u32::try_from(spec.len()).unwrap().to_le_bytes());
    log.extend(spec);
    for event in events {
        log.extend(event.register.to_le_bytes());
        log.extend(event.kind.to_le_bytes());
        log.extend(1_u32.to_le_bytes());
        log.extend([0x0C, 0x00]);
        log.extend(&event.digest);
        log.extend(u32::try_from(event.data.len()).unwrap().to_le_bytes());
        log.extend(&event.data);
    }
    log
}

/// A quote whose registers are those of `measured`, and a log that says `told`.
fn world(measured: &[Event], told: &[Event]) -> World {
    let mut world = World { log: Some(write(told)), ..World::default() };
    for event in measured.iter().filter(|event| event.kind != NO_ACTION) {
        let index = usize::try_from(event.register).unwrap() - 1;
        let register = &mut world.rtmrs[index];
        let extended = sha384(&[register.as_slice(), event.digest.as_slice()].concat());
        register.copy_from_slice(&extended);
    }
    world
}

fn reasons(verdict: &Verdict) -> Vec<(&str, &str)> {
    verdict.reasons().map(|line| (line.claim, line.code.as_str())).collect()
}

fn value<'v>(verdict: &'v Verdict, claim: &str) -> &'v str {
    &verdict.lines().iter().find(|line| line.claim == claim).unwrap().value
}

#[test]
fn a_log_that_tells_what_was_measured_is_accepted() {
    let verdict = world(&boot(), &boot()).verdict();
    assert_eq!(reasons(&verdict), []);
    assert_eq!(verdict.status(), Status::Affirming);
    assert_eq!(value(&verdict, "event-log.events"), "6 events, the text of 5 is covered");
    let runtime: Vec<&str> = verdict
        .lines()
        .iter()
        .filter(|line| line.claim == "event-log.runtime")
        .map(|line| line.value.as_str())
        .collect();
    assert_eq!(runtime, ["image sha256:aa", "ready"]);
    // Text that its digest does not cover is in no line.
    assert!(!verdict.lines().iter().any(|line| line.value.contains("Fv(")));
}

#[test]
fn a_log_that_lacks_adds_reorders_or_changes_something_is_refused() {
    let measured = boot();
    let refused = |told: &[Event], expected: &[(&str, &str)]| {
        let verdict = world(&measured, told).verdict();
        assert_eq!(reasons(&verdict), expected);
        assert_eq!(verdict.accepted(), None);
    };
    refused(&measured[..5], &[("event-log.rtmr3", "rtmr")]);
    refused(&measured[1..], &[("event-log.rtmr0", "rtmr")]);
    let mut more = boot();
    more.push(runtime("ready"));
    refused(&more, &[("event-log.rtmr3", "rtmr")]);
    let mut swapped = boot();
    swapped.swap(4, 5);
    refused(&swapped, &[("event-log.rtmr3", "rtmr")]);
    let mut moved = boot();
    moved[1].register = 2;
    refused(&moved, &[("event-log.rtmr0", "rtmr"), ("event-log.rtmr1", "rtmr")]);
    let mut altered = boot();
    altered[5].data[8] = b'R';
    refused(&altered, &[("event-log.events", "event-log")]);
    let mut consistent = boot();
    consistent[5] = runtime("Ready");
    refused(&consistent, &[("event-log.rtmr3", "rtmr")]);
    refused(
        &[],
        &[
            ("event-log.rtmr0", "rtmr"),
            ("event-log.rtmr1", "rtmr"),
            ("event-log.rtmr2", "rtmr"),
            ("event-log.rtmr3", "rtmr"),
        ],
    );
}

#[test]
fn opaque_text_may_be_anything_and_says_nothing() {
    let measured = boot();
    let mut told = boot();
    told[0].data = b"a firmware that we trust".to_vec();
    let verdict = world(&measured, &told).verdict();
    assert_eq!(reasons(&verdict), []);
    assert!(!verdict.lines().iter().any(|line| line.value.contains("trust")));
}

#[test]
fn registers_that_cannot_be_extended_are_refused() {
    for register in [0, 5, u32::MAX] {
        let mut told = boot();
        told.push(event(register, SEPARATOR, &[0; 4]));
        let verdict = world(&boot(), &told).verdict();
        assert_eq!(reasons(&verdict), [("event-log.events", "event-log")], "{register}");
        assert!(value(&verdict, "event-log.events").starts_with("event 6 (EV_SEPARATOR)"));
    }
}

#[test]
fn events_that_measure_nothing_measure_nothing() {
    let mut told = boot();
    told.insert(0, Event { digest: vec![0; 48], ..event(0, NO_ACTION, b"StartupLocality") });
    assert_eq!(reasons(&world(&boot(), &told).verdict()), []);
    told[0].digest = vec![1; 48];
    let verdict = world(&boot(), &told).verdict();
    assert_eq!(reasons(&verdict), [("event-log.events", "event-log")]);
}

#[test]
fn a_log_can_be_demanded() {
    let mut world = World::default();
    assert_eq!(reasons(&world.verdict()), []);
    let line = |verdict: &Verdict| {
        verdict.lines().iter().find(|line| line.claim == "event-log.events").unwrap().outcome
    };
    assert_eq!(line(&world.verdict()), Outcome::NotChecked);
    world.requirements.require_event_log = true;
    assert_eq!(reasons(&world.verdict()), [("event-log.events", "event-log")]);
    world.requirements.require_event_log = false;
    world.requirements.last_event = Some("ready".to_owned());
    assert_eq!(reasons(&world.verdict()), [("event-log.events", "event-log")]);
}

#[test]
fn runtime_events_can_be_listed() {
    let named = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let mut all = world(&boot(), &boot());
    all.requirements.runtime_events = Some(named(&["image sha256:aa", "ready"]));
    assert_eq!(all.verdict().status(), Status::Affirming);
    all.requirements.runtime_events = Some(named(&["ready"]));
    assert_eq!(reasons(&all.verdict()), [("event-log.runtime", "event-log")]);
    // Something opaque in RTMR3 is on no list.
    let mut events = boot();
    events.push(event(4, FIRMWARE_BLOB2, b"ready"));
    let mut opaque = world(&events, &events);
    opaque.requirements.runtime_events = Some(named(&["image sha256:aa", "ready"]));
    assert_eq!(reasons(&opaque.verdict()), [("event-log.runtime", "event-log")]);
    // More than a verdict has lines for.
    let many: Vec<Event> = (0..70).map(|_| runtime("ready")).collect();
    let mut crowd = world(&many, &many);
    assert_eq!(reasons(&crowd.verdict()), []);
    crowd.requirements.runtime_events = Some(named(&["ready"]));
    assert_eq!(reasons(&crowd.verdict()), [("event-log.runtime", "event-log")]);
}

#[test]
fn nothing_follows_the_last_event() {
    // D20: measured after `ready`, by somebody who then tells it.
    let last = |events: &[Event], text: &str| {
        let mut world = world(events, events);
        world.requirements.last_event = Some(text.to_owned());
        reasons(&world.verdict()).len()
    };
    assert_eq!(last(&boot(), "ready"), 0);
    assert_eq!(last(&boot(), "image sha256:aa"), 1);
    assert_eq!(last(&boot(), "other"), 1);
    let mut more = boot();
    more.push(runtime("another image"));
    assert_eq!(last(&more, "ready"), 1);
    let mut twice = boot();
    twice.insert(4, runtime("ready"));
    assert_eq!(last(&twice, "ready"), 1);
    assert_eq!(last(&boot()[..4], "ready"), 1);
}
