// SPDX-License-Identifier: Apache-2.0
//! Requests for containers: the honest one passes, every other is denied for its reason.

use casemate_policy_monitor::CreateRequest;
use casemate_policy_monitor::MountRequest;
use casemate_policy_monitor::MountWish;
use casemate_policy_monitor::ReferenceMonitor;
use casemate_policy_monitor::Rule;
use casemate_policy_monitor::Stdio;
use proptest::prelude::*;

use crate::support::denied;
use crate::support::ready;
use crate::support::web;

#[test]
fn allows_the_honest_request() {
    let (grant, pending) = ready().create(&web("web-1")).unwrap();
    assert_eq!(grant.container, "web");
    // The policy's order, then what fills the holes.
    assert_eq!(
        grant.env,
        ["PATH=/bin", "MODE=expected-value", "HOSTNAME=pod-0", "DB_SERVICE_HOST=10.0.0.1"]
    );
    let stdio = Stdio { terminal: false, stdin: true, stdout: true, stderr: false };
    assert_eq!(grant.stdio, stdio);
    drop(pending);
}

/// Leaves that change nothing: each with the reason why it cannot.
#[test]
fn allows_what_is_inert() {
    type Change = fn(&mut CreateRequest);
    let changes: [(&str, Change); 7] = [
        ("names are unique, the grant has the policy's order", |r| r.env.reverse()),
        ("an optional hole may stay open", |r| r.env.retain(|e| !e.starts_with("DB_"))),
        ("mounts are told apart by destination", |r| r.mounts.reverse()),
        ("the guest makes the standard files anyway", |r| {
            r.mounts.retain(|m| m.kind == Some(MountWish::EmptyDir))
        }),
        ("the guest's own flag counts for standard files", |r| r.mounts[0].readonly = false),
        ("slashes at the end name the same place", |r| r.cwd.push('/')),
        ("whoever does not read logs need not", |r| r.stdout = false),
    ];
    for (reason, change) in changes {
        let mut request = web("web-1");
        change(&mut request);
        assert!(ready().create(&request).is_ok(), "{reason}");
    }
}

// A16: logs that are not granted stay in the guest.
#[test]
fn discards_logs_that_are_not_granted() {
    let (grant, pending) = crate::support::fresh().create(&crate::support::init("init-1")).unwrap();
    assert_eq!(grant.stdio, Stdio::default());
    drop(pending);
}

fn check(rule: Rule, field: &str, change: impl FnOnce(&mut CreateRequest)) {
    let mut request = web("web-1");
    change(&mut request);
    let denial = denied(&mut ready(), rule, field, |monitor| monitor.create(&request));
    // A28: denial oracle. Only what the host sent itself may come back.
    let sent = format!("{request:?}");
    for expected in ["expected-value", "--secret-mode", "/srv", "/cache", crate::support::DIGEST] {
        let shown = denial.to_string().contains(expected);
        assert!(!shown || sent.contains(expected), "{denial}");
    }
}

#[test]
fn denies_ids_that_are_none() {
    for id in ["", ".", "..", "a/b", "-a", "a-", "a b", "a\n", "é", &"a".repeat(129)] {
        check(Rule::Invalid, "id", |r| r.id = id.into());
    }
}

#[test]
fn denies_unknown_containers() {
    for name in ["", "Web", "web ", "webb", "we"] {
        check(Rule::Container, "name", |r| r.name = name.into());
    }
}

// C1, C2: a tag that was moved, or a digest in another spelling
#[test]
fn denies_other_images() {
    for digest in
        ["", "sha256:00", &crate::support::DIGEST.to_uppercase(), "registry.example/web:latest"]
    {
        check(Rule::Image, "image_digest", |r| r.image_digest = digest.into());
    }
}

// A6: argv prefix and suffix tricks
#[test]
fn denies_other_arguments() {
    check(Rule::Argv, "argv[4]", |r| r.argv.push(String::new()));
    check(Rule::Argv, "argv[4]", |r| r.argv.push("x".repeat(1 << 20)));
    check(Rule::Argv, "argv", |r| drop(r.argv.pop()));
    check(Rule::Argv, "argv", |r| r.argv.clear());
    check(Rule::Argv, "argv[2]", |r| drop(r.argv.remove(2)));
    check(Rule::Argv, "argv[1]", |r| r.argv.insert(1, String::new()));
    check(Rule::Argv, "argv[3]", |r| r.argv[3].push('\0'));
    check(Rule::Argv, "argv[0]", |r| r.argv.swap(0, 3));
    check(Rule::Argv, "argv[0]", |r| r.argv = vec![r.argv.join(" ")]);
}

// A7: env injection, duplicate key, no '='
#[test]
fn denies_added_variables() {
    for entry in ["LD_PRELOAD=/x.so", "BASH_ENV=x", "NODE_OPTIONS=x", "path=/bin", "PATH =/bin"] {
        check(Rule::Env, "env[4]", |r| r.env.push(entry.into()));
    }
    for entry in ["PATH=/bin", "PATH=/evil", "PATH", "=x", "", "X\0=1", "DB_SERVICE_HOST=10.0.0.2"]
    {
        check(Rule::Env, "env[4]", |r| r.env.push(entry.into()));
    }
}

