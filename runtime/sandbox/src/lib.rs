// SPDX-License-Identifier: Apache-2.0
//! The life of one sandbox on the host, as a pure state machine: inputs in, actions out, no I/O.
//!
//! The shim drives it: every request of containerd and everything that the VM or the guest reports
//! becomes an [`Input`], and [`Sandbox::step`] answers with the [`Action`]s to carry out, or with
//! the [`Refusal`] to send back. Which events containerd sees, and in which order, is decided here.
//!
//! # Trust
//!
//! Both sides of the machine run on the host, which the owner of the workload does not trust; the
//! guest is not trusted by the host either. Nothing the guest reports can bring the machine into a
//! state where a process exits twice, or exits before it was started (hostile-host E19).
//!
//! # Example
//!
//! ```
//! use casemate_sandbox::{Action, Event, Id, Input, Sandbox};
//!
//! let pod = Id::new("pod-1")?;
//! let mut sandbox = Sandbox::new(pod.clone());
//! assert_eq!(sandbox.step(Input::CreateSandbox)?, [Action::BootVm]);
//! let created = sandbox.step(Input::VmStarted { pid: 4711 })?;
//! assert_eq!(created, [Action::Publish(Event::Create { id: pod, pid: 4711 })]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Invariants
//!
//! - For every process the published events are a prefix of create, start, exit, delete (a process
//!   that never started may miss start; one deleted before it ran may miss exit).
//! - After [`Input::VmExited`] no process is alive, and no action for the guest is asked for.
//! - A process that was published as created has exited once the VM is gone.

mod action;
mod id;
mod input;
mod process;
mod sandbox;

pub use action::Action;
pub use action::Event;
pub use id::BadId;
pub use id::Id;
pub use id::MAX_ID_BYTES;
pub use id::Process;
pub use input::Input;
pub use input::Refusal;
pub use process::Exit;
pub use process::Status;
pub use process::Timestamp;
pub use process::View;
pub use sandbox::Sandbox;
pub use sandbox::VM_DIED_STATUS;
