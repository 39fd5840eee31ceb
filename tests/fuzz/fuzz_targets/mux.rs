// SPDX-License-Identifier: Apache-2.0
//! The agent's end of the multiplexed port. The input is all that the host ever says.

#![no_main]

use std::io::Cursor;

use casemate_agent_api::mux;
use libfuzzer_sys::fuzz_target;
use tokio::io::AsyncReadExt;

fuzz_target!(|bytes: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime without I/O");
    let io = tokio::io::join(Cursor::new(bytes.to_vec()), tokio::io::sink());
    runtime.block_on(async {
        let (_handle, mut incoming, driver) = mux::connect(io, mux::Role::Guest);
        let accept = async {
            while let Some((_, mut stream)) = incoming.accept().await {
                let mut some = [0; 64];
                let _ = stream.read(&mut some).await;
            }
        };
        // The input ends, so the driver does.
        tokio::select! {
            _ = driver => {}
            () = accept => {}
        }
    });
});
