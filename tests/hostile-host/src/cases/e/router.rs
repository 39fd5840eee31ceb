// SPDX-License-Identifier: Apache-2.0
//! E14: a router of the host's that advertises itself to the pod (RFC 4861, RFC 4862).

use std::fs;
use std::net::Ipv6Addr;
use std::net::SocketAddrV6;
use std::os::fd::AsFd as _;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::ensure;
use rtnetlink::LinkUnspec;
use rtnetlink::LinkVeth;
use rustix::net::AddressFamily;
use rustix::net::SendFlags;
use rustix::net::SocketType;
use rustix::net::ipproto;
use rustix::net::sockopt;
use rustix::thread::LinkNameSpaceType;
use rustix::thread::move_into_link_name_space;

use crate::Outcome;
use crate::Verdict;
use crate::room::pod::BUSYBOX;

/// In a network namespace of a room, with the host's router in another: what an advertisement does
/// before and after the agent has booted there.
pub(super) async fn advertise() -> Verdict {
    let router = Router::start()?;
    // The attack is one: a kernel as it is takes the address and the route.
    router.connect("before").await?;
    ensure!(router.moves("before", ENOUGH).await?, "an advertisement does nothing anyhow");
    // The agent boots, as far as it does without a guest's devices; its network settings stay. Then
    // come the pod's interfaces, as the driver for them does.
    let boot = Command::new(BUSYBOX)
        .args(["unshare", "-m", "-u", "-p", "-f", "/init", "--room=agent"])
        .stdin(Stdio::null())
        .output()?;
    for name in ["all", "default"] {
        for (setting, right) in [("accept_ra", "0"), ("autoconf", "0"), ("accept_redirects", "0")] {
            let path = format!("/proc/sys/net/ipv6/conf/{name}/{setting}");
            let found = fs::read_to_string(&path)?;
            ensure!(found.trim() == right, "{path} is {found:?}: {}", said(&boot));
        }
    }
    router.connect("eth0").await?;
    ensure!(!router.moves("eth0", SILENCE).await?, "the guest takes a route of the host's");
    let seen = fs::read_to_string("/proc/net/dev_snmp6/eth0")?;
    let seen = seen.lines().find_map(|line| line.strip_prefix("Icmp6InRouterAdvertisements"));
    let seen: u32 = seen.context("no figures")?.trim().parse()?;
    ensure!(seen > 0, "no advertisement came to the guest");
    Ok(Outcome::pass(format!(
        "of {seen} router advertisements none gave the guest an address or a route, where a kernel \
         that the agent did not boot takes both"
    )))
}

fn said(boot: &std::process::Output) -> String {
    String::from_utf8_lossy(&boot.stderr).into_owned()
}

/// A network namespace of the host's, which lives as long as a process in it.
struct Router(Child);

impl Drop for Router {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Router {
    fn start() -> anyhow::Result<Self> {
        let mut sleeper = Command::new(BUSYBOX);
        sleeper.args(["unshare", "-n", BUSYBOX, "sleep", "600"]).stdin(Stdio::null());
        let router = Self(sleeper.spawn()?);
        let own = fs::read_link("/proc/self/ns/net")?;
        let deadline = Instant::now() + ENOUGH;
        while fs::read_link(router.namespace())? == own {
            ensure!(Instant::now() < deadline, "no namespace for the router");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(router)
    }

    fn namespace(&self) -> String {
        format!("/proc/{}/ns/net", self.0.id())
    }

    /// Makes a device of this name, with the router at its other end.
    async fn connect(&self, name: &str) -> anyhow::Result<()> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        handle.link().add(LinkVeth::new(name, &peer(name)).build()).execute().await?;
        let moved = LinkUnspec::new_with_name(&peer(name)).setns_by_pid(self.0.id()).build();
        handle.link().set(moved).execute().await.context("give the router its device")?;
        handle.link().set(LinkUnspec::new_with_name(name).up().build()).execute().await?;
        let up = Command::new(BUSYBOX)
            .args(["nsenter", &format!("--net={}", self.namespace())])
            .args([BUSYBOX, "ip", "link", "set", &peer(name), "up"])
            .output()?;
        ensure!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
        Ok(())
    }

    /// Advertises for a while, and says whether a device then has an address or a route of it.
    async fn moves(&self, name: &str, time: Duration) -> anyhow::Result<bool> {
        let deadline = Instant::now() + time;
        let prefix = hex::encode(&PREFIX.octets()[..8]);
        while Instant::now() < deadline {
            let (namespace, peer) = (self.namespace(), peer(name));
            // A thread of its own, which does not come back from there.
            let sent = std::thread::spawn(move || send(&namespace, &peer)).join();
            sent.map_err(|_| anyhow::anyhow!("nobody advertises"))??;
            tokio::time::sleep(Duration::from_millis(200)).await;
            for table in ["/proc/net/if_inet6", "/proc/net/ipv6_route"] {
                let lines = fs::read_to_string(table)?;
                let mut lines = lines.lines().filter(|line| line.ends_with(name));
                // The prefix, or a way to everything by a router.
                if lines.any(|line| line.starts_with(&prefix) || line.starts_with(EVERYTHING)) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

fn peer(name: &str) -> String {
    format!("to-{name}")
}

/// Sends an advertisement to all nodes on a device of another network namespace. Until its own
/// address is there it cannot.
fn send(namespace: &str, device: &str) -> anyhow::Result<()> {
    let namespace = fs::File::open(namespace)?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    let socket = rustix::net::socket(AddressFamily::INET6, SocketType::RAW, Some(ipproto::ICMPV6))?;
    // RFC 4861, section 6.1.2: another hop limit is not believed.
    sockopt::set_ipv6_multicast_hops(&socket, 255)?;
    let index = rustix::net::netdevice::name_to_index(&socket, device)?;
    let nodes = SocketAddrV6::new(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), 0, 0, index);
    let prefix = PREFIX.octets();
    let advertisement = [
        // Type, code, checksum (the kernel's), hop limit, flags, lifetime 1800 s, two timers.
        &[134, 0, 0, 0, 64, 0, 0x07, 0x08][..],
        &[0; 8],
        // Prefix of 64 bits, on the link and for addresses, for an hour.
        &[3, 4, 64, 0xc0, 0, 0, 0x0e, 0x10, 0, 0, 0x0e, 0x10, 0, 0, 0, 0],
        &prefix,
    ]
    .concat();
    match rustix::net::sendto(&socket, &advertisement, SendFlags::empty(), &nodes) {
        Ok(_) | Err(rustix::io::Errno::ADDRNOTAVAIL) => Ok(()),
        Err(error) => Err(error).context("advertise"),
    }
}

/// Of the documentation's range (RFC 3849).
const PREFIX: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x6666, 0, 0, 0, 0, 0);
/// The default route's destination and prefix in the kernel's table, with a metric of a router's.
const EVERYTHING: &str =
    "00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe80";
/// Time for what must happen, and for what must not.
const ENOUGH: Duration = Duration::from_secs(30);
const SILENCE: Duration = Duration::from_secs(3);
