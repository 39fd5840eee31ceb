// SPDX-License-Identifier: Apache-2.0
//! Changed limits, and what of a container leaves the guest.

use casemate_policy_monitor::ContainerLimits;
use casemate_policy_monitor::ProcessRef;
use casemate_policy_monitor::ReferenceMonitor;
use casemate_policy_monitor::Rule;
use casemate_policy_monitor::UpdateRequest;

use crate::pod::create;
use crate::pod::fresh;
use crate::pod::running;
use crate::support::denied;
use crate::support::run;

const MIB: u64 = 1 << 20;

fn memory(bytes: u64) -> UpdateRequest {
    UpdateRequest { memory_limit: Some(bytes), ..web() }
}

fn web() -> UpdateRequest {
    UpdateRequest { container_id: "web-1".into(), ..UpdateRequest::default() }
}

#[test]
fn limits_move_within_the_range() {
    let mut monitor = running();
    let request = UpdateRequest { memory_limit: Some(8 * MIB), cpu_millis: Some(200), ..web() };
    let (limits, pending) = monitor.update(&request).unwrap();
    let expected = ContainerLimits { memory: Some(8 * MIB), cpu_millis: Some(200), pids: Some(10) };
    assert_eq!(limits, expected);
    monitor.commit(pending);
    // The others stay as they are now, not as they were at first.
    let (limits, pending) = monitor.update(&memory(32 * MIB)).unwrap();
    assert_eq!(limits, ContainerLimits { memory: Some(32 * MIB), ..expected });
    monitor.rollback(pending);
    let (limits, pending) = monitor.update(&web()).unwrap();
    assert_eq!(limits, expected);
    monitor.commit(pending);
}

// A18: limits to 0, over the range, without a range
#[test]
fn limits_outside_the_range_are_denied() {
    let mut monitor = running();
    for bytes in [0, 8 * MIB - 1, 32 * MIB + 1, u64::MAX] {
        let field = "memory_limit";
        denied(&mut monitor, Rule::Resources, field, |m| m.update(&memory(bytes)));
    }
    for cpu in [0, 99, 201, u64::MAX] {
        let request = UpdateRequest { cpu_millis: Some(cpu), ..web() };
        denied(&mut monitor, Rule::Resources, "cpu_millis", |m| m.update(&request));
    }
    for pids in [0, 9, 11] {
        let request = UpdateRequest { pids: Some(pids), ..web() };
        denied(&mut monitor, Rule::Resources, "pids", |m| m.update(&request));
    }
    // A figure outside the range spoils the others.
    let request = UpdateRequest { cpu_millis: Some(1), ..memory(16 * MIB) };
    denied(&mut monitor, Rule::Resources, "cpu_millis", |m| m.update(&request));
    // No range, no update.
    run(&mut monitor, &create("job", "job-1"));
    let request = UpdateRequest { container_id: "job-1".into(), ..memory(16 * MIB) };
    denied(&mut monitor, Rule::Resources, "memory_limit", |m| m.update(&request));
}

#[test]
fn figures_that_stay_are_no_change() {
    let mut monitor = running();
    let same = UpdateRequest { pids: Some(10), ..memory(16 * MIB) };
    let before = monitor.clone();
    let (_, pending) = monitor.update(&same).unwrap();
    monitor.commit(pending);
    assert_eq!(monitor, before);
}

#[test]
fn updates_need_a_container_and_come_one_by_one() {
    let mut monitor = running();
    let other = UpdateRequest { container_id: "web-2".into(), ..memory(16 * MIB) };
    denied(&mut monitor, Rule::Id, "container_id", |m| m.update(&other));
    let before = monitor.clone();
    let (_, pending) = monitor.update(&memory(8 * MIB)).unwrap();
    denied(&mut monitor, Rule::Phase, "container_id", |m| m.update(&memory(8 * MIB)));
    monitor.rollback(pending);
    assert_eq!(monitor, before);
    monitor.exited(&ProcessRef::init("web-1"), 0);
    denied(&mut monitor, Rule::Id, "container_id", |m| m.update(&memory(8 * MIB)));
}

// A20: a limit that is taken away can make a script skip its work and end well all the same
#[test]
fn a_container_whose_limits_changed_never_counts_as_completed() {
    let mut policy = fresh().policy().clone();
    let init = policy.containers.get_mut("init").unwrap();
    init.resources.memory.min = Some(2 * MIB);
    init.resources.memory.max = Some(4 * MIB);
    let mut monitor = casemate_policy_monitor::Monitor::new(policy).unwrap();
    run(&mut monitor, &create("init", "init-1"));
    let request = UpdateRequest { container_id: "init-1".into(), ..memory(2 * MIB) };
    let (_, pending) = monitor.update(&request).unwrap();
    monitor.commit(pending);
    monitor.exited(&ProcessRef::init("init-1"), 0);
    denied(&mut monitor, Rule::Order, "name", |m| m.create(&create("proxy", "proxy-1")));
}

// A27: figures and messages that are not granted stay
#[test]
fn figures_and_messages_are_granted_by_container() {
    let mut monitor = running();
    monitor.stats("web-1").unwrap();
    monitor.pids("web-1").unwrap();
    run(&mut monitor, &create("job", "job-1"));
    denied(&mut monitor, Rule::Metrics, "container_id", |m| m.stats("job-1"));
    denied(&mut monitor, Rule::Metrics, "container_id", |m| m.pids("job-1"));
    denied(&mut monitor, Rule::Id, "container_id", |m| m.stats("other"));
    denied(&mut monitor, Rule::Id, "container_id", |m| m.pids(""));

    let field = "container_id";
    denied(&mut monitor, Rule::Id, field, |m| m.termination_message("other"));
    denied(&mut monitor, Rule::Id, field, |m| m.termination_message("web-1"));
    for id in ["web-1", "job-1"] {
        monitor.exited(&ProcessRef::init(id), 1);
    }
    monitor.termination_message("web-1").unwrap();
    denied(&mut monitor, Rule::Message, field, |m| m.termination_message("job-1"));
}
