// SPDX-License-Identifier: Apache-2.0
//! Arguments of `casemate collateral`.

use std::path::PathBuf;

use casemate_collateral::Endpoint;
use casemate_collateral::Update;
use casemate_evidence::snp::Product;
use clap::Args;
use clap::Parser;
use clap::Subcommand;

use super::Moment;

#[derive(Debug, Subcommand)]
pub(crate) enum CollateralCommand {
    /// Fetch what a verdict on a report or quote needs, check it and keep it
    Fetch(FetchArgs),
    /// Write all that is kept and valid into one file, for a place without a network
    Export(ExportArgs),
    /// Check what is in such a file and keep it
    Import(ImportArgs),
}

#[derive(Debug, Parser)]
pub(crate) struct FetchArgs {
    /// An SNP report, binary or in hexadecimal, or evidence JSON with one
    #[arg(long, value_name = "FILE", required_unless_present = "quote", conflicts_with = "quote")]
    pub(crate) report: Option<PathBuf>,
    /// A TDX quote, binary or in hexadecimal, or evidence JSON with one
    #[arg(long, value_name = "FILE")]
    pub(crate) quote: Option<PathBuf>,
    /// Certificates that the host gave with the report, DER or PEM: used if they belong to it
    #[arg(long, value_name = "FILE", requires = "report")]
    pub(crate) vcek: Option<PathBuf>,
    /// The product line, for reports that do not name their CPU: milan, genoa, turin
    #[arg(long, value_name = "NAME", value_parser = product, requires = "report")]
    pub(crate) product: Option<Product>,
    /// Which edition of Intel's documents: early or standard
    #[arg(long, value_name = "EDITION", value_parser = update, default_value = "early")]
    pub(crate) update: Update,
    /// AMD's service, or who stands for it
    #[arg(long, value_name = "URL", value_parser = Endpoint::new)]
    pub(crate) kds: Option<Endpoint>,
    /// A caching service of the data centre in place of Intel's
    #[arg(long, value_name = "URL", value_parser = Endpoint::new)]
    pub(crate) pccs: Option<Endpoint>,
    /// CAs of these services beside the public web's, PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) kept: KeptArgs,
    /// Directory for the files that `casemate verify` takes
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Parser)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub(crate) kept: KeptArgs,
    /// Where the file goes
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Parser)]
pub(crate) struct ImportArgs {
    #[command(flatten)]
    pub(crate) kept: KeptArgs,
    /// The file
    #[arg(value_name = "FILE")]
    pub(crate) bundle: PathBuf,
}

/// What is kept, and by what it is checked.
#[derive(Debug, Args)]
pub(crate) struct KeptArgs {
    /// Directory that keeps what was fetched; `casemate/collateral` in the user's cache if absent
    #[arg(long, value_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,
    /// A simulated root in place of the vendor's: certificates of a software TEE
    #[arg(long, value_name = "FILE")]
    pub(crate) trust_root: Option<PathBuf>,
    /// The time of the check; the system's clock if absent
    #[arg(long, value_name = "RFC3339")]
    pub(crate) at: Option<Moment>,
}

fn product(text: &str) -> Result<Product, &'static str> {
    Product::ALL
        .into_iter()
        .find(|product| product.name().eq_ignore_ascii_case(text))
        .ok_or("expected milan, genoa or turin")
}

fn update(text: &str) -> Result<Update, &'static str> {
    Update::from_name(text).ok_or("expected early or standard")
}
