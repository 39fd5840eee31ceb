// SPDX-License-Identifier: Apache-2.0
//! Ids that the host gives to containers and to processes in them.

use std::fmt;

/// Longest id: containerd's own limit.
pub const MAX_ID: usize = 76;

/// Id of a container: letters, digits, `_`, `-`, `.`, beginning with a letter or a digit.
///
/// # Security
///
/// The id becomes part of paths. It holds no separator, is never `.` or `..`, and has no `:` or
/// `,`, which mean something in mount options.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerId(String);

impl ContainerId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for ContainerId {
    type Error = BadId;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        check(text).map(|()| Self(text.to_owned()))
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A process: a container's first one, or a command that was run in it later.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProcessId {
    /// The container.
    pub container: ContainerId,
    /// The exec's id; `None` is the container's first process.
    pub exec: Option<ContainerId>,
}

impl ProcessId {
    /// The first process of `container`.
    #[must_use]
    pub const fn init(container: ContainerId) -> Self {
        Self { container, exec: None }
    }

    /// The command `exec` in `container`.
    #[must_use]
    pub const fn exec(container: ContainerId, exec: ContainerId) -> Self {
        Self { container, exec: Some(exec) }
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.exec {
            None => write!(f, "{}", self.container),
            Some(exec) => write!(f, "{}/{exec}", self.container),
        }
    }
}

fn check(text: &str) -> Result<(), BadId> {
    if text.is_empty() || text.len() > MAX_ID {
        return Err(BadId::Length { length: text.len() });
    }
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    if first && rest { Ok(()) } else { Err(BadId::Character) }
}

/// The text is no id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadId {
    /// Empty, or longer than [`MAX_ID`] bytes.
    #[error("id of {length} bytes; 1 to {MAX_ID} are allowed")]
    Length {
        /// Length of the text in bytes.
        length: usize,
    },
    /// A character that is not allowed at its place.
    #[error("id with a character that is not a letter, digit, `_`, `-` or `.`")]
    Character,
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_id_is_one_plain_path_component(text in "[a-zA-Z0-9_./:,\\\\ \u{0}-\u{2f}é-]{0,80}") {
            if let Ok(id) = ContainerId::try_from(text.as_str()) {
                prop_assert_eq!(id.as_str(), &text);
                let path = Path::new("/base").join(id.as_str());
                prop_assert_eq!(path.parent(), Some(Path::new("/base")));
                prop_assert_eq!(path.file_name().and_then(|n| n.to_str()), Some(text.as_str()));
                prop_assert!(!text.contains([':', ',', '\\', ' ', '\0', '\n']));
            }
        }
    }

    #[test]
    fn accepts_what_containerd_makes() {
        let hex = "0123456789abcdef".repeat(4);
        for text in [hex.as_str(), "web", "a", "exec-1_2.3", "0"] {
            assert_eq!(ContainerId::try_from(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn refuses_length() {
        assert_eq!(ContainerId::try_from(""), Err(BadId::Length { length: 0 }));
        let long = "a".repeat(MAX_ID + 1);
        assert_eq!(ContainerId::try_from(long.as_str()), Err(BadId::Length { length: MAX_ID + 1 }));
    }

    #[test]
    fn refuses_what_could_leave_a_directory_or_a_mount_option() {
        // B2: options injected into a mount; A13: names that leave their directory.
        for text in [".", "..", "../x", "a/b", "a:b", "a,b", "a b", "a\0", "a\n", "-a", "é", ".x"]
        {
            assert_eq!(ContainerId::try_from(text), Err(BadId::Character), "{text:?}");
        }
    }
}
