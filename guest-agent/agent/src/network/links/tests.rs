// SPDX-License-Identifier: Apache-2.0

use casemate_agent_api::proto;
use rtnetlink::LinkVeth;
use rtnetlink::packet_route::route::RouteAddress;
use rtnetlink::packet_route::route::RouteAttribute;

use super::*;

#[test]
fn virtio_devices_are_told_by_their_driver() {
    let sys = tempfile::tempdir().unwrap();
    for (name, driver) in [("eth0", "virtio_net"), ("eth1", "e1000")] {
        fs::create_dir_all(sys.path().join(name).join("device")).unwrap();
        let link = sys.path().join(name).join("device/driver");
        std::os::unix::fs::symlink(format!("../../bus/virtio/drivers/{driver}"), link).unwrap();
    }
    fs::create_dir_all(sys.path().join("lo")).unwrap();
    assert!(is_virtio(sys.path(), "eth0"));
    assert!(!is_virtio(sys.path(), "eth1"));
    assert!(!is_virtio(sys.path(), "lo"));
}

#[test]
fn ipv6_is_quiet_or_absent() {
    let conf = tempfile::tempdir().unwrap();
    fs::create_dir(conf.path().join("eth0")).unwrap();
    configure_ipv6(conf.path(), "eth0").unwrap();
    assert_eq!(fs::read(conf.path().join("eth0/accept_ra")).unwrap(), b"0");
    configure_ipv6(conf.path(), "absent").unwrap();
}

fn network() -> Network {
    let message = proto::SetNetworkRequest {
        interfaces: vec![proto::Interface {
            name: "eth0".into(),
            mac: vec![2, 0, 0, 0, 0, 7],
            mtu: 1400,
            addresses: vec!["10.1.2.3/24".into(), "fd00::3/64".into()],
            ..Default::default()
        }],
        routes: vec![
            proto::Route {
                destination: "0.0.0.0/0".into(),
                gateway: "169.254.1.1".into(),
                interface: "eth0".into(),
                ..Default::default()
            },
            // The gateway is only reachable once this one is there.
            proto::Route {
                destination: "169.254.1.1/32".into(),
                interface: "eth0".into(),
                ..Default::default()
            },
            // The kernel has made this one already.
            proto::Route {
                destination: "10.1.2.0/24".into(),
                interface: "eth0".into(),
                source: "10.1.2.3".into(),
                ..Default::default()
            },
        ],
        hostname: "web".into(),
        ..Default::default()
    };
    message.try_into().unwrap()
}

/// Sets the network up in a namespace of its own, on a device that stands in for virtio's.
async fn set_up_in_this_namespace() {
    loopback_up().await.unwrap();
    let network = network();
    // E14: the stand-in is no virtio device and is out of reach.
    let kernel = Kernel::connect().unwrap();
    let veth = LinkVeth::new("other0", "peer0").address(vec![2, 0, 0, 0, 0, 7]).build();
    kernel.handle.link().add(veth).execute().await.unwrap();
    assert!(matches!(apply(&network).await, Err(NetworkError::NoDevice { .. })));

    let mut devices = kernel.devices().await.unwrap();
    devices.iter_mut().for_each(|device| device.is_virtio = device.name == "other0");
    let assigned = devices::assign(&network, &devices).unwrap();
    configure(&kernel, &network, &assigned).await.unwrap();

    let found = kernel.devices().await.unwrap();
    assert!(found.iter().any(|d| d.name == "eth0" && d.mac == [2, 0, 0, 0, 0, 7]), "{found:?}");
    let mut routes =
        kernel.handle.route().get(RouteMessageBuilder::<IpAddr>::new().build()).execute();
    let mut gateways = Vec::new();
    while let Some(route) = routes.try_next().await.unwrap() {
        gateways.extend(route.attributes.into_iter().filter_map(|attribute| match attribute {
            RouteAttribute::Gateway(RouteAddress::Inet(gateway)) => Some(gateway.to_string()),
            _ => None,
        }));
    }
    assert_eq!(gateways, ["169.254.1.1"]);
    assert_eq!(fs::read_to_string("/proc/sys/net/ipv6/conf/eth0/accept_ra").unwrap(), "0\n");
}

#[test]
fn a_network_is_set_in_a_namespace() {
    // A thread of its own: the namespace ends with it.
    let thread = std::thread::spawn(|| {
        if let Err(error) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
            assert!(std::env::var_os("CASEMATE_REQUIRE").is_none(), "no namespace: {error}");
            eprintln!("skipped: a network namespace needs root ({error})");
            return;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(set_up_in_this_namespace());
    });
    thread.join().unwrap();
}
