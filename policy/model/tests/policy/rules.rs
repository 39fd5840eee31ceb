// SPDX-License-Identifier: Apache-2.0
//! Each rule of the format, broken once for each reason.

use casemate_policy::DocumentError;
use casemate_policy::Policy;
use casemate_policy::Problem;

use crate::full::FULL;

/// Parses the full policy after one replacement and expects a problem at a path.
fn check(from: &str, to: &str, path: &str, problem: Problem) {
    assert!(FULL.contains(from), "{from} does not occur");
    let text = FULL.replacen(from, to, 1);
    match Policy::parse(text.as_bytes()) {
        Err(DocumentError::Field { path: found, problem: why }) => {
            assert_eq!((found.as_str(), why), (path, problem), "{to}");
        }
        other => panic!("{to}: {other:?}"),
    }
}

/// Parses the full policy after one replacement and expects no problem.
fn allow(from: &str, to: &str) {
    assert!(FULL.contains(from), "{from} does not occur");
    let parsed = Policy::parse(FULL.replacen(from, to, 1).as_bytes());
    assert!(parsed.is_ok(), "{to}: {}", parsed.unwrap_err());
}

#[test]
fn the_version_is_known() {
    check("version = 1", "version = 2", "version", Problem::Version);
    check("version = 1", "version = 0", "version", Problem::Version);
}

#[test]
fn names_are_kubernetes_names() {
    check("containers.init]", "containers.Init]", "containers.Init", Problem::NotName);
    check("volumes.plain]", "volumes.Plain]", "volumes.Plain", Problem::NotName);
    check("\"owner\"", "\"a/b\"", "containers.web.signature", Problem::NotName);
}

#[test]
fn the_sandbox_is_sound() {
    check("\"web-[0-9]+\"", "\"\"", "sandbox.hostname", Problem::Empty);
    let shm = "sandbox.sysctls.kernel.shm_rmid_forced";
    let from = "\"kernel.shm_rmid_forced\" = \"1\"";
    let name = "\"kernel.shm_rmid_forced\"";
    check(from, &format!("{name} = \"1\\n2\""), shm, Problem::ForbiddenCharacter);
    check(from, &format!("{name} = \"{}\"", "1".repeat(256)), shm, Problem::TooLong);
    for ip in ["0.0.0.0", "::", "224.0.0.1", "ff02::1"] {
        check("\"10.1.2.3\"", &format!("\"{ip}\""), "sandbox.hosts[0].ip", Problem::OutOfRange);
    }
    allow("\"10.1.2.3\"", "\"127.0.0.1\"");
    let names = "[\"db\", \"db.example\"]";
    check(names, "[]", "sandbox.hosts[0].names", Problem::Empty);
    let many = format!("[{}]", "\"a\",".repeat(65));
    check(names, &many, "sandbox.hosts[0].names", Problem::TooMany);
    // B14: nothing breaks out of the line, and nobody else is called localhost.
    for name in ["", "db 10.0.0.1", "db\\n10.0.0.1 x", "DB", "localhost", "localhost.x", "a..b"] {
        let to = format!("[\"db\", \"{name}\"]");
        check(names, &to, "sandbox.hosts[0].names[1]", Problem::NotName);
    }
    let many = format!("[{}]", "\"10.0.0.0/8\",".repeat(1025));
    check("[\"0.0.0.0/0\"]", &many, "sandbox.network.routes", Problem::TooMany);
}

#[test]
fn volumes_are_bounded() {
    for size in ["0", "4095", "1125899906842625"] {
        check("1048576", size, "volumes.cache.size_limit", Problem::OutOfRange);
    }
    for size in ["0", "1114113", "9223372036854775807"] {
        let to = format!("max_bytes = {size}");
        check("max_bytes = 4096", &to, "volumes.info.max_bytes", Problem::OutOfRange);
    }
    allow("max_bytes = 4096", "max_bytes = 1114112");
}

