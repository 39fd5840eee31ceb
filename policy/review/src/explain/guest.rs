// SPDX-License-Identifier: Apache-2.0
//! What an initdata document holds beside the policy.

use casemate_policy::GuestConfig;
use casemate_policy::Sha256Digest;
use serde_json::Value;

use crate::Fact;
use crate::Topic;
use crate::words;

/// Every field of the guest configuration, those that matter most in a sentence.
pub(crate) fn facts(config: &GuestConfig) -> Vec<Fact> {
    let mut facts = Vec::new();
    if let Ok(value) = serde_json::to_value(config) {
        collect("casemate.toml", &value, &mut facts);
    }
    facts
}

/// The owner's extra rules.
pub(crate) fn rules(rules: Option<&str>) -> Vec<Fact> {
    let Some(rules) = rules else { return Vec::new() };
    let lines = words::count(rules.lines().count(), "line");
    let text = format!(
        "The rules in policy.rego ({lines} of Rego) narrow all of this further; they are not \
         explained here."
    );
    vec![Fact::new(Topic::Guest, "policy.rego", text).value(&rules).high().restricts()]
}

fn collect(path: &str, value: &Value, facts: &mut Vec<Fact>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                collect(&format!("{path}.{name}"), value, facts);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(&format!("{path}[{index}]"), item, facts);
            }
        }
        leaf => {
            let shown = match leaf {
                Value::String(text) => value_words(text),
                other => other.to_string(),
            };
            let text = match path.strip_prefix("casemate.toml.") {
                Some("broker.url") => format!("It attests to the key broker at {shown}."),
                Some("broker.ca") => {
                    format!("It takes for the broker only who has a certificate of {shown}.")
                }
                Some(field) => format!("{field}: {shown}."),
                None => return,
            };
            let fact = Fact::new(Topic::Guest, path, text).value(leaf);
            let fact = if path.starts_with("casemate.toml.broker") { fact.high() } else { fact };
            facts.push(fact.unless(path == "casemate.toml.version"));
        }
    }
}

fn value_words(text: &str) -> String {
    if text.starts_with("-----BEGIN ") {
        let kind = text.lines().next().unwrap_or_default().trim_matches('-');
        let kind = kind.trim_start_matches("BEGIN ").to_lowercase();
        let digest = Sha256Digest::of(text.as_bytes()).to_string();
        return format!(
            "the {} with {}…",
            words::quoted(&kind).replace('"', ""),
            digest.get(..23).unwrap_or_default()
        );
    }
    words::quoted(text)
}
