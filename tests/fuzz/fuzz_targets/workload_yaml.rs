// SPDX-License-Identifier: Apache-2.0
//! Kubernetes YAML: what the policy generator takes it writes again, and takes to the same policy.

#![no_main]

use casemate_policy::Broker;
use casemate_policy::GuestConfig;
use casemate_policy_generate::Generated;
use casemate_policy_generate::Image;
use casemate_policy_generate::ImageConfig;
use casemate_policy_generate::Manifests;
use casemate_policy_generate::generate;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|yaml: &str| {
    let Some(generated) = run(yaml) else { return };
    let again = run(&generated.yaml()).expect("what is written is taken");
    assert_eq!(again.workloads.len(), generated.workloads.len());
    for (again, first) in again.workloads.iter().zip(&generated.workloads) {
        assert_eq!(again.initdata.as_bytes(), first.initdata.as_bytes());
    }
});

fn run(yaml: &str) -> Option<Generated> {
    let manifests = Manifests::parse(yaml).ok()?;
    let image = || Image {
        digest: format!("sha256:{}", "0".repeat(64)),
        encrypted: false,
        config: ImageConfig { cmd: vec!["/run".to_owned()], ..ImageConfig::default() },
        users: None,
    };
    let images = manifests.images().into_iter().map(|name| (name, image())).collect();
    let ca = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned();
    let broker = Broker { url: "https://broker.example".to_owned(), ca };
    generate(&manifests, &images, &GuestConfig::new(broker, Vec::new())).ok()
}
