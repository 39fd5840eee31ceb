// SPDX-License-Identifier: Apache-2.0
//! The kernel command line: measured, and read for two keys only.

use std::io;
use std::path::Path;

use casemate_attester::SourceKind;

use crate::boot::initdata_device::read_capped;

/// Reads from the command line where the guest's reports come from.
///
/// # Security
///
/// There is one source and no second one to fall back to: a guest whose source is missing does not
/// start. Which one it is, is measured.
pub(crate) fn read(path: &Path) -> Result<SourceKind, CommandLineError> {
    let bytes = read_capped(path, MAX_COMMAND_LINE)
        .map_err(|source| CommandLineError::Read { source })?
        .ok_or(CommandLineError::TooLong)?;
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Result<SourceKind, CommandLineError> {
    let text = std::str::from_utf8(bytes).map_err(|_| CommandLineError::NotText)?;
    let tee = value(text, TEE)?.ok_or(CommandLineError::Missing)?;
    let (usual, others): (_, &[SourceKind]) = match tee {
        "snp" => (SourceKind::SevGuest, &[SourceKind::SevTsm]),
        "tdx" => (SourceKind::Tdx, &[]),
        _ => return Err(CommandLineError::Unknown { key: TEE }),
    };
    let Some(name) = value(text, REPORTS)? else { return Ok(usual) };
    let named: SourceKind = name.parse().map_err(|_| CommandLineError::Unknown { key: REPORTS })?;
    if named == usual || others.contains(&named) {
        Ok(named)
    } else {
        Err(CommandLineError::OtherTee { named })
    }
}

/// The value of the one word that begins with `key`.
fn value<'a>(text: &'a str, key: &'static str) -> Result<Option<&'a str>, CommandLineError> {
    let mut values = text.split_ascii_whitespace().filter_map(|word| word.strip_prefix(key));
    let value = values.next();
    // E1: of two values, two readers may choose differently.
    if values.next().is_some() { Err(CommandLineError::Twice { key }) } else { Ok(value) }
}

/// The command line does not say what the guest needs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CommandLineError {
    #[error("failed to read the kernel command line")]
    Read {
        #[source]
        source: io::Error,
    },
    #[error("the kernel command line is longer than {MAX_COMMAND_LINE} bytes")]
    TooLong,
    #[error("the kernel command line is no text")]
    NotText,
    #[error("the kernel command line lacks {TEE}")]
    Missing,
    #[error("the kernel command line has {key} twice")]
    Twice { key: &'static str },
    #[error("the kernel command line has an unknown {key}")]
    Unknown { key: &'static str },
    #[error("the kernel command line names {named}, which is no source of reports of its TEE")]
    OtherTee { named: SourceKind },
}

/// The TEE that the guest image was built for.
const TEE: &str = "casemate.tee=";
/// Another source of reports than the usual one of the TEE: a [`SourceKind`] by name.
const REPORTS: &str = "casemate.reports=";
/// `COMMAND_LINE_SIZE` of x86 is 2048.
const MAX_COMMAND_LINE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_usual_source_of_each_tee() {
        let snp = parse(b"quiet casemate.tee=snp panic=-1\n").unwrap();
        assert_eq!(snp, SourceKind::SevGuest);
        assert_eq!(parse(b"casemate.tee=tdx").unwrap(), SourceKind::Tdx);
    }

    #[test]
    fn reads_another_source_of_the_same_tee() {
        let named = |text: &str| parse(text.as_bytes()).unwrap();
        let snp = named("casemate.reports=sev-tsm casemate.tee=snp");
        assert_eq!(snp, SourceKind::SevTsm);
        let snp = named("casemate.tee=snp casemate.reports=sev-guest");
        assert_eq!(snp, SourceKind::SevGuest);
        assert_eq!(named("casemate.tee=tdx casemate.reports=tdx"), SourceKind::Tdx);
    }

    #[test]
    fn refuses_each_other_form() {
        assert!(matches!(parse(b"quiet"), Err(CommandLineError::Missing)));
        assert!(matches!(parse(b"xcasemate.tee=snp"), Err(CommandLineError::Missing)));
        assert!(matches!(parse(b"casemate.reports=tdx"), Err(CommandLineError::Missing)));
        // Nothing switches a guest into a weaker TEE.
        let unknown = |text: &[u8], name| {
            let expected =
                matches!(parse(text), Err(CommandLineError::Unknown { key }) if key == name);
            assert!(expected, "{}", text.escape_ascii());
        };
        unknown(b"casemate.tee=none", TEE);
        unknown(b"casemate.tee=sev-guest", TEE);
        unknown(b"casemate.tee=", TEE);
        unknown(b"casemate.tee=snp casemate.reports=sample", REPORTS);
        unknown(b"casemate.tee=snp casemate.reports=", REPORTS);
        let twice = parse(b"casemate.tee=snp casemate.tee=snp");
        assert!(matches!(twice, Err(CommandLineError::Twice { key: TEE })));
        let twice = parse(b"casemate.tee=snp casemate.reports=sev-tsm casemate.reports=sev-tsm");
        assert!(matches!(twice, Err(CommandLineError::Twice { key: REPORTS })));
        assert!(matches!(parse(b"casemate.tee=snp\xff"), Err(CommandLineError::NotText)));
    }

    #[test]
    fn refuses_a_source_of_another_tee() {
        for text in [
            "casemate.tee=tdx casemate.reports=sev-guest",
            "casemate.tee=tdx casemate.reports=sev-tsm",
            "casemate.tee=snp casemate.reports=tdx",
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(matches!(error, CommandLineError::OtherTee { .. }), "{text}");
        }
    }

    #[test]
    fn a_missing_or_endless_file_is_an_error() {
        let missing = read(Path::new("/nonexistent"));
        assert!(matches!(missing, Err(CommandLineError::Read { .. })));
        assert!(matches!(read(Path::new("/dev/zero")), Err(CommandLineError::TooLong)));
    }
}
