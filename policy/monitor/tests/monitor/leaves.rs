// SPDX-License-Identifier: Apache-2.0
//! A12: each leaf of the honest requests changed once. What may differ without a denial is listed, with
//! the reason why it changes nothing.

use casemate_policy::Sha256Digest;
use casemate_policy_monitor::CreateRequest;
use casemate_policy_monitor::Denial;
use casemate_policy_monitor::ExecRequest;
use casemate_policy_monitor::Monitor;
use casemate_policy_monitor::MountWish;
use casemate_policy_monitor::NetworkRequest;
use casemate_policy_monitor::PutVolumeRequest;
use casemate_policy_monitor::ReferenceMonitor;
use casemate_policy_monitor::UpdateRequest;

use crate::pod;

/// A leaf, a change of it, and why it is inert if it is.
type Leaf<R> = (&'static str, fn(&mut R), Option<&'static str>);

fn check<R: Clone, T>(
    monitor: &Monitor,
    honest: &R,
    leaves: &[Leaf<R>],
    ask: impl Fn(&mut Monitor, &R) -> Result<T, Denial>,
) {
    assert!(ask(&mut monitor.clone(), honest).is_ok(), "the honest request");
    for (leaf, change, inert) in leaves {
        let mut request = honest.clone();
        change(&mut request);
        let mut asked = monitor.clone();
        let denied = ask(&mut asked, &request).is_err();
        assert_eq!(denied, inert.is_none(), "{leaf}");
        if denied {
            assert_eq!(asked, *monitor, "{leaf}: a denial changed the state");
        }
    }
}

#[test]
fn of_a_create() {
    let leaves: &[Leaf<CreateRequest>] = &[
        ("id", |r| r.id.push('/'), None),
        ("name", |r| r.name.push('2'), None),
        ("image_digest", |r| r.image_digest.push('0'), None),
        ("argv", |r| r.argv.push(String::new()), None),
        ("env", |r| r.env[0].push('x'), None),
        ("cwd", |r| r.cwd.push_str("srv"), None),
        ("terminal", |r| r.terminal = true, None),
        ("stdin", |r| r.stdin = false, None),
        ("stdout", |r| r.stdout = true, Some("output that is not granted stays in the guest")),
        ("stderr", |r| r.stderr = true, Some("output that is not granted stays in the guest")),
        ("mounts.destination", |r| r.mounts[0].destination.push('x'), None),
        ("mounts.kind", |r| r.mounts[0].kind = Some(MountWish::Shm), None),
        ("mounts.readonly", |r| r.mounts[0].readonly = true, None),
        ("readonly_rootfs", |r| r.readonly_rootfs = true, None),
    ];
    check(&pod::ready(), &pod::create("web", "web-1"), leaves, |m, r| m.create(r));
}

#[test]
fn of_an_exec() {
    let leaves: &[Leaf<ExecRequest>] = &[
        ("container_id", |r| r.container_id.push('2'), None),
        ("exec_id", |r| r.exec_id.push('/'), None),
        ("argv", |r| r.argv[0].push('x'), None),
        ("env", |r| r.env[0].push('x'), None),
        ("cwd", |r| r.cwd.push_str("srv"), None),
        ("terminal", |r| r.terminal = true, None),
        ("stdin", |r| r.stdin = false, Some("less than granted gives the host less")),
        ("stdout", |r| r.stdout = true, Some("output that is not granted stays in the guest")),
        ("stderr", |r| r.stderr = true, Some("output that is not granted stays in the guest")),
    ];
    let mut honest = pod::exec("e1", "/bin/cat");
    honest.stdin = true;
    check(&pod::running(), &honest, leaves, |m, r| m.exec(r));
}

#[test]
fn of_a_network() {
    let leaves: &[Leaf<NetworkRequest>] = &[
        ("hostname", |r| r.hostname.push('x'), None),
        ("addresses", |r| r.addresses[0] = pod::range("10.2.0.0/24"), None),
        ("routes.destination", |r| r.routes[1].destination = pod::range("::/0"), None),
        ("routes.gateway", |r| r.routes[0].gateway = "10.1.0.9".parse().ok(), None),
        ("dns_servers", |r| r.dns_servers[0] = "10.96.0.11".parse().unwrap(), None),
        ("dns_searches", |r| r.dns_searches[0].push('x'), None),
    ];
    check(&pod::fresh(), &pod::network(), leaves, |m, r| m.network(r));
}

#[test]
fn of_a_volume() {
    let leaves: &[Leaf<PutVolumeRequest>] = &[
        ("volume", |r| r.volume.push('x'), None),
        ("files.name", |r| r.files[0].name.push('x'), None),
        ("files.sha256", |r| r.files[0].sha256 = Sha256Digest::of(b"x"), None),
        ("files.size", |r| r.files[0].size = 1, Some("the guest counts the bytes that came")),
    ];
    check(&pod::fresh(), &pod::conf(), leaves, |m, r| m.put_volume(r));
}

#[test]
fn of_an_update() {
    let leaves: &[Leaf<UpdateRequest>] = &[
        ("container_id", |r| r.container_id.push('2'), None),
        ("memory_limit", |r| r.memory_limit = Some(1), None),
        ("cpu_millis", |r| r.cpu_millis = Some(1), None),
        ("pids", |r| r.pids = Some(11), None),
    ];
    let honest = UpdateRequest {
        container_id: "web-1".into(),
        memory_limit: Some(8 << 20),
        cpu_millis: Some(100),
        pids: Some(10),
    };
    check(&pod::running(), &honest, leaves, |m, r| m.update(r));
}
