// SPDX-License-Identifier: Apache-2.0
//! What it costs to judge a request of the host.

use std::process::Command;

use anyhow::Context;
use anyhow::ensure;
use serde_json::Value;

use crate::artifacts::Artifacts;

/// Prints the cost of decisions on a policy of a hundred containers, of an equal rule in Rego, and of
/// a start while others ask in vain.
pub(super) fn run(artifacts: &Artifacts) -> anyhow::Result<()> {
    let typed = example(artifacts, "monitor_cost")?;
    for (kind, what) in
        [("create", "create granted"), ("denial", "create denied"), ("exec", "exec granted")]
    {
        let figure = |name: &str| number(&typed, &format!("/{kind}_{name}"));
        println!("{:<32} {:>8.2}", format!("{what}, p50, µs"), figure("p50_us")?);
        println!("{:<32} {:>8.2}    (target 20)", format!("{what}, p99, µs"), figure("p99_us")?);
        println!("{:<32} {:>8.0}", format!("{what}, allocations"), figure("allocations")?);
    }
    let growth = number(&typed, "/growth_bytes")?;
    println!("{:<32} {growth:>8.0}    (target 0)", "bytes kept after 150 000 of them");
    let rego = example(artifacts, "decision_cost")?;
    let ratio = number(&rego, "/times_faster/p50")?;
    println!("{:<32} {ratio:>8.0}    (target 100)", "equal rule in regorus ÷ monitor");
    let hostile = example(artifacts, "hostile_clients")?;
    let alone = number(&hostile, "/alone_us/p50")?;
    println!("{:<32} {alone:>8.0}", "agent's share of a start, p50, µs");
    let slower = number(&hostile, "/slower/p50")?;
    println!("{:<32} {slower:>8.2}    (target 1.10)", "beside 64 hostile clients ÷ alone");
    Ok(())
}

fn example(artifacts: &Artifacts, name: &str) -> anyhow::Result<Value> {
    let output = Command::new(artifacts.release_programs().join("examples").join(name))
        .output()
        .with_context(|| format!("run {name}: cargo xtask bench builds it"))?;
    ensure!(output.status.success(), "{name} failed");
    serde_json::from_slice(&output.stdout).with_context(|| format!("parse the figures of {name}"))
}

fn number(figures: &Value, pointer: &str) -> anyhow::Result<f64> {
    figures.pointer(pointer).and_then(Value::as_f64).with_context(|| format!("no {pointer}"))
}
