// SPDX-License-Identifier: Apache-2.0
use super::*;

fn capabilities(names: &[&str]) -> Vec<Capability> {
    names.iter().map(|n| Capability::try_from((*n).to_owned()).unwrap()).collect()
}

/// What the profile does with `name` called without looking at arguments.
fn action(profile: &LinuxSeccomp, name: &str) -> (LinuxSeccompAction, Option<u32>) {
    let rules = profile.syscalls().as_ref().unwrap();
    rules
        .iter()
        .find(|r| r.args().is_none() && r.names().iter().any(|n| n == name))
        .map_or((profile.default_action(), profile.default_errno_ret()), |r| {
            (r.action(), r.errno_ret())
        })
}

const ALLOWED: (LinuxSeccompAction, Option<u32>) = (LinuxSeccompAction::ScmpActAllow, None);
const DENIED: (LinuxSeccompAction, Option<u32>) = (LinuxSeccompAction::ScmpActErrno, Some(EPERM));
const UNKNOWN: (LinuxSeccompAction, Option<u32>) = (LinuxSeccompAction::ScmpActErrno, Some(ENOSYS));

#[test]
fn ordinary_calls_are_allowed() {
    let profile = default_profile(&[]).unwrap();
    for name in ["read", "execve", "openat", "futex", "capset", "seccomp", "ptrace", "mknodat"] {
        assert_eq!(action(&profile, name), ALLOWED, "{name}");
    }
}

#[test]
fn dangerous_calls_fail_with_eperm() {
    let profile = default_profile(&capabilities(&["CAP_NET_ADMIN"])).unwrap();
    for name in ["mount", "unshare", "setns", "keyctl", "bpf", "init_module", "io_uring_setup"] {
        assert_eq!(action(&profile, name), DENIED, "{name}");
    }
}

#[test]
fn unheard_of_calls_fail_with_enosys() {
    let profile = default_profile(&[]).unwrap();
    assert_eq!(action(&profile, "call_of_the_year_2040"), UNKNOWN);
}

#[test]
fn each_capability_brings_its_calls_and_only_these() {
    let none = granted_calls(&[]);
    for (capability, calls) in BY_CAPABILITY {
        let granted = granted_calls(&capabilities(&[capability]));
        let added: BTreeSet<_> = granted.difference(&none).copied().collect();
        assert_eq!(added, calls.split_whitespace().collect(), "{capability}");
        let profile = default_profile(&capabilities(&[capability])).unwrap();
        for name in calls.split_whitespace() {
            assert_eq!(action(&profile, name), ALLOWED, "{capability} {name}");
        }
    }
}

#[test]
fn what_a_capability_allows_is_refused_without_it() {
    let profile = default_profile(&[]).unwrap();
    for (capability, calls) in BY_CAPABILITY {
        for name in calls.split_whitespace().filter(|n| !["clone", "clone3"].contains(n)) {
            assert_eq!(action(&profile, name), DENIED, "{capability} {name}");
        }
    }
}

#[test]
fn no_call_is_both_allowed_and_refused() {
    let always = granted_calls(&[]);
    for name in names(KNOWN_AND_REFUSED) {
        assert!(!always.contains(name), "{name}");
    }
}

#[test]
fn new_namespaces_need_the_administrator() {
    let count = |names: &[&str]| {
        let profile = default_profile(&capabilities(names)).unwrap();
        let rules = profile.syscalls().clone().unwrap();
        rules.iter().filter(|r| r.names() == &vec!["clone".to_owned()]).count()
    };
    assert_eq!(count(&[]), 1 + NAMESPACE_FLAGS.len());
    assert_eq!(count(&["CAP_SYS_ADMIN"]), 0);
    assert_eq!(action(&default_profile(&[]).unwrap(), "clone3"), UNKNOWN);
}

#[test]
fn host_sockets_are_refused() {
    let profile = default_profile(&capabilities(&["CAP_SYS_ADMIN"])).unwrap();
    let rules = profile.syscalls().as_ref().unwrap();
    let sockets: Vec<_> =
        rules.iter().filter(|r| r.names().iter().any(|n| n == "socket")).collect();
    assert_eq!(sockets.len(), 1);
    assert!(sockets.iter().all(|r| r.args().is_some()), "no rule allows socket for every family");
}

#[test]
fn only_the_native_table_is_allowed() {
    let profile = default_profile(&[]).unwrap();
    assert_eq!(profile.architectures(), &Some(vec![Arch::ScmpArchX86_64]));
}

#[test]
fn masks_are_in_libcontainers_order() {
    let profile = default_profile(&[]).unwrap();
    let rules = profile.syscalls().as_ref().unwrap();
    let allowed = rules
        .iter()
        .find(|r| r.names() == &["clone"] && r.action() == LinuxSeccompAction::ScmpActAllow);
    let argument = &allowed.unwrap().args().as_ref().unwrap()[0];
    // libcontainer::seccomp takes `value_two` as the mask.
    assert_eq!((argument.value(), argument.value_two()), (0, Some(0x7e02_0000)));
}
