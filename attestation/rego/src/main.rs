// SPDX-License-Identifier: Apache-2.0
//! One evaluation in a process of its own, with caps on memory and time:
//! `casemate-rego POLICY < {"input": …, "references": {…}}` prints the trust claims.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::process::ExitCode;

use casemate_rego::Policy;
use casemate_rego_engine::confine;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    input: Value,
    #[serde(default)]
    references: BTreeMap<String, Value>,
}

fn main() -> ExitCode {
    match run() {
        Ok(claims) => {
            println!("{claims}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let error = chain(error.as_ref());
            eprintln!("rego: {error}; next: correct the policy or its input and try again");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<String, Box<dyn std::error::Error>> {
    confine(MAX_MEMORY_BYTES, MAX_CPU_SECONDS)?;
    let path = std::env::args_os().nth(1).ok_or("the policy's file is missing")?;
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_INPUT_BYTES).read_to_string(&mut text)?;
    let mut request = String::new();
    std::io::stdin().lock().take(MAX_INPUT_BYTES).read_to_string(&mut request)?;
    let request: Request = serde_json::from_str(&request)?;
    let claims = Policy::parse(&text)?.evaluate(&request.input, &request.references)?;
    Ok(serde_json::to_string(&claims)?)
}

/// An error and its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Address space of the process.
const MAX_MEMORY_BYTES: u64 = 256 << 20;
/// Processor time of the process.
const MAX_CPU_SECONDS: u64 = 5;
/// Largest policy or request, bytes.
const MAX_INPUT_BYTES: u64 = 8 << 20;
