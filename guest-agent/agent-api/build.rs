// SPDX-License-Identifier: Apache-2.0
//! Generates the agent API from its proto file.

use std::io;
use std::path::PathBuf;

fn main() -> io::Result<()> {
    let out = PathBuf::from(std::env::var("OUT_DIR").map_err(io::Error::other)?);
    ttrpc_codegen::Codegen::new()
        .out_dir(&out)
        .input("proto/agent.proto")
        .include("proto")
        .rust_protobuf()
        .customize(ttrpc_codegen::Customize { async_all: true, ..Default::default() })
        .run()?;
    // `include!` does not take inner attributes; the including module sets its own.
    for name in ["agent.rs", "agent_ttrpc.rs"] {
        let path = out.join(name);
        let text: String = std::fs::read_to_string(&path)?
            .lines()
            .filter(|line| !line.starts_with("#![") && !line.starts_with("//!"))
            .flat_map(|line| [line, "\n"])
            .collect();
        std::fs::write(path, text)?;
    }
    Ok(())
}
