// SPDX-License-Identifier: Apache-2.0
//! How texts are spelt for people: on one line, every character seen.

use std::fmt::Write as _;
use std::ops::Range;
use std::ops::RangeInclusive;

use toml::de::DeTable;
use toml::de::DeValue;

/// Whether a character does not show as itself: controls, directions of writing, joiners, blanks of
/// other widths, separators of lines, and characters of private use.
///
/// The list is this crate's own (Unicode 16: Cc, Cf, Co, Zl, Zp, Zs but for the space, and the blanks
/// among letters and symbols), so that the canonical form does not change with a library's.
///
/// # Security
///
/// E19: such a character in front of a reader's eyes makes a text look like another.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    !(' '..='~').contains(&c) && HIDDEN.iter().any(|range| range.contains(&c))
}

/// A text as a basic string of TOML on one line (TOML 1.0, section "String").
pub(crate) fn basic_string(text: &str) -> String {
    let mut out = String::with_capacity(text.len().saturating_add(2));
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_hidden(c) => {
                let code = u32::from(c);
                let _ = match code {
                    ..=0xffff => write!(out, "\\u{code:04X}"),
                    _ => write!(out, "\\U{code:08X}"),
                };
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A value of TOML with every string in it, and every quoted key, as [`basic_string`] spells it.
pub(crate) fn with_basic_strings(value: &str) -> String {
    let mut strings = Vec::new();
    if let Ok(parsed) = DeValue::parse(value) {
        collect(parsed.get_ref(), parsed.span(), value, &mut strings);
    }
    strings.sort_by_key(|(place, _)| place.start);
    let mut out = String::with_capacity(value.len());
    let mut done = 0;
    for (place, spelt) in strings {
        out.push_str(value.get(done..place.start).unwrap_or_default());
        out.push_str(&spelt);
        done = place.end;
    }
    out.push_str(value.get(done..).unwrap_or_default());
    out
}

type Strings = Vec<(Range<usize>, String)>;

fn collect(value: &DeValue<'_>, place: Range<usize>, text: &str, strings: &mut Strings) {
    match value {
        DeValue::String(string) => strings.push((place, basic_string(string))),
        DeValue::Array(items) => {
            for item in items {
                collect(item.get_ref(), item.span(), text, strings);
            }
        }
        DeValue::Table(table) => collect_table(table, text, strings),
        _ => {}
    }
}

fn collect_table(table: &DeTable<'_>, text: &str, strings: &mut Strings) {
    for (key, value) in table {
        let place = key.span();
        if text.get(place.clone()).is_some_and(|key| key.starts_with(['"', '\''])) {
            strings.push((place, basic_string(key.get_ref())));
        }
        collect(value.get_ref(), value.span(), text, strings);
    }
}

const HIDDEN: &[RangeInclusive<char>] = &[
    '\0'..='\u{1f}',
    '\u{7f}'..='\u{a0}',
    '\u{ad}'..='\u{ad}',
    '\u{34f}'..='\u{34f}',
    '\u{600}'..='\u{605}',
    '\u{61c}'..='\u{61c}',
    '\u{6dd}'..='\u{6dd}',
    '\u{70f}'..='\u{70f}',
    '\u{890}'..='\u{891}',
    '\u{8e2}'..='\u{8e2}',
    '\u{115f}'..='\u{1160}',
    '\u{1680}'..='\u{1680}',
    '\u{17b4}'..='\u{17b5}',
    '\u{180b}'..='\u{180f}',
    '\u{2000}'..='\u{200f}',
    '\u{2028}'..='\u{202f}',
    '\u{205f}'..='\u{206f}',
    '\u{2800}'..='\u{2800}',
    '\u{3000}'..='\u{3000}',
    '\u{3164}'..='\u{3164}',
    '\u{e000}'..='\u{f8ff}',
    '\u{fe00}'..='\u{fe0f}',
    '\u{feff}'..='\u{feff}',
    '\u{ffa0}'..='\u{ffa0}',
    '\u{fff0}'..='\u{fffb}',
    '\u{110bd}'..='\u{110bd}',
    '\u{110cd}'..='\u{110cd}',
    '\u{13430}'..='\u{1343f}',
    '\u{1bca0}'..='\u{1bca3}',
    '\u{1d173}'..='\u{1d17a}',
    '\u{e0000}'..='\u{10ffff}',
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_are_spelt_out() {
        assert_eq!(basic_string("a b\"\\\t\r\n"), r#""a b\"\\\t\r\n""#);
        assert_eq!(
            basic_string("\u{202e}\u{2066}\u{200b}\u{85}\u{2028}\u{7f}\0"),
            r#""\u202E\u2066\u200B\u0085\u2028\u007F\u0000""#
        );
        assert_eq!(basic_string("\u{a0}\u{feff}\u{e0041}"), r#""\u00A0\uFEFF\U000E0041""#);
        assert_eq!(basic_string("Größe 数 é ~"), "\"Größe 数 é ~\"");
        for c in ' '..='~' {
            assert!(!is_hidden(c), "{c}");
        }
    }

    #[test]
    fn every_string_of_a_value_is_spelt_anew() {
        let value = "[{ a = '''x\n\ty''', 'k\u{200b}' = ['\\', 1, true] }, \"\"\"\nz\n\"\"\"]";
        assert_eq!(
            with_basic_strings(value),
            r#"[{ a = "x\n\ty", "k\u200B" = ["\\", 1, true] }, "z\n"]"#
        );
        assert_eq!(with_basic_strings("{ limit = 5 }"), "{ limit = 5 }");
    }
}
