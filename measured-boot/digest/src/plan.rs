// SPDX-License-Identifier: Apache-2.0
//! The launch plan: everything that a launcher gives to the hardware, in order.
//!
//! A plan is made from files alone ([`SnpInputs::plan`], [`TdxInputs::plan`]), and everybody works
//! from it: the prediction folds it, the model of KVM and the real ioctls execute it. So the digest
//! that the owner expects and the pages that the host loads cannot drift apart.
//!
//! ```
//! use std::num::NonZeroU16;
//!
//! use casemate_launch_digest::plan::SnpGuest;
//! use casemate_launch_digest::plan::SnpPlan;
//! use casemate_launch_digest::plan::Vcpus;
//! use casemate_launch_digest::snp::GuestFeatures;
//! use casemate_launch_digest::snp::PageContents;
//! use casemate_launch_digest::snp::PageRange;
//! use casemate_launch_digest::snp::VmmProfile;
//!
//! let image = [0xf4; 4096];
//! let pages = PageRange::new(0xffff_f000, PageContents::Normal(image.as_slice().into()))?;
//! let count = NonZeroU16::MIN;
//! let vcpus = Vcpus::of(VmmProfile::Casemate, GuestFeatures::SNP, None, count)?;
//! let plan = SnpPlan::new(vec![pages], vcpus, SnpGuest::default())?;
//! assert_eq!(plan.steps().count(), 2); // one range, one virtual CPU
//! assert_eq!(plan.steps().by_page().last(), plan.steps().last());
//! assert_eq!(plan.steps().last().map(|step| step.digest), Some(plan.digest()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod firmware;
mod igvm;
mod outline;
mod snp;
mod tdx;
mod vcpus;

pub use firmware::Firmware;
pub use igvm::IgvmDigestError;
pub use igvm::igvm_digest;
pub use outline::SnpOutline;
pub use snp::MAX_PLAN_PAGES;
pub use snp::MAX_RANGES;
pub use snp::PlanError;
pub use snp::SnpGuest;
pub use snp::SnpInputs;
pub use snp::SnpPlan;
pub use tdx::MAX_TDX_SECTIONS;
pub use tdx::TdAttributes;
pub use tdx::TdParams;
pub use tdx::TdxInputs;
pub use tdx::TdxPlan;
pub use tdx::TdxPlanError;
pub use tdx::TdxSection;
pub use tdx::TdxSectionKind;
pub use tdx::Xfam;
pub use vcpus::Vcpus;
pub use vcpus::VcpusError;

use crate::snp::LaunchDigest;
use crate::tdx::Mrtd;
use crate::tdx::MrtdForm;

/// A launch on either hardware.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LaunchPlan<'a> {
    /// AMD SEV-SNP.
    Snp(SnpPlan<'a>),
    /// Intel TDX.
    Tdx(TdxPlan<'a>),
}

impl LaunchPlan<'_> {
    /// What the hardware will report for this launch.
    #[must_use]
    pub fn predict(&self) -> Prediction {
        match self {
            Self::Snp(plan) => Prediction::Snp(plan.digest()),
            Self::Tdx(plan) => Prediction::Tdx(plan.mrtd(MrtdForm::SinglePass)),
        }
    }
}

/// The measurement of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prediction {
    /// The field MEASUREMENT of the SNP report.
    Snp(LaunchDigest),
    /// The field MRTD of the TD report, as upstream KVM makes it.
    Tdx(Mrtd),
}
