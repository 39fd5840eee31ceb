// SPDX-License-Identifier: Apache-2.0
//! Roles, restart rules, and what the exec list gives a command.

use casemate_policy::User;
use casemate_policy_monitor::ExecRequest;
use casemate_policy_monitor::ProcessRef;
use casemate_policy_monitor::ReferenceMonitor;
use casemate_policy_monitor::Rule;

use crate::pod::conf;
use crate::pod::create;
use crate::pod::exec;
use crate::pod::fresh;
use crate::pod::info;
use crate::pod::put;
use crate::pod::ready;
use crate::pod::running;
use crate::support::denied;
use crate::support::run;

// A19: an app without its sidecar
#[test]
fn sidecars_run_before_what_needs_them() {
    let mut monitor = fresh();
    put(&mut monitor, &conf());
    put(&mut monitor, &info(1));
    denied(&mut monitor, Rule::Order, "name", |m| m.create(&create("web", "web-1")));
    run(&mut monitor, &create("init", "init-1"));
    monitor.exited(&ProcessRef::init("init-1"), 0);
    denied(&mut monitor, Rule::Order, "name", |m| m.create(&create("web", "web-1")));
    // Created is not running.
    let (_, pending) = monitor.create(&create("proxy", "proxy-1")).unwrap();
    denied(&mut monitor, Rule::Order, "name", |m| m.create(&create("web", "web-1")));
    monitor.commit(pending);
    denied(&mut monitor, Rule::Order, "name", |m| m.create(&create("web", "web-1")));
    let pending = monitor.start(&ProcessRef::init("proxy-1")).unwrap();
    denied(&mut monitor, Rule::Order, "name", |m| m.create(&create("web", "web-1")));
    monitor.commit(pending);
    run(&mut monitor, &create("web", "web-1"));
    // Whoever runs keeps running; a new one waits until the sidecar is there again.
    monitor.exited(&ProcessRef::init("web-1"), 1);
    monitor.exited(&ProcessRef::init("proxy-1"), 1);
    denied(&mut monitor, Rule::Order, "name", |m| m.create(&create("web", "web-2")));
    run(&mut monitor, &create("proxy", "proxy-2"));
    run(&mut monitor, &create("web", "web-2"));
}

// A19: the sidecar ends between the creation of the app and its start
#[test]
fn sidecars_run_at_the_start_too() {
    let mut monitor = ready();
    let web = ProcessRef::init("web-1");
    let (_, pending) = monitor.create(&create("web", "web-1")).unwrap();
    monitor.commit(pending);
    monitor.exited(&ProcessRef::init("proxy-1"), 1);
    denied(&mut monitor, Rule::Order, "name", |m| m.start(&web));
    // Commands in containers that run go on.
    run(&mut monitor, &create("proxy", "proxy-2"));
    let pending = monitor.start(&web).unwrap();
    monitor.commit(pending);
    monitor.exited(&ProcessRef::init("proxy-2"), 1);
    let (_, pending) =
        monitor.exec(&ExecRequest { stdin: true, ..exec("e-1", "/bin/cat") }).unwrap();
    monitor.commit(pending);
    let pending = monitor.start(&ProcessRef { exec_id: Some("e-1".to_owned()), ..web }).unwrap();
    monitor.commit(pending);
}

// A19: a debugging container is one of the policy's, or none
#[test]
fn ephemeral_containers_are_declared() {
    let mut monitor = ready();
    denied(&mut monitor, Rule::Container, "name", |m| m.create(&create("debugger", "d-1")));
    run(&mut monitor, &create("debug", "d-1"));
    monitor.exited(&ProcessRef::init("d-1"), 0);
    denied(&mut monitor, Rule::Count, "name", |m| m.create(&create("debug", "d-2")));
}

#[test]
fn never_means_one_start() {
    for code in [0, 1] {
        let mut monitor = fresh();
        run(&mut monitor, &create("once", "once-1"));
        monitor.exited(&ProcessRef::init("once-1"), code);
        denied(&mut monitor, Rule::Count, "name", |m| m.create(&create("once", "once-2")));
        let pending = monitor.delete(&ProcessRef::init("once-1")).unwrap();
        monitor.commit(pending);
        denied(&mut monitor, Rule::Count, "name", |m| m.create(&create("once", "once-2")));
    }
}

