// SPDX-License-Identifier: Apache-2.0
//! The demo: from a pod's YAML to its output in an attested VM, then the attacks.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::bail;
use anyhow::ensure;
use k8s_cri::v1::ContainerState;

use crate::artifacts::Artifacts;
use crate::attack;
use crate::containerd::Release;
use crate::image;
use crate::keep;
use crate::node::Node;
use crate::node::RunningPod;
use crate::node::SoftwareTee;
use crate::owner::Owner;
use crate::owner::Prepared;
use crate::pod::Pod;
use crate::registry::Registry;
use crate::report::Report;
use crate::report::Timeline;
use crate::world::World;

/// What the demo shall do.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Another pod than the built-in one.
    pub pod: Option<PathBuf>,
    /// Images of that pod: name in the YAML and OCI layout.
    pub images: Vec<(String, PathBuf)>,
    /// Where to leave the evidence.
    pub keep: Option<PathBuf>,
}

/// Everything that runs during the demo.
#[derive(Debug)]
pub struct Stage {
    /// Namespaces.
    pub world: World,
    /// Built files.
    pub artifacts: Artifacts,
    /// Registry.
    pub registry: Registry,
    /// Owner.
    pub owner: Owner,
    /// Node.
    pub node: Node,
    /// Ends with the stage.
    pub tee: SoftwareTee,
    begun: Instant,
}

impl Stage {
    /// Starts registry, software TEE, broker and node.
    ///
    /// # Errors
    ///
    /// When one does not start.
    pub async fn start(world: World, release: Release) -> anyhow::Result<Self> {
        let begun = Instant::now();
        let artifacts = Artifacts::find()?;
        let registry = Registry::start(&world, &artifacts)?;
        let tee = SoftwareTee::start(&world, &artifacts)?;
        let owner = Owner::start(&world, &artifacts, tee.chain())?;
        let node = Node::start(&world, &artifacts, &registry, release).await?;
        Ok(Self { world, artifacts, registry, owner, node, tee, begun })
    }

    /// Tells a person what happens.
    pub fn say(&self, text: &str) {
        eprintln!("[{:>6.1} s] {text}", self.begun.elapsed().as_secs_f64());
    }

    /// The launch digest that the owner predicts for a guest image.
    ///
    /// # Errors
    ///
    /// When `casemate measure` fails.
    pub fn predict(&self, guest_image: &Path) -> anyhow::Result<String> {
        let out = self.owner.casemate(&[
            "measure",
            "snp",
            "--guest-image",
            &guest_image.display().to_string(),
            "--vcpus",
            "1",
            "--vcpu-type",
            "EPYC-v4",
            "--json",
        ])?;
        let json: serde_json::Value = serde_json::from_str(&out).context("parse the digest")?;
        Ok(json["launch_digest"].as_str().context("no launch_digest")?.to_owned())
    }

    /// Generates policy and initdata for a pod, and grants it the image key.
    ///
    /// # Errors
    ///
    /// When a command fails.
    pub fn prepare(&self, pod: &Path, mirrored: &[String], name: &str) -> anyhow::Result<Prepared> {
        let prepared = self.owner.generate(pod, &self.registry, mirrored, name)?;
        self.owner.allow_image_key(&prepared.initdata_digest)?;
        Ok(prepared)
    }
}

