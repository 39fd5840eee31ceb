// SPDX-License-Identifier: Apache-2.0
//! The page docs/policy.md: its examples are one policy, and it has every field.

use casemate_policy::Policy;
use casemate_policy::json_schema;
use serde_json::Value;

const PAGE: &str = include_str!("../../../../docs/policy.md");

#[test]
fn the_examples_are_one_policy_with_every_field() {
    let examples: String =
        PAGE.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let policy = Policy::parse(examples.as_bytes()).unwrap();
    assert_eq!(Policy::parse(policy.to_toml().as_bytes()).unwrap(), policy);
    let table: toml::Table = examples.parse().unwrap();
    let mut shown = Vec::new();
    keys(&toml::Value::Table(table), &mut shown);

    let schema: Value = serde_json::from_str(json_schema()).unwrap();
    let mut fields = Vec::new();
    properties(&schema, &mut fields);
    assert!(fields.len() > 60, "{fields:?}");
    for field in fields {
        assert!(shown.contains(&field), "no example of {field}");
        // The fields of the document itself are headings.
        let is_heading = matches!(field.as_str(), "version" | "sandbox" | "volumes" | "containers");
        let is_inner = matches!(field.as_str(), "network" | "gid" | "groups");
        let named = PAGE.contains(&format!("`{field}`"));
        assert!(named || is_heading || is_inner, "no word of {field}");
    }
}

/// Every kind, role and other word of the schema stands on the page.
#[test]
fn the_page_has_every_word() {
    let schema: Value = serde_json::from_str(json_schema()).unwrap();
    let mut words = Vec::new();
    enumerated(&schema, &mut words);
    for word in words.iter().filter(|word| !word.starts_with("CAP_")) {
        // The kinds of process limits are those of another manual.
        let is_limit = schema["$defs"]["rlimit"]["properties"]["kind"]["enum"]
            .as_array()
            .is_some_and(|kinds| kinds.iter().any(|kind| kind == word));
        let found = PAGE.contains(&format!("`{word}`")) || PAGE.contains(&format!("\"{word}\""));
        assert!(found || is_limit, "no word of {word}");
    }
}

fn keys(value: &toml::Value, found: &mut Vec<String>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                found.push(key.clone());
                keys(value, found);
            }
        }
        toml::Value::Array(list) => list.iter().for_each(|value| keys(value, found)),
        _ => {}
    }
}

fn properties(schema: &Value, found: &mut Vec<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(properties) = map.get("properties").and_then(Value::as_object) {
                found.extend(properties.keys().cloned());
            }
            map.values().for_each(|value| properties(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| properties(value, found)),
        _ => {}
    }
}

fn enumerated(schema: &Value, found: &mut Vec<String>) {
    match schema {
        Value::Object(map) => {
            let words = map.get("enum").and_then(Value::as_array).into_iter().flatten();
            found
                .extend(words.chain(map.get("const")).filter_map(Value::as_str).map(str::to_owned));
            map.values().for_each(|value| enumerated(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| enumerated(value, found)),
        _ => {}
    }
}
