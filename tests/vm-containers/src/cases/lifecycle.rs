// SPDX-License-Identifier: Apache-2.0
//! Create, start, wait, signal, exec, delete.

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use anyhow::bail;
use anyhow::ensure;
use casemate_containers::CreateError;
use casemate_containers::DeleteError;
use casemate_containers::ExecError;
use casemate_containers::ExecSpec;
use casemate_containers::ProcessId;
use casemate_containers::SignalError;
use casemate_containers::SignalScope;
use casemate_containers::StartError;
use casemate_containers::Stdio;
use casemate_containers::StdioRequest;
use serde_json::json;

use super::equal;
use crate::harness::Harness;
use crate::harness::PIPES;
use crate::harness::environment;
use crate::harness::spec;
use crate::harness::within;

pub(super) async fn output_and_exit_code(h: &Harness) -> anyhow::Result<()> {
    let output = h.run(&["sh", "-c", "echo out; echo err >&2; exit 7"], json!({})).await?;
    equal!(output.code, 7, "code");
    equal!(output.stdout, "out\n", "stdout");
    equal!(output.stderr, "err\n", "stderr");
    let output = h.run(&["env"], json!({ "user": { "uid": 1000, "gid": 1000 } })).await?;
    let mut env: Vec<_> = output.stdout.lines().collect();
    env.sort_unstable();
    equal!(env, ["GREETING=hello world", "HOME=/tmp", "PATH=/bin"], "environment");
    let output = h.run(&["pwd"], json!({ "cwd": "/bin" })).await?;
    equal!(output.line(), "/bin", "working directory");
    // A pipe whose reader is gone ends its writer, as everywhere.
    let output = h.run(&["sh", "-c", "sh -c 'kill -PIPE $$'; echo $?"], json!({})).await?;
    equal!(output.line(), "141", "SIGPIPE has its default action");
    Ok(())
}

pub(super) async fn stdin_reaches_the_program_and_ends(h: &Harness) -> anyhow::Result<()> {
    let id = h.id();
    let mut create = spec(id.clone(), &["cat"], json!({}))?;
    create.stdio = StdioRequest::Pipes { stdin: true, stdout: true, stderr: false };
    let Stdio::Pipes { stdin: Some(stdin), stdout, stderr: None } = h.start(create).await? else {
        bail!("wrong streams")
    };
    let mut stdin = std::fs::File::from(stdin);
    stdin.write_all(b"through the container")?;
    drop(stdin);
    let process = ProcessId::init(id.clone());
    let output = h.finish(&process, Stdio::Pipes { stdin: None, stdout, stderr: None }).await?;
    equal!((output.code, output.line()), (0, "through the container"), "cat");
    h.runtime.delete(&id).await?;
    Ok(())
}

