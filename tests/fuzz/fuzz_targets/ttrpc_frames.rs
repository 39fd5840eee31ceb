// SPDX-License-Identifier: Apache-2.0
//! The agent's ttrpc server. The input is all that the host ever sends on an RPC stream (A24).

#![no_main]

use std::sync::Arc;
use std::time::Duration;

use casemate_agent_api::mux;
use casemate_agent_api::mux::Role;
use casemate_agent_api::mux::StreamKind;
use casemate_agent_api::rpc::ApiServer;
use casemate_agent_api::service::Agent;
use libfuzzer_sys::fuzz_target;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;

/// Refuses every call: what comes before a call is what is looked at.
struct Nobody;

impl Agent for Nobody {}

fuzz_target!(|bytes: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let mut api = ApiServer::start(Arc::new(Nobody)).await.expect("a server");
        let (host_io, guest_io) = tokio::io::duplex(1 << 16);
        let (host, _, host_driver) = mux::connect(host_io, Role::Host);
        let (_guest, mut incoming, guest_driver) = mux::connect(guest_io, Role::Guest);
        tokio::spawn(host_driver);
        tokio::spawn(guest_driver);
        let mut stream = host.open(StreamKind::Rpc).expect("a stream");
        let exchange = async {
            stream.write_all(bytes).await?;
            stream.shutdown().await?;
            // Whatever it answers; it ends when the input has.
            stream.read_to_end(&mut Vec::new()).await
        };
        if let Some((_, served)) = incoming.accept().await {
            api.serve(served).await;
            let _ = tokio::time::timeout(PATIENCE, exchange).await;
        }
    });
});

/// A server that waits for the rest of a frame answers nothing.
const PATIENCE: Duration = Duration::from_millis(100);
