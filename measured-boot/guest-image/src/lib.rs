// SPDX-License-Identifier: Apache-2.0
//! Builds the guest image: firmware, kernel, one initramfs with the agent, and the command line.
//!
//! The four parts are all that is measured of a guest, so whoever builds the image (an owner, CI, a
//! node's administrator) must get the same bytes from the same inputs: owners compare, they do not
//! trust the builder. The image is public and holds no secret.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use casemate_guest_image::{BuildInputs, ImageTee, Kind, build, inputs, verify};
//!
//! let lock = inputs::Lock::of_this_release(ImageTee::Snp)?;
//! let debian = inputs::prepare(Path::new("target/casemate/inputs"), &lock)?;
//! let out = Path::new("target/casemate/guest/production");
//! let manifest = build(
//!     &BuildInputs {
//!         firmware: &debian.firmware,
//!         kernel: &debian.kernel,
//!         modules: &debian.modules,
//!         agent: Path::new("target/x86_64-unknown-linux-gnu/release/casemate-agent"),
//!         lock,
//!         kind: Kind::Production,
//!         crates: &[],
//!     },
//!     out,
//! )?;
//! println!("initramfs: {}", manifest.parts["initramfs"].sha256);
//! assert!(verify(out)?.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Invariants
//!
//! - Same inputs, same bytes: no time, path, user, umask or folder order enters the image.
//! - A production image holds the agent, kernel modules and nothing else: no shell, no device of the
//!   software TEE. The agent's bytes are the same in both kinds.
//! - Firmware that would not check the kernel (SNP) or would not be measured (TDX) is refused, as are
//!   modules that are unsigned or of another kernel, and an agent that needs a dynamic linker.

mod build;
mod cmdline;
mod cpio;
mod elf;
mod id_blocks;
mod image;
pub mod inputs;
mod linked;
mod manifest;
mod modules;
mod output;
mod reference_values;
mod sbom;
pub mod signature;
mod tee;
mod variables;
mod verify;

pub use build::BuildError;
pub use build::BuildInputs;
pub use build::Kind;
pub use build::build;
pub use cmdline::command_line;
pub use cmdline::command_line_smp;
pub use cpio::CpioError;
pub use elf::ElfError;
pub use id_blocks::BoundLaunch;
pub use id_blocks::IdBlockDemand;
pub use id_blocks::IdBlockProblem;
pub use id_blocks::verify_id_blocks;
pub use image::GuestImage;
pub use image::ReadError;
pub use linked::Library;
pub use linked::libraries;
pub use manifest::FileRecord;
pub use manifest::KindName;
pub use manifest::Manifest;
pub use manifest::PartRecord;
pub use manifest::Sha256;
pub use modules::ModuleError;
pub use output::OutputError;
pub use reference_values::ReferenceValues;
pub use reference_values::ReferenceValuesError;
pub use reference_values::SnpReferenceValues;
pub use reference_values::TdxReferenceValues;
pub use sbom::Crate;
pub use sbom::SBOM_FILE;
pub use sbom::SbomError;
pub use sbom::crates;
pub use tee::ImageTee;
pub use variables::VariablesError;
pub use variables::has_variables;
pub use verify::Difference;
pub use verify::VerifyError;
pub use verify::verify;
pub use verify::verify_reference_values;
