// SPDX-License-Identifier: Apache-2.0
//! E22: an agent, or what makes containers for it, that is killed at each step of a create.

use std::fs;
use std::io::BufRead as _;
use std::io::BufReader;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use anyhow::Context as _;
use anyhow::bail;
use anyhow::ensure;
use rustix::process::Pid;
use rustix::process::Signal;

use super::crash::cut_off;
use crate::Case;
use crate::Context;
use crate::Defence;
use crate::Guard;
use crate::Level;
use crate::Mode;
use crate::Outcome;
use crate::Verdict;
use crate::room;
use crate::room::look;
use crate::room::pod::BUSYBOX;
use crate::room::pod::CGROUPS;

pub(super) static E22: Case = Case {
    id: "E22",
    level: Level::N,
    attack: "takes memory away or kills at every step of a create",
    defence: Defence::Code(Guard {
        function: "casemate_policy_monitor::monitor::Monitor::rollback",
        sabotage: "()",
    }),
    run: |context| Box::pin(room::stage(context, "E22", |context| Box::pin(killed(context)))),
};

async fn killed(context: Context) -> Verdict {
    cut_off(&context).await?;
    let mode = context.mode();
    tokio::task::spawn_blocking(move || at_every_step(mode)).await?
}

fn at_every_step(mode: Mode) -> Verdict {
    // Empty ones of cases before this one.
    remove_cgroups(Path::new(CGROUPS))?;
    let quiet = (look::leftovers(), look::processes()?);
    let ask = |step| -> anyhow::Result<String> {
        let said = Victim::spawn(mode, step)?.hear_and_kill()?;
        // The kernel ends what the first process of a pid namespace leaves, and removes a control group
        // only if nobody is in it.
        remove_cgroups(Path::new(CGROUPS))
            .with_context(|| format!("step {step}, {said}: a process survives its agent"))?;
        let left = (look::leftovers(), look::processes()?);
        ensure!(left == quiet, "step {step}, {said}: left: {left:?}, before: {quiet:?}");
        Ok(said)
    };
    let said = ask(0)?;
    let Some(helpers) = said.strip_prefix("helpers ") else { bail!(said) };
    let mut cuts = 0;
    // The modes have the same steps: each takes others.
    let first = if mode == Mode::Policy { 1 } else { 1 + AGENT_STRIDE / 2 };
    for step in (first..).step_by(AGENT_STRIDE) {
        let said = ask(step)?;
        match said.as_str() {
            "whole" => break,
            said if said.starts_with("cut ") => cuts += 1,
            _ => bail!("step {step}: {said}"),
        }
    }
    ensure!(cuts > 8, "only {cuts} steps");
    Ok(Outcome::pass(format!(
        "killed at {cuts} steps from the begin to the end of a create and start, the agent takes all \
         of its processes with it, and the next one starts from nothing; killed at {helpers} of its \
         own, what makes the container leaves no process, file, mount or state"
    )))
}

/// Every so many steps the agent is killed, at others in the other mode: each takes an agent of its
/// own and nearly a second. With 1 it is killed at each.
const AGENT_STRIDE: usize = 8;

/// An agent that creates a container, in namespaces of its own.
struct Victim {
    unshare: Child,
}

impl Victim {
    fn spawn(mode: Mode, step: usize) -> anyhow::Result<Self> {
        let unshare = Command::new(BUSYBOX)
            .args(["unshare", "-m", "-u", "-i", "-n", "-p", "-f", "/init", "--room=victim"])
            .args(["--mode", mode.as_str(), "--step", &step.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { unshare })
    }

    /// Waits for its one word, and kills it there.
    fn hear_and_kill(mut self) -> anyhow::Result<String> {
        let output = self.unshare.stdout.take().context("no output")?;
        let mut word = String::new();
        BufReader::new(output).read_line(&mut word)?;
        let id = self.unshare.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        // One that has ended by itself has none.
        if let Some(agent) = children.ok().and_then(|list| list.trim().parse().ok())
            && let Some(agent) = Pid::from_raw(agent)
        {
            rustix::process::kill_process(agent, Signal::KILL)?;
        }
        self.unshare.wait()?;
        Ok(word.trim().to_owned())
    }
}

/// Removes a control group and those below it.
fn remove_cgroups(folder: &Path) -> std::io::Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_cgroups(&entry.path())?;
        }
    }
    fs::remove_dir(folder)
}
