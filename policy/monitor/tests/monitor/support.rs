// SPDX-License-Identifier: Apache-2.0
//! A policy, honest requests that fit it, and how to expect a denial.

use casemate_policy::Policy;
use casemate_policy_monitor::CreateRequest;
use casemate_policy_monitor::Denial;
use casemate_policy_monitor::ExecRequest;
use casemate_policy_monitor::Monitor;
use casemate_policy_monitor::MountRequest;
use casemate_policy_monitor::MountWish;
use casemate_policy_monitor::ProcessRef;
use casemate_policy_monitor::ReferenceMonitor;
use casemate_policy_monitor::Rule;

pub(crate) const DIGEST: &str =
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

const POLICY: &str = r#"
version = 1

[sandbox]
hostname = "pod-0"

[volumes.cache]
kind = "empty-dir"

[containers.init]
role = "init"
image = "registry.example/init@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
encryption = "optional"
argv = ["/bin/init"]
cwd = "/"
user = { uid = 0, gid = 0 }
logs = "none"
no_new_privileges = false
seccomp = "default"
signals = [9]
restart = "on-failure"
max_starts = 2

[containers.web]
image = "registry.example/web@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
encryption = "required"
argv = ["/bin/web", "--secret-mode", "", "last"]
cwd = "/srv"
user = { uid = 1000, gid = 1000 }
env = [
    { name = "PATH", value = "/bin" },
    { name = "MODE", value = "expected-value" },
]
env_holes = [
    { name = "HOSTNAME", value = "[a-z0-9-]+", required = true },
    { name = "[A-Z]+_SERVICE_HOST", value = "[0-9.]+" },
]
stdin = true
logs = "host-visible"
readonly_rootfs = true
mounts = [
    { destination = "/cache", kind = "volume", volume = "cache" },
    { destination = "/dev/shm", kind = "shm" },
    { destination = "/etc/hosts", kind = "hosts", readonly = true },
]
no_new_privileges = true
seccomp = "default"
exec = [
    { argv = ["/bin/probe", "-x"] },
    { argv = ["/bin/sh"], terminal = true, stdin = true },
]
signals = [9, 15]
restart = "always"
after = ["init"]
"#;

/// A monitor of the policy with its init container done.
pub(crate) fn ready() -> Monitor {
    let mut monitor = fresh();
    let (_, pending) = monitor.create(&init("init-1")).unwrap();
    monitor.commit(pending);
    let process = ProcessRef::init("init-1");
    let pending = monitor.start(&process).unwrap();
    monitor.commit(pending);
    monitor.exited(&process, 0);
    monitor
}

/// A monitor of the policy in which nothing has happened.
pub(crate) fn fresh() -> Monitor {
    Monitor::new(Policy::parse(POLICY.as_bytes()).unwrap()).unwrap()
}

/// A monitor with the container `web-1` running.
pub(crate) fn running() -> Monitor {
    let mut monitor = ready();
    run(&mut monitor, &web("web-1"));
    monitor
}

pub(crate) fn run(monitor: &mut Monitor, request: &CreateRequest) {
    let (_, pending) = monitor.create(request).unwrap();
    monitor.commit(pending);
    let pending = monitor.start(&ProcessRef::init(&request.id)).unwrap();
    monitor.commit(pending);
}

pub(crate) fn init(id: &str) -> CreateRequest {
    CreateRequest {
        id: id.into(),
        name: "init".into(),
        image_digest: DIGEST.into(),
        argv: vec!["/bin/init".into()],
        cwd: "/".into(),
        stdout: true,
        stderr: true,
        ..CreateRequest::default()
    }
}

pub(crate) fn web(id: &str) -> CreateRequest {
    let mount = |destination: &str, kind, readonly| MountRequest {
        destination: destination.into(),
        kind: Some(kind),
        readonly,
    };
    CreateRequest {
        id: id.into(),
        name: "web".into(),
        image_digest: DIGEST.into(),
        argv: ["/bin/web", "--secret-mode", "", "last"].map(str::to_owned).into(),
        env: ["PATH=/bin", "HOSTNAME=pod-0", "MODE=expected-value", "DB_SERVICE_HOST=10.0.0.1"]
            .map(str::to_owned)
            .into(),
        cwd: "/srv".into(),
        terminal: false,
        stdin: true,
        stdout: true,
        stderr: false,
        mounts: vec![
            mount("/etc/hosts", MountWish::Hosts, true),
            mount("/cache", MountWish::EmptyDir, false),
            mount("/dev/shm", MountWish::Shm, false),
        ],
        readonly_rootfs: true,
    }
}

/// A probe in `web-1`.
pub(crate) fn probe(exec_id: &str) -> ExecRequest {
    ExecRequest {
        container_id: "web-1".into(),
        exec_id: exec_id.into(),
        argv: vec!["/bin/probe".into(), "-x".into()],
        env: web("web-1").env,
        cwd: "/srv".into(),
        stdout: true,
        stderr: true,
        ..ExecRequest::default()
    }
}

/// A shell with a terminal in `web-1`.
pub(crate) fn shell(exec_id: &str) -> ExecRequest {
    let mut request = probe(exec_id);
    request.argv = vec!["/bin/sh".into()];
    request.env.push("TERM=xterm".into());
    request.terminal = true;
    request.stdin = true;
    request
}

/// Expects a denial that leaves the state as it was.
pub(crate) fn denied<T>(
    monitor: &mut Monitor,
    rule: Rule,
    field: &str,
    request: impl FnOnce(&mut Monitor) -> Result<T, Denial>,
) -> Denial {
    let (before, fingerprint) = (monitor.clone(), monitor.fingerprint());
    let Err(denial) = request(monitor) else { panic!("{field}: allowed") };
    assert_eq!((denial.rule, denial.field.as_str()), (rule, field), "{denial}");
    assert_eq!(*monitor, before, "{field}: a denial changed the state");
    assert_eq!(monitor.fingerprint(), fingerprint);
    denial
}
