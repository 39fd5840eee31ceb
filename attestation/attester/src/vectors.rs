// SPDX-License-Identifier: Apache-2.0
//! Files of genuine machines, beside the workspace.

use std::path::Path;

/// A file below `shared/vectors`; without that folder the test says so and does nothing.
pub(crate) fn read(name: &str) -> Option<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors");
    if !folder.is_dir() {
        eprintln!("skipped: no evidence of genuine hardware in {}", folder.display());
        return None;
    }
    let bytes = std::fs::read(folder.join(name));
    Some(bytes.unwrap_or_else(|error| panic!("test vector {name} is missing: {error}")))
}
