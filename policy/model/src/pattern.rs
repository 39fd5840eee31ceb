// SPDX-License-Identifier: Apache-2.0
//! Regular expressions that always cover the whole text.

mod automaton;

use std::fmt;

use regex_lite::Regex;
use serde::Deserialize;
use serde::Serialize;

use automaton::Automaton;

/// A regular expression that matches whole texts only.
///
/// # Security
///
/// A9: the text of the pattern is compiled between `\A(?:` and `)\z`, so a forgotten anchor, `(?m)`
/// or an alternative at the top level cannot let a longer text through. Matching takes time linear
/// in the text: neither engine backtracks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern {
    text: String,
    compiled: Compiled,
}

#[derive(Debug, Clone)]
enum Compiled {
    /// The text is its own only match, and is compared.
    Literal,
    Regex {
        /// Answers first, where it has an answer.
        automaton: Option<Automaton>,
        engine: Regex,
    },
}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    ///
    /// The text is over its cap or no regular expression.
    pub fn new(text: &str) -> Result<Self, BadPattern> {
        if text.len() > MAX_PATTERN {
            return Err(BadPattern::TooLong);
        }
        if !text.contains(SPECIAL) {
            return Ok(Self { text: text.to_owned(), compiled: Compiled::Literal });
        }
        // On its own first: `a)|(?:b` is only well-formed inside the group.
        Regex::new(text).map_err(|source| BadPattern::Syntax { source })?;
        let anchored = format!(r"\A(?:{text})\z");
        let engine = Regex::new(&anchored).map_err(|source| BadPattern::Syntax { source })?;
        let compiled = Compiled::Regex { automaton: Automaton::new(text), engine };
        Ok(Self { text: text.to_owned(), compiled })
    }

    /// The pattern that matches one text only.
    ///
    /// # Errors
    ///
    /// The text is over its cap.
    pub fn literal(text: &str) -> Result<Self, BadPattern> {
        Self::new(&escape(text))
    }

    /// The pattern as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// A text that matches, as short as any, if the pattern is one of those whose texts are easily told.
    #[must_use]
    pub fn example(&self) -> Option<String> {
        match &self.compiled {
            Compiled::Literal => Some(self.text.clone()),
            Compiled::Regex { automaton, .. } => {
                automaton.as_ref()?.shortest().filter(|text| self.matches(text))
            }
        }
    }

    /// Whether the whole text matches.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match &self.compiled {
            Compiled::Literal => self.text == text,
            Compiled::Regex { automaton, engine } => {
                let quick = automaton.as_ref().and_then(|automaton| automaton.matches(text));
                let Some(found) = quick else { return engine.is_match(text) };
                debug_assert_eq!(found, engine.is_match(text), "{self} {text:?}");
                found
            }
        }
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for Pattern {
    type Error = BadPattern;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.text
    }
}

/// Why a text is no pattern.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum BadPattern {
    /// The text is no regular expression.
    #[error("not a regular expression: {source}")]
    Syntax {
        /// What the engine says.
        source: regex_lite::Error,
    },
    /// The text is over the cap.
    #[error("the pattern is longer than {MAX_PATTERN} bytes")]
    TooLong,
}

/// The text with a backslash before each special character; the others are left alone, for whoever reads
/// the policy.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if SPECIAL.contains(&c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// The characters that mean something outside brackets.
const SPECIAL: [char; 14] = ['\\', '.', '+', '*', '?', '(', ')', '|', '[', ']', '{', '}', '^', '$'];
/// Longest pattern in bytes.
const MAX_PATTERN: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, text: &str, expected: bool) {
        assert_eq!(Pattern::new(pattern).unwrap().matches(text), expected, "{pattern} on {text:?}");
    }

    #[test]
    fn matches_whole_texts_only() {
        // A9: regex not anchored
        check("PREFIX_.+", "PREFIX_a", true);
        check("PREFIX_.+", "xPREFIX_a", false);
        check("PREFIX_.+", "PREFIX_a\nY=z", false);
        check("a|b", "ab", false);
        check("a|b", "b", true);
        check("(?m)^a$", "a\nb", false);
        check("a$", "a\n", false);
        check("", "", true);
        check("", "x", false);
    }

    #[test]
    fn a_literal_matches_itself_only() {
        let pattern = Pattern::literal("a.b-(c)").unwrap();
        assert!(pattern.matches("a.b-(c)"));
        assert!(!pattern.matches("axb-(c)"));
        assert_eq!(Pattern::literal("web-0 #&~").unwrap().as_str(), "web-0 #&~");
        for code in (0..=0x7f_u8).chain([0x80, 0xff]) {
            let text = char::from(code).to_string();
            let pattern = Pattern::literal(&text).unwrap();
            let others = (0..=0xff_u8).map(|c| char::from(c).to_string()).filter(|c| *c != text);
            assert!(pattern.matches(&text), "{text:?}");
            assert!(!others.into_iter().any(|other| pattern.matches(&other)), "{text:?}");
        }
    }

    #[test]
    fn rejects_what_would_leave_the_group() {
        for text in ["a)|(?:b", "(?x)a #", "(", "[z-a]", &"a".repeat(MAX_PATTERN + 1)] {
            assert!(Pattern::new(text).is_err(), "{text}");
        }
    }
}
