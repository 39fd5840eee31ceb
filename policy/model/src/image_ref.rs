// SPDX-License-Identifier: Apache-2.0
//! An image name that is pinned by digest.

use std::fmt;

use serde::Deserialize;
use serde::Serialize;

/// An image pinned by manifest digest: `registry/repository@sha256:<64 hex digits>`.
///
/// The registry is always written out and a tag never occurs, so one text has one meaning.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageRef {
    registry: String,
    repository: String,
    digest: String,
}

impl ImageRef {
    /// Joins a registry (`host[:port]`), a repository path and a manifest digest.
    ///
    /// # Errors
    ///
    /// The first part that is malformed.
    pub fn new(registry: &str, repository: &str, digest: &str) -> Result<Self, BadImageRef> {
        if !is_registry(registry) {
            return Err(BadImageRef::Registry);
        }
        if !is_repository(repository) {
            return Err(BadImageRef::Repository);
        }
        if !is_digest(digest) {
            return Err(BadImageRef::Digest);
        }
        Ok(Self {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            digest: digest.to_owned(),
        })
    }

    /// The registry, `host[:port]`.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository's path in the registry.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The manifest's digest, `sha256:<64 lower-case hex digits>`.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.registry, self.repository, self.digest)
    }
}

impl std::str::FromStr for ImageRef {
    type Err = BadImageRef;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_IMAGE_REF {
            return Err(BadImageRef::TooLong);
        }
        let (name, digest) = text.split_once('@').ok_or(BadImageRef::NotPinned)?;
        let (registry, repository) = name.split_once('/').ok_or(BadImageRef::Registry)?;
        Self::new(registry, repository, digest)
    }
}

impl TryFrom<String> for ImageRef {
    type Error = BadImageRef;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ImageRef> for String {
    fn from(image: ImageRef) -> Self {
        image.to_string()
    }
}

/// Why a text is no image pinned by digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadImageRef {
    /// The digest is not `sha256:` and 64 lower-case hex digits.
    #[error("the digest is not sha256: and 64 lower-case hexadecimal digits")]
    Digest,
    /// There is no digest.
    #[error("the image is not pinned: no @sha256:… at its end")]
    NotPinned,
    /// There is no registry in front, or it is no `host[:port]`.
    #[error("the registry is not written out as host[:port]")]
    Registry,
    /// The repository is malformed or carries a tag.
    #[error("the repository is no lower-case path without a tag")]
    Repository,
    /// The text is over the cap.
    #[error("the image name is longer than {MAX_IMAGE_REF} bytes")]
    TooLong,
}

/// Longest image name in bytes; the distribution specification caps the name alone at 255.
const MAX_IMAGE_REF: usize = 512;

/// `host[:port]`, told from a repository's first part as the distribution reference grammar does:
/// by a dot, a colon or the word localhost.
pub(crate) fn is_registry(text: &str) -> bool {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let label = |l: &str| {
        !l.is_empty()
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let named = host.contains('.') || port.is_some() || host == "localhost";
    let port_ok = port.is_none_or(|p| {
        p.bytes().all(|b| b.is_ascii_digit()) && p.parse::<u16>().is_ok_and(|n| n != 0)
    });
    named && port_ok && text.len() <= 255 && host.split('.').all(label)
}

/// Path components of lower-case letters and digits with single separators between them
/// (distribution specification, "Pulling manifests").
fn is_repository(text: &str) -> bool {
    let component = |c: &str| {
        let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        edge(c.bytes().next())
            && edge(c.bytes().next_back())
            && c.bytes().all(|b| {
                b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-')
            })
            && !c.contains("..")
            && !c.contains("___")
    };
    text.len() <= 255 && text.split('/').all(component)
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn check(name: &str, expected: Result<(&str, &str), BadImageRef>) {
        let text = format!("{name}@{DIGEST}");
        let found: Result<ImageRef, _> = text.parse();
        match (&found, expected) {
            (Ok(image), Ok((registry, repository))) => {
                assert_eq!(image.registry(), registry);
                assert_eq!(image.repository(), repository);
                assert_eq!(image.digest(), DIGEST);
                assert_eq!(image.to_string(), text);
            }
            (found, expected) => {
                assert_eq!(found.as_ref().err().copied(), expected.err(), "{name}")
            }
        }
    }

    #[test]
    fn accepts_written_out_names() {
        check("registry.example:5000/web", Ok(("registry.example:5000", "web")));
        check("docker.io/library/nginx", Ok(("docker.io", "library/nginx")));
        check("localhost/a__b/c-d.e", Ok(("localhost", "a__b/c-d.e")));
        check("127.0.0.1:5000/x", Ok(("127.0.0.1:5000", "x")));
    }

    #[test]
    fn rejects_each_malformed_part() {
        check("nginx", Err(BadImageRef::Registry));
        check("library/nginx", Err(BadImageRef::Registry));
        check("host.example:0/x", Err(BadImageRef::Registry));
        check("host.example:+80/x", Err(BadImageRef::Registry));
        check("host.example:99999/x", Err(BadImageRef::Registry));
        check("-host.example/x", Err(BadImageRef::Registry));
        check("user:pw@host.example/x", Err(BadImageRef::Registry));
        check("host.example/x:latest", Err(BadImageRef::Repository));
        check("host.example/../x", Err(BadImageRef::Repository));
        check("host.example/X", Err(BadImageRef::Repository));
        check("host.example/", Err(BadImageRef::Repository));
        check("host.example/a//b", Err(BadImageRef::Repository));
        check(&format!("host.example/{}", "a".repeat(500)), Err(BadImageRef::TooLong));
    }

    #[test]
    fn rejects_tags_and_other_digests() {
        // C1: a mutable tag
        assert_eq!("host.example/x:latest".parse::<ImageRef>(), Err(BadImageRef::NotPinned));
        for digest in ["sha512:00", "sha256:E3B0", "sha256:", "", &DIGEST.to_uppercase()] {
            let text = format!("host.example/x@{digest}");
            assert_eq!(text.parse::<ImageRef>(), Err(BadImageRef::Digest), "{digest}");
        }
    }
}
