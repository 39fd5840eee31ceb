// SPDX-License-Identifier: Apache-2.0
//! Identifiers of tasks and of the processes in them.

use std::fmt;

/// An identifier that containerd gave: a sandbox, a container or an exec.
///
/// Checked to be what containerd itself accepts (containerd `identifiers` package): ASCII letters
/// and digits, with single `.`, `_` or `-` between them. Such a text is safe as a file name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(String);

impl Id {
    /// Checks `text` and makes it an identifier.
    ///
    /// # Errors
    ///
    /// [`BadId`] when the text is empty, longer than [`MAX_ID_BYTES`] or holds another character.
    pub fn new(text: &str) -> Result<Self, BadId> {
        let well_formed = text
            .split(['.', '_', '-'])
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        if text.len() <= MAX_ID_BYTES && well_formed {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadId { bytes: text.len() })
        }
    }

    /// The identifier as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is no identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an identifier of {bytes} bytes is empty, too long or holds a forbidden character")]
pub struct BadId {
    bytes: usize,
}

/// A process: the first one of a task, or an exec in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process {
    /// The task: the sandbox or a container.
    pub task: Id,
    /// The exec, or none for the first process.
    pub exec: Option<Id>,
}

impl Process {
    /// The first process of `task`.
    #[must_use]
    pub fn init(task: Id) -> Self {
        Self { task, exec: None }
    }

    /// The id that containerd's exit events carry: the exec's, or the task's for the first process.
    #[must_use]
    pub fn event_id(&self) -> &Id {
        self.exec.as_ref().unwrap_or(&self.task)
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.exec {
            None => write!(f, "{}", self.task),
            Some(exec) => write!(f, "{}/{exec}", self.task),
        }
    }
}

/// Longest identifier, in bytes: containerd's own limit is 76; the margin is for other clients.
pub const MAX_ID_BYTES: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_containerd_accepts() {
        for text in ["a", "0f3c9e", "pod-1", "a.b_c-d", &"f".repeat(MAX_ID_BYTES)] {
            assert_eq!(Id::new(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn rejects_everything_else() {
        // A13: an id never becomes a path of the host's choice.
        let long = "f".repeat(MAX_ID_BYTES + 1);
        for text in ["", ".", "..", "a/b", "../a", "a..b", "-a", "a-", "a b", "ä", "a\0", &long] {
            assert!(Id::new(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn exit_events_carry_the_exec_or_the_task() {
        let task = Id::new("web").unwrap();
        let exec = Id::new("probe").unwrap();
        assert_eq!(Process::init(task.clone()).event_id().as_str(), "web");
        let process = Process { task, exec: Some(exec) };
        assert_eq!(process.event_id().as_str(), "probe");
        assert_eq!(process.to_string(), "web/probe");
    }
}
