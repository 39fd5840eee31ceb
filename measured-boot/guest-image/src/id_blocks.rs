// SPDX-License-Identifier: Apache-2.0
//! The ID blocks beside a guest image: whether each binds a launch of this very image.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::num::NonZeroU16;
use std::path::Path;

use casemate_launch_digest::LaunchDigest;
use casemate_launch_digest::id_block::IdAuth;
use casemate_launch_digest::id_block::IdAuthError;
use casemate_launch_digest::id_block::IdBlock;
use casemate_launch_digest::id_block::IdBlockError;
use casemate_launch_digest::id_block::Identity;
use casemate_launch_digest::id_block::KeyDigest;
use casemate_launch_digest::snp::GuestPolicy;

use crate::GuestImage;
use crate::ReadError;
use crate::ReferenceValues;
use crate::ReferenceValuesError;
use crate::SnpReferenceValues;
use crate::image::read_capped;
use crate::reference_values::launch_digests;

/// What the owner of an image wants of its ID blocks.
#[derive(Clone, Copy, Debug)]
pub struct IdBlockDemand {
    /// The guest policy that each binds.
    pub policy: GuestPolicy,
    /// The key that signed each; any if absent.
    pub id_key: Option<KeyDigest>,
}

/// A launch that an ID block beside an image binds.
#[derive(Clone, Debug)]
pub struct BoundLaunch {
    /// Number of virtual CPUs.
    pub vcpus: NonZeroU16,
    /// The CPU models with this launch digest, as QEMU names them.
    pub vcpu_types: Vec<String>,
    /// Block and authentication.
    pub identity: Identity,
}

/// Judges `id-block-N.bin` and `id-auth-N.bin` for every N: whole, signed, and about the launch of
/// this image with N virtual CPUs. None at all is no error: an image needs no ID block.
///
/// # Errors
///
/// The first pair that binds something else: see [`IdBlockProblem`].
///
/// # Security
///
/// E1: the PSP refuses a launch that its ID block does not name, so a wrong one protects nobody
/// less; but an owner who sees a signature wants to know whose, and for which guest. A signature
/// alone says that somebody signed: give the key's digest to know who.
pub fn verify_id_blocks(
    folder: &Path,
    demand: &IdBlockDemand,
) -> Result<Vec<BoundLaunch>, IdBlockProblem> {
    let numbers = numbers(folder)?;
    if numbers.is_empty() {
        return Ok(Vec::new());
    }
    let digests = launch_digests(&GuestImage::read(folder)?)?;
    numbers.into_iter().map(|vcpus| judge(folder, vcpus, demand, &digests)).collect()
}

fn judge(
    folder: &Path,
    vcpus: NonZeroU16,
    demand: &IdBlockDemand,
    digests: &[SnpReferenceValues],
) -> Result<BoundLaunch, IdBlockProblem> {
    let [block_file, auth_file] = STARTS.map(|start| format!("{start}{vcpus}{END}"));
    let block = read(folder, &block_file, IdBlock::SIZE)?;
    let auth = read(folder, &auth_file, IdAuth::SIZE)?;
    let block = IdBlock::parse(&block)
        .map_err(|source| IdBlockProblem::Block { file: block_file.clone(), source })?;
    let auth = IdAuth::parse(&auth)
        .map_err(|source| IdBlockProblem::Auth { file: auth_file.clone(), source })?;
    let identity = Identity::new(block, auth)
        .map_err(|_| IdBlockProblem::Signature { block: block_file.clone(), auth: auth_file })?;

    let found = block.launch_digest;
    let has = |values: &&SnpReferenceValues, vcpus: NonZeroU16| {
        let digest = values.launch_digests.get(usize::from(vcpus.get()).wrapping_sub(1));
        digest.is_some_and(|digest| *digest == found.to_string())
    };
    let Some(values) = digests.iter().find(|values| has(values, vcpus)) else {
        let all = (1..=ReferenceValues::MAX_VCPUS.get()).filter_map(NonZeroU16::new);
        let of = all.into_iter().find(|other| digests.iter().any(|values| has(&values, *other)));
        return Err(IdBlockProblem::Digest { file: block_file, vcpus, found, of });
    };
    if block.policy != demand.policy {
        let (found, wanted) = (block.policy.bits(), demand.policy.bits());
        return Err(IdBlockProblem::Policy { file: block_file, found, wanted });
    }
    let key = identity.auth().id_key().digest();
    if demand.id_key.is_some_and(|wanted| wanted != key) {
        return Err(IdBlockProblem::Key { file: block_file, found: key });
    }
    Ok(BoundLaunch { vcpus, vcpu_types: values.vcpu_types.clone(), identity })
}

