// SPDX-License-Identifier: Apache-2.0
//! Names and passwords for registries, as Docker and Podman keep them.
//!
//! Sources: Docker's `config.json` (docs of `docker login`) and containers-auth.json(5): entries under
//! `auths` for a host or, more narrowly, for a path on it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde::Deserializer;
use zeroize::Zeroizing;

/// A name and a password for a registry.
#[derive(Clone)]
pub struct Login {
    /// User name.
    pub user: String,
    /// Password or access token.
    pub password: Zeroizing<String>,
}

/// The `auths` of a `config.json`. Wiped when dropped.
#[derive(Default, Deserialize)]
#[serde(transparent)]
pub struct Auths(BTreeMap<String, Auth>);

#[derive(Default, Deserialize)]
struct Auth {
    #[serde(default)]
    auth: Hidden,
    #[serde(default)]
    username: Hidden,
    #[serde(default)]
    password: Hidden,
    #[serde(default)]
    identitytoken: Hidden,
}

/// A text that is wiped when it is dropped.
#[derive(Default)]
struct Hidden(Zeroizing<String>);

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

impl Auths {
    /// Reads the `auths` of a whole `config.json`; what else is in it is not looked at.
    ///
    /// # Errors
    ///
    /// [`LoginError::Malformed`] if it is none, or over its cap.
    pub fn of_config(bytes: &[u8]) -> Result<Self, LoginError> {
        #[derive(Deserialize)]
        struct Config {
            auths: Auths,
        }
        if bytes.len() > MAX_CONFIG {
            return Err(LoginError::Malformed);
        }
        // The text of a JSON error may quote what it found.
        let config: Config = serde_json::from_slice(bytes).map_err(|_| LoginError::Malformed)?;
        Ok(config.auths)
    }

    /// The login for a repository of a registry, of the longest entry that covers it; `None` if none
    /// does, or if the entry is empty.
    ///
    /// # Errors
    ///
    /// [`LoginError`] if that entry cannot be used.
    pub fn login(&self, host: &str, repository: &str) -> Result<Option<Login>, LoginError> {
        let name = format!("{}/{repository}", canonical(host));
        let covers = |key: &str| {
            name.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let entries = self.0.iter().map(|(key, auth)| (canonical_entry(key), auth));
        let found = entries.filter(|(key, _)| covers(key)).max_by_key(|(key, _)| key.len());
        match found {
            Some((entry, auth)) => auth.login(&entry),
            None => Ok(None),
        }
    }
}

impl Auth {
    fn login(&self, entry: &str) -> Result<Option<Login>, LoginError> {
        if !self.identitytoken.0.is_empty() {
            return Err(LoginError::IdentityToken { entry: entry.to_owned() });
        }
        if !self.username.0.is_empty() {
            let (user, password) = (self.username.0.to_string(), self.password.0.clone());
            return Ok(Some(Login { user, password }));
        }
        if self.auth.0.is_empty() {
            return Ok(None);
        }
        let malformed = || LoginError::Auth { entry: entry.to_owned() };
        let bytes = BASE64.decode(self.auth.0.trim()).map_err(|_| malformed())?;
        let bytes = Zeroizing::new(bytes);
        let text = std::str::from_utf8(&bytes).map_err(|_| malformed())?;
        let (user, password) = text.split_once(':').ok_or_else(malformed)?;
        // Old versions of Docker filled up with zeros.
        let password = Zeroizing::new(password.trim_end_matches('\0').to_owned());
        Ok(Some(Login { user: user.to_owned(), password }))
    }
}

/// Why there is no login. No text of it holds a part of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// The document is none.
    #[error("is no config.json of Docker or auth.json of Podman")]
    Malformed,
    /// The entry holds a token of a kind that is not used.
    #[error("{entry}: identity tokens are not used here")]
    IdentityToken {
        /// The entry.
        entry: String,
    },
    /// The entry holds no name and password.
    #[error("{entry}: its auth is no base64 of user:password")]
    Auth {
        /// The entry.
        entry: String,
    },
}

