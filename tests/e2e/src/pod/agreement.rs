// SPDX-License-Identifier: Apache-2.0
//! What kubelet and containerd ask is what generated policies grant.
//!
//! The generator's own golden files are its input here. What the cluster and the node make of them is
//! written down a second time, in this crate, and put to the reference monitor.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use casemate_policy::Broker;
use casemate_policy::GuestConfig;
use casemate_policy::Role;
use casemate_policy::Sha256Digest;
use casemate_policy::User;
use casemate_policy_generate::Image;
use casemate_policy_generate::ImageConfig;
use casemate_policy_generate::Kind;
use casemate_policy_generate::Manifest;
use casemate_policy_generate::Manifests;
use casemate_policy_generate::Options;
use casemate_policy_generate::PodPolicy;
use casemate_policy_generate::Users;
use casemate_policy_generate::generate;
use casemate_policy_monitor::CreateRequest;
use casemate_policy_monitor::ExecRequest;
use casemate_policy_monitor::FileRequest;
use casemate_policy_monitor::Monitor;
use casemate_policy_monitor::MountRequest;
use casemate_policy_monitor::MountWish;
use casemate_policy_monitor::NetworkRequest;
use casemate_policy_monitor::ProcessRef;
use casemate_policy_monitor::PutVolumeRequest;
use casemate_policy_monitor::ReferenceMonitor;
use k8s_cri::v1::ContainerConfig;
use serde_json::Value;
use serde_json::json;

use super::ConfigMap;
use super::Container;
use super::ImageUser;
use super::Place;
use super::Pod;
use super::document::without_nulls;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Every number is a user without groups.
struct Numbers;

impl Users for Numbers {
    fn user(&self, user: &str) -> Option<User> {
        let uid = if user == "root" { 0 } else { user.parse().ok()? };
        Some(User { uid, gid: 0, groups: vec![0] })
    }
}

fn image_config() -> ImageConfig {
    ImageConfig {
        env: vec!["PATH=/image/bin:/bin".to_owned(), "LANG=C".to_owned()],
        entrypoint: vec!["/entry".to_owned()],
        cmd: vec!["default".to_owned(), "arguments".to_owned()],
        working_dir: "/work".to_owned(),
        ..ImageConfig::default()
    }
}

fn guest_config() -> GuestConfig {
    let ca = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned();
    let broker = Broker { url: "https://broker.example".to_owned(), ca };
    GuestConfig::new(broker, Vec::new())
}

fn golden(name: &str) -> Option<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../policy/generate/tests/golden");
    fs::read_to_string(Path::new(folder).join(name)).ok()
}

/// What the cluster makes of a template: the pod that kubelet gets.
fn controlled(made: &PodPolicy, object: &Value) -> Value {
    let template = match made.kind {
        Kind::Pod => object.clone(),
        Kind::CronJob => object["spec"]["jobTemplate"]["spec"]["template"].clone(),
        _ => object["spec"]["template"].clone(),
    };
    let name = &made.name;
    let indexed = object["spec"]["completionMode"] == "Indexed";
    let (pod_name, hostname, labels) = match made.kind {
        Kind::Deployment => {
            (format!("{name}-5d4f8c7b9d-x2x7q"), None, json!({"pod-template-hash": "5d4f8c7b9d"}))
        }
        Kind::StatefulSet => {
            let labels = json!({"apps.kubernetes.io/pod-index": "3"});
            (format!("{name}-3"), Some(format!("{name}-3")), labels)
        }
        Kind::CronJob => (format!("{name}-29000000-x2x7q"), None, json!({})),
        Kind::Job if indexed => (format!("{name}-4-x2x7q"), Some(format!("{name}-4")), json!({})),
        // Of a name that the API server made.
        Kind::Job if name.ends_with('-') => (format!("{name}abcde-x2x7q"), None, json!({})),
        Kind::Pod => (name.clone(), None, json!({})),
        _ => (format!("{name}-x2x7q"), None, json!({})),
    };
    let mut pod = without_nulls(template);
    if !pod["metadata"].is_object() {
        pod["metadata"] = json!({});
    }
    pod["metadata"]["name"] = pod_name.into();
    pod["metadata"]["namespace"] = made.namespace.clone().unwrap_or("default".to_owned()).into();
    for (key, value) in labels.as_object().unwrap() {
        pod["metadata"]["labels"][key] = value.clone();
    }
    if let Some(hostname) = hostname {
        pod["spec"]["hostname"] = hostname.into();
    }
    if indexed {
        for container in pod["spec"]["containers"].as_array_mut().unwrap() {
            if !container["env"].is_array() {
                container["env"] = json!([]);
            }
            let env = container["env"].as_array_mut().unwrap();
            env.push(json!({"name": "JOB_COMPLETION_INDEX", "value": "4"}));
        }
    }
    pod
}

