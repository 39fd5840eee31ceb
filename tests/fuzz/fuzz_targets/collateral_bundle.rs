// SPDX-License-Identifier: Apache-2.0
//! Collateral from files: a bundle for places without a network, a kept item, and the file of marks.
//! What is read is written, read again and the same; nothing is kept that no root vouches for.

#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use async_trait::async_trait;
use casemate_collateral::Anchors;
use casemate_collateral::Bundle;
use casemate_collateral::Cache;
use casemate_collateral::Client;
use casemate_collateral::Endpoints;
use casemate_collateral::Item;
use casemate_collateral::Request;
use casemate_collateral::Response;
use casemate_collateral::Transport;
use casemate_collateral::TransportError;
use libfuzzer_sys::fuzz_target;
use tokio::runtime::Builder;
use tokio::runtime::Runtime;

/// Nobody is asked.
struct NoNetwork;

#[async_trait]
impl Transport for NoNetwork {
    async fn get(&self, _: &Request) -> Result<Response, TransportError> {
        Err(TransportError::Stalled { seconds: 0 })
    }
}

/// A client and its folder, which is the process's own and stays; put `TMPDIR` into memory.
static CLIENT: LazyLock<(Client, PathBuf)> = LazyLock::new(|| {
    let dir = std::env::temp_dir().join(format!("casemate-fuzz-{}", std::process::id()));
    let cache = Cache::open(&dir).expect("a folder");
    let anchors = Anchors::vendors().expect("the vendors' roots");
    (Client::new(NoNetwork, Endpoints::default(), anchors, cache), dir)
});

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_current_thread().enable_time().build().expect("a runtime without threads")
});

fuzz_target!(|bytes: &[u8]| {
    let (client, dir) = &*CLIENT;
    if let Ok(bundle) = Bundle::from_json(bytes) {
        let again = Bundle::from_json(bundle.to_json().as_bytes());
        assert_eq!(again.expect("what is written is read"), bundle);
        let imported = client.import(&bundle, NOW).expect("the folder can be used");
        let count = bundle.items().count();
        assert_eq!(imported.kept.len() + imported.refused.len(), count);
    }
    // The length chooses which file it is, so that each run checks few things.
    match ITEMS.get(bytes.len() % (ITEMS.len() + 1)) {
        Some(name) => {
            fs::write(dir.join(name), bytes).expect("a file");
            let exported = client.export(NOW).expect("a malformed item is left out");
            // Whatever is taken from a kept file passes the same checks again.
            let imported = client.import(&exported, NOW).expect("the folder can be used");
            assert!(imported.refused.is_empty());
        }
        None => {
            fs::write(dir.join("state"), bytes).expect("a file");
            let _ = RUNTIME.block_on(client.get(&Item::IntelRootCrl, NOW));
        }
    }
    for file in fs::read_dir(dir).expect("the folder").flatten() {
        fs::remove_file(file.path()).expect("the file");
    }
});

/// One per kind of check.
const ITEMS: [&str; 4] = [
    "intel-root-crl.json",
    "qe-identity-early.json",
    "tcb-info-90c06f000000-early.json",
    "amd-crl-genoa-vcek.json",
];
/// A time at which the collateral that `seeds` was given may be valid: 2025-06-27.
const NOW: u64 = 1_751_000_000;