fn read(folder: &Path, file: &str, size: usize) -> Result<Vec<u8>, IdBlockProblem> {
    let limit = u64::try_from(size).unwrap_or(u64::MAX);
    read_capped(&folder.join(file), limit).map_err(|error| match error {
        ReadError::File { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            IdBlockProblem::Half { missing: file.to_owned() }
        }
        error => IdBlockProblem::Read(error),
    })
}

/// The numbers in the names of such files.
fn numbers(folder: &Path) -> Result<BTreeSet<NonZeroU16>, ReadError> {
    let failed = |source| ReadError::File { path: folder.to_owned(), source };
    let mut numbers = BTreeSet::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        numbers.extend(name.to_str().and_then(vcpus_of));
    }
    Ok(numbers)
}

/// For how many virtual CPUs a file of this name is an ID block or its authentication; none if it is
/// no such file that a launch would look for.
pub(crate) fn vcpus_of(name: &str) -> Option<NonZeroU16> {
    let number = STARTS.iter().find_map(|start| name.strip_prefix(start))?.strip_suffix(END)?;
    let vcpus: NonZeroU16 = number.parse().ok()?;
    // Neither "+1" nor "01": a launch writes the number in one way.
    (vcpus.to_string() == number && vcpus <= ReferenceValues::MAX_VCPUS).then_some(vcpus)
}

/// Why an ID block beside an image is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdBlockProblem {
    /// One of the two files stands alone.
    #[error("{missing} is missing: an ID block and its authentication belong together")]
    Half {
        /// The file that is not there.
        missing: String,
    },
    /// The ID block is malformed.
    #[error("{file} is no ID block")]
    Block {
        /// Name of the file.
        file: String,
        /// What is wrong with it.
        #[source]
        source: IdBlockError,
    },
    /// The ID authentication is malformed.
    #[error("{file} is no ID authentication")]
    Auth {
        /// Name of the file.
        file: String,
        /// What is wrong with it.
        #[source]
        source: IdAuthError,
    },
    /// The key in the authentication did not sign the block, or its author did not sign the key.
    #[error("{auth} does not sign {block}")]
    Signature {
        /// Name of the block's file.
        block: String,
        /// Name of the authentication's file.
        auth: String,
    },
    /// The block binds another launch than its name says.
    #[error("{file} binds the launch digest {found}, which {}", whose(*vcpus, *of))]
    Digest {
        /// Name of the file.
        file: String,
        /// The number of virtual CPUs in its name.
        vcpus: NonZeroU16,
        /// The digest in it.
        found: LaunchDigest,
        /// For how many virtual CPUs this image has that digest, if for any.
        of: Option<NonZeroU16>,
    },
    /// The block binds another guest policy.
    #[error("{file} binds the guest policy {found:#x} and not {wanted:#x}")]
    Policy {
        /// Name of the file.
        file: String,
        /// The policy in it.
        found: u64,
        /// The policy that is wanted.
        wanted: u64,
    },
    /// Another key signed the block.
    #[error("{file} is signed by the key {found}")]
    Key {
        /// Name of the file.
        file: String,
        /// Digest of the key that signed it.
        found: KeyDigest,
    },
    /// A file cannot be read or is not what the manifest says.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The image cannot be measured.
    #[error(transparent)]
    Measure(#[from] ReferenceValuesError),
}

fn whose(vcpus: NonZeroU16, of: Option<NonZeroU16>) -> String {
    match of {
        Some(of) => format!("is that of {of} virtual CPUs, not of {vcpus}"),
        None => format!("no guest of this image with {vcpus} virtual CPUs has"),
    }
}

/// How the names of the two files start.
const STARTS: [&str; 2] = ["id-block-", "id-auth-"];
const END: &str = ".bin";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_a_launch_looks_for_count() {
        let vcpus = |name| vcpus_of(name).map(NonZeroU16::get);
        assert_eq!(vcpus("id-block-1.bin"), Some(1));
        assert_eq!(vcpus("id-auth-255.bin"), Some(255));
        for name in [
            "id-block-0.bin",
            "id-block-01.bin",
            "id-block-+1.bin",
            "id-block-256.bin",
            "id-block-.bin",
            "id-block-1.bin.old",
            "id-key-1.bin",
            "id-auth-1",
        ] {
            assert_eq!(vcpus(name), None, "{name}");
        }
    }
}
