// SPDX-License-Identifier: Apache-2.0

use proptest::prelude::*;

use super::*;
use crate::tdx::testing::text;
use crate::tdx::testing::vector;

/// File and number of events, those that measure nothing included.
const LOGS: [(&str, usize); 10] = [
    ("eventlog/dstack/ccel.bin", 18),
    ("eventlog/trustee/CCEL_AAEL_alibabacloud", 87),
    ("eventlog/trustee/CCEL_data", 5),
    ("eventlog/trustee/CCEL_data_csv", 82),
    ("eventlog/trustee/CCEL_data_gcp", 21),
    ("eventlog/trustee/CCEL_data_grub", 37),
    ("eventlog/trustee/CCEL_data_grub_gke", 35),
    ("eventlog/trustee/CCEL_data_ovmf", 20),
    ("tdx/cc-api/ccel_data.bin", 98),
    ("tdx/go-tdx-guest/ccel/ccel_data.dat", 43),
];

#[test]
fn reads_every_real_log() {
    for (name, count) in LOGS {
        let bytes = vector(name);
        let log = EventLog::parse(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(log.events().len(), count, "{name}");
        assert_eq!(log.as_bytes(), bytes, "{name}");
        assert!(log.events().iter().all(|event| event.register <= 4), "{name}");
        let intel = !name.ends_with("csv");
        assert!(log.events().iter().all(|e| e.sha384().is_some() == intel), "{name}");
    }
}

#[test]
fn reads_the_events_of_a_log() {
    let log = EventLog::parse(&vector("eventlog/trustee/CCEL_AAEL_alibabacloud")).unwrap();
    let [.., last] = log.events() else { panic!("events") };
    assert_eq!((last.register, last.kind), (4, EventKind::EVENT_TAG));
    assert!(last.data.starts_with(&0x4141_454C_u32.to_le_bytes()));
    let names: Vec<String> = log.events().iter().map(|e| e.kind.to_string()).collect();
    assert_eq!(names[0], "EV_EFI_HANDOFF_TABLES2");
    assert_eq!(EventKind(0x1234).to_string(), "0x00001234");
}

#[test]
fn the_same_kinds_and_digests_as_another_parser() {
    // What trustee's own parser says of the same files.
    for (name, expected) in [
        ("eventlog/trustee/CCEL_data_ovmf", "eventlog/trustee/CCEL_data_ovmf_out.json"),
        ("eventlog/trustee/CCEL_data_grub", "eventlog/trustee/CCEL_data_grub_out.json"),
        ("eventlog/trustee/CCEL_data", "eventlog/trustee/CCEL_data_out.json"),
    ] {
        let log = EventLog::parse(&vector(name)).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text(expected)).unwrap();
        let listing = json.to_string();
        for event in log.events() {
            let digest = hex::encode(event.sha384().unwrap());
            assert!(listing.contains(&digest), "{name} {digest}");
        }
    }
}

#[test]
fn reads_dstacks_form() {
    for (name, count, empty) in
        [("tdx/dstack/quote-report.json", 28, 0), ("tdx/dstack/tdx-lite-getquote.json", 29, 9)]
    {
        let json: serde_json::Value = serde_json::from_str(&text(name)).unwrap();
        let log = EventLog::from_dstack_json(json["event_log"].as_str().unwrap()).unwrap();
        assert_eq!(log.events().len(), count, "{name}");
        let without = log.events().iter().filter(|event| event.digests.is_empty()).count();
        assert_eq!(without, empty, "{name}");
        let named = log.events().iter().find(|e| e.name.as_deref() == Some("app-id")).unwrap();
        assert_eq!((named.register, named.kind), (4, EventKind::DSTACK_RUNTIME));
        assert_eq!(named.data.len(), 20);
    }
}

#[test]
fn dstacks_form_is_read_strictly() {
    let digest = "00".repeat(48);
    let one = |imr: u32, digest: &str, payload: &str| {
        format!(
            r#"[{{"imr":{imr},"event_type":4,"digest":"{digest}","event":"","event_payload":"{payload}"}}]"#
        )
    };
    assert!(EventLog::from_dstack_json(&one(3, &digest, "00")).is_ok());
    assert!(EventLog::from_dstack_json(&one(0, "", "")).is_ok());
    let refused = |json: &str| EventLog::from_dstack_json(json).unwrap_err();
    for (json, member) in [
        (one(4, &digest, ""), "imr"),
        (one(0, "00", ""), "digest"),
        (one(0, &digest.replace('0', "g"), ""), "digest"),
        (one(0, &digest, "0"), "event_payload"),
    ] {
        assert!(
            matches!(refused(&json), EventLogError::Member { member: m, .. } if m == member),
            "{json}"
        );
    }
    // D7
    let twice = one(0, &digest, "").replacen("\"imr\":0", "\"imr\":0,\"imr\":0", 1);
    assert!(matches!(refused(&twice), EventLogError::Json { .. }));
    let more = one(0, &digest, "").replacen("\"imr\":0", "\"imr\":0,\"more\":0", 1);
    assert!(matches!(refused(&more), EventLogError::Json { .. }));
}

