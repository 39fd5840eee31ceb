// SPDX-License-Identifier: Apache-2.0
//! Texts of a record: bounded, and of characters that do not drive a terminal.

use std::fmt;
use std::fmt::Write as _;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;

/// A text of at most `MAX` bytes without control and format characters.
///
/// # Security
///
/// E20: the host's words cannot look like another line of the log.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Text<const MAX: usize>(String);

impl<const MAX: usize> Text<MAX> {
    /// `text`, escaped and shortened: a cut text ends in `…`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let room = MAX.saturating_sub(CUT.len());
        let mut out = String::new();
        // Where the text is cut should the rest not fit.
        let mut cut = 0;
        for c in text.chars() {
            let _ =
                if is_plain(c) { out.write_char(c) } else { write!(out, "{}", c.escape_unicode()) };
            if out.len() <= room {
                cut = out.len();
            }
            if out.len() > MAX {
                out.truncate(cut);
                out.push_str(CUT);
                break;
            }
        }
        Self(out)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn is_valid(text: &str) -> bool {
        text.len() <= MAX && text.chars().all(is_plain)
    }
}

impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<const MAX: usize> fmt::Debug for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Text<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if Self::is_valid(&text) {
            Ok(Self(text))
        } else {
            Err(serde::de::Error::custom("a text is too long or has a control character"))
        }
    }
}

/// Whether a character shows as itself and changes nothing around it.
fn is_plain(c: char) -> bool {
    let is_format = matches!(
        c,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    );
    !c.is_control() && !is_format
}

/// Stands for what was cut off.
const CUT: &str = "…";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn short_plain_text_stays() {
        assert_eq!(Text::<16>::new("container-1_ü").as_str(), "container-1_ü");
        assert_eq!(Text::<3>::new("abc").as_str(), "abc");
        assert_eq!(Text::<3>::new("").as_str(), "");
    }

    #[test]
    fn long_text_is_cut() {
        assert_eq!(Text::<8>::new("0123456789").as_str(), "01234…");
        assert_eq!(Text::<8>::new("01234567").as_str(), "01234567");
        assert_eq!(Text::<8>::new("üüüüüüü").as_str(), "üü…");
    }

    #[test]
    fn what_drives_a_terminal_is_escaped() {
        // E20: a line feed, an escape sequence and a change of direction.
        assert_eq!(
            Text::<64>::new("a\nb\u{1b}[2J\u{202e}c").as_str(),
            "a\\u{a}b\\u{1b}[2J\\u{202e}c"
        );
    }

    proptest! {
        #[test]
        fn any_text_becomes_a_valid_one(text in any::<String>()) {
            let short = Text::<24>::new(&text);
            prop_assert!(Text::<24>::is_valid(short.as_str()), "{short}");
            let json = serde_json::to_string(&short).unwrap();
            prop_assert_eq!(serde_json::from_str::<Text<24>>(&json).unwrap(), short);
        }

        #[test]
        fn only_valid_texts_are_read(text in any::<String>()) {
            let json = serde_json::to_string(&text).unwrap();
            let read = serde_json::from_str::<Text<8>>(&json);
            prop_assert_eq!(read.is_ok(), text.len() <= 8 && text.chars().all(is_plain));
        }
    }
}
