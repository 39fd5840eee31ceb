// SPDX-License-Identifier: Apache-2.0
//! Reading and writing the documents as TOML text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Container;
use crate::DocumentError;
use crate::GuestConfig;
use crate::NetworkRules;
use crate::Policy;
use crate::ProcMount;
use crate::Resources;
use crate::Sandbox;
use crate::Sha256Digest;
use crate::Volume;
use crate::shape;
use crate::spelling::basic_string;
use crate::spelling::with_basic_strings;

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
    ///
    /// # Security
    ///
    /// E19: each text stands on one line, and characters that do not show as themselves
    /// ([`crate::is_hidden`]) stand there by their number: no value looks like a field of its own.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        line(&mut out, "version", &self.version);
        write_sandbox(&mut out, &self.sandbox);
        for (name, volume) in &self.volumes {
            let _ = write!(out, "\n[volumes.{name}]\n");
            write_volume(&mut out, name, volume);
        }
        if self.containers.is_empty() {
            out.push_str("\n[containers]\n");
        }
        for (name, container) in &self.containers {
            let _ = write!(out, "\n[containers.{name}]\n");
            write_container(&mut out, name, container);
        }
        out
    }

    /// SHA-256 of the canonical form, [`Policy::to_toml`]: equal policies have equal digests, however
    /// their text was written.
    #[must_use]
    pub fn digest(&self) -> Sha256Digest {
        Sha256Digest::of(self.to_toml().as_bytes())
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
        block(&mut out, "ca", &self.broker.ca);
        for registry in &self.registries {
            out.push_str("\n[[registries]]\n");
            line(&mut out, "host", &registry.host);
            optional(&mut out, "location", registry.location.as_ref());
            block(&mut out, "ca", &registry.ca);
        }
        for credentials in &self.registry_credentials {
            out.push_str("\n[[registry_credentials]]\n");
            line(&mut out, "host", &credentials.host);
            line(&mut out, "resource", &credentials.resource);
            optional(&mut out, "token_host", credentials.token_host.as_ref());
        }
        for (name, signature) in &self.image_signatures {
            let _ = write!(out, "\n[image_signatures.{name}]\n");
            block(&mut out, "key", &signature.key);
        }
        if let Some(audit) = &self.audit {
            out.push_str("\n[audit]\n");
            block(&mut out, "key", &audit.key);
        }
        out
    }
}

fn write_sandbox(out: &mut String, sandbox: &Sandbox) {
    let Sandbox { hostname, sysctls, hosts, network } = sandbox;
    if hostname.is_some() || !sysctls.is_empty() || !hosts.is_empty() {
        out.push_str("\n[sandbox]\n");
    }
    optional(out, "hostname", hostname.as_ref());
    if !sysctls.is_empty() {
        line(out, "sysctls", sysctls);
    }
    list(out, "hosts", hosts);
    if network.is_open() {
        return;
    }
    out.push_str("\n[sandbox.network]\n");
    let NetworkRules { addresses, routes, gateways, dns_servers, dns_searches } = network;
    optional(out, "addresses", addresses.as_ref());
    optional(out, "routes", routes.as_ref());
    optional(out, "gateways", gateways.as_ref());
    optional(out, "dns_servers", dns_servers.as_ref());
    optional(out, "dns_searches", dns_searches.as_ref());
}

fn write_volume(out: &mut String, name: &str, volume: &Volume) {
    match volume {
        Volume::EmptyDir { size_limit } => {
            out.push_str("kind = \"empty-dir\"\n");
            optional(out, "size_limit", size_limit.as_ref());
        }
        Volume::Config { files } => {
            out.push_str("kind = \"config\"\n");
            write_files(out, name, files);
        }
        Volume::Untrusted { max_bytes, files } => {
            out.push_str("kind = \"untrusted\"\n");
            line(out, "max_bytes", max_bytes);
            if !files.is_empty() {
                write_files(out, name, files);
            }
        }
    }
}

fn write_files(out: &mut String, name: &str, files: &BTreeMap<String, Sha256Digest>) {
    let _ = write!(out, "\n[volumes.{name}.files]\n");
    for (file, digest) in files {
        line(out, &basic_string(file), digest);
    }
}

fn write_container(out: &mut String, name: &str, container: &Container) {
    line(out, "role", &container.role);
    line(out, "image", &container.image);
    optional(out, "signature", container.signature.as_ref());
    line(out, "encryption", &container.encryption);
    line(out, "argv", &container.argv);
    line(out, "cwd", &container.cwd);
    line(out, "user", &container.user);
    list(out, "env", &container.env);
    list(out, "env_holes", &container.env_holes);
    line(out, "terminal", &container.terminal);
    line(out, "stdin", &container.stdin);
    line(out, "logs", &container.logs);
    line(out, "metrics", &container.metrics);
    line(out, "termination_message", &container.termination_message);
    line(out, "readonly_rootfs", &container.readonly_rootfs);
    list(out, "mounts", &container.mounts);
    list(out, "secrets", &container.secrets);
    list(out, "capabilities", &container.capabilities);
    line(out, "no_new_privileges", &container.no_new_privileges);
    line(out, "seccomp", &container.seccomp);
    if container.proc_mount != ProcMount::Default {
        line(out, "proc_mount", &container.proc_mount);
    }
    list(out, "rlimits", &container.rlimits);
    list(out, "exec", &container.exec);
    line(out, "signals", &container.signals);
    line(out, "restart", &container.restart);
    optional(out, "max_starts", container.max_starts.as_ref());
    if !container.after.is_empty() {
        line(out, "after", &container.after);
    }
    if !container.after_started.is_empty() {
        line(out, "after_started", &container.after_started);
    }
    write_resources(out, name, &container.resources);
}

fn write_resources(out: &mut String, name: &str, resources: &Resources) {
    if resources.is_open() {
        return;
    }
    let _ = write!(out, "\n[containers.{name}.resources]\n");
    for (key, figure) in [("memory", &resources.memory), ("cpu_millis", &resources.cpu_millis)] {
        if !figure.is_open() {
            line(out, key, figure);
        }
    }
    optional(out, "pids", resources.pids.as_ref());
}

fn read<T: DeserializeOwned + Serialize>(bytes: &[u8], max: usize) -> Result<T, DocumentError> {
    if bytes.len() > max {
        return Err(DocumentError::TooLarge { size: bytes.len(), max });
    }
    let text = std::str::from_utf8(bytes).map_err(|_| DocumentError::NotUtf8)?;
    let document = toml::from_str(text).map_err(|e| syntax(text, &e))?;
    shape::check(text, &document)?;
    Ok(document)
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

fn line<T: Serialize>(out: &mut String, key: &str, value: &T) {
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

/// A text of several lines as the lines that it has: PEM, which holds nothing that looks like a field.
fn block(out: &mut String, key: &str, text: &str) {
    let _ = writeln!(out, "{key} = {}", as_toml(&text));
}

fn inline<T: Serialize>(value: &T) -> String {
    with_basic_strings(&as_toml(value))
}

fn as_toml<T: Serialize>(value: &T) -> String {
    let mut out = String::new();
    // The documents hold text, numbers, booleans, lists and maps only, all of which TOML has.
    let _ = value.serialize(toml::ser::ValueSerializer::new(&mut out));
    out
}
