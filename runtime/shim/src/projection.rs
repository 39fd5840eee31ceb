// SPDX-License-Identifier: Apache-2.0
//! From CRI's wishes to the typed messages of the agent API.
//!
//! Nothing of the OCI specification crosses but what the messages have fields for: name, digest,
//! argv, env, cwd, streams, destinations of mounts with their kind, read-only root.

use std::net::IpAddr;
use std::path::Path;
use std::path::PathBuf;

use casemate_agent_api::proto;
use casemate_agent_api::proto::MountKind;
use casemate_pod_network::Cidr;
use casemate_sandbox::Id;
use casemate_vmm::MemoryMib;
use casemate_vmm::VcpuCount;

use crate::config::Config;
use crate::error::ShimError;
use crate::outside::GuestNetwork;
use crate::resolv_conf::Dns;
use crate::spec;
use crate::spec::Spec;
use crate::stdio::Streams;
use crate::volumes;
use crate::volumes::Origin;
use crate::volumes::Volume;

/// The request for a container.
///
/// # Errors
///
/// [`ShimError::Malformed`] when containerd's annotations lack the container's name.
pub fn create_container(
    id: &Id,
    spec: &Spec,
    image_digest: String,
    streams: Streams,
) -> Result<proto::CreateContainerRequest, ShimError> {
    let process = &spec.process;
    let (width, height) = terminal_size(process, streams);
    Ok(proto::CreateContainerRequest {
        id: id.to_string(),
        name: spec.required(spec::CONTAINER_NAME)?.to_owned(),
        image_digest,
        argv: process.args.clone(),
        env: process.env.clone(),
        cwd: clean(&process.cwd),
        terminal: streams.terminal,
        stdin: streams.stdin,
        stdout: streams.stdout,
        stderr: streams.stderr,
        mounts: spec.mounts.iter().filter_map(mount).collect(),
        readonly_rootfs: spec.root.readonly,
        terminal_width: width,
        terminal_height: height,
        ..Default::default()
    })
}

/// The request for an exec.
#[must_use]
pub fn exec_process(
    id: &Id,
    exec: &Id,
    process: &spec::Process,
    streams: Streams,
) -> proto::ExecProcessRequest {
    let (width, height) = terminal_size(process, streams);
    proto::ExecProcessRequest {
        container_id: id.to_string(),
        exec_id: exec.to_string(),
        argv: process.args.clone(),
        env: process.env.clone(),
        cwd: clean(&process.cwd),
        terminal: streams.terminal,
        stdin: streams.stdin,
        stdout: streams.stdout,
        stderr: streams.stderr,
        terminal_width: width,
        terminal_height: height,
        ..Default::default()
    }
}

/// The request that gives the guest its network.
#[must_use]
pub fn set_network(network: &GuestNetwork, dns: &Dns, hostname: &str) -> proto::SetNetworkRequest {
    let text = |ip: Option<IpAddr>| ip.map_or_else(String::new, |ip| ip.to_string());
    let interfaces = network.nics.iter().map(|nic| proto::Interface {
        name: nic.name.clone(),
        mac: nic.mac.to_vec(),
        mtu: nic.mtu,
        addresses: nic.addresses.iter().map(Cidr::to_string).collect(),
        ..Default::default()
    });
    let routes = network.routes.iter().map(|route| proto::Route {
        destination: match (route.destination, route.is_v6) {
            (Some(destination), _) => destination.to_string(),
            (None, false) => "0.0.0.0/0".to_owned(),
            (None, true) => "::/0".to_owned(),
        },
        gateway: text(route.gateway),
        interface: route.interface.clone(),
        source: text(route.source),
        ..Default::default()
    });
    proto::SetNetworkRequest {
        interfaces: interfaces.collect(),
        routes: routes.collect(),
        dns_servers: dns.servers.iter().map(IpAddr::to_string).collect(),
        dns_searches: dns.searches.clone(),
        dns_options: dns.options.clone(),
        hostname: hostname.to_owned(),
        ..Default::default()
    }
}

/// vCPUs and memory of the pod's VM: the pod's limits, or the configuration's defaults.
///
/// # Errors
///
/// The VMM's own limits.
pub fn vm_size(
    config: &Config,
    sizing: spec::Sizing,
) -> Result<(VcpuCount, MemoryMib), casemate_vmm::ConfigError> {
    let saturated = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    let vcpus = match sizing {
        spec::Sizing { cpu_quota: 0, .. } | spec::Sizing { cpu_period: 0, .. } => config.vcpus,
        spec::Sizing { cpu_quota, cpu_period, .. } => {
            VcpuCount::new(saturated(cpu_quota.div_ceil(cpu_period)))?
        }
    };
    let extra = saturated(sizing.memory.div_ceil(MIB));
    let memory = MemoryMib::new(config.memory.get().saturating_add(extra))?;
    Ok((vcpus, memory))
}

