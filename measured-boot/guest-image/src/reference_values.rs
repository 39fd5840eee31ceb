// SPDX-License-Identifier: Apache-2.0
//! The launch digests that a guest image leads to, for whoever accepts guests by them.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use casemate_boot_formats::pe::PeError;
use casemate_boot_formats::pe::PeImage;
use casemate_boot_formats::sev_hashes::KernelHashesError;
use casemate_boot_formats::tdvf::Tdvf;
use casemate_boot_formats::tdvf::TdvfError;
use casemate_launch_digest::GuestFeatures;
use casemate_launch_digest::LaunchError;
use casemate_launch_digest::SnpLaunch;
use casemate_launch_digest::VcpuType;
use casemate_launch_digest::plan::TdParams;
use casemate_launch_digest::plan::TdxInputs;
use casemate_launch_digest::plan::TdxPlanError;
use casemate_launch_digest::tdx;
use casemate_launch_digest::tdx::EventDigest;
use casemate_launch_digest::tdx::MrtdForm;
use casemate_launch_digest::tdx::NotShown;
use casemate_launch_digest::tdx::OvmfGeneration;
use casemate_launch_digest::tdx::Rtmr;
use casemate_launch_digest::tdx::Shown;
use serde::Deserialize;
use serde::Serialize;

use crate::GuestImage;
use crate::ImageTee;
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
    /// SNP guests on QEMU; empty in images for another TEE.
    pub snp: Vec<SnpReferenceValues>,
    /// TDX guests on QEMU; absent in images for another TEE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tdx: Option<TdxReferenceValues>,
}

/// What a quote of a TDX guest holds, as far as it can be predicted. It depends neither on the number
/// of virtual CPUs nor on their model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TdxReferenceValues {
    /// MRTD in hexadecimal, of hosts that measure each page as they add it: all of upstream.
    pub mrtd: String,
    /// MRTD of hosts that add a whole section first.
    pub mrtd_two_pass: String,
    /// Registers by name, `rtmr0` to `rtmr3`, in hexadecimal.
    pub rtmrs: BTreeMap<String, String>,
    /// Why the others are not there: their values are those of an event log that the owner accepts.
    ///
    /// # Security
    ///
    /// E1, E2: RTMR 1 says which kernel ran, and RTMR 0 which ACPI code. Who compares MRTD alone
    /// accepts any kernel.
    pub not_shown: BTreeMap<String, String>,
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
            snp: match image.manifest.inputs.tee() {
                ImageTee::Snp => launch_digests(image)?,
                ImageTee::Tdx => Vec::new(),
            },
            tdx: match image.manifest.inputs.tee() {
                ImageTee::Snp => None,
                ImageTee::Tdx => Some(tdx_values(image)?),
            },
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

fn tdx_values(image: &GuestImage) -> Result<TdxReferenceValues, ReferenceValuesError> {
    let inputs = TdxInputs {
        tdvf: Tdvf::parse(&image.firmware)?,
        params: TdParams::default(),
        vcpus: NonZeroU16::MIN,
    };
    let plan = inputs.plan()?;
    let kernel = EventDigest::from(&PeImage::parse(&image.kernel)?);
    let initrd = Some(EventDigest::of(&image.initramfs));
    let registers = [
        ("rtmr0", Shown::NotShown(NotShown::AcpiTables)),
        ("rtmr1", tdx::predict(&tdx::rtmr1_events(kernel, OvmfGeneration::Since202505))),
        ("rtmr2", load_options(image, initrd)),
        ("rtmr3", Shown::Value(Rtmr::new())),
    ];
    let (mut rtmrs, mut not_shown) = (BTreeMap::new(), BTreeMap::new());
    for (name, register) in registers {
        match register {
            Shown::Value(value) => rtmrs.insert(name.to_owned(), value.to_string()),
            Shown::NotShown(reason) => not_shown.insert(name.to_owned(), reason.to_string()),
        };
    }
    Ok(TdxReferenceValues {
        mrtd: plan.mrtd(MrtdForm::SinglePass).to_string(),
        mrtd_two_pass: plan.mrtd(MrtdForm::TwoPass).to_string(),
        rtmrs,
        not_shown,
    })
}

/// RTMR 2: the command line, which is one for all numbers of virtual CPUs, and the initramfs.
fn load_options(image: &GuestImage, initrd: Option<EventDigest>) -> Shown<Rtmr> {
    match tdx::load_options_digest(&image.cmdline, initrd.is_some()) {
        Shown::Value(options) => tdx::predict(&tdx::rtmr2_events(options, initrd)),
        Shown::NotShown(reason) => Shown::NotShown(reason),
    }
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
    /// The firmware is none for TDX.
    #[error("failed to read the TDX metadata of the firmware")]
    Tdvf(#[from] TdvfError),
    /// The firmware cannot be launched.
    #[error("failed to plan the launch of the guest image")]
    Plan(#[from] TdxPlanError),
    /// The kernel is no program for UEFI, which is what TDX firmware starts.
    #[error("failed to read the kernel as a program for UEFI")]
    Kernel(#[from] PeError),
}
