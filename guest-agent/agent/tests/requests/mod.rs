// SPDX-License-Identifier: Apache-2.0
//! The policy of the tests and the requests that it allows.

use casemate_agent_api::proto;
use casemate_agent_api::request::ContainerId;
use casemate_agent_api::request::ExecId;
use casemate_agent_api::request::ProcessId;
use casemate_policy::Policy;
use protobuf::MessageField;

pub(crate) const DIGEST: &str =
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

pub(crate) fn policy() -> Policy {
    Policy::parse(
        br#"
        version = 1
        [sandbox]
        hosts = [{ ip = "10.9.9.9", names = ["db"] }]
        [sandbox.network]
        routes = ["0.0.0.0/0"]
        gateways = ["10.1.2.0/24"]

        [volumes.conf]
        kind = "config"
        files = { "app.conf" = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" }
        [volumes.info]
        kind = "untrusted"
        max_bytes = 16
        [volumes.cache]
        kind = "empty-dir"
        size_limit = 4096

        [containers.web]
        image = "registry.example/web@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        encryption = "required"
        argv = ["/bin/web", "--port", "80"]
        cwd = "/srv"
        user = { uid = 1000, gid = 1000 }
        env = [{ name = "A", value = "b" }]
        stdin = true
        logs = "host-visible"
        no_new_privileges = true
        seccomp = "default"
        signals = [15]
        restart = "always"
        max_starts = 2
        exec = [
            { argv = ["/bin/probe"] },
            { argv = ["/bin/migrate"], env = [{ name = "B", value = "c" }], user = { uid = 7, gid = 8 } },
        ]
        metrics = "host-visible"
        termination_message = "host-visible"
        mounts = [
            { destination = "/etc/conf", kind = "volume", volume = "conf", readonly = true },
            { destination = "/cache", kind = "volume", volume = "cache" },
        ]
        secrets = [{ resource = "kbs:///default/db/password", path = "/run/secrets/db" }]
        [containers.web.resources]
        memory = { limit = 1048576, min = 1048576, max = 4194304 }
        cpu_millis = { limit = 500 }
        pids = 10

        [containers.silent]
        image = "registry.example/web@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        encryption = "required"
        argv = ["/bin/silent"]
        cwd = "/"
        user = { uid = 1000, gid = 1000 }
        logs = "none"
        no_new_privileges = true
        seccomp = "default"
        signals = [15]
        restart = "always"
        "#,
    )
    .unwrap()
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
        hostname: "pod".into(),
        ..Default::default()
    }
}

pub(crate) fn web(id: &str) -> proto::CreateContainerRequest {
    proto::CreateContainerRequest {
        id: id.into(),
        name: "web".into(),
        image_digest: DIGEST.into(),
        argv: ["/bin/web", "--port", "80"].map(str::to_owned).into(),
        env: vec!["A=b".into()],
        cwd: "/srv".into(),
        stdin: true,
        stdout: true,
        stderr: true,
        mounts: vec![
            mount("/etc/conf", proto::MountKind::CONTENT, true),
            mount("/cache", proto::MountKind::EMPTY_DIR, false),
        ],
        ..Default::default()
    }
}

pub(crate) fn silent(id: &str) -> proto::CreateContainerRequest {
    proto::CreateContainerRequest {
        name: "silent".into(),
        argv: vec!["/bin/silent".into()],
        env: vec![],
        cwd: "/".into(),
        stdin: false,
        mounts: vec![],
        ..web(id)
    }
}

pub(crate) fn mount(destination: &str, kind: proto::MountKind, readonly: bool) -> proto::Mount {
    let (destination, kind) = (destination.into(), kind.into());
    proto::Mount { destination, kind, readonly, ..Default::default() }
}

pub(crate) fn volume(volume: &str, files: &[(&str, &[u8])]) -> proto::PutVolumeRequest {
    let files = files.iter().map(|(name, content)| proto::File {
        name: (*name).into(),
        content: (*content).into(),
        ..Default::default()
    });
    proto::PutVolumeRequest { volume: volume.into(), files: files.collect(), ..Default::default() }
}

/// The content that the policy pins.
pub(crate) fn conf() -> proto::PutVolumeRequest {
    volume("conf", &[("app.conf", b"abc")])
}

pub(crate) fn update(
    memory: Option<u64>,
    cpu_millis: Option<u64>,
    pids: Option<u64>,
) -> proto::UpdateRequest {
    proto::UpdateRequest {
        container_id: "c1".into(),
        memory_limit: memory,
        cpu_millis,
        pids,
        ..Default::default()
    }
}

pub(crate) fn container(id: &str) -> proto::ContainerRef {
    proto::ContainerRef { container_id: id.into(), ..Default::default() }
}

pub(crate) fn exec(exec_id: &str) -> proto::ExecProcessRequest {
    proto::ExecProcessRequest {
        container_id: "c1".into(),
        exec_id: exec_id.into(),
        argv: vec!["/bin/probe".into()],
        env: vec!["A=b".into()],
        cwd: "/srv".into(),
        stdout: true,
        ..Default::default()
    }
}

pub(crate) fn process(container: &str, exec: &str) -> proto::ProcessRef {
    proto::ProcessRef { container_id: container.into(), exec_id: exec.into(), ..Default::default() }
}

pub(crate) fn signal(container: &str, number: u32) -> proto::SignalRequest {
    proto::SignalRequest {
        process: MessageField::some(process(container, "")),
        signal: number,
        ..Default::default()
    }
}

pub(crate) fn id(container: &str, exec: Option<&str>) -> ProcessId {
    let exec = exec.map(|exec| ExecId::parse(exec).unwrap());
    ProcessId::new(ContainerId::parse(container).unwrap(), exec)
}
