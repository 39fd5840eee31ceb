// SPDX-License-Identifier: Apache-2.0

use proptest::prelude::*;

use super::*;

const AT: Timestamp = Timestamp { seconds: 1_800_000_000, nanos: 5 };
const PID: u32 = 4711;

fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

fn init(text: &str) -> Process {
    Process::init(id(text))
}

fn exec(task: &str, exec: &str) -> Process {
    Process { task: id(task), exec: Some(id(exec)) }
}

fn exit(status: u32) -> Exit {
    Exit { status, at: AT }
}

/// A sandbox that runs, as containerd and the guest bring it there.
fn running() -> Sandbox {
    let mut sandbox = Sandbox::new(id("pod"));
    sandbox.step(Input::CreateSandbox).unwrap();
    sandbox.step(Input::VmStarted { pid: PID }).unwrap();
    sandbox.step(Input::GuestReady).unwrap();
    sandbox.step(Input::Start(init("pod"))).unwrap();
    sandbox
}

/// A running sandbox with a running container of this id.
fn with_container(name: &str) -> Sandbox {
    let mut sandbox = running();
    run(&mut sandbox, init(name));
    sandbox
}

fn run(sandbox: &mut Sandbox, process: Process) {
    let input = match process.exec.clone() {
        None => Input::CreateContainer(process.task.clone()),
        Some(exec) => Input::Exec { task: process.task.clone(), exec },
    };
    assert_eq!(sandbox.step(input).unwrap(), [Action::GuestCreate(process.clone())]);
    sandbox.step(Input::Created(process.clone())).unwrap();
    let start = sandbox.step(Input::Start(process.clone())).unwrap();
    assert_eq!(start, [Action::GuestStart(process.clone())]);
    sandbox.step(Input::Started(process)).unwrap();
}

fn exit_event(process: Process, exit: Exit) -> Action {
    Action::Publish(Event::Exit { process, pid: PID, exit })
}

#[test]
fn a_pod_lives_and_ends_with_every_event_once() {
    let mut sandbox = Sandbox::new(id("pod"));
    let (pod, web, probe) = (init("pod"), init("web"), exec("web", "probe"));
    let script: Vec<(Input, Vec<Action>)> = vec![
        (Input::CreateSandbox, vec![Action::BootVm]),
        (
            Input::VmStarted { pid: PID },
            vec![Action::Publish(Event::Create { id: id("pod"), pid: PID })],
        ),
        (Input::GuestReady, vec![]),
        (
            Input::Start(pod.clone()),
            vec![Action::Publish(Event::Start { id: id("pod"), pid: PID })],
        ),
        (Input::CreateContainer(id("web")), vec![Action::GuestCreate(web.clone())]),
        (
            Input::Created(web.clone()),
            vec![Action::Publish(Event::Create { id: id("web"), pid: PID })],
        ),
        (Input::Start(web.clone()), vec![Action::GuestStart(web.clone())]),
        (
            Input::Started(web.clone()),
            vec![Action::Publish(Event::Start { id: id("web"), pid: PID })],
        ),
        (
            Input::Exec { task: id("web"), exec: id("probe") },
            vec![Action::GuestCreate(probe.clone())],
        ),
        (
            Input::Created(probe.clone()),
            vec![Action::Publish(Event::ExecAdded { id: id("web"), exec: id("probe") })],
        ),
        (Input::Start(probe.clone()), vec![Action::GuestStart(probe.clone())]),
        (
            Input::Started(probe.clone()),
            vec![Action::Publish(Event::ExecStarted {
                id: id("web"),
                exec: id("probe"),
                pid: PID,
            })],
        ),
        (
            Input::Exited { process: probe.clone(), exit: exit(1) },
            vec![exit_event(probe.clone(), exit(1)), Action::WakeWaiters(probe.clone())],
        ),
        (
            Input::Delete { process: probe.clone(), at: AT },
            vec![Action::GuestDelete(probe.clone())],
        ),
        (Input::Deleted(probe), vec![]),
        (Input::OutOfMemory(id("web")), vec![Action::Publish(Event::Oom { id: id("web") })]),
        (
            Input::Signal { process: web.clone(), signal: 15, all: false },
            vec![Action::GuestSignal { process: web.clone(), signal: 15, all: false }],
        ),
        (
            Input::Exited { process: web.clone(), exit: exit(143) },
            vec![exit_event(web.clone(), exit(143)), Action::WakeWaiters(web.clone())],
        ),
        (Input::Delete { process: web.clone(), at: AT }, vec![Action::GuestDelete(web.clone())]),
        (
            Input::Deleted(web),
            vec![Action::Publish(Event::Delete { id: id("web"), pid: PID, exit: exit(143) })],
        ),
        (Input::Signal { process: pod.clone(), signal: 9, all: true }, vec![Action::DismissVm]),
        (
            Input::VmExited { at: AT },
            vec![exit_event(pod.clone(), exit(137)), Action::WakeWaiters(pod.clone())],
        ),
        (Input::Delete { process: pod.clone(), at: AT }, vec![]),
        (
            Input::Deleted(pod),
            vec![
                Action::Publish(Event::Delete { id: id("pod"), pid: PID, exit: exit(137) }),
                Action::CleanUp,
            ],
        ),
        (Input::Shutdown { now: false }, vec![Action::Quit]),
    ];
    for (input, expected) in script {
        assert_eq!(sandbox.step(input.clone()), Ok(expected), "{input:?}");
    }
}

