// SPDX-License-Identifier: Apache-2.0
use std::collections::BTreeMap;
use std::path::PathBuf;

use casemate_policy::Container;
use serde_json::Value;
use serde_json::json;

use super::*;
use crate::id::ContainerId;
use crate::request::SecretFile;
use crate::request::Volume;
use crate::request::WindowSize;

fn create(changes: Value) -> CreateSpec {
    let mut container = json!({
        "image": format!("registry.test/image@sha256:{}", "0".repeat(64)),
        "encryption": "optional",
        "argv": ["/bin/server", "--port", "80"],
        "cwd": "/srv",
        "user": { "uid": 1000, "gid": 2000, "groups": [3000] },
        "logs": "host-visible",
        "capabilities": ["CAP_KILL"],
        "no_new_privileges": true,
        "seccomp": "default",
        "signals": [15],
        "restart": "never",
    });
    let Value::Object(changes) = changes else { panic!("no object") };
    container.as_object_mut().unwrap().extend(changes);
    CreateSpec {
        id: ContainerId::try_from("web").unwrap(),
        container: serde_json::from_value::<Container>(container).unwrap(),
        env: vec!["PATH=/bin".to_owned(), "A=b=c".to_owned()],
        hostname: "pod".to_owned(),
        hosts: String::new(),
        resolv_conf: String::new(),
        volumes: BTreeMap::from([
            ("cache".to_owned(), Volume::Memory { size_limit: None }),
            ("conf".to_owned(), Volume::Content),
        ]),
        secrets: Vec::new(),
        rootfs: PathBuf::from("/images/web"),
        stdio: StdioRequest::Pipes { stdin: false, stdout: true, stderr: true },
        limits: Limits::default(),
    }
}

fn sources(create: &CreateSpec) -> Vec<Source> {
    let mounts = create.container.mounts.iter().map(|m| &m.destination);
    mounts
        .chain(create.secrets.iter().map(|s| &s.path))
        .map(|d| Source { destination: d.clone(), path: PathBuf::from("/made") })
        .collect()
}

fn built(create: &CreateSpec) -> Result<Spec, SpecError> {
    let sources = sources(create);
    let (rootfs, cgroup) = (Path::new("/run/root"), Path::new("/casemate/web"));
    build(create, &Places { rootfs, cgroup, sources: &sources })
}

fn json_of(changes: Value) -> Value {
    serde_json::to_value(built(&create(changes)).unwrap()).unwrap()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// A11, A12: nothing gets into the spec by a default of a library. A field that is added here must
/// be a decision.
#[test]
fn the_spec_has_these_fields_and_no_other() {
    let spec = json_of(json!({}));
    assert_eq!(
        keys(&spec),
        ["annotations", "hostname", "linux", "mounts", "ociVersion", "process", "root"]
    );
    assert_eq!(spec["annotations"], json!({}));
    assert_eq!(
        keys(&spec["linux"]),
        [
            "cgroupsPath",
            "devices",
            "maskedPaths",
            "namespaces",
            "readonlyPaths",
            "resources",
            "rootfsPropagation",
            "seccomp"
        ]
    );
    assert_eq!(spec["linux"]["devices"], json!([]));
    let process = &spec["process"];
    assert_eq!(
        keys(process),
        [
            "args",
            "capabilities",
            "cwd",
            "env",
            "noNewPrivileges",
            "oomScoreAdj",
            "rlimits",
            "terminal",
            "user"
        ]
    );
}

#[test]
fn the_process_is_the_policys() {
    let process = &json_of(json!({}))["process"];
    assert_eq!(process["args"], json!(["/bin/server", "--port", "80"]));
    assert_eq!(process["env"], json!(["PATH=/bin", "A=b=c"]));
    assert_eq!(process["cwd"], json!("/srv"));
    assert_eq!(
        process["user"],
        json!({ "uid": 1000, "gid": 2000, "umask": 0o022, "additionalGids": [3000] })
    );
    assert_eq!(process["terminal"], json!(false));
    for set in ["bounding", "effective", "permitted"] {
        assert_eq!(process["capabilities"][set], json!(["CAP_KILL"]), "{set}");
    }
    for set in ["inheritable", "ambient"] {
        assert_eq!(process["capabilities"][set], json!([]), "{set}");
    }
}

#[test]
fn no_capability_means_none() {
    let process = &json_of(json!({ "capabilities": [] }))["process"];
    for set in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
        assert_eq!(process["capabilities"][set], json!([]), "{set}");
    }
}

