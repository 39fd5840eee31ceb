// SPDX-License-Identifier: Apache-2.0
//! JSON in annotations.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde::Deserializer;
use serde::de::IgnoredAny;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;
use serde_json::Value;

use crate::error::GenerateError;
use crate::error::Invalid;

/// Parses the text of an annotation. No key stands twice in one of its objects: of two, people see
/// one and a program takes the other.
pub(crate) fn parse(text: &str, path: &str) -> Result<Value, GenerateError> {
    let malformed = |error: serde_json::Error| {
        let problem = Invalid::Json { line: error.line(), column: error.column() };
        GenerateError::invalid(path, problem)
    };
    let value = serde_json::from_str(text).map_err(malformed)?;
    let Twice(twice) = serde_json::from_str(text).map_err(malformed)?;
    match twice {
        Some(name) => Err(GenerateError::invalid(path, Invalid::Duplicate { name })),
        None => Ok(value),
    }
}

/// A key that stands twice in one object of a document, if there is one.
struct Twice(Option<String>);

impl<'de> Deserialize<'de> for Twice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TwiceVisitor).map(Self)
    }
}

struct TwiceVisitor;

impl<'de> Visitor<'de> for TwiceVisitor {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Option<String>, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Option<String>, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Option<String>, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Option<String>, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Option<String>, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Option<String>, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Option<String>, A::Error> {
        while let Some(Twice(found)) = list.next_element()? {
            if found.is_some() {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<String>, A::Error> {
        let mut keys = BTreeSet::new();
        let mut twice = None;
        while let Some(key) = map.next_key::<String>()? {
            let Twice(within) = map.next_value()?;
            twice = twice.or(within);
            if !keys.insert(key.clone()) {
                twice.get_or_insert(key);
            }
        }
        Ok(twice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn twice(text: &str) -> Option<String> {
        match parse(text, "x") {
            Ok(value) => {
                assert_eq!(value, serde_json::from_str::<Value>(text).unwrap());
                None
            }
            Err(GenerateError::Invalid { path, problem: Invalid::Duplicate { name } }) => {
                assert_eq!(path, "x");
                Some(name)
            }
            Err(error) => panic!("{text}: {error}"),
        }
    }

    #[test]
    fn no_key_stands_twice() {
        for text in [
            "null",
            r#"[true, -1, 18446744073709551615, 1.5, "a"]"#,
            r#"{"a": {"b": 1}, "b": [{"b": 1}, {"b": 2}]}"#,
        ] {
            assert_eq!(twice(text), None, "{text}");
        }
        for (text, name) in [
            (r#"{"a": 1, "a": 1}"#, "a"),
            (r#"{"a": 1, "\u0061": 1}"#, "a"),
            (r#"{"": 1, "": 2, "c": 3}"#, ""),
            (r#"[1, {"x": [{"b": 1, "c": 2, "b": 3}]}, {"d": 1}]"#, "b"),
        ] {
            assert_eq!(twice(text).as_deref(), Some(name), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place() {
        for text in ["", "{", "{}x", r#"{"a"}"#, &"[".repeat(100_000)] {
            let found = parse(text, "x");
            assert!(
                matches!(
                    found,
                    Err(GenerateError::Invalid { problem: Invalid::Json { line: 1.., .. }, .. })
                ),
                "{found:?}"
            );
        }
    }
}
