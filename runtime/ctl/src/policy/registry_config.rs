// SPDX-License-Identifier: Apache-2.0
//! Credentials for registries, as Docker and Podman keep them.
//!
//! Sources: Docker's `config.json` (docs of `docker login`) and containers-auth.json(5): entries under
//! `auths` for a host or, more narrowly, for a path on it; `credHelpers` and `credsStore` name programs
//! `docker-credential-NAME` that hold them instead.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use casemate_image_pull::Auths;
use casemate_image_pull::Login;
use casemate_image_pull::LoginError;
use casemate_image_pull::canonical_registry as canonical;
use serde::Deserialize;
use serde::Deserializer;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::file;

/// Credentials for registries.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RegistryConfig {
    #[serde(default)]
    auths: Auths,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
    #[serde(skip)]
    file: String,
}

/// What a helper answers.
#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Username")]
    username: String,
    #[serde(rename = "Secret")]
    secret: Secret,
}

/// A text that is wiped when it is dropped.
#[derive(Default)]
struct Secret(Zeroizing<String>);

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

impl RegistryConfig {
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let text = Zeroizing::new(file::read_text(path, MAX_CONFIG)?);
        Self::parse(&text, &path.display().to_string())
    }

    fn parse(text: &str, file: &str) -> Result<Self, Failure> {
        let config: Self = serde_json::from_str(text).map_err(|error| {
            let place = format!("line {}, column {}", error.line(), error.column());
            let message =
                format!("{file}: {place}: no config.json of Docker or auth.json of Podman");
            Failure::new("registry-config", message, "give the file that docker login writes")
        })?;
        Ok(Self { file: file.to_owned(), ..config })
    }

    /// The credentials for a repository: of a helper for its host, else of the store, else of the
    /// longest entry that covers it.
    pub(super) fn login(&self, host: &str, repository: &str) -> Result<Option<Login>, Failure> {
        let host = canonical(host);
        let helper = self.cred_helpers.iter().find(|(key, _)| canonical(key) == host);
        if let Some((_, helper)) = helper {
            return self.ask(helper, host);
        }
        if let Some(store) = self.creds_store.as_deref().filter(|store| !store.is_empty())
            && let Some(login) = self.ask(store, host)?
        {
            return Ok(Some(login));
        }
        let found = self.auths.login(host, repository);
        found.map_err(|error| {
            let next = match error {
                LoginError::IdentityToken { .. } => {
                    "log in with a user name and a password or access token"
                }
                _ => "log in again",
            };
            Failure::new("registry-config", format_args!("{}: {error}", self.file), next)
        })
    }

    /// Asks a helper; none if it does not know the host.
    fn ask(&self, helper: &str, host: &str) -> Result<Option<Login>, Failure> {
        let program = format!("docker-credential-{helper}");
        let failed = |reason: &str| {
            let next = "run it by hand: echo HOST | docker-credential-NAME get";
            self.wrong(&program, reason, next)
        };
        let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if helper.is_empty() || !helper.bytes().all(is_name) {
            return Err(failed("no program can have this name"));
        }
        let server = if host == DOCKER { DOCKER_SERVER } else { host };
        let child = Command::new(&program)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn();
        let mut child = child.map_err(|error| failed(&format!("cannot be started: {error}")))?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that does not read its input says so by its answer.
            let _ = stdin.write_all(server.as_bytes());
        }
        let output = child.wait_with_output().map_err(|error| failed(&error.to_string()))?;
        let stdout = Zeroizing::new(output.stdout);
        if !output.status.success() {
            let text = String::from_utf8_lossy(&stdout);
            return if text.contains(NOT_FOUND) { Ok(None) } else { Err(failed("it failed")) };
        }
        let answer: Answer = serde_json::from_slice(&stdout)
            .map_err(|_| failed("its answer is no JSON of a user name and a secret"))?;
        if answer.username == IDENTITY {
            return Err(failed("it holds an identity token, which is not used here"));
        }
        Ok(Some(Login { user: answer.username, password: answer.secret.0 }))
    }

    fn wrong(&self, what: &str, reason: &str, next: &str) -> Failure {
        Failure::new("registry-config", format_args!("{}: {what}: {reason}", self.file), next)
    }
}

const DOCKER: &str = "docker.io";
/// What Docker's helpers call Docker Hub.
const DOCKER_SERVER: &str = "https://index.docker.io/v1/";
/// What Docker's helpers say of hosts that they do not know.
const NOT_FOUND: &str = "credentials not found";
/// The user name that marks an identity token.
const IDENTITY: &str = "<token>";
/// Most bytes of a configuration.
const MAX_CONFIG: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;

    use super::*;

    fn login(config: &str, host: &str, repository: &str) -> Result<Option<String>, String> {
        let config = RegistryConfig::parse(config, "config.json").map_err(|f| f.to_string())?;
        let login = config.login(host, repository).map_err(|f| f.to_string())?;
        Ok(login.map(|login| format!("{}/{}", login.user, login.password.as_str())))
    }

    fn auth(text: &str) -> String {
        format!("{{\"auth\": \"{}\"}}", BASE64.encode(text))
    }

    #[test]
    fn the_longest_entry_counts() {
        let config = format!(
            "{{\"auths\": {{\"reg.example\": {}, \"reg.example/team\": {}, \"https://index.docker.io/v1/\": {}, \
             \"http://old.example:5000/v1/\": {}}}, \"HttpHeaders\": {{}}}}",
            auth("a:1"),
            auth("b:2:x"),
            auth("hub:3"),
            auth("old:4\0\0"),
        );
        let found = |host: &str, repository: &str| login(&config, host, repository).unwrap();
        assert_eq!(found("reg.example", "x").as_deref(), Some("a/1"));
        assert_eq!(found("reg.example", "team/x").as_deref(), Some("b/2:x"));
        assert_eq!(found("reg.example", "teams/x").as_deref(), Some("a/1"));
        assert_eq!(found("docker.io", "library/nginx").as_deref(), Some("hub/3"));
        assert_eq!(found("old.example:5000", "x").as_deref(), Some("old/4"));
        assert_eq!(found("old.example", "x"), None);
        assert_eq!(found("other.example", "x"), None);
        // C11: a host that only begins like another gets nothing.
        assert_eq!(found("reg.example.evil", "x"), None);
    }

    #[test]
    fn what_cannot_be_used_is_said_without_the_secret() {
        let named = "{\"auths\": {\"r.example\": {\"username\": \"u\", \"password\": \"hidden\"}}}";
        assert_eq!(login(named, "r.example", "x").unwrap().as_deref(), Some("u/hidden"));
        let empty = "{\"auths\": {\"r.example\": {}}}";
        assert_eq!(login(empty, "r.example", "x"), Ok(None));
        for config in [
            "{\"auths\": {\"r.example\": {\"auth\": \"aGlkZGVu\"}}}".to_owned(),
            "{\"auths\": {\"r.example\": {\"auth\": \"hidden!\"}}}".to_owned(),
            "{\"auths\": {\"r.example\": {\"identitytoken\": \"hidden\"}}}".to_owned(),
            "{\"auths\": \"hidden\"}".to_owned(),
            "{\"credHelpers\": {\"r.example\": \"../hidden/../x\"}}".to_owned(),
            "{\"credsStore\": \"no-such-helper-anywhere\"}".to_owned(),
        ] {
            let error = login(&config, "r.example", "x").unwrap_err();
            assert!(error.starts_with("registry-config: config.json"), "{error}");
            let secret = error.contains("hidden") && !error.contains("docker-credential");
            assert!(!secret && !error.contains("aGlkZGVu"), "{error}");
        }
    }
}
