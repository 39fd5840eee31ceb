// SPDX-License-Identifier: Apache-2.0
//! Reading YAML: documents one after the other, each byte of the text in exactly one of them.

use serde_json::Value;
use serde_saphyr::Error;

use crate::error::GenerateError;
use crate::error::YamlProblem;

/// One document of a text, with what stands around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chunk<'a> {
    /// Comments and the line `---` before the document.
    pub(crate) head: &'a str,
    /// The document.
    pub(crate) body: &'a str,
    /// Lines of the text before `body`.
    pub(crate) lines_before: u64,
}

/// Splits a text into its documents. Head and body of all, one after the other, are the text.
pub(crate) fn split(text: &str) -> Vec<Chunk<'_>> {
    // A document begins at the text's start and at each line `---`; what stands before the first such
    // line and holds comments only belongs to the document after it.
    let mut starts = Vec::new();
    let mut begun = false;
    let mut at = 0_usize;
    let mut start = 0_usize;
    for line in text.split_inclusive('\n') {
        if is_marker(line) {
            if begun {
                starts.push(start);
                start = at;
            }
            begun = true;
        } else if holds_content(line) {
            begun = true;
        }
        at = at.saturating_add(line.len());
    }
    starts.push(start);
    let ends = starts.iter().copied().skip(1).chain([text.len()]);
    let mut lines_before = 0_u64;
    let mut chunks = Vec::new();
    for (start, end) in starts.iter().copied().zip(ends) {
        let chunk = text.get(start..end).unwrap_or_default();
        let (head, body) = chunk.split_at(head_length(chunk));
        lines_before = lines_before.saturating_add(lines(head));
        chunks.push(Chunk { head, body, lines_before });
        lines_before = lines_before.saturating_add(lines(body));
    }
    chunks
}

/// Parses one document; null for one without content.
pub(crate) fn parse(body: &str, lines_before: u64) -> Result<Value, GenerateError> {
    if !body.lines().any(holds_content) {
        return Ok(Value::Null);
    }
    // YAML 1.1, which Kubernetes reads: 0644 is 420.
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    serde_saphyr::from_str_with_options(body, options)
        .map_err(|error| explain(&error, lines_before))
}

/// Bytes before the document: lines up to and with a line `---` that holds nothing else.
fn head_length(chunk: &str) -> usize {
    let mut length = 0_usize;
    for line in chunk.split_inclusive('\n') {
        if is_marker(line) {
            let rest = line.get(3..).unwrap_or_default().trim();
            let bare = rest.is_empty() || rest.starts_with('#');
            return if bare { length.saturating_add(line.len()) } else { 0 };
        }
        if holds_content(line) || line.starts_with('%') {
            break;
        }
        length = length.saturating_add(line.len());
    }
    0
}

/// A line `---`, which stands at the left margin and nowhere inside a document.
fn is_marker(line: &str) -> bool {
    line.strip_prefix("---")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Whether a line holds more than blanks, a comment, a directive or an end mark.
fn holds_content(line: &str) -> bool {
    let text = line.trim();
    let nothing = text.is_empty() || text.starts_with('#');
    let mark = line.starts_with('%') || line.trim_end() == "..." || line.trim_end() == "---";
    !nothing && !mark
}

fn lines(text: &str) -> u64 {
    u64::try_from(text.matches('\n').count()).unwrap_or(u64::MAX)
}

/// Says what is wrong in words of ours: a library's change with its version.
fn explain(error: &Error, lines_before: u64) -> GenerateError {
    let error = error.without_snippet();
    let (line, column) = match error.location() {
        Some(place) if place.line() > 0 => {
            (place.line().saturating_add(lines_before), place.column())
        }
        _ => (0, 0),
    };
    let problem = match error {
        Error::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().unwrap_or_default();
            YamlProblem::DuplicateKey { key: key.chars().take(MAX_SHOWN).collect() }
        }
        Error::MultipleDocuments { .. } => YamlProblem::SecondDocument,
        Error::UnknownAnchor { .. }
        | Error::RecursiveReferencesRequireWeakTypes { .. }
        | Error::AliasError { .. } => YamlProblem::Alias,
        Error::Budget { .. }
        | Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => YamlProblem::TooComplex,
        Error::NonFiniteFloat { .. }
        | Error::InvalidBinaryBase64 { .. }
        | Error::BinaryNotUtf8 { .. }
        | Error::MergeValueNotMapOrSeqOfMaps { .. }
        | Error::InvalidScalar { .. }
        | Error::SerdeInvalidType { .. }
        | Error::SerdeInvalidValue { .. } => YamlProblem::Value,
        _ => YamlProblem::Syntax,
    };
    GenerateError::Yaml { line, column, problem }
}