#[test]
fn the_death_of_the_vm_ends_every_process_with_the_sandbox_last() {
    let mut sandbox = with_container("web");
    run(&mut sandbox, exec("web", "shell"));
    sandbox.step(Input::CreateContainer(id("db"))).unwrap();
    sandbox.step(Input::Created(init("db"))).unwrap();
    let actions = sandbox.step(Input::VmExited { at: AT }).unwrap();
    let ended: Vec<_> = actions
        .iter()
        .filter_map(|action| match action {
            Action::Publish(Event::Exit { process, exit, .. }) => Some((process, exit.status)),
            _ => None,
        })
        .collect();
    let (shell, db, web, pod) = (exec("web", "shell"), init("db"), init("web"), init("pod"));
    assert_eq!(ended, [(&shell, 137), (&db, 137), (&web, 137), (&pod, 137)]);
    assert_eq!(sandbox.live().count(), 0);
    // Once only.
    assert_eq!(sandbox.step(Input::VmExited { at: AT }), Ok(vec![]));
    // And nothing more is asked of the guest.
    let kill = Input::Signal { process: web.clone(), signal: 9, all: false };
    assert_eq!(sandbox.step(kill), Err(Refusal::Finished { process: web.clone() }));
    assert_eq!(sandbox.step(Input::Delete { process: web, at: AT }), Ok(vec![]));
    let refused = sandbox.step(Input::CreateContainer(id("late")));
    assert_eq!(refused, Err(Refusal::SandboxState { found: "gone", needed: "attested" }));
}

#[test]
fn an_exit_before_the_answer_to_start_comes_after_the_start_event() {
    let mut sandbox = running();
    let web = init("web");
    sandbox.step(Input::CreateContainer(id("web"))).unwrap();
    sandbox.step(Input::Created(web.clone())).unwrap();
    sandbox.step(Input::Start(web.clone())).unwrap();
    assert_eq!(sandbox.step(Input::Exited { process: web.clone(), exit: exit(3) }), Ok(vec![]));
    assert_eq!(sandbox.view(&web).unwrap().status, Status::Created);
    let actions = sandbox.step(Input::Started(web.clone())).unwrap();
    assert_eq!(
        actions,
        [
            Action::Publish(Event::Start { id: id("web"), pid: PID }),
            exit_event(web.clone(), exit(3)),
            Action::WakeWaiters(web.clone()),
        ]
    );
    assert_eq!(sandbox.view(&web).unwrap().exit, Some(exit(3)));
}

