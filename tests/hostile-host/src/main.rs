// SPDX-License-Identifier: Apache-2.0
//! Runs the hostile-host suite and prints what came of each attack.

use std::process::ExitCode;

use anyhow::ensure;
use casemate_hostile_host::Case;
use casemate_hostile_host::Line;
use casemate_hostile_host::Mode;
use casemate_hostile_host::Runner;
use casemate_hostile_host::cases;
use casemate_hostile_host::list;
use casemate_hostile_host::mutation_list;
use casemate_hostile_host::mutation_list::FREE;
use casemate_hostile_host::mutation_list::Free;
use casemate_hostile_host::room;
use casemate_hostile_host::table;
use clap::Parser;

/// The hostile-host suite: every attack of the catalogue, with and without the policy.
#[derive(Debug, Parser)]
struct Args {
    /// One JSON object per case and mode.
    #[arg(long)]
    json: bool,
    /// Only this case; may be given again.
    #[arg(long = "case")]
    cases: Vec<String>,
    /// Only this mode: policy or allow-all.
    #[arg(long, value_parser = mode)]
    mode: Option<Mode>,
    /// Names the cases and their guards, and runs none.
    #[arg(long)]
    list: bool,
    /// Changes each leaf of every allowed request once, and prints what the host may change and why.
    #[arg(long)]
    mutations: bool,
    /// For the machine that this program boots: it is its first process, or that of a case there.
    #[arg(long, hide = true)]
    room: Option<Part>,
    /// Where the room's victim is cut.
    #[arg(long, hide = true, default_value_t = 0)]
    step: usize,
}

/// A part in the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// The machine.
    Keep,
    /// A case.
    Enter,
    /// The agent, to boot in a case's namespaces.
    Agent,
    /// An agent that is killed, or whose helpers are.
    Victim,
}

fn main() -> ExitCode {
    if let Some(code) = casemate_containers::helper_main() {
        return code;
    }
    let args = Args::parse();
    match args.room {
        Some(Part::Keep) => return room::keep(),
        Some(Part::Agent) => return room::boot_agent(),
        Some(Part::Victim) => {
            return room::be_killed(args.mode.unwrap_or(Mode::Policy), args.step);
        }
        Some(Part::Enter) | None => {}
    }
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("casemate-hostile-host: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<bool> {
    if args.mutations {
        return mutations(args.json);
    }
    let selected = select(&args.cases)?;
    let runner = Runner { in_room: args.room.is_some(), ..Runner::default() };
    if runner.in_room {
        room::enter()?;
    }
    if args.list {
        for case in selected {
            match args.json {
                true => println!("{}", list(case)),
                false => println!("{:<4} {:<60} {}", case.id, case.guard(), case.attack),
            }
        }
        return Ok(true);
    }
    let modes = args.mode.map_or_else(|| Mode::ALL.to_vec(), |mode| vec![mode]);
    // A panic fails its case and is shown there.
    std::panic::set_hook(Box::new(|_| {}));
    let mut all = Vec::new();
    for case in selected {
        let lines: Vec<Line> = modes.iter().map(|mode| runner.run(case, *mode)).collect();
        match args.json {
            true => lines.iter().for_each(|line| println!("{}", line.json())),
            false => println!("{}", table(case, &lines)),
        }
        all.extend(lines);
    }
    let count = |result| all.iter().filter(|line| line.outcome.result() == result).count();
    let failed = count("fail");
    if !args.json {
        println!(
            "{} cases, {} runs: {} pass, {failed} fail, {} absent, {} hardware-only",
            all.len() / modes.len(),
            all.len(),
            count("pass"),
            count("absent"),
            count("hardware-only"),
        );
    }
    Ok(failed == 0)
}

fn mutations(json: bool) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let verdict = runtime.block_on(mutation_list::check());
    for Free { call, leaf, reason } in FREE {
        match json {
            true => {
                println!("{}", serde_json::json!({"call": call, "leaf": leaf, "reason": reason}));
            }
            false => println!("{:<40} {reason}", format!("{call} {leaf}")),
        }
    }
    verdict?;
    eprintln!(
        "{} leaves may be changed; every change of another that was tried is refused",
        FREE.len()
    );
    Ok(true)
}

fn select(ids: &[String]) -> anyhow::Result<Vec<&'static Case>> {
    let known = |id: &&String| cases::find(id).is_none();
    let unknown: Vec<_> = ids.iter().filter(known).cloned().collect();
    ensure!(unknown.is_empty(), "no such case: {}", unknown.join(", "));
    Ok(cases::all().filter(|case| ids.is_empty() || ids.iter().any(|id| id == case.id)).collect())
}

fn mode(text: &str) -> Result<Mode, String> {
    let mode = Mode::ALL.into_iter().find(|mode| mode.as_str() == text);
    mode.ok_or_else(|| "policy or allow-all".to_owned())
}
