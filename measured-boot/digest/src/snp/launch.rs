// SPDX-License-Identifier: Apache-2.0
//! QEMU's launches in short: a prediction from files, and the fold of guest memory.
//!
//! Source: QEMU, `target/i386/sev.c`. Other VMMs measure the same firmware in another order or with
//! other page types and get another digest.

use std::num::NonZeroU16;

use casemate_boot_formats::ovmf::Ovmf;
use casemate_boot_formats::ovmf::OvmfError;
use casemate_boot_formats::ovmf::PAGE_SIZE;
use casemate_boot_formats::ovmf::SectionKind;
use casemate_boot_formats::sev_hashes::KernelHashes;

use super::FoldError;
use super::GuestFeatures;
use super::LaunchDigest;
use super::Pages;
use super::VcpuType;
use super::VmmProfile;
use crate::plan::Firmware;
use crate::plan::PlanError;
use crate::plan::SnpGuest;
use crate::plan::SnpInputs;
use crate::plan::SnpPlan;

/// Everything that the digest of a launch depends on, but for the number of virtual CPUs.
#[derive(Clone, Copy, Debug)]
pub struct SnpLaunch<'a> {
    /// The whole firmware image.
    pub firmware: &'a [u8],
    /// What the firmware must check; `None` is a launch with QEMU's `kernel-hashes=off`.
    pub hashes: Option<KernelHashes>,
    /// The CPU model.
    pub vcpu_type: VcpuType,
    /// The SEV features of the guest.
    pub features: GuestFeatures,
}

impl SnpLaunch<'_> {
    /// The digest with this many virtual CPUs.
    ///
    /// # Errors
    ///
    /// Firmware that cannot be measured: see [`LaunchError`].
    pub fn digest(&self, vcpus: NonZeroU16) -> Result<LaunchDigest, LaunchError> {
        Ok(self.plan(vcpus)?.digest())
    }

    /// The digests with 1, 2, … up to this many virtual CPUs. The firmware is folded once, and each
    /// further CPU costs one hash.
    ///
    /// # Errors
    ///
    /// As [`SnpLaunch::digest`].
    pub fn digests(&self, max_vcpus: NonZeroU16) -> Result<Vec<LaunchDigest>, LaunchError> {
        Ok(self.plan(max_vcpus)?.digests_by_vcpus())
    }

    fn plan(&self, vcpus: NonZeroU16) -> Result<SnpPlan<'_>, LaunchError> {
        let inputs = SnpInputs {
            firmware: Firmware::parse(self.firmware)?,
            hashes: self.hashes,
            vmm: VmmProfile::Qemu(self.vcpu_type),
            features: self.features,
            vcpus,
            guest: SnpGuest::default(),
        };
        Ok(inputs.plan()?)
    }
}

/// Folds all that is measured before the virtual CPUs, from bytes as they lie in guest memory.
///
/// This is the software PSP's entry: `firmware` is what stands at [`Ovmf::image_address`], and
/// `hash_page` the page at [`Ovmf::hash_page_address`] (`None` measures zeros there, as QEMU's
/// `kernel-hashes=off` does). All other sections are measured without their contents.
/// [`SnpPlan`] runs the same fold over files, and [`fold_vcpus`](super::fold_vcpus) completes it.
///
/// # Errors
///
/// Firmware that cannot be measured: see [`LaunchError`].
pub fn measure_memory(
    firmware: &[u8],
    hash_page: Option<&[u8; 4096]>,
) -> Result<LaunchDigest, LaunchError> {
    let ovmf = Ovmf::parse(firmware)?;
    if hash_page.is_some() {
        // E1: contents that no section measures must not look measured.
        ovmf.hash_table_address()?;
    }
    fold_sections(firmware, &ovmf, hash_page)
}

fn fold_sections(
    firmware: &[u8],
    ovmf: &Ovmf,
    hash_page: Option<&[u8; 4096]>,
) -> Result<LaunchDigest, LaunchError> {
    let mut digest = LaunchDigest::new();
    digest.update(ovmf.image_address(), Pages::Normal(firmware))?;
    for section in ovmf.sections().iter().filter(|section| section.size() > 0) {
        let count = section.size() / PAGE_SIZE;
        let pages = match (section.kind(), hash_page) {
            (SectionKind::SecMem | SectionKind::SvsmCallingArea, _)
            | (SectionKind::KernelHashes, None) => Pages::Zero(count),
            (SectionKind::KernelHashes, Some(page)) => Pages::Normal(page),
            (SectionKind::Secrets, _) => Pages::Secrets,
            (SectionKind::Cpuid, _) => Pages::Cpuid,
        };
        digest.update(section.gpa(), pages)?;
    }
    Ok(digest)
}

/// Why a launch cannot be measured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The firmware image is malformed or, for a measured boot, has no place for the hash table.
    #[error("failed to read the firmware image")]
    Firmware(#[from] OvmfError),
    /// There is no such launch.
    #[error("failed to plan the launch")]
    Plan(#[from] PlanError),
    /// The pages of the image cannot be folded.
    #[error("failed to fold the pages of the launch")]
    Fold(#[from] FoldError),
}
