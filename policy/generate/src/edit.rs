// SPDX-License-Identifier: Apache-2.0
//! Setting fields in YAML text without disturbing the rest of it.

use serde_json::Map;
use serde_json::Value;

use crate::error::GenerateError;
use crate::yaml;

/// One field to set.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Edit {
    /// The way to its object; objects are made where they are missing.
    pub(crate) path: Vec<Step>,
    pub(crate) key: String,
    /// Text, number or boolean.
    pub(crate) value: Value,
}

/// One step of a way through a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Into the object under this key.
    Key(&'static str),
    /// Into this entry of a list, which must be there.
    Entry(usize),
}

/// Sets fields in a document given as text and value.
///
/// The text keeps its comments, order and quotes where its objects are written as indented blocks;
/// otherwise it is written anew. Either way the result is read again and compared with what is meant.
pub(crate) fn apply(text: &str, document: &Value, edits: &[Edit]) -> Result<String, GenerateError> {
    let mut meant = document.clone();
    for edit in edits {
        set(&mut meant, edit)?;
    }
    if let Some(edited) = edit_text(text, edits)
        && yaml::parse(&edited, 0).is_ok_and(|found| found == meant)
    {
        return Ok(edited);
    }
    let mut written = serde_saphyr::to_string(&meant)
        .map_err(|_| GenerateError::Write { message: "it has no form as YAML" })?;
    // Another document may follow.
    if !written.ends_with('\n') {
        written.push('\n');
    }
    if yaml::parse(&written, 0)? == meant {
        return Ok(written);
    }
    Err(GenerateError::Write { message: "it does not read back as it was" })
}

fn set(document: &mut Value, edit: &Edit) -> Result<(), GenerateError> {
    let mut at = document;
    for step in &edit.path {
        at = match step {
            Step::Key(key) => object(at)?.entry((*key).to_owned()).or_insert(Value::Null),
            Step::Entry(index) => at
                .get_mut(index)
                .ok_or(GenerateError::Write { message: "a list is shorter than it was" })?,
        };
        if at.is_null() {
            *at = Value::Object(Map::new());
        }
    }
    object(at)?.insert(edit.key.clone(), edit.value.clone());
    Ok(())
}

fn object(value: &mut Value) -> Result<&mut Map<String, Value>, GenerateError> {
    value.as_object_mut().ok_or(GenerateError::Write { message: "a parent is no object" })
}

fn edit_text(text: &str, edits: &[Edit]) -> Option<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for edit in edits {
        edit_lines(&mut lines, edit)?;
    }
    lines.push(String::new());
    Some(lines.join("\n"))
}

fn edit_lines(lines: &mut Vec<String>, edit: &Edit) -> Option<()> {
    // The text may begin with a line `---` of its own.
    let mut block = Block { start: 0, end: lines.len(), indent: 0 };
    // Lines whose dash is taken for a blank while the entry behind it is edited.
    let mut dashes = Vec::new();
    for (depth, step) in edit.path.iter().enumerate() {
        block = match step {
            Step::Key(key) => {
                let at = match block.find(lines, key) {
                    Some(at) => {
                        let rest = edit.path.get(depth.saturating_add(1)..).unwrap_or_default();
                        if insert_inline(lines, at, rest, edit) {
                            restore(lines, &dashes)?;
                            return Some(());
                        }
                        open_empty(lines, at)
                    }
                    None => {
                        lines.insert(block.start, format!("{:1$}{key}:", "", block.indent));
                        block.start
                    }
                };
                match edit.path.get(depth.saturating_add(1)) {
                    Some(Step::Entry(_)) => Block::list_under(lines, at, block.indent)?,
                    _ => Block::under(lines, at, block.indent)?,
                }
            }
            Step::Entry(index) => {
                let entry = block.entry(lines, *index)?;
                let line = lines.get_mut(entry.start)?;
                // The dash is ASCII: one byte for one byte.
                line.replace_range(block.indent..block.indent.saturating_add(1), " ");
                dashes.push((entry.start, block.indent));
                entry
            }
        };
    }
    if let Some(at) = block.find(lines, &edit.key) {
        let old = Block::under(lines, at, block.indent).map_or(at + 1, |under| under.end);
        lines.drain(at..old);
    }
    let line = format!("{:1$}{key}: {value}", "", block.indent, key = edit.key, value = edit.value);
    lines.insert(block.start, line);
    restore(lines, &dashes)
}

