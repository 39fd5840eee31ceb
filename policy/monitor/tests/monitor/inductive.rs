// SPDX-License-Identifier: Apache-2.0
//! Random sequences of requests, ends and failures: whatever the host does and however its requests
//! interleave, what is granted obeys the rules, and what is denied or undone leaves no trace.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use casemate_policy_monitor::Denial;
use casemate_policy_monitor::Monitor;
use casemate_policy_monitor::Pending;
use casemate_policy_monitor::ProcessRef;
use casemate_policy_monitor::ReferenceMonitor;
use casemate_policy_monitor::Rule;
use casemate_policy_monitor::UpdateRequest;
use proptest::prelude::*;
use proptest::test_runner::Config;
use proptest::test_runner::TestRunner;

use crate::pod;
use crate::pod::NAMES;

#[test]
fn whatever_is_granted_obeys_the_rules() {
    let mut runner =
        TestRunner::new(Config { cases: 400, failure_persistence: None, ..Config::default() });
    let mut granted: BTreeMap<&'static str, u32> = BTreeMap::new();
    let counts = std::cell::RefCell::new(&mut granted);
    let steps = (any::<bool>(), prop::collection::vec(step(), 1..120));
    let outcome = runner.run(&steps, |(begins_running, steps)| {
        let mut world = World::new();
        let first = if begins_running { honest() } else { Vec::new() };
        for step in first.iter().chain(&steps) {
            world.take(step);
        }
        for (kind, count) in world.granted {
            *counts.borrow_mut().entry(kind).or_default() += count;
        }
        Ok(())
    });
    assert!(outcome.is_ok(), "{outcome:?}");
    // It was not all denials.
    for kind in ["network", "create", "start", "delete", "exec", "signal", "update", "put"] {
        assert!(granted.get(kind).is_some_and(|count| *count > 30), "{kind}: {granted:?}");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Network {
        end: End,
    },
    Create {
        name: usize,
        id: usize,
        end: End,
    },
    Start {
        id: usize,
        end: End,
    },
    Exec {
        id: usize,
        exec: usize,
        end: End,
    },
    Delete {
        id: usize,
        end: End,
    },
    Update {
        id: usize,
        mib: u64,
        end: End,
    },
    Put {
        volume: usize,
        honest: bool,
        end: End,
    },
    Signal {
        id: usize,
        number: u32,
    },
    Exited {
        id: usize,
        code: u32,
    },
    /// A change that is not settled yet ends.
    Settle {
        which: prop::sample::Index,
        end: End,
    },
    Poison,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Commit,
    Rollback,
    /// Other requests come first.
    Later,
}

fn step() -> impl Strategy<Value = Step> {
    let end =
        || prop_oneof![6 => Just(End::Commit), 1 => Just(End::Rollback), 1 => Just(End::Later)];
    let id = || 0_usize..8;
    prop_oneof![
        2 => end().prop_map(|end| Step::Network { end }),
        12 => (0..NAMES.len(), id(), end()).prop_map(|(name, id, end)| Step::Create { name, id, end }),
        12 => (id(), end()).prop_map(|(id, end)| Step::Start { id, end }),
        8 => (id(), 0_usize..3, end()).prop_map(|(id, exec, end)| Step::Exec { id, exec, end }),
        6 => (id(), end()).prop_map(|(id, end)| Step::Delete { id, end }),
        8 => (id(), 0_u64..48, end()).prop_map(|(id, mib, end)| Step::Update { id, mib, end }),
        4 => (0_usize..3, prop::bool::weighted(0.8), end())
            .prop_map(|(volume, honest, end)| Step::Put { volume, honest, end }),
        3 => (id(), prop_oneof![Just(9), Just(15), Just(19)])
            .prop_map(|(id, number)| Step::Signal { id, number }),
        5 => (id(), prop_oneof![2 => Just(0), 1 => Just(1)])
            .prop_map(|(id, code)| Step::Exited { id, code }),
        3 => (any::<prop::sample::Index>(), end()).prop_map(|(which, end)| Step::Settle { which, end }),
        1 => Just(Step::Poison),
    ]
}

/// What an honest host does until the app runs.
fn honest() -> Vec<Step> {
    let end = End::Commit;
    let mut steps = vec![
        Step::Network { end },
        Step::Put { volume: 0, honest: true, end },
        Step::Put { volume: 1, honest: true, end },
    ];
    for (name, id) in [(INIT, 0), (PROXY, 1), (WEB, 2)] {
        steps.extend([Step::Create { name, id, end }, Step::Start { id, end }]);
        if name == INIT {
            steps.push(Step::Exited { id, code: 0 });
        }
    }
    steps
}

/// A container as this test knows it from what was granted and what it said.
#[derive(Debug, Clone, Default)]
struct Life {
    name: usize,
    made: bool,
    starting: bool,
    running: bool,
    ran: bool,
    ended: bool,
    disturbed: bool,
    deleting: bool,
    updating: bool,
    mib: u64,
    execs: BTreeSet<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Effect {
    Network,
    Create { id: usize },
    Start { id: usize },
    Exec { id: usize, exec: usize },
    Delete { id: usize },
    Update { id: usize, mib: u64 },
    Put { volume: usize, revision: u64 },
}

struct World {
    monitor: Monitor,
    lives: BTreeMap<usize, Life>,
    spent: BTreeSet<usize>,
    /// Starts of containers that are deleted, by name.
    past: BTreeMap<usize, usize>,
    ended_well: BTreeSet<usize>,
    completed: BTreeSet<usize>,
    network: bool,
    revisions: [u64; 3],
    putting: [bool; 3],
    poisoned: bool,
    open: Vec<(Pending, Effect)>,
    granted: BTreeMap<&'static str, u32>,
}

const VOLUMES: [&str; 3] = ["conf", "info", "cache"];
const INIT: usize = 0;
const PROXY: usize = 1;
const WEB: usize = 2;
const JOB: usize = 3;
const ONCE: usize = 4;
const DEBUG: usize = 5;

fn id_text(id: usize) -> String {
    format!("id-{id}")
}

impl World {
    fn new() -> Self {
        Self {
            monitor: pod::fresh(),
            lives: BTreeMap::new(),
            spent: BTreeSet::new(),
            past: BTreeMap::new(),
            ended_well: BTreeSet::new(),
            completed: BTreeSet::new(),
            network: false,
            revisions: [0; 3],
            putting: [false; 3],
            poisoned: false,
            open: Vec::new(),
            granted: BTreeMap::new(),
        }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Network { end } => {
                let network = self.ask("network", |m| m.network(&pod::network()));
                self.reserve(network, Effect::Network, end);
            }
            Step::Create { name, id, end } => {
                let request = pod::create(NAMES[name], &id_text(id));
                let created = self.ask("create", |m| m.create(&request).map(|(_, p)| p));
                if created.is_some() {
                    self.judge_create(name, id);
                    let mib = if name == WEB { 16 } else { 0 };
                    self.lives.insert(id, Life { name, mib, ..Life::default() });
                }
                self.reserve(created, Effect::Create { id }, end);
            }
            Step::Start { id, end } => {
                let started = self.ask("start", |m| m.start(&ProcessRef::init(&id_text(id))));
                if started.is_some() {
                    let life = self.lives.get_mut(&id).expect("a started container is known");
                    let fresh = life.made && !life.starting && !life.ran && !life.ended;
                    assert!(fresh && !life.deleting, "{life:?}");
                    life.starting = true;
                }
                self.reserve(started, Effect::Start { id }, end);
            }
            Step::Exec { id, exec, end } => {
                let mut request = pod::exec(&format!("e-{exec}"), "/bin/cat");
                request.container_id = id_text(id);
                let made = self.ask("exec", |m| m.exec(&request).map(|(_, p)| p));
                if made.is_some() {
                    let life = self.lives.get_mut(&id).expect("a container with an exec is known");
                    assert!(life.running && !life.ended, "{life:?}");
                    assert!(life.execs.insert(exec), "an id of an exec was used twice");
                }
                self.reserve(made, Effect::Exec { id, exec }, end);
            }
            Step::Delete { id, end } => {
                let deleted = self.ask("delete", |m| m.delete(&ProcessRef::init(&id_text(id))));
                if deleted.is_some() {
                    let life = self.lives.get_mut(&id).expect("a deleted container is known");
                    let idle = life.made && !life.starting && !life.running;
                    assert!((life.ended || idle) && !life.deleting, "{life:?}");
                    life.deleting = true;
                }
                self.reserve(deleted, Effect::Delete { id }, end);
            }
            Step::Update { id, mib, end } => {
                let request = UpdateRequest {
                    container_id: id_text(id),
                    memory_limit: Some(mib << 20),
                    ..UpdateRequest::default()
                };
                let updated = self.ask("update", |m| m.update(&request).map(|(_, p)| p));
                if updated.is_some() {
                    let life = self.lives.get_mut(&id).expect("an updated container is known");
                    assert!(life.made && !life.ended && !life.deleting && !life.updating);
                    assert!(life.name == WEB && (8..=32).contains(&mib), "{life:?} {mib}");
                    life.updating = true;
                }
                self.reserve(updated, Effect::Update { id, mib }, end);
            }
            Step::Put { volume, honest, end } => self.put(volume, honest, end),
            Step::Signal { id, number } => {
                let process = ProcessRef::init(&id_text(id));
                let sent = self.ask("signal", |m| m.signal(&process, number, true));
                if sent.is_some() {
                    let life = self.lives.get_mut(&id).expect("a signalled container is known");
                    assert!(life.made && !life.ended && !life.deleting && number != 19);
                    life.disturbed = true;
                }
            }
            Step::Exited { id, code } => self.exit(id, code),
            Step::Settle { ref which, end } => {
                if !self.open.is_empty() {
                    let (pending, effect) = self.open.swap_remove(which.index(self.open.len()));
                    self.reserve(Some(pending), effect, end);
                }
            }
            Step::Poison => {
                // Rare: what comes after it is all denied.
                if self.open.len() > 2 {
                    self.monitor.poison();
                    self.poisoned = true;
                }
            }
        }
        self.check();
    }

    /// Asks the monitor; a denial leaves everything as it was, and nothing passes a poisoned one.
    fn ask<T>(
        &mut self,
        kind: &'static str,
        request: impl FnOnce(&mut Monitor) -> Result<T, Denial>,
    ) -> Option<T> {
        let (before, fingerprint) = (self.monitor.clone(), self.monitor.fingerprint());
        match request(&mut self.monitor) {
            Ok(granted) => {
                assert!(!self.poisoned, "{kind} after poison");
                *self.granted.entry(kind).or_default() += 1;
                Some(granted)
            }
            Err(denial) => {
                assert_eq!(self.monitor, before, "{kind}: a denial changed the state");
                assert_eq!(self.monitor.fingerprint(), fingerprint);
                assert_eq!(denial.rule == Rule::Poisoned, self.poisoned, "{kind}: {denial}");
                None
            }
        }
    }

    fn reserve(&mut self, pending: Option<Pending>, effect: Effect, end: End) {
        let Some(pending) = pending else { return };
        match end {
            End::Later => self.open.push((pending, effect)),
            End::Commit => {
                self.monitor.commit(pending);
                self.done(effect);
            }
            End::Rollback => {
                self.monitor.rollback(pending);
                self.undone(effect);
            }
        }
    }

    fn done(&mut self, effect: Effect) {
        match effect {
            Effect::Network => {
                assert!(!self.network, "the network was set twice");
                self.network = true;
            }
            Effect::Create { id } => self.life(id, |life| life.made = !life.ended),
            Effect::Start { id } => self.life(id, |life| {
                life.running = !life.ended;
                life.ran = true;
                life.starting = false;
            }),
            Effect::Exec { .. } => {}
            Effect::Delete { id } => {
                let life = self.lives.remove(&id).expect("a deleted container is known");
                self.spent.insert(id);
                *self.past.entry(life.name).or_default() += usize::from(life.ran);
            }
            Effect::Update { id, mib } => self.life(id, |life| {
                life.updating = false;
                life.disturbed |= life.mib != mib;
                life.mib = mib;
            }),
            Effect::Put { volume, revision } => {
                self.putting[volume] = false;
                self.revisions[volume] = revision;
            }
        }
    }

    fn undone(&mut self, effect: Effect) {
        match effect {
            Effect::Network => {}
            Effect::Create { id } => drop(self.lives.remove(&id)),
            Effect::Start { id } => self.life(id, |life| life.starting = false),
            Effect::Exec { id, exec } => self.life(id, |life| {
                life.execs.remove(&exec);
            }),
            Effect::Delete { id } => self.life(id, |life| life.deleting = false),
            Effect::Update { id, .. } => self.life(id, |life| life.updating = false),
            Effect::Put { volume, .. } => self.putting[volume] = false,
        }
    }

    /// A container may be gone when a change of it ends.
    fn life(&mut self, id: usize, change: impl FnOnce(&mut Life)) {
        if let Some(life) = self.lives.get_mut(&id) {
            change(life);
        }
    }

    /// A19, A20, A21: what must hold when a container is granted.
    fn judge_create(&self, name: usize, id: usize) {
        assert!(!self.lives.contains_key(&id) && !self.spent.contains(&id), "an id was used twice");
        let same = || self.lives.values().filter(|life| life.name == name);
        assert!(same().all(|life| life.ended), "two of a name: {:?}", self.lives);
        let ran = self.past.get(&name).copied().unwrap_or_default() + same().count();
        match name {
            INIT => assert!(!self.completed.contains(&INIT) && !self.ended_well.contains(&INIT)),
            JOB => assert!(!self.ended_well.contains(&JOB)),
            ONCE | DEBUG => assert_eq!(ran, 0, "a second start"),
            WEB => {
                assert!(ran < 3, "a fourth start");
                let proxy = |life: &Life| life.name == PROXY && life.running;
                assert!(self.lives.values().any(proxy), "without its sidecar");
                assert!(self.revisions[0] > 0 && self.revisions[1] > 0, "without its content");
            }
            _ => {}
        }
        assert!(!matches!(name, PROXY | WEB) || self.completed.contains(&INIT), "before init");
    }

    fn put(&mut self, volume: usize, honest: bool, end: End) {
        let mut request = if volume == 0 { pod::conf() } else { pod::info(10) };
        request.volume = VOLUMES[volume].to_owned();
        if !honest {
            let name = if volume == 0 { "c" } else { ".." };
            request.files[0].name = name.to_owned();
        }
        if let Some((revision, pending)) = self.ask("put", |m| m.put_volume(&request)) {
            assert!(honest && volume < 2 && !self.putting[volume]);
            assert_eq!(revision, self.revisions[volume] + 1);
            self.putting[volume] = true;
            self.reserve(Some(pending), Effect::Put { volume, revision }, end);
        }
    }

    /// The guest says that a container ended.
    fn exit(&mut self, id: usize, code: u32) {
        self.monitor.exited(&ProcessRef::init(&id_text(id)), code);
        let Some(life) = self.lives.get_mut(&id) else { return };
        if life.ended {
            return;
        }
        if life.starting || life.running {
            life.ran = true;
            if code == 0 {
                self.ended_well.insert(life.name);
                if !life.disturbed {
                    self.completed.insert(life.name);
                }
            }
        }
        (life.ended, life.starting, life.running) = (true, false, false);
    }

    /// What holds at any moment.
    fn check(&self) {
        for (index, name) in NAMES.iter().enumerate() {
            let alive = self.lives.values().filter(|life| life.name == index && !life.ended);
            assert!(alive.count() <= 1, "two of {name}: {:?}", self.lives);
        }
        for id in 0..8 {
            let known = self.lives.get(&id).map(|life| NAMES[life.name]);
            let container = self.monitor.container(&id_text(id));
            let name = container.map(|c| c.argv[0].trim_start_matches("/bin/"));
            assert_eq!(name, known, "id-{id}");
        }
        assert_eq!(self.monitor.is_poisoned(), self.poisoned);
    }
}
