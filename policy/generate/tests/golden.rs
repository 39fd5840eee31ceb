// SPDX-License-Identifier: Apache-2.0
//! Whole files and what comes out for them: policies, warnings and annotated YAML.
//!
//! `NAME.yaml` is read, with `NAME.refs.yaml` beside it if there is one.
//! `CASEMATE_BLESS=1 cargo test -p casemate-policy-generate` writes the expected files anew; they are
//! reviewed as text.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use casemate_boot_formats::initdata::Initdata;
use casemate_policy::Broker;
use casemate_policy::GuestConfig;
use casemate_policy::ImageSignature;
use casemate_policy::Policy;
use casemate_policy::User;
use casemate_policy_generate::GenerateError;
use casemate_policy_generate::Generated;
use casemate_policy_generate::INITDATA_ANNOTATION;
use casemate_policy_generate::Image;
use casemate_policy_generate::ImageConfig;
use casemate_policy_generate::ImageName;
use casemate_policy_generate::Manifest;
use casemate_policy_generate::Manifests;
use casemate_policy_generate::Options;
use casemate_policy_generate::SignatureRule;
use casemate_policy_generate::Users;
use casemate_policy_generate::generate;

/// root is a member of adm (4); others have no entry.
struct SomeUsers;

impl Users for SomeUsers {
    fn user(&self, user: &str) -> Option<User> {
        let uid = if user == "root" { 0 } else { user.parse().ok()? };
        let groups = if uid == 0 { vec![0, 4] } else { vec![0] };
        Some(User { uid, gid: 0, groups })
    }
}

fn image(name: &ImageName) -> Image {
    let secret = name.registry.starts_with("secret.");
    Image {
        digest: if secret {
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        } else {
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        }
        .to_owned(),
        encrypted: secret,
        config: ImageConfig {
            env: vec!["PATH=/image/bin:/bin".to_owned(), "LANG=C".to_owned()],
            entrypoint: vec!["/entry".to_owned()],
            cmd: vec!["default".to_owned(), "arguments".to_owned()],
            stop_signal: secret.then(|| "SIGQUIT".to_owned()),
            ..ImageConfig::default()
        },
        users: if secret { None } else { Some(Box::new(SomeUsers)) },
    }
}

fn config() -> GuestConfig {
    GuestConfig {
        version: GuestConfig::VERSION,
        broker: Broker {
            url: "https://broker.example".to_owned(),
            ca: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
        },
        registries: Vec::new(),
        registry_credentials: Vec::new(),
        image_signatures: BTreeMap::from([(
            "owner".to_owned(),
            ImageSignature { key: format!("{KEY}\n") },
        )]),
        audit: None,
    }
}

const KEY: &str = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----";

