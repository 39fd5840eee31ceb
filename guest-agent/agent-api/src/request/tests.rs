// SPDX-License-Identifier: Apache-2.0

use proptest::prelude::*;
use protobuf::MessageField;

use super::*;
use crate::proto;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn create() -> proto::CreateContainerRequest {
    proto::CreateContainerRequest {
        id: "c1".into(),
        name: "web".into(),
        image_digest: DIGEST.into(),
        argv: vec!["/bin/web".into(), String::new()],
        env: vec!["A=b=c".into(), "EMPTY=".into()],
        cwd: "/srv".into(),
        stdout: true,
        stderr: true,
        mounts: vec![proto::Mount {
            destination: "/etc/hosts".into(),
            kind: proto::MountKind::HOSTS.into(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn network() -> proto::SetNetworkRequest {
    proto::SetNetworkRequest {
        interfaces: vec![proto::Interface {
            name: "eth0".into(),
            mac: vec![2, 0, 0, 0, 0, 1],
            mtu: 1500,
            addresses: vec!["10.1.2.3/24".into(), "fd00::3/64".into()],
            ..Default::default()
        }],
        routes: vec![
            proto::Route {
                gateway: "10.1.2.1".into(),
                interface: "eth0".into(),
                ..Default::default()
            },
            proto::Route {
                destination: "10.96.0.0/12".into(),
                interface: "eth0".into(),
                source: "10.1.2.3".into(),
                ..Default::default()
            },
        ],
        dns_servers: vec!["10.96.0.10".into()],
        dns_searches: vec!["default.svc.cluster.local".into(), "_x.example.".into()],
        dns_options: vec!["ndots:5".into()],
        hostname: "web-0".into(),
        ..Default::default()
    }
}

/// Changes a good request and expects one field to be refused.
fn refuses<M, T: TryFrom<M, Error = RequestError> + std::fmt::Debug>(
    mut message: M,
    field: &str,
    problem: Problem,
    change: impl FnOnce(&mut M),
) {
    change(&mut message);
    let error = T::try_from(message).unwrap_err();
    assert_eq!((error.field(), *error.problem()), (field, problem));
}

fn bad_create(
    field: &str,
    problem: Problem,
    change: impl FnOnce(&mut proto::CreateContainerRequest),
) {
    refuses::<_, CreateContainer>(create(), field, problem, change);
}

fn bad_network(
    field: &str,
    problem: impl Into<Problem>,
    change: impl FnOnce(&mut proto::SetNetworkRequest),
) {
    refuses::<_, Network>(network(), field, problem.into(), change);
}

impl From<NetworkProblem> for Problem {
    fn from(problem: NetworkProblem) -> Self {
        Self::Network(problem)
    }
}

#[test]
fn a_good_create_is_parsed() {
    let parsed = CreateContainer::try_from(create()).unwrap();
    assert_eq!(parsed.id.as_str(), "c1");
    assert_eq!(parsed.argv, ["/bin/web", ""]);
    let env: Vec<_> = parsed.env.iter().map(|e| (e.name(), e.value())).collect();
    assert_eq!(env, [("A", "b=c"), ("EMPTY", "")]);
    assert_eq!(parsed.mounts[0].kind, MountKind::Hosts);
    assert_eq!(parsed.stdio.terminal, None);
}

#[test]
fn each_field_of_create_is_checked() {
    bad_create("container_id", Problem::Form, |m| m.id = "../x".into());
    bad_create("container_id", Problem::Form, |m| m.id.clear());
    bad_create("container_id", Problem::TooLarge { max: 128 }, |m| m.id = "a".repeat(129));
    bad_create("name", Problem::Form, |m| m.name = "-web".into());
    bad_create("image_digest", Problem::Form, |m| m.image_digest = "sha256:00".into());
    bad_create("image_digest", Problem::Form, |m| m.image_digest = DIGEST.to_uppercase());
    // A6: argument tricks.
    bad_create("argv", Problem::Missing, |m| m.argv.clear());
    bad_create("argv", Problem::Missing, |m| m.argv[0].clear());
    bad_create("argv", Problem::Character, |m| m.argv[1] = "a\0b".into());
    bad_create("argv", Problem::TooLarge { max: 131_072 }, |m| m.argv[1] = "a".repeat(131_073));
    bad_create("argv", Problem::TooLarge { max: 1024 }, |m| m.argv = vec!["a".into(); 1025]);
    // A7: environment tricks.
    bad_create("env", Problem::Form, |m| m.env.push("LD_PRELOAD".into()));
    bad_create("env", Problem::Form, |m| m.env.push("=x".into()));
    bad_create("env", Problem::Character, |m| m.env.push("A=\0".into()));
    bad_create("env", Problem::TooLarge { max: 2048 }, |m| m.env = vec!["A=b".into(); 2049]);
    bad_create("cwd", Problem::Form, |m| m.cwd = "srv".into());
    bad_create("cwd", Problem::Form, |m| m.cwd = "/srv/../etc".into());
    bad_create("cwd", Problem::Form, |m| m.cwd = "/srv//x".into());
    bad_create("cwd", Problem::Character, |m| m.cwd = "/srv\n".into());
    bad_create("cwd", Problem::TooLarge { max: 4095 }, |m| m.cwd = format!("/{:4095}", ""));
    bad_create("destination", Problem::Form, |m| m.mounts[0].destination = "/a/./b".into());
    bad_create("kind", Problem::UnknownValue, |m| {
        m.mounts[0].kind = proto::MountKind::MOUNT_UNSPECIFIED.into();
    });
    bad_create("kind", Problem::UnknownValue, |m| {
        m.mounts[0].kind = protobuf::EnumOrUnknown::from_i32(99);
    });
    bad_create("mounts", Problem::TooLarge { max: 256 }, |m| {
        m.mounts = vec![m.mounts[0].clone(); 257];
    });
    bad_create("stderr", Problem::Contradiction, |m| m.terminal = true);
    bad_create("terminal_width", Problem::Contradiction, |m| m.terminal_width = 80);
    bad_create("height", Problem::TooLarge { max: 4096 }, |m| {
        m.terminal = true;
        m.stderr = false;
        m.terminal_height = 4097;
    });
}

#[test]
fn a_request_over_the_total_cap_is_refused() {
    // A15: each part is within its cap, their sum is not.
    bad_create("create", Problem::TooLarge { max: MAX_REQUEST }, |m| {
        m.argv = vec!["a".repeat(100_000); 12];
    });
}

#[test]
fn fields_of_another_version_are_refused() {
    bad_create("create", Problem::UnknownField, |m| {
        m.special_fields.mut_unknown_fields().add_varint(999, 1);
    });
    bad_create("mounts", Problem::UnknownField, |m| {
        m.mounts[0].special_fields.mut_unknown_fields().add_varint(999, 1);
    });
    bad_volume("files", Problem::UnknownField, |m| {
        m.files[0].special_fields.mut_unknown_fields().add_varint(999, 1);
    });
    bad_network("routes", Problem::UnknownField, |m| {
        m.routes[0].special_fields.mut_unknown_fields().add_varint(999, 1);
    });
}

#[test]
fn exec_needs_an_id_of_its_own() {
    let message = proto::ExecProcessRequest {
        container_id: "c1".into(),
        exec_id: "e1".into(),
        argv: vec!["/bin/probe".into()],
        terminal: true,
        terminal_width: 80,
        terminal_height: 25,
        ..Default::default()
    };
    let exec = Exec::try_from(message.clone()).unwrap();
    assert_eq!(exec.process.to_string(), "c1/e1");
    assert_eq!(exec.cwd, None);
    let size = exec.stdio.terminal.unwrap();
    assert_eq!((size.width(), size.height()), (80, 25));
    refuses::<_, Exec>(message.clone(), "exec_id", Problem::Form, |m| m.exec_id.clear());
    refuses::<_, Exec>(message, "cwd", Problem::Form, |m| m.cwd = "x".into());
}

#[test]
fn signals_are_those_of_linux() {
    let message = |signal| proto::SignalRequest {
        process: MessageField::some(proto::ProcessRef {
            container_id: "c1".into(),
            ..Default::default()
        }),
        signal,
        ..Default::default()
    };
    assert_eq!(Signal::try_from(message(15)).unwrap().target, Target::Process);
    // A17: signal -1 and friends.
    for signal in [0, 65, u32::MAX] {
        refuses::<_, Signal>(message(signal), "signal", Problem::UnknownValue, |_| {});
    }
    refuses::<_, Signal>(message(9), "process", Problem::Missing, |m| {
        m.process = MessageField::none();
    });
}

fn volume() -> proto::PutVolumeRequest {
    let file = |name: &str, content: &[u8]| proto::File {
        name: name.into(),
        content: content.into(),
        ..Default::default()
    };
    proto::PutVolumeRequest {
        volume: "conf".into(),
        files: vec![file("app.conf", b"a = 1\n"), file(".hidden", b""), file("é", &[0xff, 0])],
        ..Default::default()
    }
}

fn bad_volume(field: &str, problem: Problem, change: impl FnOnce(&mut proto::PutVolumeRequest)) {
    refuses::<_, PutVolume>(volume(), field, problem, change);
}

#[test]
fn a_good_volume_is_parsed() {
    let parsed = PutVolume::try_from(volume()).unwrap();
    assert_eq!(parsed.volume.as_str(), "conf");
    let names: Vec<_> = parsed.files.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["app.conf", ".hidden", "é"]);
    assert_eq!(parsed.files[2].content, [0xff, 0]);
    // A volume without files is one, too: an empty ConfigMap.
    let empty = proto::PutVolumeRequest { volume: "0".into(), ..Default::default() };
    assert!(PutVolume::try_from(empty).unwrap().files.is_empty());
}

#[test]
fn names_of_files_stay_in_their_volume() {
    // A13.
    for name in
        ["", ".", "..", "...", "..data", "../x", "/x", "a/b", "a/", "./a", "/proc/self/root"]
    {
        bad_volume("name", Problem::Form, |m| m.files[0].name = name.into());
    }
    for name in ["a\0", "a\nb", "\u{7f}"] {
        bad_volume("name", Problem::Character, |m| m.files[0].name = name.into());
    }
    bad_volume("name", Problem::TooLarge { max: 255 }, |m| m.files[0].name = "a".repeat(256));
    bad_volume("name", Problem::Twice, |m| m.files[1].name = "app.conf".into());
    // Not UTF-8: no message at all.
    use protobuf::Message as _;
    let mut bytes = volume().write_to_bytes().unwrap();
    let place = bytes.windows(8).position(|w| w == b"app.conf").unwrap();
    bytes[place] = 0xff;
    assert!(proto::PutVolumeRequest::parse_from_bytes(&bytes).is_err());
}

#[test]
fn names_of_volumes_are_labels() {
    for name in ["", ".", "..", "Conf", "a/b", "a_b", "-a", "a-", "a.b", "a\0"] {
        bad_volume("volume", Problem::Form, |m| m.volume = name.into());
    }
    bad_volume("volume", Problem::TooLarge { max: 63 }, |m| m.volume = "a".repeat(64));
}

#[test]
fn content_of_volumes_is_capped() {
    // A15.
    let max = u64::try_from(MAX_VOLUME_BYTES).unwrap();
    let mut full = volume();
    full.files.truncate(1);
    full.files[0].content = vec![0; MAX_VOLUME_BYTES];
    assert!(PutVolume::try_from(full).is_ok());
    bad_volume("content", Problem::TooLarge { max }, |m| {
        m.files[0].content = vec![0; MAX_VOLUME_BYTES - 2];
        m.files[1].content = vec![0; 1];
    });
    bad_volume("put_volume", Problem::TooLarge { max: volume::MAX_MESSAGE }, |m| {
        m.files[0].content = vec![0; 2 << 20];
    });
    let files = |count: usize| {
        let file = |n: usize| proto::File { name: n.to_string(), ..Default::default() };
        (0..count).map(file).collect::<Vec<_>>()
    };
    let mut many = volume();
    many.files = files(MAX_VOLUME_FILES);
    assert!(PutVolume::try_from(many).is_ok());
    bad_volume("files", Problem::TooLarge { max: 1024 }, |m| m.files = files(MAX_VOLUME_FILES + 1));
}

#[test]
fn content_of_volumes_is_not_shown() {
    // A27: a Secret of Kubernetes may be in it.
    let mut message = volume();
    message.files[0].content = b"canary".to_vec();
    let shown = format!("{:?}", PutVolume::try_from(message).unwrap());
    assert!(shown.contains("app.conf") && !shown.contains("canary") && !shown.contains("99, 97"));
}

#[test]
fn updates_set_something_and_nothing_to_zero() {
    let message = |memory_limit, cpu_millis, pids| proto::UpdateRequest {
        container_id: "c1".into(),
        memory_limit,
        cpu_millis,
        pids,
        ..Default::default()
    };
    let update = Update::try_from(message(Some(1), None, Some(2))).unwrap();
    assert_eq!((update.memory_limit, update.cpu_millis, update.pids), (Some(1), None, Some(2)));
    let refused = |message, field, problem| {
        refuses::<proto::UpdateRequest, Update>(message, field, problem, |_| {});
    };
    refused(message(None, None, None), "update", Problem::Missing);
    // A18: limits to zero.
    refused(message(Some(0), None, None), "memory_limit", Problem::Form);
    refused(message(Some(1), Some(0), None), "cpu_millis", Problem::Form);
    refused(message(Some(1), Some(1), Some(0)), "pids", Problem::Form);
    refuses::<_, Update>(message(Some(1), None, None), "container_id", Problem::Form, |m| {
        m.container_id = "/".into();
    });
}

#[test]
fn a_good_network_is_parsed() {
    let parsed = Network::try_from(network()).unwrap();
    assert_eq!(parsed.interfaces[0].addresses[0].to_string(), "10.1.2.3/24");
    assert_eq!(parsed.routes[0].destination.to_string(), "0.0.0.0/0");
    assert_eq!(parsed.routes[1].destination.to_string(), "10.96.0.0/12");
    assert_eq!(parsed.hostname.as_str(), "web-0");
}

#[test]
fn nothing_may_touch_loopback() {
    // E14.
    use NetworkProblem::Loopback;
    use NetworkProblem::LoopbackName;
    bad_network("name", LoopbackName, |m| m.interfaces[0].name = "lo".into());
    for address in ["127.0.0.1/32", "127.1.2.3/8", "::1/128", "::ffff:127.0.0.1/128"] {
        bad_network("addresses", Loopback, |m| m.interfaces[0].addresses[0] = address.into());
    }
    for wide in ["10.0.0.1/0", "100.0.0.1/2", "64.0.0.1/1", "fd00::1/0"] {
        bad_network("addresses", Loopback, |m| m.interfaces[0].addresses[0] = wide.into());
    }
    for captured in
        ["127.0.0.0/8", "127.0.0.1/32", "0.0.0.0/1", "64.0.0.0/2", "::1/128", "::/1", "::/64"]
    {
        bad_network("destination", Loopback, |m| m.routes[0].destination = captured.into());
    }
    bad_network("gateway", Loopback, |m| m.routes[0].gateway = "127.0.0.1".into());
    bad_network("source", Loopback, |m| m.routes[0].source = "127.0.0.1".into());
}

#[test]
fn a_default_route_and_its_neighbours_are_allowed() {
    for destination in ["", "0.0.0.0/0", "128.0.0.0/1", "126.0.0.0/8", "169.254.169.254/32"] {
        let mut message = network();
        message.routes[0].destination = destination.into();
        assert!(Network::try_from(message).is_ok(), "{destination}");
    }
    let mut message = network();
    message.routes[0].destination = "::/0".into();
    message.routes[0].gateway = "fe80::1".into();
    assert!(Network::try_from(message).is_ok());
}

#[test]
fn addresses_are_unicast_and_well_formed() {
    use NetworkProblem::NotUnicast;
    for address in ["0.0.0.0/8", "224.0.0.1/4", "255.255.255.255/32", "ff02::1/128", "::/128"] {
        bad_network("addresses", NotUnicast, |m| m.interfaces[0].addresses[0] = address.into());
    }
    for address in ["10.0.0.1", "10.0.0.1/33", "10.0.0.1/+8", "10.0.0.1/08", "x/8", "10.0.0.1/"] {
        bad_network("addresses", Problem::Form, |m| m.interfaces[0].addresses[0] = address.into());
    }
    bad_network("gateway", NotUnicast, |m| m.routes[0].gateway = "224.0.0.1".into());
    bad_network("gateway", Problem::Form, |m| m.routes[0].gateway = "10.1.2.1/24".into());
    bad_network("destination", NotUnicast, |m| m.routes[1].destination = "224.0.0.0/4".into());
    bad_network("destination", Problem::Form, |m| m.routes[1].destination = "10.1.2.3/8".into());
    bad_network("dns_servers", NotUnicast, |m| m.dns_servers[0] = "0.0.0.0".into());
}

#[test]
fn interfaces_are_told_apart() {
    use NetworkProblem::Twice;
    let second = || proto::Interface {
        name: "net1".into(),
        mac: vec![2, 0, 0, 0, 0, 2],
        mtu: 1500,
        addresses: vec!["10.9.0.1/24".into()],
        ..Default::default()
    };
    let mut message = network();
    message.interfaces.push(second());
    assert!(Network::try_from(message).is_ok());
    let twice = |field, change: fn(&mut proto::Interface)| {
        bad_network(field, Twice, |m| {
            let mut second = second();
            change(&mut second);
            m.interfaces.push(second);
        });
    };
    twice("name", |i| i.name = "eth0".into());
    twice("mac", |i| i.mac = vec![2, 0, 0, 0, 0, 1]);
    twice("addresses", |i| i.addresses = vec!["10.1.2.3/32".into()]);
}

#[test]
fn interface_values_are_in_range() {
    use NetworkProblem::Mac;
    use NetworkProblem::Mtu;
    for mtu in [0, 1, 575, 65_536, u32::MAX] {
        bad_network("mtu", Mtu, |m| m.interfaces[0].mtu = mtu);
    }
    bad_network("mac", Mac, |m| m.interfaces[0].mac = vec![0; 6]);
    bad_network("mac", Mac, |m| m.interfaces[0].mac[0] = 1);
    bad_network("mac", Problem::Form, |m| m.interfaces[0].mac = vec![2; 7]);
    for name in ["", "a/b", "..", "all", "default", "eth 0", "é"] {
        bad_network("name", Problem::Form, |m| m.interfaces[0].name = name.into());
    }
    bad_network("name", Problem::TooLarge { max: 15 }, |m| {
        m.interfaces[0].name = "a".repeat(16);
    });
    bad_network("interfaces", Problem::TooLarge { max: 8 }, |m| {
        m.interfaces = vec![m.interfaces[0].clone(); 9];
    });
}

#[test]
fn routes_agree_with_interfaces() {
    use NetworkProblem::Family;
    use NetworkProblem::UnknownInterface;
    bad_network("interface", UnknownInterface, |m| m.routes[0].interface = "eth1".into());
    bad_network("routes", Family, |m| m.routes[1].gateway = "fe80::1".into());
    bad_network("source", Problem::Contradiction, |m| m.routes[1].source = "10.1.2.4".into());
    bad_network("destination", Problem::Missing, |m| m.routes[0].gateway.clear());
}

#[test]
fn names_cannot_carry_lines_or_localhost() {
    // B14.
    use NetworkProblem::LoopbackName;
    let long = "a".repeat(64);
    for name in ["", "a\nb", "a b", "-a", "a..b", "a_b", long.as_str()] {
        bad_network("hostname", Problem::Form, |m| m.hostname = name.into());
    }
    bad_network("hostname", Problem::TooLarge { max: 64 }, |m| m.hostname = "a.".repeat(150));
    for name in ["localhost", "LOCALHOST", "localhost.localdomain", "x.localhost"] {
        bad_network("hostname", LoopbackName, |m| m.hostname = name.into());
    }
    for search in ["a\nnameserver 6.6.6.6", "a b", "", "a..b", long.as_str()] {
        bad_network("dns_searches", Problem::Form, |m| m.dns_searches[0] = search.into());
    }
    for option in ["a\nb", "a b", "", "é"] {
        bad_network("dns_options", Problem::Form, |m| m.dns_options[0] = option.into());
    }
    bad_network("dns_servers", Problem::Form, |m| m.dns_servers[0] = "1.1.1.1\n".into());
}

#[test]
fn network_refusals_have_their_code() {
    let mut message = network();
    message.interfaces[0].name = "lo".into();
    assert_eq!(Network::try_from(message).unwrap_err().code(), Code::NetworkRefused);
    let mut message = network();
    message.interfaces[0].name.clear();
    assert_eq!(Network::try_from(message).unwrap_err().code(), Code::RequestInvalid);
}

proptest! {
    #[test]
    fn cidr_survives_text(address in any::<std::net::IpAddr>(), prefix in 0u8..=32) {
        let text = format!("{address}/{prefix}");
        prop_assert_eq!(text.parse::<Cidr>().unwrap().to_string(), text);
    }

    #[test]
    fn a_network_holds_what_shares_its_prefix(a in any::<u32>(), b in any::<u32>(), p in 0u8..=32) {
        let cidr: Cidr = format!("{}/{p}", std::net::Ipv4Addr::from(a)).parse().unwrap();
        let same = p == 0 || a >> (32 - p) == b >> (32 - p);
        prop_assert_eq!(cidr.contains(std::net::Ipv4Addr::from(b).into()), same);
    }

    #[test]
    fn any_bytes_as_a_request_are_harmless(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        use protobuf::Message as _;
        if let Ok(message) = proto::CreateContainerRequest::parse_from_bytes(&bytes) {
            let _ = CreateContainer::try_from(message);
        }
        if let Ok(message) = proto::SetNetworkRequest::parse_from_bytes(&bytes) {
            let _ = Network::try_from(message);
        }
        if let Ok(message) = proto::UpdateRequest::parse_from_bytes(&bytes) {
            let _ = Update::try_from(message);
        }
        if let Ok(message) = proto::PutVolumeRequest::parse_from_bytes(&bytes)
            && let Ok(put) = PutVolume::try_from(message)
        {
            // A13: whatever passes is one plain component.
            for file in put.files {
                let path = std::path::Path::new("/volume").join(file.name.as_str());
                prop_assert_eq!(path.parent(), Some(std::path::Path::new("/volume")));
            }
        }
    }
}
