// SPDX-License-Identifier: Apache-2.0
//! The JSON schema and the types say the same.

use casemate_policy::Policy;
use casemate_policy::json_schema;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::full::FULL;

/// Changes each place of the full policy in turn; whatever the types refuse or take, the schema does.
#[test]
fn schema_and_types_agree_on_every_change_of_structure() {
    let schema = Schema::read();
    let full = full();
    assert!(schema.accepts(&full), "the full policy");
    let mut changes = 0;
    for pointer in pointers(&full) {
        for changed in changed(&full, &pointer) {
            let by_type = serde_json::from_value::<Policy>(changed.clone());
            let is_list =
                is_table(&full, &pointer) && changed.pointer(&pointer).is_some_and(Value::is_array);
            if is_list {
                // serde would take the list for the fields in their order: see shape.rs.
                assert!(!schema.accepts(&changed) && by_text(&changed).is_err(), "{pointer}");
                continue;
            }
            let by_schema = schema.accepts(&changed);
            // Ranges and relations are beyond the types, and some are in the schema.
            match by_type {
                Ok(policy) if policy.validate().is_ok() => {
                    let found = changed.pointer(&pointer);
                    assert!(by_schema, "only the schema refuses {pointer}: {found:?}");
                }
                Ok(_) => {}
                Err(error) => assert!(!by_schema, "only the types refuse {pointer}: {error}"),
            }
            changes += 1;
        }
    }
    assert!(changes > 1000, "{changes}");
}

/// Every object of the schema names its fields, all of them and no others.
#[test]
fn every_field_stands_in_the_full_policy() {
    let Value::Object(definitions) = Schema::read().0["$defs"].clone() else { panic!("no $defs") };
    let full = full().to_string();
    for (name, definition) in definitions {
        let variants = definition["oneOf"].as_array().cloned().unwrap_or(vec![definition]);
        for object in variants.iter().filter(|variant| variant["type"] == "object") {
            assert_eq!(object["additionalProperties"], false, "{name}");
            for field in object["properties"].as_object().unwrap().keys() {
                // So the test above has changed it.
                assert!(full.contains(&format!("\"{field}\":")), "{name}.{field}");
            }
        }
    }
}

fn full() -> Value {
    let mut full = serde_json::to_value(Policy::parse(FULL.as_bytes()).unwrap()).unwrap();
    // Left out of text and JSON, since it is the default.
    full["containers"]["web"]["secrets"][0]["mode"] = json!(0o400);
    full
}

fn is_table(document: &Value, pointer: &str) -> bool {
    document.pointer(pointer).unwrap().is_object()
}

/// Reads the document as TOML.
fn by_text(document: &Value) -> Result<Policy, String> {
    let text = toml::to_string(document).map_err(|error| error.to_string())?;
    Policy::parse(text.as_bytes()).map_err(|error| error.to_string())
}

/// Every place of a document, as JSON pointers.
fn pointers(value: &Value) -> Vec<String> {
    let mut found = vec![String::new()];
    let children: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(k, v)| (escaped(k), v)).collect(),
        Value::Array(list) => list.iter().enumerate().map(|(i, v)| (i.to_string(), v)).collect(),
        _ => Vec::new(),
    };
    for (key, child) in children {
        found.extend(pointers(child).into_iter().map(|below| format!("/{key}{below}")));
    }
    found
}

fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// The document with another value at a place, without the place, and with one more beside it.
fn changed(full: &Value, pointer: &str) -> Vec<Value> {
    let mut documents = Vec::new();
    let is_table = is_table(full, pointer);
    for other in [
        json!(null),
        json!(true),
        json!(-1),
        json!(0),
        json!(1.5),
        json!("~"),
        json!([]),
        json!({}),
        json!([[]]),
        json!({"~": 1}),
    ] {
        let mut document = full.clone();
        *document.pointer_mut(pointer).unwrap() = other;
        documents.push(document);
    }
    if let Some((parent, key)) = pointer.rsplit_once('/') {
        let mut document = full.clone();
        let key = key.replace("~1", "/").replace("~0", "~");
        match document.pointer_mut(parent).unwrap() {
            Value::Object(map) => drop(map.remove(&key)),
            Value::Array(list) => drop(list.remove(key.parse().unwrap())),
            _ => unreachable!(),
        }
        documents.push(document);
    }
    if is_table {
        let mut document = full.clone();
        document.pointer_mut(pointer).unwrap()["unknown"] = json!(1);
        documents.push(document);
    }
    // null means "absent" to serde where a field is optional; TOML has no null.
    documents.retain(|document| !has_null(document));
    documents
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.iter().any(has_null),
        Value::Object(map) => map.values().any(has_null),
        _ => false,
    }
}

