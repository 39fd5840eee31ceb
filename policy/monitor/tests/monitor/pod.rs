// SPDX-License-Identifier: Apache-2.0
//! A policy of a whole pod: every role, every kind of volume, ranges; and honest requests that fit it.

use casemate_policy::IpRange;
use casemate_policy::Policy;
use casemate_policy::Sha256Digest;
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
use casemate_policy_monitor::RouteRequest;

use crate::support::DIGEST;
use crate::support::run;

/// `app.conf` has this content.
pub(crate) const CONFIG: &[u8] = b"";

const POLICY: &str = r#"
version = 1

[sandbox]
hostname = "web-[0-9]+"

[sandbox.network]
addresses = ["10.1.0.0/16", "fd00::/8"]
routes = ["0.0.0.0/0", "10.0.0.0/8"]
gateways = ["10.1.0.1/32"]
dns_servers = ["10.96.0.10/32"]
dns_searches = ["([a-z]+\\.)*cluster\\.local"]

[volumes.cache]
kind = "empty-dir"

[volumes.conf]
kind = "config"
files = { "app.conf" = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "b" = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" }

[volumes.info]
kind = "untrusted"
max_bytes = 100

[volumes.mixed]
kind = "untrusted"
max_bytes = 100
files = { "app.conf" = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" }

[containers.init]
role = "init"
IMAGE
argv = ["/bin/init"]
restart = "on-failure"

[containers.proxy]
role = "sidecar"
IMAGE
argv = ["/bin/proxy"]
restart = "always"
after = ["init"]

[containers.web]
IMAGE
argv = ["/bin/web"]
env = [{ name = "A", value = "1" }, { name = "TERM", value = "dumb" }]
metrics = "host-visible"
termination_message = "host-visible"
mounts = [
    { destination = "/cache", kind = "volume", volume = "cache" },
    { destination = "/conf", kind = "volume", volume = "conf", readonly = true },
    { destination = "/info", kind = "volume", volume = "info", readonly = true },
]
exec = [
    { argv = ["/bin/top"], terminal = true, env = [{ name = "A", value = "2" }, { name = "B", value = "3" }], user = { uid = 7, gid = 8, groups = [9] } },
    { argv = ["/bin/cat"], stdin = true },
]
restart = "always"
max_starts = 3
after = ["init"]
after_started = ["proxy"]

[containers.web.resources]
memory = { limit = 16777216, min = 8388608, max = 33554432 }
cpu_millis = { min = 100, max = 200 }
pids = 10

[containers.job]
IMAGE
argv = ["/bin/job"]
restart = "on-failure"

[containers.once]
IMAGE
argv = ["/bin/once"]

[containers.debug]
role = "ephemeral"
IMAGE
argv = ["/bin/debug"]
"#;

const COMMON: &str = r#"
image = "registry.example/app@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
encryption = "optional"
cwd = "/"
user = { uid = 1000, gid = 1000 }
stdin = true
logs = "none"
no_new_privileges = true
seccomp = "default"
signals = [9, 15]
"#;

/// The name of every container of the policy.
pub(crate) const NAMES: [&str; 6] = ["init", "proxy", "web", "job", "once", "debug"];

/// A monitor of the policy in which nothing has happened.
pub(crate) fn fresh() -> Monitor {
    let text = POLICY.replace("IMAGE", COMMON.trim());
    Monitor::new(Policy::parse(text.as_bytes()).unwrap()).unwrap()
}

/// A monitor in which `web` may be created: its volumes are filled, `init` is done, `proxy` runs.
pub(crate) fn ready() -> Monitor {
    let mut monitor = fresh();
    put(&mut monitor, &conf());
    put(&mut monitor, &info(10));
    run(&mut monitor, &create("init", "init-1"));
    monitor.exited(&ProcessRef::init("init-1"), 0);
    run(&mut monitor, &create("proxy", "proxy-1"));
    monitor
}

/// A monitor with the container `web-1` running.
pub(crate) fn running() -> Monitor {
    let mut monitor = ready();
    run(&mut monitor, &create("web", "web-1"));
    monitor
}

pub(crate) fn put(monitor: &mut Monitor, request: &PutVolumeRequest) -> u64 {
    let (revision, pending) = monitor.put_volume(request).unwrap();
    monitor.commit(pending);
    revision
}

pub(crate) fn create(name: &str, id: &str) -> CreateRequest {
    let mount = |destination: &str, kind, readonly| MountRequest {
        destination: destination.into(),
        kind: Some(kind),
        readonly,
    };
    let is_web = name == "web";
    CreateRequest {
        id: id.into(),
        name: name.into(),
        image_digest: DIGEST.into(),
        argv: vec![format!("/bin/{name}")],
        env: if is_web { vec!["A=1".into(), "TERM=dumb".into()] } else { Vec::new() },
        cwd: "/".into(),
        stdin: true,
        mounts: if is_web {
            vec![
                mount("/cache", MountWish::EmptyDir, false),
                mount("/conf", MountWish::Content, true),
                mount("/info", MountWish::Content, true),
            ]
        } else {
            Vec::new()
        },
        ..CreateRequest::default()
    }
}

/// A command in `web-1`.
pub(crate) fn exec(exec_id: &str, command: &str) -> ExecRequest {
    ExecRequest {
        container_id: "web-1".into(),
        exec_id: exec_id.into(),
        argv: vec![command.into()],
        env: vec!["A=1".into(), "TERM=dumb".into()],
        cwd: "/".into(),
        ..ExecRequest::default()
    }
}

pub(crate) fn file(name: &str, content: &[u8]) -> FileRequest {
    let size = u64::try_from(content.len()).unwrap();
    FileRequest { name: name.into(), sha256: Sha256Digest::of(content), size }
}

/// The pinned content.
pub(crate) fn conf() -> PutVolumeRequest {
    PutVolumeRequest {
        volume: "conf".into(),
        files: vec![file("app.conf", CONFIG), file("b", b"abc")],
    }
}

/// Content of any kind, of so many bytes.
pub(crate) fn info(bytes: usize) -> PutVolumeRequest {
    PutVolumeRequest { volume: "info".into(), files: vec![file("labels", &vec![b'x'; bytes])] }
}

/// The honest network.
pub(crate) fn network() -> NetworkRequest {
    let route = |destination: &str, gateway: Option<&str>| RouteRequest {
        destination: range(destination),
        gateway: gateway.map(|address| address.parse().unwrap()),
    };
    NetworkRequest {
        hostname: "web-0".into(),
        addresses: vec![range("10.1.2.0/24"), range("fd00:1::/64")],
        routes: vec![route("0.0.0.0/0", Some("10.1.0.1")), route("10.1.0.0/16", None)],
        dns_servers: vec!["10.96.0.10".parse().unwrap()],
        dns_searches: vec!["team.svc.cluster.local".into(), "cluster.local".into()],
    }
}

pub(crate) fn range(text: &str) -> IpRange {
    text.parse().unwrap()
}