pub(super) async fn signals_end_processes(h: &Harness) -> anyhow::Result<()> {
    let id = h.id();
    let script = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done";
    let create = spec(id.clone(), &["sh", "-c", script], json!({}))?;
    let stdio = h.start(create).await?;
    let process = ProcessId::init(id.clone());
    // The shell is PID 1 there: without a handler TERM does nothing, so send until it is set.
    let runtime = h.runtime.clone();
    let sender = {
        let process = process.clone();
        tokio::spawn(async move {
            while runtime.signal(&process, 15, SignalScope::One).is_ok() {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        })
    };
    let output = h.finish(&process, stdio).await?;
    within(sender).await??;
    equal!(output.code, 3, "TERM was handled");
    ensure!(matches!(h.runtime.signal(&process, 9, SignalScope::One), Err(SignalError::Ended)));
    // A17: numbers that are no signal.
    ensure!(matches!(
        h.runtime.signal(&process, 65, SignalScope::All),
        Err(SignalError::Kill { number: 65, .. })
    ));
    h.runtime.delete(&id).await?;

    let id = h.sleeper(json!({})).await?;
    h.runtime.signal(&ProcessId::init(id.clone()), 9, SignalScope::All)?;
    let exit = within(h.runtime.wait(&ProcessId::init(id.clone()))).await??;
    equal!(exit.code, 137, "KILL to all");
    // Any number of waiters, and late ones.
    equal!(h.runtime.try_exit(&ProcessId::init(id.clone()))?, Some(exit), "kept");
    equal!(h.runtime.delete(&id).await?, exit, "delete tells again");
    Ok(())
}

pub(super) async fn states_are_kept(h: &Harness) -> anyhow::Result<()> {
    let id = h.id();
    let exec = || ExecSpec {
        container: id.clone(),
        exec: h.id(),
        argv: vec!["true".to_owned()],
        env: environment(),
        user: None,
        stdio: PIPES,
    };
    ensure!(matches!(h.runtime.start(&id).await, Err(StartError::Unknown(_))), "unknown");
    ensure!(matches!(h.runtime.delete(&id).await, Err(DeleteError::Unknown(_))), "unknown");
    ensure!(matches!(h.runtime.exec(exec()).await, Err(ExecError::Unknown(_))), "A5: unknown");
    h.runtime.create(spec(id.clone(), &["sleep", "1000"], json!({}))?).await?;
    let again = h.runtime.create(spec(id.clone(), &["sleep", "1"], json!({}))?).await;
    ensure!(matches!(again, Err(CreateError::Exists)), "A21: id in use");
    ensure!(matches!(h.runtime.exec(exec()).await, Err(ExecError::NotRunning)), "not started");
    h.runtime.start(&id).await?;
    ensure!(matches!(h.runtime.start(&id).await, Err(StartError::Started)), "started twice");
    h.runtime.signal(&ProcessId::init(id.clone()), 9, SignalScope::One)?;
    within(h.runtime.wait(&ProcessId::init(id.clone()))).await??;
    ensure!(matches!(h.runtime.exec(exec()).await, Err(ExecError::NotRunning)), "A5: ended");
    h.runtime.delete(&id).await?;

    // Deleted before its start.
    let id = h.id();
    h.runtime.create(spec(id.clone(), &["sleep", "1000"], json!({}))?).await?;
    equal!(within(h.runtime.delete(&id)).await??.code, 137, "delete kills");
    Ok(())
}

pub(super) async fn a_failed_create_leaves_nothing(h: &Harness) -> anyhow::Result<()> {
    let id = h.id();
    for (program, reason) in [
        ("/no/such/program", "ENOENT"),
        ("no-such-program", "not found in PATH"),
        ("/bin/not-executable", "EACCES"),
        ("/bin", "EACCES"),
    ] {
        let create = spec(id.clone(), &[program], json!({}))?;
        let error = h.runtime.create(create).await.err().context("must fail")?;
        ensure!(matches!(error, CreateError::Helper(_)), "{error:?}");
        ensure!(error.to_string().contains(reason), "{program}: {error}");
        assert_gone(id.as_str())?;
    }
    // The id is free again.
    let stdio = h.start(spec(id.clone(), &["echo", "now"], json!({}))?).await?;
    let output = h.finish(&ProcessId::init(id.clone()), stdio).await?;
    equal!(output.line(), "now", "after failures");
    h.runtime.delete(&id).await?;
    Ok(())
}

pub(super) async fn delete_leaves_nothing(h: &Harness) -> anyhow::Result<()> {
    let id = h.sleeper(json!({})).await?;
    ensure!(Path::new("/sys/fs/cgroup/casemate").join(id.as_str()).exists(), "cgroup");
    ensure!(std::fs::read_to_string("/proc/self/mountinfo")?.contains(id.as_str()), "mount");
    let exit = within(h.runtime.delete(&id)).await??;
    equal!(exit.code, 137, "killed");
    assert_gone(id.as_str())?;
    ensure!(matches!(h.runtime.delete(&id).await, Err(DeleteError::Unknown(_))), "gone");
    Ok(())
}

pub(super) async fn exec_runs_in_the_container(h: &Harness) -> anyhow::Result<()> {
    let id = h.sleeper(json!({ "cwd": "/tmp" })).await?;
    let output =
        h.exec(&id, &["sh", "-c", "pwd; hostname; echo $GREETING; ls /proc/1/exe; exit 9"]).await?;
    equal!(output.code, 9, "exit code of an exec");
    equal!(output.stdout, "/tmp\npod-one\nhello world\n/proc/1/exe\n", "inside");
    let failing = ExecSpec {
        container: id.clone(),
        exec: h.id(),
        argv: vec!["no-such-program".to_owned()],
        env: environment(),
        user: None,
        stdio: PIPES,
    };
    let error = h.runtime.exec(failing).await.err().context("must fail")?;
    ensure!(error.to_string().contains("not found in PATH"), "{error}");
    // A long-lived exec ends with its container.
    let exec = h.id();
    let request = ExecSpec {
        container: id.clone(),
        exec: exec.clone(),
        argv: vec!["sleep".to_owned(), "1000".to_owned()],
        env: environment(),
        user: None,
        stdio: PIPES,
    };
    let created = h.runtime.exec(request.clone()).await?;
    ensure!(matches!(h.runtime.exec(request).await, Err(ExecError::Exists)), "exec id in use");
    equal!(h.runtime.pids(&id)?.len(), 2, "processes");
    ensure!(h.runtime.pids(&id)?.contains(&created.pid), "the exec's pid");
    ensure!(matches!(h.runtime.delete_exec(&id, &exec), Err(DeleteError::Running)), "it runs");
    h.runtime.signal(&ProcessId::init(id.clone()), 9, SignalScope::One)?;
    let exit = within(h.runtime.wait(&ProcessId::exec(id.clone(), exec.clone()))).await??;
    equal!(exit.code, 137, "with its container");
    h.runtime.delete(&id).await?;
    Ok(())
}

pub(super) async fn orphans_are_reaped(h: &Harness) -> anyhow::Result<()> {
    let id = h.sleeper(json!({})).await?;
    // An exec's children fall to the container's first process; when that ends, to the guest's.
    equal!(h.exec(&id, &["/probe", "orphans", "20"]).await?.line(), "ok", "orphans");
    h.runtime.delete(&id).await?;
    // Children of PID 1 itself that nobody waits for.
    for _ in 0..20 {
        std::process::Command::new("/bin/busybox").arg("true").spawn()?;
    }
    for _ in 0..100 {
        if zombies()?.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    bail!("not reaped: {:?}", zombies()?)
}

/// Ended processes that nobody has waited for.
pub(super) fn zombies() -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" Z")) {
            found.push(stat.split(')').next().unwrap_or_default().to_owned());
        }
    }
    Ok(found)
}

