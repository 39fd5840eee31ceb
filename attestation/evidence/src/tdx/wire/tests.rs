// SPDX-License-Identifier: Apache-2.0

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