/// As much of JSON schema as the policy's uses; another keyword is a failure.
struct Schema(Value);

impl Schema {
    fn read() -> Self {
        Self(serde_json::from_str(json_schema()).unwrap())
    }

    fn accepts(&self, value: &Value) -> bool {
        self.check(&self.0, value)
    }

    fn check(&self, schema: &Value, value: &Value) -> bool {
        let rules = schema.as_object().unwrap();
        rules.iter().all(|(keyword, rule)| self.keyword(keyword, rule, rules, value))
    }

    fn keyword(&self, keyword: &str, rule: &Value, rules: &Map<String, Value>, v: &Value) -> bool {
        let object = v.as_object();
        let number = |rule: &Value| rule.as_u64().unwrap();
        let length = |count: Option<usize>| count.map(|n| u64::try_from(n).unwrap());
        match keyword {
            "$schema" | "$defs" | "title" | "description" => true,
            "$ref" => self.check(self.0.pointer(&rule.as_str().unwrap()[1..]).unwrap(), v),
            "type" => match rule.as_str().unwrap() {
                "object" => v.is_object(),
                "array" => v.is_array(),
                "string" => v.is_string(),
                "boolean" => v.is_boolean(),
                "integer" => v.is_i64() || v.is_u64(),
                other => panic!("type {other}"),
            },
            "const" => v == rule,
            "enum" => rule.as_array().unwrap().contains(v),
            "oneOf" => rule.as_array().unwrap().iter().filter(|s| self.check(s, v)).count() == 1,
            "minimum" => v.as_i64().is_none_or(|n| n >= rule.as_i64().unwrap()),
            "maximum" => v.as_i64().is_none_or(|n| n <= rule.as_i64().unwrap()),
            "maxLength" => {
                length(v.as_str().map(|t| t.chars().count())).is_none_or(|n| n <= number(rule))
            }
            "minItems" => length(v.as_array().map(Vec::len)).is_none_or(|n| n >= number(rule)),
            "maxItems" => length(v.as_array().map(Vec::len)).is_none_or(|n| n <= number(rule)),
            "maxProperties" => length(object.map(Map::len)).is_none_or(|n| n <= number(rule)),
            "uniqueItems" => v.as_array().is_none_or(|list| {
                list.iter().enumerate().all(|(i, item)| !list[..i].contains(item))
            }),
            "pattern" => v.as_str().is_none_or(|text| {
                regex_lite::Regex::new(rule.as_str().unwrap()).unwrap().is_match(text)
            }),
            "items" => v.as_array().is_none_or(|list| list.iter().all(|i| self.check(rule, i))),
            "required" => object.is_none_or(|map| {
                rule.as_array().unwrap().iter().all(|k| map.contains_key(k.as_str().unwrap()))
            }),
            "properties" => object.is_none_or(|map| {
                let known = rule.as_object().unwrap();
                map.iter().all(|(k, v)| known.get(k).is_none_or(|schema| self.check(schema, v)))
            }),
            "propertyNames" => {
                object.is_none_or(|map| map.keys().all(|k| self.check(rule, &json!(k))))
            }
            "additionalProperties" => object.is_none_or(|map| {
                let known = rules.get("properties").and_then(Value::as_object);
                let more = |key: &String| !known.is_some_and(|known| known.contains_key(key));
                let mut more = map.iter().filter(|(key, _)| more(key));
                match rule {
                    Value::Bool(false) => more.next().is_none(),
                    schema => more.all(|(_, value)| self.check(schema, value)),
                }
            }),
            other => panic!("keyword {other}"),
        }
    }
}
