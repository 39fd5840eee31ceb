// SPDX-License-Identifier: Apache-2.0
//! Pods for which no policy is made, each with its field.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

use std::collections::BTreeMap;

use casemate_policy::Broker;
use casemate_policy::GuestConfig;
use casemate_policy_generate::GenerateError;
use casemate_policy_generate::Image;
use casemate_policy_generate::ImageConfig;
use casemate_policy_generate::Invalid;
use casemate_policy_generate::Pod;
use casemate_policy_generate::generate;
use proptest::prelude::*;

/// A pod of one line: `spec` and `container` take further fields.
fn pod(spec: &str, container: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: p}}, spec: {{{spec} containers: \
         [{{name: c, image: plain.example/app, {container}}}]}}}}"
    )
}

fn run_with(yaml: &str, config: &ImageConfig) -> Result<(), GenerateError> {
    let pod = Pod::parse(yaml)?;
    let image = || Image {
        digest: "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
            .to_owned(),
        encrypted: false,
        config: config.clone(),
        users: None,
    };
    let images: BTreeMap<_, _> = pod.images().into_iter().map(|name| (name, image())).collect();
    let broker = Broker {
        url: "https://broker.example".to_owned(),
        ca: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
    };
    let config = GuestConfig::new(broker, Vec::new());
    generate(&pod, &images, &config).map(drop)
}

fn run(yaml: &str) -> Result<(), GenerateError> {
    let config = ImageConfig { cmd: vec!["/run".to_owned()], ..ImageConfig::default() };
    run_with(yaml, &config)
}

fn refused(yaml: &str, expected: &str) {
    match run(yaml) {
        Err(error @ GenerateError::Refused { .. }) => {
            let GenerateError::Refused { path, .. } = &error else { unreachable!() };
            assert_eq!(path, expected, "{yaml}");
            assert!(!error.next_step().is_empty());
        }
        other => panic!("{yaml}: {other:?}"),
    }
}

fn in_spec(field: &str, path: &str) {
    refused(&pod(&format!("{field},"), ""), path);
}

fn in_container(field: &str, path: &str) {
    refused(
        &pod("volumes: [{name: v, emptyDir: {}}],", field),
        &format!("spec.containers[0].{path}"),
    );
}

#[test]
fn what_gives_the_host_a_hand_in_the_pod() {
    in_spec("hostNetwork: true", "spec.hostNetwork");
    in_spec("hostPID: true", "spec.hostPID");
    in_spec("hostIPC: true", "spec.hostIPC");
    in_spec("shareProcessNamespace: true", "spec.shareProcessNamespace");
    in_spec("hostAliases: [{ip: 1.2.3.4}]", "spec.hostAliases");
    in_spec("ephemeralContainers: [{name: d}]", "spec.ephemeralContainers");
    in_spec("resourceClaims: [{name: gpu}]", "spec.resourceClaims");
    in_spec("setHostnameAsFQDN: true", "spec.setHostnameAsFQDN");
    in_spec("automountServiceAccountToken: true", "spec.automountServiceAccountToken");
    let sysctls = "securityContext: {sysctls: [{name: kernel.core_pattern, value: x}]}";
    in_spec(sysctls, "spec.securityContext.sysctls");

    in_container("ports: [{hostPort: 80}]", "ports[0].hostPort");
    in_container("securityContext: {privileged: true}", "securityContext.privileged");
    in_container("securityContext: {procMount: Unmasked}", "securityContext.procMount");
    let all = "securityContext: {capabilities: {add: [all]}}";
    in_container(all, "securityContext.capabilities.add");
    let localhost = "securityContext: {seccompProfile: {type: Localhost, localhostProfile: x}}";
    in_container(localhost, "securityContext.seccompProfile.type");
    in_container("volumeDevices: [{name: d}]", "volumeDevices");
    in_container("resources: {claims: [{name: gpu}]}", "resources.claims");
    let mount = "volumeMounts: [{name: v, mountPath: /v, subPath: x}]";
    in_container(mount, "volumeMounts[0].subPath");
    let mount = "volumeMounts: [{name: v, mountPath: /v, mountPropagation: Bidirectional}]";
    in_container(mount, "volumeMounts[0].mountPropagation");
}

#[test]
fn volumes_of_the_host() {
    for volume in [
        "hostPath: {path: /}",
        "configMap: {name: x}",
        "secret: {secretName: x}",
        "projected: {sources: []}",
        "downwardAPI: {}",
        "persistentVolumeClaim: {claimName: x}",
        "csi: {driver: x}",
        "image: {reference: x}",
    ] {
        let yaml = pod(
            &format!("volumes: [{{name: v, {volume}}}],"),
            "volumeMounts: [{name: v, mountPath: /v}]",
        );
        refused(&yaml, "spec.containers[0].volumeMounts[0]");
        // Nobody sees it: nothing to refuse.
        assert!(run(&pod(&format!("volumes: [{{name: v, {volume}}}],"), "")).is_ok());
    }
}

