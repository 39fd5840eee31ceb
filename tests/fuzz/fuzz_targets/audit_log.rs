// SPDX-License-Identifier: Apache-2.0
//! Audit logs as a node hands them to the owner.

#![no_main]

use std::sync::OnceLock;

use casemate_audit::Frame;
use casemate_audit::Head;
use casemate_audit::Log;
use casemate_audit::OwnerKey;
use casemate_audit::Record;
use casemate_audit::check;
use casemate_audit::line;
use libfuzzer_sys::fuzz_target;

fn owner() -> &'static OwnerKey {
    static OWNER: OnceLock<OwnerKey> = OnceLock::new();
    OWNER.get_or_init(|| OwnerKey::generate().unwrap())
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(frame) = Frame::parse(bytes) {
        assert_eq!(frame.to_bytes(), bytes);
    }
    let _ = check(bytes, Some(owner()), &[]);
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(head) = text.parse::<Head>() {
            assert_eq!(head.to_string(), text);
        }
        let _ = OwnerKey::from_pem(text);
    }
    // What is read behind a seal that opens.
    if let Ok(record) = Record::from_json(bytes) {
        assert_eq!(record.to_json().unwrap(), bytes);
        let mut log = Log::sealed(owner().public_key()).unwrap();
        log.append(&record).unwrap();
        let frames = std::iter::once(log.boot_frame()).chain(log.frames_from(0));
        let file: String = frames.map(line).collect();
        let checked = check(file.as_bytes(), Some(owner()), &[log.head()]).unwrap();
        assert_eq!(checked.findings, []);
        assert_eq!(checked.entries[0].record, Some(record));
    }
});
