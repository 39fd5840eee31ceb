// SPDX-License-Identifier: Apache-2.0
//! Differences.

use casemate_policy::Policy;
use casemate_policy_review::Difference;
use casemate_policy_review::Direction;
use casemate_policy_review::Weight;
use casemate_policy_review::diff;
use serde_json::Value;

use crate::support::FULL;
use crate::support::SMALL;
use crate::support::expect;
use crate::support::read;
use crate::support::small_with;

fn changed(from: &str, to: &str) -> Difference {
    diff(&read(SMALL), &small_with(from, to))
}

#[test]
fn equal_documents_have_no_difference() {
    assert!(diff(&read(FULL), &read(FULL)).is_empty());
    assert!(changed("# A pod as", "# Another comment, a pod as").is_empty());
    assert_eq!(diff(&read(SMALL), &read(SMALL)).to_string(), "Both say the same.\n");
}

fn check(from: &str, to: &str, field: &str, weight: Weight, direction: Direction) {
    let forth = changed(from, to);
    let [change] = forth.changes.as_slice() else { panic!("{forth}") };
    assert_eq!(
        (change.field.as_str(), change.weight, change.direction),
        (field, weight, direction),
        "{forth}"
    );
    // The way back allows less.
    let back = diff(&small_with(from, to), &read(SMALL));
    let opposite = match direction {
        Direction::AllowsMore => Direction::AllowsLess,
        Direction::Differs => Direction::Differs,
        Direction::AllowsLess => Direction::AllowsMore,
    };
    assert_eq!(back.changes[0].direction, opposite, "{back}");
}

#[test]
fn a_change_has_weight_and_direction() {
    use Direction::AllowsLess;
    use Direction::AllowsMore;
    use Direction::Differs;
    use Weight::High;
    use Weight::Low;
    use Weight::Medium;
    check("\"8443\"", "\"8444\"", "containers.web.argv", High, Differs);
    check(
        "encryption = \"required\"",
        "encryption = \"optional\"",
        "containers.web.encryption",
        High,
        AllowsMore,
    );
    check("value = \"fast\"", "value = \"slow\"", "containers.web.env[1]", Medium, Differs);
    check("logs = \"host-visible\"", "logs = \"none\"", "containers.web.logs", Medium, AllowsLess);
    check(
        "{ argv = [\"/bin/probe\", \"-x\"], purpose = \"liveness-probe\" },",
        "",
        "containers.web.exec[0]",
        High,
        AllowsLess,
    );
    check("after = [\"init\"]", "after = []", "containers.web.after[0]", Medium, AllowsMore);
    check("max_starts = 3", "max_starts = 4", "containers.web.max_starts", Low, AllowsMore);
    check("hostname = \"web-[0-9]+\"", "", "sandbox.hostname", Low, AllowsMore);
    check(
        "[containers.web]\n",
        "[containers.web]\ncapabilities = [\"CAP_KILL\"]\n",
        "containers.web.capabilities[0]",
        High,
        AllowsMore,
    );
}

#[test]
fn a_container_that_comes_or_goes_is_one_change() {
    let more = format!(
        "{SMALL}\n[containers.debug]\nrole = \"ephemeral\"\nimage = \"registry.example/init@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"\nencryption = \"optional\"\nargv = [\"/bin/sh\"]\ncwd = \"/\"\nuser = {{ uid = 0, gid = 0 }}\nlogs = \"none\"\nno_new_privileges = true\nseccomp = \"default\"\nsignals = []\n"
    );
    let difference = diff(&read(SMALL), &read(&more));
    assert_eq!(difference.changes.len(), 1);
    assert_eq!(difference.changes[0].direction, Direction::AllowsMore);
    assert!(
        difference.to_string().contains("+ The container for debugging itself"),
        "{difference}"
    );
    assert_eq!(diff(&read(&more), &read(SMALL)).changes[0].direction, Direction::AllowsLess);
}

#[test]
fn what_matters_most_comes_first() {
    let newer = SMALL
        .replace("max_starts = 3", "max_starts = 9")
        .replace("logs = \"host-visible\"", "logs = \"none\"")
        .replace("seccomp = \"default\"", "seccomp = \"unconfined\"")
        .replace("/bin/probe", "/bin/sh");
    let difference = diff(&read(SMALL), &read(&newer));
    assert!(difference.changes.windows(2).all(|pair| pair[0].weight <= pair[1].weight));
    expect("small.diff.txt", &difference.to_string());
}