fn terminal_size(process: &spec::Process, streams: Streams) -> (u32, u32) {
    if streams.terminal {
        (process.console_size.width, process.console_size.height)
    } else {
        (0, 0)
    }
}

/// A mount that kubelet wants; none for those that every container has and the guest makes itself.
fn mount(mount: &spec::Mount) -> Option<proto::Mount> {
    let destination = clean(&mount.destination);
    let kind = kind(&destination, mount)?;
    let readonly = mount.options.iter().any(|option| option == "ro");
    Some(proto::Mount { destination, kind: kind.into(), readonly, ..Default::default() })
}

fn kind(destination: &str, mount: &spec::Mount) -> Option<MountKind> {
    let bind = mount.fs_type == "bind"
        || mount.options.iter().any(|option| option == "bind" || option == "rbind");
    match destination {
        "/etc/hosts" => Some(MountKind::HOSTS),
        "/etc/hostname" => Some(MountKind::HOSTNAME),
        "/etc/resolv.conf" => Some(MountKind::RESOLV_CONF),
        "/dev/termination-log" => Some(MountKind::TERMINATION_LOG),
        "/dev/shm" => Some(MountKind::SHM),
        // /proc, /dev, /sys and their like
        _ if !bind => None,
        _ => Some(match volumes::origin(&mount.source) {
            Origin::EmptyDir => MountKind::EMPTY_DIR,
            Origin::Content(_) => MountKind::CONTENT,
            Origin::TerminationLog => MountKind::TERMINATION_LOG,
            Origin::Other => MountKind::OTHER,
        }),
    }
}

/// The volumes with content that a container mounts.
#[must_use]
pub fn content_volumes(spec: &Spec) -> Vec<Volume> {
    let origins = spec.mounts.iter().map(|mount| volumes::origin(&mount.source));
    origins
        .filter_map(|origin| match origin {
            Origin::Content(volume) => Some(volume),
            _ => None,
        })
        .collect()
}

/// The file on the host that takes a container's termination message.
#[must_use]
pub fn termination_log(spec: &Spec) -> Option<PathBuf> {
    let is_log =
        |m: &&spec::Mount| kind(&clean(&m.destination), m) == Some(MountKind::TERMINATION_LOG);
    let path = PathBuf::from(&spec.mounts.iter().find(is_log)?.source);
    path.is_absolute().then_some(path)
}

/// The path without doubled and trailing slashes and without `.`; `..` is left for the agent to
/// refuse.
fn clean(path: &str) -> String {
    if path.is_empty() {
        return String::new();
    }
    Path::new(path).components().collect::<std::path::PathBuf>().to_string_lossy().into_owned()
}