/// What kubelet adds for services: all of the namespace, or the API server's alone.
fn service_variables(links: bool) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    for (service, ip, port) in [("KUBERNETES", "10.96.0.1", 443), ("OTHER_SHOP", "10.96.7.7", 80)] {
        if service != "KUBERNETES" && !links {
            continue;
        }
        for (name, value) in [
            ("SERVICE_HOST", ip.to_owned()),
            ("SERVICE_PORT", port.to_string()),
            ("SERVICE_PORT_HTTPS", port.to_string()),
            ("PORT", format!("tcp://{ip}:{port}")),
            (&format!("PORT_{port}_TCP"), format!("tcp://{ip}:{port}")),
            (&format!("PORT_{port}_TCP_PROTO"), "tcp".to_owned()),
            (&format!("PORT_{port}_TCP_PORT"), port.to_string()),
            (&format!("PORT_{port}_TCP_ADDR"), ip.to_owned()),
        ] {
            variables.push((format!("{service}_{name}"), value));
        }
    }
    variables
}

/// What containerd 1.6 makes of kubelet's message and the image (`containerSpec` of its CRI plugin).
fn containerd(config: &ContainerConfig, hostname: &str, links: bool) -> CreateRequest {
    let image = image_config();
    let mut argv = config.command.clone();
    let mut args = config.args.clone();
    if argv.is_empty() {
        if args.is_empty() {
            args = image.cmd;
        }
        argv = image.entrypoint;
    }
    argv.extend(args);
    let mut env = vec!["PATH=/usr/local/sbin".to_owned()];
    let mut set = |name: &str, value: &str| {
        env.retain(|entry| !entry.starts_with(&format!("{name}=")));
        env.push(format!("{name}={value}"));
    };
    if config.tty {
        set("TERM", "xterm");
    }
    set("HOSTNAME", hostname);
    for entry in &image.env {
        let (name, value) = entry.split_once('=').unwrap();
        set(name, value);
    }
    for (name, value) in service_variables(links) {
        set(&name, &value);
    }
    for variable in &config.envs {
        set(&variable.key, &variable.value);
    }
    let security = config.linux.as_ref().unwrap().security_context.as_ref().unwrap();
    let readonly = security.readonly_rootfs;
    let mut mounts = Vec::new();
    for mount in &config.mounts {
        let source = &mount.host_path;
        let kind = if source.ends_with("/etc-hosts") {
            MountWish::Hosts
        } else if source.contains("/containers/") {
            MountWish::TerminationLog
        } else if is_empty_dir(source) {
            MountWish::EmptyDir
        } else {
            MountWish::Content
        };
        let destination = mount.container_path.clone();
        mounts.push(MountRequest { destination, kind: Some(kind), readonly: mount.readonly });
    }
    for (destination, kind) in [
        ("/etc/hostname", MountWish::Hostname),
        ("/etc/resolv.conf", MountWish::ResolvConf),
        ("/dev/shm", MountWish::Shm),
    ] {
        let (destination, kind) = (destination.to_owned(), Some(kind));
        mounts.push(MountRequest { destination, kind, readonly });
    }
    let cwd = match config.working_dir.as_str() {
        "" => image.working_dir,
        cwd => cwd.to_owned(),
    };
    CreateRequest {
        image_digest: DIGEST.to_owned(),
        argv,
        env,
        cwd,
        terminal: config.tty,
        stdin: config.stdin,
        stdout: true,
        stderr: !config.tty,
        mounts,
        readonly_rootfs: readonly,
        ..CreateRequest::default()
    }
}

