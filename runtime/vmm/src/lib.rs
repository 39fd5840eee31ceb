// SPDX-License-Identifier: Apache-2.0
//! Launches virtual machines: a trait and the QEMU driver.
//!
//! The shim describes a pod's VM as a [`VmConfig`], a [`Vmm`] starts it, and the [`Vm`] that comes
//! back is the one handle on it: process id, way to the agent, end of life.
//!
//! # Trust
//!
//! This crate runs on the host, which the workload's owner does not trust: a launch that lies is
//! caught by the launch digest. What it guards is the host against the guest and the user against
//! silent weakening: replies of the VMM are bounded, and a TEE that the configuration demands is
//! either used or the launch fails with `tee.missing`. There is no plain VM to fall back to.
//!
//! # Example
//!
//! ```no_run
//! use casemate_vmm::{
//!     InitdataDigest, MemoryMib, QemuVmm, Tee, VcpuCount, Vm, VmConfig, VmName, Vmm,
//! };
//!
//! # async fn launch() -> Result<(), casemate_vmm::Error> {
//! let config = VmConfig {
//!     name: VmName::new("sandbox-1")?,
//!     tee: Tee::Sim { socket: "/run/casemate/tee-sim.sock".into() },
//!     vcpus: VcpuCount::new(1)?,
//!     memory: MemoryMib::new(512)?,
//!     guest_image: "/usr/share/casemate/guest-sim".into(),
//!     initdata: Some("/run/casemate/sandbox-1/initdata.img".into()),
//!     initdata_digest: InitdataDigest::Sha256([0; 32]),
//!     network: None,
//!     runtime_dir: "/run/casemate/sandbox-1".into(),
//!     cgroups: Vec::new(),
//!     qemu: "/usr/bin/qemu-system-x86_64".into(),
//!     acceleration: None,
//!     console: None,
//! };
//! let vm = QemuVmm::new().launch(&config).await?;
//! let agent = vm.connect_agent().await?;
//! # drop(agent);
//! vm.kill();
//! vm.wait().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Invariants
//!
//! - The VMM dies with the process that launched it.
//! - The launch parameters (host data, policy, vCPU model) are fixed before the guest's first
//!   instruction; nothing in [`Vm`] changes them.
//! - Nothing starts whose measurement this crate can see to be useless or refused: firmware that
//!   would boot any kernel (E1), an ID block for another launch.
//! - `unsafe` stands in the module `spawn` alone.

mod config;
mod error;
mod image;
pub mod probe;
mod psp;
pub mod qemu;
pub mod qmp;
mod spawn;
mod vm;

pub use casemate_launch_digest::InitdataDigest;
pub use config::{
    Acceleration, ConfigError, MacAddress, MemoryMib, Network, Nic, OwnerId, QuoteSocket,
    SnpOptions, SnpPolicy, TdxOptions, Tee, TeeKind, VcpuCount, VmConfig, VmName,
};
pub use error::Error;
pub use image::GuestImage;
pub use qemu::{MeasureError, QemuVmm};
pub use vm::{Exit, LaunchDigest, Vm, Vmm};