const MIB: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(destination: &str, source: &str, options: &[&str]) -> spec::Mount {
        spec::Mount {
            destination: destination.to_owned(),
            fs_type: "bind".to_owned(),
            source: source.to_owned(),
            options: options.iter().map(|&option| option.to_owned()).collect(),
        }
    }

    fn projected(source: &spec::Mount) -> Option<(String, MountKind, bool)> {
        mount(source).map(|m| (m.destination, m.kind.enum_value().unwrap(), m.readonly))
    }

    #[test]
    fn mounts_have_the_kind_that_kubelet_meant() {
        let pods = "/var/lib/kubelet/pods/0a1b";
        for (destination, source, kind) in [
            ("/etc/hosts", format!("{pods}/etc-hosts"), MountKind::HOSTS),
            ("/etc/hostname", "/s/hostname".to_owned(), MountKind::HOSTNAME),
            ("/etc/resolv.conf", "/s/resolv.conf".to_owned(), MountKind::RESOLV_CONF),
            ("/dev/shm", "/s/shm".to_owned(), MountKind::SHM),
            (
                "/dev/termination-log",
                format!("{pods}/containers/web/5f"),
                MountKind::TERMINATION_LOG,
            ),
            ("/last-words", format!("{pods}/containers/web/5f"), MountKind::TERMINATION_LOG),
            (
                "/cache/",
                format!("{pods}/volumes/kubernetes.io~empty-dir/cache"),
                MountKind::EMPTY_DIR,
            ),
            ("/secret", format!("{pods}/volumes/kubernetes.io~secret/s"), MountKind::CONTENT),
            ("/data", "/srv/kubernetes.io~empty-dir/x".to_owned(), MountKind::OTHER),
        ] {
            let expected = (clean(destination), kind, false);
            assert_eq!(projected(&bind(destination, &source, &["rbind", "rw"])), Some(expected));
        }
    }

    #[test]
    fn what_every_container_has_is_not_asked_for() {
        for (destination, fs_type) in
            [("/proc", "proc"), ("/dev", "tmpfs"), ("/dev/pts", "devpts"), ("/sys", "sysfs")]
        {
            let mount = spec::Mount {
                destination: destination.to_owned(),
                fs_type: fs_type.to_owned(),
                source: fs_type.to_owned(),
                options: vec!["nosuid".to_owned()],
            };
            assert_eq!(projected(&mount), None);
        }
        // A volume over one of them is not hidden from the agent.
        assert!(projected(&bind("/proc", "/evil", &["rbind"])).is_some());
    }

    #[test]
    fn readonly_is_taken_from_the_options() {
        assert!(projected(&bind("/v", "/s", &["rbind", "ro"])).unwrap().2);
        assert!(!projected(&bind("/v", "/s", &["rbind", "rw"])).unwrap().2);
    }

    #[test]
    fn the_shim_finds_what_it_carries_for_a_container() {
        let pods = "/var/lib/kubelet/pods/0a1b";
        let spec = Spec::parse(
            serde_json::json!({ "mounts": [
                bind_json("/etc/hosts", &format!("{pods}/etc-hosts")),
                bind_json("/conf", &format!("{pods}/volumes/kubernetes.io~configmap/conf")),
                bind_json("/data", "/srv/data"),
                bind_json("/last-words", &format!("{pods}/containers/web/5f")),
            ] })
            .to_string()
            .as_bytes(),
        )
        .unwrap();
        let names: Vec<_> = content_volumes(&spec).into_iter().map(|v| v.name).collect();
        assert_eq!(names, ["conf"]);
        let log = termination_log(&spec).unwrap();
        assert_eq!(log, Path::new("/var/lib/kubelet/pods/0a1b/containers/web/5f"));
        assert_eq!(termination_log(&Spec::parse(b"{}").unwrap()), None);
    }

    fn bind_json(destination: &str, source: &str) -> serde_json::Value {
        serde_json::json!({
            "destination": destination, "source": source, "type": "bind", "options": ["rbind"]
        })
    }

    #[test]
    fn the_request_holds_the_projection_and_no_source() {
        let spec = Spec::parse(
            br#"{"process": {"terminal": true, "args": ["/bin/web", "-x"], "env": ["A=b"],
                "cwd": "/srv/", "user": {"uid": 0}, "consoleSize": {"height": 24, "width": 80}},
                "root": {"readonly": true},
                "mounts": [{"destination": "/v", "type": "bind", "source": "/host/secret-path"}],
                "annotations": {"io.kubernetes.cri.container-name": "web"}}"#,
        )
        .unwrap();
        let id = Id::new("c1").unwrap();
        let streams = Streams { terminal: true, stdin: true, stdout: true, stderr: false };
        let request = create_container(&id, &spec, "sha256:ab".to_owned(), streams).unwrap();
        assert_eq!((request.id.as_str(), request.name.as_str()), ("c1", "web"));
        assert_eq!(request.argv, ["/bin/web", "-x"]);
        assert_eq!((request.cwd.as_str(), request.readonly_rootfs), ("/srv", true));
        assert_eq!((request.terminal_width, request.terminal_height), (80, 24));
        assert!(!format!("{request:?}").contains("secret-path"));
        let unnamed = Spec::parse(b"{}").unwrap();
        let refused = create_container(&id, &unnamed, String::new(), streams);
        assert!(matches!(refused, Err(ShimError::Malformed { .. })));
    }

    #[test]
    fn sizes_follow_the_pods_limits() {
        let config = Config::parse("tee='snp'\nguest_image='/g'\nvcpus=3\nmemory_mib=512").unwrap();
        let size = |cpu_quota, cpu_period, memory| {
            let sizing = spec::Sizing { cpu_quota, cpu_period, memory };
            vm_size(&config, sizing).map(|(vcpus, memory)| (vcpus.get(), memory.get()))
        };
        assert_eq!(size(0, 100_000, 0), Ok((3, 512)));
        assert_eq!(size(100_000, 0, 0), Ok((3, 512)));
        assert_eq!(size(50_000, 100_000, 0), Ok((1, 512)));
        assert_eq!(size(150_000, 100_000, 100 * MIB + 1), Ok((2, 613)));
        assert!(size(u64::MAX, 1, 0).is_err());
        assert!(size(0, 0, u64::MAX).is_err());
    }
}
