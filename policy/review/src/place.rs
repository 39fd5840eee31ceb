// SPDX-License-Identifier: Apache-2.0
//! Where the fields of a document stand in its text.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde::Serialize;
use toml::de::DeTable;
use toml::de::DeValue;

/// The places of the fields of one TOML text.
#[derive(Debug, Clone, Default)]
pub struct Places {
    text: String,
    /// By the path as [`casemate_policy::FieldPath`] and denials write it.
    spans: BTreeMap<String, Span>,
}

#[derive(Debug, Clone)]
struct Span {
    /// The key; the value for an entry of a list.
    key: Range<usize>,
    /// What to point at.
    shown: Range<usize>,
}

/// One place in a text: a line of it and the part that is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The field that stands there: the one that was asked for, or what it belongs to.
    pub field: String,
    /// Line, from 1.
    pub line: usize,
    /// Characters in front of the part that is meant, in `text`.
    pub column: usize,
    /// Length of that part in characters, at least 1.
    pub length: usize,
    /// The line, without characters that drive a terminal, cut around the part where it is long.
    pub text: String,
}

impl Places {
    /// Reads a text. One that is no TOML has no places.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let mut spans = BTreeMap::new();
        if let Ok(table) = DeTable::parse(text) {
            collect_table("", table.get_ref(), &mut spans);
        }
        Self { text: text.to_owned(), spans }
    }

    /// Shows a row of stars in place of a field's value from here on, whatever its length.
    pub fn hide(&mut self, field: &str) {
        let Some(span) = self.spans.get(field) else { return };
        let (Some(before), Some(value), Some(after)) = (
            self.text.get(..span.shown.start),
            self.text.get(span.shown.clone()),
            self.text.get(span.shown.end..),
        ) else {
            return;
        };
        // As many bytes and lines as before, so that every place stays where it is.
        let mask = |byte| if byte == b'\n' { '\n' } else { MASK };
        self.text = format!("{before}{}{after}", value.bytes().map(mask).collect::<String>());
    }

    /// The place of a field such as `containers.web.argv[2]`; where the text has no such field, the
    /// place of the nearest thing that it would belong to.
    #[must_use]
    pub fn find(&self, field: &str) -> Option<Place> {
        let mut field = field;
        loop {
            if let Some(span) = self.spans.get(field) {
                return self.place(field, span);
            }
            let end = field.rfind(['.', '['])?;
            field = field.get(..end)?;
        }
    }

    /// A line by its number, from 1.
    #[must_use]
    pub fn line(&self, line: usize) -> Option<Place> {
        let text = self.text.lines().nth(line.checked_sub(1)?)?;
        let start = text.len() - text.trim_start().len();
        Some(excerpt("", line, text, start..text.len()))
    }

    fn place(&self, field: &str, span: &Span) -> Option<Place> {
        // A value of several lines is shown by its key.
        let one_line = self.text.get(span.shown.clone()).is_some_and(|text| !text.contains('\n'));
        let shown = if one_line { &span.shown } else { &span.key };
        let before = self.text.get(..shown.start)?;
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        let line = self.text.get(line_start..)?.lines().next().unwrap_or_default();
        let end = shown.end.min(line_start + line.len());
        let number = before.matches('\n').count() + 1;
        Some(excerpt(field, number, line, shown.start - line_start..end.saturating_sub(line_start)))
    }
}

fn collect_table(path: &str, table: &DeTable<'_>, spans: &mut BTreeMap<String, Span>) {
    for (key, value) in table {
        let name = key.get_ref();
        let path = if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
        collect_value(&path, key.span(), value.span(), value.get_ref(), spans);
    }
}

fn collect_value(
    path: &str,
    key: Range<usize>,
    span: Range<usize>,
    value: &DeValue<'_>,
    spans: &mut BTreeMap<String, Span>,
) {
    // A table's own span covers its header at best: its name says more.
    let shown = if value.is_table() && key != span { key.clone() } else { span };
    spans.insert(path.to_owned(), Span { key, shown });
    match value {
        DeValue::Table(table) => collect_table(path, table, spans),
        DeValue::Array(array) => {
            for (index, item) in array.iter().enumerate() {
                let span = item.span();
                let path = format!("{path}[{index}]");
                collect_value(&path, span.clone(), span, item.get_ref(), spans);
            }
        }
        _ => {}
    }
}

/// Cuts a line around a part of it, both in bytes.
fn excerpt(field: &str, line: usize, text: &str, part: Range<usize>) -> Place {
    let before = unmasked(text.get(..part.start).unwrap_or_default());
    let marked = unmasked(text.get(part.clone()).unwrap_or_default());
    let after = unmasked(text.get(part.end..).unwrap_or_default());
    let (column, length) = (before.chars().count(), marked.chars().count());
    let text = format!("{before}{marked}{after}");
    let skipped =
        if column + length.min(SHOWN / 2) > SHOWN { column.saturating_sub(SHOWN / 4) } else { 0 };
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let mut shown: String = text.chars().skip(skipped).take(SHOWN).map(plain).collect();
    let mut column = column - skipped;
    if skipped > 0 {
        shown.insert(0, '…');
        column += 1;
    }
    if text.chars().count() > skipped + SHOWN {
        shown.push('…');
    }
    let length = length.clamp(1, shown.chars().count().saturating_sub(column).max(1));
    Place { field: field.to_owned(), line, column, length, text: shown }
}

