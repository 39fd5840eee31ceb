// SPDX-License-Identifier: Apache-2.0
//! Tar archives of image layers.

#![no_main]

use libfuzzer_sys::fuzz_target;

// The reader is private to its crate; only `TarReader` and what it returns are used here.
#[path = "../../../image-pull/unpack/src"]
mod unpack {
    #[allow(dead_code, reason = "used by its own crate")]
    pub(crate) mod tar;
}

use unpack::tar::TarReader;

/// Entries and chunks that one small input is read for.
const MAX_STEPS: usize = 10_000;

fuzz_target!(|archive: &[u8]| {
    let mut reader = TarReader::new(archive);
    let mut steps = 0;
    while let Ok(Some(_)) = reader.next_entry() {
        while let Ok(Some(_)) = reader.next_chunk() {
            steps += 1;
            if steps > MAX_STEPS {
                return;
            }
        }
        steps += 1;
        if steps > MAX_STEPS {
            return;
        }
    }
});