/// By kubelet's folders, of the whole volume or beside a part of it.
fn is_empty_dir(source: &str) -> bool {
    match source.split_once("/volume-subpaths/") {
        Some((pod, part)) => {
            let volume = part.split('/').next().unwrap();
            Path::new(pod).join("volumes/kubernetes.io~empty-dir").join(volume).is_dir()
        }
        None => source.contains("/kubernetes.io~empty-dir/"),
    }
}

/// The volumes that kubelet has filled, as the shim sends them.
fn filled(files: &Path) -> Vec<PutVolumeRequest> {
    let mut requests = Vec::new();
    for plugin in ["configmap", "downward-api", "projected"] {
        let folder = files.join(format!("volumes/kubernetes.io~{plugin}"));
        for volume in fs::read_dir(folder).into_iter().flatten() {
            let volume = volume.unwrap();
            let file = |entry: fs::DirEntry| {
                let content = fs::read(entry.path()).unwrap();
                FileRequest {
                    name: entry.file_name().into_string().unwrap(),
                    sha256: Sha256Digest::of(&content),
                    size: content.len().try_into().unwrap(),
                }
            };
            let entries = fs::read_dir(volume.path().join("..data")).unwrap();
            requests.push(PutVolumeRequest {
                volume: volume.file_name().into_string().unwrap(),
                files: entries.map(|entry| file(entry.unwrap())).collect(),
            });
        }
    }
    requests
}

/// Starts every container of a pod as kubelet does, against the monitor.
fn run(pod: &Pod, made: &PodPolicy, files: &Path) {
    let mut monitor = Monitor::new(made.policy.clone()).unwrap();
    let network = NetworkRequest {
        hostname: pod.hostname().to_owned(),
        dns_servers: pod.dns().servers.iter().map(|ip| ip.parse().unwrap()).collect(),
        dns_searches: pod.dns().searches,
        ..NetworkRequest::default()
    };
    let pending = monitor.network(&network).unwrap();
    monitor.commit(pending);
    for container in pod.all_containers() {
        let config = config(pod, container, files);
        for request in filled(files) {
            let (_, pending) = monitor.put_volume(&request).unwrap();
            monitor.commit(pending);
        }
        let links = pod.spec.enable_service_links;
        let request = CreateRequest {
            id: format!("{}-1", container.name),
            name: container.name.clone(),
            ..containerd(&config, pod.hostname(), links)
        };
        let created = monitor.create(&request);
        let (grant, pending) = created.unwrap_or_else(|denial| {
            panic!("{} {}: {}: {denial}", made.kind, made.name, container.name)
        });
        monitor.commit(pending);
        let process = ProcessRef::init(&request.id);
        let pending = monitor.start(&process).unwrap();
        monitor.commit(pending);
        for (number, argv) in container.commands().into_iter().enumerate() {
            let exec = ExecRequest {
                container_id: request.id.clone(),
                exec_id: format!("probe-{number}"),
                argv,
                env: grant.env.clone(),
                cwd: request.cwd.clone(),
                stdout: true,
                stderr: true,
                ..ExecRequest::default()
            };
            let (_, pending) = monitor
                .exec(&exec)
                .unwrap_or_else(|denial| panic!("{}: {:?}: {denial}", container.name, exec.argv));
            monitor.commit(pending);
        }
        let granted = &made.policy.containers[&container.name];
        let security = config.linux.as_ref().unwrap().security_context.as_ref().unwrap();
        if let Some(uid) = &security.run_as_user {
            assert_eq!(i64::from(granted.user.uid), uid.value);
        }
        if granted.role == Role::Init {
            monitor.exited(&process, 0);
            let pending = monitor.delete(&process).unwrap();
            monitor.commit(pending);
        }
    }
}

