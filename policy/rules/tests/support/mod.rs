// SPDX-License-Identifier: Apache-2.0
//! A policy, and requests that fit it.

#![allow(dead_code, reason = "each test uses a part")]

use casemate_policy::Policy;
use casemate_policy_monitor::Monitor;
use casemate_policy_monitor::ReferenceMonitor;
use casemate_policy_rules::Asked;
use casemate_policy_rules::Request;
use serde_json::Value;
use serde_json::json;

pub(crate) const POLICY: &str = r#"
version = 1

[volumes.conf]
kind = "untrusted"
max_bytes = 4096

[containers.web]
image = "registry.example/web@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
encryption = "required"
argv = ["/bin/web"]
cwd = "/"
user = { uid = 1000, gid = 1000 }
env = [{ name = "MODE", value = "fast" }]
env_holes = [{ name = "POD_IP", value = "[0-9.]+" }]
logs = "host-visible"
metrics = "host-visible"
termination_message = "host-visible"
no_new_privileges = true
seccomp = "default"
exec = [{ argv = ["/bin/probe", "-x"] }]
signals = [9, 15]
restart = "always"

[containers.web.resources]
memory = { limit = 67108864, min = 33554432, max = 134217728 }
"#;

pub(crate) fn policy() -> Policy {
    Policy::parse(POLICY.as_bytes()).unwrap()
}

pub(crate) fn typed() -> Monitor {
    Monitor::new(policy()).unwrap()
}

pub(crate) fn request(json: Value) -> Request {
    serde_json::from_value(json).unwrap()
}

/// Every request that is judged, in an order in which an honest host may send them.
pub(crate) fn judged() -> Vec<Request> {
    [
        json!({"SetNetwork": {
            "hostname": "web-0", "addresses": ["10.0.0.7/24"],
            "routes": [{"destination": "0.0.0.0/0", "gateway": "10.0.0.1"}],
            "dns_servers": ["10.96.0.10"], "dns_searches": ["cluster.local"],
        }}),
        json!({"PutVolume": {"volume": "conf", "files": [{"name": "a", "content": "x"}]}}),
        create(),
        json!({"Start": {"container_id": "c1"}}),
        exec(),
        json!({"Update": {"container_id": "c1", "memory_limit": 67_108_864}}),
        json!({"Stats": {"container_id": "c1"}}),
        json!({"Pids": {"container_id": "c1"}}),
        json!({"Signal": {"process": {"container_id": "c1"}, "signal": 15}}),
    ]
    .map(request)
    .to_vec()
}

pub(crate) fn create() -> Value {
    json!({"CreateContainer": {
        "id": "c1", "name": "web", "argv": ["/bin/web"], "env": ["POD_IP=10.0.0.7", "MODE=fast"],
        "image_digest": "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "cwd": "/", "stdout": true,
    }})
}

pub(crate) fn exec() -> Value {
    json!({"ExecProcess": {
        "container_id": "c1", "exec_id": "e1", "argv": ["/bin/probe", "-x"],
        "env": ["POD_IP=10.0.0.7", "MODE=fast"], "stderr": true,
    }})
}

/// Asks, and carries out what is granted.
pub(crate) fn granted(monitor: &mut dyn ReferenceMonitor, request: &Request) {
    match request.ask(monitor) {
        Ok(Asked::Reserved { pending, .. }) => monitor.commit(pending),
        Ok(Asked::Done) => {}
        Err(error) => panic!("{}: {error}", request.name()),
    }
}
