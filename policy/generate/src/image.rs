// SPDX-License-Identifier: Apache-2.0
//! Images: their names as pods write them, and what the generator must know of each.

use std::fmt;

use casemate_policy::ImageRef;

use crate::Users;

/// An image name as it stands in a pod, with everything written out that containerd adds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageName {
    /// `host[:port]`.
    pub registry: String,
    /// Path in the registry.
    pub repository: String,
    /// Tag; there unless a digest is.
    pub tag: Option<String>,
    /// Digest of the manifest or index.
    pub digest: Option<String>,
}

impl std::str::FromStr for ImageName {
    type Err = BadImageName;

    /// Reads a name after the grammar of the distribution project's reference package and fills in
    /// `docker.io`, `library/` and `latest` as containerd does.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        let (path, tag) = match name.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
            _ => (name, None),
        };
        let (registry, repository) = match path.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => {
                (first, rest.to_owned())
            }
            Some(_) => (DEFAULT_REGISTRY, path.to_owned()),
            None => (DEFAULT_REGISTRY, format!("library/{path}")),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(BadImageName);
        }
        // The policy's own type knows the rules for registry, repository and digest.
        ImageRef::new(registry, &repository, digest.unwrap_or(ANY_DIGEST))
            .map_err(|_| BadImageName)?;
        let tag = tag.or(if digest.is_none() { Some("latest") } else { None });
        Ok(Self {
            registry: registry.to_owned(),
            repository,
            tag: tag.map(str::to_owned),
            digest: digest.map(str::to_owned),
        })
    }
}

impl fmt::Display for ImageName {
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

/// The text is no image name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an image name")]
pub struct BadImageName;

/// What the generator must know of an image.
pub struct Image {
    /// Digest of the document that the name stands for, manifest or index, `sha256:…`.
    pub digest: String,
    /// Whether a layer is encrypted; then the policy demands that.
    pub encrypted: bool,
    /// What the image's configuration says.
    pub config: ImageConfig,
    /// The image's users; `None` if its layers cannot be read here.
    pub users: Option<Box<dyn Users>>,
}

/// The part of an image's configuration that decides what runs
/// (OCI image specification, "Image Configuration", `config`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// `NAME=value`.
    pub env: Vec<String>,
    /// First part of the argument list.
    pub entrypoint: Vec<String>,
    /// Default arguments.
    pub cmd: Vec<String>,
    /// Working directory.
    pub working_dir: String,
    /// `user`, `uid`, either with `:group`.
    pub user: String,
    /// Name or number of a signal.
    pub stop_signal: Option<String>,
    /// Directories that the image wants on volumes.
    pub volumes: Vec<String>,
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= 128
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

/// The registry of names that have none.
const DEFAULT_REGISTRY: &str = "docker.io";
/// Stands in for a digest that is not known yet.
const ANY_DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(text.parse::<ImageName>().unwrap().to_string(), expected, "{text}");
    }

    #[test]
    fn writes_out_what_containerd_adds() {
        check("nginx", "docker.io/library/nginx:latest");
        check("nginx:1.27", "docker.io/library/nginx:1.27");
        check("team/app", "docker.io/team/app:latest");
        check("localhost/app", "localhost/app:latest");
        check("registry.example:5000/app:v1", "registry.example:5000/app:v1");
        check("registry.example:5000/app", "registry.example:5000/app:latest");
        let pinned = format!("registry.example/app@{ANY_DIGEST}");
        check(&pinned, &pinned);
        let both = format!("registry.example/app:v1@{ANY_DIGEST}");
        check(&both, &both);
    }

    #[test]
    fn rejects_other_texts() {
        for text in ["", ":v1", "App", "a b", "reg.example/", "x:", "x:-v", "x@sha256:00", "a/../b"]
        {
            assert_eq!(text.parse::<ImageName>(), Err(BadImageName), "{text}");
        }
    }
}
