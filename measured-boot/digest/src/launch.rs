// SPDX-License-Identifier: Apache-2.0
//! A whole SNP launch in QEMU's order: firmware image, SEV metadata sections, virtual CPUs.
//!
//! Source: QEMU, `target/i386/sev.c`. Other VMMs measure the same firmware in another order or with
//! other page types and get another digest.

use std::num::NonZeroU16;

use casemate_boot_formats::ovmf::Ovmf;
use casemate_boot_formats::ovmf::OvmfError;
use casemate_boot_formats::ovmf::PAGE_SIZE;
use casemate_boot_formats::ovmf::SectionKind;
use casemate_boot_formats::sev_hashes::KernelHashes;
use casemate_boot_formats::sev_hashes::KernelHashesError;

use crate::FoldError;
use crate::GuestFeatures;
use crate::LaunchDigest;
use crate::Pages;
use crate::Vcpu;
use crate::VcpuType;
use crate::fold_vcpus;

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
        self.fold(vcpus, |_| {})
    }

    /// The digests with 1, 2, … up to this many virtual CPUs. The firmware is folded once, and each
    /// further CPU costs two hashes.
    ///
    /// # Errors
    ///
    /// As [`SnpLaunch::digest`].
    pub fn digests(&self, max_vcpus: NonZeroU16) -> Result<Vec<LaunchDigest>, LaunchError> {
        let mut digests = Vec::with_capacity(max_vcpus.get().into());
        self.fold(max_vcpus, |digest| digests.push(digest))?;
        Ok(digests)
    }

    fn fold(
        &self,
        vcpus: NonZeroU16,
        each: impl FnMut(LaunchDigest),
    ) -> Result<LaunchDigest, LaunchError> {
        let ovmf = Ovmf::parse(self.firmware)?;
        let hash_page = match &self.hashes {
            Some(hashes) => Some(hashes.to_page(ovmf.hash_table_address()?)?),
            None => None,
        };
        let mut digest = fold_sections(self.firmware, &ovmf, hash_page.as_deref())?;
        let reset_eip = match ovmf.reset_eip() {
            Some(eip) => eip,
            // One CPU needs no reset block.
            None if vcpus == NonZeroU16::MIN => Vcpu::RESET_VECTOR,
            None => return Err(LaunchError::NoResetBlock),
        };
        fold_vcpus(&mut digest, self.vcpu_type, self.features, reset_eip, vcpus, each)?;
        Ok(digest)
    }
}

/// Folds all that is measured before the virtual CPUs, from bytes as they lie in guest memory.
///
/// This is the software PSP's entry: `firmware` is what stands at [`Ovmf::image_address`], and
/// `hash_page` the page at [`Ovmf::hash_page_address`] (`None` measures zeros there, as QEMU's
/// `kernel-hashes=off` does). All other sections are measured without their contents.
/// [`SnpLaunch`] runs the same fold over files, and [`fold_vcpus`] completes it.
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
    /// The hash table does not fit its page.
    #[error("failed to lay out the page of the SEV hash table")]
    Hashes(#[from] KernelHashesError),
    /// More than one virtual CPU, and the firmware does not say where the others start.
    #[error("the firmware has no SEV-ES reset block, so it can start one virtual CPU only")]
    NoResetBlock,
    /// The pages of the image cannot be folded.
    #[error("failed to fold the pages of the launch")]
    Fold(#[from] FoldError),
}
