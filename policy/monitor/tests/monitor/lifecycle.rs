// SPDX-License-Identifier: Apache-2.0
//! The life of containers and processes: order, counts, ids, signals, failures.

use casemate_policy::Policy;
use casemate_policy_monitor::Monitor;
use casemate_policy_monitor::NetworkRequest;
use casemate_policy_monitor::ProcessRef;
use casemate_policy_monitor::ReferenceMonitor;
use casemate_policy_monitor::Rule;

use crate::support::denied;
use crate::support::fresh;
use crate::support::init;
use crate::support::probe;
use crate::support::ready;
use crate::support::run;
use crate::support::running;
use crate::support::shell;
use crate::support::web;

fn delete(monitor: &mut Monitor, process: &ProcessRef) {
    let pending = monitor.delete(process).unwrap();
    monitor.commit(pending);
}

#[test]
fn a_container_lives_and_dies() {
    let mut monitor = running();
    let process = ProcessRef::init("web-1");
    assert_eq!(monitor.container("web-1").unwrap().argv[0], "/bin/web");
    monitor.signal(&process, 15, true).unwrap();
    monitor.exited(&process, 143);
    monitor.observe(&process).unwrap();
    delete(&mut monitor, &process);
    assert!(monitor.container("web-1").is_none());
    run(&mut monitor, &web("web-2"));
}

// A21: ids never reused
#[test]
fn an_id_is_used_once() {
    let mut monitor = running();
    denied(&mut monitor, Rule::Id, "id", |m| m.create(&web("web-1")));
    let process = ProcessRef::init("web-1");
    monitor.exited(&process, 0);
    denied(&mut monitor, Rule::Id, "id", |m| m.create(&web("web-1")));
    delete(&mut monitor, &process);
    denied(&mut monitor, Rule::Id, "id", |m| m.create(&web("web-1")));
}

// A21: same policy container started twice
#[test]
fn one_of_a_name_is_alive() {
    let mut monitor = running();
    denied(&mut monitor, Rule::Count, "name", |m| m.create(&web("web-2")));
    monitor.exited(&ProcessRef::init("web-1"), 1);
    assert!(monitor.create(&web("web-2")).is_ok());
}

// A21: not more often than the policy says
#[test]
fn starts_are_counted() {
    let mut monitor = fresh();
    for n in 1..=2 {
        run(&mut monitor, &init(&format!("init-{n}")));
        monitor.exited(&ProcessRef::init(&format!("init-{n}")), 1);
    }
    denied(&mut monitor, Rule::Count, "name", |m| m.create(&init("init-3")));
}

// A20: a signal can make a script skip its work and end well all the same
#[test]
fn a_container_that_got_a_signal_never_counts_as_completed() {
    let mut monitor = fresh();
    run(&mut monitor, &init("init-1"));
    let process = ProcessRef::init("init-1");
    monitor.signal(&process, 9, true).unwrap();
    monitor.exited(&process, 0);
    denied(&mut monitor, Rule::Order, "name", |m| m.create(&web("web-1")));
}

// A19: required init container left out; A20: its failure, its exit before the start, and a second run
#[test]
fn containers_come_in_order() {
    let mut monitor = fresh();
    denied(&mut monitor, Rule::Order, "name", |m| m.create(&web("web-1")));
    run(&mut monitor, &init("init-1"));
    denied(&mut monitor, Rule::Order, "name", |m| m.create(&web("web-1")));
    monitor.exited(&ProcessRef::init("init-1"), 1);
    denied(&mut monitor, Rule::Order, "name", |m| m.create(&web("web-1")));
    run(&mut monitor, &init("init-2"));
    monitor.exited(&ProcessRef::init("init-2"), 0);
    denied(&mut monitor, Rule::Order, "name", |m| m.create(&init("init-3")));
    run(&mut monitor, &web("web-1"));
}

#[test]
fn an_exit_before_the_start_completes_nothing() {
    let mut monitor = fresh();
    let (_, pending) = monitor.create(&init("init-1")).unwrap();
    monitor.commit(pending);
    monitor.exited(&ProcessRef::init("init-1"), 0);
    denied(&mut monitor, Rule::Order, "name", |m| m.create(&web("web-1")));
    denied(&mut monitor, Rule::Id, "container_id", |m| m.start(&ProcessRef::init("init-1")));
}

