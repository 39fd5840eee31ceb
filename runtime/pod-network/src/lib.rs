// SPDX-License-Identifier: Apache-2.0
//! Joins the pod's network namespace to the VM.
//!
//! CNI has put one end of a veth pair into the pod's network namespace, with addresses and routes.
//! [`attach`] makes a tap device beside each such interface, redirects every frame from the one to
//! the other in both directions (tc ingress, u32, mirred), and reads what the guest must set on its
//! side: MAC, MTU, addresses, routes. The host's IP stack sees none of the pod's frames.
//!
//! # Trust
//!
//! Everything here is the host's. The guest checks what it is told (no loopback addresses, no
//! routes that capture loopback) and refuses the rest; this crate leaves such values out only so
//! that an honest host is not refused.
//!
//! # Example
//!
//! ```no_run
//! let network = casemate_pod_network::attach("/run/netns/pod".as_ref())?;
//! for nic in &network.nics {
//!     println!("{} {:?} mtu {}", nic.name, nic.mac, nic.mtu);
//! }
//! // The VMM opens the taps by their names, inside the namespace.
//! casemate_pod_network::detach("/run/netns/pod".as_ref())?;
//! # Ok::<(), casemate_pod_network::NetworkError>(())
//! ```
//!
//! # Invariants
//!
//! - Namespaces are entered on threads of their own, which end; no thread of the caller moves.
//! - A failed [`attach`] leaves nothing. [`detach`] removes everything, needs no memory of what was
//!   made (so that it also works after a crash), and may be repeated.

mod address;
mod attach;
mod error;
mod namespace;
mod netlink;
mod tap;

pub use address::Cidr;
pub use attach::MAX_INTERFACES;
pub use attach::MAX_ROUTES;
pub use attach::Nic;
pub use attach::PodNetwork;
pub use attach::Route;
pub use attach::attach;
pub use attach::detach;
pub use error::NetworkError;