#[test]
fn every_capability_of_the_policy_is_known() {
    let names: Vec<String> =
        (0..=40).map(|number| format!("CAP_{}", CAPABILITIES[number])).collect();
    let sets = capability_sets(names.iter().map(String::as_str)).unwrap();
    assert_eq!(sets.bounding().as_ref().unwrap().len(), 41);
    // And the policy agrees that these are all.
    for name in names {
        assert!(Capability::try_from(name).is_ok());
    }
}

/// libcontainer loads the filter too late when the field is there and false.
#[test]
fn new_privileges_are_off_by_absence() {
    assert_eq!(json_of(json!({}))["process"]["noNewPrivileges"], json!(true));
    let allowed = json_of(json!({ "no_new_privileges": false }));
    assert_eq!(allowed["process"].get("noNewPrivileges"), None);
}

#[test]
fn the_filter_is_there_unless_the_owner_says_otherwise() {
    assert_eq!(json_of(json!({}))["linux"]["seccomp"]["defaultAction"], json!("SCMP_ACT_ERRNO"));
    let open = json_of(json!({ "seccomp": "unconfined" }));
    assert_eq!(open["linux"].get("seccomp"), None);
}

#[test]
fn devices_start_from_nothing() {
    let resources = &json_of(json!({}))["linux"]["resources"];
    assert_eq!(resources["unified"], json!({ "memory.oom.group": "1" }));
    assert_eq!(resources["devices"], json!([{ "allow": false, "type": "a", "access": "rwm" }]));
}

#[test]
fn limits_are_the_agents() {
    let mut create = create(json!({}));
    create.limits = Limits { memory_bytes: Some(u64::MAX), cpu_millis: Some(1500), pids: Some(7) };
    let spec = serde_json::to_value(built(&create).unwrap()).unwrap();
    let resources = &spec["linux"]["resources"];
    assert_eq!(resources["memory"]["limit"], json!(i64::MAX));
    assert_eq!(resources["cpu"], json!({ "quota": 150_000, "period": 100_000 }));
    assert_eq!(resources["pids"]["limit"], json!(7));
    let unlimited = &json_of(json!({}))["linux"]["resources"];
    for controller in ["memory", "cpu", "pids"] {
        assert_eq!(unlimited.get(controller), None, "{controller}");
    }
}

#[test]
fn namespaces_are_new_but_network_and_ipc() {
    let namespaces = json_of(json!({}))["linux"]["namespaces"].clone();
    let expected: Vec<Value> =
        ["pid", "mount", "uts", "cgroup"].iter().map(|t| json!({ "type": t })).collect();
    assert_eq!(namespaces, json!(expected));
}

