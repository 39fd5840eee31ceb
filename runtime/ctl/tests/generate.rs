// SPDX-License-Identifier: Apache-2.0
//! `casemate policy generate` as a person calls it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

mod desk;

use std::fs;
use std::path::Path;

use ring::digest::SHA256;
use ring::digest::digest;

use crate::desk::Desk;
use crate::desk::POD;
use crate::desk::casemate;
use crate::desk::failure;
use crate::desk::stdout;

/// Compares with a file in tests/golden, or writes it if CASEMATE_BLESS is set.
fn expect(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("CASEMATE_BLESS").is_some() {
        fs::write(&path, found).unwrap();
    }
    assert_eq!(found, fs::read_to_string(&path).unwrap_or_default(), "{name} differs");
}

#[test]
fn generates_a_policy_from_a_layout() {
    let desk = Desk::new();
    let (policy, initdata) = (desk.text("policy.toml"), desk.text("initdata.toml"));
    let output = desk.generate("image", &["--policy-out", &policy, "--initdata-out", &initdata]);
    let yaml = stdout(&output);
    expect("policy.toml", &fs::read_to_string(&policy).unwrap());
    expect("warnings.txt", &String::from_utf8(output.stderr.clone()).unwrap());
    assert!(yaml.contains("  name: web # ours\n"), "{yaml}");
    assert!(yaml.contains("    io.casemate.initdata: \"H4sI"), "{yaml}");

    // Deterministic.
    assert_eq!(stdout(&desk.generate("image", &[])), yaml);

    // The digest is that of the file's bytes.
    let measured = stdout(&casemate(&["measure", "initdata", &initdata]));
    let bytes = fs::read(&initdata).unwrap();
    let hex: String = digest(&SHA256, &bytes).as_ref().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(measured, format!("sha256 {hex}\n"));
}

#[test]
fn an_encrypted_image_is_demanded_encrypted() {
    let desk = Desk::new();
    let (key, source, dest) = (desk.text("key"), desk.text("image"), desk.text("sealed"));
    let args = ["image", "encrypt", "--key-file", &key, "--key-id", "kbs:///default/key/1"];
    let paths = ["--source", &source, "--dest", &dest];
    let digest = stdout(&casemate(&[&args[..], &paths[..]].concat()));
    assert!(digest.starts_with("sha256:") && digest.len() == 72, "{digest}");

    // The user's name stands in a layer that only the guest can read.
    let line = failure(&desk.generate("sealed", &[]), "pod");
    assert!(line.contains("\"web\" is a name"), "{line}");
    let pod = fs::read_to_string(desk.path("pod.yaml")).unwrap();
    fs::write(
        desk.path("pod.yaml"),
        format!("{pod}    securityContext: {{runAsUser: 101, runAsGroup: 102}}\n"),
    )
    .unwrap();
    let policy = desk.text("policy.toml");
    stdout(&desk.generate("sealed", &["--policy-out", &policy]));
    let policy = fs::read_to_string(&policy).unwrap();
    assert!(policy.contains("encryption = \"required\""), "{policy}");
    assert!(policy.contains(digest.trim()), "{policy}");
}

/// Calls the generator with these files and the one image, and no registry.
fn generate(desk: &Desk, files: &[&str], more: &[&str]) -> std::process::Output {
    let ca = desk.text("ca.pem");
    let files: Vec<String> = files.iter().map(|name| desk.text(name)).collect();
    let mut args = vec!["policy", "generate", "--broker-url", "https://broker.example"];
    args.extend(["--broker-ca", &ca]);
    for file in &files {
        args.extend(["-f", file]);
    }
    args.extend(more);
    casemate(&args)
}

fn layout(desk: &Desk) -> String {
    format!("registry.example/web:v1={}", desk.text("image"))
}

