// SPDX-License-Identifier: Apache-2.0
//! The rules that a policy obeys beyond its types.

mod container;
mod mounts;
mod sandbox;
mod text;

use std::collections::BTreeSet;

use crate::Container;
use crate::DocumentError;
use crate::Policy;
use crate::Role;
use crate::error::FieldPath;
use crate::error::Problem;

pub(crate) use text::is_dns_label;
pub use text::is_file_name;
pub use text::is_hostname;

impl Policy {
    /// Checks every rule of the format that the types do not express.
    ///
    /// [`Policy::parse`] has done this already; who builds a policy by hand calls it before use.
    ///
    /// # Errors
    ///
    /// The first field that breaks a rule.
    pub fn validate(&self) -> Result<(), DocumentError> {
        if self.version != Self::VERSION {
            return Err(FieldPath::root("version").error(Problem::Version));
        }
        sandbox::check(&self.sandbox)?;
        mounts::check_volumes(&self.volumes)?;
        let root = FieldPath::root("containers");
        if self.containers.len() > MAX_CONTAINERS {
            return Err(root.error(Problem::TooMany));
        }
        for (name, container) in &self.containers {
            let path = root.field(name);
            if !is_dns_label(name) {
                return Err(path.error(Problem::NotName));
            }
            container::check(container, &path)?;
            mounts::check_mounts(container, &self.volumes, &path)?;
            self.check_order(name, container, &path)?;
        }
        Ok(())
    }

    /// Predecessors exist, are of a role that can be waited for, and no container waits for itself,
    /// directly or around a ring.
    fn check_order(
        &self,
        name: &str,
        container: &Container,
        path: &FieldPath,
    ) -> Result<(), DocumentError> {
        // Sidecars do not end; ephemeral containers need not come.
        let ends = |role| matches!(role, Role::Init | Role::App);
        self.check_predecessors(name, &container.after, ends, &path.field("after"))?;
        let stays = |role| role == Role::Sidecar;
        let after_started = path.field("after_started");
        self.check_predecessors(name, &container.after_started, stays, &after_started)
    }

    fn check_predecessors(
        &self,
        name: &str,
        list: &[String],
        fits: impl Fn(Role) -> bool,
        path: &FieldPath,
    ) -> Result<(), DocumentError> {
        text::unique(list, path)?;
        let mut seen = BTreeSet::new();
        let mut open: Vec<&str> = list.iter().map(String::as_str).collect();
        while let Some(next) = open.pop() {
            let Some(predecessor) = self.containers.get(next).filter(|_| next != name) else {
                return Err(path.clone().error(Problem::Unknown));
            };
            if seen.insert(next) {
                let further = predecessor.after.iter().chain(&predecessor.after_started);
                open.extend(further.map(String::as_str));
            }
        }
        let role = |name: &String| self.containers.get(name).map(|container| container.role);
        match list.iter().position(|name| !role(name).is_some_and(&fits)) {
            Some(index) => Err(path.index(index).error(Problem::Unfitting)),
            None => Ok(()),
        }
    }
}

/// Most containers in a pod.
const MAX_CONTAINERS: usize = 256;
/// Most entries of any list.
const MAX_LIST: usize = 1024;
