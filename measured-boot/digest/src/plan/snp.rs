// SPDX-License-Identifier: Apache-2.0
//! The plan of an SNP launch.

use std::borrow::Cow;
use std::num::NonZeroU16;

use casemate_boot_formats::sev_hashes::KernelHashes;
use casemate_boot_formats::sev_hashes::KernelHashesError;

use super::Firmware;
use super::Vcpus;
use super::VcpusError;
use crate::id_block::Identity;
use crate::snp::FoldError;
use crate::snp::GuestFeatures;
use crate::snp::GuestPolicy;
use crate::snp::HostData;
use crate::snp::LaunchDigest;
use crate::snp::PageContents;
use crate::snp::PageRange;
use crate::snp::SevMetadata;
use crate::snp::SnpSteps;
use crate::snp::VmmProfile;
use crate::snp::section_ranges;

/// Largest accepted number of ranges in a plan.
pub const MAX_RANGES: usize = 4096;

/// Largest accepted number of pages in a plan: 1 GiB, seventeen minutes of the PSP's time.
pub const MAX_PLAN_PAGES: u64 = 1 << 18;

/// Parameters of the guest that no page holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SnpGuest {
    /// The guest policy.
    pub policy: GuestPolicy,
    /// The digest of the initdata.
    pub host_data: HostData,
    /// Reports must not be signed by the chip's own key (VCEK).
    pub vcek_disabled: bool,
}

/// All that the plan of an SNP launch depends on.
#[derive(Clone, Debug)]
pub struct SnpInputs<'a> {
    /// The firmware.
    pub firmware: Firmware<'a>,
    /// What the firmware must check; `None` is a launch with QEMU's `kernel-hashes=off`.
    ///
    /// # Security
    ///
    /// E1: without it the measurement says nothing of the kernel.
    pub hashes: Option<KernelHashes>,
    /// The VMM.
    pub vmm: VmmProfile,
    /// The SEV features of the guest.
    pub features: GuestFeatures,
    /// Number of virtual CPUs.
    pub vcpus: NonZeroU16,
    /// Everything else.
    pub guest: SnpGuest,
}

impl<'a> SnpInputs<'a> {
    /// Lays out the pages as the VMM will.
    ///
    /// # Errors
    ///
    /// Firmware that cannot be launched so: see [`PlanError`].
    pub fn plan(&self) -> Result<SnpPlan<'a>, PlanError> {
        let metadata = self.firmware.metadata();
        let mut ranges =
            vec![PageRange::new(self.firmware.gpa(), PageContents::Normal(self.firmware.image()))?];
        ranges.extend(metadata_ranges(metadata, self.hashes.as_ref(), self.vmm)?);
        let vcpus = Vcpus::of(self.vmm, self.features, metadata.reset_eip(), self.vcpus)?;
        SnpPlan::new(ranges, vcpus, self.guest)
    }
}

/// The pages of a firmware's sections, in the VMM's order.
pub(crate) fn metadata_ranges(
    metadata: &SevMetadata,
    hashes: Option<&KernelHashes>,
    vmm: VmmProfile,
) -> Result<Vec<PageRange<'static>>, PlanError> {
    let hash_page = match hashes {
        None => None,
        Some(hashes) => {
            // E1: hashes that no measured page holds must not look measured.
            let address = metadata.hash_table_gpa().ok_or(PlanError::NoHashTable)?;
            Some(Cow::Owned(hashes.to_page(address)?.to_vec()))
        }
    };
    let ordered = vmm.order(metadata.sections());
    Ok(section_ranges(&ordered, vmm.zeroes_memory(), hash_page)?)
}

/// An SNP launch: pages, virtual CPUs and parameters, in the order in which the PSP gets them.
///
/// No two ranges share a page. Whatever the CPUID page needs, the launcher supplies: it depends on
/// the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnpPlan<'a> {
    ranges: Vec<PageRange<'a>>,
    vcpus: Vcpus,
    guest: SnpGuest,
    identity: Option<Box<Identity>>,
}

