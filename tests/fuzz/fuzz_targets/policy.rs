// SPDX-License-Identifier: Apache-2.0
//! Policies and the guest's configuration: what is read is written, read again and the same.

#![no_main]

use casemate_policy::GuestConfig;
use casemate_policy::Policy;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(policy) = Policy::parse(bytes) {
        let again = Policy::parse(policy.to_toml().as_bytes()).expect("what is written is read");
        assert_eq!(again, policy);
        assert_eq!(again.digest(), policy.digest());
    }
    if let Ok(config) = GuestConfig::parse(bytes) {
        let again = GuestConfig::parse(config.to_toml().as_bytes()).expect("what is written is read");
        assert_eq!(again, config);
    }
});
