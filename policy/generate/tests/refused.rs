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
use casemate_policy::Sha256Digest;
use casemate_policy::Volume;
use casemate_policy_generate::GenerateError;
use casemate_policy_generate::Generated;
use casemate_policy_generate::Image;
use casemate_policy_generate::ImageConfig;
use casemate_policy_generate::Invalid;
use casemate_policy_generate::Manifest;
use casemate_policy_generate::Manifests;
use casemate_policy_generate::Options;
use casemate_policy_generate::YamlProblem;
use casemate_policy_generate::generate;
use proptest::prelude::*;

/// A pod of one line: `spec` and `container` take further fields.
fn pod(spec: &str, container: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: p}}, spec: {{{spec} containers: \
         [{{name: c, image: plain.example/app, {container}}}]}}}}"
    )
}

fn run_with(yaml: &str, config: &ImageConfig) -> Result<Generated, GenerateError> {
    let manifests = Manifests::parse(yaml)?;
    let image = || Image {
        digest: "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
            .to_owned(),
        encrypted: false,
        config: config.clone(),
        users: None,
    };
    let images: BTreeMap<_, _> =
        manifests.images().into_iter().map(|name| (name, image())).collect();
    let broker = Broker {
        url: "https://broker.example".to_owned(),
        ca: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
    };
    let config = GuestConfig::new(broker, Vec::new());
    generate(&manifests, &images, &config)
}

fn run(yaml: &str) -> Result<Generated, GenerateError> {
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
    in_spec("resourceClaims: [{name: gpu}]", "spec.resourceClaims");
    in_spec("setHostnameAsFQDN: true", "spec.setHostnameAsFQDN");
    in_spec("os: {name: windows}", "spec.os.name");
    in_spec(
        "volumes: [{name: v, emptyDir: {medium: HugePages}}]",
        "spec.volumes[0].emptyDir.medium",
    );

    in_container("ports: [{hostPort: 80}]", "ports[0].hostPort");
    in_container("securityContext: {privileged: true}", "securityContext.privileged");
    let all = "securityContext: {capabilities: {add: [all]}}";
    in_container(all, "securityContext.capabilities.add");
    let localhost = "securityContext: {seccompProfile: {type: Localhost, localhostProfile: x}}";
    in_container(localhost, "securityContext.seccompProfile.type");
    in_container("volumeDevices: [{name: d}]", "volumeDevices");
    in_container("resources: {claims: [{name: gpu}]}", "resources.claims");
    let mount = "volumeMounts: [{name: v, mountPath: /v, subPathExpr: $(NONE)}]";
    in_container(mount, "volumeMounts[0].subPathExpr");
    in_container("volumeMounts: [{name: v, mountPath: /dev/shm}]", "volumeMounts[0].mountPath");
    let mount = "volumeMounts: [{name: v, mountPath: /v, mountPropagation: Bidirectional}]";
    in_container(mount, "volumeMounts[0].mountPropagation");
}

#[test]
fn volumes_of_the_host() {
    for volume in [
        "hostPath: {path: /}",
        "configMap: {name: x}",
        "secret: {secretName: x}",
        "projected: {sources: [{configMap: {name: x}}, {configMap: {name: z, optional: true}}]}",
        "projected: {sources: [{serviceAccountToken: {path: t}}, {secret: {name: x}}]}",
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
        let field = format!("env: [{{name: A, valueFrom: {{{source}: {{name: x, key: k}}}}}}]");
        in_container(&field, &format!("env[0].valueFrom.{source}"));
    }
    in_container("envFrom: [{configMapRef: {name: x}}]", "envFrom[0].configMapRef");
    in_container("envFrom: [{secretRef: {name: x, optional: true}}]", "envFrom[0].secretRef");
    let own = "fieldRef: {fieldPath: \"metadata.annotations['io.casemate.initdata']\"}";
    let field = format!("env: [{{name: A, valueFrom: {{{own}}}}}]");
    in_container(&field, "env[0].valueFrom.fieldRef.fieldPath");
    let ip = "{name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}";
    in_container(&format!("env: [{ip}], args: [a, \"$(IP)\"]"), "args[1]");
    in_container(&format!("env: [{ip}, {{name: URL, value: \"http://$(IP)\"}}]"), "env[1]");
    in_container("args: [\"$(DB_SERVICE_HOST)\"]", "args[0]");
    // Without service links there is none but the API server's.
    let spec = "enableServiceLinks: false,";
    assert!(run(&pod(spec, "args: [\"$(DB_SERVICE_HOST)\"]")).is_ok());
    let own = pod(spec, "args: [\"$(KUBERNETES_SERVICE_HOST)\"]");
    refused(&own, "spec.containers[0].args[0]");
    // Probes see no variables of services.
    let probe = "livenessProbe: {exec: {command: [\"$(DB_PORT)\"]}}";
    let generated = run(&pod("", probe)).unwrap();
    let policy = &generated.workloads[0].policy;
    assert_eq!(policy.containers["c"].exec[0].argv, ["$(DB_PORT)"]);
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
fn the_disks_of_a_stateful_set_are_the_hosts() {
    let set = |volumes: &str, mount: &str| {
        format!(
            "{{apiVersion: apps/v1, kind: StatefulSet, metadata: {{name: db}}, spec: {{
                volumeClaimTemplates: [{{metadata: {{name: data}}}}], template: {{spec: {{{volumes}
                containers: [{{name: c, image: plain.example/app, {mount}}}]}}}}}}}}"
        )
    };
    let mount = "volumeMounts: [{name: data, mountPath: /data}]";
    // The claim stands over a volume of the same name.
    for volumes in ["", "volumes: [{name: data, emptyDir: {}}],"] {
        let error = run(&set(volumes, mount)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("volumeMounts[0]: the disk of a claim"), "{text}");
        assert!(error.next_step().contains("emptyDir"), "{}", error.next_step());
    }
    assert!(run(&set("", "")).is_ok());
}