impl<'a> SnpPlan<'a> {
    /// Makes a plan of ranges in the order given.
    ///
    /// # Errors
    ///
    /// Ranges that share a page (the PSP takes a page once), none at all or too many, or a SEV hash
    /// table that lacks an entry: see [`PlanError`].
    pub fn new(
        ranges: Vec<PageRange<'a>>,
        vcpus: Vcpus,
        guest: SnpGuest,
    ) -> Result<Self, PlanError> {
        if ranges.is_empty() {
            return Err(PlanError::Empty);
        }
        let pages = ranges.iter().fold(0_u64, |sum, range| sum.saturating_add(range.count()));
        if ranges.len() > MAX_RANGES || pages > MAX_PLAN_PAGES {
            return Err(PlanError::TooLarge { ranges: ranges.len(), pages });
        }
        let mut bounds: Vec<_> = ranges.iter().map(|range| (range.gpa(), range.end())).collect();
        bounds.sort_unstable();
        if let Some(pair) = bounds.array_windows().find(|[before, after]| after.0 < before.1) {
            let [_, (gpa, _)] = *pair;
            return Err(PlanError::Overlap { gpa });
        }
        // A table is a page of its own; of firmware, which knows the table, no range is so short.
        for page in ranges.iter().filter(|range| range.count() == 1) {
            KernelHashes::in_page(page.bytes().unwrap_or_default())?;
        }
        Ok(Self { ranges, vcpus, guest, identity: None })
    }

    /// Adds an ID block and its authentication, after which the PSP starts no other launch.
    ///
    /// # Errors
    ///
    /// A block that names another digest or policy than this plan's: the PSP would refuse it at
    /// the end of the launch.
    pub fn with_identity(mut self, identity: Identity) -> Result<Self, PlanError> {
        let block = identity.block();
        if block.policy != self.guest.policy {
            return Err(PlanError::OtherPolicy { block: block.policy, plan: self.guest.policy });
        }
        let digest = self.digest();
        if block.launch_digest != digest {
            return Err(PlanError::OtherDigest { block: block.launch_digest, plan: digest });
        }
        self.identity = Some(Box::new(identity));
        Ok(self)
    }

    /// The pages, in order.
    #[must_use]
    pub fn ranges(&self) -> &[PageRange<'a>] {
        &self.ranges
    }

    /// The virtual CPUs.
    #[must_use]
    pub fn vcpus(&self) -> &Vcpus {
        &self.vcpus
    }

    /// The parameters that no page holds.
    #[must_use]
    pub fn guest(&self) -> &SnpGuest {
        &self.guest
    }

    /// ID block and authentication, if there are any.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_deref()
    }

    /// The steps of the fold, each with the digest behind it.
    #[must_use]
    pub fn steps(&self) -> SnpSteps<'_> {
        SnpSteps::new(LaunchDigest::new(), &self.ranges, &self.vcpus)
    }

    /// The launch digest: the field MEASUREMENT of the report.
    #[must_use]
    pub fn digest(&self) -> LaunchDigest {
        self.steps().last().map_or_else(LaunchDigest::new, |step| step.digest)
    }

    /// The launch digests of this plan with 1, 2, … up to its own number of virtual CPUs. The
    /// pages are folded once, and each further CPU costs one hash.
    #[must_use]
    pub fn digests_by_vcpus(&self) -> Vec<LaunchDigest> {
        self.steps().digests_by_vcpus()
    }
}

/// Why there is no such plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// No pages.
    #[error("the plan has no pages")]
    Empty,
    /// More than [`MAX_RANGES`] or [`MAX_PLAN_PAGES`].
    #[error("the plan has {ranges} ranges with {pages} pages, too many")]
    TooLarge {
        /// Number of ranges.
        ranges: usize,
        /// Number of pages in all of them.
        pages: u64,
    },
    /// Two ranges share a page.
    #[error("the pages at {gpa:#x} are in the plan twice")]
    Overlap {
        /// Guest-physical address of the later range.
        gpa: u64,
    },
    /// The firmware does not look at a hash table.
    #[error("the firmware has no SEV hash table, so it would boot any kernel")]
    NoHashTable,
    /// The hash table does not fit its page, or a page holds one that lacks an entry.
    #[error("failed to lay out the page of the SEV hash table")]
    Hashes(#[from] KernelHashesError),
    /// Pages that cannot be launched.
    #[error("the plan has an impossible range of pages")]
    Pages(#[from] FoldError),
    /// Virtual CPUs that cannot be started.
    #[error("the virtual CPUs cannot be started")]
    Vcpus(#[from] VcpusError),
    /// The ID block is for another policy.
    #[error("the ID block is for policy {block}, the plan has {plan}")]
    OtherPolicy {
        /// Policy of the block.
        block: GuestPolicy,
        /// Policy of the plan.
        plan: GuestPolicy,
    },
    /// The ID block is for another digest.
    #[error("the ID block is for launch digest {block}, the plan has {plan}")]
    OtherDigest {
        /// Digest in the block.
        block: LaunchDigest,
        /// Digest of the plan.
        plan: LaunchDigest,
    },
}