/// A host as image names have it.
#[must_use]
pub fn canonical(host: &str) -> &str {
    let bare = host.strip_prefix("https://").or_else(|| host.strip_prefix("http://"));
    let host = match bare {
        // Docker keeps URLs of the API for some hosts.
        Some(bare) => bare.split('/').next().unwrap_or(bare),
        None => host,
    };
    if DOCKER_NAMES.contains(&host) { DOCKER } else { host }
}

/// A host, or a host with a path.
fn canonical_entry(key: &str) -> String {
    if key.contains("://") {
        return canonical(key).to_owned();
    }
    match key.trim_end_matches('/').split_once('/') {
        Some((host, path)) => format!("{}/{path}", canonical(host)),
        None => canonical(key.trim_end_matches('/')).to_owned(),
    }
}

const DOCKER: &str = "docker.io";
const DOCKER_NAMES: &[&str] = &[DOCKER, "index.docker.io", "registry-1.docker.io"];
/// Most bytes of a `config.json`.
const MAX_CONFIG: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn found(json: &str, host: &str, repository: &str) -> Result<Option<String>, LoginError> {
        let login = Auths::of_config(json.as_bytes())?.login(host, repository)?;
        Ok(login.map(|login| format!("{}/{}", login.user, login.password.as_str())))
    }

    #[test]
    fn the_longest_entry_counts() {
        // `a:1` and `b:2`.
        let json = r#"{"auths": {"r.example": {"auth": "YTox"}, "r.example/team": {"auth": "Yjoy"},
            "https://index.docker.io/v1/": {"username": "d", "password": "3"}}, "credsStore": "x"}"#;
        let login = |host, repository| found(json, host, repository).unwrap();
        assert_eq!(login("r.example", "x").as_deref(), Some("a/1"));
        assert_eq!(login("r.example", "team/x").as_deref(), Some("b/2"));
        assert_eq!(login("r.example", "teams").as_deref(), Some("a/1"));
        assert_eq!(login("registry-1.docker.io", "library/x").as_deref(), Some("d/3"));
        // C11: nobody else's.
        assert_eq!(login("r.example.evil", "x"), None);
        assert_eq!(login("r.example:5000", "x"), None);
        assert_eq!(login("other.example", "r.example"), None);
    }

    #[test]
    fn no_error_holds_a_secret() {
        for (json, error) in [
            ("", LoginError::Malformed),
            ("hidden", LoginError::Malformed),
            (r#"{"auth": "hidden"}"#, LoginError::Malformed),
            (r#"{"auths": {"r.example": {"auth": ["hidden"]}}}"#, LoginError::Malformed),
            (
                r#"{"auths": {"r.example": {"auth": "hidden!"}}}"#,
                LoginError::Auth { entry: "r.example".to_owned() },
            ),
            (
                r#"{"auths": {"r.example": {"auth": "aGlkZGVu"}}}"#,
                LoginError::Auth { entry: "r.example".to_owned() },
            ),
            (
                r#"{"auths": {"r.example": {"identitytoken": "hidden"}}}"#,
                LoginError::IdentityToken { entry: "r.example".to_owned() },
            ),
        ] {
            let shown = found(json, "r.example", "x").unwrap_err();
            assert_eq!(shown, error, "{json}");
            assert!(!shown.to_string().contains("hidden"));
        }
        assert_eq!(found(r#"{"auths": {"r.example": {}}}"#, "r.example", "x"), Ok(None));
        let large = format!(r#"{{"auths": {{}}, "x": "{}"}}"#, "x".repeat(MAX_CONFIG));
        assert_eq!(found(&large, "r.example", "x"), Err(LoginError::Malformed));
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in ".{0,200}", entry in "[a-z./:]{0,20}", auth in ".{0,20}") {
            let _ = found(&text, "r.example", "x");
            let json = serde_json::json!({"auths": {entry.as_str(): {"auth": auth}}}).to_string();
            let _ = found(&json, &entry, "x");
        }
    }
}
