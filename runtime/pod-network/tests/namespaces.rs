// SPDX-License-Identifier: Apache-2.0
//! Frames cross between a veth and the tap, inside network namespaces that the test makes.
//!
//! Needs root and a kernel with veth, tun and tc; says so when it skips.
#![expect(unsafe_code, reason = "moves threads of the test into namespaces of their own")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says by a panic that it failed"
)]

use std::fs::File;
use std::net::Ipv4Addr;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;

use casemate_pod_network::Cidr;
use casemate_pod_network::NetworkError;
use casemate_pod_network::attach;
use casemate_pod_network::detach;
use futures_util::TryStreamExt;
use rtnetlink::LinkUnspec;
use rtnetlink::LinkVeth;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::link::LinkAttribute;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::event::poll;
use rustix::thread::UnshareFlags;
use rustix::thread::unshare_unsafe;

const POD_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 201, 7, 2);
const PEER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 201, 7, 1);
const POD_MTU: u32 = 1400;

/// Opens the tap as a VMM does.
fn open_tap(name: &str) -> File {
    let device = File::options().read(true).write(true).open("/dev/net/tun").unwrap();
    // SAFETY: `ifreq` is plain data for which all zeros is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    request.ifr_ifru.ifru_flags = flags.try_into().unwrap();
    let fd = std::os::fd::AsRawFd::as_raw_fd(&device);
    // SAFETY: the descriptor is open and the pointer is to an `ifreq`, as TUNSETIFF demands.
    assert_eq!(unsafe { libc::ioctl(fd, libc::TUNSETIFF, &raw mut request) }, 0);
    device
}

/// A network namespace that lives as long as its thread is parked.
struct Namespace {
    path: PathBuf,
    jobs: mpsc::Sender<Box<dyn FnOnce() + Send>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Namespace {
    fn new() -> Self {
        let (jobs, queue) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let (ready, path) = mpsc::channel();
        let thread = thread::spawn(move || {
            // SAFETY: only this thread's network namespace changes; it shares no other state.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
            let tid = rustix::thread::gettid().as_raw_nonzero();
            let pid = std::process::id();
            ready.send(PathBuf::from(format!("/proc/{pid}/task/{tid}/ns/net"))).unwrap();
            for job in queue {
                job();
            }
        });
        Self { path: path.recv().unwrap(), jobs, thread: Some(thread) }
    }

    fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (answer, result) = mpsc::channel();
        self.jobs.send(Box::new(move || answer.send(job()).unwrap())).unwrap();
        result.recv().unwrap()
    }