#[test]
fn an_exit_held_during_start_survives_the_death_of_the_vm() {
    let mut sandbox = running();
    let web = init("web");
    sandbox.step(Input::CreateContainer(id("web"))).unwrap();
    sandbox.step(Input::Created(web.clone())).unwrap();
    sandbox.step(Input::Start(web.clone())).unwrap();
    sandbox.step(Input::Exited { process: web.clone(), exit: exit(3) }).unwrap();
    let actions = sandbox.step(Input::VmExited { at: AT }).unwrap();
    assert!(actions.contains(&exit_event(web.clone(), exit(3))), "{actions:?}");
    assert_eq!(sandbox.step(Input::StartFailed(web)), Ok(vec![]));
}

#[test]
fn a_start_that_fails_leaves_a_created_container_that_can_be_deleted() {
    let mut sandbox = running();
    let web = init("web");
    sandbox.step(Input::CreateContainer(id("web"))).unwrap();
    sandbox.step(Input::Created(web.clone())).unwrap();
    sandbox.step(Input::Start(web.clone())).unwrap();
    assert_eq!(sandbox.step(Input::StartFailed(web.clone())), Ok(vec![]));
    assert_eq!(sandbox.view(&web).unwrap().status, Status::Created);
    let delete = Input::Delete { process: web.clone(), at: AT };
    assert_eq!(sandbox.step(delete), Ok(vec![Action::GuestDelete(web)]));
}

#[test]
fn a_create_that_fails_leaves_nothing_and_the_id_free() {
    let mut sandbox = running();
    sandbox.step(Input::CreateContainer(id("web"))).unwrap();
    let twice = sandbox.step(Input::CreateContainer(id("web")));
    assert_eq!(twice, Err(Refusal::AlreadyExists { process: init("web") }));
    // Not visible while it is being made.
    assert_eq!(sandbox.view(&init("web")), Err(Refusal::NotFound { process: init("web") }));
    sandbox.step(Input::CreateFailed(init("web"))).unwrap();
    assert!(sandbox.step(Input::CreateContainer(id("web"))).is_ok());
}

#[test]
fn a_container_made_as_the_vm_dies_is_published_and_exits() {
    let mut sandbox = running();
    sandbox.step(Input::CreateContainer(id("web"))).unwrap();
    sandbox.step(Input::VmExited { at: AT }).unwrap();
    let actions = sandbox.step(Input::Created(init("web"))).unwrap();
    let died = Exit { status: VM_DIED_STATUS, at: Timestamp::default() };
    assert_eq!(
        actions,
        [
            Action::Publish(Event::Create { id: id("web"), pid: PID }),
            exit_event(init("web"), died),
            Action::WakeWaiters(init("web")),
        ]
    );
}

#[test]
fn the_sandbox_starts_only_when_attested() {
    let mut sandbox = Sandbox::new(id("pod"));
    sandbox.step(Input::CreateSandbox).unwrap();
    sandbox.step(Input::VmStarted { pid: PID }).unwrap();
    let refused = sandbox.step(Input::Start(init("pod")));
    assert_eq!(refused, Err(Refusal::SandboxState { found: "booting", needed: "attested" }));
    sandbox.step(Input::GuestReady).unwrap();
    // Containers need the sandbox to be started, too.
    let early = sandbox.step(Input::CreateContainer(id("web")));
    assert_eq!(early, Err(Refusal::SandboxState { found: "created", needed: "running" }));
    assert!(sandbox.step(Input::Start(init("pod"))).is_ok());
    let twice = sandbox.step(Input::Start(init("pod")));
    assert!(matches!(twice, Err(Refusal::WrongState { found: "running", .. })), "{twice:?}");
}

