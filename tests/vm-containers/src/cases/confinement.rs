// SPDX-License-Identifier: Apache-2.0
//! What a container's processes may do.

use std::collections::BTreeMap;

use anyhow::Context;
use anyhow::ensure;
use casemate_containers::Limits;
use casemate_containers::ProcessId;
use casemate_containers::UpdateError;
use casemate_containers::UpdateLimitsError;
use casemate_policy::User;
use serde_json::json;

use super::equal;
use crate::harness::Harness;
use crate::harness::spec;
use crate::harness::within;

/// Bits of [`crate::harness::DEFAULT_CAPABILITIES`], by the numbers of capability(7).
const DEFAULT_MASK: u64 = 1
    | 1 << 1
    | 1 << 3
    | 1 << 4
    | 1 << 5
    | 1 << 6
    | 1 << 7
    | 1 << 8
    | 1 << 10
    | 1 << 13
    | 1 << 18
    | 1 << 29
    | 1 << 31;

/// `/proc/self/status` as a map.
struct Status(BTreeMap<String, String>);

impl Status {
    fn parse(text: &str) -> Self {
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        Self(fields.map(|(k, v)| (k.to_owned(), v.trim().to_owned())).collect())
    }

    fn get(&self, name: &str) -> anyhow::Result<&str> {
        self.0.get(name).map(String::as_str).with_context(|| format!("no field {name}"))
    }

    fn mask(&self, name: &str) -> anyhow::Result<u64> {
        Ok(u64::from_str_radix(self.get(name)?, 16)?)
    }

    fn confined(&self, capabilities: u64, no_new_privileges: &str) -> anyhow::Result<()> {
        equal!(self.get("Seccomp")?, "2", "Seccomp");
        equal!(self.get("NoNewPrivs")?, no_new_privileges, "NoNewPrivs");
        equal!(self.mask("CapEff")?, capabilities, "CapEff");
        equal!(self.mask("CapPrm")?, capabilities, "CapPrm");
        equal!(self.mask("CapBnd")?, capabilities, "CapBnd");
        equal!(self.mask("CapInh")?, 0, "CapInh");
        equal!(self.mask("CapAmb")?, 0, "CapAmb");
        Ok(())
    }
}

const STATUS: [&str; 2] = ["cat", "/proc/self/status"];

pub(super) async fn processes_are_confined(h: &Harness) -> anyhow::Result<()> {
    let output = h.run(&STATUS, json!({})).await?;
    Status::parse(&output.stdout).confined(DEFAULT_MASK, "1")?;
    let output = h.run(&STATUS, json!({ "capabilities": [] })).await?;
    Status::parse(&output.stdout).confined(0, "1")
}

pub(super) async fn execs_are_confined_alike(h: &Harness) -> anyhow::Result<()> {
    for (set, expected) in [(true, "1"), (false, "0")] {
        let id = h.sleeper(json!({ "no_new_privileges": set })).await?;
        let output = h.exec(&id, &STATUS).await?;
        Status::parse(&output.stdout).confined(DEFAULT_MASK, expected)?;
        equal!(h.exec(&id, &UNSHARE).await?.line(), "EPERM", "unshare in an exec");
        h.runtime.delete(&id).await?;
    }
    // A user without privileges: none are held, and the filter is there all the same.
    let changes = json!({ "no_new_privileges": false, "user": { "uid": 1000, "gid": 1000 } });
    let id = h.sleeper(changes).await?;
    let output = h.exec(&id, &STATUS).await?;
    let status = Status::parse(&output.stdout);
    equal!(status.get("Seccomp")?, "2", "Seccomp of a user");
    equal!(status.mask("CapEff")?, 0, "CapEff of a user");
    equal!(status.mask("CapPrm")?, 0, "CapPrm of a user");
    equal!(status.mask("CapBnd")?, DEFAULT_MASK, "CapBnd of a user");
    h.runtime.delete(&id).await?;
    Ok(())
}

pub(super) async fn privileges_may_be_gained_if_the_policy_says_so(
    h: &Harness,
) -> anyhow::Result<()> {
    let output = h.run(&STATUS, json!({ "no_new_privileges": false })).await?;
    Status::parse(&output.stdout).confined(DEFAULT_MASK, "0")
}

