// SPDX-License-Identifier: Apache-2.0
//! The launch digests that a guest image leads to, for whoever accepts guests by them.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use casemate_boot_formats::sev_hashes::KernelHashesError;
use casemate_launch_digest::GuestFeatures;
use casemate_launch_digest::LaunchError;
use casemate_launch_digest::SnpLaunch;
use casemate_launch_digest::VcpuType;
use serde::Deserialize;
use serde::Serialize;

use crate::GuestImage;
use crate::KindName;
use crate::Manifest;
use crate::PartRecord;
use crate::SBOM_FILE;

/// Every launch digest that QEMU can reach with a guest image, next to the files that lead there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceValues {
    /// Version of this format: [`ReferenceValues::FORMAT`].
    pub format: u32,
    /// What the image is for.
    pub kind: KindName,
    /// The measured files, by name.
    pub parts: BTreeMap<String, PartRecord>,
    /// The files that describe the image and are not measured, so that the signature covers them:
    /// the manifest and the bill of materials.
    pub descriptions: BTreeMap<String, PartRecord>,
    /// SNP guests on QEMU.
    pub snp: Vec<SnpReferenceValues>,
}

/// The launch digests of SNP guests whose CPU models cannot be told apart by them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnpReferenceValues {
    /// The CPU models, as QEMU names them.
    pub vcpu_types: Vec<String>,
    /// SEV_FEATURES of the guest.
    pub guest_features: u64,
    /// The digests in hexadecimal: of one virtual CPU first, then of two, and so on.
    ///
    /// # Security
    ///
    /// E2: only the first is of a guest that takes no ACPI code from the host.
    pub launch_digests: Vec<String>,
}

impl ReferenceValues {
    /// The only version of the format.
    pub const FORMAT: u32 = 1;
    /// Name of the file that holds the values.
    pub const FILE: &str = "reference-values.json";
    /// Name of the file that holds their signature.
    pub const SIGNATURE: &str = "reference-values.sig";
    /// Digests are listed up to this many virtual CPUs.
    pub const MAX_VCPUS: NonZeroU16 = NonZeroU16::MIN.saturating_add(254);
    /// Largest accepted file, in bytes.
    pub const MAX_SIZE: u64 = 4 * 1024 * 1024;

    /// Computes the values of a guest image with its manifest and bill of materials.
    ///
    /// # Errors
    ///
    /// Parts that cannot be measured.
    pub fn of(
        image: &GuestImage,
        manifest: &[u8],
        sbom: &[u8],
    ) -> Result<Self, ReferenceValuesError> {
        let descriptions = [(Manifest::FILE, manifest), (SBOM_FILE, sbom)]
            .map(|(name, bytes)| (name.to_owned(), PartRecord::of(bytes)));
        Ok(Self {
            format: Self::FORMAT,
            kind: image.manifest.kind,
            parts: image.manifest.parts.clone(),
            descriptions: BTreeMap::from(descriptions),
            snp: launch_digests(image)?,
        })
    }

    /// The values as a file; the same values give the same bytes.
    #[must_use]
    pub fn to_json(&self) -> String {
        format!("{:#}\n", serde_json::json!(self))
    }
}

/// The launch digests of an image for every CPU model.
pub(crate) fn launch_digests(
    image: &GuestImage,
) -> Result<Vec<SnpReferenceValues>, ReferenceValuesError> {
    let mut snp: Vec<(VcpuType, SnpReferenceValues)> = Vec::new();
    for model in VcpuType::ALL {
        let alike = snp.iter_mut().find(|(first, _)| first.signature() == model.signature());
        match alike {
            Some((_, values)) => values.vcpu_types.push(model.name().to_owned()),
            None => snp.push((*model, snp_values(image, *model)?)),
        }
    }
    Ok(snp.into_iter().map(|(_, values)| values).collect())
}

fn snp_values(
    image: &GuestImage,
    vcpu_type: VcpuType,
) -> Result<SnpReferenceValues, ReferenceValuesError> {
    let features = GuestFeatures::SNP;
    let launch = |vcpus: NonZeroU16| {
        let hashes = Some(image.hashes(vcpus)?);
        let firmware = image.firmware.as_slice();
        Ok::<_, ReferenceValuesError>(SnpLaunch { firmware, hashes, vcpu_type, features })
    };
    let (one, max) = (NonZeroU16::MIN, ReferenceValues::MAX_VCPUS);
    let mut digests = launch(max)?.digests(max)?;
    if let Some(first) = digests.first_mut() {
        *first = launch(one)?.digest(one)?;
    }
    Ok(SnpReferenceValues {
        vcpu_types: vec![vcpu_type.name().to_owned()],
        guest_features: features.bits(),
        launch_digests: digests.iter().map(ToString::to_string).collect(),
    })
}

/// Why an image has no reference values.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceValuesError {
    /// No kernel reads the command line whole.
    #[error("failed to hash the parts of the guest image")]
    Hashes(#[from] KernelHashesError),
    /// The parts cannot be launched.
    #[error("failed to measure the guest image")]
    Launch(#[from] LaunchError),
}