/// No cgroup, mount or directory has the id.
fn assert_gone(id: &str) -> anyhow::Result<()> {
    ensure!(!Path::new("/sys/fs/cgroup/casemate").join(id).exists(), "the cgroup stays");
    ensure!(!std::fs::read_to_string("/proc/self/mountinfo")?.contains(id), "a mount stays");
    for directory in ["bundles", "state"] {
        let path = Path::new("/run/casemate/containers").join(directory).join(id);
        ensure!(!path.exists(), "{} stays", path.display());
    }
    Ok(())
}

pub(super) async fn a_termination_message_is_read_until_the_delete(
    h: &Harness,
) -> anyhow::Result<()> {
    let mounts = json!({ "mounts": [
        { "destination": "/dev/termination-log", "kind": "termination-log" },
    ] });
    let id = h.id();
    let script = "head -c 10000 /dev/zero | tr '\\0' a >/dev/termination-log; \
                  echo last words >>/dev/termination-log; exit 3";
    let stdio = h.start(spec(id.clone(), &["sh", "-c", script], mounts)?).await?;
    let output = h.finish(&ProcessId::init(id.clone()), stdio).await?;
    equal!(output.code, 3, "exit code: {}", output.stderr);
    let message = h.runtime.termination_message(&id)?;
    equal!(message.len(), 4096, "its end alone");
    ensure!(message.ends_with(b"aalast words\n"), "{message:?}");
    h.runtime.delete(&id).await?;
    ensure!(h.runtime.termination_message(&id).is_err(), "after the delete");
    let id = h.sleeper(json!({})).await?;
    ensure!(h.runtime.termination_message(&id)?.is_empty(), "without a termination log");
    h.runtime.delete(&id).await?;
    Ok(())
}