#[test]
fn mount_options_are_the_guests() {
    let spec = json_of(json!({ "mounts": [
        { "destination": "/etc/hosts", "kind": "hosts", "readonly": true },
        { "destination": "/cache", "kind": "volume", "volume": "cache" },
        { "destination": "/conf", "kind": "volume", "volume": "conf" },
        { "destination": "/dev/shm", "kind": "shm" },
    ] }));
    let mounts: BTreeMap<&str, &Value> = spec["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| (m["destination"].as_str().unwrap(), m))
        .collect();
    let hosts = json!(["bind", "rprivate", "nosuid", "nodev", "noexec", "ro"]);
    assert_eq!(mounts["/etc/hosts"]["options"], hosts);
    assert_eq!(mounts["/cache"]["options"], json!(["bind", "rprivate", "nosuid", "nodev", "rw"]));
    // B13: content from outside is read-only whatever the policy says.
    assert_eq!(mounts["/conf"]["options"], hosts);
    // The pod's in place of the container's own, once.
    assert_eq!(mounts["/dev/shm"]["source"], json!("/made"));
    assert_eq!(spec["mounts"].as_array().unwrap().len(), mounts.len());
    // Only /dev may hold device nodes, and the filter judges those.
    for (destination, mount) in mounts {
        let nodev = mount["options"].as_array().unwrap().contains(&json!("nodev"));
        let pts = destination == "/dev/pts";
        assert_eq!(nodev, destination != "/dev" && !pts, "{destination}");
    }
}

#[test]
fn refuses_mounts_over_what_the_runtime_puts_in_place() {
    // B1
    for destination in [
        "/",
        "",
        "etc/hosts",
        "/proc",
        "/proc/self",
        "/sys/fs/cgroup",
        "/dev",
        "/dev/null",
        "/dev/shm",
        "/a/../proc",
        "/a//b",
        "/a/",
        "/.",
        "/a\0b",
    ] {
        let mounts = json!({ "mounts": [{ "destination": destination, "kind": "hosts" }] });
        let result = built(&create(mounts));
        assert!(matches!(result, Err(SpecError::Destination { .. })), "{destination:?}");
    }
    for destination in ["/process", "/system", "/devices", "/etc/proc"] {
        let mounts = json!({ "mounts": [{ "destination": destination, "kind": "hosts" }] });
        assert!(built(&create(mounts)).is_ok(), "{destination:?}");
    }
}

#[test]
fn secrets_are_files_that_nobody_can_change() {
    let secret = |path: &str| SecretFile {
        path: path.to_owned(),
        mode: 0o400,
        content: zeroize::Zeroizing::new(b"canary".to_vec()),
    };
    let mut with = create(json!({ "mounts": [{ "destination": "/etc/hosts", "kind": "hosts" }] }));
    with.secrets = vec![secret("/run/secrets/db")];
    let spec = serde_json::to_value(built(&with).unwrap()).unwrap();
    let mount = spec["mounts"].as_array().unwrap().last().unwrap();
    assert_eq!(mount["destination"], json!("/run/secrets/db"));
    assert_eq!(mount["options"], json!(["bind", "rprivate", "nosuid", "nodev", "noexec", "ro"]));
    // A27: the content is nowhere in the spec.
    assert!(!spec.to_string().contains("canary"));
    for path in ["/proc/1/environ", "/dev/shm", "relative", "/a/../b"] {
        with.secrets = vec![secret(path)];
        assert!(matches!(built(&with), Err(SpecError::Destination { .. })), "{path}");
    }
    with.secrets = vec![secret("/etc/hosts")];
    assert!(matches!(built(&with), Err(SpecError::DestinationTwice { .. })));
}

#[test]
fn refuses_a_mount_of_a_volume_that_is_not_the_pods() {
    let mounts = json!([{ "destination": "/x", "kind": "volume", "volume": "other" }]);
    let result = built(&create(json!({ "mounts": mounts })));
    assert!(matches!(result, Err(SpecError::Volume { destination }) if destination == "/x"));
}

#[test]
fn process_limits_are_the_policys_and_else_the_defaults() {
    let limits = |changes| {
        let limits = json_of(changes)["process"]["rlimits"].clone();
        let limits = limits.as_array().unwrap().iter();
        let figures = limits.map(|l| {
            let figure = |key: &str| l[key].as_u64().unwrap();
            (l["type"].as_str().unwrap().to_owned(), (figure("soft"), figure("hard")))
        });
        figures.collect::<BTreeMap<_, _>>()
    };
    let defaults = limits(json!({}));
    assert_eq!(defaults["RLIMIT_NOFILE"], (1024, 524_288));
    let changed = limits(json!({ "rlimits": [
        { "kind": "nofile", "soft": 64, "hard": 128 },
        { "kind": "stack", "soft": "unlimited", "hard": "unlimited" },
    ] }));
    assert_eq!(changed["RLIMIT_NOFILE"], (64, 128));
    assert_eq!(changed["RLIMIT_STACK"], (u64::MAX, u64::MAX));
    assert_eq!(changed["RLIMIT_CORE"], defaults["RLIMIT_CORE"]);
    assert_eq!(changed.len(), defaults.len() + 1);
}

#[test]
fn an_unmasked_proc_leaves_the_devices_of_the_guest_closed() {
    let linux = |changes| json_of(changes)["linux"].clone();
    let masked = linux(json!({}));
    assert!(masked["maskedPaths"].as_array().unwrap().contains(&json!("/proc/kcore")));
    assert!(masked["readonlyPaths"].as_array().unwrap().contains(&json!("/proc/sys")));
    let open = linux(json!({ "proc_mount": "unmasked" }));
    assert_eq!(open["readonlyPaths"], json!([]));
    let paths = open["maskedPaths"].as_array().unwrap();
    assert!(paths.contains(&json!("/sys/class/virtio-ports")));
    assert!(paths.iter().all(|path| path.as_str().unwrap().starts_with("/sys/")));
}

#[test]
fn refuses_two_mounts_on_one_place() {
    let twice = json!({ "destination": "/x", "kind": "hosts" });
    let result = built(&create(json!({ "mounts": [twice, twice] })));
    assert!(
        matches!(result, Err(SpecError::DestinationTwice { destination }) if destination == "/x")
    );
}

#[test]
fn refuses_a_mount_without_a_source() {
    let create = create(json!({ "mounts": [{ "destination": "/x", "kind": "hosts" }] }));
    let (rootfs, cgroup) = (Path::new("/r"), Path::new("/c"));
    let result = build(&create, &Places { rootfs, cgroup, sources: &[] });
    assert!(matches!(result, Err(SpecError::Source { destination }) if destination == "/x"));
}

#[test]
fn refuses_what_cannot_be_run() {
    let fails = |changes| built(&create(changes)).err().unwrap();
    assert!(matches!(fails(json!({ "argv": [] })), SpecError::NoArguments));
    assert!(matches!(fails(json!({ "argv": [""] })), SpecError::NoArguments));
    // A6
    assert!(matches!(fails(json!({ "argv": ["a", "b\0c"] })), SpecError::Nul));
    assert!(matches!(fails(json!({ "cwd": "relative" })), SpecError::Cwd));
    assert!(matches!(fails(json!({ "cwd": "/a\0" })), SpecError::Cwd));
}

#[test]
fn refuses_malformed_environments() {
    // A7
    let fails = |env: &[&str]| {
        let mut create = create(json!({}));
        create.env = env.iter().map(|v| (*v).to_owned()).collect();
        built(&create).err().unwrap()
    };
    assert!(matches!(fails(&["NAME"]), SpecError::Variable));
    assert!(matches!(fails(&["=value"]), SpecError::Variable));
    assert!(matches!(fails(&["A=\0"]), SpecError::Nul));
    let twice = fails(&["A=1", "B=2", "A=3"]);
    assert!(matches!(twice, SpecError::VariableTwice { name } if name == "A"));
}

#[test]
fn an_exec_differs_in_its_command_line_environment_user_and_terminal_alone() {
    let spec = built(&create(json!({}))).unwrap();
    let init = spec.process().clone().unwrap();
    let wanted = ExecSpec {
        container: "c".try_into().unwrap(),
        exec: "e".try_into().unwrap(),
        argv: vec!["ls".to_owned()],
        env: vec!["TERM=xterm".to_owned()],
        user: None,
        stdio: StdioRequest::Terminal(WindowSize::default()),
    };
    let mut exec = exec_process(&init, &wanted).unwrap();
    assert_eq!(exec.args(), &Some(wanted.argv.clone()));
    assert_eq!(exec.env(), &Some(wanted.env.clone()));
    assert_eq!(exec.terminal(), Some(true));
    exec.set_args(init.args().clone()).set_terminal(init.terminal()).set_env(init.env().clone());
    assert_eq!(exec, init);
    let root = casemate_policy::User { uid: 0, gid: 0, groups: vec![1] };
    let other = ExecSpec { user: Some(root), ..wanted.clone() };
    let other = exec_process(&init, &other).unwrap();
    assert_eq!((other.user().uid(), other.user().additional_gids()), (0, &Some(vec![1])));
    // A12: another user, with the container's capabilities and no more.
    assert_eq!(other.capabilities(), init.capabilities());
    let nothing = ExecSpec { argv: Vec::new(), ..wanted.clone() };
    assert!(matches!(exec_process(&init, &nothing), Err(SpecError::NoArguments)));
    let twice = ExecSpec { env: vec!["A=1".to_owned(), "A=2".to_owned()], ..wanted };
    assert!(matches!(exec_process(&init, &twice), Err(SpecError::VariableTwice { .. })));
}

/// capability(7), by number.
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];
