// SPDX-License-Identifier: Apache-2.0
//! Setting fields in YAML text without disturbing the rest of it.

use serde_json::Map;
use serde_json::Value;

use crate::error::GenerateError;
use crate::pod::parse_yaml;

/// One field to set.
pub(crate) struct Edit<'a> {
    /// The objects that lead to it, made where they are missing.
    pub(crate) path: &'a [&'a str],
    pub(crate) key: &'a str,
    /// Text, number or boolean.
    pub(crate) value: Value,
}

/// Sets fields in a document given as text and value.
///
/// The text keeps its comments, order and quotes where its objects are written as indented blocks;
/// otherwise it is written anew. Either way the result is read again and compared with what is meant.
pub(crate) fn apply(
    text: &str,
    document: &Value,
    edits: &[Edit<'_>],
) -> Result<String, GenerateError> {
    let mut meant = document.clone();
    for edit in edits {
        set(&mut meant, edit)?;
    }
    if let Some(edited) = edit_text(text, edits)
        && parse_yaml(&edited).is_ok_and(|found| found == meant)
    {
        return Ok(edited);
    }
    let written = serde_saphyr::to_string(&meant)
        .map_err(|error| GenerateError::Write { message: error.to_string() })?;
    if parse_yaml(&written)? == meant {
        return Ok(written);
    }
    Err(GenerateError::Write { message: "it does not read back as it was".to_owned() })
}

fn set(document: &mut Value, edit: &Edit<'_>) -> Result<(), GenerateError> {
    let mut at = document;
    for key in edit.path {
        let object = object(at)?;
        at = object.entry((*key).to_owned()).or_insert(Value::Null);
        if at.is_null() {
            *at = Value::Object(Map::new());
        }
    }
    object(at)?.insert(edit.key.to_owned(), edit.value.clone());
    Ok(())
}

fn object(value: &mut Value) -> Result<&mut Map<String, Value>, GenerateError> {
    value
        .as_object_mut()
        .ok_or_else(|| GenerateError::Write { message: "a parent is no object".to_owned() })
}

fn edit_text(text: &str, edits: &[Edit<'_>]) -> Option<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for edit in edits {
        edit_lines(&mut lines, edit)?;
    }
    lines.push(String::new());
    Some(lines.join("\n"))
}

fn edit_lines(lines: &mut Vec<String>, edit: &Edit<'_>) -> Option<()> {
    let mut block = Block { start: 0, end: lines.len(), indent: 0 };
    for key in edit.path {
        let at = match block.find(lines, key) {
            Some(at) => at,
            None => {
                lines.insert(block.start, format!("{:1$}{key}:", "", block.indent));
                block.start
            }
        };
        block = Block::under(lines, at, block.indent)?;
    }
    if let Some(at) = block.find(lines, edit.key) {
        let old = Block::under(lines, at, block.indent).map_or(at + 1, |under| under.end);
        lines.drain(at..old);
    }
    let line = format!("{:1$}{key}: {value}", "", block.indent, key = edit.key, value = edit.value);
    lines.insert(block.start, line);
    Some(())
}

/// The lines of an object that is written as an indented block.
struct Block {
    start: usize,
    end: usize,
    indent: usize,
}

impl Block {
    /// The block under the key in line `at`, which may be empty. None if the line holds a value.
    fn under(lines: &[String], at: usize, parent: usize) -> Option<Self> {
        let (_, value) = lines.get(at)?.split_once(':')?;
        let value = value.trim();
        if !value.is_empty() && !value.starts_with('#') {
            return None;
        }
        let start = at + 1;
        let rest = lines.get(start..)?;
        let ends = |line: &String| content_indent(line).is_some_and(|indent| indent <= parent);
        let end = rest.iter().position(ends).map_or(lines.len(), |length| start + length);
        let indent = lines.get(start..end)?.iter().find_map(|line| content_indent(line));
        Some(Self { start, end, indent: indent.unwrap_or(parent + 2) })
    }

    /// The line with this key among the block's own keys.
    fn find(&self, lines: &[String], key: &str) -> Option<usize> {
        let own = |line: &String| {
            content_indent(line) == Some(self.indent)
                && line.trim_start().split_once(':').is_some_and(|(found, _)| {
                    found.trim().trim_matches(|c| matches!(c, '"' | '\'')) == key
                })
        };
        let found = lines.get(self.start..self.end)?.iter().position(own)?;
        Some(self.start + found)
    }
}

/// The indentation of a line that holds more than a comment.
fn content_indent(line: &str) -> Option<usize> {
    let content = line.trim_start_matches(' ');
    let nothing = content.trim().is_empty() || content.starts_with('#');
    if nothing { None } else { Some(line.len() - content.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edits() -> [Edit<'static>; 2] {
        [
            Edit { path: &["metadata", "annotations"], key: "io.x/y", value: "a: b".into() },
            Edit { path: &["spec"], key: "flag", value: false.into() },
        ]
    }

    fn check(text: &str, expected: &str) {
        let document = parse_yaml(text).unwrap();
        assert_eq!(apply(text, &document, &edits()).unwrap(), expected);
    }

    #[test]
    fn keeps_comments_order_and_quotes() {
        check(
            "# a pod\nkind: Pod\nmetadata:\n  name: x # why\nspec:\n    # one\n    a: 'yes'\n    l:\n    - 1\n",
            "# a pod\nkind: Pod\nmetadata:\n  annotations:\n    io.x/y: \"a: b\"\n  name: x # why\n\
             spec:\n    flag: false\n    # one\n    a: 'yes'\n    l:\n    - 1\n",
        );
    }

    #[test]
    fn replaces_what_is_there() {
        check(
            "metadata:\n  annotations:\n    \"io.x/y\": |\n      old\n      text\n    z: w\nspec:\n  flag: true",
            "metadata:\n  annotations:\n    io.x/y: \"a: b\"\n    z: w\nspec:\n  flag: false\n",
        );
    }

    #[test]
    fn writes_anew_what_is_not_in_blocks() {
        let text = "{metadata: {annotations: {z: 'on'}}, spec: {a: '012'}}";
        let document = parse_yaml(text).unwrap();
        let out = apply(text, &document, &edits()).unwrap();
        let found = parse_yaml(&out).unwrap();
        assert_eq!(found["metadata"]["annotations"]["z"], "on");
        assert_eq!(found["metadata"]["annotations"]["io.x/y"], "a: b");
        assert_eq!(found["spec"]["flag"], false);
        // YAML 1.1, which Kubernetes reads, takes the plain words for something else.
        assert!(out.contains("\"on\"") || out.contains("'on'"), "{out}");
        assert!(out.contains("\"012\"") || out.contains("'012'"), "{out}");
    }

    #[test]
    fn a_key_inside_a_text_is_not_a_key() {
        let text = "metadata:\n  note: |\n    annotations:\n  name: x\nspec:\n  a: 1\n";
        let document = parse_yaml(text).unwrap();
        let found = parse_yaml(&apply(text, &document, &edits()).unwrap()).unwrap();
        assert_eq!(found["metadata"]["note"], "annotations:\n");
        assert_eq!(found["metadata"]["annotations"]["io.x/y"], "a: b");
    }
}
