// SPDX-License-Identifier: Apache-2.0
//! One request of the host and what came of it.

use std::num::NonZeroU32;

use serde::Deserialize;
use serde::Serialize;

use crate::text::Text;

/// Most names in one record.
pub const MAX_NAMES: usize = 8;

/// One request of the host and its verdict.
///
/// # Security
///
/// There is no place for an argument list, a variable's value or the content of a file: what the
/// record holds of the request are the names of `names`, and what the host was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Microseconds since the guest kernel started, when the verdict fell. The host owns the clock.
    pub boottime_us: u64,
    /// The call's name in the agent API, or what was asked for in its place.
    pub call: Text<64>,
    /// Ids and names in the request, with their fields: the host's words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<(Text<32>, Text<96>)>,
    /// What came of it.
    pub verdict: Verdict,
    /// The stable code that the host was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Text<48>>,
    /// The field of the request that was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<Text<96>>,
    /// The line that the host was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Text<640>>,
    /// How many equal requests the record stands for.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub times: NonZeroU32,
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It was granted and carried out.
    Allowed,
    /// A rule forbids it; nothing was done.
    Denied,
    /// It was not forbidden and did not succeed.
    Failed,
    /// The host went away before it was answered; a change that was granted is carried out all the
    /// same.
    Abandoned,
}

impl Record {
    /// A record of `call` with nothing but its verdict.
    #[must_use]
    pub fn new(call: &str, verdict: Verdict, boottime_us: u64) -> Self {
        Self {
            boottime_us,
            call: Text::new(call),
            names: Vec::new(),
            verdict,
            code: None,
            field: None,
            text: None,
            times: NonZeroU32::MIN,
        }
    }

    /// Adds an id or a name of the request; of more than [`MAX_NAMES`] the first ones stay.
    #[must_use]
    pub fn with_name(mut self, field: &str, value: &str) -> Self {
        if self.names.len() < MAX_NAMES {
            self.names.push((Text::new(field), Text::new(value)));
        }
        self
    }

    /// The record as it is sealed: JSON in one form only.
    ///
    /// # Errors
    ///
    /// [`RecordError::Names`] when there are more than [`MAX_NAMES`].
    pub fn to_json(&self) -> Result<Vec<u8>, RecordError> {
        if self.names.len() > MAX_NAMES {
            return Err(RecordError::Names);
        }
        serde_json::to_vec(self).map_err(|_| RecordError::Form)
    }

    /// Reads what [`Self::to_json`] wrote, and nothing else.
    ///
    /// # Errors
    ///
    /// [`RecordError`]; a text with a control character is among the reasons.
    pub fn from_json(json: &[u8]) -> Result<Self, RecordError> {
        let record: Self = serde_json::from_slice(json).map_err(|_| RecordError::Form)?;
        if record.to_json()? == json { Ok(record) } else { Err(RecordError::Form) }
    }
}

/// The bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Malformed, not in its one form, or a text is over its cap.
    #[error("the record is malformed")]
    Form,
    /// More names than [`MAX_NAMES`].
    #[error("the record has more than {MAX_NAMES} names")]
    Names,
}

