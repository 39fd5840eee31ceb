// SPDX-License-Identifier: Apache-2.0
//! Annotations of an encrypted layer. The input is the two JSON documents inside of them.

#![no_main]

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use casemate_image_crypt::LayerEncryption;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|documents: (&[u8], &[u8])| {
    let annotation = |name: &str, document: &[u8]| {
        (format!("org.opencontainers.image.enc.{name}"), STANDARD.encode(document))
    };
    let annotations = BTreeMap::from([
        annotation("pubopts", documents.0),
        annotation("keys.provider.attestation-agent", documents.1),
    ]);
    if let Ok(layer) = LayerEncryption::from_annotations(&annotations) {
        assert!(layer.kids().count() > 0);
    }
});
