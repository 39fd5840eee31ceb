// SPDX-License-Identifier: Apache-2.0

use std::fs;

use proptest::prelude::*;

use super::*;
use crate::files::Kernel;

const SHA384: u16 = 12;

fn first(algorithms: &[(u16, u16)]) -> Vec<u8> {
    let mut event = SIGNATURE.to_vec();
    event.extend([0, 0, 0, 0, 0, 2, 0, 2]);
    event.extend(u32::try_from(algorithms.len()).unwrap().to_le_bytes());
    for (algorithm, size) in algorithms {
        event.extend(algorithm.to_le_bytes());
        event.extend(size.to_le_bytes());
    }
    event.push(0);
    let mut log = [1_u32.to_le_bytes(), EV_NO_ACTION.to_le_bytes()].concat();
    log.extend([0; 20]);
    log.extend(u32::try_from(event.len()).unwrap().to_le_bytes());
    log.extend(event);
    log
}

fn event(register: u32, kind: u32, data: &[u8]) -> Vec<u8> {
    let mut event: Vec<u8> = [register, kind, 1].iter().flat_map(|n| n.to_le_bytes()).collect();
    event.extend(SHA384.to_le_bytes());
    event.extend([0x5a; 48]);
    event.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
    event.extend(data);
    event
}

fn log() -> Vec<u8> {
    [first(&[(SHA384, 48)]), event(1, 0x8000_0008, b"volume"), event(3, 13, b"")].concat()
}

fn padded(log: Vec<u8>, fill: u8, len: usize) -> Vec<u8> {
    [log, vec![fill; len]].concat()
}

fn refused(area: Vec<u8>) -> EventLogError {
    EventLog::from_area(area).unwrap_err()
}

#[test]
fn cuts_off_what_firmware_did_not_use() {
    for fill in [0, 0xff] {
        for len in [0, 1, 4, 11, 12, 5000] {
            let cut = EventLog::from_area(padded(log(), fill, len)).unwrap();
            assert_eq!(cut.as_bytes(), log(), "{fill} {len}");
        }
    }
    // A log whose only event is the first.
    let empty = first(&[(SHA384, 48)]);
    assert_eq!(EventLog::from_area(padded(empty.clone(), 0xff, 64)).unwrap().as_bytes(), empty);
}

#[test]
fn an_event_of_register_and_type_0_is_no_end() {
    let log = [log(), event(0, 0, b"preboot certificate")].concat();
    assert_eq!(EventLog::from_area(padded(log.clone(), 0, 100)).unwrap().as_bytes(), log);
}

#[test]
fn each_malformed_log_has_its_error() {
    let head = first(&[(SHA384, 48)]);
    let offset = head.len();
    assert!(matches!(refused(Vec::new()), EventLogError::NoSpecId));
    assert!(matches!(refused(vec![0xff; 100]), EventLogError::NoSpecId));
    assert!(matches!(refused(first(&[])), EventLogError::NoSpecId));
    assert!(matches!(refused(first(&[(SHA384, 48); 17])), EventLogError::NoSpecId));
    assert!(EventLog::from_area(first(&[(SHA384, 48); 16])).is_ok());

    let with = |event: &[u8]| [head.as_slice(), event].concat();
    let whole = event(1, 4, b"1234");
    let cut = refused(with(&whole[..whole.len() - 1]));
    assert!(matches!(cut, EventLogError::Truncated { offset: at } if at == offset), "{cut:?}");
    let mut none = whole.clone();
    none[8] = 0;
    let count = refused(with(&none));
    assert!(matches!(count, EventLogError::DigestCount { count: 0, .. }), "{count:?}");
    // D14: a count that would read on for hours.
    none[8..12].fill(0xff);
    let count = refused(with(&none));
    assert!(matches!(count, EventLogError::DigestCount { count: u32::MAX, .. }), "{count:?}");
    let mut other = whole.clone();
    other[12] = 4;
    let algorithm = refused(with(&other));
    assert!(matches!(algorithm, EventLogError::Algorithm { algorithm: 4, .. }), "{algorithm:?}");
    let mut huge = whole;
    huge[62..66].fill(0xff);
    let huge = refused(with(&huge));
    assert!(matches!(huge, EventLogError::Truncated { .. }), "{huge:?}");
}