fn run(yaml: &str, refs: Option<&str>) -> Result<Generated, GenerateError> {
    let mut files = vec![Manifest { name: "app.yaml", text: yaml }];
    files.extend(refs.map(|text| Manifest { name: "refs.yaml", text }));
    let signatures =
        vec![SignatureRule { images: "secret.example:5000".to_owned(), key: "owner".to_owned() }];
    let manifests = Manifests::read(&files, &Options { signatures, ..Options::default() })?;
    let images: BTreeMap<_, _> =
        manifests.images().into_iter().map(|name| (name.clone(), image(&name))).collect();
    generate(&manifests, &images, &config())
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Compares with the file of this name, or writes it.
fn expect(name: &str, found: &str) {
    let path = folder().join(name);
    if std::env::var_os("CASEMATE_BLESS").is_some() {
        fs::write(&path, found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, expected, "{name} differs; CASEMATE_BLESS=1 writes it anew");
}

fn check(name: &str) {
    let read = |suffix: &str| fs::read_to_string(folder().join(format!("{name}{suffix}")));
    let yaml = read(".yaml").unwrap();
    let refs = read(".refs.yaml").ok();
    let generated = run(&yaml, refs.as_deref()).unwrap();
    let mut policies = String::new();
    for workload in &generated.workloads {
        if generated.workloads.len() > 1 {
            policies += &format!("# {} {}\n", workload.kind, workload.name);
        }
        policies += &workload.policy.to_toml();
    }
    expect(&format!("{name}.policy.toml"), &policies);
    let warnings: String = generated.warnings.iter().map(|w| format!("{w}\n")).collect();
    expect(&format!("{name}.warnings.txt"), &warnings);

    // The compressed form may change with the compression library, its content not.
    let mut out = generated.yaml();
    for (index, workload) in generated.workloads.iter().enumerate() {
        let annotation = workload.initdata.to_annotation().unwrap();
        assert!(out.contains(&annotation));
        out = out.replacen(&annotation, &format!("INITDATA-{index}"), 1);
        let carried = Initdata::from_annotation(&annotation).unwrap();
        let policy = Policy::parse(carried.entry("policy.toml").unwrap().as_bytes()).unwrap();
        assert_eq!(policy, workload.policy);
        let config_text = carried.entry("casemate.toml").unwrap();
        assert_eq!(GuestConfig::parse(config_text.as_bytes()).unwrap(), config());
    }
    expect(&format!("{name}.out.yaml"), &out);

    // Deterministic, and the output is input again.
    let same = |again: &Generated| {
        let pairs = again.workloads.iter().zip(&generated.workloads);
        for (again, first) in pairs {
            assert_eq!(again.initdata.as_bytes(), first.initdata.as_bytes());
        }
    };
    let again = run(&yaml, refs.as_deref()).unwrap();
    same(&again);
    assert_eq!(again.yaml(), generated.yaml());
    let twice = run(&generated.yaml(), refs.as_deref()).unwrap();
    same(&twice);
    assert_eq!(twice.yaml().matches(INITDATA_ANNOTATION).count(), generated.workloads.len());
}

/// The lines of the input that the output has no more, in order.
fn lost(name: &str) -> Vec<String> {
    let yaml = fs::read_to_string(folder().join(format!("{name}.yaml"))).unwrap();
    let out =
        run(&yaml, fs::read_to_string(folder().join(format!("{name}.refs.yaml"))).ok().as_deref())
            .unwrap()
            .yaml();
    let mut rest = out.lines();
    let mut lost = Vec::new();
    for line in yaml.lines() {
        let mut ahead = rest.clone();
        if ahead.any(|found| found == line) {
            rest = ahead;
        } else {
            lost.push(line.to_owned());
        }
    }
    lost
}

#[test]
fn a_minimal_pod() {
    check("minimal");
}

#[test]
fn a_pod_with_everything() {
    check("full");
}

#[test]
fn a_pod_in_flow_style() {
    check("flow");
}

#[test]
fn a_deployment_with_its_config_maps() {
    check("deployment");
    assert!(lost("deployment").is_empty());
}

#[test]
fn a_stateful_set() {
    check("statefulset");
    assert!(lost("statefulset").is_empty());
}

#[test]
fn a_daemon_set() {
    check("daemonset");
}

#[test]
fn objects_in_braces() {
    check("braces");
    let lost = lost("braces");
    // The document that is one line, and the line that got the annotations.
    assert_eq!(lost.len(), 2, "{lost:?}");
}

#[test]
fn a_pod_that_wants_its_token() {
    check("token");
}

#[test]
fn jobs_and_cron_jobs() {
    check("jobs");
    assert_eq!(lost("jobs"), ["      annotations: {}"]);
}

#[test]
fn a_replica_set_and_a_replication_controller() {
    check("replicas");
}

#[test]
fn a_list() {
    check("list");
    assert!(lost("list").is_empty());
}

#[test]
fn documents_of_other_kinds_keep_their_bytes() {
    check("shop");
    assert!(lost("shop").is_empty());
}
