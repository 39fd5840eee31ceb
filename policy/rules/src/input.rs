// SPDX-License-Identifier: Apache-2.0
//! What the rules see of a request.

use std::collections::BTreeMap;

use casemate_policy_monitor::Grant;
use serde::Serialize;
use serde_json::Value;

use crate::Request;

/// The input of the rules. Its shape is public: `docs/how-to/narrow-with-rego.md`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Input {
    /// Version of this shape; 1.
    pub version: u32,
    /// Name of the call.
    pub request: &'static str,
    /// Name of the container in the policy; absent for the pod as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The request's fields, named as in the agent's API.
    pub fields: Value,
    /// What the monitor grants a new process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub granted: Option<Granted>,
}

/// What a new process gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Granted {
    /// Its environment by name: the policy's variables and the holes that the host filled.
    pub env: BTreeMap<String, String>,
    /// Its user.
    pub uid: u32,
    /// Its primary group.
    pub gid: u32,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// Whether the host writes to its stdin.
    pub stdin: bool,
    /// Whether the host reads its stdout.
    pub stdout: bool,
    /// Whether the host reads its stderr.
    pub stderr: bool,
}

impl Input {
    /// The input for a request that was granted.
    #[must_use]
    pub fn new(request: &Request, container: Option<&str>, grant: Option<&Grant>) -> Self {
        // `{"<name>": {…}}`: the fields are the one value.
        let fields = match serde_json::to_value(request) {
            Ok(Value::Object(object)) => object.into_iter().next().map(|(_, fields)| fields),
            _ => None,
        };
        Self {
            version: VERSION,
            request: request.name(),
            container: container.map(str::to_owned),
            fields: fields.unwrap_or_default(),
            granted: grant.map(Granted::new),
        }
    }
}

impl Granted {
    fn new(grant: &Grant) -> Self {
        let variables = grant.env.iter().filter_map(|variable| variable.split_once('='));
        Self {
            env: variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            uid: grant.user.uid,
            gid: grant.user.gid,
            terminal: grant.stdio.terminal,
            stdin: grant.stdio.stdin,
            stdout: grant.stdio.stdout,
            stderr: grant.stdio.stderr,
        }
    }
}

const VERSION: u32 = 1;
