// SPDX-License-Identifier: Apache-2.0

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::tdx::testing::quote;
use crate::tdx::testing::vector;

fn evidence() -> Evidence {
    let log = vector("tdx/go-tdx-guest/ccel/ccel_data.dat");
    Evidence {
        quote: Quote::parse(&quote("tdx/go-tdx-guest/ccel/cos-113-tdx-quote.dat")).unwrap(),
        event_log: Some(EventLog::parse(&log).unwrap()),
    }
}

#[test]
fn evidence_round_trips() {
    let with_log = evidence();
    let json = with_log.to_json().unwrap();
    assert_eq!(json.as_object().unwrap().len(), 2);
    assert_eq!(Evidence::from_json(&json.to_string()).unwrap(), with_log);
    let alone = Evidence::of_quote(with_log.quote);
    let json = alone.to_json().unwrap();
    assert_eq!(json["cc_eventlog"], Value::Null);
    assert_eq!(Evidence::from_json(&json.to_string()).unwrap(), alone);
    let absent = json!({"quote": json["quote"]}).to_string();
    assert_eq!(Evidence::from_json(&absent).unwrap(), alone);
}

#[test]
fn strict_about_members_and_duplicates() {
    let good = Evidence::of_quote(evidence().quote).to_json().unwrap();
    let quote = good["quote"].as_str().unwrap();
    let refused = |text: &str| Evidence::from_json(text).unwrap_err();
    // D7
    let twice = format!(r#"{{"quote":"{quote}","quote":"{quote}"}}"#);
    assert!(matches!(refused(&twice), WireError::Json { .. }));
    for text in [
        format!(r#"{{"quote":"{quote}","more":1}}"#),
        r#"{"cc_eventlog":null}"#.to_owned(),
        format!(r#"{{"quote":["{quote}"]}}"#),
        format!(r#"{{"quote":"{quote}"}} "#) + "x",
    ] {
        assert!(matches!(refused(&text), WireError::Json { .. }));
    }
    assert!(matches!(refused(r#"{"quote":"*"}"#), WireError::Base64));
    assert!(matches!(
        refused(r#"{"quote":"AAAA"}"#),
        WireError::Quote { source: QuoteError::Truncated { .. } }
    ));
    let log = format!(r#"{{"quote":"{quote}","cc_eventlog":"AAAA"}}"#);
    assert!(matches!(refused(&log), WireError::EventLog { .. }));
    let large = format!(r#"{{"quote":"{}"}}"#, "A".repeat(MAX_QUOTE_BYTES * 2));
    assert!(matches!(refused(&large), WireError::Base64));
}

#[test]
fn a_changed_or_missing_byte_is_an_error_or_other_evidence() {
    // D1
    let good = Evidence::of_quote(evidence().quote);
    let text = good.to_json().unwrap().to_string();
    for at in 0..text.len() {
        assert!(Evidence::from_json(&text[..at]).is_err(), "{at}");
        let mut bad = text.clone().into_bytes();
        bad[at] ^= 1;
        let Ok(bad) = String::from_utf8(bad) else { continue };
        // The name of a member that may be missing.
        let is_the_log = text.find("cc_eventlog").is_some_and(|log| (log..log + 11).contains(&at));
        assert!(is_the_log || Evidence::from_json(&bad).ok().as_ref() != Some(&good), "{at}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(report_data: [u8; 32], with_log: bool) {
        let known = evidence();
        let mut bytes = known.quote.as_bytes().to_vec();
        // REPORTDATA of a body of TD 1.0 behind a header of 48 bytes.
        bytes[48 + 520..][..32].copy_from_slice(&report_data);
        let quote = Quote::parse(&bytes).unwrap();
        let evidence = Evidence { quote, event_log: known.event_log.filter(|_| with_log) };
        let text = evidence.to_json().unwrap().to_string();
        prop_assert_eq!(Evidence::from_json(&text).unwrap(), evidence);
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,200}", quote in "[A-Za-z0-9+/=]{0,200}") {
        let _ = Evidence::from_json(&text);
        let _ = Evidence::from_json(&format!(r#"{{"quote":"{quote}"}}"#));
    }
}
