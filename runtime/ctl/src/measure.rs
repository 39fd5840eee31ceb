// SPDX-License-Identifier: Apache-2.0
//! `casemate measure`: what a guest's report will hold.

mod snp;
mod tdx;

use std::error::Error;
use std::path::Path;

use casemate_agent_api::Code;
use casemate_boot_formats::initdata::Initdata;
use casemate_boot_formats::initdata::MAX_DOCUMENT_SIZE;
use casemate_launch_digest::InitdataDigest;
use serde_json::json;

use crate::args::InitdataArgs;
use crate::failure::Failure;
use crate::failure::chain;
use crate::file;

pub(crate) use snp::snp;
pub(crate) use tdx::tdx;

/// Prints algorithm and digest of an initdata document.
pub(crate) fn initdata(args: &InitdataArgs) -> Result<(), Failure> {
    let max = u64::try_from(MAX_DOCUMENT_SIZE).unwrap_or(u64::MAX);
    let bytes = file::read(&args.file, max)?;
    let document =
        Initdata::parse(&bytes).map_err(|error| Failure::coded(Code::from(&error), &error))?;
    let digest = hex::encode(document.digest());
    let text = if args.json {
        let bound = InitdataDigest::from_bytes(&document.digest()).map_err(|error| {
            Failure::new("measure", error, "give an initdata document of version 0.1.0")
        })?;
        let object = json!({
            "algorithm": document.algorithm().name(),
            "digest": digest,
            "host_data": hex::encode(bound.host_data().0),
            "mr_config_id": hex::encode(bound.mr_config_id()),
        });
        format!("{object}\n")
    } else {
        format!("{} {digest}\n", document.algorithm().name())
    };
    file::write(None, &text)
}

/// A file that cannot be measured.
fn refused(path: &Path, error: &dyn Error) -> Failure {
    Failure::new(
        "measure",
        format_args!("{}: {}", path.display(), chain(error)),
        "give the files that the guest is launched with",
    )
}

/// Largest file of a guest that is read, in bytes.
const MAX_GUEST_FILE: u64 = 256 << 20;