#[test]
fn a_vmm_that_does_not_start_leaves_nothing() {
    let mut sandbox = Sandbox::new(id("pod"));
    sandbox.step(Input::CreateSandbox).unwrap();
    assert_eq!(sandbox.step(Input::VmFailed), Ok(vec![Action::CleanUp]));
    assert_eq!(sandbox.view(&init("pod")), Err(Refusal::NotFound { process: init("pod") }));
    // The id of a sandbox is not used again in the same shim.
    let again = sandbox.step(Input::CreateSandbox);
    assert_eq!(again, Err(Refusal::AlreadyExists { process: init("pod") }));
    assert_eq!(sandbox.step(Input::Shutdown { now: false }), Ok(vec![Action::Quit]));
}

#[test]
fn a_second_sandbox_is_refused() {
    let refused = running().step(Input::CreateSandbox);
    assert_eq!(refused, Err(Refusal::AlreadyExists { process: init("pod") }));
}

#[test]
fn the_sandbox_ends_gracefully_by_sigterm_and_soon_by_sigkill() {
    for (signal, action) in [(15, Action::PowerOffVm), (9, Action::DismissVm)] {
        let mut sandbox = running();
        let kill = Input::Signal { process: init("pod"), signal, all: false };
        assert_eq!(sandbox.step(kill), Ok(vec![action]));
        let actions = sandbox.step(Input::VmExited { at: AT }).unwrap();
        assert!(actions.contains(&exit_event(init("pod"), exit(128 + signal))), "{actions:?}");
    }
}

#[test]
fn a_second_signal_does_not_wait_again() {
    for first in [9, 15] {
        let mut sandbox = running();
        let signal = |signal| Input::Signal { process: init("pod"), signal, all: false };
        sandbox.step(signal(first)).unwrap();
        assert_eq!(sandbox.step(signal(9)), Ok(vec![Action::KillVm]));
    }
}

#[test]
fn a_guest_that_is_not_up_is_killed_by_any_signal() {
    let mut sandbox = Sandbox::new(id("pod"));
    sandbox.step(Input::CreateSandbox).unwrap();
    let early = Input::Signal { process: init("pod"), signal: 15, all: false };
    // No VMM yet: nothing to kill.
    assert!(sandbox.step(early.clone()).is_err());
    sandbox.step(Input::VmStarted { pid: PID }).unwrap();
    assert_eq!(sandbox.step(early), Ok(vec![Action::KillVm]));
}

#[test]
fn deleting_a_sandbox_that_never_started_kills_its_vm() {
    let mut sandbox = Sandbox::new(id("pod"));
    sandbox.step(Input::CreateSandbox).unwrap();
    sandbox.step(Input::VmStarted { pid: PID }).unwrap();
    let delete = Input::Delete { process: init("pod"), at: AT };
    assert_eq!(sandbox.step(delete), Ok(vec![Action::KillVm]));
    assert_eq!(sandbox.step(Input::VmExited { at: AT }), Ok(vec![]));
    let actions = sandbox.step(Input::Deleted(init("pod"))).unwrap();
    assert_eq!(actions.last(), Some(&Action::CleanUp));
    // Its guest was up: it has an audit log to end.
    let mut sandbox = Sandbox::new(id("pod"));
    sandbox.step(Input::CreateSandbox).unwrap();
    sandbox.step(Input::VmStarted { pid: PID }).unwrap();
    sandbox.step(Input::GuestReady).unwrap();
    let delete = Input::Delete { process: init("pod"), at: AT };
    assert_eq!(sandbox.step(delete), Ok(vec![Action::DismissVm]));
}

#[test]
fn a_silent_agent_costs_the_vm_its_life_once() {
    let mut sandbox = running();
    assert_eq!(sandbox.step(Input::AgentSilent), Ok(vec![Action::KillVm]));
    sandbox.step(Input::VmExited { at: AT }).unwrap();
    assert_eq!(sandbox.step(Input::AgentSilent), Ok(vec![]));
}

