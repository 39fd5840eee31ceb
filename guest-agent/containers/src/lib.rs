// SPDX-License-Identifier: Apache-2.0
//! Runs OCI containers inside the guest with libcontainer.
//!
//! The owner's measured policy says what a container is; this crate makes the OCI spec from it,
//! creates the container, and keeps it confined. It trusts the agent that calls it and the guest's
//! kernel. It trusts neither the host, whose only traces here are ids and signal numbers, nor
//! anything that runs in a container.
//!
//! # Example
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use casemate_containers::CreateSpec;
//! use casemate_containers::ProcessId;
//! use casemate_containers::Runtime;
//! use casemate_containers::RuntimeConfig;
//!
//! fn main() -> ExitCode {
//!     // First of all: this process may be a helper that libcontainer runs in.
//!     if let Some(code) = casemate_containers::helper_main() {
//!         return code;
//!     }
//!     ExitCode::SUCCESS
//! }
//!
//! async fn run(create: CreateSpec) -> Result<u32, Box<dyn std::error::Error>> {
//!     let runtime = Runtime::new(RuntimeConfig::default()).await?;
//!     let id = create.id.clone();
//!     let created = runtime.create(create).await?;
//!     runtime.start(&id).await?;
//!     let exit = runtime.wait(&ProcessId::init(id.clone())).await?;
//!     drop(created.stdio);
//!     runtime.delete(&id).await?;
//!     Ok(exit.code)
//! }
//! ```
//!
//! # Invariants
//!
//! * libcontainer runs only in helper processes with one thread: the agent's own binary, run again
//!   for one create or exec, from a read-only mount.
//! * One reaper owns waitpid(2) in the agent. A pid can be signalled only while it is not reaped.
//! * A program runs only in a process that has the filter, the `no_new_privileges` bit and no more
//!   capabilities than its spec says: the last step before exec looks at the process itself.
//! * Two device filters stand, libcontainer's on each container's cgroup and a stricter one of ours
//!   above them all; the root file system is `nodev`.
//! * The crate does not compile without libcontainer's features `libseccomp` and
//!   `cgroupsv2_devices`, whose absence libcontainer would not mention.
//!
//! # Namespaces
//!
//! Process ids, mounts, host name and cgroup root are the container's own. Network and System V IPC
//! are shared by the pod's containers, which is to say the guest's own: the agent uses neither
//! message queues nor shared memory, and the network is the pod's by nature.

mod cgroup;
mod device_filter;
mod guest_root;
mod helper;
mod id;
mod launcher;
mod oom;
mod reaper;
mod request;
mod rootfs;
mod runtime;
mod seccomp;
mod signal;
mod spec;
mod stdio;
mod volumes;

pub use cgroup::CgroupError;
pub use cgroup::UpdateError;
pub use device_filter::DeviceFilterError;
pub use guest_root::GuestRootError;
pub use guest_root::make_root_pivotable;
pub use helper::helper_main;
pub use helper::protocol::ChannelError;
pub use id::BadId;
pub use id::ContainerId;
pub use id::MAX_ID;
pub use id::ProcessId;
pub use launcher::HelperError;
pub use launcher::LauncherError;
pub use request::CreateSpec;
pub use request::Created;
pub use request::ExecSpec;
pub use request::Exit;
pub use request::Limits;
pub use request::SecretFile;
pub use request::SignalScope;
pub use request::Stats;
pub use request::Stdio;
pub use request::StdioRequest;
pub use request::Volume;
pub use request::WindowSize;
pub use rootfs::FilesError;
pub use runtime::CreateError;
pub use runtime::DeleteError;
pub use runtime::ExecError;
pub use runtime::InspectError;
pub use runtime::MessageError;
pub use runtime::ResizeError;
pub use runtime::Runtime;
pub use runtime::RuntimeConfig;
pub use runtime::SetupError;
pub use runtime::SignalError;
pub use runtime::StartError;
pub use runtime::UnknownProcess;
pub use runtime::UpdateLimitsError;
pub use spec::SpecError;
pub use volumes::VolumeError;
pub use volumes::VolumeFile;
pub use volumes::VolumeStore;