/// Runs the demo inside a world.
///
/// # Errors
///
/// When anything that should work does not, or an attack is not refused.
pub async fn run(options: &Options) -> anyhow::Result<Report> {
    let world = World::prepare()?;
    let cgroups = world.cgroup_parent();
    eprintln!(
        "demo: registry, software TEE, broker, snapshotter, containerd start (cgroup {cgroups})"
    );
    let mut stage = Stage::start(world, Release::V1_6).await?;
    let (yaml, mirrored) = provide_images(&mut stage, options)?;
    let digest = stage.predict(&stage.artifacts.guest_image("sim"))?;
    stage.say(&format!("launch digest, predicted offline: {digest}"));
    stage.owner.accept(&digest)?;
    let prepared = stage.prepare(&yaml, &mirrored, "pod")?;
    stage.say(&format!("policy generated; initdata sha256:{}", prepared.initdata_digest));
    let pod = Pod::read(&prepared.pod)?;

    stage.say("the pod starts");
    let asked = Instant::now();
    let running = stage.node.start_pod(&pod).await.map_err(|status| {
        anyhow::anyhow!(
            "the pod does not start: {}\n{}",
            status.message(),
            stage.node.containerd.log_end()
        )
    })?;
    let outputs = collect_outputs(&mut stage, &pod, &running).await?;
    stage.say(&format!("all containers have written after {} ms", asked.elapsed().as_millis()));
    let mut report = Report { tee: "sim".to_owned(), outputs, ..Report::default() };
    read_evidence(&stage, &running, &digest, &mut report)?;
    show(&report);
    if let Some(dir) = &options.keep {
        keep::evidence(&stage, &prepared, dir)?;
        stage.say(&format!("evidence kept in {}", dir.display()));
    }

    stage.say("attack: a command that the policy does not list");
    report.refused.push(attack::exec(&mut stage, &pod, &running).await?);
    stage.node.cri.remove_pod(&running.id).await.context("remove the pod")?;
    let honest_boot = Duration::from_millis(report.timeline_ms.agent_ready);
    stage.say("attack: another command than at policy time");
    report.refused.push(attack::command(&mut stage, &pod).await?);
    stage.say("attack: kernel command line changed, hash table as it was (waits for a guest that must not come)");
    report.refused.push(attack::cmdline_old_table(&mut stage, &pod, honest_boot).await?);
    stage.say("attack: kernel command line changed, hash table made to fit");
    report.refused.push(attack::cmdline_new_table(&mut stage, &pod, &digest).await?);
    stage.say("attack: initdata swapped after the launch parameters were fixed");
    report.refused.push(attack::initdata(&mut stage, &pod).await?);
    stage.say("attack: another image under the same tag");
    report.refused.push(attack::tag(&mut stage, &pod).await?);
    // The last shim ends a moment after its last answer.
    tokio::time::sleep(Duration::from_secs(1)).await;
    report.leftovers = stage.node.leftovers()?;
    for refused in &report.refused {
        println!("refused  {:<18} {:<20} {}", refused.attack, refused.code, refused.reason);
    }
    Ok(report)
}

/// Encrypts and pushes the pod's images; returns its YAML and the registries that are mirrored.
fn provide_images(stage: &mut Stage, options: &Options) -> anyhow::Result<(PathBuf, Vec<String>)> {
    let Some(yaml) = &options.pod else {
        ensure!(options.images.is_empty(), "--image goes with --pod");
        for (name, recipe) in built_in_images() {
            let layout = image::make(&stage.world.root().join("images").join(name), &recipe)?;
            publish(stage, &layout, &format!("demo/{name}"), "1")?;
        }
        return Ok((PathBuf::from(BUILT_IN_POD), Vec::new()));
    };
    let given: BTreeMap<&str, &Path> =
        options.images.iter().map(|(name, dir)| (name.as_str(), dir.as_path())).collect();
    let mut mirrored = BTreeSet::new();
    for container in &Pod::read(yaml)?.spec.containers {
        let Some(layout) = given.get(container.image.as_str()) else {
            bail!("no image for {0}: pass --image {0}=OCI_LAYOUT_DIR", container.image);
        };
        let name = ImageName::parse(&container.image);
        publish(stage, layout, &name.repository, &name.tag)?;
        if name.host != Registry::address() && mirrored.insert(name.host.clone()) {
            stage.node.containerd.mirror(&stage.world, &name.host, &stage.registry)?;
        }
    }
    Ok((yaml.clone(), mirrored.into_iter().collect()))
}

fn publish(stage: &Stage, layout: &Path, repository: &str, tag: &str) -> anyhow::Result<()> {
    stage.say(&format!("encrypt and push {repository}:{tag}"));
    let encrypted =
        stage.owner.encrypt(layout, &format!("{}-{tag}", repository.replace('/', "-")))?;
    stage.registry.push(&encrypted, repository, tag)
}