#[test]
fn start_is_for_created_processes() {
    let mut monitor = ready();
    let process = ProcessRef::init("web-1");
    denied(&mut monitor, Rule::Id, "container_id", |m| m.start(&process));
    let (_, creating) = monitor.create(&web("web-1")).unwrap();
    denied(&mut monitor, Rule::Id, "container_id", |m| m.start(&process));
    monitor.commit(creating);
    let starting = monitor.start(&process).unwrap();
    denied(&mut monitor, Rule::Id, "container_id", |m| m.start(&process));
    monitor.commit(starting);
    denied(&mut monitor, Rule::Id, "container_id", |m| m.start(&process));
}

#[test]
fn an_exit_may_overtake_the_answer_to_start() {
    let mut monitor = ready();
    let (_, pending) = monitor.create(&web("web-1")).unwrap();
    monitor.commit(pending);
    let process = ProcessRef::init("web-1");
    let starting = monitor.start(&process).unwrap();
    monitor.exited(&process, 0);
    monitor.commit(starting);
    denied(&mut monitor, Rule::Id, "container_id", |m| m.signal(&process, 15, false));
    delete(&mut monitor, &process);
}

// A4: exec not in policy
#[test]
fn exec_is_for_listed_commands() {
    let mut monitor = running();
    let (grant, pending) = monitor.exec(&probe("e1")).unwrap();
    monitor.commit(pending);
    assert_eq!(grant.env[0], "PATH=/bin");
    assert!(grant.stdio.stdout && !grant.stdio.stdin && !grant.stdio.terminal);
    let (grant, pending) = monitor.exec(&shell("e2")).unwrap();
    monitor.commit(pending);
    assert_eq!(grant.env.last().unwrap(), "TERM=xterm");
    assert!(grant.stdio.stdin && grant.stdio.terminal);

    for argv in [
        &["sh"][..],
        &["/bin/sh", "-c", "id"],
        &["/bin/probe"],
        &["/bin/probe", "-x", ""],
        &["/bin/probe -x"],
        &[],
    ] {
        let mut request = probe("e3");
        request.argv = argv.iter().map(|&arg| arg.to_owned()).collect();
        denied(&mut monitor, Rule::Exec, "argv", |m| m.exec(&request));
    }
}

#[test]
fn exec_has_the_containers_environment_and_directory() {
    let mut monitor = running();
    let mut request = probe("e1");
    request.env.push("LD_PRELOAD=/x".into());
    denied(&mut monitor, Rule::Env, "env[4]", |m| m.exec(&request));
    // A hole has the value that the container was created with.
    let mut request = probe("e1");
    request.env[1] = "HOSTNAME=other".into();
    denied(&mut monitor, Rule::Env, "env[1]", |m| m.exec(&request));
    let mut request = probe("e1");
    request.env.pop();
    denied(&mut monitor, Rule::Env, "env", |m| m.exec(&request));
    // TERM comes with a terminal only, and with one value only.
    let mut request = probe("e1");
    request.env.push("TERM=xterm".into());
    denied(&mut monitor, Rule::Env, "env[4]", |m| m.exec(&request));
    let mut request = shell("e1");
    request.env[4] = "TERM=evil".into();
    denied(&mut monitor, Rule::Env, "env[4]", |m| m.exec(&request));
    let mut request = probe("e1");
    request.cwd = "/".into();
    denied(&mut monitor, Rule::Cwd, "cwd", |m| m.exec(&request));
}

#[test]
fn exec_streams_are_granted_per_command() {
    let mut monitor = running();
    let mut request = probe("e1");
    request.stdin = true;
    denied(&mut monitor, Rule::Stdio, "stdin", |m| m.exec(&request));
    let mut request = probe("e1");
    request.terminal = true;
    denied(&mut monitor, Rule::Stdio, "terminal", |m| m.exec(&request));
    // Less than granted is fine.
    let mut request = probe("e1");
    request.argv = vec!["/bin/sh".into()];
    assert!(monitor.exec(&request).is_ok());
}

