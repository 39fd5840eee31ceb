// SPDX-License-Identifier: Apache-2.0
//! `casemate collateral`: fetches what a verdict needs, so that the verdict itself needs no network.

mod anchors;
mod out;

use std::path::Path;
use std::path::PathBuf;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use casemate_collateral::Bundle;
use casemate_collateral::Cache;
use casemate_collateral::Client;
use casemate_collateral::Endpoints;
use casemate_collateral::FetchError;
use casemate_collateral::Https;
use casemate_collateral::IntelService;
use casemate_collateral::MAX_BUNDLE_BYTES;
use casemate_collateral::Platform;
use casemate_evidence::az_vtpm::AzSnpEvidence;
use casemate_evidence::az_vtpm::AzTdxEvidence;
use casemate_evidence::snp::Certificate;
use casemate_evidence::snp::Evidence as SnpEvidence;
use casemate_evidence::snp::Report;
use casemate_evidence::tdx::Evidence as TdxEvidence;
use casemate_evidence::tdx::Quote;

use crate::args::CollateralCommand;
use crate::args::ExportArgs;
use crate::args::FetchArgs;
use crate::args::ImportArgs;
use crate::args::KeptArgs;
use crate::failure::Failure;
use crate::failure::chain;
use crate::file;

pub(crate) fn run(command: &CollateralCommand) -> Result<(), Failure> {
    match command {
        CollateralCommand::Fetch(args) => fetch(args),
        CollateralCommand::Export(args) => export(args),
        CollateralCommand::Import(args) => import(args),
    }
}

fn fetch(args: &FetchArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new("internal", error, "try again"))?;
    let mut endpoints = Endpoints::default();
    if let Some(kds) = &args.kds {
        endpoints.kds = kds.clone();
    }
    if let Some(pccs) = &args.pccs {
        endpoints.intel = IntelService::Pccs(pccs.clone());
    }
    let cas = args.ca.as_deref().map(|path| file::read_text(path, MAX_CERTIFICATES)).transpose()?;
    let client = client(&args.kept, endpoints, &cas.unwrap_or_default())?;
    let now = now(&args.kept);
    let setbacks = match (&args.report, &args.quote) {
        (Some(path), _) => {
            let report = report(path)?;
            let offered = match &args.vcek {
                Some(path) => Certificate::read_all(&file::read(path, MAX_CERTIFICATES)?)
                    .map_err(|error| unusable(path, &error))?,
                None => Vec::new(),
            };
            let found = runtime.block_on(client.snp(&report, &offered, args.product, now));
            let found = found.map_err(|error| failed(&error))?;
            out::snp(&args.out, &found)?;
            found.setbacks
        }
        (None, Some(path)) => {
            let quote = quote(path)?;
            let platform = Platform::of(&quote).map_err(|error| unusable(path, &error))?;
            let found = runtime.block_on(client.tdx(platform, args.update, now));
            let found = found.map_err(|error| failed(&error))?;
            out::tdx(&args.out, &found)?;
            found.setbacks
        }
        (None, None) => Vec::new(),
    };
    for setback in &setbacks {
        eprintln!("warning: {}", failed(setback));
    }
    Ok(())
}

fn export(args: &ExportArgs) -> Result<(), Failure> {
    let client = client(&args.kept, Endpoints::default(), "")?;
    let bundle = client.export(now(&args.kept)).map_err(|error| failed(&error))?;
    for (item, _) in bundle.items() {
        println!("{item}");
    }
    file::write(Some(&args.out), &bundle.to_json())
}

fn import(args: &ImportArgs) -> Result<(), Failure> {
    let cap = u64::try_from(MAX_BUNDLE_BYTES).unwrap_or(u64::MAX);
    let bundle = Bundle::from_json(&file::read(&args.bundle, cap)?)
        .map_err(|error| unusable(&args.bundle, &error).then(error.next_step()))?;
    let client = client(&args.kept, Endpoints::default(), "")?;
    let imported = client.import(&bundle, now(&args.kept)).map_err(|error| failed(&error))?;
    for item in &imported.kept {
        println!("{item}");
    }
    let mut worst = None;
    for (item, error) in &imported.refused {
        let failure = Failure::new(
            "collateral-refused",
            format_args!("{item}: {}", chain(error)),
            "fetch it anew where there is a network",
        );
        if let Some(earlier) = worst.replace(failure) {
            eprintln!("{earlier}");
        }
    }
    worst.map_or(Ok(()), Err)
}

fn client(args: &KeptArgs, endpoints: Endpoints, cas: &str) -> Result<Client, Failure> {
    let dir = args.cache.clone().or_else(default_cache).ok_or_else(|| {
        Failure::new("usage", "there is no home directory to keep files in", "give --cache DIR")
    })?;
    let cache = Cache::open(&dir).map_err(|source| failed(&FetchError::Cache { source }))?;
    let transport = Https::new(cas).map_err(|error| {
        Failure::new("usage", chain(&error), "give PEM of the service's CA: --ca FILE")
    })?;
    Ok(Client::new(transport, endpoints, anchors::read(args.trust_root.as_deref())?, cache))
}

fn default_cache() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(cache.join("casemate/collateral"))
}

/// A report, binary, in hexadecimal, or in evidence JSON, also that of Azure's guests.
fn report(path: &Path) -> Result<Report, Failure> {
    let bytes = evidence(path)?;
    if let Some(json) = json(&bytes) {
        if let Ok(evidence) = AzSnpEvidence::from_json(json) {
            return Ok(evidence.report);
        }
        let evidence = SnpEvidence::from_json(json).map_err(|error| unusable(path, &error))?;
        return Ok(evidence.report);
    }
    Report::parse(&bytes).map_err(|error| unusable(path, &error))
}

/// A quote, as [`report`].
fn quote(path: &Path) -> Result<Quote, Failure> {
    let bytes = evidence(path)?;
    if let Some(json) = json(&bytes) {
        if let Ok(evidence) = AzTdxEvidence::from_json(json) {
            return Ok(evidence.td.quote);
        }
        let evidence = TdxEvidence::from_json(json).map_err(|error| unusable(path, &error))?;
        return Ok(evidence.quote);
    }
    Quote::parse(&bytes).map_err(|error| unusable(path, &error))
}

/// Bytes, with hexadecimal digits undone.
fn evidence(path: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = file::read(path, MAX_EVIDENCE)?;
    let digits: Vec<u8> = bytes.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
    Ok(hex::decode(digits).unwrap_or(bytes))
}

/// The text of a JSON object; neither a report nor a quote begins like one.
fn json(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| text.trim_start().starts_with('{'))
}

fn now(args: &KeptArgs) -> u64 {
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    args.at.map_or_else(clock, |moment| moment.0)
}

fn failed(error: &FetchError) -> Failure {
    Failure::new(error.code(), chain(error), error.next_step())
}

fn unusable(path: &Path, error: &dyn std::error::Error) -> Failure {
    let message = format!("{}: {}", path.display(), chain(error));
    Failure::new("file", message, "give the file that is meant")
}

/// Largest file of certificates, bytes.
const MAX_CERTIFICATES: u64 = 256 << 10;
/// Largest report, quote or evidence JSON, bytes, in hexadecimal too; an event log may be in it.
const MAX_EVIDENCE: u64 = 4 << 20;