#[test]
fn requests_in_the_wrong_state_are_refused_and_change_nothing() {
    let web = init("web");
    let check = |mut sandbox: Sandbox, input: Input, expected: &dyn Fn(&Refusal) -> bool| {
        let before = format!("{sandbox:?}");
        let refusal = sandbox.step(input.clone()).unwrap_err();
        assert!(expected(&refusal), "{input:?} gave {refusal:?}");
        assert_eq!(format!("{sandbox:?}"), before, "{input:?} changed the state");
    };
    let not_found = |r: &Refusal| matches!(r, Refusal::NotFound { .. });
    let wrong_state = |r: &Refusal| matches!(r, Refusal::WrongState { .. });
    // A5: exec into an unknown container.
    check(running(), Input::Exec { task: id("web"), exec: id("e") }, &not_found);
    check(running(), Input::Start(web.clone()), &not_found);
    check(running(), Input::Delete { process: web.clone(), at: AT }, &not_found);
    let signal = Input::Signal { process: web.clone(), signal: 9, all: false };
    check(running(), signal, &not_found);
    let own = Input::Exec { task: id("pod"), exec: id("e") };
    check(running(), own, &|r| *r == Refusal::SandboxHasNoProcess);
    check(with_container("web"), Input::Start(web.clone()), &wrong_state);
    // A22: delete of a running container, of a running sandbox.
    check(with_container("web"), Input::Delete { process: web.clone(), at: AT }, &wrong_state);
    check(with_container("web"), Input::Delete { process: init("pod"), at: AT }, &wrong_state);
    let mut ended = with_container("web");
    ended.step(Input::Exited { process: web.clone(), exit: exit(0) }).unwrap();
    // A5: exec into a container that has ended.
    check(ended, Input::Exec { task: id("web"), exec: id("e") }, &wrong_state);
    let mut ended = with_container("web");
    ended.step(Input::Exited { process: web.clone(), exit: exit(0) }).unwrap();
    let signal = Input::Signal { process: web, signal: 9, all: false };
    check(ended, signal, &|r| matches!(r, Refusal::Finished { .. }));
}

#[test]
fn lies_of_the_guest_change_nothing() {
    // E19: reports that cannot be true.
    let mut sandbox = with_container("web");
    let before = format!("{sandbox:?}");
    for input in [
        Input::Exited { process: init("pod"), exit: exit(0) },
        Input::Exited { process: init("ghost"), exit: exit(0) },
        Input::Created(init("web")),
        Input::Created(init("ghost")),
        Input::Started(init("web")),
        Input::Started(init("pod")),
        Input::StartFailed(init("web")),
        Input::CreateFailed(init("web")),
        Input::CreateFailed(init("pod")),
        Input::Deleted(init("web")),
        Input::OutOfMemory(id("ghost")),
        Input::OutOfMemory(id("pod")),
        Input::VmStarted { pid: 1 },
        Input::VmFailed,
    ] {
        assert_eq!(sandbox.step(input.clone()), Ok(vec![]), "{input:?}");
        assert_eq!(format!("{sandbox:?}"), before, "{input:?}");
    }
}

#[test]
fn execs_go_with_their_container() {
    let mut sandbox = with_container("web");
    run(&mut sandbox, exec("web", "e"));
    sandbox.step(Input::Exited { process: init("web"), exit: exit(0) }).unwrap();
    sandbox.step(Input::Delete { process: init("web"), at: AT }).unwrap();
    sandbox.step(Input::Deleted(init("web"))).unwrap();
    assert!(sandbox.view(&exec("web", "e")).is_err());
}

#[test]
fn the_shim_stays_while_tasks_are_left_unless_told_otherwise() {
    let mut sandbox = with_container("web");
    assert_eq!(sandbox.step(Input::Shutdown { now: false }), Ok(vec![]));
    assert_eq!(sandbox.step(Input::Shutdown { now: true }), Ok(vec![Action::Quit]));
}

fn any_process() -> impl Strategy<Value = Process> {
    let task = prop_oneof![Just("pod"), Just("a"), Just("b")];
    let name = prop_oneof![3 => Just(None), 1 => Just(Some("e"))];
    (task, name).prop_map(|(task, exec)| Process { task: id(task), exec: exec.map(id) })
}