const APP: &str = "\
# the shop
apiVersion: v1
kind: Service
metadata: {name: web}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  template:
    spec:
      containers:
      - name: web
        image: registry.example/web:v1
        envFrom: [{configMapRef: {name: settings}}]
        volumeMounts: [{name: files, mountPath: /etc/web}]
      volumes: [{name: files, configMap: {name: files}}]
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: tidy, namespace: shop}
spec:
  schedule: \"@daily\"
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers: [{name: web, image: \"registry.example/web:v1\", args: [tidy]}]
";

const SETTINGS: &str = "\
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: shop}
data: {MODE: fast}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: files, namespace: shop}
data: {web.conf: \"port = 80\\n\"}
";

#[test]
fn several_workloads_from_a_folder() {
    let desk = Desk::new();
    let folder = desk.path("app");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("10-app.yaml"), APP).unwrap();
    fs::write(folder.join("20-settings.yml"), SETTINGS).unwrap();
    fs::write(folder.join("README"), "no YAML: [").unwrap();
    let (policies, layout) = (desk.text("policies"), layout(&desk));
    let more = ["--image-layout", &layout, "--policy-out", &policies];
    let secret = "web:/run/secrets/db=kbs:///shop/db/password";
    let key = desk.text("team.pub");
    fs::write(&key, "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n").unwrap();
    let initdata = desk.text("initdata");
    let keys = ["--image-signature-key", &key, "--audit-key", &key, "--secret", secret];
    let more = [&more[..], &keys[..], &["--initdata-out", &initdata]].concat();
    let yaml = stdout(&generate(&desk, &["app"], &more));
    assert!(yaml.starts_with("# the shop\napiVersion: v1\nkind: Service\n"), "{yaml}");
    assert_eq!(yaml.matches("io.casemate.initdata: ").count(), 2);
    // The ConfigMaps are applied as they are.
    assert!(!yaml.contains("kind: ConfigMap"));

    let read = |name: &str| fs::read_to_string(Path::new(&policies).join(name)).unwrap();
    let deployment = read("shop.deployment-web.policy.toml");
    assert!(deployment.contains("{ name = \"MODE\", value = \"fast\" }"), "{deployment}");
    assert!(deployment.contains("\"web.conf\" = \"sha256:"), "{deployment}");
    assert!(deployment.contains("signature = \"team\""), "{deployment}");
    assert!(deployment.contains("resource = \"kbs:///shop/db/password\""), "{deployment}");
    let job = read("shop.cronjob-tidy.policy.toml");
    assert!(job.contains("argv = [\"/bin/web\", \"tidy\"]"), "{job}");
    let path = Path::new(&initdata).join("shop.cronjob-tidy.initdata.toml");
    let initdata = fs::read_to_string(path).unwrap();
    assert!(initdata.contains("[audit]") && initdata.contains("[image_signatures.team]"));
}

#[test]
fn what_is_not_given_is_said_with_a_way_out() {
    let desk = Desk::new();
    fs::write(desk.path("app.yaml"), APP).unwrap();
    fs::write(desk.path("settings.yaml"), SETTINGS).unwrap();
    let layout = layout(&desk);
    let call = |files: &[&str], more: &[&str]| {
        generate(&desk, files, &[&["--image-layout", &layout], more].concat())
    };
    let line = failure(&call(&["app.yaml"], &[]), "pod");
    let place = "Deployment web: spec.template.spec.containers[0].envFrom[0].configMapRef: ";
    assert!(line.contains(place) && line.contains("with a further -f"), "{line}");

    let one = SETTINGS.split("---\n").next().unwrap();
    fs::write(desk.path("settings.yaml"), one).unwrap();
    let line = failure(&call(&["app.yaml", "settings.yaml"], &[]), "pod");
    assert!(line.contains("--untrusted-volume files"), "{line}");
    let policies = desk.text("policies");
    let more = ["--untrusted-volume", "files", "--policy-out", &policies];
    let output = call(&["app.yaml", "settings.yaml"], &more);
    let warnings = String::from_utf8(output.stderr.clone()).unwrap();
    stdout(&output);
    assert!(warnings.contains("the host chooses the content"), "{warnings}");
    let line = failure(&call(&["app.yaml", "settings.yaml"], &["--untrusted-volume", "x"]), "pod");
    assert!(line.contains("--untrusted-volume names x"), "{line}");
    let both = ["--untrusted-volume", "files", "--policy-out", &desk.text("ca.pem")];
    failure(&call(&["app.yaml", "settings.yaml"], &both), "file");
    failure(&call(&["missing-folder"], &[]), "file");
    fs::create_dir(desk.path("empty")).unwrap();
    failure(&call(&["empty"], &[]), "file");
    failure(&call(&["app.yaml"], &["--secret", "web=/x"]), "usage");
    let twice = ["--image-signature-key", "a.pub", "--image-signature-key", "b.pub"];
    failure(&call(&["app.yaml"], &twice), "usage");
}

#[test]
fn a_captured_folder_gives_the_same_bytes_without_a_registry() {
    let desk = Desk::new();
    let (captured, layout) = (desk.text("captured"), layout(&desk));
    let first =
        generate(&desk, &["pod.yaml"], &["--image-layout", &layout, "--capture", &captured]);
    let first = stdout(&first);
    fs::remove_dir_all(desk.path("image")).unwrap();
    let offline = || generate(&desk, &["pod.yaml"], &["--offline", &captured]);
    assert_eq!(stdout(&offline()), first);

    // Every byte is compared with its digest.
    let blobs = desk.path("captured/blobs");
    for entry in fs::read_dir(&blobs).unwrap() {
        let path = entry.unwrap().path();
        let kept = fs::read(&path).unwrap();
        let mut changed = kept.clone();
        changed.push(b' ');
        fs::write(&path, changed).unwrap();
        failure(&offline(), "offline");
        fs::remove_file(&path).unwrap();
        failure(&offline(), "file");
        fs::write(&path, kept).unwrap();
    }
    assert_eq!(stdout(&offline()), first);
    let list = desk.path("captured/images.json");
    let text = fs::read_to_string(&list).unwrap();
    fs::write(&list, text.replace("web:v1", "web:v2")).unwrap();
    let line = failure(&offline(), "image");
    assert!(line.contains("registry.example/web:v1") && line.contains("--capture"), "{line}");
    for broken in ["", "{", "{\"version\": 2, \"images\": {}}", "{\"version\": 1}"] {
        fs::write(&list, broken).unwrap();
        failure(&offline(), "offline");
    }
}

#[test]
fn odd_yaml_is_answered_in_own_words() {
    let desk = Desk::new();
    for (text, words) in [
        ("a: [", "pod.yaml: line 1"),
        ("kind: Pod\nkind: Pod\n", "the key \"kind\" stands twice"),
        ("a: *b\n", "no anchor"),
        ("- a\n", "is not an object"),
        ("42\n", "is not an object"),
        ("a: 1\n", "kind: is missing"),
        ("", "nothing that runs containers"),
        ("apiVersion: v1\nkind: Service\n", "nothing that runs containers"),
        ("apiVersion: extensions/v1beta1\nkind: Deployment\n", "extensions/v1beta1 Deployment"),
        ("apiVersion: v1\nkind: Pod\nmetadata: 5\n", "metadata: is not an object"),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: yes}\nspec: {}\n",
            "metadata.name: is not text",
        ),
        ("\u{0}", "pod.yaml: line"),
    ] {
        fs::write(desk.path("pod.yaml"), text).unwrap();
        let line = failure(&generate(&desk, &["pod.yaml"], &[]), "pod");
        assert!(line.contains(words), "{text:?}: {line}");
    }
    fs::write(desk.path("pod.yaml"), POD.replace("image:", "imagE:")).unwrap();
    let line = failure(&generate(&desk, &["pod.yaml"], &[]), "pod");
    assert!(line.contains("spec.containers[0].image"), "{line}");
}
