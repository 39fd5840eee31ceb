// SPDX-License-Identifier: Apache-2.0
//! Weak spots: each rule finds its own, and leaves a good policy alone.

use std::collections::BTreeSet;

use casemate_policy_review::RULES;
use casemate_policy_review::Severity;
use casemate_policy_review::lint;

use crate::support::SMALL;
use crate::support::read;
use crate::support::small_with;

/// The finding of a rule in a changed policy: its field and the line of the text that it points at.
fn check(id: &str, from: &str, to: &str, field: &str, line: &str) {
    let before = lint(&read(SMALL));
    let document = small_with(from, to);
    let after = lint(&document);
    let finding = after
        .iter()
        .find(|f| f.id == id && f.field == field)
        .unwrap_or_else(|| panic!("{id} {field} not in {after:#?}"));
    assert!(!before.contains(finding), "{id} is there without the change");
    let place = finding.place.as_ref().unwrap();
    assert_eq!(document.text.lines().nth(place.line - 1).unwrap().trim(), line.trim(), "{id}");
    assert!(finding.sentence.len() > 20 && finding.next.len() > 10, "{finding:?}");
}

#[test]
fn each_rule_finds_its_weak_spot() {
    let hole = r#"{ name = "HOSTNAME", value = "web-[0-9]+", required = true },"#;
    let wide = r#"{ name = "HOSTNAME", value = ".*", required = true },"#;
    check("L001", hole, wide, "containers.web.env_holes[0].value", wide);
    let names = r#"{ name = "[A-Z]+_SERVICE_HOST", value = "[0-9.]+" },"#;
    let any = r#"{ name = "[A-Z_]+", value = "[0-9.]+" },"#;
    check("L002", names, any, "containers.web.env_holes[1].name", any);
    let probe = r#"{ argv = ["/bin/probe", "-x"], purpose = "liveness-probe" },"#;
    let shell = r#"{ argv = ["/bin/bash"], terminal = true, stdin = true },"#;
    check("L003", probe, shell, "containers.web.exec[0].argv", shell);
    let secrets =
        r#"secrets = [{ resource = "kbs:///default/db/password", path = "/run/secrets/db" }]"#;
    let capable = format!("capabilities = [\"CAP_CHOWN\", \"CAP_SYS_ADMIN\"]\n{secrets}");
    check(
        "L004",
        secrets,
        &capable,
        "containers.web.capabilities[1]",
        capable.lines().next().unwrap(),
    );
    let web = "[containers.web]\n";
    let bare = "[containers.web]\nproc_mount = \"unmasked\"\n";
    check("L006", web, bare, "containers.web.proc_mount", "proc_mount = \"unmasked\"");
    check(
        "L005",
        "seccomp = \"default\"",
        "seccomp = \"unconfined\"",
        "containers.init.seccomp",
        "seccomp = \"unconfined\"",
    );
    let mode = r#"{ name = "MODE", value = "fast" },"#;
    let password = r#"{ name = "DB_PASSWORD", value = "hunter2" },"#;
    check("L007", mode, password, "containers.web.env[1].name", password);
    let config = "kind = \"config\"\nfiles = { \"app.conf\" = \"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\" }";
    let untrusted = "kind = \"untrusted\"\nmax_bytes = 1000";
    check("L008", config, untrusted, "volumes.conf", "[volumes.conf]");
    check(
        "L009",
        "user = { uid = 1000, gid = 1000 }\nlogs = \"none\"",
        "user = { uid = 0, gid = 0 }\nlogs = \"none\"",
        "containers.init.readonly_rootfs",
        "[containers.init]",
    );
    check(
        "L010",
        "no_new_privileges = true",
        "no_new_privileges = false",
        "containers.init.no_new_privileges",
        "no_new_privileges = false",
    );
    check(
        "L011",
        web,
        "[containers.web]\ntermination_message = \"host-visible\"\n",
        "containers.web.termination_message",
        "termination_message = \"host-visible\"",
    );
    check("L012", web, "[containers.web]\nstdin = true\n", "containers.web.stdin", "stdin = true");
    let root = r#"{ argv = ["/bin/probe", "-x"], user = { uid = 0, gid = 0 } },"#;
    check("L013", probe, root, "containers.web.exec[0].user", root);
    check("L014", "after = [\"init\"]", "after = []", "containers.init.role", "role = \"init\"");
    check("L016", "hostname = \"web-[0-9]+\"", "", "sandbox.hostname", "[sandbox]");
    check(
        "L017",
        "encryption = \"required\"",
        "encryption = \"optional\"",
        "containers.web.encryption",
        "encryption = \"optional\"",
    );
    check(
        "L018",
        "memory = { limit = 67108864, min = 33554432, max = 134217728 }",
        "pids = 7",
        "containers.web.resources.memory",
        "[containers.web.resources]",
    );
    check(
        "L019",
        "[containers.init]\n",
        "[volumes.more]\nkind = \"empty-dir\"\n[containers.init]\n",
        "volumes.more",
        "[volumes.more]",
    );
    check(
        "L020",
        web,
        "[containers.web]\nmetrics = \"host-visible\"\n",
        "containers.web.metrics",
        "metrics = \"host-visible\"",
    );
    let debug = "[containers.debug]\nrole = \"ephemeral\"\nimage = \"registry.example/init@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"\nencryption = \"optional\"\nargv = [\"/bin/sh\"]\ncwd = \"/\"\nuser = { uid = 7, gid = 7 }\nlogs = \"none\"\nno_new_privileges = true\nseccomp = \"default\"\nsignals = []\n[containers.init]\n";
    check("L021", "[containers.init]\n", debug, "containers.debug.role", "role = \"ephemeral\"");
    check(
        "L022",
        "[containers.init]\n",
        "[volumes.more]\nkind = \"untrusted\"\nmax_bytes = 7\n[containers.init]\n",
        "volumes.more",
        "[volumes.more]",
    );
}