pub(super) async fn users_and_groups_are_the_policys(h: &Harness) -> anyhow::Result<()> {
    let user = json!({ "user": { "uid": 1234, "gid": 2345, "groups": [7, 8] } });
    let output = h.run(&STATUS, user.clone()).await?;
    let status = Status::parse(&output.stdout);
    equal!(status.get("Uid")?, "1234\t1234\t1234\t1234", "Uid");
    equal!(status.get("Gid")?, "2345\t2345\t2345\t2345", "Gid");
    equal!(status.get("Groups")?, "7 8", "Groups");
    equal!(status.mask("CapEff")?, 0, "CapEff");
    // The guest's own groups are not inherited.
    let output = h.run(&STATUS, json!({ "user": { "uid": 1234, "gid": 1 } })).await?;
    equal!(Status::parse(&output.stdout).get("Groups")?, "", "no groups");
    let id = h.sleeper(user).await?;
    let output = h.exec(&id, &["id"]).await?;
    equal!(output.line(), "uid=1234 gid=2345 groups=7,8", "id of an exec");
    // Its own streams may be opened again by name.
    let output = h.exec(&id, &["sh", "-c", "echo again > /dev/stdout"]).await?;
    equal!(output.line(), "again", "stdout by name: {}", output.stderr);
    h.runtime.delete(&id).await?;
    Ok(())
}

const UNSHARE: [&str; 4] = ["/probe", "syscall", "272", "131072"];

pub(super) async fn refused_calls_fail(h: &Harness) -> anyhow::Result<()> {
    let id = h.sleeper(json!({})).await?;
    for (what, call, expected) in [
        ("unshare", &UNSHARE[1..], "EPERM"),
        ("keyctl", &["syscall", "250", "0"], "EPERM"),
        ("io_uring_setup", &["syscall", "425", "8"], "EPERM"),
        ("bpf", &["syscall", "321", "0"], "EPERM"),
        ("clone(CLONE_NEWUSER)", &["syscall", "56", "268435456"], "EPERM"),
        ("clone3", &["syscall", "435"], "ENOSYS"),
        ("socket(AF_VSOCK)", &["syscall", "41", "40", "1"], "ENOSYS"),
        ("socket(AF_UNIX)", &["syscall", "41", "1", "1"], "ok"),
        ("personality(query)", &["syscall", "135", "4294967295"], "ok"),
        ("personality(READ_IMPLIES_EXEC)", &["syscall", "135", "4194304"], "ENOSYS"),
        ("a call of the future", &["syscall", "800"], "ENOSYS"),
        ("init_module", &["syscall", "175"], "EPERM"),
    ] {
        let call: Vec<&str> = std::iter::once("/probe").chain(call.iter().copied()).collect();
        equal!(h.exec(&id, &call).await?.line(), expected, "{what}");
    }
    h.runtime.delete(&id).await?;
    equal!(h.run(&UNSHARE, json!({})).await?.line(), "EPERM", "in the first process");
    // The capability brings its calls.
    let administrator = json!({ "capabilities": ["CAP_SYS_ADMIN"] });
    equal!(h.run(&UNSHARE, administrator).await?.line(), "ok", "with CAP_SYS_ADMIN");
    Ok(())
}

pub(super) async fn no_filter_if_the_policy_says_so(h: &Harness) -> anyhow::Result<()> {
    let id = h.sleeper(json!({ "seccomp": "unconfined" })).await?;
    for output in
        [h.exec(&id, &STATUS).await?, h.run(&STATUS, json!({ "seccomp": "unconfined" })).await?]
    {
        let status = Status::parse(&output.stdout);
        equal!(status.get("Seccomp")?, "0", "Seccomp");
        equal!(status.mask("CapEff")?, DEFAULT_MASK, "CapEff");
    }
    h.runtime.delete(&id).await?;
    Ok(())
}

pub(super) async fn namespaces_are_the_containers(h: &Harness) -> anyhow::Result<()> {
    let script = "echo $$; for n in pid mnt uts cgroup net ipc; do ls -l /proc/self/ns/$n; done; \
                  cat /proc/self/cgroup; hostname";
    let output = h.run(&["sh", "-c", script], json!({})).await?;
    let mut lines = output.stdout.lines();
    equal!(lines.next(), Some("1"), "pid");
    for (name, shared) in [
        ("pid", false),
        ("mnt", false),
        ("uts", false),
        ("cgroup", false),
        ("net", true),
        ("ipc", true),
    ] {
        let own = std::fs::read_link(format!("/proc/self/ns/{name}"))?.display().to_string();
        let line = lines.next().unwrap_or_default();
        ensure!(line.contains(&format!("{name}:[")), "{line}");
        equal!(line.ends_with(&own), shared, "namespace {name} shared with the guest: {line}");
    }
    equal!(lines.next(), Some("0::/"), "root of the cgroup namespace");
    equal!(lines.next(), Some("pod-one"), "hostname");
    Ok(())
}

