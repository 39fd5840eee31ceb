// SPDX-License-Identifier: Apache-2.0
//! Reading what people have at hand.

use casemate_boot_formats::initdata::Algorithm;
use casemate_boot_formats::initdata::Initdata;
use casemate_policy_review::Carrier;
use casemate_policy_review::Document;
use casemate_policy_review::ReadError;
use proptest::prelude::*;

use crate::support::FULL;
use crate::support::SMALL;

const CONFIG: &str = "version = 1\n[broker]\nurl = \"https://broker.example:8443\"\nca = \"\"\"\n\
    -----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n\"\"\"\n";

fn initdata(entries: &[(&str, &str)]) -> Initdata {
    Initdata::build(Algorithm::Sha256, entries.iter().copied()).unwrap()
}

fn whole() -> Initdata {
    initdata(&[
        ("policy.toml", SMALL),
        ("casemate.toml", CONFIG),
        ("policy.rego", "package casemate\n"),
    ])
}

fn pod(annotation: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n  annotations:\n    io.casemate.initdata: \"{annotation}\"\nspec: {{}}\n"
    )
}

fn check(text: &str, carrier: Carrier) {
    let document = Document::read(text.as_bytes()).unwrap();
    assert_eq!(document.carrier, carrier);
    assert_eq!(document.text, SMALL);
    assert!(document.policy.containers.contains_key("web"));
    assert_eq!(document.config.is_some(), carrier != Carrier::Policy);
    assert_eq!(document.rules.is_some(), carrier != Carrier::Policy);
}

#[test]
fn reads_every_kind() {
    let annotation = whole().to_annotation().unwrap();
    check(SMALL, Carrier::Policy);
    check(whole().as_str(), Carrier::Initdata);
    check(&annotation, Carrier::Annotation);
    check(&format!("{annotation}\n"), Carrier::Annotation);
    check(&pod(&annotation), Carrier::Pod);
    check(&format!("# a comment\n---\n{}", pod(&annotation)), Carrier::Pod);
    check(&format!("{}---\napiVersion: v1\nkind: Service\n", pod(&annotation)), Carrier::Pod);
    let template = |kind: &str, path: &str| {
        let mut object =
            serde_json::json!({"metadata": {"annotations": {"io.casemate.initdata": annotation}}});
        for name in path.split('/').rev().filter(|name| !name.is_empty()) {
            object = serde_json::json!({ name: object });
        }
        object["kind"] = kind.into();
        object
    };
    check(&template("Deployment", "spec/template").to_string(), Carrier::Pod);
    check(&template("CronJob", "spec/jobTemplate/spec/template").to_string(), Carrier::Pod);
    let list =
        serde_json::json!({"kind": "List", "items": [{"kind": "Service"}, template("Pod", "")]});
    check(&list.to_string(), Carrier::Pod);
}

fn refused(text: &str) -> ReadError {
    Document::read(text.as_bytes()).unwrap_err()
}

#[test]
fn says_where_a_policy_is_wrong() {
    let field = refused(&SMALL.replace("cwd = \"/srv\"", "cwd = \"srv/..\""));
    let (entry, place) = field.place().unwrap();
    assert_eq!((entry, place.line, place.text.as_str()), ("policy.toml", 28, "cwd = \"srv/..\""));
    let unknown = refused(&SMALL.replace("cwd = \"/srv\"", "cmd = \"/srv\""));
    let (_, place) = unknown.place().unwrap();
    assert!(place.text.contains("cmd"), "{place:?}");
    let syntax = refused(&SMALL.replace("cwd = \"/srv\"", "cwd = "));
    assert_eq!(syntax.place().unwrap().1.line, 28);
    let embedded =
        initdata(&[("policy.toml", "version = 2\n[containers]\n"), ("casemate.toml", CONFIG)]);
    assert_eq!(refused(embedded.as_str()).place().unwrap().1.line, 1);
    let http =
        initdata(&[("policy.toml", SMALL), ("casemate.toml", &CONFIG.replace("https", "http"))]);
    assert_eq!(refused(http.as_str()).place().unwrap().0, "casemate.toml");
}

#[test]
fn refuses_each_thing_that_is_none() {
    assert!(matches!(refused(&pod("")), ReadError::Initdata { .. }));
    assert!(matches!(refused("apiVersion: v1\nkind: Pod\n"), ReadError::NoAnnotation));
    assert!(matches!(refused("kind: [\n"), ReadError::Yaml { .. }));
    let annotation = whole().to_annotation().unwrap();
    let twice = format!("{}---\n{}", pod(&annotation), pod(&annotation));
    assert!(matches!(refused(&twice), ReadError::Several { count: 2 }));
    assert!(matches!(
        refused(initdata(&[("casemate.toml", CONFIG)]).as_str()),
        ReadError::MissingEntry { .. }
    ));
    assert!(matches!(
        refused(initdata(&[("policy.toml", SMALL)]).as_str()),
        ReadError::MissingEntry { .. }
    ));
    let more = initdata(&[("policy.toml", SMALL), ("casemate.toml", CONFIG), ("aa.toml", "")]);
    assert!(matches!(refused(more.as_str()), ReadError::UnknownEntry { .. }));
    assert!(matches!(Document::read(b"\xff"), Err(ReadError::NotUtf8)));
    let huge = vec![b' '; Document::MAX_BYTES + 1];
    assert!(matches!(Document::read(&huge), Err(ReadError::TooLarge { .. })));
    for error in [refused("x"), refused(&twice), refused("kind: [\n")] {
        assert!(error.next_step().len() > 10);
    }
}

#[test]
fn a_document_cut_anywhere_never_panics() {
    let pod = pod(&whole().to_annotation().unwrap());
    for text in [FULL, whole().as_str(), &pod] {
        for end in (0..text.len()).step_by(7) {
            let _ = Document::read(&text.as_bytes()[..end]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Document::read(&bytes);
    }

    #[test]
    fn places_and_sentences_of_a_mutated_policy_never_panic(at in 0..SMALL.len(), byte in any::<u8>()) {
        let mut bytes = SMALL.as_bytes().to_vec();
        bytes[at] = byte;
        match Document::read(&bytes) {
            Ok(document) => {
                let _ = casemate_policy_review::explain(&document).to_string();
                for finding in casemate_policy_review::lint(&document) {
                    let _ = finding.to_string();
                }
            }
            Err(error) => {
                if let Some((_, place)) = error.place() {
                    prop_assert!(!place.to_string().chars().any(|c| c.is_control() && c != '\n'));
                }
            }
        }
    }
}