// A secret in the policy would be public.
#[test]
fn variables_of_the_host() {
    for source in ["secretKeyRef", "configMapKeyRef", "fileKeyRef"] {
        let field = format!("env: [{{name: A, valueFrom: {{{source}: {{name: x, key: y}}}}}}]");
        in_container(&field, &format!("env[0].valueFrom.{source}"));
    }
    in_container("envFrom: [{configMapRef: {name: x}}]", "envFrom");
    let ip = "{name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}";
    in_container(&format!("env: [{ip}], args: [\"$(IP)\"]"), "command");
    in_container(&format!("env: [{ip}, {{name: URL, value: \"http://$(IP)\"}}]"), "env[1]");
    in_container("args: [\"$(DB_SERVICE_HOST)\"]", "command");
    let probe = "livenessProbe: {exec: {command: [\"$(DB_PORT)\"]}}";
    in_container(probe, "livenessProbe");
}

#[test]
fn image_volumes_that_nothing_covers() {
    let config = ImageConfig {
        cmd: vec!["/run".to_owned()],
        volumes: vec!["/data/".to_owned()],
        ..ImageConfig::default()
    };
    let error = run_with(&pod("", ""), &config).unwrap_err();
    assert!(
        matches!(error, GenerateError::Refused { path, .. } if path == "spec.containers[0].image")
    );
    let covered =
        pod("volumes: [{name: v, emptyDir: {}}],", "volumeMounts: [{name: v, mountPath: /data}]");
    assert!(run_with(&covered, &config).is_ok());
}

fn invalid(yaml: &str, expected: &str) -> Invalid {
    match run(yaml) {
        Err(GenerateError::Invalid { path, problem }) => {
            assert_eq!(path, expected, "{yaml}");
            problem
        }
        other => panic!("{yaml}: {other:?}"),
    }
}

#[test]
fn what_kubernetes_does_not_take_either() {
    let is_type = |problem| matches!(problem, Invalid::Type { .. });
    assert!(is_type(invalid(&pod("", "args: [1]"), "spec.containers[0].args")));
    assert!(is_type(invalid(&pod("", "args: x"), "spec.containers[0].args")));
    assert!(is_type(invalid(&pod("", "tty: \"yes\""), "spec.containers[0].tty")));
    assert!(is_type(invalid(&pod("hostname: 1,", ""), "spec.hostname")));
    assert!(is_type(invalid(&pod("initContainers: {},", ""), "spec.initContainers")));
    let uid = "securityContext: {runAsUser: -1}";
    let path = "spec.containers[0].securityContext.runAsUser";
    assert!(is_type(invalid(&pod("", uid), path)));

    let is_unknown = |problem| matches!(problem, Invalid::Unknown { .. });
    assert!(is_unknown(invalid(&pod("restartPolicy: Sometimes,", ""), "spec.restartPolicy")));
    let mount = "volumeMounts: [{name: w, mountPath: /w}]";
    assert!(is_unknown(invalid(&pod("", mount), "spec.containers[0].volumeMounts[0]")));
    let field = "env: [{name: A, valueFrom: {fieldRef: {fieldPath: spec.x}}}]";
    let path = "spec.containers[0].env[0].valueFrom.fieldRef";
    assert!(is_unknown(invalid(&pod("", field), path)));

    let twice = "initContainers: [{name: c, image: plain.example/app}],";
    let problem = invalid(&pod(twice, ""), "spec.containers[0]");
    assert_eq!(problem, Invalid::Duplicate { name: "c".to_owned() });
    let missing = "{apiVersion: v1, kind: Pod, spec: {containers: [{name: c}]}}";
    assert_eq!(invalid(missing, "spec.containers[0].image"), Invalid::Missing);
    let none = "{apiVersion: v1, kind: Pod, spec: {containers: []}}";
    assert_eq!(invalid(none, "spec.containers"), Invalid::Missing);
    let bad = "{apiVersion: v1, kind: Pod, spec: {containers: [{name: c, image: A B}]}}";
    let problem = invalid(bad, "spec.containers[0].image");
    assert_eq!(problem, Invalid::ImageName { name: "A B".to_owned() });
    let capability = "securityContext: {capabilities: {drop: [FLY]}}";
    let problem =
        invalid(&pod("", capability), "spec.containers[0].securityContext.capabilities.drop");
    assert_eq!(problem, Invalid::Capability { name: "FLY".to_owned() });
    for (amount, problem) in [
        ("limits: {memory: 1MiB}", "limits.memory"),
        ("limits: {cpu: -1}", "limits.cpu"),
        ("requests: {memory: lots}", "requests.memory"),
    ] {
        let path = format!("spec.containers[0].resources.{problem}");
        let found = invalid(&pod("", &format!("resources: {{{amount}}}")), &path);
        assert_eq!(found, Invalid::Quantity, "{amount}");
    }
    let signal = "lifecycle: {stopSignal: SIGX}";
    let problem = invalid(&pod("", signal), "spec.containers[0].lifecycle.stopSignal");
    assert_eq!(problem, Invalid::Signal { name: "SIGX".to_owned() });
}