#[test]
fn a_value_that_differs_beyond_what_is_shown_is_a_difference() {
    let long = "x".repeat(2000);
    let difference = diff(
        &small_with("\"8443\"", &format!("\"{long}a\"")),
        &small_with("\"8443\"", &format!("\"{long}b\"")),
    );
    assert!(
        difference.to_string().contains("it differs in what is not shown here"),
        "{difference}"
    );
}

/// Changes every leaf of a policy in turn, and leaves out every part.
fn mutate(value: &Value, path: &mut Vec<String>, found: &mut Vec<(String, Value)>, root: &Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                path.push(key.clone());
                let mut other = map.clone();
                other.remove(key);
                found.push(with(root, path, path.len() - 1, Value::Object(other)));
                mutate(value, path, found, root);
                path.pop();
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                path.push(index.to_string());
                let mut other = list.clone();
                other.remove(index);
                found.push(with(root, path, path.len() - 1, Value::Array(other)));
                mutate(value, path, found, root);
                path.pop();
            }
        }
        leaf => {
            for other in others(leaf) {
                found.push(with(root, path, path.len(), other));
            }
        }
    }
}

/// The whole with another value at the first `depth` steps of a path; and the path.
fn with(root: &Value, path: &[String], depth: usize, other: Value) -> (String, Value) {
    let pointer = |path: &[String]| -> String {
        path.iter().map(|p| format!("/{}", p.replace('~', "~0").replace('/', "~1"))).collect()
    };
    let mut root = root.clone();
    *root.pointer_mut(&pointer(&path[..depth])).unwrap() = other;
    (pointer(path), root)
}

fn others(leaf: &Value) -> Vec<Value> {
    match leaf {
        Value::Bool(flag) => vec![Value::from(!flag)],
        Value::Number(number) => vec![
            Value::from(number.as_u64().unwrap() + 1),
            Value::from(number.as_u64().unwrap() / 2),
        ],
        Value::String(text) => {
            let swaps = [
                ("host-visible", "none"),
                ("none", "host-visible"),
                ("required", "optional"),
                ("optional", "required"),
                ("default", "unconfined"),
                ("unconfined", "default"),
                ("unmasked", "default"),
                ("always", "never"),
                ("never", "always"),
                ("on-failure", "never"),
                ("app", "ephemeral"),
                ("unlimited", "7"),
                ("liveness-probe", "exec"),
                ("exec", "pre-stop"),
                ("nofile", "nproc"),
                ("core", "nproc"),
            ];
            let swapped =
                swaps.iter().filter(|(from, _)| from == text).map(|(_, to)| Value::from(*to));
            swapped
                .chain([
                    Value::from(format!("{text}x")),
                    Value::from(text.replacen('1', "2", 1)),
                    Value::from(text.replacen("sha256:e3", "sha256:e4", 1)),
                    Value::from(text.replacen("sha256:ba", "sha256:bb", 1)),
                ])
                .filter(|other| other != leaf)
                .collect()
        }
        _ => Vec::new(),
    }
}

#[test]
fn no_leaf_of_a_policy_can_change_unseen() {
    let policy = Policy::parse(FULL.as_bytes()).unwrap();
    let root = serde_json::to_value(&policy).unwrap();
    let mut mutants = Vec::new();
    mutate(&root, &mut Vec::new(), &mut mutants, &root);
    let (mut seen, mut pointers, mut all) =
        (0, std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
    let older = read(FULL);
    for (pointer, mutant) in mutants {
        all.insert(pointer.clone());
        let Ok(mutant) = serde_json::from_value::<Policy>(mutant) else { continue };
        if mutant.validate().is_err() || mutant == policy {
            continue;
        }
        let difference = diff(&older, &read(&mutant.to_toml()));
        assert!(!difference.is_empty(), "{pointer}: changed and no difference");
        pointers.insert(pointer);
        seen += 1;
    }
    let unreached: Vec<_> = all.difference(&pointers).collect();
    assert!(seen > 100 && unreached.len() < all.len() / 4, "{seen} {unreached:#?}");
}