#[test]
fn on_failure_ends_with_the_first_success() {
    let mut monitor = fresh();
    for n in 1..20 {
        run(&mut monitor, &create("job", &format!("job-{n}")));
        monitor.exited(&ProcessRef::init(&format!("job-{n}")), 1);
    }
    run(&mut monitor, &create("job", "job-20"));
    // Also a success that the host may have brought about.
    monitor.signal(&ProcessRef::init("job-20"), 15, false).unwrap();
    monitor.exited(&ProcessRef::init("job-20"), 0);
    denied(&mut monitor, Rule::Count, "name", |m| m.create(&create("job", "job-21")));
}

#[test]
fn always_goes_on_up_to_the_cap() {
    let mut monitor = ready();
    for n in 1..=3 {
        run(&mut monitor, &create("web", &format!("web-{n}")));
        monitor.exited(&ProcessRef::init(&format!("web-{n}")), 0);
    }
    denied(&mut monitor, Rule::Count, "name", |m| m.create(&create("web", "web-4")));
    for n in 2..200 {
        monitor.exited(&ProcessRef::init(&format!("proxy-{}", n - 1)), 0);
        run(&mut monitor, &create("proxy", &format!("proxy-{n}")));
    }
}

/// A container that could not be started has done nothing, so it is no start.
#[test]
fn what_never_ran_is_no_start() {
    let mut monitor = fresh();
    let process = ProcessRef::init("once-1");
    let (_, pending) = monitor.create(&create("once", "once-1")).unwrap();
    monitor.commit(pending);
    let pending = monitor.start(&process).unwrap();
    monitor.rollback(pending);
    let pending = monitor.delete(&process).unwrap();
    // The deletion may fail yet.
    denied(&mut monitor, Rule::Count, "name", |m| m.create(&create("once", "once-2")));
    monitor.rollback(pending);
    denied(&mut monitor, Rule::Count, "name", |m| m.create(&create("once", "once-2")));
    let pending = monitor.delete(&process).unwrap();
    monitor.commit(pending);
    // A21: the id is spent all the same.
    denied(&mut monitor, Rule::Id, "id", |m| m.create(&create("once", "once-1")));
    run(&mut monitor, &create("once", "once-2"));
    denied(&mut monitor, Rule::Id, "container_id", |m| m.start(&process));
}

#[test]
fn what_was_killed_before_its_start_is_no_start() {
    let mut monitor = fresh();
    let process = ProcessRef::init("once-1");
    let (_, pending) = monitor.create(&create("once", "once-1")).unwrap();
    monitor.commit(pending);
    monitor.signal(&process, 9, true).unwrap();
    monitor.exited(&process, 0);
    let pending = monitor.delete(&process).unwrap();
    monitor.commit(pending);
    run(&mut monitor, &create("once", "once-2"));
}

/// An end that is heard of during a deletion counts as an end, whatever becomes of the deletion.
#[test]
fn an_end_during_a_deletion_is_an_end() {
    let mut monitor = fresh();
    let process = ProcessRef::init("once-1");
    let (_, pending) = monitor.create(&create("once", "once-1")).unwrap();
    monitor.commit(pending);
    let pending = monitor.delete(&process).unwrap();
    monitor.exited(&process, 137);
    monitor.rollback(pending);
    denied(&mut monitor, Rule::Id, "container_id", |m| m.start(&process));
    denied(&mut monitor, Rule::Id, "container_id", |m| m.signal(&process, 9, false));
}