/// Puts the dashes of lists back, each at its line and column.
fn restore(lines: &mut [String], dashes: &[(usize, usize)]) -> Option<()> {
    for (at, indent) in dashes {
        lines.get_mut(*at)?.replace_range(*indent..indent.saturating_add(1), "-");
    }
    Some(())
}

/// Puts the field in front of the others where the object in line `at` is written `{in: braces}`, with
/// the objects of `rest` around it. If one of these stands behind others, the result does not read back
/// and everything is written anew.
fn insert_inline(lines: &mut [String], at: usize, mut rest: &[Step], edit: &Edit) -> bool {
    let Some(line) = lines.get_mut(at) else { return false };
    let Some((before, content)) = line.split_once(':') else { return false };
    let Some(mut inner) = content.trim_start().strip_prefix('{') else { return false };
    let mut head = format!("{before}: {{");
    // Objects that stand in front, such as those of the edit before.
    while let [Step::Key(key), deeper @ ..] = rest
        && let Some(inside) = inner.strip_prefix(key).and_then(|i| i.strip_prefix(": {"))
    {
        head.push_str(&format!("{key}: {{"));
        (inner, rest) = (inside, deeper);
    }
    if inner.trim_start().starts_with('}') {
        return false;
    }
    let mut value = edit.value.clone();
    let mut key = edit.key.as_str();
    for step in rest.iter().rev() {
        let Step::Key(outer) = step else { return false };
        value = serde_json::json!({ key: value });
        key = outer;
    }
    *line = format!("{head}{key}: {value}, {inner}");
    true
}