#[test]
fn the_network_is_open_until_it_has_ranges() {
    let ids = |document| lint(&document).iter().map(|f| f.id).collect::<BTreeSet<_>>();
    assert!(ids(read(SMALL)).contains("L015"));
    let ranges = "[sandbox.network]\naddresses = [\"10.0.0.0/8\"]\ngateways = [\"10.0.0.0/8\"]\ndns_servers = [\"10.96.0.10/32\"]\n";
    let closed = |ranges: &str| small_with("[volumes.conf]", &format!("{ranges}\n[volumes.conf]"));
    assert!(!ids(closed(ranges)).contains("L015"));
    assert!(ids(closed(&ranges.replace("10.96.0.10/32", "0.0.0.0/0"))).contains("L015"));
}

#[test]
fn findings_come_by_severity_and_show_their_line() {
    let findings = lint(&small_with("seccomp = \"default\"", "seccomp = \"unconfined\""));
    assert_eq!(findings[0].severity, Severity::High);
    assert!(findings.windows(2).all(|pair| pair[0].severity >= pair[1].severity));
    let text = findings[0].to_string();
    assert!(text.contains("| seccomp = \"unconfined\"\n"), "{text}");
    assert!(text.contains("           ^^^^^^^^^^^^\n"), "{text}");
    assert!(text.contains("next: set seccompProfile.type to RuntimeDefault"), "{text}");
}

#[test]
fn the_value_of_a_secret_is_never_shown() {
    let mode = r#"{ name = "MODE", value = "fast" },"#;
    let more =
        r#"{ name = "API_TOKEN", value = "hunter2" }, { name = "DB_PASSWORD", value = '' },"#;
    let probe = r#"{ argv = ["/bin/probe", "-x"], purpose = "liveness-probe" },"#;
    let shell = r#"{ argv = ["/bin/sh"], env = [{ name = "DB_PASSWORD", value = "hunter2" }] },"#;
    let document = read(&SMALL.replacen(mode, more, 1).replacen(probe, shell, 1));
    let findings = lint(&document);
    let of = |id| findings.iter().filter(|f| f.id == id).map(|f| f.field.as_str()).collect();
    let secrets: Vec<&str> = of("L007");
    assert_eq!(secrets, ["containers.web.env[1].name", "containers.web.exec[0].env[0].name"]);
    // The shell stands on the same line as the second one.
    let shells: Vec<&str> = of("L003");
    assert_eq!(shells, ["containers.web.exec[0].argv"]);
    for finding in &findings {
        let shown = [finding.to_string(), serde_json::to_string(finding).unwrap()].concat();
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    let place = findings.iter().find(|f| f.id == "L007").unwrap().place.as_ref().unwrap();
    assert!(place.text.contains(r#"{ name = "API_TOKEN", value = *** }"#), "{place}");
}

#[test]
fn ids_are_unique_and_in_order() {
    let ids: Vec<&str> = RULES.iter().map(|rule| rule.id).collect();
    let expected: Vec<String> = (1..=ids.len()).map(|n| format!("L{n:03}")).collect();
    assert_eq!(ids, expected);
}
