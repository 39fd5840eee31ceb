// SPDX-License-Identifier: Apache-2.0
//! Launches whose firmware is known by its digest only.

use std::num::NonZeroU16;

use casemate_boot_formats::sev_hashes::KernelHashes;

use super::PlanError;
use super::Vcpus;
use super::snp::metadata_ranges;
use crate::snp::GuestFeatures;
use crate::snp::LaunchDigest;
use crate::snp::PageRange;
use crate::snp::SevMetadata;
use crate::snp::SnpSteps;
use crate::snp::VmmProfile;

/// A launch that can be predicted but not executed: every VMM measures the firmware's image first,
/// so its digest stands for it. Publishers hand out digest and metadata in place of an image.
#[derive(Clone, Debug)]
pub struct SnpOutline {
    firmware: LaunchDigest,
    ranges: Vec<PageRange<'static>>,
    vcpus: Vcpus,
}

impl SnpOutline {
    /// Continues a launch behind the firmware image, whose digest [`Firmware::digest`] computes
    /// (`sev-snp-measure --mode snp:ovmf-hash` too).
    ///
    /// [`Firmware::digest`]: super::Firmware::digest
    ///
    /// # Errors
    ///
    /// Metadata that cannot be launched so: see [`PlanError`].
    pub fn new(
        firmware: LaunchDigest,
        metadata: &SevMetadata,
        hashes: Option<&KernelHashes>,
        vmm: VmmProfile,
        features: GuestFeatures,
        vcpus: NonZeroU16,
    ) -> Result<Self, PlanError> {
        let ranges = metadata_ranges(metadata, hashes, vmm)?;
        let vcpus = Vcpus::of(vmm, features, metadata.reset_eip(), vcpus)?;
        Ok(Self { firmware, ranges, vcpus })
    }

    /// The steps of the fold behind the firmware image.
    #[must_use]
    pub fn steps(&self) -> SnpSteps<'_> {
        SnpSteps::new(self.firmware, &self.ranges, &self.vcpus)
    }

    /// The launch digest: the field MEASUREMENT of the report.
    #[must_use]
    pub fn digest(&self) -> LaunchDigest {
        self.steps().last().map_or(self.firmware, |step| step.digest)
    }

    /// The launch digests with 1, 2, … up to this outline's own number of virtual CPUs.
    #[must_use]
    pub fn digests_by_vcpus(&self) -> Vec<LaunchDigest> {
        self.steps().digests_by_vcpus()
    }
}