/// What each container has written once all have written a line, ended, or had their time.
async fn collect_outputs(
    stage: &mut Stage,
    pod: &Pod,
    running: &RunningPod,
) -> anyhow::Result<BTreeMap<String, String>> {
    let mut outputs = BTreeMap::new();
    for container in &pod.spec.containers {
        let name = &container.name;
        let id = running.containers.get(name).context("no container id")?.clone();
        let begun = Instant::now();
        let text = loop {
            let text = stage.node.log(running, name).unwrap_or_default();
            let ended = stage.node.cri.status(&id).await.context("container status")?.state()
                == ContainerState::ContainerExited;
            if text.ends_with('\n') || ended || begun.elapsed() > QUIET {
                break text;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        outputs.insert(name.clone(), text);
    }
    // One that greets in several lines gets to finish them.
    tokio::time::sleep(Duration::from_millis(300)).await;
    for (name, text) in &mut outputs {
        *text = stage.node.log(running, name).unwrap_or_default();
    }
    Ok(outputs)
}

/// Fills in what broker and shim know about the pod that just started.
fn read_evidence(
    stage: &Stage,
    running: &RunningPod,
    predicted: &str,
    report: &mut Report,
) -> anyhow::Result<()> {
    let accepted = stage
        .owner
        .audit()?
        .into_iter()
        .rev()
        .find(|record| record["outcome"] == "accepted")
        .context("the broker accepted nobody")?;
    let text = |key: &str| accepted[key].as_str().unwrap_or_default().to_owned();
    report.root = text("root");
    report.launch_digest = text("measurement");
    report.verdict = text("outcome");
    ensure!(report.launch_digest == predicted, "the launch digest is not the predicted one");
    let status = Node::shim_status(running)?;
    let marks = &status["timeline_ms"];
    let mark =
        |key: &str| marks[key].as_u64().with_context(|| format!("no mark {key} in {status}"));
    let all = |prefix: &str| -> Vec<u64> {
        let times = marks.as_object().into_iter().flatten();
        times.filter(|(k, _)| k.starts_with(prefix)).filter_map(|(_, v)| v.as_u64()).collect()
    };
    report.timeline_ms = Timeline {
        vm_start: mark("vm_start")?,
        kernel: mark("kernel")?,
        agent_ready: mark("agent_ready")?,
        attested: mark("attested")?,
        pulled: all("pulled:").into_iter().max().context("no image was pulled")?,
        first_output: all("first_output:").into_iter().min().context("no output was seen")?,
    };
    Ok(())
}

fn show(report: &Report) {
    println!("\nlaunch digest  {}", report.launch_digest);
    println!("verdict        {} by root {}", report.verdict, report.root);
    for (name, text) in &report.outputs {
        for line in text.lines() {
            println!("{name:<14} | {line}");
        }
    }
    let t = &report.timeline_ms;
    println!(
        "timeline (ms)  vm_start {}  kernel {}  agent_ready {}  attested {}  pulled {}  first_output {}\n",
        t.vm_start, t.kernel, t.agent_ready, t.attested, t.pulled, t.first_output
    );
}

/// An image name taken apart as containerd does.
pub(crate) struct ImageName {
    pub(crate) host: String,
    pub(crate) repository: String,
    pub(crate) tag: String,
}

impl ImageName {
    pub(crate) fn parse(name: &str) -> Self {
        let name = name.split('@').next().unwrap_or(name);
        let (host, rest) = match name.split_once('/') {
            Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => {
                (host, rest.to_owned())
            }
            Some(_) => ("docker.io", name.to_owned()),
            None => ("docker.io", format!("library/{name}")),
        };
        let (repository, tag) = rest.rsplit_once(':').unwrap_or((&rest, "latest"));
        Self { host: host.to_owned(), repository: repository.to_owned(), tag: tag.to_owned() }
    }
}

/// The built-in pod's images.
pub(crate) fn built_in_images() -> [(&'static str, image::Recipe<'static>); 2] {
    [
        (
            "greeter",
            image::Recipe {
                files: &[("/message", "This file was readable only inside the attested guest.\n")],
                env: &["PATH=/bin"],
                ..image::Recipe::default()
            },
        ),
        (
            "keeper",
            image::Recipe {
                files: &[
                    ("/etc/passwd", "keeper:x:1000:1000::/:/bin/sh\n"),
                    ("/etc/group", "keeper:x:1000:\n"),
                ],
                command: &["/bin/sh", "-c", "echo keeper runs as $(id -u); exec sleep 3600"],
                env: &["PATH=/bin"],
                user: "keeper",
                zeros_mib: 0,
            },
        ),
    ]
}

/// How long a container may be silent before the demo goes on without its words.
const QUIET: Duration = Duration::from_secs(15);
/// The built-in pod.
pub(crate) const BUILT_IN_POD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/pods/demo.yaml");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_image_names_apart_as_containerd_does() {
        let parts = |name: &str| {
            let n = ImageName::parse(name);
            format!("{} {} {}", n.host, n.repository, n.tag)
        };
        assert_eq!(parts("nginx"), "docker.io library/nginx latest");
        assert_eq!(parts("acme/app:2"), "docker.io acme/app 2");
        assert_eq!(parts("ghcr.io/acme/app:2"), "ghcr.io acme/app 2");
        assert_eq!(parts("10.0.0.1:5000/a/b"), "10.0.0.1:5000 a/b latest");
    }
}
