// SPDX-License-Identifier: Apache-2.0
//! The snapshotter beside ordinary containers.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use anyhow::ensure;
use casemate_e2e::containerd::Containerd;
use casemate_e2e::demo::Stage;
use casemate_e2e::image;
use casemate_e2e::pod::Pod;
use casemate_e2e::registry::Registry;
use casemate_e2e::world;

/// An ordinary pod (runc) runs from a plain image through the same containerd.
pub(crate) async fn runc_pod_beside_ours(stage: &mut Stage) -> anyhow::Result<()> {
    let layout = plain(stage, "beside", "plain content\n")?;
    stage.registry.push(&layout, "test/beside", "1")?;
    runc(stage, "beside", "plain content\n").await
}

/// An encrypted image is pulled without its layers; its plain twin, of the same chain IDs, is complete.
pub(crate) async fn encrypted_then_its_plain_twin(stage: &mut Stage) -> anyhow::Result<()> {
    let layout = plain(stage, "twin", "first encrypted\n")?;
    let encrypted = stage.owner.encrypt(&layout, "twin")?;
    stage.registry.push(&encrypted, "test/twin-encrypted", "1")?;
    let before = blobs(stage)?;
    pull(stage, "test/twin-encrypted").await?;
    let fetched = blobs(stage)?.len().saturating_sub(before.len());
    ensure!(fetched == 2, "manifest and configuration were to be fetched, not {fetched} blobs");
    stage.registry.push(&layout, "test/twin", "1")?;
    runc(stage, "twin", "first encrypted\n").await?;
    casemate(stage, "twin-encrypted", "first encrypted\n").await
}

/// The other order: the plain image stays complete, the encrypted one needs nothing.
pub(crate) async fn plain_then_its_encrypted_twin(stage: &mut Stage) -> anyhow::Result<()> {
    let layout = plain(stage, "niwt", "first plain\n")?;
    stage.registry.push(&layout, "test/niwt", "1")?;
    runc(stage, "niwt", "first plain\n").await?;
    let encrypted = stage.owner.encrypt(&layout, "niwt")?;
    stage.registry.push(&encrypted, "test/niwt-encrypted", "1")?;
    casemate(stage, "niwt-encrypted", "first plain\n").await?;
    runc(stage, "niwt", "first plain\n").await
}

/// A plain image that overlayfs has already is unpacked again for our runtime at creation.
pub(crate) async fn image_already_there_by_overlayfs(stage: &mut Stage) -> anyhow::Result<()> {
    let layout = plain(stage, "already", "by overlayfs\n")?;
    stage.registry.push(&layout, "test/already", "1")?;
    runc(stage, "already", "by overlayfs\n").await?;
    casemate(stage, "already", "by overlayfs\n").await
}

/// Runs the image `test/<name>:1` in a VM, with a policy of its own.
async fn casemate(stage: &mut Stage, name: &str, expected: &str) -> anyhow::Result<()> {
    let yaml = stage.world.root().join(format!("{name}.yaml"));
    let pod_name = format!("{name}-cc");
    let text = pod_yaml(&pod_name, "casemate", &format!("test/{name}:1"), "cat /message; id -u");
    std::fs::write(&yaml, text).context("write the pod")?;
    let prepared = stage.prepare(&yaml, &[], name)?;
    let pod = Pod::read(&prepared.pod)?;
    let running = stage.node.start_pod(&pod).await.context("start the pod")?;
    let expected = format!("{expected}1234\n");
    let limit = Duration::from_secs(30);
    let log = stage.node.wait_for_output(&running, "main", limit, |t| t == expected).await;
    stage.node.cri.remove_pod(&running.id).await?;
    log.map(drop)
}

async fn runc(stage: &mut Stage, name: &str, expected: &str) -> anyhow::Result<()> {
    let yaml = pod_yaml(name, "runc", &format!("test/{name}:1"), "cat /message; id -u");
    let pod = Pod::parse(&yaml)?;
    let running = stage.node.start_pod(&pod).await.context("start the pod")?;
    let id = running.containers.get("main").context("container id")?.clone();
    let code = stage.node.wait_for_exit(&id, Duration::from_secs(20)).await;
    let log = stage.node.log(&running, "main");
    stage.node.cri.remove_pod(&running.id).await?;
    let (code, log) = (code?, log?);
    ensure!(code == 0 && log == format!("{expected}1234\n"), "exit code {code}, output {log:?}");
    Ok(())
}

async fn pull(stage: &mut Stage, repository: &str) -> anyhow::Result<()> {
    let yaml = pod_yaml("puller", "casemate", &format!("{repository}:1"), "true");
    let sandbox = Pod::parse(&yaml)?.sandbox("puller", "/none", stage.node.root());
    let image = format!("{}/{repository}:1", Registry::address());
    stage.node.cri.pull(&image, &sandbox).await.context("pull the image")?;
    Ok(())
}

/// An image whose layer is unlike any other test's, with a named user.
fn plain(stage: &Stage, name: &str, message: &str) -> anyhow::Result<PathBuf> {
    image::make(
        &stage.world.root().join("images").join(name),
        &image::Recipe {
            files: &[
                ("/message", message),
                ("/etc/passwd", "app:x:1234:1234::/:/bin/sh\n"),
                ("/etc/group", "app:x:1234:\n"),
                ("/name", name),
            ],
            env: &["PATH=/bin"],
            user: "app",
            ..image::Recipe::default()
        },
    )
}

/// Digests in containerd's content store.
fn blobs(stage: &Stage) -> anyhow::Result<Vec<String>> {
    let socket = Containerd::socket().display().to_string();
    let text = world::run(
        &stage.artifacts.tool("ctr").display().to_string(),
        &["-a", &socket, "-n", "k8s.io", "content", "ls", "-q"],
    )?;
    Ok(text.lines().map(str::to_owned).collect())
}

pub(crate) fn pod_yaml(name: &str, handler: &str, image: &str, script: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  runtimeClassName: {handler}\n  \
         enableServiceLinks: false\n  automountServiceAccountToken: false\n  restartPolicy: Never\n  \
         containers:\n  - name: main\n    image: {}/{image}\n    command: [\"/bin/sh\", \"-c\", {script:?}]\n",
        Registry::address()
    )
}
