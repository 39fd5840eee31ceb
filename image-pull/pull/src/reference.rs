// SPDX-License-Identifier: Apache-2.0
//! Image references.

use std::fmt;
use std::str::FromStr;

use casemate_image_crypt::Digest;

/// An image's name: registry, repository, and a tag, a digest or both.
///
/// Short names are completed as Docker and containerd do it: `nginx` is
/// `docker.io/library/nginx`; without tag and digest the tag is `latest`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// The registry, `host[:port]`, as in the name.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if there is one.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The manifest's digest, if the reference is pinned.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The same repository pinned to `digest`, without a tag: the form that a policy holds.
    #[must_use]
    pub fn pin(&self, digest: Digest) -> PinnedReference {
        let reference = Self { tag: None, digest: Some(digest), ..self.clone() };
        PinnedReference { reference, digest }
    }
}

impl FromStr for Reference {
    type Err = BadReference;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_REFERENCE {
            return Err(BadReference::Long { size: text.len() });
        }
        let bad = |part| BadReference::Form { text: text.to_owned(), part };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse().map_err(|_| bad("digest"))?)),
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(bad("tag"));
        }
        let (registry, repository) = match name.split_once('/') {
            Some((host, path)) if is_host_like(host) => (host, path.to_owned()),
            Some(_) => (DOCKER, name.to_owned()),
            None => (DOCKER, format!("library/{name}")),
        };
        if !is_registry(registry) {
            return Err(bad("registry"));
        }
        if repository.is_empty() || !repository.split('/').all(is_component) {
            return Err(bad("repository"));
        }
        let registry = if DOCKER_NAMES.contains(&registry) { DOCKER } else { registry };
        let tag = match (tag, digest) {
            (None, None) => Some("latest"),
            (tag, _) => tag,
        };
        let tag = tag.map(str::to_owned);
        let completed = Self { registry: registry.to_owned(), repository, tag, digest };
        // What completing adds counts too: every reference can be read again from its own text.
        let size = completed.to_string().len();
        if size > MAX_REFERENCE {
            return Err(BadReference::Long { size });
        }
        Ok(completed)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// A reference that names exactly one content.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PinnedReference {
    reference: Reference,
    digest: Digest,
}

impl PinnedReference {
    /// The digest of the manifest or index.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The reference.
    #[must_use]
    pub fn reference(&self) -> &Reference {
        &self.reference
    }
}

impl FromStr for PinnedReference {
    type Err = BadReference;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let reference: Reference = text.parse()?;
        // C1: a tag may move.
        let digest =
            reference.digest.ok_or_else(|| BadReference::NotPinned { text: text.to_owned() })?;
        Ok(Self { reference, digest })
    }
}

impl fmt::Display for PinnedReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reference.fmt(f)
    }
}

/// The text is no image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadReference {
    /// A part is malformed.
    #[error("image reference {text:?} has a malformed {part}")]
    Form {
        /// The reference.
        text: String,
        /// Which part.
        part: &'static str,
    },
    /// No digest where one is needed.
    #[error("image reference {text:?} is not pinned by a digest")]
    NotPinned {
        /// The reference.
        text: String,
    },
    /// Too long.
    #[error("image reference has {size} bytes, more than {MAX_REFERENCE}")]
    Long {
        /// Its size in bytes.
        size: usize,
    },
}

/// Where the registry with this name is reached: `registry-1.docker.io` for `docker.io`.
pub(crate) fn registry_host(registry: &str) -> &str {
    if DOCKER_NAMES.contains(&registry) { DOCKER_HOST } else { registry }
}

/// Whether a first component is a registry rather than part of a repository.
fn is_host_like(text: &str) -> bool {
    text.contains(['.', ':']) || text == "localhost" || text.bytes().any(|b| b.is_ascii_uppercase())
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.split('.').all(is_label)
        && port.is_none_or(|p| {
            p.bytes().all(|b| b.is_ascii_digit()) && p.parse::<u16>().is_ok_and(|p| p != 0)
        })
}

/// A path component: runs of lower-case letters and digits, separated by `.`, `_`, `__` or dashes.
fn is_component(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends =
        bytes.first().is_some_and(|b| is_word(*b)) && bytes.last().is_some_and(|b| is_word(*b));
    let separators = text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    ends && separators
        .filter(|s| !s.is_empty())
        .all(|s| matches!(s, "." | "_" | "__") || s.bytes().all(|b| b == b'-'))
}

fn is_tag(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=MAX_TAG).contains(&text.len())
        && text.bytes().next().is_some_and(is_word)
        && text.bytes().all(|b| is_word(b) || matches!(b, b'.' | b'-'))
}

const DOCKER: &str = "docker.io";
const DOCKER_HOST: &str = "registry-1.docker.io";
const DOCKER_NAMES: &[&str] = &[DOCKER, "index.docker.io"];
/// Longest reference in bytes.
const MAX_REFERENCE: usize = 1024;
/// Longest tag in bytes, OCI distribution specification.
const MAX_TAG: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn names_are_completed_as_docker_does() {
        for (text, full) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1.25", "docker.io/library/nginx:1.25"),
            ("user/app", "docker.io/user/app:latest"),
            ("index.docker.io/library/nginx", "docker.io/library/nginx:latest"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/app", "localhost:5000/app:latest"),
            ("registry.example/a/b_c/d--e/f.g__h:T-1", "registry.example/a/b_c/d--e/f.g__h:T-1"),
            ("127.0.0.1:5000/a:b", "127.0.0.1:5000/a:b"),
        ] {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), full);
        }
        let docker: Reference = "nginx".parse().unwrap();
        assert_eq!(registry_host(docker.registry()), "registry-1.docker.io");
    }

    #[test]
    fn pinned_references_may_have_a_tag() {
        for text in
            [format!("registry.example/a@{DIGEST}"), format!("registry.example/a:t@{DIGEST}")]
        {
            let pinned: PinnedReference = text.parse().unwrap();
            assert_eq!(pinned.to_string(), text);
            assert_eq!(pinned.digest().to_string(), DIGEST);
            let again = pinned.reference().pin(pinned.digest());
            assert_eq!(again.to_string(), format!("registry.example/a@{DIGEST}"));
        }
    }

    // C1: a tag may move.
    #[test]
    fn a_tag_is_no_pin() {
        let found = "registry.example/a:t".parse::<PinnedReference>();
        assert!(matches!(found, Err(BadReference::NotPinned { .. })));
    }

    #[test]
    fn refuses_other_texts() {
        for text in [
            "",
            "/",
            "a//b",
            "registry.example/",
            "registry.example//a",
            "registry.example/../a",
            "registry.example/A",
            "registry.example/a:",
            "registry.example/a:-t",
            "registry.example/a@sha256:12",
            "registry.example/a@",
            "registry.example:0/a",
            "registry.example:99999/a",
            "registry.example:+80/a",
            "registry.example:80:80/a",
            "user@registry.example/a",
            "-x.example/a",
            "https://registry.example/a",
            "registry.example/a?x=y",
            "registry.example/a#x",
            "registry.example/a b",
            "registry.example/a..b",
            "registry.example/a___b",
            "registry.example/-a",
        ] {
            assert!(matches!(text.parse::<Reference>(), Err(BadReference::Form { .. })), "{text}");
        }
        let long = format!("registry.example/{}", "a".repeat(MAX_REFERENCE));
        assert!(matches!(long.parse::<Reference>(), Err(BadReference::Long { .. })));
        let completed = "a/".repeat(505) + "abc";
        assert!(matches!(completed.parse::<Reference>(), Err(BadReference::Long { .. })));
    }
}
