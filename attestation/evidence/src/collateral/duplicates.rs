// SPDX-License-Identifier: Apache-2.0
//! JSON text in which some object has a member twice is refused, also in members that are not read
//! (D7): two readers of it could see two documents.
//!
//! This only looks at where names stand; that the text is JSON at all, the parser that follows
//! checks.

use serde::de::Error as _;

/// Fails on the first member that its object already has, and on a name with an escape, which could
/// spell one that is there.
pub(super) fn refuse(json: &str) -> Result<(), serde_json::Error> {
    let mut open = Open::default();
    let mut rest = json.as_bytes();
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
