// SPDX-License-Identifier: Apache-2.0
//! SNP plans as IGVM files, and the digest of an IGVM file.
//!
//! There is no such form of TDX plans: an IGVM loader writes no TD HOB, without which OVMF starts no
//! TD.

use casemate_boot_formats::igvm::IgvmError;
use casemate_boot_formats::igvm::IgvmPage;
use casemate_boot_formats::igvm::IgvmPlan;
use casemate_boot_formats::igvm::PageKind;
use casemate_boot_formats::igvm::SnpIdBlock;
use casemate_boot_formats::igvm::SnpKey;
use casemate_boot_formats::igvm::SnpSignature;
use casemate_boot_formats::igvm::Tee;
use casemate_boot_formats::igvm::VpContext;
use casemate_boot_formats::ovmf::PAGE_SIZE;

use super::SnpPlan;
use crate::id_block::Identity;
use crate::id_block::PublicKey;
use crate::id_block::Signature;
use crate::snp::FoldError;
use crate::snp::LaunchDigest;
use crate::snp::PageContents;
use crate::snp::PageRange;
use crate::snp::Pages;
use crate::snp::VMSA_GPA;

impl SnpPlan<'_> {
    /// Writes the plan as an IGVM file. HOST_DATA has no place in one: the launcher is told of it
    /// apart.
    ///
    /// # Errors
    ///
    /// A plan that is too large for the format: see [`IgvmError`].
    pub fn to_igvm(&self) -> Result<Vec<u8>, IgvmError> {
        let mut plan = IgvmPlan::new(Tee::Snp, self.guest().policy.bits());
        plan.pages = self.ranges().iter().flat_map(pages).collect();
        let (first, other) = (self.vcpus().first().to_page(), self.vcpus().other().to_page());
        let vmsas = (0..self.vcpus().count().get()).map(|index| VpContext {
            gpa: self.vcpus().gpa(),
            vp_index: index,
            vmsa: if index == 0 { &first } else { &other },
        });
        plan.vp_contexts = vmsas.collect();
        plan.id_block = self.identity().map(id_block);
        plan.to_bytes()
    }
}

/// The launch digest of what an IGVM file starts on KVM with QEMU or Cloud Hypervisor: pages
/// without contents are ZERO pages, and the CPUs come last.
///
/// # Errors
///
/// [`IgvmDigestError`] for what such a launch cannot contain.
pub fn igvm_digest(plan: &IgvmPlan<'_>) -> Result<LaunchDigest, IgvmDigestError> {
    if plan.tee != Tee::Snp {
        return Err(IgvmDigestError::NotSnp);
    }
    let mut digest = LaunchDigest::new();
    for page in &plan.pages {
        let pages = match (page.kind, page.contents) {
            (PageKind::Measured, Some(contents)) => Pages::Normal(contents),
            (PageKind::Measured, None) => Pages::Zero(1),
            (PageKind::Unmeasured, _) => Pages::Unmeasured(1),
            (PageKind::Secrets, _) => Pages::Secrets,
            (PageKind::Cpuid, _) => Pages::Cpuid,
            (PageKind::Shared, _) => continue,
            (PageKind::CpuidExtended, _) => {
                return Err(IgvmDigestError::UnsupportedPage { gpa: page.gpa });
            }
        };
        digest.update(page.gpa, pages)?;
    }
    for context in &plan.vp_contexts {
        if context.gpa != VMSA_GPA {
            return Err(IgvmDigestError::UnsupportedVmsa { gpa: context.gpa });
        }
        digest.update(context.gpa, Pages::Vmsa(context.vmsa))?;
    }
    Ok(digest)
}

/// Why an IGVM file has no launch digest on KVM.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IgvmDigestError {
    /// The plan is for another platform.
    #[error("the IGVM plan is not for SEV-SNP")]
    NotSnp,
    /// A kind of page that KVM does not know.
    #[error("KVM cannot launch the IGVM page at {gpa:#x}")]
    UnsupportedPage {
        /// Guest-physical address.
        gpa: u64,
    },
    /// KVM measures the CPUs at an address of its own.
    #[error("KVM cannot measure the state of a virtual CPU at {gpa:#x}")]
    UnsupportedVmsa {
        /// Guest-physical address.
        gpa: u64,
    },
    /// A page at an impossible address.
    #[error("the IGVM plan has an impossible page")]
    Fold(#[from] FoldError),
}

fn pages<'p>(range: &'p PageRange<'_>) -> impl Iterator<Item = IgvmPage<'p>> {
    let kind = match range.contents() {
        // A zero page is a measured one without contents.
        PageContents::Normal(_) | PageContents::Zero(_) => PageKind::Measured,
        PageContents::Unmeasured(_) => PageKind::Unmeasured,
        PageContents::Secrets => PageKind::Secrets,
        PageContents::Cpuid => PageKind::Cpuid,
    };
    let (contents, _) = range.bytes().unwrap_or_default().as_chunks::<4096>();
    (0..range.count()).map(move |index| IgvmPage {
        gpa: range.gpa().saturating_add(index.saturating_mul(PAGE_SIZE)),
        kind,
        contents: usize::try_from(index).ok().and_then(|index| contents.get(index)),
    })
}

fn id_block(identity: &Identity) -> SnpIdBlock {
    let (block, auth) = (identity.block(), identity.auth());
    let author = auth.author_signature().zip(auth.author_key());
    SnpIdBlock {
        launch_digest: *block.launch_digest.as_bytes(),
        family_id: block.family_id,
        image_id: block.image_id,
        version: 1,
        guest_svn: block.guest_svn,
        id_key_algorithm: 1,
        author_key_algorithm: author.is_some().into(),
        id_signature: signature(auth.signature()),
        id_key: key(auth.id_key()),
        author: author.map(|(by, author)| (signature(by), key(author))),
    }
}

fn signature(signature: &Signature) -> SnpSignature {
    let (r, s) = signature.numbers();
    SnpSignature { r, s }
}

fn key(key: &PublicKey) -> SnpKey {
    let (x, y) = key.numbers();
    SnpKey { curve: 2, x, y }
}