#[test]
fn annotations_say_everything_once() {
    for (annotation, text, name) in [
        ("io.casemate.exec", r#"{"c": [["/bin/a"]], "c": [["/bin/sh"]]}"#, "c"),
        ("io.casemate.exec", r#"[{"argv": ["/bin/a"], "argv": ["/bin/sh"]}]"#, "argv"),
        (
            "io.casemate.secrets",
            r#"{"c": [{"resource": "kbs:///a/b/c", "path": "/run/x", "path": "/run/y"}]}"#,
            "path",
        ),
    ] {
        let annotations = format!("{{name: p, annotations: {{{annotation}: '{text}'}}}}");
        let yaml = pod("", "").replace("{name: p}", &annotations);
        let problem = invalid(&yaml, &format!("metadata.annotations[{annotation}]"));
        assert_eq!(problem, Invalid::Duplicate { name: name.to_owned() });
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
    let problem = invalid(&pod("", mount), "spec.containers[0].volumeMounts[0]");
    assert_eq!(problem, Invalid::Volume { name: "w".to_owned() });
    let field = "env: [{name: A, valueFrom: {fieldRef: {fieldPath: spec.x}}}]";
    let path = "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath";
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
        "{apiVersion: apps/v1, kind: Deployment, spec: {}}",
        "{apiVersion: apps/v1, kind: Deployment, spec: {template: {}}}",
        "{apiVersion: v1, kind: Service}",
        "{apiVersion: v1, kind: List, items: []}",
        "{apiVersion: v1, kind: Pod}",
        "{apiVersion: v1, kind: Pod, apiVersion: v1}",
        "a: [",
        "a: *b",
    ] {
        assert!(run(yaml).is_err(), "{yaml}");
    }
    match run("kind: Pod\n  bad: [\n") {
        Err(GenerateError::Yaml { line, problem, .. }) => {
            assert_eq!((line, problem), (2, YamlProblem::Syntax));
        }
        other => panic!("{other:?}"),
    }
    let twice = pod("hostNetwork: false, hostNetwork: true,", "");
    match run(&twice) {
        Err(GenerateError::Yaml { problem, .. }) => {
            assert_eq!(problem, YamlProblem::DuplicateKey { key: "hostNetwork".to_owned() });
        }
        other => panic!("{other:?}"),
    }
    let large = format!("{}#{}", pod("", ""), "x".repeat(Manifests::MAX_BYTES));
    assert!(matches!(run(&large), Err(GenerateError::TooLarge { .. })));
    for old in [
        "{apiVersion: extensions/v1beta1, kind: Deployment}",
        "{apiVersion: v1, kind: PodTemplate}",
        "{apiVersion: batch/v1beta1, kind: CronJob}",
    ] {
        let found = run(old);
        assert!(matches!(found, Err(GenerateError::UnsupportedKind { .. })), "{old}");
    }
    assert!(matches!(run("{apiVersion: v1, kind: Service}"), Err(GenerateError::NoWorkload)));
    let nested = format!("{}: {}", "a", "[".repeat(100_000));
    assert!(run(&nested).is_err());
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let list = vec![format!("*a{}", n - 1); 9].join(", ");
        laughs.push_str(&format!("a{n}: &a{n} [{list}]\n"));
    }
    assert!(run(&laughs).is_err());
}

#[test]
fn typing_errors() {
    let misspelt = |problem, expected: &str| match problem {
        Invalid::Misspelt { meant, .. } => assert_eq!(meant, expected),
        other => panic!("{other:?}"),
    };
    misspelt(invalid(&pod("", "comand: [x]"), "spec.containers[0].comand"), "command");
    misspelt(invalid(&pod("hostPid: true,", ""), "spec.hostPid"), "hostPID");
    let context = "securityContext: {readonlyRootFilesystem: true}";
    let path = "spec.containers[0].securityContext.readonlyRootFilesystem";
    misspelt(invalid(&pod("", context), path), "readOnlyRootFilesystem");
    // Everything in a security context changes what runs.
    let path = "spec.containers[0].securityContext.newField";
    let unknown = invalid(&pod("", "securityContext: {newField: true}"), path);
    assert_eq!(unknown, Invalid::UnknownField);
    // Elsewhere a field of a later Kubernetes is named in a warning.
    let generated = run(&pod("", "someLaterField: true")).unwrap();
    let warned = |path: &str| generated.warnings.iter().any(|w| w.path == path);
    assert!(warned("spec.containers[0].someLaterField"));
}

#[test]
fn errors_name_the_object_among_several() {
    let bad = pod("", "tty: 1").replace("name: p", "name: bad");
    let several = format!("{}\n---\n{bad}\n", pod("", ""));
    let error = run(&several).unwrap_err();
    assert_eq!(error.to_string(), "Pod bad: spec.containers[0].tty: is not true or false");
    assert!(matches!(error.innermost(), GenerateError::Invalid { .. }));
    let list = format!("{{apiVersion: v1, kind: List, items: [{}, {bad}]}}", pod("", ""));
    let error = run(&list).unwrap_err();
    assert_eq!(error.to_string(), "Pod bad: items[1].spec.containers[0].tty: is not true or false");
    let two =
        [Manifest { name: "a.yaml", text: &pod("", "") }, Manifest { name: "b.yaml", text: &bad }];
    let error = Manifests::read(&two, &Options::default()).unwrap_err();
    assert!(error.to_string().starts_with("b.yaml: Pod bad: spec."), "{error}");
    let broken = [two[0], Manifest { name: "c.yaml", text: "a: 1\n---\nb: [\n" }];
    let error = Manifests::read(&broken, &Options::default()).unwrap_err();
    assert!(error.to_string().starts_with("c.yaml: line 3"), "{error}");
}

// A secret in the policy would be public.
#[test]
fn secrets_are_pointed_to_the_broker() {
    let env = "env: [{name: A, valueFrom: {secretKeyRef: {name: db, key: password}}}]";
    let error = run(&pod("", env)).unwrap_err();
    let next = error.next_step();
    assert!(next.contains("--secret c:/run/secrets/password=kbs:///default/db/password"), "{next}");
    let volume = "volumes: [{name: v, secret: {secretName: db}}],";
    let error = run(&pod(volume, "volumeMounts: [{name: v, mountPath: /v}]")).unwrap_err();
    assert!(error.next_step().contains("default/db/KEY"));

    let annotated = |list: &str| {
        let annotation = format!("{{name: p, annotations: {{io.casemate.secrets: '{list}'}}}}");
        run(&pod("", "").replace("{name: p}", &annotation))
    };
    let good =
        "{\"c\": [{\"resource\": \"kbs:///a/b/c\", \"path\": \"/run/x\", \"mode\": \"0440\"}]}";
    let generated = annotated(good).unwrap();
    let secrets = &generated.workloads[0].policy.containers["c"].secrets;
    assert_eq!((secrets[0].path.as_str(), secrets[0].mode), ("/run/x", 0o440));
    for list in [
        "[]",
        "{",
        "{\"other\": []}",
        "{\"c\": [{\"resource\": \"a/b/c\", \"path\": \"/run/x\"}]}",
        "{\"c\": [{\"resource\": \"kbs:///a/b/c\"}]}",
        "{\"c\": [{\"resource\": \"kbs:///a/b/c\", \"path\": \"/run/x\", \"mode\": \"rw\"}]}",
        "{\"c\": [{\"resource\": \"kbs:///a/b/c\", \"path\": \"/run/x\", \"value\": \"x\"}]}",
        "{\"c\": [{\"resource\": \"kbs:///a/b/c\", \"path\": \"/dev/x\"}]}",
    ] {
        assert!(annotated(list).is_err(), "{list}");
    }
}

#[test]
fn config_maps_that_are_not_what_the_pod_says() {
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata: {a: x}\n---\n";
    let with = |spec: &str, container: &str| {
        run(&format!("{map}{}", pod(spec, container))).map(drop).map_err(|e| e.to_string())
    };
    let key = |more: &str| {
        format!("env: [{{name: A, valueFrom: {{configMapKeyRef: {{name: m, {more}}}}}}}]")
    };
    assert_eq!(with("", &key("key: a")), Ok(()));
    assert!(with("", &key("key: b")).unwrap_err().contains("configMapKeyRef.key"));
    assert_eq!(with("", &key("key: b, optional: true")), Ok(()));
    let mount = "volumeMounts: [{name: v, mountPath: /v}]";
    let volume = |more: &str| format!("volumes: [{{name: v, configMap: {{name: m, {more}}}}}],");
    assert_eq!(with(&volume(""), mount), Ok(()));
    assert!(
        with(&volume("items: [{key: b, path: b}]"), mount).unwrap_err().contains("items[0].key")
    );
    for path in ["a/b", "..b", "."] {
        let items = format!("items: [{{key: a, path: {path}}}]");
        assert!(with(&volume(&items), mount).unwrap_err().contains("items[0].path"), "{path}");
    }
    // The digest is the content's, and exactly these files.
    let part = "volumeMounts: [{name: v, mountPath: /v, subPath: b}]";
    assert!(with(&volume(""), part).unwrap_err().contains("sub_path"));
    assert!(run(&format!("{map}{map}{}", pod("", ""))).is_err());
}

#[test]
fn content_of_the_hosts_choice_needs_the_owners_word() {
    let yaml = pod(
        "volumes: [{name: v, configMap: {name: m}}],",
        "volumeMounts: [{name: v, mountPath: /v}]",
    );
    refused(&yaml, "spec.containers[0].volumeMounts[0]");
    let read = |volume: &str| {
        let options =
            Options { untrusted_volumes: [volume.to_owned()].into(), ..Options::default() };
        Manifests::read(&[Manifest { name: "", text: &yaml }], &options)
    };
    assert!(read("v").is_ok());
    assert!(matches!(read("w"), Err(GenerateError::UnusedOption { .. })));
}

// B13: a projected volume that mixes what is pinned with what is the host's
#[test]
fn a_config_map_stays_pinned_beside_content_of_the_host() {
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata: {app.conf: x}\n---\n";
    let sources = |list: &str| {
        pod(
            &format!("volumes: [{{name: v, projected: {{sources: [{list}]}}}}],"),
            "volumeMounts: [{name: v, mountPath: /v}]",
        )
    };
    for other in [
        "{downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}",
        "{serviceAccountToken: {path: token}}",
    ] {
        let list = format!("{{configMap: {{name: m}}}}, {other}");
        let generated = run(&format!("{map}{}", sources(&list))).unwrap();
        match &generated.workloads[0].policy.volumes["v"] {
            Volume::Untrusted { files, .. } => {
                assert_eq!(files.keys().collect::<Vec<_>>(), ["app.conf"]);
                assert_eq!(files["app.conf"], Sha256Digest::of(b"x"));
            }
            other => panic!("{other:?}"),
        }
        let said = generated.warnings.iter().any(|w| w.text.contains("pinned: app.conf"));
        assert!(said, "{:?}", generated.warnings);
        // Not given: the host would choose it.
        refused(&sources(&list), "spec.containers[0].volumeMounts[0]");
    }
    // What the cluster itself puts beside a token, and only there.
    let token = "{serviceAccountToken: {path: token}}";
    let root = "{configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}}";
    let generated = run(&sources(&format!("{token}, {root}"))).unwrap();
    let said = generated.warnings.iter().any(|w| w.text.contains("kube-root-ca.crt"));
    assert!(said, "{:?}", generated.warnings);
    refused(&sources(root), "spec.containers[0].volumeMounts[0]");
}

#[test]
fn ephemeral_containers_come_by_the_annotation_only() {
    let field = "ephemeralContainers: [{name: dbg, image: plain.example/app}],";
    let generated = run(&pod(field, "")).unwrap();
    let names: Vec<_> = generated.workloads[0].policy.containers.keys().collect();
    assert_eq!(names, ["c"]);
    let warned = generated.warnings.iter().find(|w| w.path == "spec.ephemeralContainers").unwrap();
    assert!(warned.text.contains("left out"), "{}", warned.text);
    let annotation = r#"{name: p, annotations: {io.casemate.ephemeral-containers: '[{"name": "dbg", "image": "plain.example/app"}]'}}"#;
    let generated = run(&pod(field, "").replace("{name: p}", annotation)).unwrap();
    assert!(generated.workloads[0].policy.containers.contains_key("dbg"));
}

#[test]
fn kernel_settings_that_are_not_the_pods() {
    let sysctl = |name: &str, value: &str| {
        let list = format!("[{{name: {name}, value: \"{value}\"}}]");
        pod(&format!("securityContext: {{sysctls: {list}}},"), "")
    };
    let path = |field: &str| format!("spec.securityContext.sysctls[0].{field}");
    // A11
    let problem = invalid(&sysctl("net.core.bpf_jit_enable", "1"), &path("name"));
    assert!(matches!(problem, Invalid::Sysctl { .. }));
    // E14
    let problem = invalid(&sysctl("net.ipv6.conf.all.accept_ra", "2"), &path("value"));
    assert!(matches!(problem, Invalid::SysctlValue { .. }));
    assert!(run(&sysctl("net.ipv6.conf.all.accept_ra", "0")).is_ok());
}

#[test]
fn literal_secrets_are_warned_of_without_their_value() {
    let generated = run(&pod(
        "",
        "env: [{name: DB_PASSWORD, value: hunter2}, {name: DB_PASSWORD_FILE, value: /run/db}, \
         {name: API_KEY, value: ''}, {name: POD_TOKEN, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}]",
    ))
    .unwrap();
    let secrets: Vec<_> =
        generated.warnings.iter().filter(|w| w.text.contains("looks like a secret")).collect();
    assert_eq!(secrets.len(), 1, "{secrets:?}");
    assert_eq!(secrets[0].path, "spec.containers[0].env[0]");
    assert!(secrets[0].text.starts_with("DB_PASSWORD "), "{secrets:?}");
    assert!(!generated.warnings.iter().any(|w| w.text.contains("hunter2")));
}

#[test]
fn a_shell_on_the_exec_list_is_warned_of() {
    let warned = |list: &str| {
        let annotations = format!("{{name: p, annotations: {{io.casemate.exec: '{list}'}}}}");
        let generated = run(&pod("", "").replace("{name: p}", &annotations)).unwrap();
        let shells = generated.warnings.into_iter().filter(|w| w.text.contains("runs the cluster"));
        shells.map(|w| w.text).collect::<Vec<_>>()
    };
    assert_eq!(warned(r#"[["/bin/date"], ["/bin/sh", "-c", "date"]]"#), Vec::<String>::new());
    let everywhere = warned(r#"[["/bin/date"], ["/bin/sh"]]"#);
    assert!(everywhere.len() == 1 && everywhere[0].contains("in every container whatever sh"));
    let one = warned(r#"{"c": [{"argv": ["env", "python3", "-i"], "tty": true, "stdin": true}]}"#);
    assert!(one.len() == 1 && one[0].contains("in c whatever python"), "{one:?}");
}

#[test]
fn what_is_not_carried_out_is_said() {
    let warned = |yaml: &str, path: &str, part: &str| {
        let warnings = run(yaml).unwrap().warnings;
        let found = warnings.iter().any(|w| w.path == path && w.text.contains(part));
        assert!(found, "{path}: {warnings:?}");
    };
    warned(&pod("hostUsers: false,", ""), "spec.hostUsers", "not carried out");
    let limits = "resources: {limits: {memory: 1Gi}},";
    warned(&pod(limits, ""), "spec.resources", "set them on the containers");
    let windows = "securityContext: {windowsOptions: {hostProcess: true}},";
    warned(&pod(windows, ""), "spec.securityContext.windowsOptions", "Linux");
    let unconfined = "securityContext: {seccompProfile: {type: Unconfined}}";
    let path = "spec.containers[0].securityContext.seccompProfile.type";
    warned(&pod("", unconfined), path, "not filtered");
    for volume in [
        "persistentVolumeClaim: {claimName: x}",
        "csi: {driver: x}",
        "image: {reference: x}",
        "hostPath: {path: /}",
    ] {
        let volumes = format!("volumes: [{{name: v, {volume}}}],");
        warned(&pod(&volumes, ""), "spec.volumes", "volume v is left out");
    }
    let annotated =
        pod("", "").replace("{name: p}", "{name: p, annotations: {io.casemate.exce: '[]'}}");
    warned(&annotated, "metadata.annotations[io.casemate.exce]", "nothing reads");
    // What is as good as absent.
    let mild =
        pod("hostUsers: true, securityContext: {seccompProfile: {type: RuntimeDefault}},", "");
    let warnings = run(&mild).unwrap().warnings;
    let said = |part: &str| warnings.iter().any(|w| w.text.contains(part));
    assert!(!said("not carried out") && !said("not filtered") && !said("nothing reads"));
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
