// SPDX-License-Identifier: Apache-2.0
//! A room: a kernel of its own, in which attacks on mounts, namespaces and containers are real.
//!
//! The catalogue's cases of level N need a kernel that may be attacked: one with cgroups of version
//! 2, where root file systems, devices and networks are nobody else's. So this program boots itself
//! as the first process of a small virtual machine without hardware help, once for all cases, and
//! has them carried out there, each in mount, process, network, IPC and host name namespaces that
//! are made for it. What runs is what runs in a pod's guest: the agent's service, the container
//! runtime, the volumes, the puller. The machine ends when this program does.

mod cut;
mod guest;
pub(crate) mod look;
mod machine;
pub(crate) mod pod;

use std::sync::Mutex;
use std::sync::PoisonError;

use anyhow::Context as _;

use crate::Context;
use crate::Outcome;
use crate::Running;
use crate::Verdict;
use machine::Machine;

pub use cut::be_killed;
pub use guest::boot_agent;
pub use guest::enter;
pub use guest::keep;

/// Carries a case out in the room: asks the machine for it, or is there already.
pub(crate) async fn stage(
    context: Context,
    id: &'static str,
    attack: fn(Context) -> Running,
) -> Verdict {
    if context.is_in_room() {
        return attack(context).await;
    }
    let asked = tokio::task::spawn_blocking(move || ask(&context, id));
    asked.await.context("nobody asked the room")?
}

/// The one machine of this program. It is made anew after a case that broke it.
static MACHINE: Mutex<Option<Machine>> = Mutex::new(None);

fn ask(context: &Context, id: &str) -> Verdict {
    let mut slot = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut machine = match slot.take() {
        Some(machine) => machine,
        None => Machine::boot(context)?,
    };
    let said = machine.ask(id, context.mode())?;
    *slot = Some(machine);
    let text = |key: &str| said.get(key).and_then(|value| value.as_str()).map(str::to_owned);
    let detail = text("detail").context("the room gives no detail")?;
    match text("result").as_deref() {
        Some("pass") => Ok(Outcome::Pass(detail)),
        Some("absent") => Ok(Outcome::Absent(detail)),
        _ => Ok(Outcome::Fail(detail)),
    }
}