const fn once() -> NonZeroU32 {
    NonZeroU32::MIN
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_once(times: &NonZeroU32) -> bool {
    *times == once()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(super) fn full() -> Record {
        let mut record = Record::new("CreateContainer", Verdict::Denied, 12_345)
            .with_name("id", "c1")
            .with_name("name", "web");
        record.code = Some(Text::new("policy.argv"));
        record.field = Some(Text::new("argv[1]"));
        record.text = Some(Text::new("argv[1]: \"--debug\" is not in the policy"));
        record
    }

    #[test]
    fn is_plain_json() {
        assert_eq!(
            String::from_utf8(full().to_json().unwrap()).unwrap(),
            "{\"boottime_us\":12345,\"call\":\"CreateContainer\",\
             \"names\":[[\"id\",\"c1\"],[\"name\",\"web\"]],\"verdict\":\"denied\",\
             \"code\":\"policy.argv\",\"field\":\"argv[1]\",\
             \"text\":\"argv[1]: \\\"--debug\\\" is not in the policy\"}"
        );
        let mut many = Record::new("Hello", Verdict::Allowed, 0);
        assert_eq!(
            many.to_json().unwrap(),
            br#"{"boottime_us":0,"call":"Hello","verdict":"allowed"}"#
        );
        many.times = NonZeroU32::new(256).unwrap();
        assert_eq!(
            many.to_json().unwrap(),
            br#"{"boottime_us":0,"call":"Hello","verdict":"allowed","times":256}"#
        );
    }

    #[test]
    fn refuses_what_is_not_its_one_form() {
        for json in [
            "",
            "{}",
            r#"{"boottime_us":0,"call":"Hello"}"#,
            r#"{"boottime_us":0,"call":"Hello","verdict":"granted"}"#,
            r#"{"boottime_us":-1,"call":"Hello","verdict":"allowed"}"#,
            r#"{"boottime_us":0,"call":"Hello","verdict":"allowed","more":1}"#,
            r#"{"boottime_us":0,"call":"Hello","call":"Hello","verdict":"allowed"}"#, // D7
            r#"{"call":"Hello","boottime_us":0,"verdict":"allowed"}"#,
            r#"{"boottime_us":0,"call":"Hello","verdict":"allowed","times":1}"#,
            r#"{"boottime_us":0,"call":"Hello","verdict":"allowed","times":0}"#,
            r#"{"boottime_us":0,"call":"Hello","names":[],"verdict":"allowed"}"#,
            r#"{"boottime_us":0, "call":"Hello","verdict":"allowed"}"#,
            r#"{"boottime_us":0,"call":"Hello","verdict":"allowed"} "#,
            r#"{"boottime_us":0,"call":"He\nllo","verdict":"allowed"}"#, // E20
        ] {
            assert!(Record::from_json(json.as_bytes()).is_err(), "{json}");
        }
        let names = r#"["a","b"],"#.repeat(MAX_NAMES + 1);
        let names = names.trim_end_matches(',');
        let json =
            format!(r#"{{"boottime_us":0,"call":"Hello","names":[{names}],"verdict":"allowed"}}"#);
        assert_eq!(Record::from_json(json.as_bytes()), Err(RecordError::Names));
    }

    #[test]
    fn of_too_many_names_the_first_stay() {
        let record = (0..20).fold(full(), |record, n| record.with_name("id", &n.to_string()));
        assert_eq!(record.names.len(), MAX_NAMES);
        assert!(record.to_json().is_ok());
    }

    #[test]
    fn every_changed_byte_and_truncation_is_another_record_or_none() {
        let (record, json) = (full(), full().to_json().unwrap());
        for at in 0..json.len() {
            let mut changed = json.clone();
            changed[at] ^= 1;
            assert_ne!(Record::from_json(&changed), Ok(record.clone()), "{at}");
            assert!(Record::from_json(&json[..at]).is_err(), "{at}");
        }
    }

    proptest! {
        #[test]
        fn is_read_as_written(
            boottime_us: u64,
            call: String,
            names in proptest::collection::vec((any::<String>(), any::<String>()), 0..MAX_NAMES),
            text in proptest::option::of(any::<String>()),
            times in 1_u32..,
        ) {
            let mut record = Record::new(&call, Verdict::Failed, boottime_us);
            for (field, value) in &names {
                record = record.with_name(field, value);
            }
            record.text = text.as_deref().map(Text::new);
            record.times = NonZeroU32::new(times).unwrap();
            let json = record.to_json().unwrap();
            prop_assert_eq!(Record::from_json(&json), Ok(record));
        }

        #[test]
        fn never_panics(json in any::<Vec<u8>>()) {
            let _ = Record::from_json(&json);
        }
    }
}