    fn netlink<T: Send + 'static, F: Future<Output = T>>(
        &self,
        job: impl FnOnce(rtnetlink::Handle) -> F + Send + 'static,
    ) -> T {
        self.run(move || {
            tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap().block_on(
                async {
                    let (connection, handle, _) = rtnetlink::new_connection().unwrap();
                    tokio::spawn(connection);
                    job(handle).await
                },
            )
        })
    }

    fn link_names(&self) -> Vec<String> {
        self.netlink(async |handle| {
            let links: Vec<_> = handle.link().get().execute().try_collect().await.unwrap();
            links
                .into_iter()
                .flat_map(|link| link.attributes)
                .filter_map(|attribute| match attribute {
                    LinkAttribute::IfName(name) => Some(name),
                    _ => None,
                })
                .collect()
        })
    }

    /// Kinds of the queueing disciplines of every interface.
    fn has_ingress(&self) -> bool {
        self.netlink(async |handle| {
            let queues: Vec<_> = handle.qdisc().get().execute().try_collect().await.unwrap();
            format!("{queues:?}").contains("\"ingress\"")
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let (closed, _) = mpsc::channel();
        self.jobs = closed;
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// What CNI leaves: a veth pair from the pod to a peer, an address and a default route.
fn pod_with_peer() -> (Namespace, Namespace) {
    let (pod, peer) = (Namespace::new(), Namespace::new());
    let peer_file = File::open(&peer.path).unwrap();
    pod.netlink(async move |handle| {
        let links = || handle.link();
        links().add(LinkVeth::new("eth0", "peer0").build()).execute().await.unwrap();
        let index = async |name: &str| {
            let mut found = links().get().match_name(name.to_owned()).execute();
            found.try_next().await.unwrap().unwrap().header.index
        };
        let (eth0, peer0, lo) = (index("eth0").await, index("peer0").await, index("lo").await);
        let fd = std::os::fd::AsRawFd::as_raw_fd(&peer_file);
        let moved = LinkUnspec::new_with_index(peer0).setns_by_fd(fd).build();
        links().set(moved).execute().await.unwrap();
        for link in [lo, eth0] {
            let up = LinkUnspec::new_with_index(link).up().build();
            links().set(up).execute().await.unwrap();
        }
        let mtu = LinkUnspec::new_with_index(eth0).mtu(POD_MTU).build();
        links().set(mtu).execute().await.unwrap();
        handle.address().add(eth0, POD_ADDRESS.into(), 24).execute().await.unwrap();
        let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(PEER_ADDRESS).build();
        handle.route().add(route).execute().await.unwrap();
    });
    peer.netlink(async |handle| {
        let mut found = handle.link().get().match_name("peer0".to_owned()).execute();
        let index = found.try_next().await.unwrap().unwrap().header.index;
        let up = LinkUnspec::new_with_index(index).up().build();
        handle.link().set(up).execute().await.unwrap();
        handle.address().add(index, PEER_ADDRESS.into(), 24).execute().await.unwrap();
    });
    (pod, peer)
}

/// The virtio-net header in front of every frame of the tap.
const VNET_HEADER: usize = 10;

/// The next frame from the tap that `wanted` accepts; others are noise of the kernel.
fn read_frame(tap: impl AsFd, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut buffer = [0; 65536];
    for _ in 0..64 {
        let wait = Timespec { tv_sec: 10, tv_nsec: 0 };
        let mut fds = [PollFd::new(&tap, PollFlags::IN)];
        assert_eq!(poll(&mut fds, Some(&wait)).unwrap(), 1, "no frame came through the tap");
        let length = rustix::io::read(&tap, &mut buffer).unwrap();
        let frame = &buffer[VNET_HEADER..length];
        if wanted(frame) {
            return frame.to_vec();
        }
    }
    panic!("only other frames came through the tap");
}

fn is_arp_request_for(address: Ipv4Addr) -> impl Fn(&[u8]) -> bool {
    move |frame| {
        frame.len() >= 42
            && frame[12..14] == [8, 6]
            && frame[20..22] == [0, 1]
            && frame[38..42] == address.octets()
    }
}

fn arp_reply(request: &[u8], mac: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    let mut reply = vec![0; VNET_HEADER];
    reply.extend(&request[6..12]);
    reply.extend(mac);
    reply.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 2]);
    reply.extend(mac);
    reply.extend(address.octets());
    reply.extend(&request[22..32]);
    reply
}

fn can_run() -> bool {
    let reason = if !rustix::process::geteuid().is_root() {
        "needs root"
    } else if !PathBuf::from("/dev/net/tun").exists() {
        "needs /dev/net/tun"
    } else {
        return true;
    };
    assert!(std::env::var_os("CASEMATE_REQUIRE").is_none(), "must not skip: {reason}");
    println!("skipped: {reason}");
    false
}

#[test]
fn frames_cross_in_both_directions() {
    if !can_run() {
        return;
    }
    let (pod, peer) = pod_with_peer();
    let network = attach(&pod.path).unwrap();
    let [nic] = &network.nics[..] else { panic!("one interface expected: {network:?}") };
    assert_eq!(nic.name, "eth0");
    assert_eq!(nic.mtu, POD_MTU);
    assert_eq!(nic.addresses, [Cidr::new(POD_ADDRESS.into(), 24).unwrap()]);
    let [route] = &network.routes[..] else { panic!("one route expected: {network:?}") };
    assert_eq!((route.destination, route.gateway), (None, Some(PEER_ADDRESS.into())));

    let name = nic.tap.clone();
    let tap = pod.run(move || open_tap(&name));

    // Peer to guest: the peer's kernel asks for the pod's MAC, and the tap sees the question.
    let socket = peer.run(|| {
        let socket = UdpSocket::bind((PEER_ADDRESS, 0)).unwrap();
        socket.send_to(b"to the guest", (POD_ADDRESS, 4000)).unwrap();
        socket
    });
    let request = read_frame(&tap, is_arp_request_for(POD_ADDRESS));
    // Guest to peer: our answer reaches the peer's kernel, which then sends the datagram.
    rustix::io::write(&tap, &arp_reply(&request, nic.mac, POD_ADDRESS)).unwrap();
    let frame = read_frame(&tap, |frame| frame.ends_with(b"to the guest"));
    assert_eq!(frame[..6], nic.mac);
    drop(socket);
}

#[test]
fn nothing_is_left_behind() {
    if !can_run() {
        return;
    }
    let (pod, _peer) = pod_with_peer();
    assert_eq!(pod.link_names(), ["lo", "eth0"]);
    assert!(!pod.has_ingress());
    let network = attach(&pod.path).unwrap();
    assert_eq!(pod.link_names().len(), 3);
    assert!(pod.has_ingress());
    drop(network);
    detach(&pod.path).unwrap();
    assert_eq!(pod.link_names(), ["lo", "eth0"]);
    assert!(!pod.has_ingress());
    // Again, and for a namespace that is gone: no error.
    detach(&pod.path).unwrap();
    detach("/run/netns/casemate-never-existed".as_ref()).unwrap();
    // The namespace can be joined anew.
    attach(&pod.path).unwrap();
}

#[test]
fn a_second_attach_is_refused_and_touches_nothing() {
    if !can_run() {
        return;
    }
    let (pod, _peer) = pod_with_peer();
    attach(&pod.path).unwrap();
    let refused = attach(&pod.path);
    assert!(matches!(refused, Err(NetworkError::Tap { .. })), "{refused:?}");
    assert_eq!(pod.link_names().len(), 3);
    assert!(pod.has_ingress());
}

#[test]
fn a_failure_leaves_the_namespace_as_it_was() {
    if !can_run() {
        return;
    }
    let (pod, _peer) = pod_with_peer();
    // Another ingress queue on the pod's interface: the second redirect fails.
    pod.netlink(async |handle| {
        let mut found = handle.link().get().match_name("eth0".to_owned()).execute();
        let index = found.try_next().await.unwrap().unwrap().header.index;
        handle.qdisc().add(index.cast_signed()).ingress().execute().await.unwrap();
    });
    let refused = attach(&pod.path);
    assert!(matches!(refused, Err(NetworkError::Netlink { .. })), "{refused:?}");
    assert_eq!(pod.link_names(), ["lo", "eth0"]);
}

#[test]
fn a_namespace_without_addresses_is_refused() {
    if !can_run() {
        return;
    }
    let empty = Namespace::new();
    assert!(matches!(attach(&empty.path), Err(NetworkError::NoInterface)));
    let missing = attach("/run/netns/casemate-never-existed".as_ref());
    assert!(matches!(missing, Err(NetworkError::OpenNamespace { .. })));
    let not_a_namespace = attach("/dev/null".as_ref());
    assert!(matches!(not_a_namespace, Err(NetworkError::EnterNamespace { .. })));
}
