// SPDX-License-Identifier: Apache-2.0
//! The guest agent: boots the confidential guest, attests it, and runs what its measured policy
//! carries.
//!
//! Everything outside the guest is hostile: the host that sends requests, the network, the disk
//! and the clock. The agent trusts its own measured image and the initdata whose digest the TEE
//! vouches for; the workload's owner trusts the agent because it is measured.
//!
//! # How it goes
//!
//! 1. `boot` makes the guest usable, reads the initdata and compares its digest with HOST_DATA
//!    (SEV-SNP) or MRCONFIGID (TDX) in the guest's own report. On any failure the host is told why
//!    and the VM is powered off.
//! 2. The API opens in phase *bound*: only the network may be set, once.
//! 3. The agent attests to the broker in the initdata; *attested* opens the rest of the API and
//!    starts the pulls of the policy's images.
//! 4. Each request that changes something goes through one queue: it is parsed, judged by the
//!    policy monitor, carried out, and then committed or rolled back.
//!
//! # Invariants
//!
//! - No API before the self-check; no container before attestation; each call has a class, and a
//!   call without one does not pass the tests.
//! - One task carries out every change; waiting and killing never wait for it.
//! - No lock is held across an await.
//! - Each request of the host and its verdict is in the audit log, also one that no call of the API
//!   sees; nothing in the guest depends on whether the log's head reaches the owner.
//! - What a host asks for in vain is answered at a bounded rate; what is granted never waits for it.
//! - The host's deadline or disconnection never leaves a change half done: the queue finishes it.

mod audit;
mod backend;
mod boot;
mod class;
mod events;
mod evidence;
mod figures;
mod images;
mod log;
mod logins;
mod network;
mod pace;
mod pod;
mod port;
mod power;
mod queue;
mod resolver;
mod run;
mod secrets;
mod service;
mod session;
mod stdio;
mod timeline;
mod transport;

pub use audit::Audit;
pub use backend::ApplyNetwork;
pub use backend::Attest;
pub use backend::Containers;
pub use backend::FetchSecrets;
pub use backend::NotUpdated;
pub use backend::Parts;
pub use backend::Power;
pub use backend::PullFailure;
pub use backend::PullImages;
pub use backend::PullProgress;
pub use backend::PulledImage;
pub use boot::steps as boot_steps;
pub use run::run;
pub use service::Guest;
pub use transport::Transport;
pub use transport::serve;
