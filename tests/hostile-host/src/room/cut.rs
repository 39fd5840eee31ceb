// SPDX-License-Identifier: Apache-2.0
//! An agent that is stopped at every step: before each system call of it and of what it starts that
//! changes something, so that whoever asked for it can be killed right there. Equal changes of one
//! process after another, as a file system for each of a container's mounts, are one step.

use std::io::Write as _;
use std::mem::ManuallyDrop;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::ensure;
use casemate_agent_api::ApiError;
use casemate_agent_api::Code;
use libseccomp::ScmpAction;
use libseccomp::ScmpArgCompare;
use libseccomp::ScmpCompareOp;
use libseccomp::ScmpFilterContext;
use libseccomp::ScmpNotifReq;
use libseccomp::ScmpNotifResp;
use libseccomp::ScmpNotifRespFlags;
use libseccomp::ScmpSyscall;
use rustix::process::Pid;
use rustix::process::Signal;

use super::look;
use super::pod::Room;
use crate::Context;
use crate::Mode;
use crate::shim::EvilShim;
use crate::shim::deadline;
use crate::shim::requests;

/// An agent of its own in namespaces of its own, which creates and starts one container.
///
/// At step `step` of that, counted from 1, it says `cut <system call>` on its standard output and
/// waits to be killed; with fewer steps it says `whole`. Step 0 means that not the agent is killed but,
/// at each of their steps in turn, the processes that make containers for it; then it says `helpers <n>`.
#[must_use]
pub fn be_killed(mode: Mode, step: usize) -> ExitCode {
    match live(mode, step) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn live(mode: Mode, step: usize) -> anyhow::Result<()> {
    super::enter()?;
    // Before the first thread: every one that follows, and each child, is under the filter.
    let cuts = Cuts::install()?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let context = Context::new(mode).in_room();
    runtime.block_on(async {
        match step {
            0 => lose_helpers(&context, &cuts).await,
            _ => lose_agent(&context, &cuts, step).await,
        }
    })
}

async fn lose_agent(context: &Context, cuts: &Cuts, step: usize) -> anyhow::Result<()> {
    let shim = starts_from_nothing(context).await?.1;
    cuts.arm(Whose::Agents, step);
    shim.run(&requests::web("c1")).await?;
    println!("whole");
    std::future::pending().await
}

/// A new agent, which knows nothing of what hosts asked of one before it.
async fn starts_from_nothing(context: &Context) -> anyhow::Result<(Room, EvilShim)> {
    let room = Room::furnish().await?;
    let shim = room.bound(context, requests::POLICY).await?;
    let start = requests::process("c1", "");
    let early = shim.client.start(deadline(), &start).await.err();
    let early = ApiError::from_rpc(&early.context("a start before the attestation")?);
    ensure!(early.code() == Code::RequestPhase, "{early}");
    let shim = shim.attest().await?;
    let late = shim.client.start(deadline(), &start).await.err();
    let late = ApiError::from_rpc(&late.context("a container of an earlier life starts")?);
    ensure!(late.code() == Code::RequestId, "{late}");
    ensure!(!room.has("c1"), "a container of an earlier life is there");
    Ok((room, shim))
}

async fn lose_helpers(context: &Context, cuts: &Cuts) -> anyhow::Result<()> {
    let (room, shim) = starts_from_nothing(context).await?;
    // The first one makes what is the pod's: its volumes.
    shim.client.create_container(deadline(), &requests::web("h0")).await?;
    shim.client.delete(deadline(), &requests::process("h0", "")).await?;
    let mut before = (look::leftovers(), look::processes()?, shim.state());
    let first = if context.has_policy() { 1 } else { 1 + HELPER_STRIDE / 2 };
    for (killed, step) in (first..).step_by(HELPER_STRIDE).enumerate() {
        let id = format!("h{step}");
        cuts.arm(Whose::Helpers, step);
        let answer = shim.client.create_container(deadline(), &requests::web(&id)).await;
        let Some(call) = cuts.disarm() else {
            answer.context("a create of which nothing was killed")?;
            shim.client.start(deadline(), &requests::process(&id, "")).await?;
            ensure!(killed > LEAST, "only {killed} steps");
            room.delete(&id).await?;
            println!("helpers {killed}");
            return Ok(());
        };
        let at = format!("helper killed at step {step}, {call}");
        if let Err(error) = answer {
            let error = ApiError::from_rpc(&error);
            ensure!(error.code() == Code::ContainerFailed, "{at}: {error}");
            let half = shim.client.start(deadline(), &requests::process(&id, "")).await;
            ensure!(half.is_err(), "{at}: half a container starts");
            ensure!(!room.has(&id), "{at}: half a container is there");
        } else {
            // Killed when it had done its part: the container is whole, and deleted like any other.
            shim.client
                .delete(deadline(), &requests::process(&id, ""))
                .await
                .context(at.clone())?;
            before.2 = shim.state();
        }
        // What was killed goes when the kernel has taken it apart.
        let mut after = (look::leftovers(), look::processes()?, shim.state());
        for _ in 0..100 {
            if after == before {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            after = (look::leftovers(), look::processes()?, shim.state());
        }
        ensure!(after == before, "{at}: left: {after:?}, before: {before:?}");
    }
    Ok(())
}

/// Whose steps are counted, and who is killed at the chosen one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// The agent's and its helpers': the agent.
    Agents,
    /// Those of helpers, and of what they start: the process whose step it is.
    Helpers,
}

/// Holds back each change of this process and its children until it has been counted.
struct Cuts {
    plan: Arc<Mutex<Option<Plan>>>,
}

struct Plan {
    whose: Whose,
    left: usize,
    /// The change before, by whom: one that repeats it is no step.
    last: String,
    /// The system call at which it happened.
    done: Option<String>,
}

impl Cuts {
    /// Puts the calling thread and all that it starts under a filter (`seccomp_unotify(2)`).
    fn install() -> anyhow::Result<Self> {
        let plan: Arc<Mutex<Option<Plan>>> = Arc::default();
        let (sender, receiver) = mpsc::channel();
        let counted = Arc::clone(&plan);
        // Started before there is a filter, so that it is not held back itself.
        std::thread::spawn(move || {
            if let Ok(listener) = receiver.recv() {
                count(listener, &counted);
            }
        });
        let mut filter = ScmpFilterContext::new(ScmpAction::Allow)?;
        filter.set_ctl_nnp(false)?;
        for name in CHANGES {
            filter.add_rule(ScmpAction::Notify, ScmpSyscall::from_name(name)?)?;
        }
        // Files that are opened to be written, wherever: O_WRONLY and O_RDWR.
        for access in [1, 2] {
            let writes = ScmpArgCompare::new(2, ScmpCompareOp::MaskedEqual(3), access);
            let openat = ScmpSyscall::from_name("openat")?;
            filter.add_rule_conditional(ScmpAction::Notify, openat, &[writes])?;
        }
        filter.load()?;
        // The listener is open as long as the filter's description is there.
        let filter = ManuallyDrop::new(filter);
        sender.send(filter.get_notify_fd()?)?;
        Ok(Self { plan })
    }

    fn arm(&self, whose: Whose, step: usize) {
        *lock(&self.plan) = Some(Plan { whose, left: step, last: String::new(), done: None });
    }

    /// Counts no more, and says at which system call somebody was killed.
    fn disarm(&self) -> Option<String> {
        lock(&self.plan).take()?.done
    }
}

fn count(listener: i32, plan: &Mutex<Option<Plan>>) {
    while let Ok(request) = ScmpNotifReq::receive(listener) {
        match next(&request, plan) {
            // It waits for ever: whoever reads this line kills the agent.
            Some((Whose::Agents, call)) => {
                println!("cut {call}");
                let _ = std::io::stdout().flush();
                continue;
            }
            Some((Whose::Helpers, _)) => {
                if let Some(pid) = i32::try_from(request.pid).ok().and_then(Pid::from_raw) {
                    let _ = rustix::process::kill_process(pid, Signal::KILL);
                }
            }
            None => {}
        }
        let go_on = ScmpNotifResp::new_continue(request.id, ScmpNotifRespFlags::empty());
        // One that was killed takes no answer.
        let _ = go_on.respond(listener);
    }
}

/// Whether this step is the chosen one.
fn next(request: &ScmpNotifReq, plan: &Mutex<Option<Plan>>) -> Option<(Whose, String)> {
    let mut plan = lock(plan);
    let plan = plan.as_mut().filter(|plan| plan.done.is_none())?;
    let agents = Path::new("/proc/self/task").join(request.pid.to_string()).exists();
    if plan.whose == Whose::Helpers && agents {
        return None;
    }
    let call = request.data.syscall.get_name().unwrap_or_default();
    let name = std::fs::read_to_string(format!("/proc/{}/comm", request.pid)).unwrap_or_default();
    let call = format!("{call} of {}", if agents { "agent" } else { name.trim() });
    if std::mem::replace(&mut plan.last, call.clone()) == call {
        return None;
    }
    plan.left = plan.left.checked_sub(1)?;
    if plan.left > 0 {
        return None;
    }
    plan.done = Some(call.clone());
    Some((plan.whose, call))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Every so many steps of a helper it is killed, at others in the other mode: each takes a third of a
/// second here. With 1 it is killed at each.
const HELPER_STRIDE: usize = 4;
/// More of them are there, or the count is wrong.
const LEAST: usize = 15;

/// System calls that change what another process can see.
const CHANGES: &[&str] = &[
    "bind",
    "bpf",
    "chdir",
    "chmod",
    "chown",
    "chroot",
    "clone",
    "clone3",
    "connect",
    "execve",
    "execveat",
    "fchmod",
    "fchmodat",
    "fchown",
    "fchownat",
    "fork",
    "fsconfig",
    "fsmount",
    "fsopen",
    "lchown",
    "link",
    "linkat",
    "mkdir",
    "mkdirat",
    "mknod",
    "mknodat",
    "mount",
    "mount_setattr",
    "move_mount",
    "open_tree",
    "pivot_root",
    "rename",
    "renameat",
    "renameat2",
    "rmdir",
    "sendmsg",
    "setgroups",
    "sethostname",
    "setns",
    "setresgid",
    "setresuid",
    "symlink",
    "symlinkat",
    "umount2",
    "unlink",
    "unlinkat",
    "unshare",
    "vfork",
];
