// SPDX-License-Identifier: Apache-2.0
//! A pod, and what an honest host asks of its guest.

use casemate_agent_api::proto;

/// A digest of an image; nothing is pulled by it here.
pub(crate) const DIGEST: &str =
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// What no answer of the guest may hold: a value that only the policy knows.
pub(crate) const CANARY: &str = "canary-5f0e8c1b";

/// The content of `app.conf` in the volume "conf".
pub(crate) const CONF: &[u8] = b"level = 3\n";

/// The pod of most cases. Every value that can be exact is.
pub(crate) const POLICY: &str = r#"
version = 1

[sandbox]
hostname = "pod"

[sandbox.network]
addresses = ["10.1.2.0/24"]
routes = ["0.0.0.0/0"]
gateways = ["10.1.2.1/32"]
dns_servers = ["10.96.0.10/32"]
dns_searches = ["svc\\.local"]

[volumes.cache]
kind = "empty-dir"

[volumes.conf]
kind = "config"
files = { "app.conf" = "sha256:65c9c3f3e55144501eb224176f203bbf0154e2e8fa16862849584689ca5b3616" }

[volumes.info]
kind = "untrusted"
max_bytes = 4096

[containers.web]
image = "registry.example/web@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
encryption = "required"
argv = ["/bin/web", "--port", "80"]
cwd = "/srv"
user = { uid = 1000, gid = 1000 }
env = [{ name = "A", value = "b" }, { name = "TOKEN", value = "canary-5f0e8c1b" }]
env_holes = [{ name = "POD_IP", value = "[0-9.]+", required = true }, { name = "SVC_.+", value = "[a-z]+" }]
stdin = true
logs = "host-visible"
metrics = "host-visible"
termination_message = "host-visible"
readonly_rootfs = true
no_new_privileges = true
seccomp = "default"
signals = [15]
restart = "always"
max_starts = 2
exec = [{ argv = ["/bin/probe"] }, { argv = ["/bin/shell"], terminal = true, stdin = true }]
mounts = [
    { destination = "/cache", kind = "volume", volume = "cache" },
    { destination = "/etc/hosts", kind = "hosts" },
]
[containers.web.resources]
memory = { limit = 67108864, min = 33554432, max = 67108864 }
cpu_millis = { limit = 500, min = 500, max = 500 }
pids = 100

[containers.silent]
image = "registry.example/web@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
encryption = "required"
argv = ["/bin/silent"]
cwd = "/"
user = { uid = 1000, gid = 1000 }
logs = "none"
no_new_privileges = true
seccomp = "default"
signals = []
restart = "always"
"#;

/// The calls of the service, as its descriptor has them.
pub(crate) fn calls() -> Vec<String> {
    let file = proto::file_descriptor().proto();
    let methods = file.service.iter().flat_map(|service| &service.method);
    methods.map(|method| method.name().to_owned()).collect()
}

pub(crate) fn network() -> proto::SetNetworkRequest {
    proto::SetNetworkRequest {
        interfaces: vec![proto::Interface {
            name: "eth0".into(),
            mac: vec![2, 0, 0, 0, 0, 1],
            mtu: 1500,
            addresses: vec!["10.1.2.3/24".into()],
            ..Default::default()
        }],
        routes: vec![proto::Route {
            gateway: "10.1.2.1".into(),
            interface: "eth0".into(),
            ..Default::default()
        }],
        dns_servers: vec!["10.96.0.10".into()],
        dns_searches: vec!["svc.local".into()],
        dns_options: vec!["ndots:5".into()],
        hostname: "pod".into(),
        ..Default::default()
    }
}

/// Container "web" of [`POLICY`].
pub(crate) fn web(id: &str) -> proto::CreateContainerRequest {
    let mount = |destination: &str, kind: proto::MountKind| proto::Mount {
        destination: destination.into(),
        kind: kind.into(),
        ..Default::default()
    };
    proto::CreateContainerRequest {
        id: id.into(),
        name: "web".into(),
        image_digest: DIGEST.into(),
        argv: ["/bin/web", "--port", "80"].map(str::to_owned).into(),
        env: vec!["A=b".into(), format!("TOKEN={CANARY}"), "POD_IP=10.1.2.3".into()],
        cwd: "/srv".into(),
        stdin: true,
        stdout: true,
        stderr: true,
        readonly_rootfs: true,
        mounts: vec![
            mount("/cache", proto::MountKind::EMPTY_DIR),
            mount("/etc/hosts", proto::MountKind::HOSTS),
        ],
        ..Default::default()
    }
}

/// Container "silent" of [`POLICY`].
pub(crate) fn silent(id: &str) -> proto::CreateContainerRequest {
    proto::CreateContainerRequest {
        id: id.into(),
        name: "silent".into(),
        image_digest: DIGEST.into(),
        argv: vec!["/bin/silent".into()],
        cwd: "/".into(),
        stdout: true,
        stderr: true,
        ..Default::default()
    }
}

/// The one command that [`POLICY`] grants in container `c1`.
/// A command with a terminal.
pub(crate) fn shell(exec_id: &str) -> proto::ExecProcessRequest {
    proto::ExecProcessRequest {
        argv: vec!["/bin/shell".into()],
        terminal: true,
        stdin: true,
        stdout: true,
        ..probe(exec_id)
    }
}

/// The size of a command's terminal.
pub(crate) fn resize(exec_id: &str) -> proto::ResizePtyRequest {
    proto::ResizePtyRequest {
        process: Some(process("c1", exec_id)).into(),
        width: 80,
        height: 25,
        ..Default::default()
    }
}

pub(crate) fn probe(exec_id: &str) -> proto::ExecProcessRequest {
    let web = web("c1");
    proto::ExecProcessRequest {
        container_id: web.id,
        exec_id: exec_id.into(),
        argv: vec!["/bin/probe".into()],
        env: web.env,
        cwd: web.cwd,
        stdout: true,
        ..Default::default()
    }
}

/// A process; an empty `exec` means the container's first.
pub(crate) fn process(container: &str, exec: &str) -> proto::ProcessRef {
    proto::ProcessRef { container_id: container.into(), exec_id: exec.into(), ..Default::default() }
}

pub(crate) fn signal(container: &str, number: u32) -> proto::SignalRequest {
    proto::SignalRequest {
        process: Some(process(container, "")).into(),
        signal: number,
        ..Default::default()
    }
}

/// New content for a volume.
pub(crate) fn put(volume: &str, name: &str, content: &[u8]) -> proto::PutVolumeRequest {
    let file = proto::File { name: name.into(), content: content.into(), ..Default::default() };
    proto::PutVolumeRequest { volume: volume.into(), files: vec![file], ..Default::default() }
}

/// The limits that container "web" has anyway, but for half the memory.
pub(crate) fn update(container: &str) -> proto::UpdateRequest {
    proto::UpdateRequest {
        container_id: container.into(),
        memory_limit: Some(32 << 20),
        ..Default::default()
    }
}

pub(crate) fn container(id: &str) -> proto::ContainerRef {
    proto::ContainerRef { container_id: id.into(), ..Default::default() }
}