/// Makes `key: {}` and `key: null` in line `at` a key with room below it.
fn open_empty(lines: &mut [String], at: usize) -> usize {
    if let Some(line) = lines.get_mut(at)
        && let Some((key, value)) = line.split_once(':')
        && matches!(value.trim(), "{}" | "null" | "~")
    {
        *line = format!("{key}:");
    }
    at
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

    /// The list under the key in line `at`; its dashes may stand below the key itself.
    fn list_under(lines: &[String], at: usize, parent: usize) -> Option<Self> {
        let (_, value) = lines.get(at)?.split_once(':')?;
        let value = value.trim();
        if !value.is_empty() && !value.starts_with('#') {
            return None;
        }
        let start = at + 1;
        let rest = lines.get(start..)?;
        let indent = rest.iter().find_map(|line| content_indent(line))?;
        if indent < parent {
            return None;
        }
        let ends = |line: &String| {
            content_indent(line).is_some_and(|found| {
                found < indent || (found == indent && !line.trim_start().starts_with('-'))
            })
        };
        let end = rest.iter().position(ends).map_or(lines.len(), |length| start + length);
        Some(Self { start, end, indent })
    }

    /// The object that is the list's entry of this number, from 0.
    fn entry(&self, lines: &[String], number: usize) -> Option<Self> {
        let begins = |line: &String| {
            content_indent(line) == Some(self.indent) && line.trim_start().starts_with("- ")
        };
        let own = lines.get(self.start..self.end)?;
        let mut starts = own.iter().enumerate().filter(|(_, line)| begins(line)).map(|(at, _)| at);
        let start = self.start + starts.nth(number)?;
        let end = starts.next().map_or(self.end, |at| self.start + at);
        let line = lines.get(start)?;
        let content = line.get(self.indent + 1..)?.trim_start_matches(' ');
        if content.starts_with(['{', '#', '&', '*', '-']) || content.is_empty() {
            return None;
        }
        Some(Self { start, end, indent: line.len() - content.len() })
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

    fn parse_yaml(text: &str) -> Result<Value, GenerateError> {
        yaml::parse(text, 0)
    }

    fn edits_at(way: &[Step]) -> [Edit; 2] {
        let path = |keys: &[&'static str]| {
            way.iter().copied().chain(keys.iter().map(|key| Step::Key(key))).collect()
        };
        let keys = ["metadata", "annotations"];
        [
            Edit { path: path(&keys), key: "io.x/y".to_owned(), value: "a: b".into() },
            Edit { path: path(&["spec"]), key: "flag".to_owned(), value: false.into() },
        ]
    }

    fn edits() -> [Edit; 2] {
        edits_at(&[])
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
    fn fills_what_is_empty() {
        check(
            "metadata:\n  annotations: {}\nspec: null\n",
            "metadata:\n  annotations:\n    io.x/y: \"a: b\"\nspec:\n  flag: false\n",
        );
    }

    #[test]
    fn fields_in_braces_stay_in_their_line() {
        check(
            "metadata: {name: x} # why\nspec: {a: 1}\n",
            "metadata: {annotations: {\"io.x/y\":\"a: b\"}, name: x} # why\nspec: {flag: false, a: 1}\n",
        );
        // What is there already is replaced, and so everything is written anew.
        let text = "metadata: {annotations: {a: b}, name: x}\nspec: {flag: true}\n";
        let document = parse_yaml(text).unwrap();
        let out = apply(text, &document, &edits()).unwrap();
        let found = parse_yaml(&out).unwrap();
        assert_eq!(found["metadata"]["annotations"]["a"], "b");
        assert_eq!(found["spec"]["flag"], false);
        assert!(out.ends_with('\n'));
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

    #[test]
    fn entries_of_lists_are_found() {
        let way = [Step::Key("items"), Step::Entry(1)];
        let check = |text: &str, expected: &str| {
            let document = parse_yaml(text).unwrap();
            assert_eq!(apply(text, &document, &edits_at(&way)).unwrap(), expected, "{text}");
        };
        check(
            "kind: List\nitems:\n- kind: A\n  metadata: {}\n- kind: B # why\n  metadata:\n    name: b\n  \
             spec:\n    a: 1\n- kind: C\n  spec: {}\n",
            "kind: List\nitems:\n- kind: A\n  metadata: {}\n- kind: B # why\n  metadata:\n    annotations:\n      \
             io.x/y: \"a: b\"\n    name: b\n  spec:\n    flag: false\n    a: 1\n- kind: C\n  spec: {}\n",
        );
        // Indented dashes, and a first key that is not there yet.
        check(
            "items:\n  -   a: 1\n  -   spec:\n        b: 1\n  # end\nkind: List\n",
            "items:\n  -   a: 1\n  -   metadata:\n        annotations:\n          io.x/y: \"a: b\"\n      \
             spec:\n        flag: false\n        b: 1\n  # end\nkind: List\n",
        );
        // Not in blocks: written anew.
        let text = "items: [{a: 1}, {metadata: {name: b}}]\n";
        let document = parse_yaml(text).unwrap();
        let out = parse_yaml(&apply(text, &document, &edits_at(&way)).unwrap()).unwrap();
        assert_eq!(out["items"][1]["metadata"]["annotations"]["io.x/y"], "a: b");
        assert_eq!(out["items"][0]["a"], 1);
        let missing = [Step::Key("items"), Step::Entry(7)];
        assert!(apply(text, &document, &edits_at(&missing)).is_err());
    }

    #[test]
    fn deep_ways_are_made_where_they_are_missing() {
        let way = [Step::Key("spec"), Step::Key("template")];
        let text = "kind: Deployment\nspec:\n  replicas: 1\n  template:\n    spec:\n      a: 1\n";
        let document = parse_yaml(text).unwrap();
        assert_eq!(
            apply(text, &document, &edits_at(&way)).unwrap(),
            "kind: Deployment\nspec:\n  replicas: 1\n  template:\n    metadata:\n      annotations:\n        \
             io.x/y: \"a: b\"\n    spec:\n      flag: false\n      a: 1\n"
        );
    }
}
