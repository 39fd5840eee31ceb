// SPDX-License-Identifier: Apache-2.0
//! Intel TDX: the measurement of a TD's first memory, and the registers that firmware and kernel
//! extend afterwards.
//!
//! What can be predicted, and on what ground:
//!
//! | register | prediction | ground |
//! |---|---|---|
//! | MRTD | [`TdxPlan::mrtd`](crate::plan::TdxPlan::mrtd), both forms | vectors of three images, one hardware quote |
//! | RTMR 0 | [`rtmr0_events`]: memory list, variables, boot options | three hardware logs, 2 and 64 GiB |
//! | RTMR 0, ACPI | digests of the VMM's tables, or [`NotShown::AcpiTables`] | the tables depend on the VMM's build and devices |
//! | RTMR 0 and 1, firmware since 2025.05 | [`NotShown::FirmwareGeneration`] | no vector |
//! | RTMR 1 | [`rtmr1_events`] from a kernel's Authenticode digest | three hardware logs; the digest on a signed kernel |
//! | RTMR 1, a kernel that QEMU patched | the digest of [`patched_by_qemu`] | QEMU's source only |
//! | RTMR 2 | [`rtmr2_events`] from digests of load options and initrd | three hardware logs |
//! | RTMR 2, load options | [`load_options_digest`] of a command line's text | EDK II and Linux sources only |
//! | RTMR 3 | left to the guest | – |
//!
//! [`patched_by_qemu`]: casemate_boot_formats::bzimage::BzImage::patched_by_qemu
//!
//! ```
//! use casemate_launch_digest::tdx::EventDigest;
//! use casemate_launch_digest::tdx::Rtmr;
//!
//! let log = [EventDigest::of(b"kernel"), EventDigest::of(b"separator")];
//! let mut by_hand = Rtmr::new();
//! log.iter().for_each(|event| by_hand.extend(event));
//! assert_eq!(Rtmr::replay(&log), by_hand);
//! ```

mod events;
mod hob;
mod mrtd;
mod rtmr;

pub use events::Acpi;
pub use events::BootOption;
pub use events::Event;
pub use events::EventName;
pub use events::NotShown;
pub use events::OvmfGeneration;
pub use events::Rtmr0Inputs;
pub use events::Shown;
pub use events::load_options_digest;
pub use events::predict;
pub use events::rtmr0_events;
pub use events::rtmr1_events;
pub use events::rtmr2_events;
pub use hob::HobError;
pub use hob::memory_hob;
pub use mrtd::Mrtd;
pub use mrtd::MrtdForm;
pub use rtmr::EventDigest;
pub use rtmr::Rtmr;
