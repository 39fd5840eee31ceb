// SPDX-License-Identifier: Apache-2.0
//! `casemate audit`: the owner's side of a guest's audit log.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use casemate_audit::Checked;
use casemate_audit::Entry;
use casemate_audit::Head;
use casemate_audit::KeyError;
use casemate_audit::MAX_LOG_BYTES;
use casemate_audit::OwnerKey;
use casemate_audit::Record;
use casemate_audit::Verdict;
use casemate_audit::check;
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use crate::args::AuditCommand;
use crate::args::AuditKeyArgs;
use crate::args::AuditReadArgs;
use crate::failure::Failure;
use crate::failure::chain;
use crate::file;

pub(crate) fn run(command: &AuditCommand) -> Result<(), Failure> {
    match command {
        AuditCommand::Key(args) => key(args),
        AuditCommand::Read(args) => read(args),
    }
}

/// Makes a key pair: the private half into a file, the public half to standard output.
fn key(args: &AuditKeyArgs) -> Result<(), Failure> {
    let unusable = |error: KeyError| Failure::new("key", error, "try again");
    let key = OwnerKey::generate().map_err(unusable)?;
    let private = key.to_pem().map_err(unusable)?;
    let public = key.public_key().to_pem().map_err(unusable)?;
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&args.out);
    made.and_then(|mut file| file.write_all(private.as_bytes())).map_err(|error| {
        let message = format!("failed to make {}: {error}", args.out.display());
        Failure::new("file", message, "give the path of a file that does not exist")
    })?;
    file::write(None, &public)
}

/// Checks a log and prints its records, then what is wrong with it.
fn read(args: &AuditReadArgs) -> Result<(), Failure> {
    let key = args.key.as_deref().map(owner_key).transpose()?;
    let log = file::read(&args.log, u64::try_from(MAX_LOG_BYTES).unwrap_or(u64::MAX))?;
    let unusable = |error| {
        let message = format!("{}: {}", args.log.display(), chain(&error));
        Failure::new("audit-log", message, "give the log of one pod, as the node kept it")
    };
    let mut heads = args.head.clone();
    if let Some(path) = &args.broker_log {
        // Which boot's heads are wanted, the log itself says.
        let boot = check(&log, None, &[]).map_err(unusable)?.boot;
        heads.extend(attested_heads(path)?.into_iter().filter(|head| Some(head.boot) == boot));
        if heads.is_empty() {
            let message = format!("{}: the broker attested no guest with this log", path.display());
            return Err(Failure::new("audit-log", message, FOREIGN));
        }
    }
    let checked = check(&log, key.as_ref(), &heads).map_err(unusable)?;
    let text = if args.json { as_json(&checked) } else { as_lines(&checked) };
    file::write(None, &text)?;
    if heads.is_empty() && !args.json {
        eprintln!(
            "note: neither --broker-log nor --head was given: nothing shows that this is the guest's log, nor that its \
             tail is whole"
        );
    }
    match checked.findings.as_slice() {
        [] => Ok(()),
        [first, rest @ ..] => {
            let more = match rest.len() {
                0 => String::new(),
                more => format!(" (and {more} more, see above)"),
            };
            let message = format!("{}: {}{more}", args.log.display(), chain(first));
            Err(Failure::new("audit-log", message, FOREIGN))
        }
    }
}

fn owner_key(path: &Path) -> Result<OwnerKey, Failure> {
    let unusable = |error: &dyn std::error::Error| {
        let message = format!("{}: {}", path.display(), chain(error));
        Failure::new("key", message, "give the private key that `casemate audit key` wrote")
    };
    let bytes = Zeroizing::new(file::read(path, MAX_KEY_FILE)?);
    let pem = std::str::from_utf8(&bytes).map_err(|error| unusable(&error))?;
    OwnerKey::from_pem(pem).map_err(|error| unusable(&error))
}