// A5: exec into unknown or terminated container
#[test]
fn exec_needs_a_running_container() {
    let mut monitor = ready();
    denied(&mut monitor, Rule::Id, "container_id", |m| m.exec(&probe("e1")));
    let (_, pending) = monitor.create(&web("web-1")).unwrap();
    monitor.commit(pending);
    denied(&mut monitor, Rule::Id, "container_id", |m| m.exec(&probe("e1")));
    let pending = monitor.start(&ProcessRef::init("web-1")).unwrap();
    monitor.commit(pending);
    monitor.exited(&ProcessRef::init("web-1"), 0);
    denied(&mut monitor, Rule::Id, "container_id", |m| m.exec(&probe("e1")));
}

#[test]
fn exec_ids_and_numbers_are_limited() {
    let mut monitor = running();
    denied(&mut monitor, Rule::Invalid, "exec_id", |m| m.exec(&probe("../x")));
    for n in 0..128 {
        let (_, pending) = monitor.exec(&probe(&format!("e{n}"))).unwrap();
        monitor.commit(pending);
    }
    denied(&mut monitor, Rule::Id, "exec_id", |m| m.exec(&probe("e0")));
    denied(&mut monitor, Rule::Count, "exec_id", |m| m.exec(&probe("more")));
    // Probes go on for ever: a deleted one makes room.
    delete(&mut monitor, &ProcessRef::exec("web-1", "e0"));
    assert!(monitor.exec(&probe("more")).is_ok());
}

// A21: the id of a deleted command in another's place
#[test]
fn an_exec_id_is_used_once() {
    let mut monitor = running();
    let once = |monitor: &mut Monitor, id: &str| {
        let (_, pending) = monitor.exec(&probe(id)).unwrap();
        monitor.commit(pending);
        delete(monitor, &ProcessRef::exec("web-1", id));
    };
    once(&mut monitor, "first");
    denied(&mut monitor, Rule::Id, "exec_id", |m| m.exec(&probe("first")));
    // One that failed was no command.
    let (_, pending) = monitor.exec(&probe("failed")).unwrap();
    monitor.rollback(pending);
    once(&mut monitor, "failed");
    // Probes go on for ever: at least the last 4096 are known.
    for n in 0..4096 {
        assert!(monitor.exec(&probe("first")).is_err(), "after {n} others");
        once(&mut monitor, &format!("e{n}"));
    }
    for n in [0, 1, 2048, 4095] {
        denied(&mut monitor, Rule::Id, "exec_id", |m| m.exec(&probe(&format!("e{n}"))));
    }
    once(&mut monitor, "new");
}

// A17: signal not granted
#[test]
fn signals_are_granted_by_number() {
    let mut monitor = running();
    let process = ProcessRef::init("web-1");
    for signal in [0, 1, 19, 64, 65, u32::MAX] {
        denied(&mut monitor, Rule::Signal, "signal", |m| m.signal(&process, signal, false));
    }
    for unknown in [ProcessRef::init(""), ProcessRef::init("1"), ProcessRef::init("init")] {
        denied(&mut monitor, Rule::Id, "container_id", |m| m.signal(&unknown, 9, false));
    }
    let unknown = ProcessRef::exec("web-1", "e1");
    denied(&mut monitor, Rule::Id, "exec_id", |m| m.signal(&unknown, 9, false));
    let (_, pending) = monitor.exec(&probe("e1")).unwrap();
    monitor.commit(pending);
    denied(&mut monitor, Rule::Invalid, "all", |m| m.signal(&unknown, 9, true));
    monitor.signal(&unknown, 9, false).unwrap();
}

#[test]
fn only_terminals_are_resized() {
    let mut monitor = running();
    let (_, pending) = monitor.exec(&shell("e1")).unwrap();
    monitor.commit(pending);
    monitor.resize(&ProcessRef::exec("web-1", "e1")).unwrap();
    let process = ProcessRef::init("web-1");
    denied(&mut monitor, Rule::Stdio, "container_id", |m| m.resize(&process));
}

// A22: removal while running, wrong or empty id
#[test]
fn delete_is_for_the_dead() {
    let mut monitor = running();
    let process = ProcessRef::init("web-1");
    denied(&mut monitor, Rule::Id, "container_id", |m| m.delete(&process));
    denied(&mut monitor, Rule::Id, "container_id", |m| m.delete(&ProcessRef::init("")));
    monitor.exited(&process, 0);
    let pending = monitor.delete(&process).unwrap();
    denied(&mut monitor, Rule::Id, "container_id", |m| m.delete(&process));
    monitor.rollback(pending);
    delete(&mut monitor, &process);
    denied(&mut monitor, Rule::Id, "container_id", |m| m.delete(&process));
}

