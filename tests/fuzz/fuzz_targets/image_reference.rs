// SPDX-License-Identifier: Apache-2.0
//! Image references: what is read is shown, read again and the same.

#![no_main]

use libfuzzer_sys::fuzz_target;

// Its crate links an HTTP client, which this target does not need.
#[path = "../../../image-pull/pull/src"]
mod pull {
    #[allow(dead_code, reason = "used by its own crate")]
    pub(crate) mod reference;
}

use pull::reference::PinnedReference;
use pull::reference::Reference;

fuzz_target!(|text: &str| {
    if let Ok(reference) = text.parse::<Reference>() {
        assert_eq!(reference.to_string().parse(), Ok(reference));
    }
    if let Ok(pinned) = text.parse::<PinnedReference>() {
        assert_eq!(pinned.to_string().parse(), Ok(pinned));
    }
});
