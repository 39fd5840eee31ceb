// SPDX-License-Identifier: Apache-2.0
//! The guards: each checks one thing, and says in a denial what the host sent and where.
//!
//! None changes anything; a request is reserved after the last of its guards.

pub(crate) mod count;
pub(crate) mod create;
pub(crate) mod env;
pub(crate) mod exec;
pub(crate) mod id;
pub(crate) mod mount;
pub(crate) mod network;
pub(crate) mod order;
pub(crate) mod process;
pub(crate) mod update;
pub(crate) mod visibility;
pub(crate) mod volume;

/// Whether a path of the request is the policy's. Kubernetes lets people write slashes at its end.
fn same_path(policy: &str, request: &str) -> bool {
    policy == trimmed(request)
}

/// A path without slashes at its end.
fn trimmed(path: &str) -> &str {
    match path.trim_end_matches('/') {
        "" if path.starts_with('/') => "/",
        trimmed => trimmed,
    }
}
