// SPDX-License-Identifier: Apache-2.0
//! The demo: from a pod's YAML to its output in an attested VM, then the attacks.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::ensure;
use k8s_cri::v1::ContainerState;

use crate::artifacts::Artifacts;
use crate::attack;
use crate::containerd::Release;
use crate::image;
use crate::keep;
use crate::kubelet::RunningPod;
use crate::node::Node;
use crate::node::SoftwareTee;
use crate::owner::Owner;
use crate::owner::Prepared;
use crate::pod;
use crate::pod::Pod;
use crate::pod::Target;
use crate::registry::Registry;
use crate::report::Failure;
use crate::report::Refused;
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

impl Options {
    /// The same with absolute paths.
    ///
    /// # Errors
    ///
    /// When the current directory cannot be told.
    pub fn absolute(self) -> anyhow::Result<Self> {
        let absolute = |path: PathBuf| std::path::absolute(&path).context("absolute path");
        let images = self.images.into_iter().map(|(name, dir)| Ok((name, absolute(dir)?)));
        Ok(Self {
            pod: self.pod.map(absolute).transpose()?,
            images: images.collect::<anyhow::Result<_>>()?,
            keep: self.keep.map(absolute).transpose()?,
        })
    }
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
    /// Starts registry, software TEE, broker and node. `class`: see [`Node::start`].
    ///
    /// # Errors
    ///
    /// When one does not start.
    pub async fn start(
        world: World,
        release: Release,
        class: Option<&str>,
    ) -> anyhow::Result<Self> {
        let begun = Instant::now();
        let artifacts = Artifacts::find()?;
        let registry = Registry::start(&world, &artifacts)?;
        let tee = SoftwareTee::start(&world, &artifacts)?;
        let owner = Owner::start(&world, &artifacts, tee.chain())?;
        let node = Node::start(&world, &artifacts, &registry, release, class).await?;
        Ok(Self { world, artifacts, registry, owner, node, tee, begun })
    }

    /// Tells a person what happens.
    pub fn say(&self, text: &str) {
        eprintln!("[{:>6.1} s] {text}", self.begun.elapsed().as_secs_f64());
    }