#[test]
fn a_command_has_the_user_and_variables_of_the_list() {
    let mut monitor = running();
    let mut request = exec("e1", "/bin/top");
    request.terminal = true;
    let (grant, pending) = monitor.exec(&request).unwrap();
    monitor.rollback(pending);
    assert_eq!(grant.user, User { uid: 7, gid: 8, groups: vec![9] });
    assert_eq!(grant.env, ["TERM=dumb", "A=2", "B=3"]);
    // A host that knows the list's variables may send them, and TERM on a terminal.
    request.env = vec!["A=2".into(), "B=3".into(), "TERM=xterm".into()];
    let (grant, pending) = monitor.exec(&request).unwrap();
    monitor.rollback(pending);
    assert_eq!(grant.env, ["A=2", "B=3", "TERM=xterm"]);

    let (grant, pending) = monitor.exec(&exec("e1", "/bin/cat")).unwrap();
    monitor.rollback(pending);
    assert_eq!(grant.user, User { uid: 1000, gid: 1000, groups: Vec::new() });
    assert_eq!(grant.env, ["A=1", "TERM=dumb"]);
    // Another command's variables are not this one's.
    for entry in ["A=2", "B=3", "A=3"] {
        let mut request = exec("e1", "/bin/cat");
        request.env[0] = entry.into();
        denied(&mut monitor, Rule::Env, "env[0]", |m| m.exec(&request));
    }
    let mut request = exec("e1", "/bin/cat");
    request.env.push("A=1".into());
    denied(&mut monitor, Rule::Env, "env[2]", |m| m.exec(&request));
}

// A20: a shell in an init container can make it skip its work and end well all the same
#[test]
fn a_container_with_the_hosts_stdin_in_it_never_counts_as_completed() {
    for (stdin, counts) in [(false, true), (true, false)] {
        let mut policy = fresh().policy().clone();
        let shell = policy.containers["web"].exec[1].clone();
        policy.containers.get_mut("init").unwrap().exec.push(shell);
        let mut monitor = casemate_policy_monitor::Monitor::new(policy).unwrap();
        run(&mut monitor, &create("init", "init-1"));
        let mut request = exec("e1", "/bin/cat");
        request.container_id = "init-1".into();
        request.env.clear();
        request.stdin = stdin;
        let before = monitor.clone();
        let (_, pending) = monitor.exec(&request).unwrap();
        monitor.rollback(pending);
        assert_eq!(monitor, before);
        let (_, pending) = monitor.exec(&request).unwrap();
        monitor.commit(pending);
        monitor.exited(&ProcessRef::init("init-1"), 0);
        assert_eq!(monitor.create(&create("proxy", "proxy-1")).is_ok(), counts);
    }
}

// A16: stdin is closed by whoever holds it
#[test]
fn stdin_is_closed_by_its_holder() {
    let mut monitor = running();
    monitor.close_stdin(&ProcessRef::init("web-1")).unwrap();
    let mut request = exec("e1", "/bin/cat");
    request.stdin = true;
    let (_, pending) = monitor.exec(&request).unwrap();
    monitor.commit(pending);
    monitor.close_stdin(&ProcessRef::exec("web-1", "e1")).unwrap();
    let (_, pending) = monitor.exec(&exec("e2", "/bin/cat")).unwrap();
    monitor.commit(pending);
    let process = ProcessRef::exec("web-1", "e2");
    denied(&mut monitor, Rule::Stdio, "exec_id", |m| m.close_stdin(&process));
    let process = ProcessRef::exec("web-1", "e3");
    denied(&mut monitor, Rule::Id, "exec_id", |m| m.close_stdin(&process));
}

#[test]
fn mounts_are_of_the_volumes_kind() {
    use casemate_policy_monitor::MountWish;
    for (index, kind) in [(0, MountWish::Content), (1, MountWish::EmptyDir), (2, MountWish::Shm)] {
        let mut request = create("web", "web-1");
        request.mounts[index].kind = Some(kind);
        let field = format!("mounts[{index}]");
        denied(&mut ready(), Rule::Mount, &field, |m| m.create(&request));
        let mut request = create("web", "web-1");
        request.mounts[index].readonly ^= true;
        denied(&mut ready(), Rule::Mount, &field, |m| m.create(&request));
        let mut request = create("web", "web-1");
        request.mounts.remove(index);
        let field = format!("containers.web.mounts[{index}]");
        denied(&mut ready(), Rule::Mount, &field, |m| m.create(&request));
    }
}