/// One line for each record, then one for each finding and the state of the log.
fn as_lines(checked: &Checked) -> String {
    let mut out = String::new();
    for Entry { sequence, record } in &checked.entries {
        let _ = match record {
            Some(record) => writeln!(out, "{sequence:>6}  {}", line(record)),
            None => writeln!(out, "{sequence:>6}  (not opened)"),
        };
    }
    for finding in &checked.findings {
        let _ = writeln!(out, "wrong: {}", chain(finding));
    }
    let _ = write!(out, "{} records", checked.entries.len());
    if let Some(boot) = checked.boot {
        let _ = write!(out, " of boot {boot}");
    }
    if let Some(head) = checked.head {
        let _ = write!(out, ", head {head}");
    }
    out.push_str(if checked.is_anchored { ", attested\n" } else { ", not attested\n" });
    out
}

fn line(record: &Record) -> String {
    let seconds = record.boottime_us / 1_000_000;
    let millis = record.boottime_us % 1_000_000 / 1000;
    let verdict = verdict(record.verdict);
    let call = one_word(record.call.as_str());
    let mut out = format!("{seconds:>5}.{millis:03}s  {verdict:<9}  {call}");
    if record.times.get() > 1 {
        let _ = write!(out, " x{}", record.times);
    }
    for (field, value) in &record.names {
        let _ = write!(out, " {}={}", one_word(field.as_str()), one_word(value.as_str()));
    }
    if let Some(code) = &record.code {
        let _ = write!(out, "  {}", one_word(code.as_str()));
    }
    if let Some(text) = &record.text {
        let _ = write!(out, ": {text}");
    }
    out
}

/// What may be the host's word, as one word of the line.
///
/// # Security
///
/// E20: a name such as `web  policy.argv: x` is no column, and no letter turns the direction of the
/// line. The text at the end of a line has no column behind it.
fn one_word(text: &str) -> Cow<'_, str> {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || "-_./:@+?…".contains(c);
    if !text.is_empty() && text.chars().all(is_bare) {
        return Cow::Borrowed(text);
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '…' | ' '..='~' => out.push(c),
            _ => out.extend(c.escape_unicode()),
        }
    }
    out.push('"');
    Cow::Owned(out)
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allowed => "allowed",
        Verdict::Denied => "DENIED",
        Verdict::Failed => "failed",
        Verdict::Abandoned => "abandoned",
    }
}

/// One object for each record and one for the log.
fn as_json(checked: &Checked) -> String {
    let mut out = String::new();
    for Entry { sequence, record } in &checked.entries {
        let _ = writeln!(out, "{}", json!({ "sequence": sequence, "record": record }));
    }
    let findings: Vec<_> = checked.findings.iter().map(|finding| chain(finding)).collect();
    let log = json!({
        "boot": checked.boot.map(|boot| boot.to_string()),
        "records": checked.entries.len(),
        "head": checked.head,
        "attested": checked.is_anchored,
        "findings": findings,
    });
    let _ = writeln!(out, "{log}");
    out
}

/// The heads of all accepted attestations in a broker's log.
fn attested_heads(path: &Path) -> Result<Vec<Head>, Failure> {
    let text = file::read_text(path, MAX_BROKER_LOG)?;
    let mut heads = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let entry: BrokerEntry = serde_json::from_str(line).map_err(|error| {
            let number = index.saturating_add(1);
            let message = format!("{}: line {number}: {error}", path.display());
            Failure::new("file", message, "give the audit.jsonl of the broker's folder")
        })?;
        heads.extend(entry.audit_head);
    }
    Ok(heads)
}

/// What is read of a line of the broker's log. A head stands only in an accepted attestation.
#[derive(Deserialize)]
struct BrokerEntry {
    audit_head: Option<Head>,
}

const FOREIGN: &str = "ask the node's operator for the whole log of this pod; if there is none, treat \
     the node as hostile or broken";
/// Largest log of a broker, bytes.
const MAX_BROKER_LOG: u64 = 1 << 30;
/// Largest key file, bytes.
const MAX_KEY_FILE: u64 = 4096;
