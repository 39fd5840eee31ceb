// SPDX-License-Identifier: Apache-2.0
//! JSON in which no object has a member twice.
//!
//! D7, D21: of two members with one name, one reader sees the first and another the last, so that
//! whoever wrote them could say one thing to each. A typed reader notices a member twice that it
//! knows; this looks at all of them, also at those that are not read and those of free-form objects.

use serde::Deserialize;
use serde::de::Error as _;

/// Reads one JSON value and nothing behind it, after [`refuse_duplicates`].
///
/// # Errors
///
/// The bytes are no JSON, not what `T` is read from, or refused.
pub fn from_slice<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, serde_json::Error> {
    refuse_duplicates(json)?;
    serde_json::from_slice(json)
}

/// Looks only at where names stand; that the text is JSON at all, the parser that follows checks.
///
/// # Errors
///
/// An object has a member twice or over 64 of them, a name has an escape, which could spell one that
/// is there, or is one that the parser takes for its own, or the nesting is over 32 levels deep.
pub fn refuse_duplicates(json: &[u8]) -> Result<(), serde_json::Error> {
    let mut open = Open::default();
    let mut rest = json;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'"' => {
                let text = string(rest);
                rest = rest.get(text.len().saturating_add(1)..).unwrap_or_default();
                open.take(text)?;
            }
            b',' => open.name_next = true,
            b'{' => open.begin(Kind::Object)?,
            b'[' => open.begin(Kind::List)?,
            b'}' | b']' => open.end(),
            _ => {}
        }
    }
    Ok(())
}

/// The objects and lists that have not ended. Documents have thousands of objects with two or three
/// members each, so that the names of all that are open share one list.
#[derive(Default)]
struct Open<'a> {
    names: Vec<&'a [u8]>,
    levels: Vec<Level>,
    /// Whether the next string in an object is a member's name.
    name_next: bool,
}

struct Level {
    kind: Kind,
    /// Where its names begin.
    first: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Object,
    List,
}

impl<'a> Open<'a> {
    fn begin(&mut self, kind: Kind) -> Result<(), serde_json::Error> {
        if self.levels.len() == MAX_DEPTH {
            return Err(serde_json::Error::custom("nested too deep"));
        }
        self.levels.push(Level { kind, first: self.names.len() });
        self.name_next = true;
        Ok(())
    }

    fn end(&mut self) {
        if let Some(level) = self.levels.pop() {
            self.names.truncate(level.first);
        }
        self.name_next = false;
    }

    /// Takes a string: a member's name where one belongs, else a value.
    fn take(&mut self, text: &'a [u8]) -> Result<(), serde_json::Error> {
        let Some(Level { kind: Kind::Object, first }) = self.levels.last() else { return Ok(()) };
        if !std::mem::take(&mut self.name_next) {
            return Ok(());
        }
        let refuse = |why| Err(serde_json::Error::custom(why));
        if text.contains(&b'\\') {
            return refuse("a member's name has an escape");
        }
        if text.starts_with(PARSERS_OWN) {
            return refuse("a member's name is one of the parser's own");
        }
        let names = self.names.get(*first..).unwrap_or_default();
        if names.contains(&text) {
            return refuse("a member is there twice");
        }
        if names.len() == MAX_MEMBERS {
            return refuse("an object has too many members");
        }
        self.names.push(text);
        Ok(())
    }
}

/// The inside of a string whose opening quote was read, up to the closing one.
fn string(rest: &[u8]) -> &[u8] {
    let mut end = 0_usize;
    let mut after = rest;
    while let Some(length) = after.iter().position(|byte| matches!(byte, b'"' | b'\\')) {
        end = end.saturating_add(length);
        if after.get(length) == Some(&b'"') {
            return rest.get(..end).unwrap_or_default();
        }
        // What stands behind a backslash belongs to it.
        end = end.saturating_add(2);
        after = rest.get(end..).unwrap_or_default();
    }
    rest
}

/// Most members of one object: the search for duplicates is quadratic.
const MAX_MEMBERS: usize = 64;
/// Deepest nesting. Intel's documents have six levels.
const MAX_DEPTH: usize = 32;
/// How names begin by which `serde_json` tells its readers that a text is to be read as JSON again:
/// objects in such a text would not be looked at here.
const PARSERS_OWN: &[u8] = b"$serde_json::";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn reads_what_the_usual_parser_reads() {
        for text in [
            r#"{"a":[1,-2,2.5,"x\n",null,true,{"b":{}}],"c":18446744073709551615,"d":{"a":1}}"#,
            r#"[{"a":1},{"a":1},"a","a"]"#,
            r#"{"a":"\"a\":1,\"a\":1","b":"\\"}"#,
            "\"\\u00e4\"",
        ] {
            let usual: Value = serde_json::from_str(text).unwrap();
            assert_eq!(from_slice::<Value>(text.as_bytes()).unwrap(), usual);
        }
    }

    #[test]
    fn refuses_duplicates_at_any_depth_and_what_follows() {
        // D7
        for bad in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"[{"x":{"a":null,"b":0,"a":null}}]"#,
            r#"{"a":{"b":1},"c":[{"a":1}],"a":1}"#,
            r#"{ "a" : 1 , "a" : 1 }"#,
            r#"{"$serde_json::private::RawValue":"{\"a\":1,\"a\":2}"}"#,
            "{} {}",
            "{},",
            "",
        ] {
            assert!(from_slice::<Value>(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(from_slice::<Value>("[".repeat(100_000).as_bytes()).is_err());
        let object = |members: usize| {
            let members: Vec<_> = (0..members).map(|number| format!("\"{number}\":0")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(from_slice::<Value>(object(MAX_MEMBERS).as_bytes()).is_ok());
        assert!(from_slice::<Value>(object(MAX_MEMBERS + 1).as_bytes()).is_err());
    }

    /// Names that collide often, and values that look like names.
    fn documents() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![Just("1".to_owned()), "\"[ab,:{}]{0,2}\"".prop_map(|text| text)];
        leaf.prop_recursive(4, 24, 4, |inner| {
            let member = ("[abc]", inner.clone());
            prop_oneof![
                proptest::collection::vec(inner, 0..4).prop_map(|l| format!("[{}]", l.join(","))),
                proptest::collection::vec(member, 0..4).prop_map(|members| {
                    let members: Vec<_> =
                        members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
                    format!("{{{}}}", members.join(", "))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_a_reader_that_keeps_every_member(text in documents()) {
            // The usual parser keeps the last of two, so that writing gives fewer of them.
            let usual: Value = serde_json::from_str(&text).unwrap();
            let colons = |text: &str| text.matches("\":").count();
            // A colon or quote in a value is written as it came.
            let lost = colons(&usual.to_string()) != colons(&text);
            prop_assert_eq!(refuse_duplicates(text.as_bytes()).is_err(), lost, "{}", text);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = from_slice::<Value>(&bytes);
        }
    }
}
