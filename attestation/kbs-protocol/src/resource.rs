// SPDX-License-Identifier: Apache-2.0
//! Names of resources: `repository/type/tag` and the URI form `kbs:///repository/type/tag`.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;

/// A resource's path: repository, type and tag.
///
/// Each segment is `[A-Za-z0-9_-][A-Za-z0-9_.-]*`, so that no path can hold a separator, a parent
/// reference, a query or an escape, and one resource has exactly one name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourcePath {
    repository: String,
    kind: String,
    tag: String,
}

/// A resource's URI, `kbs:///repository/type/tag`. The authority is empty: the broker is the one
/// that the initdata names, never one that an image or a host names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ResourceUri(ResourcePath);

impl ResourcePath {
    /// Builds a path from its segments.
    ///
    /// # Errors
    ///
    /// [`ResourcePathError`] when a segment is empty, too long or has a character outside the set.
    pub fn new(repository: &str, kind: &str, tag: &str) -> Result<Self, ResourcePathError> {
        for segment in [repository, kind, tag] {
            check_segment(segment)?;
        }
        Ok(Self { repository: repository.to_owned(), kind: kind.to_owned(), tag: tag.to_owned() })
    }

    /// The first segment.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The second segment.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The third segment.
    #[must_use]
    pub fn tag(&self) -> &str {
        &self.tag
    }
}

impl ResourceUri {
    /// The path that the URI names.
    #[must_use]
    pub fn path(&self) -> &ResourcePath {
        &self.0
    }
}

impl From<ResourcePath> for ResourceUri {
    fn from(path: ResourcePath) -> Self {
        Self(path)
    }
}

impl FromStr for ResourcePath {
    type Err = ResourcePathError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let mut segments = s.split('/');
        let (Some(repository), Some(kind), Some(tag), None) =
            (segments.next(), segments.next(), segments.next(), segments.next())
        else {
            return Err(ResourcePathError::Segments);
        };
        Self::new(repository, kind, tag)
    }
}

impl FromStr for ResourceUri {
    type Err = ResourcePathError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let path = s.strip_prefix(URI_PREFIX).ok_or(ResourcePathError::Scheme)?;
        Ok(Self(path.parse()?))
    }
}

impl fmt::Display for ResourcePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.repository, self.kind, self.tag)
    }
}

impl fmt::Display for ResourceUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{URI_PREFIX}{}", self.0)
    }
}

impl Serialize for ResourceUri {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ResourceUri {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The text is not the name of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResourcePathError {
    /// The URI has another scheme or an authority.
    #[error("a resource URI starts with kbs:/// and names no host")]
    Scheme,
    /// There are fewer or more than three segments.
    #[error("a resource path has three segments: repository/type/tag")]
    Segments,
    /// A segment has no character.
    #[error("a segment of the resource path is empty")]
    EmptySegment,
    /// A segment has more than 128 bytes.
    #[error("a segment of the resource path is longer than {MAX_SEGMENT_BYTES} bytes")]
    LongSegment,
    /// A segment has a character outside the set, or begins with a dot.
    #[error(
        "a segment of the resource path has a character other than A-Z a-z 0-9 _ . - or begins with a dot"
    )]
    Character,
}

fn check_segment(segment: &str) -> Result<(), ResourcePathError> {
    let mut bytes = segment.bytes();
    let first = bytes.next().ok_or(ResourcePathError::EmptySegment)?;
    if segment.len() > MAX_SEGMENT_BYTES {
        return Err(ResourcePathError::LongSegment);
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if plain(first) && bytes.all(|b| plain(b) || b == b'.') {
        Ok(())
    } else {
        Err(ResourcePathError::Character)
    }
}

const URI_PREFIX: &str = "kbs:///";

/// Longest segment of a resource path, bytes.
const MAX_SEGMENT_BYTES: usize = 128;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parses_and_prints_the_uri() {
        let uri: ResourceUri = "kbs:///default/key/1.a-b_c".parse().unwrap();
        assert_eq!(uri.path().repository(), "default");
        assert_eq!(uri.path().kind(), "key");
        assert_eq!(uri.path().tag(), "1.a-b_c");
        assert_eq!(uri.to_string(), "kbs:///default/key/1.a-b_c");
    }

    #[test]
    fn refuses_each_wrong_form() {
        use ResourcePathError as E;
        let long = "a".repeat(MAX_SEGMENT_BYTES + 1);
        for (uri, error) in [
            ("kbs://evil.example/a/b/c", E::Scheme), // another broker
            ("kbs+plugin:///a/b/c", E::Scheme),
            ("KBS:///a/b/c", E::Scheme),
            ("", E::Scheme),
            ("kbs:///a/b", E::Segments),
            ("kbs:///a/b/c/d", E::Segments),
            ("kbs:///kbs:///default/key/1", E::Segments), // the doubled prefix of an old fixture
            ("kbs:///a//c", E::EmptySegment),
            ("kbs:///a/b/", E::EmptySegment),
            ("kbs:///a/../c", E::Character),
            ("kbs:///a/.b/c", E::Character),
            ("kbs:///a/b/c?x=1", E::Character),
            ("kbs:///a/b/%2e", E::Character),
            ("kbs:///a/b/c\n", E::Character),
            ("kbs:///a/b/é", E::Character),
            (&format!("kbs:///a/b/{long}"), E::LongSegment),
        ] {
            assert_eq!(uri.parse::<ResourceUri>(), Err(error), "{uri}");
        }
    }

    proptest! {
        #[test]
        fn what_parses_prints_the_same(text in "[a-zA-Z0-9_./-]{0,40}") {
            if let Ok(path) = text.parse::<ResourcePath>() {
                prop_assert_eq!(path.to_string(), text);
            }
        }
    }
}