pub(super) async fn limits_hold(h: &Harness) -> anyhow::Result<()> {
    let id = h.id();
    let mut create = spec(id.clone(), &["sleep", "1000"], json!({}))?;
    create.limits = Limits { memory_bytes: Some(64 << 20), cpu_millis: Some(500), pids: Some(5) };
    h.start(create).await?;
    equal!(h.exec(&id, &LIMITS).await?.stdout, "67108864\n50000 100000\n5\n", "limits inside");
    let output = h.exec(&id, &["sh", "-c", "echo 1 > /sys/fs/cgroup/pids.max"]).await?;
    ensure!(output.stderr.contains("Read-only file system"), "{}", output.stderr);
    let forks = "for i in 1 2 3 4 5 6; do sleep 1 & done; echo forked";
    let output = h.exec(&id, &["sh", "-c", forks]).await?;
    ensure!(!output.stdout.contains("forked"), "more processes than the limit");
    let stats = h.runtime.stats(&id)?;
    equal!((stats.memory_limit, stats.pids_limit), (64 << 20, 5), "limits in the figures");
    ensure!(
        stats.memory_usage > 0 && stats.cpu_usage_usec > 0 && stats.pids_current > 0,
        "{stats:?}"
    );
    h.runtime.delete(&id).await?;
    let output = h.run(&["sh", "-c", "ulimit -n; ulimit -c"], json!({})).await?;
    equal!(output.stdout, "1024\n0\n", "rlimits");
    let own = json!({ "rlimits": [{ "kind": "nofile", "soft": 64, "hard": 128 }] });
    let output = h.run(&["sh", "-c", "ulimit -n; ulimit -H -n"], own).await?;
    equal!(output.stdout, "64\n128\n", "rlimits of the policy");
    Ok(())
}

pub(super) async fn limits_change_together_or_not_at_all(h: &Harness) -> anyhow::Result<()> {
    let id = h.id();
    let mut create = spec(id.clone(), &["sleep", "1000"], json!({}))?;
    create.limits = Limits { memory_bytes: Some(64 << 20), cpu_millis: None, pids: Some(50) };
    h.start(create).await?;
    let limits = Limits { memory_bytes: Some(48 << 20), cpu_millis: Some(250), pids: None };
    h.runtime.update(&id, limits).context("update")?;
    equal!(h.exec(&id, &LIMITS).await?.stdout, "50331648\n25000 100000\n50\n", "new limits");
    // The kernel takes no such number of processes; memory was set before and is taken back.
    let limits =
        Limits { memory_bytes: Some(32 << 20), cpu_millis: Some(100), pids: Some(u64::MAX) };
    let refused = h.runtime.update(&id, limits);
    let is_undone = matches!(refused, Err(UpdateLimitsError::Cgroup(UpdateError::Refused(_))));
    ensure!(is_undone, "{refused:?}");
    equal!(h.exec(&id, &LIMITS).await?.stdout, "50331648\n25000 100000\n50\n", "as before");
    h.runtime.delete(&id).await?;
    let unknown = h.runtime.update(&id, limits);
    ensure!(matches!(unknown, Err(UpdateLimitsError::Unknown(_))), "{unknown:?}");
    Ok(())
}

pub(super) async fn an_exec_may_have_another_user(h: &Harness) -> anyhow::Result<()> {
    let id = h.sleeper(json!({ "user": { "uid": 5, "gid": 6, "groups": [7] } })).await?;
    let script = ["sh", "-c", "id -u; id -g; echo x >/dev/shm/$$ && echo written"];
    equal!(h.exec(&id, &script).await?.stdout, "5\n6\nwritten\n", "the container's user");
    let other = User { uid: 8, gid: 9, groups: vec![] };
    let output = h.exec_as(&id, &script, Some(other)).await?;
    equal!(output.stdout, "8\n9\nwritten\n", "another user: {}", output.stderr);
    h.runtime.delete(&id).await?;
    Ok(())
}

pub(super) async fn want_of_memory_is_told(h: &Harness) -> anyhow::Result<()> {
    let mut events = h.runtime.oom_events();
    let id = h.id();
    let mut create = spec(id.clone(), &["/probe", "eat", "200"], json!({}))?;
    create.limits = Limits { memory_bytes: Some(32 << 20), ..Limits::default() };
    let stdio = h.start(create).await?;
    let output = h.finish(&ProcessId::init(id.clone()), stdio).await?;
    equal!(output.code, 137, "killed");
    equal!(within(events.recv()).await??, id, "event");
    // The kernel counts the process that it chose, and again as one of the container's.
    equal!(h.runtime.stats(&id)?.memory_oom_kill, 2, "figure");
    h.runtime.delete(&id).await?;
    Ok(())
}

const LIMITS: [&str; 4] =
    ["cat", "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/pids.max"];
