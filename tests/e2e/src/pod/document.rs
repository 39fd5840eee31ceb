// SPDX-License-Identifier: Apache-2.0
//! The one Pod of a YAML file: a document, one of several, or an item of a list.

use anyhow::Context;
use anyhow::bail;
use serde_json::Value;

/// The YAML of the only Pod in `text`: the text itself if there is nothing else in it.
///
/// # Errors
///
/// When there is no Pod, more than one, or anything beside it that this client would have to act on.
pub fn one_pod(text: &str) -> anyhow::Result<String> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text)
        .map_err(|error| anyhow::anyhow!("{}", error.without_snippet()))
        .context("parse the YAML")?;
    let mut objects = Vec::new();
    // Nothing else in the text, not even an empty document.
    let mut is_plain = serde_saphyr::from_str::<Value>(text).is_ok();
    for document in documents {
        match (document["kind"].as_str(), &document["items"]) {
            (Some("List" | "PodList"), Value::Array(items)) => {
                is_plain = false;
                // Items of a typed list may leave out what the list says.
                let typed = document["kind"] == "PodList";
                objects.extend(
                    items.iter().cloned().map(|item| if typed { pod_item(item) } else { item }),
                );
            }
            _ if document.is_null() => {}
            _ => objects.push(document),
        }
    }
    let kinds: Vec<&str> =
        objects.iter().map(|object| object["kind"].as_str().unwrap_or("no kind")).collect();
    match objects.as_slice() {
        [only] if kinds == ["Pod"] => {
            if is_plain {
                Ok(text.to_owned())
            } else {
                serde_saphyr::to_string(only).context("write the pod's YAML")
            }
        }
        [] => bail!("there is no Pod in it"),
        _ if kinds.iter().filter(|kind| **kind == "Pod").count() > 1 => {
            bail!("there are several Pods in it ({}), give one", kinds.join(", "))
        }
        _ => bail!("kind: expected one Pod and nothing else, found {}", kinds.join(", ")),
    }
}

/// Kubernetes takes null for absent everywhere.
pub(super) fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let set = map.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(set.map(|(key, value)| (key, without_nulls(value))).collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

fn pod_item(mut item: Value) -> Value {
    if let Value::Object(map) = &mut item {
        map.entry("apiVersion").or_insert_with(|| "v1".into());
        map.entry("kind").or_insert_with(|| "Pod".into());
    }
    item
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: p} # mine\n";

    fn name(text: &str) -> String {
        let yaml = one_pod(text).unwrap();
        let pod: Value = serde_saphyr::from_str(&yaml).unwrap();
        assert_eq!((pod["apiVersion"].as_str(), pod["kind"].as_str()), (Some("v1"), Some("Pod")));
        pod["metadata"]["name"].as_str().unwrap().to_owned()
    }

    #[test]
    fn finds_the_pod() {
        assert_eq!(one_pod(POD).unwrap(), POD);
        assert_eq!(name(&format!("---\n{POD}---\n")), "p");
        assert_eq!(name(&format!("---\n# nothing\n---\n{POD}")), "p");
        assert_eq!(
            name(
                "{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Pod, metadata: {name: q}}]}"
            ),
            "q"
        );
        assert_eq!(name("{apiVersion: v1, kind: PodList, items: [{metadata: {name: r}}]}"), "r");
    }

    #[test]
    fn says_what_else_there_is() {
        for (text, words) in [
            (format!("{POD}---\n{POD}"), "several Pods"),
            (format!("{POD}---\nkind: Service\n"), "Pod, Service"),
            ("kind: Deployment\n".to_owned(), "Deployment"),
            ("a: b\n".to_owned(), "no kind"),
            (String::new(), "no Pod"),
            ("{apiVersion: v1, kind: List, items: []}".to_owned(), "no Pod"),
            ("a: [".to_owned(), "parse the YAML"),
        ] {
            let error = format!("{:#}", one_pod(&text).unwrap_err());
            assert!(error.contains(words) && !error.contains('\n'), "{text:?}: {error}");
        }
    }
}