/// Most characters of a key that are repeated in a message.
const MAX_SHOWN: usize = 60;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bodies(text: &str) -> Vec<&str> {
        split(text).into_iter().map(|chunk| chunk.body).collect()
    }

    #[test]
    fn documents_are_split_at_their_marks() {
        assert_eq!(bodies("a: 1\n"), ["a: 1\n"]);
        assert_eq!(bodies("a: 1\n---\nb: 2\n"), ["a: 1\n", "b: 2\n"]);
        assert_eq!(bodies("# x\n---\na: 1\n--- # y\nb: 2"), ["a: 1\n", "b: 2"]);
        assert_eq!(bodies("---\n---\na: 1\n---\n"), ["", "a: 1\n", ""]);
        assert_eq!(bodies("a: |\n  ---\n  x\n"), ["a: |\n  ---\n  x\n"]);
        assert_eq!(bodies("--- {a: 1}\n---\nb: 2\n"), ["--- {a: 1}\n", "b: 2\n"]);
        assert_eq!(bodies("%YAML 1.2\n---\na: 1\n"), ["%YAML 1.2\n---\na: 1\n"]);
        assert_eq!(bodies("a: 1\r\n---\r\nb: 2\r\n"), ["a: 1\r\n", "b: 2\r\n"]);
        assert_eq!(bodies(""), [""]);
        assert_eq!(split("# x\n---\na: 1\n---\nb: 2\n").last().map(|c| c.lines_before), Some(4));
    }

    #[test]
    fn each_document_is_read_as_kubernetes_reads_it() {
        let read = |text: &str| parse(text, 0).unwrap();
        assert_eq!(read("# nothing\n"), Value::Null);
        assert_eq!(read("m: 0644\n")["m"], 420);
        assert_eq!(read("m: yes\n")["m"], true);
        assert_eq!(read("m: 'yes'\n")["m"], "yes");
        assert_eq!(read("--- {a: 1}\n")["a"], 1);
        assert_eq!(read("%YAML 1.2\n---\na: 1\n...\n")["a"], 1);
        assert_eq!(read("a: &x {b: 1}\nc: {<<: *x, d: 2}\n")["c"]["b"], 1);
    }

    #[test]
    fn what_is_wrong_is_said_in_own_words() {
        for (text, expected) in [
            ("a: 1\na: 2\n", YamlProblem::DuplicateKey { key: "a".to_owned() }),
            ("a: *x\n", YamlProblem::Alias),
            ("a: [\n", YamlProblem::Syntax),
            ("a: 'x\n", YamlProblem::Syntax),
            ("a:\n\t- x\n", YamlProblem::Syntax),
            ("a: .nan\n", YamlProblem::Value),
        ] {
            match parse(text, 10) {
                Err(GenerateError::Yaml { line, problem, .. }) => {
                    assert_eq!(problem, expected, "{text}");
                    assert!(line > 10, "{text}: {line}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost(text in "(---[ #x]{0,3}\n|a: 1\n|# c\n|\n|[.]{3}\n|%Y\n|x){0,12}") {
            let whole: String = split(&text).iter().map(|c| format!("{}{}", c.head, c.body)).collect();
            prop_assert_eq!(whole, text);
        }
    }
}
