// SPDX-License-Identifier: Apache-2.0
//! JSON in which no key stands twice: a reader of the list and this program must not see different
//! requests.

use std::fmt;

use serde::Deserialize;
use serde::Deserializer;
use serde::de::Error as _;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;
use serde_json::Map;
use serde_json::Number;
use serde_json::Value;

/// A value whose objects have each key once.
pub(super) struct Strict(Value);

/// Reads a list of objects.
pub(super) fn objects(text: &str) -> Result<Vec<Map<String, Value>>, serde_json::Error> {
    let Strict(value) = serde_json::from_str(text)?;
    serde_json::from_value(value)
}

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Strict(item)) = list.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(A::Error::custom(format_args!("the key {key:?} stands there twice")));
            }
            let Strict(value) = map.next_value()?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_serde_json_reads() {
        for text in [
            "[]",
            r#"[{"a": null, "b": [true, -1, 18446744073709551615, 1.5, "x\n"], "c": {"a": {}}}]"#,
        ] {
            let plain: Vec<Map<String, Value>> = serde_json::from_str(text).unwrap();
            assert_eq!(objects(text).unwrap(), plain);
        }
    }

    #[test]
    fn no_key_stands_twice() {
        for text in [
            r#"[{"a": 1, "a": 1}]"#,
            r#"[{"a": [{"b": {"c": 1, "d": 2, "\u0063": 3}}]}]"#,
            r#"[{"": 1, "": 2}]"#,
        ] {
            let error = objects(text).err().unwrap().to_string();
            assert!(error.contains("stands there twice"), "{error}");
        }
        for text in ["", "{}", "[1]", "[{}", "[{}]x", "[{\"a\"}]"] {
            assert!(objects(text).is_err(), "{text}");
        }
        assert!(objects(&"[".repeat(100_000)).is_err());
    }
}