/// The text with the same few stars for each part that is masked.
fn unmasked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut last = None;
    for c in text.chars() {
        match (c, last) {
            (MASK, Some(MASK)) => {}
            (MASK, _) => out.push_str("***"),
            _ => out.push(c),
        }
        last = Some(c);
    }
    out
}

/// The line with a row of carets below the part that is meant.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.to_string();
        let (margin, width) = (" ", number.len());
        writeln!(f, "{margin:>width$} |")?;
        writeln!(f, "{number} | {}", self.text)?;
        let (before, carets) = (" ".repeat(self.column), "^".repeat(self.length));
        write!(f, "{margin:>width$} | {before}{carets}")
    }
}

/// Stands for each byte of what is hidden. No text of TOML has it.
const MASK: char = '\u{1}';
/// Most characters of a line that are shown.
const SHOWN: usize = 110;

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"version = 1

[containers.web]
argv = ["/bin/web", "--port", "8443"]
user = { uid = 1000, gid = 7 }
env = [
    { name = "A", value = "x" },
    { name = "ÄÖ", value = "y" },
]

[volumes.conf.files]
"app.conf" = "sha256:aa"
"#;

    fn check(field: &str, found: &str, line: usize, marked: &str) {
        let place = Places::read(TEXT).find(field).unwrap();
        assert_eq!((place.field.as_str(), place.line), (found, line), "{field}");
        let part: String = place.text.chars().skip(place.column).take(place.length).collect();
        assert_eq!(part, marked, "{field}");
    }

    #[test]
    fn finds_fields_and_what_they_belong_to() {
        check("version", "version", 1, "1");
        check("containers.web", "containers.web", 3, "web");
        check("containers.web.argv[1]", "containers.web.argv[1]", 4, "\"--port\"");
        check(
            "containers.web.argv",
            "containers.web.argv",
            4,
            "[\"/bin/web\", \"--port\", \"8443\"]",
        );
        check(
            "containers.web.argv[7]",
            "containers.web.argv",
            4,
            "[\"/bin/web\", \"--port\", \"8443\"]",
        );
        check("containers.web.user.gid", "containers.web.user.gid", 5, "7");
        // Several lines: by the name.
        check("containers.web.env", "containers.web.env", 6, "env");
        check("containers.web.env[1].value", "containers.web.env[1].value", 8, "\"y\"");
        check("containers.web.signals[0]", "containers.web", 3, "web");
        check("volumes.conf.files.app.conf", "volumes.conf.files.app.conf", 12, "\"sha256:aa\"");
        assert!(Places::read(TEXT).find("sandbox.hostname").is_none());
        assert!(Places::read("no toml").find("version").is_none());
    }

    #[test]
    fn shows_carets_below_the_part() {
        let place = Places::read(TEXT).find("containers.web.argv[1]").unwrap();
        assert_eq!(
            place.to_string(),
            "  |\n4 | argv = [\"/bin/web\", \"--port\", \"8443\"]\n  |                     ^^^^^^^^"
        );
    }

    #[test]
    fn what_is_hidden_is_never_shown() {
        let mut places = Places::read(
            "env = [{ name = \"A\", value = \"geheim-ß\" }, { name = \"B\", value = \"x\" }]\n\
             more = \"\"\"\ngeheim\n\"\"\"\nlast = 1\n",
        );
        places.hide("env[0].value");
        places.hide("more");
        places.hide("absent");
        for (field, marked) in
            [("env[0].name", "\"A\""), ("env[0].value", "***"), ("env[1].value", "\"x\"")]
        {
            let place = places.find(field).unwrap();
            assert!(place.text.contains("value = ***") && !place.text.contains("geheim"));
            let part: String = place.text.chars().skip(place.column).take(place.length).collect();
            assert_eq!(part, marked);
        }
        assert_eq!(places.find("more").unwrap().text, "more = ***");
        assert_eq!(places.line(3).unwrap().text, "***");
        assert_eq!(places.find("last").unwrap().line, 5);
    }

    #[test]
    fn a_long_line_is_cut_and_drives_no_terminal() {
        let long =
            format!("x = [\"{}\", \"here\\u001b\", \"{}\"]", "a".repeat(500), "b".repeat(500));
        let place = Places::read(&long).find("x[1]").unwrap();
        assert!(place.text.chars().count() <= SHOWN + 2);
        let part: String = place.text.chars().skip(place.column).take(place.length).collect();
        assert_eq!(part, "\"here\\u001b\"");
        // E19: a comment of the document with an escape in it.
        let evil = Places::read("# x\n\ty = 1").line(2).unwrap();
        assert!(!evil.text.chars().any(char::is_control));
    }
}
