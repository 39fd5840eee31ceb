// SPDX-License-Identifier: Apache-2.0
//! Reference monitor: judges every request of the host against the policy.
//!
//! The monitor is a pure state machine: it does no I/O, has no clock and decides each request from the
//! policy and from what went before. The policy is the owner's and measured; every request is the
//! adversary's.
//!
//! # How a request passes
//!
//! A request that changes state gives a grant and a [`Pending`]: the monitor has reserved the change,
//! and whoever carries it out says how that went with [`ReferenceMonitor::commit`],
//! [`ReferenceMonitor::rollback`] (the state is as before the request) or, when the undoing itself
//! failed, [`ReferenceMonitor::poison`]. A `Pending` that is lost keeps its object reserved for good, so
//! that forgetting fails closed.
//!
//! ```
//! use casemate_policy::Policy;
//! use casemate_policy_monitor::{CreateRequest, Monitor, ProcessRef, ReferenceMonitor};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let policy = Policy::parse(br#"
//!     version = 1
//!     [containers.web]
//!     image = "registry.example/web@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
//!     encryption = "required"
//!     argv = ["/bin/web"]
//!     cwd = "/"
//!     user = { uid = 1000, gid = 1000 }
//!     logs = "host-visible"
//!     no_new_privileges = true
//!     seccomp = "default"
//!     signals = [15]
//! "#)?;
//! let mut monitor = Monitor::new(policy)?;
//! let request = CreateRequest {
//!     id: "c1".into(),
//!     name: "web".into(),
//!     image_digest: "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".into(),
//!     argv: vec!["/bin/web".into()],
//!     cwd: "/".into(),
//!     stdout: true,
//!     ..CreateRequest::default()
//! };
//! let (grant, pending) = monitor.create(&request)?;
//! assert!(grant.stdio.stdout);
//! // … the container is made …
//! monitor.commit(pending);
//! let pending = monitor.start(&ProcessRef::init("c1"))?;
//! monitor.commit(pending);
//! # Ok(())
//! # }
//! ```
//!
//! # Invariants
//!
//! - What the policy does not grant is denied; a denied request leaves the state unchanged.
//! - A container id is used once in the life of the monitor, and one container of a name is alive at
//!   most.
//! - A denial shows what the host itself sent and where in request or policy the difference lies; never
//!   what the policy expects there (A28).

mod denial;
mod grant;
mod guard;
mod monitor;
mod reference;
mod request;
mod state;

pub use denial::Denial;
pub use denial::Rule;
pub use grant::Change;
pub use grant::ContainerLimits;
pub use grant::Grant;
pub use grant::Pending;
pub use grant::Stdio;
pub use monitor::Monitor;
pub use reference::ReferenceMonitor;
pub use request::CreateRequest;
pub use request::ExecRequest;
pub use request::FileRequest;
pub use request::MountRequest;
pub use request::MountWish;
pub use request::NetworkRequest;
pub use request::ProcessRef;
pub use request::PutVolumeRequest;
pub use request::RouteRequest;
pub use request::UpdateRequest;