fn config(pod: &Pod, container: &Container, files: &Path) -> ContainerConfig {
    let place = Place {
        pod,
        uid: "0a1b2c3d-0000-4000-8000-00000000aabb",
        pod_ip: "10.88.0.9",
        files,
        attempt: 0,
        image_user: ImageUser::default(),
    };
    container.config(&place).unwrap()
}

/// The objects of a text that run pods, in order.
fn workloads(yaml: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap();
    let mut objects = Vec::new();
    for document in documents {
        match &document["items"] {
            Value::Array(items) => objects.extend(items.iter().cloned()),
            _ => objects.push(document),
        }
    }
    let runs = |object: &Value| {
        [Kind::Pod, Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet, Kind::Job, Kind::CronJob]
            .iter()
            .chain(&[Kind::ReplicaSet, Kind::ReplicationController])
            .any(|kind| object["kind"] == kind.as_str())
    };
    objects.retain(runs);
    objects
}

/// The ConfigMaps of a namespace.
fn config_maps(yaml: &str, namespace: Option<&str>) -> BTreeMap<String, ConfigMap> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap();
    let nested = documents.iter().flat_map(|document| document["items"].as_array()).flatten();
    let mut maps = BTreeMap::new();
    for object in documents.iter().chain(nested) {
        let own = object["metadata"]["namespace"].as_str();
        if object["kind"] == "ConfigMap" && own == namespace {
            let texts = |field: &str| -> BTreeMap<String, String> {
                let texts = object[field].as_object().into_iter().flatten();
                texts.map(|(k, v)| (k.clone(), v.as_str().unwrap().to_owned())).collect()
            };
            let bytes = |(key, text): (String, String)| (key, BASE64.decode(text).unwrap());
            let map = ConfigMap {
                data: texts("data"),
                binary_data: texts("binaryData").into_iter().map(bytes).collect(),
            };
            maps.insert(object["metadata"]["name"].as_str().unwrap().to_owned(), map);
        }
    }
    maps
}

fn check(name: &str) {
    let yaml = golden(&format!("{name}.yaml")).unwrap();
    let refs = golden(&format!("{name}.refs.yaml"));
    let mut files = vec![Manifest { name: "app", text: &yaml }];
    files.extend(refs.as_deref().map(|text| Manifest { name: "refs", text }));
    let manifests = Manifests::read(&files, &Options::default()).unwrap();
    let image = |_| Image {
        digest: DIGEST.to_owned(),
        encrypted: false,
        config: image_config(),
        users: Some(Box::new(Numbers)),
    };
    let images = manifests.images().into_iter().map(|name| (name.clone(), image(name))).collect();
    let generated = generate(&manifests, &images, &guest_config()).unwrap();
    let output = generated.yaml();
    let objects = workloads(&output);
    assert_eq!(objects.len(), generated.workloads.len(), "{name}");
    for (index, (made, object)) in generated.workloads.iter().zip(&objects).enumerate() {
        let mut pod: Pod = serde_json::from_value(controlled(made, object)).unwrap();
        let maps = format!("{output}\n---\n{}", refs.as_deref().unwrap_or_default());
        pod.config_maps = config_maps(&maps, made.namespace.as_deref());
        let files = scratch(name, index);
        run(&pod, made, &files);
        fs::remove_dir_all(&files).unwrap();
    }
}

fn scratch(name: &str, index: usize) -> PathBuf {
    let folder = format!("casemate-agreement-{}-{name}-{index}/pods/u", std::process::id());
    let files = std::env::temp_dir().join(folder);
    fs::create_dir_all(&files).unwrap();
    files
}

#[test]
fn every_golden_file_of_the_generator_runs() {
    for name in [
        "minimal",
        "full",
        "flow",
        "deployment",
        "statefulset",
        "daemonset",
        "jobs",
        "replicas",
        "list",
        "shop",
        "token",
        "braces",
    ] {
        check(name);
    }
}
