// SPDX-License-Identifier: Apache-2.0
//! Names of entries, and the names that mean whiteouts.

use crate::error::UnpackError;
use crate::tar::shown;
use crate::tree::MAX_PATH;

/// What an entry's name means. Paths have no leading slash, no empty component, no `.` and no `..`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Name {
    /// The root directory.
    Root,
    /// Something to make.
    Entry { parent: Vec<u8>, name: Vec<u8> },
    /// Removes what lower layers have under this name.
    Whiteout { parent: Vec<u8>, name: Vec<u8> },
    /// Removes what lower layers have in this directory.
    Opaque { directory: Vec<u8> },
    /// Bookkeeping of AUFS, which has no meaning.
    Ignored,
}

/// Parses a name as it stands in an archive.
///
/// `..` is refused wherever it stands. containerd resolves it inside the root; no builder writes it.
pub(crate) fn parse(path: &[u8]) -> Result<Name, UnpackError> {
    let refused = |reason| UnpackError::Name { path: shown(path), reason };
    if path.len() > MAX_PATH {
        return Err(refused("too long"));
    }
    if path.contains(&0) {
        return Err(refused("contains NUL"));
    }
    // C5: traversal.
    if path.split(|b| *b == b'/').any(|part| part == b"..") {
        return Err(refused("contains .."));
    }
    let path = normal(path);
    if path.is_empty() {
        return Ok(Name::Root);
    }
    if path.split(|b| *b == b'/').any(|part| part.starts_with(META_PREFIX) && part != OPAQUE) {
        return Ok(Name::Ignored);
    }
    let (parent, name) = split(&path);
    // C5: whiteout tricks. The prefix is reserved, so a directory of that name is nobody's.
    if parent.split(|b| *b == b'/').any(|part| part.starts_with(PREFIX)) {
        return Err(refused("is inside a whiteout"));
    }
    if name == OPAQUE {
        return Ok(Name::Opaque { directory: parent.to_vec() });
    }
    match name.strip_prefix(PREFIX) {
        Some(b"" | b"." | b"..") => Err(refused("is a whiteout of nothing")),
        Some(name) => Ok(Name::Whiteout { parent: parent.to_vec(), name: name.to_vec() }),
        None => Ok(Name::Entry { parent: parent.to_vec(), name: name.to_vec() }),
    }
}

/// The path without leading, double and final slashes and without `.`.
pub(crate) fn normal(path: &[u8]) -> Vec<u8> {
    let parts = path.split(|b| *b == b'/').filter(|part| !matches!(*part, b"" | b"."));
    parts.collect::<Vec<_>>().join(&b'/')
}

/// Parent and last component of a normal path.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => {
            let (parent, name) = path.split_at(at);
            (parent, name.get(1..).unwrap_or_default())
        }
        None => (b"", path),
    }
}

const PREFIX: &[u8] = b".wh.";
const META_PREFIX: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(parent: &str, name: &str) -> Name {
        Name::Entry { parent: parent.into(), name: name.into() }
    }

    #[test]
    fn names_are_normalised() {
        for (path, expected) in [
            ("a", entry("", "a")),
            ("/a/b", entry("a", "b")),
            ("./a//b/./c/", entry("a/b", "c")),
            ("a/...", entry("a", "...")),
            ("", Name::Root),
            ("./", Name::Root),
            ("/", Name::Root),
        ] {
            assert_eq!(parse(path.as_bytes()).unwrap(), expected, "{path}");
        }
    }

    #[test]
    fn whiteouts_are_told() {
        let whiteout = Name::Whiteout { parent: b"a/b".to_vec(), name: b"c".to_vec() };
        assert_eq!(parse(b"a/b/.wh.c").unwrap(), whiteout);
        assert_eq!(parse(b"a/.wh..wh..opq").unwrap(), Name::Opaque { directory: b"a".to_vec() });
        assert_eq!(parse(b".wh..wh..opq").unwrap(), Name::Opaque { directory: vec![] });
        for path in [".wh..wh.aufs", ".wh..wh.plnk/1.2", "a/.wh..wh.orph/x"] {
            assert_eq!(parse(path.as_bytes()).unwrap(), Name::Ignored, "{path}");
        }
    }

    // C5: traversal and whiteout tricks.
    #[test]
    fn refuses_names() {
        let long = "a/".repeat(MAX_PATH);
        for path in [
            "..",
            "../a",
            "a/../b",
            "a/..",
            "/..",
            ".wh.",
            "a/.wh.",
            ".wh..",
            ".wh...",
            "a/.wh.b/c",
            ".wh..wh..opq/c",
            "a\0b",
            &long,
        ] {
            assert!(matches!(parse(path.as_bytes()), Err(UnpackError::Name { .. })), "{path:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_name_is_confined(path in proptest::collection::vec(0_u8..=255, 0..60)) {
            if let Ok(Name::Entry { parent, name } | Name::Whiteout { parent, name }) = parse(&path) {
                for part in parent.split(|b| *b == b'/').chain([name.as_slice()]) {
                    proptest::prop_assert!(!matches!(part, b"." | b".."));
                    proptest::prop_assert!(!part.contains(&b'/') && !part.contains(&0));
                }
                proptest::prop_assert!(!parent.starts_with(b"/") && !name.is_empty());
            }
        }
    }
}