// A13: names that would lead out of the volume, or onto the guest's own entries
#[test]
fn names_of_files_are_one_component() {
    let long = "x".repeat(256);
    for name in
        ["", ".", "..", "..data", "..x", "a/b", "/a", "a/../b", "\\u0000", "a\\nb", long.as_str()]
    {
        let to = format!("\"{name}\" = \"sha256:ba78");
        check(r#""q\"\\" = "sha256:ba78"#, &to, "volumes.conf.files", Problem::NotFileName);
    }
    for name in [".env", "a b", "a..b", "ä", &"x".repeat(255)] {
        allow(r#""q\"\\" = "sha256:ba78"#, &format!("\"{name}\" = \"sha256:ba78"));
    }
}

#[test]
fn the_process_is_sound() {
    check("[\"/bin/init\"]", "[]", "containers.init.argv", Problem::Empty);
    check("[\"/bin/init\"]", "[\"\", \"x\"]", "containers.init.argv", Problem::Empty);
    let nul = "[\"/bin/init\", \"\\u0000\"]";
    check("[\"/bin/init\"]", nul, "containers.init.argv[1]", Problem::ForbiddenCharacter);
    let long = format!("[\"{}\"]", "x".repeat(128 * 1024));
    check("[\"/bin/init\"]", &long, "containers.init.argv[0]", Problem::TooLong);
    let many = format!("[{}]", "\"x\",".repeat(1025));
    check("[\"/bin/init\"]", &many, "containers.init.argv", Problem::TooMany);
    for cwd in ["srv", "/srv/", "/srv/../etc", "/./srv", "//srv", ""] {
        let to = format!("\"{cwd}\"");
        check("\"/srv/web\"", &to, "containers.web.cwd", Problem::NotNormalPath);
    }
    check("\"/srv/web\"", "\"/a\\nb\"", "containers.web.cwd", Problem::ForbiddenCharacter);
    check("uid = 1000", "uid = 4294967295", "containers.web.user", Problem::OutOfRange);
    check("[1000, 2000]", "[1, 1]", "containers.web.user.groups[1]", Problem::Duplicate);
    let capability = "containers.web.capabilities[1]";
    check("\"CAP_KILL\"", "\"CAP_CHOWN\"", capability, Problem::Duplicate);
}

#[test]
fn the_environment_is_sound() {
    for name in ["", "A=B", "A\\u0000", "é"] {
        let to = format!("\"{name}\", value = \"\"");
        let path = "containers.web.env[1].name";
        check("\"empty\", value = \"\"", &to, path, Problem::NotEnvName);
    }
    // A7: duplicate key
    check("\"empty\"", "\"PATH\"", "containers.web.env[1].name", Problem::Duplicate);
    let value = "containers.web.env[1].value";
    check("value = \"\"", "value = \"\\u0000\"", value, Problem::ForbiddenCharacter);
    let hole = "containers.web.env_holes[1].name";
    check("\"[A-Z]+_SERVICE_HOST\"", "\"HOSTNAME\"", hole, Problem::Duplicate);
    check("\"[A-Z]+_SERVICE_HOST\"", "\"\"", hole, Problem::Empty);
}

#[test]
fn limits_are_sane() {
    let memory = "containers.web.resources.memory";
    let at = |field: &str| format!("{memory}.{field}");
    for limit in ["1048575", "1125899906842625"] {
        check("67108864", limit, &at("limit"), Problem::OutOfRange);
    }
    let from = "{ limit = 67108864, min = 33554432, max = 134217728 }";
    check(from, "{ min = 33554432 }", &at("min"), Problem::Unfitting);
    check(from, "{ max = 33554432 }", &at("max"), Problem::Unfitting);
    check(from, "{ min = 33554432, max = 33554431 }", &at("min"), Problem::Unfitting);
    check(from, "{ min = 33554432, max = 1125899906842625 }", &at("max"), Problem::OutOfRange);
    let outside = "{ limit = 33554431, min = 33554432, max = 134217728 }";
    check(from, outside, &at("limit"), Problem::Unfitting);
    allow(from, "{ min = 33554432, max = 33554432 }");
    let cpu = "containers.web.resources.cpu_millis.limit";
    check("{ limit = 500 }", "{ limit = 0 }", cpu, Problem::OutOfRange);
    check("{ limit = 500 }", "{ limit = 1000001 }", cpu, Problem::OutOfRange);
    let pids = "containers.web.resources.pids";
    check("pids = 64", "pids = 0", pids, Problem::OutOfRange);
    check("pids = 64", "pids = 4194305", pids, Problem::OutOfRange);
}

#[test]
fn process_limits_are_sane() {
    let path = "containers.web.rlimits[0].soft";
    check("soft = 1024", "soft = 4097", path, Problem::OutOfRange);
    check("soft = 1024", "soft = \"unlimited\"", path, Problem::OutOfRange);
    let twice = "containers.web.rlimits[1].kind";
    check("kind = \"core\"", "kind = \"nofile\"", twice, Problem::Duplicate);
}

#[test]
fn commands_are_sound() {
    check("\"/bin/probe\"", "\"\"", "containers.web.exec[0].argv", Problem::Empty);
    // A4: one entry for one command, so that its user and streams are certain.
    let probe = "[\"/bin/probe\", \"-x\"]";
    check(probe, "[\"/bin/sh\"]", "containers.web.exec[1].argv", Problem::Duplicate);
    let env = "[{ name = \"A\", value = \"b\" }]";
    let twice = "[{ name = \"A\", value = \"b\" }, { name = \"A\", value = \"c\" }]";
    check(env, twice, "containers.web.exec[1].env[1].name", Problem::Duplicate);
    let user = "containers.web.exec[1].user";
    check("{ uid = 7, gid = 8 }", "{ uid = 7, gid = 4294967295 }", user, Problem::OutOfRange);
    check("[9, 15]", "[9, 0]", "containers.web.signals[1]", Problem::OutOfRange);
    check("[9, 15]", "[9, 65]", "containers.web.signals[1]", Problem::OutOfRange);
    check("[9, 15]", "[9, 9]", "containers.web.signals[1]", Problem::Duplicate);
}

#[test]
fn restart_rules_fit_the_role() {
    let init = "restart = \"on-failure\"\nmax_starts = 3";
    let restart = "containers.init.restart";
    check(init, "restart = \"always\"", restart, Problem::Unfitting);
    allow(init, "restart = \"never\"");
    for rule in ["never", "on-failure"] {
        let to = format!("role = \"sidecar\"\nrestart = \"{rule}\"");
        let from = "restart = \"always\"\nafter = [\"init\"]";
        let text = FULL.replacen("role = \"sidecar\"\n", "", 1).replacen(from, &to, 1);
        let error = Policy::parse(text.as_bytes()).unwrap_err();
        assert_eq!(error.to_string().split(':').next(), Some("containers.proxy.restart"));
    }
    for rule in ["always", "on-failure"] {
        let to = format!("signals = []\nrestart = \"{rule}\"");
        let from = "signals = []\nrestart = \"never\"";
        check(from, &to, "containers.debug.restart", Problem::Unfitting);
    }
    check("max_starts = 5", "max_starts = 0", "containers.web.max_starts", Problem::OutOfRange);
    let from = "restart = \"always\"\nmax_starts = 5";
    let never = "restart = \"never\"\nmax_starts = 2";
    check(from, never, "containers.web.max_starts", Problem::Unfitting);
    allow(from, "restart = \"never\"\nmax_starts = 1");
    allow(from, "restart = \"on-failure\"");
}

#[test]
fn containers_wait_for_what_comes() {
    let list = "after = [\"init\"]\nafter_started";
    let after = "containers.web.after";
    let with = |names: &str| format!("after = {names}\nafter_started");
    check(list, &with("[\"other\"]"), after, Problem::Unknown);
    check(list, &with("[\"web\"]"), after, Problem::Unknown);
    check(list, &with("[\"init\", \"init\"]"), "containers.web.after[1]", Problem::Duplicate);
    // A sidecar does not end, an ephemeral container need not come.
    check(list, &with("[\"proxy\"]"), "containers.web.after[0]", Problem::Unfitting);
    let last = "containers.web.after[1]";
    check(list, &with("[\"init\", \"debug\"]"), last, Problem::Unfitting);

    let started = "after_started = [\"proxy\"]";
    let path = "containers.web.after_started";
    check(started, "after_started = [\"web\"]", path, Problem::Unknown);
    check(started, "after_started = [\"no\"]", path, Problem::Unknown);
    for name in ["init", "debug"] {
        let to = format!("after_started = [\"{name}\"]");
        check(started, &to, "containers.web.after_started[0]", Problem::Unfitting);
    }
    // Rings, of two and of three, over both lists.
    let init = "max_starts = 3";
    let ring = "max_starts = 3\nafter = [\"web\"]";
    check(init, ring, "containers.init.after", Problem::Unknown);
    let ring = "max_starts = 3\nafter_started = [\"proxy\"]";
    check(init, ring, "containers.init.after_started", Problem::Unknown);
}

// B1: mounts over what the guest itself puts there
#[test]
fn refuses_mounts_over_the_guest() {
    let path = "containers.web.mounts[0].destination";
    for destination in ["/", "/proc", "/proc/1", "/sys", "/sys/fs/cgroup", "/dev", "/dev/kmsg"] {
        let to = format!("\"{destination}\"");
        check("\"/cache\"", &to, path, Problem::ReservedPath);
    }
    check("\"/cache\"", "\"/conf\"", "containers.web.mounts[1].destination", Problem::Duplicate);
    check("\"/cache\"", "\"cache\"", path, Problem::NotNormalPath);
    for (from, index) in [
        ("/dev/shm", 3),
        ("/dev/termination-log", 4),
        ("/etc/hostname", 5),
        ("/etc/hosts", 6),
        ("/etc/resolv.conf", 7),
    ] {
        let path = format!("containers.web.mounts[{index}].destination");
        check(&format!("\"{from}\""), "\"/sys/x\"", &path, Problem::ReservedPath);
    }
    // Not reserved: names that only begin alike.
    for destination in ["/process", "/device", "/system", "/var/dev"] {
        allow("\"/cache\"", &format!("\"{destination}\""));
    }
}

#[test]
fn mounts_name_volumes_that_fit() {
    let volume = "containers.web.mounts[0].volume";
    let from = "volume = \"cache\", sub_path = \"a/b\"";
    check(&format!(", {from}"), "", volume, Problem::Unfitting);
    check(from, "volume = \"a/b\"", volume, Problem::Unknown);
    check(from, "volume = \"other\"", volume, Problem::Unknown);
    let shm = "kind = \"shm\", readonly = false";
    let named = "kind = \"shm\", volume = \"cache\"";
    check(shm, named, "containers.web.mounts[3].volume", Problem::Unfitting);
    let inside = "kind = \"shm\", sub_path = \"x\"";
    check(shm, inside, "containers.web.mounts[3].sub_path", Problem::Unfitting);
    // A13: a path inside the volume stays inside.
    let sub_path = "containers.web.mounts[0].sub_path";
    for path in ["", "/a", "../a", "a/../b", "a//b", "a/", ".", "a\\u0000"] {
        let to = format!("sub_path = \"{path}\"");
        check("sub_path = \"a/b\"", &to, sub_path, Problem::NotNormalSubPath);
    }
    // Content is there by name only.
    let other = "sub_path = \"other.conf\"";
    let conf = "containers.web.mounts[2].sub_path";
    check("sub_path = \"app.conf\"", other, conf, Problem::Unknown);
    let info = "containers.web.mounts[8].sub_path";
    check("\"labels\"", "\"a/b\"", info, Problem::NotNormalSubPath);
    check("\"labels\"", "\"..data\"", info, Problem::NotNormalSubPath);
}

// B13: what the host gives is only read.
#[test]
fn content_of_the_host_is_read_only() {
    for (destination, index) in [("/conf", 1), ("/info", 8)] {
        let from =
            format!("{{ destination = \"{destination}\", kind = \"volume\", readonly = true");
        let to = from.replace("true", "false");
        let path = format!("containers.web.mounts[{index}].readonly");
        check(&from, &to, &path, Problem::NotReadonly);
    }
}

// D19: a secret is one container's, so it lies in nothing that others see.
#[test]
fn secrets_lie_alone() {
    let path = "containers.web.secrets[0].path";
    for other in ["/cache", "/cache/x", "/conf/x", "/run", "/etc/hosts"] {
        // "/run" lies above the second secret, which is the one that is named then.
        let path = if other == "/run" { "containers.web.secrets[1].path" } else { path };
        let to = format!("\"{other}\"");
        check("\"/run/secrets/db\"", &to, path, Problem::Duplicate);
    }
    for other in ["/", "/proc/x", "/dev/x", "/sys"] {
        check("\"/run/secrets/db\"", &format!("\"{other}\""), path, Problem::ReservedPath);
    }
    check("\"/run/secrets/db\"", "\"x\"", path, Problem::NotNormalPath);
    check("mode = 292", "mode = 512", "containers.web.secrets[1].mode", Problem::OutOfRange);
    allow("mode = 292", "mode = 0o777");
}
