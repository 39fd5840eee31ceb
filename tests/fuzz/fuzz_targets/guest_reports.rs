// SPDX-License-Identifier: Apache-2.0
//! What firmware and the host's quote service hand to the guest: an event log is cut and never
//! changed, and a report or quote is kept byte for byte if it carries what was asked for.

#![no_main]

use casemate_attester::EventLog;
use casemate_attester::Quote;
use casemate_attester::ReportData;
use casemate_attester::TdReport;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(log) = EventLog::from_area(bytes.to_vec()) {
        assert!(bytes.starts_with(log.as_bytes()));
        let again = EventLog::from_area(log.as_bytes().to_vec());
        assert_eq!(again.ok(), Some(log));
    }
    // The data that was asked for stands in front of the answer.
    let Some((asked, answer)) = bytes.split_first_chunk() else { return };
    let asked = ReportData(*asked);
    if let Ok(quote) = Quote::parse(answer.to_vec(), &asked) {
        assert_eq!(quote.as_bytes(), answer);
    }
    if let Some(answer) = answer.first_chunk()
        && let Ok(report) = TdReport::parse(answer, &asked)
    {
        assert_eq!(report.as_bytes(), answer);
    }
});
