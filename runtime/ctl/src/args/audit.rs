// SPDX-License-Identifier: Apache-2.0
//! `casemate audit`.

use std::path::PathBuf;

use casemate_audit::Head;
use clap::Parser;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Make the key pair that a guest's audit log is sealed to, and print its public half
    Key(AuditKeyArgs),
    /// Check a log and show what the host asked the guest for
    Read(AuditReadArgs),
}

#[derive(Debug, Parser)]
pub(crate) struct AuditKeyArgs {
    /// Where the private key goes; must not exist
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Parser)]
pub(crate) struct AuditReadArgs {
    /// The private key of `audit key`; without it only the chain is checked
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// The broker's audit.jsonl: the heads that the guest attested show whether this is its log, and
    /// whether the tail was cut off
    #[arg(long, value_name = "FILE")]
    pub(crate) broker_log: Option<PathBuf>,
    /// One such head, `audit_head` in that file
    #[arg(long, value_name = "BOOT:NUMBER:HASH")]
    pub(crate) head: Vec<Head>,
    /// Print one JSON object for each record, and one with what is wrong
    #[arg(long)]
    pub(crate) json: bool,
    /// The log, as the node kept it; - reads standard input
    #[arg(value_name = "LOG")]
    pub(crate) log: PathBuf,
}
