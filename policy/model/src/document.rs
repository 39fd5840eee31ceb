// SPDX-License-Identifier: Apache-2.0
//! Reading and writing the documents as TOML text.

use std::fmt::Write as _;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Container;
use crate::DocumentError;
use crate::GuestConfig;
use crate::Policy;

impl Policy {
    /// The version of the format that this crate reads and writes.
    pub const VERSION: u32 = 1;
    /// Most bytes of a policy.
    pub const MAX_BYTES: usize = 1 << 20;

    /// Reads a policy and checks every rule of the format.
    ///
    /// # Errors
    ///
    /// Too large, not UTF-8, not TOML, an unknown field, or a field that breaks a rule.
    ///
    /// # Security
    ///
    /// Nothing is skipped, guessed or repaired: a policy that this version does not understand
    /// completely is refused.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let policy: Self = read(bytes, Self::MAX_BYTES)?;
        policy.validate()?;
        Ok(policy)
    }

    /// Writes the policy for people: one line per thing, in the order of the fields.
    ///
    /// Equal policies give equal bytes, and [`Policy::parse`] gives the policy back.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        line(&mut out, "version", &self.version);
        if let Some(hostname) = &self.sandbox.hostname {
            out.push_str("\n[sandbox]\n");
            line(&mut out, "hostname", hostname);
        }
        if self.containers.is_empty() {
            out.push_str("\n[containers]\n");
        }
        for (name, container) in &self.containers {
            let _ = write!(out, "\n[containers.{name}]\n");
            write_container(&mut out, container);
        }
        out
    }
}

impl GuestConfig {
    /// The version of the format that this crate reads and writes.
    pub const VERSION: u32 = 1;
    /// Most bytes of a guest configuration.
    pub const MAX_BYTES: usize = 256 * 1024;

    /// Reads a guest configuration and checks every rule of the format.
    ///
    /// # Errors
    ///
    /// Too large, not UTF-8, not TOML, an unknown field, or a field that breaks a rule.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let config: Self = read(bytes, Self::MAX_BYTES)?;
        config.validate()?;
        Ok(config)
    }

    /// Writes the configuration; equal ones give equal bytes, and [`GuestConfig::parse`] gives it
    /// back.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        line(&mut out, "version", &self.version);
        out.push_str("\n[broker]\n");
        line(&mut out, "url", &self.broker.url);
        line(&mut out, "ca", &self.broker.ca);
        if let Some(audit) = &self.audit {
            out.push_str("\n[audit]\n");
            line(&mut out, "key", &audit.key);
        }
        for registry in &self.registries {
            out.push_str("\n[[registries]]\n");
            line(&mut out, "host", &registry.host);
            optional(&mut out, "location", registry.location.as_ref());
            line(&mut out, "ca", &registry.ca);
        }
        out
    }
}

fn write_container(out: &mut String, container: &Container) {
    line(out, "image", &container.image);
    line(out, "encryption", &container.encryption);
    line(out, "argv", &container.argv);
    line(out, "cwd", &container.cwd);
    line(out, "user", &container.user);
    list(out, "env", &container.env);
    list(out, "env_holes", &container.env_holes);
    line(out, "terminal", &container.terminal);
    line(out, "stdin", &container.stdin);
    line(out, "logs", &container.logs);
    line(out, "readonly_rootfs", &container.readonly_rootfs);
    list(out, "mounts", &container.mounts);
    list(out, "capabilities", &container.capabilities);
    line(out, "no_new_privileges", &container.no_new_privileges);
    line(out, "seccomp", &container.seccomp);
    optional(out, "memory_limit", container.memory_limit.as_ref());
    list(out, "exec", &container.exec);
    line(out, "signals", &container.signals);
    line(out, "max_starts", &container.max_starts);
    if !container.after.is_empty() {
        line(out, "after", &container.after);
    }
}

pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8], max: usize) -> Result<T, DocumentError> {
    if bytes.len() > max {
        return Err(DocumentError::TooLarge { size: bytes.len(), max });
    }
    let text = std::str::from_utf8(bytes).map_err(|_| DocumentError::NotUtf8)?;
    toml::from_str(text).map_err(|e| syntax(text, &e))
}

/// One line: where, and what was expected there. The document itself is not quoted.
fn syntax(text: &str, error: &toml::de::Error) -> DocumentError {
    let before = error.span().and_then(|span| text.get(..span.start));
    let message = match before {
        Some(before) => {
            let line = before.matches('\n').count() + 1;
            format!("line {line}: {}", error.message())
        }
        None => error.message().to_owned(),
    };
    DocumentError::Syntax { message: message.replace('\n', " ") }
}

pub(crate) fn line<T: Serialize>(out: &mut String, key: &str, value: &T) {
    let _ = writeln!(out, "{key} = {}", inline(value));
}

fn optional<T: Serialize>(out: &mut String, key: &str, value: Option<&T>) {
    if let Some(value) = value {
        line(out, key, value);
    }
}

/// A list with one entry a line; nothing for an empty one.
fn list<T: Serialize>(out: &mut String, key: &str, items: &[T]) {
    if items.is_empty() {
        return;
    }
    let _ = writeln!(out, "{key} = [");
    for item in items {
        let _ = writeln!(out, "    {},", inline(item));
    }
    out.push_str("]\n");
}

fn inline<T: Serialize>(value: &T) -> String {
    let mut out = String::new();
    // The documents hold text, numbers, booleans, lists and maps only, all of which TOML has.
    let _ = value.serialize(toml::ser::ValueSerializer::new(&mut out));
    out
}