/// A log of SHA-384 digests.
fn write(events: &[(u32, u32, [u8; 48], Vec<u8>)], tail: &[u8]) -> Vec<u8> {
    let mut spec = b"Spec ID Event03\0\0\0\0\0\0\x02\0\x02".to_vec();
    spec.extend(1_u32.to_le_bytes());
    spec.extend([0x0C, 0x00, 48, 0, 0]);
    let mut log = Vec::new();
    log.extend(1_u32.to_le_bytes());
    log.extend(3_u32.to_le_bytes());
    log.extend([0; 20]);
    log.extend(u32::try_from(spec.len()).unwrap().to_le_bytes());
    log.extend(spec);
    for (register, kind, digest, data) in events {
        log.extend(register.to_le_bytes());
        log.extend(kind.to_le_bytes());
        log.extend(1_u32.to_le_bytes());
        log.extend([0x0C, 0x00]);
        log.extend(digest);
        log.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        log.extend(data);
    }
    log.extend(tail);
    log
}

fn small() -> Vec<u8> {
    write(&[(1, 4, [1; 48], vec![0; 4]), (4, 6, [2; 48], b"text".to_vec())], &[])
}

#[test]
fn nothing_hides_behind_the_end() {
    // D7, D20
    let events = [(1, 4, [1; 48], vec![0; 4])];
    for tail in [&[][..], &[0xFF; 3], &[0xFF; 100], &[0; 5], &[0; 100]] {
        let log = EventLog::parse(&write(&events, tail)).unwrap();
        assert_eq!(log.events().len(), 1, "{tail:?}");
    }
    let mut hidden = vec![0xFF; 64];
    hidden.extend(&write(&events, &[])[65..]);
    for tail in [&hidden[..], &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0]] {
        let error = EventLog::parse(&write(&events, tail)).unwrap_err();
        assert!(matches!(error, EventLogError::Trailing { .. }), "{error}");
    }
    assert!(EventLog::parse(&write(&events, &[1])).is_err());
}

#[test]
fn every_truncation_is_refused_or_ends_between_events() {
    let bytes = small();
    let whole = EventLog::parse(&bytes).unwrap();
    let first = write(&[(1, 4, [1; 48], vec![0; 4])], &[]).len();
    let header = write(&[], &[]).len();
    for end in 0..bytes.len() {
        match EventLog::parse(&bytes[..end]) {
            Ok(log) => {
                // The first byte of a register is no zero here, the others are.
                assert!([header, first].contains(&end), "{end}");
                assert_eq!(log.events(), &whole.events()[..log.events().len()]);
            }
            Err(EventLogError::Truncated { offset }) => assert!(offset <= end),
            Err(EventLogError::SpecId) => assert!(end < header),
            Err(error) => panic!("{end}: {error}"),
        }
    }
}

#[test]
fn a_changed_byte_is_an_error_or_another_log() {
    let bytes = small();
    let good = EventLog::parse(&bytes).unwrap();
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 0x01;
        if let Ok(log) = EventLog::parse(&bad) {
            assert_eq!(log.as_bytes(), bad);
            // Only the header has bytes that say nothing of the events.
            assert!(log.events() != good.events() || at < write(&[], &[]).len(), "{at}");
        }
    }
}

#[test]
fn counts_and_algorithms_must_agree() {
    // D20: an event with no digest, with two, and of an algorithm that the log does not name.
    let header = write(&[], &[]).len();
    for (at, value) in [(header + 8, 0), (header + 8, 2), (header + 12, 0x0B)] {
        let mut bad = small();
        bad[at] = value;
        let error = EventLog::parse(&bad).unwrap_err();
        assert!(matches!(error, EventLogError::Digests { offset } if offset == header), "{error}");
    }
    let spec = 32;
    for (at, value, why) in [
        (spec, b'X', "signature"),
        (spec + 24, 0, "no algorithm"),
        (spec + 24, 200, "too many"),
        (spec + 30, 32, "another size of SHA-384"),
    ] {
        let mut bad = small();
        bad[at] = value;
        let error = EventLog::parse(&bad).unwrap_err();
        assert!(matches!(error, EventLogError::SpecId | EventLogError::Algorithms), "{why}");
    }
    let mut data = small();
    data[4] = 4;
    assert!(matches!(EventLog::parse(&data), Err(EventLogError::SpecId)));
    let large = vec![0; MAX_LOG_BYTES + 1];
    assert!(matches!(EventLog::parse(&large), Err(EventLogError::TooLarge)));
    let many = vec![(1, 4, [1; 48], vec![]); MAX_EVENTS + 1];
    assert!(matches!(EventLog::parse(&write(&many, &[])), Err(EventLogError::TooLarge)));
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        events in proptest::collection::vec(
            (1_u32..=4, 1_u32.., any::<[u8; 16]>(), proptest::collection::vec(any::<u8>(), 0..50)),
            0..20,
        ),
        unused in 0_usize..50,
    ) {
        let events: Vec<_> = events
            .into_iter()
            .map(|(register, kind, digest, data)| {
                let mut full = [0; 48];
                full[..16].copy_from_slice(&digest);
                (register, kind, full, data)
            })
            .collect();
        let log = EventLog::parse(&write(&events, &vec![0xFF; unused])).unwrap();
        let read: Vec<_> = log
            .events()
            .iter()
            .map(|e| (e.register, e.kind.0, *e.sha384().unwrap(), e.data.clone()))
            .collect();
        prop_assert_eq!(read, events);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = EventLog::parse(&bytes);
        let mut behind = write(&[], &[]);
        behind.extend(bytes);
        let _ = EventLog::parse(&behind);
    }
}
