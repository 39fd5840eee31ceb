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
    let mut open: Vec<Level<'_>> = Vec::new();
    let mut rest = json.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'{' | b'[' => {
                if open.len() == MAX_DEPTH {
                    return Err(serde_json::Error::custom("nested too deep"));
                }
                let names = (*byte == b'{').then(Vec::new);
                open.push(Level { names, name_next: true });
            }
            b'}' | b']' => drop(open.pop()),
            b',' => {
                if let Some(level) = open.last_mut() {
                    level.name_next = true;
                }
            }
            b'"' => {
                let text = string(rest);
                rest = rest.get(text.len().saturating_add(1)..).unwrap_or_default();
                if let Some(level) = open.last_mut() {
                    level.take(text)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// An object that has not ended, or a list.
struct Level<'a> {
    /// Names so far; none for a list.
    names: Option<Vec<&'a [u8]>>,
    name_next: bool,
}

impl<'a> Level<'a> {
    /// Takes a string: a member's name where one belongs, else a value.
    fn take(&mut self, text: &'a [u8]) -> Result<(), serde_json::Error> {
        let Some(names) = self.names.as_mut().filter(|_| self.name_next) else { return Ok(()) };
        self.name_next = false;
        let refuse = |why| Err(serde_json::Error::custom(why));
        if text.contains(&b'\\') {
            return refuse("a member's name has an escape");
        }
        if names.contains(&text) {
            return refuse("a member is there twice");
        }
        if names.len() == MAX_MEMBERS {
            return refuse("an object has too many members");
        }
        names.push(text);
        Ok(())
    }
}

/// The inside of a string whose opening quote was read, up to the closing one.
fn string(rest: &[u8]) -> &[u8] {
    let mut escaped = false;
    let end = rest.iter().position(|byte| match (escaped, byte) {
        (true, _) => {
            escaped = false;
            false
        }
        (false, b'\\') => {
            escaped = true;
            false
        }
        (false, byte) => *byte == b'"',
    });
    rest.get(..end.unwrap_or(rest.len())).unwrap_or_default()
}

/// Most members of one object: the search for duplicates is quadratic.
const MAX_MEMBERS: usize = 64;
/// Deepest nesting. Intel's documents have six levels.
const MAX_DEPTH: usize = 32;
