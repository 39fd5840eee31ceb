// SPDX-License-Identifier: Apache-2.0
//! What the hardware will measure of a guest image, looked at before anything starts.
//!
//! None of this protects the owner, who does not trust this host: the PSP or the TDX module and the
//! verifier do. It turns a launch that they would refuse, or that would prove nothing, into an error
//! that names the file.

use std::path::Path;

use casemate_boot_formats::ovmf::{MAX_FIRMWARE_SIZE, Ovmf, OvmfError};
use casemate_boot_formats::sev_hashes::KernelHashesError;
use casemate_boot_formats::tdvf::{Tdvf, TdvfError};
use casemate_launch_digest::id_block::{IdAuth, IdAuthError, IdBlock, IdBlockError, Identity};
use casemate_launch_digest::plan::{Firmware, PlanError, SnpGuest, SnpInputs};
use casemate_launch_digest::snp::VmmProfile;
use casemate_launch_digest::{GuestFeatures, InitdataDigest, UnknownVcpuType, VcpuType};

use super::command_line::CPU_MODEL;
use crate::config::{SnpOptions, VcpuCount};
use crate::error::Error;
use crate::image::{GuestImage, read_capped, read_optional};

/// What an SNP launch of an image needs beside its files.
#[derive(Debug)]
pub(crate) struct SnpImage {
    /// Where the firmware looks for the table of hashes.
    pub(crate) hash_table_address: u64,
    /// The table that makes the firmware accept exactly these files.
    pub(crate) hash_table: Vec<u8>,
    pub(crate) firmware_size: u64,
    /// The ID block for this launch and no other, if the image has one.
    pub(crate) identity: Option<Box<Identity>>,
}

/// Reads an image that is to be launched by SNP or the software PSP.
///
/// # Security
///
/// E1: refuses firmware that would boot any kernel; an ID block that names another launch digest
/// than firmware, kernel, initial file system, command line, vCPU count and vCPU model make, or
/// another policy; one that its key did not sign.
pub(crate) fn snp(
    image: &GuestImage,
    vcpus: VcpuCount,
    options: &SnpOptions,
    initdata: &InitdataDigest,
) -> Result<SnpImage, Error> {
    let refuse = |source| refused(&image.firmware, source);
    let firmware = read_capped(&image.firmware, MAX_FIRMWARE_SIZE)?;
    let ovmf = Ovmf::parse(&firmware).map_err(|error| refuse(error.into()))?;
    let hash_table_address = ovmf.hash_table_address().map_err(|error| refuse(error.into()))?;
    let hashes = image.kernel_hashes()?;
    let inputs = SnpInputs {
        firmware: Firmware::parse(&firmware).map_err(|error| refuse(error.into()))?,
        hashes: Some(hashes),
        vmm: VmmProfile::Qemu(cpu_model().map_err(refuse)?),
        features: GUEST_FEATURES,
        vcpus: vcpus.non_zero(),
        guest: SnpGuest {
            policy: options.policy.get(),
            host_data: initdata.host_data(),
            vcek_disabled: options.vcek_disabled,
        },
    };
    let plan = inputs.plan().map_err(|error| refuse(error.into()))?;
    let identity = match identity(image)? {
        None if options.require_id_block => {
            return Err(refused(&image.id_block, MeasureError::NoIdBlock));
        }
        None => None,
        Some(identity) => {
            // Folds the digest: some milliseconds, so only when there is something to compare.
            let plan = plan
                .with_identity(identity)
                .map_err(|error| refused(&image.id_block, error.into()))?;
            plan.identity().cloned().map(Box::new)
        }
    };
    let firmware_size = ovmf.image_size();
    let hash_table = hashes.to_table().to_vec();
    Ok(SnpImage { hash_table_address, hash_table, firmware_size, identity })
}

/// Reads an image that is to be launched as a TD.
///
/// # Security
///
/// E1: refuses firmware whose MRTD does not cover the first instruction.
pub(crate) fn tdx(image: &GuestImage) -> Result<(), Error> {
    let firmware = read_capped(&image.firmware, MAX_FIRMWARE_SIZE)?;
    Tdvf::parse(&firmware).map(drop).map_err(|error| refused(&image.firmware, error.into()))
}

/// Why an image cannot be launched so that its measurement means something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeasureError {
    /// SEV firmware is malformed, or has no place for the hash table and would boot any kernel (E1).
    #[error("it is no firmware for a measured SNP launch")]
    Firmware(#[from] OvmfError),
    /// TDX firmware is malformed, or MRTD would not cover its first instruction (E1).
    #[error("it is no firmware for a measured TDX launch")]
    TdxFirmware(#[from] TdvfError),
    /// The command line cannot be hashed.
    #[error("the files cannot be hashed for the firmware")]
    Hashes(#[from] KernelHashesError),
    /// The CPU model has no known signature.
    #[error("the launch digest cannot be predicted")]
    CpuModel(#[from] UnknownVcpuType),
    /// The launch is impossible, or the ID block is for another one.
    #[error("the launch is not the one that is wanted")]
    Plan(#[from] PlanError),
    /// The configuration demands an ID block, and there is none for this number of vCPUs.
    #[error("no guest may start without an ID block, and the image has none for this many vCPUs")]
    NoIdBlock,
    /// The ID block or its authentication stands alone.
    #[error("an ID block and its authentication belong together, and this file is missing")]
    OnlyHalfAnIdBlock,
    /// The ID block is malformed.
    #[error("it is no ID block")]
    IdBlock(#[from] IdBlockError),
    /// The ID authentication is malformed or signs another block.
    #[error("it does not authenticate the ID block")]
    IdAuth(#[from] IdAuthError),
}

/// SEV features of every SNP guest of QEMU: since 9.1 it tells KVM which ones it wants (KVM_SEV_INIT2),
/// and wants none beside SNP itself.
const GUEST_FEATURES: GuestFeatures = GuestFeatures::SNP;

fn cpu_model() -> Result<VcpuType, MeasureError> {
    Ok(CPU_MODEL.parse()?)
}

fn identity(image: &GuestImage) -> Result<Option<Identity>, Error> {
    let block = read_optional(&image.id_block, IdBlock::SIZE)?;
    let auth = read_optional(&image.id_auth, IdAuth::SIZE)?;
    let (block, auth) = match (block, auth) {
        (None, None) => return Ok(None),
        (Some(block), Some(auth)) => (block, auth),
        (None, _) => return Err(refused(&image.id_block, MeasureError::OnlyHalfAnIdBlock)),
        (_, None) => return Err(refused(&image.id_auth, MeasureError::OnlyHalfAnIdBlock)),
    };
    let block = IdBlock::parse(&block).map_err(|error| refused(&image.id_block, error.into()))?;
    let identity = IdAuth::parse(&auth).and_then(|auth| Identity::new(block, auth));
    identity.map(Some).map_err(|error| refused(&image.id_auth, error.into()))
}

fn refused(file: &Path, source: MeasureError) -> Error {
    Error::Measure { file: file.to_owned(), source: Box::new(source) }
}

#[cfg(test)]
mod tests;
