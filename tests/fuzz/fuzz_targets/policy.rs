// SPDX-License-Identifier: Apache-2.0
//! Policies and the agent's configuration: what is read is written, read again and the same.

#![no_main]

use casemate_policy::Policy;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(policy) = Policy::parse(bytes) {
        let again = Policy::parse(policy.to_toml().as_bytes()).expect("what is written is read");
        assert_eq!(again, policy);
    }
});