#[test]
fn long_comments_are_fine() {
    let comments = "# why\n".repeat(500);
    let yaml = format!(
        "{comments}apiVersion: v1\nkind: Pod\nmetadata:\n{comments}  name: p\nspec:\n{comments}  \
         containers:\n{comments}  - name: c\n{comments}    image: plain.example/app\n{comments}"
    );
    run(&yaml).unwrap();
}

#[test]
fn a_container_without_a_command() {
    let error = run_with(&pod("", ""), &ImageConfig::default()).unwrap_err();
    assert!(matches!(error, GenerateError::Invalid { problem: Invalid::NoCommand, .. }));
}

#[test]
fn root_where_the_pod_forbids_it() {
    let path = "spec.containers[0].securityContext";
    let problem = invalid(&pod("securityContext: {runAsNonRoot: true},", ""), path);
    assert_eq!(problem, Invalid::Root);
    let own = "securityContext: {runAsNonRoot: false}";
    assert!(run(&pod("securityContext: {runAsNonRoot: true},", own)).is_ok());
}

#[test]
fn a_user_that_cannot_be_looked_up() {
    let config = ImageConfig {
        user: "web".to_owned(),
        cmd: vec!["/run".to_owned()],
        ..ImageConfig::default()
    };
    let error = run_with(&pod("", ""), &config).unwrap_err();
    assert!(matches!(error, GenerateError::Account { .. }), "{error}");
    assert!(run_with(&pod("", "securityContext: {runAsUser: 7}"), &config).is_ok());
}

#[test]
fn exec_lists_that_are_none() {
    for (list, fits) in [
        ("[[\"/bin/ls\"]]", true),
        ("{\"c\": [[\"/bin/ls\"]]}", true),
        ("[{\"argv\": [\"/bin/sh\"], \"tty\": true}]", true),
        ("[]", true),
        ("[\"/bin/ls\"]", false),
        ("[[]]", false),
        ("[[1]]", false),
        ("{\"other\": [[\"/bin/ls\"]]}", false),
        ("[{\"argv\": [\"/bin/sh\"], \"user\": \"root\"}]", false),
        ("[{\"tty\": true}]", false),
        ("ls", false),
        ("1", false),
    ] {
        let yaml = pod("", "").replace(
            "{name: p}",
            &format!("{{name: p, annotations: {{io.casemate.exec: '{list}'}}}}"),
        );
        assert_eq!(run(&yaml).is_ok(), fits, "{list}");
    }
}

#[test]
fn other_documents() {
    for yaml in [
        "",
        "null",
        "[]",
        "kind: Pod",
        "{apiVersion: apps/v1, kind: Deployment}",
        "{apiVersion: v1, kind: List, items: []}",
        "{apiVersion: v1, kind: Pod}",
        "{apiVersion: v1, kind: Pod, apiVersion: v1}",
        "a: [",
        "a: *b",
    ] {
        assert!(run(yaml).is_err(), "{yaml}");
    }
    let two = format!("{}\n---\n{}\n", pod("", ""), pod("", ""));
    assert!(matches!(run(&two), Err(GenerateError::UnsupportedKind { .. })));
    match run("kind: Pod\n  bad: [\n") {
        Err(GenerateError::Yaml { message }) => {
            assert!(message.contains("line 2") && !message.contains('\n'), "{message}");
        }
        other => panic!("{other:?}"),
    }
    let twice = pod("hostNetwork: false, hostNetwork: true,", "");
    assert!(matches!(run(&twice), Err(GenerateError::Yaml { .. })));
    let large = format!("{}#{}", pod("", ""), "x".repeat(Pod::MAX_BYTES));
    assert!(matches!(run(&large), Err(GenerateError::TooLarge { .. })));
    let nested = format!("{}: {}", "a", "[".repeat(100_000));
    assert!(run(&nested).is_err());
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let list = vec![format!("*a{}", n - 1); 9].join(", ");
        laughs.push_str(&format!("a{n}: &a{n} [{list}]\n"));
    }
    assert!(run(&laughs).is_err());
}

proptest! {
    #[test]
    fn never_panics(text in "\\PC{0,80}") {
        let _ = run(&text);
        let _ = run(&pod(&text, ""));
        let _ = run(&pod("", &text));
    }

    #[test]
    fn every_truncation_is_refused(length in 0_usize..60) {
        let yaml = pod("", "");
        prop_assert!(run(&yaml[..yaml.len() - 1 - length]).is_err());
    }
}
