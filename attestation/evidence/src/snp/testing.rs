// SPDX-License-Identifier: Apache-2.0
//! Real vectors for the tests of this module.

/// Bytes of a file under `shared/vectors/snp` beside the workspace.
pub(crate) fn vector(name: &str) -> Vec<u8> {
    let path = format!("{}/../../../shared/vectors/snp/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("test vector {name} is missing: {error}"))
}
