// SPDX-License-Identifier: Apache-2.0
//! Whole pods and what comes out for them: policy, warnings and annotated YAML.
//!
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
use casemate_policy::Policy;
use casemate_policy::User;
use casemate_policy_generate::GenerateError;
use casemate_policy_generate::Generated;
use casemate_policy_generate::INITDATA_ANNOTATION;
use casemate_policy_generate::Image;
use casemate_policy_generate::ImageConfig;
use casemate_policy_generate::ImageName;
use casemate_policy_generate::Pod;
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
    let broker = Broker {
        url: "https://broker.example".to_owned(),
        ca: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
    };
    GuestConfig::new(broker, Vec::new())
}

fn run(yaml: &str) -> Result<Generated, GenerateError> {
    let pod = Pod::parse(yaml)?;
    let images: BTreeMap<_, _> =
        pod.images().into_iter().map(|name| (name.clone(), image(&name))).collect();
    generate(&pod, &images, &config())
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
    let yaml = fs::read_to_string(folder().join(format!("{name}.yaml"))).unwrap();
    let generated = run(&yaml).unwrap();
    expect(&format!("{name}.policy.toml"), &generated.policy.to_toml());
    let warnings: String = generated.warnings.iter().map(|w| format!("{w}\n")).collect();
    expect(&format!("{name}.warnings.txt"), &warnings);

    // The compressed form may change with the compression library, its content not.
    let annotation = generated.initdata.to_annotation().unwrap();
    assert!(generated.pod_yaml.contains(&annotation));
    expect(&format!("{name}.out.yaml"), &generated.pod_yaml.replace(&annotation, "INITDATA"));
    let carried = Initdata::from_annotation(&annotation).unwrap();
    let policy = Policy::parse(carried.entry("policy.toml").unwrap().as_bytes()).unwrap();
    assert_eq!(policy, generated.policy);
    assert_eq!(
        GuestConfig::parse(carried.entry("casemate.toml").unwrap().as_bytes()).unwrap(),
        config()
    );

    // Deterministic, and the output is input again.
    let again = run(&yaml).unwrap();
    assert_eq!(again.initdata.as_bytes(), generated.initdata.as_bytes());
    assert_eq!(again.pod_yaml, generated.pod_yaml);
    let twice = run(&generated.pod_yaml).unwrap();
    assert_eq!(twice.initdata.as_bytes(), generated.initdata.as_bytes());
    assert_eq!(twice.pod_yaml.matches(INITDATA_ANNOTATION).count(), 1);
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
