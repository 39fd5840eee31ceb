// SPDX-License-Identifier: Apache-2.0
//! The messages of QMP, parsed from one line.

use serde_json::Value;

use super::Event;

/// What QEMU sends.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// The first line of a connection.
    Greeting,
    /// The result of a command.
    Return {
        /// The command's id.
        id: Option<u64>,
        /// The value.
        value: Value,
    },
    /// The refusal of a command.
    Error {
        /// The command's id.
        id: Option<u64>,
        /// QEMU's words, printable and on one line.
        description: String,
    },
    /// Something unasked.
    Event(Event),
}

/// Why a line is no message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Not JSON.
    #[error("the line is not JSON")]
    Json(#[from] serde_json::Error),
    /// JSON of no known kind.
    #[error("the line is no greeting, return, error or event")]
    Kind,
}

impl Message {
    /// Longest text that is taken over from QEMU.
    const MAX_TEXT: usize = 512;

    /// Reads one line.
    ///
    /// # Errors
    ///
    /// [`MessageError`].
    pub fn parse(line: &[u8]) -> Result<Self, MessageError> {
        let mut value: Value = serde_json::from_slice(line)?;
        let object = value.as_object_mut().ok_or(MessageError::Kind)?;
        if object.contains_key("QMP") {
            return Ok(Self::Greeting);
        }
        let id = object.get("id").and_then(Value::as_u64);
        if let Some(value) = object.remove("return") {
            return Ok(Self::Return { id, value });
        }
        if let Some(error) = object.remove("error") {
            let text = error.get("desc").and_then(Value::as_str).unwrap_or("no description");
            return Ok(Self::Error { id, description: one_line(text, Self::MAX_TEXT) });
        }
        let Some(Value::String(name)) = object.remove("event") else {
            return Err(MessageError::Kind);
        };
        let data = object.remove("data").unwrap_or(Value::Null);
        Ok(Self::Event(Event { name, data }))
    }
}

/// Foreign text made fit for an error message: printable, one line, at most `cap` characters.
pub(crate) fn one_line(text: &str, cap: usize) -> String {
    // E19: no control characters reach a terminal.
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    text.trim().chars().take(cap).map(printable).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn knows_the_four_kinds() {
        let parse = |line: &str| Message::parse(line.as_bytes()).unwrap();
        assert_eq!(parse(r#"{"QMP":{}}"#), Message::Greeting);
        assert_eq!(
            parse(r#"{"return":[],"id":3}"#),
            Message::Return { id: Some(3), value: Value::Array(Vec::new()) }
        );
        assert_eq!(
            parse("{\"error\":{\"desc\":\"a\\u001b[31m\"}}"),
            Message::Error { id: None, description: "a [31m".to_owned() }
        );
        let Message::Event(event) = parse(r#"{"event":"SHUTDOWN","data":{"guest":true}}"#) else {
            panic!("an event")
        };
        assert_eq!(event.name, "SHUTDOWN");
    }

    #[test]
    fn refuses_what_is_none_of_them() {
        for bad in ["", "1", "[]", "{}", "{\"event\":1}", "{\"return\""] {
            assert!(Message::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Message::parse(&bytes);
        }
    }
}