// A9: the host's value must fit the hole as a whole.
#[test]
fn denies_values_that_do_not_fit_the_hole() {
    for entry in [
        "HOSTNAME=Pod",
        "HOSTNAME=",
        "HOSTNAME=a\nLD_PRELOAD=x",
        "HOSTNAME=a b",
        "XHOSTNAME=a",
        "HOSTNAMEX=a",
    ] {
        check(Rule::Env, "env[1]", |r| r.env[1] = entry.into());
    }
    check(Rule::Env, "env[3]", |r| r.env[3] = "DB_SERVICE_HOST=evil.example".into());
    check(Rule::Env, "env[3]", |r| r.env[3] = "db_SERVICE_HOST=10.0.0.1".into());
}

// A8: missing required env
#[test]
fn denies_missing_and_changed_variables() {
    check(Rule::Env, "containers.web.env[0]", |r| drop(r.env.remove(0)));
    check(Rule::Env, "containers.web.env_holes[0]", |r| drop(r.env.remove(1)));
    check(Rule::Env, "containers.web.env[0]", |r| r.env.clear());
    check(Rule::Env, "env[2]", |r| r.env[2] = "MODE=other".into());
    check(Rule::Env, "env[2]", |r| r.env[2] = "MODE=".into());
}

#[test]
fn denies_other_directories() {
    for cwd in ["", "/", "/srv/web", "srv", "/srv/.", "/SRV", "/srv\0"] {
        check(Rule::Cwd, "cwd", |r| r.cwd = cwd.into());
    }
}

// A16: stdin and terminal are the host's hand inside the container.
#[test]
fn denies_other_streams() {
    check(Rule::Stdio, "terminal", |r| r.terminal = true);
    check(Rule::Stdio, "stdin", |r| r.stdin = false);
    let mut request = crate::support::init("init-1");
    request.stdin = true;
    denied(&mut crate::support::fresh(), Rule::Stdio, "stdin", |monitor| monitor.create(&request));
}

// A12: read-only root off
#[test]
fn denies_another_root() {
    check(Rule::Rootfs, "readonly_rootfs", |r| r.readonly_rootfs = false);
}

// B1, B11: mounts over anything, of another kind, or left out
#[test]
fn denies_other_mounts() {
    let extra = |destination: &str, kind| MountRequest {
        destination: destination.into(),
        kind,
        readonly: false,
    };
    for destination in ["/", "/proc", "/etc/ssl", "/bin/sh", "/srv2", "cache", "/cache/x", ""] {
        let mount = extra(destination, Some(MountWish::EmptyDir));
        check(Rule::Mount, "mounts[3]", |r| r.mounts.push(mount));
    }
    check(Rule::Mount, "mounts[3]", |r| r.mounts.push(extra("/data", None)));
    check(Rule::Mount, "mounts[3]", |r| r.mounts.push(r.mounts[1].clone()));
    check(Rule::Mount, "mounts[3]", |r| r.mounts.push(extra("/cache/", Some(MountWish::EmptyDir))));
    check(Rule::Mount, "mounts[1]", |r| r.mounts[1].kind = None);
    check(Rule::Mount, "mounts[1]", |r| r.mounts[1].kind = Some(MountWish::Shm));
    check(Rule::Mount, "mounts[1]", |r| r.mounts[1].readonly = true);
    check(Rule::Mount, "mounts[0]", |r| r.mounts[0].kind = None);
    check(Rule::Mount, "containers.web.mounts[0]", |r| drop(r.mounts.remove(1)));
    check(Rule::Mount, "containers.web.mounts[0]", |r| r.mounts.clear());
}

/// One changed leaf of the honest request.
fn mutation() -> impl Strategy<Value = CreateRequest> {
    let text = "[^\0]{0,12}";
    (0_usize..14, any::<prop::sample::Index>(), text, any::<bool>()).prop_map(
        |(leaf, index, text, flag)| {
            let mut request = web("web-1");
            match leaf {
                0 => request.name = text,
                1 => request.image_digest = text,
                2 => request.argv[index.index(4)] = text,
                3 => request.argv.insert(index.index(5), text),
                4 => drop(request.argv.remove(index.index(4))),
                5 => request.env[index.index(3)].push_str(&format!("/{text}")),
                6 => request.env.insert(index.index(5), text),
                7 => drop(request.env.remove(index.index(3))),
                8 => request.cwd = format!("/{text}"),
                9 => request.terminal = true,
                10 => request.stdin = false,
                11 => request.readonly_rootfs = false,
                12 => request.mounts[index.index(3)].destination = text,
                _ => {
                    let kind = if flag { None } else { Some(MountWish::Hostname) };
                    request.mounts[index.index(3)].kind = kind;
                }
            }
            request
        },
    )
}

proptest! {
    // A12: every leaf mutated once
    #[test]
    fn any_changed_leaf_is_denied(request in mutation()) {
        let honest = web("web-1");
        let mut monitor = ready();
        let before = monitor.clone();
        let same = request == honest || (request.cwd == "/srv/" && request.argv == honest.argv);
        if same {
            return Ok(());
        }
        prop_assert!(monitor.create(&request).is_err(), "{request:?}");
        prop_assert_eq!(monitor, before);
    }

    #[test]
    fn never_panics(
        id in ".{0,8}", name in ".{0,8}", argv in prop::collection::vec(".{0,8}", 0..4),
        env in prop::collection::vec(".{0,8}=?.{0,8}", 0..4), cwd in ".{0,8}",
    ) {
        let request = CreateRequest { id, name, argv, env, cwd, ..CreateRequest::default() };
        prop_assert!(ready().create(&request).is_err());
    }
}