fn any_input() -> impl Strategy<Value = Input> {
    let any_id = || any_process().prop_map(|process| process.task);
    let host_and_vm = prop_oneof![
        Just(Input::CreateSandbox),
        Just(Input::VmStarted { pid: PID }),
        Just(Input::VmFailed),
        Just(Input::GuestReady),
        Just(Input::VmExited { at: AT }),
        Just(Input::AgentSilent),
        any::<bool>().prop_map(|now| Input::Shutdown { now }),
        any_id().prop_map(Input::OutOfMemory),
    ];
    let making = prop_oneof![
        4 => any_id().prop_map(Input::CreateContainer),
        4 => any_id().prop_map(|task| Input::Exec { task, exec: id("e") }),
        4 => any_process().prop_map(Input::Created),
        1 => any_process().prop_map(Input::CreateFailed),
        6 => any_process().prop_map(Input::Start),
        4 => any_process().prop_map(Input::Started),
        1 => any_process().prop_map(Input::StartFailed),
    ];
    let ending = prop_oneof![
        2 => any_process().prop_map(|process| Input::Signal { process, signal: 15, all: false }),
        4 => any_process().prop_map(|process| Input::Exited { process, exit: exit(1) }),
        3 => any_process().prop_map(|process| Input::Delete { process, at: AT }),
        3 => any_process().prop_map(Input::Deleted),
    ];
    prop_oneof![1 => host_and_vm, 5 => making, 3 => ending]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    /// Whatever containerd and the guest do, in whatever order: the events of one life of a
    /// process come in order and at most once, and no guest action follows the VM's end.
    #[test]
    fn events_come_in_order_and_at_most_once(
        booted in any::<bool>(),
        inputs in prop::collection::vec(any_input(), 0..120),
    ) {
        let mut sandbox = if booted { running() } else { Sandbox::new(id("pod")) };
        // Rank of the last event of each process: create 1, start 2, exit 3, delete 4.
        let mut last: BTreeMap<Process, u32> = BTreeMap::new();
        if booted {
            last.insert(init("pod"), 2);
        }
        let mut gone = false;
        for input in inputs {
            gone |= matches!(input, Input::VmExited { .. }) && sandbox.vm_is_alive();
            let before = format!("{sandbox:?}");
            let Ok(actions) = sandbox.step(input) else {
                prop_assert_eq!(format!("{:?}", &sandbox), before);
                continue;
            };
            for action in actions {
                let (process, rank) = match action {
                    Action::GuestCreate(_) | Action::GuestStart(_) | Action::GuestDelete(_)
                    | Action::GuestSignal { .. } | Action::PowerOffVm | Action::DismissVm
                    | Action::KillVm => {
                        prop_assert!(!gone);
                        continue;
                    }
                    Action::Publish(Event::Create { id, .. }) => (Process::init(id), 1),
                    Action::Publish(Event::Start { id, .. }) => (Process::init(id), 2),
                    Action::Publish(Event::ExecAdded { id, exec }) =>
                        (Process { task: id, exec: Some(exec) }, 1),
                    Action::Publish(Event::ExecStarted { id, exec, .. }) =>
                        (Process { task: id, exec: Some(exec) }, 2),
                    Action::Publish(Event::Exit { process, .. }) => (process, 3),
                    Action::Publish(Event::Delete { id, .. }) => (Process::init(id), 4),
                    _ => continue,
                };
                let previous = last.get(&process).copied().unwrap_or(0);
                if rank == 1 {
                    // A new life: none, or after a delete (execs publish no delete).
                    prop_assert!(previous == 0 || previous >= 3 || process.exec.is_some());
                } else {
                    prop_assert!(previous > 0 && previous < rank, "{process}: {previous} {rank}");
                }
                if rank == 4 {
                    // Its execs are gone with it.
                    last.retain(|other, _| other.task != process.task);
                }
                last.insert(process, rank);
            }
            if gone {
                prop_assert_eq!(sandbox.live().count(), 0);
            }
        }
    }
}
