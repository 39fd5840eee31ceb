// SPDX-License-Identifier: Apache-2.0
//! The kernel command line: measured, and read for one key only.

use std::io;
use std::path::Path;

use crate::boot::initdata_device::read_capped;

/// Which TEE the guest image was built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tee {
    /// AMD SEV-SNP.
    Snp,
    /// Intel TDX.
    Tdx,
}

/// Reads the command line.
pub(crate) fn read(path: &Path) -> Result<Tee, CommandLineError> {
    let bytes = read_capped(path, MAX_COMMAND_LINE)
        .map_err(|source| CommandLineError::Read { source })?
        .ok_or(CommandLineError::TooLong)?;
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Result<Tee, CommandLineError> {
    let text = std::str::from_utf8(bytes).map_err(|_| CommandLineError::NotText)?;
    let mut values = text.split_ascii_whitespace().filter_map(|word| word.strip_prefix(KEY));
    let value = values.next().ok_or(CommandLineError::Missing)?;
    // E1: of two values, two readers may choose differently.
    if values.next().is_some() {
        return Err(CommandLineError::Twice);
    }
    match value {
        "snp" => Ok(Tee::Snp),
        "tdx" => Ok(Tee::Tdx),
        _ => Err(CommandLineError::Unknown),
    }
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
    #[error("the kernel command line lacks {KEY}")]
    Missing,
    #[error("the kernel command line has {KEY} twice")]
    Twice,
    #[error("the kernel command line has an unknown {KEY}")]
    Unknown,
}

const KEY: &str = "casemate.tee=";
/// `COMMAND_LINE_SIZE` of x86 is 2048.
const MAX_COMMAND_LINE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_tee() {
        assert_eq!(parse(b"quiet casemate.tee=snp panic=-1\n").unwrap(), Tee::Snp);
        assert_eq!(parse(b"casemate.tee=tdx").unwrap(), Tee::Tdx);
    }

    #[test]
    fn refuses_each_other_form() {
        assert!(matches!(parse(b"quiet"), Err(CommandLineError::Missing)));
        assert!(matches!(parse(b"xcasemate.tee=snp"), Err(CommandLineError::Missing)));
        // Nothing switches a guest into a weaker TEE.
        assert!(matches!(parse(b"casemate.tee=none"), Err(CommandLineError::Unknown)));
        assert!(matches!(parse(b"casemate.tee="), Err(CommandLineError::Unknown)));
        let twice = b"casemate.tee=snp casemate.tee=snp";
        assert!(matches!(parse(twice), Err(CommandLineError::Twice)));
        assert!(matches!(parse(b"casemate.tee=snp\xff"), Err(CommandLineError::NotText)));
    }

    #[test]
    fn a_missing_or_endless_file_is_an_error() {
        let missing = read(Path::new("/nonexistent"));
        assert!(matches!(missing, Err(CommandLineError::Read { .. })));
        assert!(matches!(read(Path::new("/dev/zero")), Err(CommandLineError::TooLong)));
    }
}
