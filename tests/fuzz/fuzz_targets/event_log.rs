// SPDX-License-Identifier: Apache-2.0
//! Event logs as they come from a guest: TCG's form and dstack's.

#![no_main]

use casemate_evidence::event_log::EventLog;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(log) = EventLog::parse(bytes) {
        assert_eq!(log.as_bytes(), bytes);
        let data: usize = log.events().iter().map(|event| event.data.len()).sum();
        assert!(data <= bytes.len());
    }
    if let Ok(json) = std::str::from_utf8(bytes) {
        let _ = EventLog::from_dstack_json(json);
    }
});