#[test]
fn caps_hold() {
    let area = padded(log(), 0xff, MAX_EVENT_LOG_AREA - log().len());
    assert!(EventLog::from_area(area.clone()).is_ok());
    assert!(matches!(refused(padded(area, 0xff, 1)), EventLogError::AreaTooLarge));
    let long = [log(), event(1, 4, &vec![7; MAX_EVENT_LOG])].concat();
    assert!(matches!(refused(long), EventLogError::TooLong { .. }));
}

#[test]
fn every_truncation_is_whole_events_or_refused() {
    let log = log();
    let ends = [first(&[(SHA384, 48)]).len(), log.len() - event(3, 13, b"").len(), log.len()];
    for len in 0..log.len() {
        match EventLog::from_area(log[..len].to_vec()) {
            Ok(cut) => assert!(ends.contains(&cut.as_bytes().len()), "{len}"),
            Err(error) => {
                let expected =
                    matches!(error, EventLogError::NoSpecId | EventLogError::Truncated { .. });
                assert!(expected, "{len}: {error:?}");
            }
        }
    }
}

#[test]
fn every_changed_byte_gives_a_prefix_or_an_error() {
    let original = padded(log(), 0xff, 32);
    for at in 0..original.len() {
        for flip in [1, 0x80, 0xff] {
            let mut area = original.clone();
            area[at] ^= flip;
            if let Ok(cut) = EventLog::from_area(area.clone()) {
                assert!(area.starts_with(cut.as_bytes()), "{at}");
            }
        }
    }
}

#[test]
fn an_absent_log_is_none_and_an_unreadable_one_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("CCEL");
    assert!(EventLog::read(&Kernel, &path).unwrap().is_none());
    fs::write(&path, padded(log(), 0xff, 100)).unwrap();
    assert_eq!(EventLog::read(&Kernel, &path).unwrap().unwrap().as_bytes(), log());
    assert!(matches!(
        EventLog::read(&Kernel, Path::new("/dev/zero")),
        Err(EventLogError::AreaTooLarge)
    ));
    assert!(matches!(EventLog::read(&Kernel, folder.path()), Err(EventLogError::Read { .. })));
}

/// Logs of real firmware, and where their events end as another reader found.
#[test]
fn genuine_logs_are_cut_at_their_end() {
    const LOGS: &[(&str, usize)] = &[
        ("eventlog/dstack/ccel.bin", 1933),
        ("eventlog/trustee/CCEL_AAEL_alibabacloud", 11707),
        ("eventlog/trustee/CCEL_data", 9822),
        ("eventlog/trustee/CCEL_data_csv", 9565),
        ("eventlog/trustee/CCEL_data_gcp", 20349),
        ("eventlog/trustee/CCEL_data_grub", 15130),
        ("eventlog/trustee/CCEL_data_grub_gke", 21897),
        ("eventlog/trustee/CCEL_data_ovmf", 2120),
        ("tdx/cc-api/ccel_data.bin", 15812),
        ("tdx/go-tdx-guest/ccel/ccel_data.dat", 18101),
    ];
    for (name, end) in LOGS {
        let Some(area) = crate::vectors::read(name) else { return };
        let log = EventLog::from_area(area.clone()).unwrap();
        assert_eq!(log.as_bytes(), &area[..*end], "{name}");
    }
}

proptest! {
    #[test]
    fn events_of_any_content_survive(
        events in proptest::collection::vec((1..5_u32, any::<u32>(), any::<Vec<u8>>()), 0..6),
        fill in prop_oneof![Just(0), Just(0xff)],
        len in 0..200_usize,
    ) {
        let mut log = first(&[(4, 20), (SHA384, 48)]);
        for (register, kind, data) in &events {
            log.extend(event(*register, *kind, data));
        }
        let cut = EventLog::from_area(padded(log.clone(), fill, len)).unwrap();
        prop_assert_eq!(cut.as_bytes(), log);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        let _ = EventLog::from_area(bytes.clone());
        let _ = EventLog::from_area([first(&[(SHA384, 48)]), bytes].concat());
    }
}
