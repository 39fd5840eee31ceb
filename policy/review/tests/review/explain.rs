// SPDX-License-Identifier: Apache-2.0
//! Explanations.

use casemate_policy_review::Document;
use casemate_policy_review::explain;
use serde_json::Value;

use crate::support::FULL;
use crate::support::SMALL;
use crate::support::expect;
use crate::support::read;
use crate::support::small_with;

#[test]
fn a_policy_is_told_in_sentences() {
    expect("full.explain.txt", &explain(&read(FULL)).to_string());
    expect("small.explain.txt", &explain(&read(SMALL)).to_string());
}

#[test]
fn the_same_facts_are_there_as_json() {
    let explanation = explain(&read(SMALL));
    let json = serde_json::to_value(&explanation).unwrap();
    let web = &json["containers"][1];
    assert_eq!((&web["name"], &web["role"]), (&Value::from("web"), &Value::from("app container")));
    let facts = web["facts"].as_array().unwrap();
    let argv = facts.iter().find(|fact| fact["field"] == "containers.web.argv").unwrap();
    assert_eq!(argv["topic"], "runs");
    assert_eq!(argv["text"], "The command: /bin/web --port 8443");
    assert!(json["always"].as_array().unwrap().len() >= 3);
}

#[test]
fn every_field_of_a_container_has_a_fact() {
    let document = read(FULL);
    let explanation = explain(&document);
    let table: toml::Table = FULL.parse().unwrap();
    let fields = table["containers"]["web"].as_table().unwrap().keys();
    let facts = &explanation.containers.iter().find(|c| c.name == "web").unwrap().facts;
    for field in fields {
        let path = format!("containers.web.{field}");
        let told = facts.iter().any(|fact| {
            fact.field
                .strip_prefix(&path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['[', '.']))
        });
        assert!(told, "{path} has no sentence");
    }
}

#[test]
fn no_text_of_a_policy_drives_the_terminal() {
    // E19
    let evil =
        small_with(r#""/bin/web", "--port""#, r#""/bin/web", "\u001b[2Jgone\r\n  - Nothing.""#);
    let text = explain(&evil).to_string();
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text}");
    assert!(text.contains("\\u{1b}[2Jgone\\r\\n"), "{text}");
    assert_eq!(text.lines().count(), explain(&read(SMALL)).to_string().lines().count());
}

#[test]
fn a_pod_without_containers_is_told_too() {
    let empty = Document::read(b"version = 1\n[containers]\n").unwrap();
    assert!(explain(&empty).to_string().starts_with("Nothing may run in this pod."));
}
