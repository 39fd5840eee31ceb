// SPDX-License-Identifier: Apache-2.0
//! What it costs to make a policy from a registry.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::ensure;
use ring::digest::SHA256;
use serde_json::Value;
use serde_json::json;

use super::median;
use crate::demo::Stage;
use crate::registry::Registry;
use crate::world;

/// Prints how long a policy takes whose image has ten layers: with the image's users sought in the one
/// layer that has them, and with all layers gone from the registry.
pub(super) fn run(stage: &Stage, rounds: u32) -> anyhow::Result<()> {
    let root = stage.world.root().join("ten-layers");
    let layers = make_layout(&root)?;
    stage.registry.push(&root.join("layout"), "bench/ten-layers", "1")?;
    let casemate = stage.artifacts.release_programs().join("casemate");
    let measure = |what: &str, security: &str| -> anyhow::Result<()> {
        let pod = root.join("pod.yaml");
        let image = format!("{}/bench/ten-layers:1", Registry::address());
        let yaml = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: bench}}, spec: {{securityContext: \
             {{{security}}}, containers: [{{name: app, image: \"{image}\"}}]}}}}\n"
        );
        fs::write(&pod, yaml).context("write the pod")?;
        let mut times = Vec::new();
        for _ in 0..rounds.max(5) {
            times.push(timed(generate(&casemate, &pod, stage.registry.ca()))?);
        }
        println!("{what:<32} {:>8} ms", median(times)?.as_millis());
        Ok(())
    };
    measure("policy, ten layers, users read", "runAsUser: 1000")?;
    for layer in layers {
        let store = stage.world.root().join("registry/store/docker/registry/v2/blobs/sha256");
        let start = layer.get(..2).context("a digest")?;
        let blob = store.join(start).join(&layer).join("data");
        fs::remove_file(&blob).with_context(|| format!("remove {}", blob.display()))?;
    }
    let settled = "runAsUser: 1000, runAsGroup: 1000, supplementalGroupsPolicy: Strict";
    measure("policy, ten layers, none read", settled)
}

fn generate(casemate: &Path, pod: &Path, ca: &Path) -> Command {
    let mut command = Command::new(casemate);
    command.args(["policy", "generate", "--broker-url", "https://broker.invalid", "-f"]).arg(pod);
    command.arg("--broker-ca").arg(ca);
    command.arg("--registry-ca").arg(format!("{}={}", Registry::address(), ca.display()));
    command
}

fn timed(mut command: Command) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let output = command.stdout(Stdio::null()).output().context("start casemate")?;
    let elapsed = begun.elapsed();
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(elapsed)
}

/// Makes an image of ten layers of a mebibyte each; the lowest has the users, and the history says of
/// the others that they were copied to /srv. Gives the layers' digests in hexadecimal digits.
fn make_layout(root: &Path) -> anyhow::Result<Vec<String>> {
    let blobs = root.join("layout/blobs/sha256");
    fs::create_dir_all(&blobs).context("create the layout")?;
    let put = |bytes: &[u8]| -> anyhow::Result<String> {
        let hex = hex::encode(ring::digest::digest(&SHA256, bytes));
        fs::write(blobs.join(&hex), bytes).context("write a blob")?;
        Ok(hex)
    };
    let (mut layers, mut diff_ids, mut history) = (Vec::new(), Vec::new(), Vec::new());
    let mut digests = Vec::new();
    for number in 0..LAYERS {
        let bytes = fs::read(make_layer(root, number)?).context("read a layer")?;
        let hex = put(&bytes)?;
        let digest = format!("sha256:{hex}");
        layers.push(json!({
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": digest, "size": bytes.len()
        }));
        diff_ids.push(digest);
        digests.push(hex);
        let step = if number == 0 { "ADD base / # buildkit" } else { "COPY x /srv/x # buildkit" };
        history.push(json!({"created_by": step}));
    }
    let describe = |kind: &str, value: Value| -> anyhow::Result<Value> {
        let bytes = value.to_string().into_bytes();
        let digest = format!("sha256:{}", put(&bytes)?);
        let kind = format!("application/vnd.oci.image.{kind}.v1+json");
        Ok(json!({"mediaType": kind, "digest": digest, "size": bytes.len()}))
    };
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/bin/app"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": history,
    });
    let config = describe("config", config)?;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config, "layers": layers,
    });
    let manifest = describe("manifest", manifest)?;
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    fs::write(root.join("layout/index.json"), index.to_string()).context("write the index")?;
    fs::write(root.join("layout/oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
        .context("write the layout's mark")?;
    Ok(digests)
}

fn make_layer(root: &Path, number: u8) -> anyhow::Result<PathBuf> {
    let content = root.join(format!("layer-{number}"));
    let (folder, archive) = (content.join("srv/x"), root.join(format!("layer-{number}.tar")));
    fs::create_dir_all(&folder).context("create a layer")?;
    fs::write(folder.join(number.to_string()), vec![number; 1 << 20]).context("fill a layer")?;
    if number == 0 {
        fs::create_dir_all(content.join("etc")).context("create /etc")?;
        fs::write(content.join("etc/passwd"), "app:x:1000:1000::/:\n").context("write passwd")?;
        fs::write(content.join("etc/group"), "app:x:1000:\n").context("write group")?;
    }
    let (to, from) = (archive.display().to_string(), content.display().to_string());
    world::run("tar", &["-cf", &to, "-C", &from, "."])?;
    Ok(archive)
}

const LAYERS: u8 = 10;