    /// The launch digest that the owner predicts for a guest image and so many vCPUs.
    ///
    /// # Errors
    ///
    /// When `casemate measure` fails.
    pub fn predict(&self, guest_image: &Path, vcpus: u32) -> anyhow::Result<String> {
        let out = self.owner.casemate(&[
            "measure",
            "snp",
            "--guest-image",
            &guest_image.display().to_string(),
            "--vcpus",
            &vcpus.to_string(),
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

/// What the demo will run, seen before anything starts.
#[derive(Debug)]
struct Wanted {
    /// The YAML of the pod alone; none for the built-in one.
    yaml: Option<String>,
    pod: Pod,
}

/// Checks that the demo can carry out what the options ask for. Nothing is started.
///
/// # Errors
///
/// The first field or option that it cannot.
pub fn check(options: &Options) -> Result<(), Failure> {
    wanted(options).map(drop)
}

fn wanted(options: &Options) -> Result<Wanted, Failure> {
    let path = options.pod.as_deref().unwrap_or(Path::new(BUILT_IN_POD));
    let text = read_capped(path).map_err(|error| {
        Failure::of_pod(format!("{}: {error}", path.display()), "name a pod's YAML with --pod")
    })?;
    if let Some(dir) = &options.keep {
        fs::create_dir_all(dir).map_err(|error| {
            let message = format!("--keep {}: {error}", dir.display());
            Failure::of_pod(message, "name a folder that can be written")
        })?;
    }
    let (pod, yaml) = pod::check(&text)?;
    if options.pod.is_none() {
        return match options.images.first() {
            Some(_) => Err(Failure::of_pod("--image: goes with --pod", "add --pod FILE")),
            None => Ok(Wanted { yaml: None, pod }),
        };
    }
    let given = |image: &str| {
        let image = ImageName::parse(image);
        options.images.iter().any(|(name, _)| ImageName::parse(name) == image)
    };
    if let Some(container) = pod.all_containers().find(|c| !given(&c.image)) {
        let message = format!("container {}: no image for {}", container.name, container.image);
        let next = format!("pass --image {}=OCI_LAYOUT_DIR", container.image);
        return Err(Failure::of_pod(message, &next));
    }
    let mut served: BTreeMap<(String, String), &Path> = BTreeMap::new();
    for (name, layout) in &options.images {
        // One registry stands in the place of all that the pod names.
        let parsed = ImageName::parse(name);
        let is_used = pod.all_containers().any(|c| ImageName::parse(&c.image) == parsed);
        let place = (parsed.repository, parsed.tag);
        if served.insert(place, layout).is_some_and(|other| other != layout) {
            let message =
                format!("--image {name}: another image is served under that path and tag");
            return Err(Failure::of_pod(message, "give one of the two another tag"));
        }
        if !is_used {
            let message = format!("--image {name}: the pod has no such image");
            return Err(Failure::of_pod(message, "write the name as it stands in the pod"));
        }
        if let Some(message) = image::unusable(layout) {
            let message = format!("--image {name}: {} {message}", layout.display());
            let next = "make a layout of one image, for example with skopeo copy … oci:DIR:TAG";
            return Err(Failure::of_pod(message, next));
        }
    }
    Ok(Wanted { yaml: Some(yaml), pod })
}

/// Reads as much as the policy generator takes.
fn read_capped(path: &Path) -> std::io::Result<String> {
    let most = casemate_policy_generate::Manifests::MAX_BYTES;
    let one_more = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    let mut text = String::new();
    fs::File::open(path)?.take(one_more).read_to_string(&mut text)?;
    if text.len() > most {
        return Err(std::io::Error::other(format!("over {most} bytes")));
    }
    Ok(text)
}

/// Runs the demo inside a world. `report` holds what is known so far, also when it fails.
///
/// # Errors
///
/// When anything that should work does not, or an attack is not refused.
pub async fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    "sim".clone_into(&mut report.tee);
    let wanted = wanted(options)?;
    let world = World::prepare()?;
    let cgroups = world.cgroup_parent();
    eprintln!(
        "demo: registry, software TEE, broker, snapshotter, containerd start (cgroup {cgroups})"
    );
    let class = wanted.pod.spec.runtime_class_name.as_deref();
    let mut stage = Stage::start(world, Release::V1_6, class).await?;
    let done = run_on(&mut stage, &wanted, options, report).await;
    // The last shim ends a moment after its last answer.
    tokio::time::sleep(Duration::from_secs(1)).await;
    // After a failure pods may still run: the world ends them, and what is left then is listed.
    if done.is_ok() {
        report.leftovers = stage.node.leftovers()?;
    }
    done
}

async fn run_on(
    stage: &mut Stage,
    wanted: &Wanted,
    options: &Options,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (yaml, mirrored) = provide_images(stage, wanted, options)?;
    let vcpus = wanted.pod.vcpus();
    let digest = stage.predict(&stage.artifacts.guest_image("sim"), vcpus)?;
    stage.say(&format!("launch digest for {vcpus} vCPU, predicted offline: {digest}"));
    stage.owner.accept(&digest)?;
    let prepared = stage.prepare(&yaml, &mirrored, "pod")?;
    stage.say(&format!("policy generated; initdata sha256:{}", prepared.initdata_digest));
    let pod = Pod::read(&prepared.pod)?;

    stage.say("the pod starts");
    let asked = Instant::now();
    let mut running = stage.node.start_pod(&pod).await.map_err(|status| {
        anyhow::anyhow!(
            "the pod does not start: {}\n{}",
            status.message(),
            stage.node.containerd.log_end()
        )
    })?;
    report.outputs = collect_outputs(stage, &pod, &mut running).await?;
    report.exit_codes = exit_codes(stage, &running).await?;
    stage.say(&format!("all containers have written after {} ms", asked.elapsed().as_millis()));
    probe(stage, &pod, &running).await;
    read_evidence(stage, &running, &digest, report)?;
    show(report);
    if let Some(dir) = &options.keep {
        keep::evidence(stage, &prepared, vcpus, dir)?;
        stage.say(&format!("evidence kept in {}", dir.display()));
    }

    stage.say("attack: a command that the policy does not list");
    let refused = match attack::exec(stage, &running).await? {
        Some(refused) => refused,
        None => exec_in_built_in_pod(stage).await?,
    };
    report.refused.push(refused);
    let grace = pod.spec.termination_grace_period_seconds;
    stage.say(&format!("the pod ends (each container has {grace} s to do so)"));
    stage.node.stop_pod(&running, &pod).await.context("remove the pod")?;
    let honest_boot = Duration::from_millis(report.timeline_ms.agent_ready);
    stage.say("attack: another command than at policy time");
    report.refused.push(attack::command(stage, &pod).await?);
    stage.say("attack: kernel command line changed, hash table as it was (waits for a guest that must not come)");
    report.refused.push(attack::cmdline_old_table(stage, &pod, honest_boot).await?);
    stage.say("attack: kernel command line changed, hash table made to fit");
    report.refused.push(attack::cmdline_new_table(stage, &pod, &digest).await?);
    stage.say("attack: initdata swapped after the launch parameters were fixed");
    report.refused.push(attack::initdata(stage, &pod).await?);
    stage.say("attack: another image under the same tag");
    report.refused.push(attack::tag(stage, &pod).await?);
    for refused in &report.refused {
        println!("refused  {:<18} {:<20} {}", refused.attack, refused.code, refused.reason);
    }
    Ok(())
}

/// For a pod of which nothing runs any more: the same attack on one of which something does.
async fn exec_in_built_in_pod(stage: &mut Stage) -> anyhow::Result<Refused> {
    stage.say("the pod's containers have all ended: the built-in pod stands in");
    publish_built_in(stage)?;
    let prepared = stage.prepare(Path::new(BUILT_IN_POD), &[], "built-in")?;
    let pod = Pod::read(&prepared.pod)?;
    let image = stage.artifacts.guest_image("sim");
    stage.owner.accept(&stage.predict(&image, pod.vcpus())?)?;
    let running = stage.node.start_pod(&pod).await?;
    let refused = attack::exec(stage, &running).await?;
    stage.node.stop_pod(&running, &pod).await.context("remove the pod")?;
    refused.context("no container of the built-in pod runs")
}

/// Encrypts and pushes the pod's images; returns its YAML and the registries that are mirrored.
fn provide_images(
    stage: &mut Stage,
    wanted: &Wanted,
    options: &Options,
) -> anyhow::Result<(PathBuf, Vec<String>)> {
    let Some(yaml) = &wanted.yaml else {
        publish_built_in(stage)?;
        return Ok((PathBuf::from(BUILT_IN_POD), Vec::new()));
    };
    let path = stage.world.root().join("given-pod.yaml");
    fs::write(&path, yaml).context("write the pod")?;
    let mut mirrored = BTreeSet::new();
    for (name, layout) in &options.images {
        let name = ImageName::parse(name);
        publish(stage, layout, &name.repository, &name.tag)?;
        if name.host != Registry::address() && mirrored.insert(name.host.clone()) {
            stage.node.containerd.mirror(&stage.world, &name.host, &stage.registry)?;
        }
    }
    Ok((path, mirrored.into_iter().collect()))
}

fn publish_built_in(stage: &Stage) -> anyhow::Result<()> {
    for (name, recipe) in built_in_images() {
        let layout = image::make(&stage.world.root().join("images").join(name), &recipe)?;
        publish(stage, &layout, &format!("demo/{name}"), "1")?;
    }
    Ok(())
}

fn publish(stage: &Stage, layout: &Path, repository: &str, tag: &str) -> anyhow::Result<()> {
    stage.say(&format!("encrypt and push {repository}:{tag}"));
    let encrypted =
        stage.owner.encrypt(layout, &format!("{}-{tag}", repository.replace('/', "-")))?;
    stage.registry.push(&encrypted, repository, tag)
}

/// What each container has written once all have written a line, ended, or had their time. Containers
/// that end are started again as their restart policy says, at once and then in kubelet's first step;
/// as with `kubectl logs`, the words of the last start count.
async fn collect_outputs(
    stage: &mut Stage,
    pod: &Pod,
    running: &mut RunningPod,
) -> anyhow::Result<BTreeMap<String, String>> {
    for container in &pod.spec.containers {
        let name = &container.name;
        let begun = Instant::now();
        let mut restarts = 0_u32;
        loop {
            let id = running.containers.get(name).context("no container id")?;
            let status = stage.node.cri.status(id).await.context("container status")?;
            let ended = status.state() == ContainerState::ContainerExited;
            let wrote = stage.node.log(running, name).unwrap_or_default().ends_with('\n');
            let again = ended && pod.restart_policy(container).restarts(status.exit_code);
            let enough = if again { wrote && restarts > 0 } else { ended || wrote };
            if enough || begun.elapsed() > QUIET {
                break;
            }
            if again && (restarts == 0 || begun.elapsed() > FIRST_BACK_OFF) && restarts < 2 {
                restarts = restarts.saturating_add(1);
                stage.say(&format!("{name} ended with code {}: restarted", status.exit_code));
                stage.node.restart_if_due(running, pod, name).await.context("restart")?;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    // One that greets in several lines gets to finish them.
    let mut outputs = last_words(stage, pod, running);
    for _ in 0..LAST_LOOKS {
        tokio::time::sleep(PAUSE).await;
        let now = last_words(stage, pod, running);
        if now == outputs {
            break;
        }
        outputs = now;
    }
    Ok(outputs)
}

fn last_words(stage: &Stage, pod: &Pod, running: &RunningPod) -> BTreeMap<String, String> {
    let of = |name: &str| {
        let attempts = (0..=running.attempt(name)).rev();
        let mut texts = attempts.filter_map(|n| stage.node.log_of(running, name, n).ok());
        texts.find(|text| !text.is_empty()).unwrap_or_default()
    };
    pod.all_containers().map(|c| (c.name.clone(), of(&c.name))).collect()
}

/// Exit codes of the containers that have ended.
async fn exit_codes(
    stage: &mut Stage,
    running: &RunningPod,
) -> anyhow::Result<BTreeMap<String, i32>> {
    let mut codes = BTreeMap::new();
    for (name, id) in &running.containers {
        let status = stage.node.cri.status(id).await.context("container status")?;
        if status.state() == ContainerState::ContainerExited {
            codes.insert(name.clone(), status.exit_code);
        }
    }
    Ok(codes)
}

/// Tells what kubelet's probes would find now.
async fn probe(stage: &mut Stage, pod: &Pod, running: &RunningPod) {
    for container in pod.all_containers() {
        let Some(id) = running.containers.get(&container.name) else { continue };
        let target = Target { container, id, pod_ip: &running.ip };
        for (what, probe) in
            [("ready", &container.readiness_probe), ("live", &container.liveness_probe)]
        {
            let Some(probe) = probe else { continue };
            let name = &container.name;
            match probe.until_success(&mut stage.node.cri, target).await {
                Ok(()) => stage.say(&format!("{name} is {what}")),
                Err(error) => stage.say(&format!("{name} is not {what}: {error:#}")),
            }
        }
    }
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
        if let Some(code) = report.exit_codes.get(name).filter(|code| **code != 0) {
            println!("{name:<14} ended with code {code}");
        }
    }
    let t = &report.timeline_ms;
    println!(
        "timeline (ms)  vm_start {}  kernel {}  agent_ready {}  attested {}  pulled {}  first_output {}\n",
        t.vm_start, t.kernel, t.agent_ready, t.attested, t.pulled, t.first_output
    );
}

/// An image name taken apart as containerd does.
#[derive(Debug, PartialEq, Eq)]
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
/// How often, and in which steps, words that still come are waited for.
const LAST_LOOKS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(300);
/// kubelet restarts at once, then after this time.
const FIRST_BACK_OFF: Duration = Duration::from_secs(10);
/// The built-in pod.
pub(crate) const BUILT_IN_POD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/pods/demo.yaml");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_checked_before_anything_starts() {
        check(&Options::default()).unwrap();
        let dir = std::env::temp_dir().join(format!("casemate-demo-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let yaml = dir.join("pod.yaml");
        fs::write(
            &yaml,
            "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: c, image: x}]}}",
        )
        .unwrap();
        let with = |images: &[(&str, &Path)]| {
            let images = images.iter().map(|(n, d)| ((*n).to_owned(), d.to_path_buf())).collect();
            let options = Options { pod: Some(yaml.clone()), images, keep: None };
            check(&options).map_err(|failure| failure.to_string())
        };
        assert!(with(&[]).unwrap_err().contains("no image for x"));
        assert!(with(&[("x", &dir)]).unwrap_err().contains("no OCI layout"));
        fs::write(dir.join("index.json"), r#"{"manifests":[{},{}]}"#).unwrap();
        assert!(with(&[("x", &dir)]).unwrap_err().contains("holds 2 images"));
        fs::write(dir.join("index.json"), r#"{"manifests":[{}]}"#).unwrap();
        assert!(with(&[("x", &dir), ("y", &dir)]).unwrap_err().contains("--image y"));
        for name in ["x", "x:latest", "docker.io/library/x"] {
            assert!(with(&[(name, &dir)]).is_ok());
        }
        let other = dir.join("other");
        let clash = [("x", dir.as_path()), ("docker.io/library/x", other.as_path())];
        assert!(with(&clash).unwrap_err().contains("another image"));
        let none = Options { pod: Some(dir.join("none.yaml")), ..Options::default() };
        assert!(check(&none).unwrap_err().message().contains("none.yaml"));
        fs::remove_dir_all(dir).unwrap();
    }

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