#[test]
fn a_failed_action_leaves_no_trace() {
    let mut monitor = ready();
    let before = monitor.clone();
    let (_, pending) = monitor.create(&web("web-1")).unwrap();
    assert_ne!(monitor, before);
    monitor.rollback(pending);
    assert_eq!(monitor, before);

    let (_, pending) = monitor.create(&web("web-1")).unwrap();
    monitor.commit(pending);
    let before = monitor.clone();
    let pending = monitor.start(&ProcessRef::init("web-1")).unwrap();
    monitor.rollback(pending);
    assert_eq!(monitor, before);

    let pending = monitor.start(&ProcessRef::init("web-1")).unwrap();
    monitor.commit(pending);
    let before = monitor.clone();
    let (_, pending) = monitor.exec(&probe("e1")).unwrap();
    monitor.rollback(pending);
    assert_eq!(monitor, before);
}

#[test]
fn a_lost_change_fails_closed() {
    let mut monitor = ready();
    drop(monitor.create(&web("web-1")).unwrap());
    denied(&mut monitor, Rule::Id, "id", |m| m.create(&web("web-1")));
    denied(&mut monitor, Rule::Count, "name", |m| m.create(&web("web-2")));
}

#[test]
fn poison_stops_every_change() {
    let mut monitor = running();
    monitor.poison();
    assert!(monitor.is_poisoned());
    let process = ProcessRef::init("web-1");
    let field = "request";
    denied(&mut monitor, Rule::Poisoned, field, |m| m.create(&web("web-2")));
    denied(&mut monitor, Rule::Poisoned, field, |m| m.exec(&probe("e1")));
    denied(&mut monitor, Rule::Poisoned, field, |m| m.start(&process));
    denied(&mut monitor, Rule::Poisoned, field, |m| m.signal(&process, 9, false));
    denied(&mut monitor, Rule::Poisoned, field, |m| m.delete(&process));
    let network = NetworkRequest { hostname: "pod-0".into(), ..NetworkRequest::default() };
    denied(&mut monitor, Rule::Poisoned, field, |m| m.network(&network));
    monitor.observe(&process).unwrap();
}

#[test]
fn the_network_is_set_once() {
    let mut monitor = fresh();
    let request = NetworkRequest { hostname: "pod-0".into(), ..NetworkRequest::default() };
    let pending = monitor.network(&request).unwrap();
    denied(&mut monitor, Rule::Phase, "network", |m| m.network(&request));
    monitor.rollback(pending);
    let pending = monitor.network(&request).unwrap();
    monitor.commit(pending);
    denied(&mut monitor, Rule::Phase, "network", |m| m.network(&request));
}

// B14: newline, localhost override, long label
#[test]
fn the_hostname_fits() {
    for hostname in
        ["pod-1", "a\nb", "a\n127.0.0.1 evil", "localhost", "localhost.x", "", "a b", "-a"]
    {
        let request = NetworkRequest { hostname: hostname.into(), ..NetworkRequest::default() };
        denied(&mut fresh(), Rule::Network, "hostname", |m| m.network(&request));
    }
    let mut open = Monitor::new(Policy::parse(b"version = 1\ncontainers = {}").unwrap()).unwrap();
    let request = NetworkRequest { hostname: "a".repeat(300), ..NetworkRequest::default() };
    denied(&mut open, Rule::Network, "hostname", |m| m.network(&request));
    let request =
        NetworkRequest { hostname: "web-7d4b.team.svc".into(), ..NetworkRequest::default() };
    assert!(open.network(&request).is_ok());
}

#[test]
fn a_hand_made_policy_is_checked() {
    let mut policy = fresh().policy().clone();
    policy.containers.get_mut("web").unwrap().argv.clear();
    assert!(Monitor::new(policy).is_err());
}

#[test]
fn every_rule_has_a_code_of_the_agent_api() {
    for rule in Rule::ALL {
        assert!(rule.code().parse::<casemate_agent_api::Code>().is_ok(), "{rule:?}");
    }
}
