// SPDX-License-Identifier: Apache-2.0
//! The digest of the initdata as a TEE's report holds it.

use std::collections::BTreeMap;

use ring::digest;
use serde::Deserialize;

use crate::HashAlgorithm;

/// Size of HOST_DATA in an SNP report, bytes.
pub const HOST_DATA_BYTES: usize = 32;

/// Size of MRCONFIGID in a TDX quote, bytes.
pub const MR_CONFIG_ID_BYTES: usize = 48;

/// Largest initdata document, bytes.
pub const MAX_INIT_DATA_BYTES: usize = 512 << 10;

/// The HOST_DATA that a guest launched with this initdata has: the document's own hash function
/// over its whole bytes, truncated or zero-padded to 32 bytes (initdata 0.1.0).
///
/// # Errors
///
/// [`InitDataError`] when the text is over [`MAX_INIT_DATA_BYTES`], is no initdata of version
/// 0.1.0, or names an unknown hash function.
pub fn host_data(text: &str) -> Result<[u8; HOST_DATA_BYTES], InitDataError> {
    field(text)
}

/// The MRCONFIGID of a TD launched with this initdata: as [`host_data`], in 48 bytes, of which the
/// first 32 are the same.
///
/// # Errors
///
/// As [`host_data`].
pub fn mr_config_id(text: &str) -> Result<[u8; MR_CONFIG_ID_BYTES], InitDataError> {
    field(text)
}

fn field<const N: usize>(text: &str) -> Result<[u8; N], InitDataError> {
    if text.len() > MAX_INIT_DATA_BYTES {
        return Err(InitDataError::TooLarge);
    }
    let document: Document =
        toml::from_str(text).map_err(|source| InitDataError::Malformed { source })?;
    if document.version != VERSION {
        return Err(InitDataError::Version);
    }
    let hash: HashAlgorithm = document.algorithm.parse().map_err(|_| InitDataError::Algorithm)?;
    let digest = digest::digest(hash.ring(), text.as_bytes());
    let mut field = [0; N];
    for (place, byte) in field.iter_mut().zip(digest.as_ref()) {
        *place = *byte;
    }
    Ok(field)
}

/// The initdata is not usable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitDataError {
    /// Over [`MAX_INIT_DATA_BYTES`].
    #[error("the initdata is larger than {MAX_INIT_DATA_BYTES} bytes")]
    TooLarge,
    /// Not TOML of the right form.
    #[error("the initdata is malformed")]
    Malformed {
        /// Where and why.
        #[source]
        source: toml::de::Error,
    },
    /// Another version.
    #[error("the initdata is not of version {VERSION}")]
    Version,
    /// Another hash function.
    #[error("the initdata names an unknown hash function")]
    Algorithm,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: String,
    algorithm: String,
    #[serde(rename = "data")]
    _data: BTreeMap<String, String>,
}

const VERSION: &str = "0.1.0";

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str =
        "version = \"0.1.0\"\nalgorithm = \"sha256\"\n[data]\n\"a.toml\" = '''x = 1'''\n";

    #[test]
    fn is_the_digest_of_the_whole_text() {
        let digest = digest::digest(&digest::SHA256, EXAMPLE.as_bytes());
        assert_eq!(host_data(EXAMPLE).unwrap(), digest.as_ref());
        // D16: a byte outside every value counts too.
        assert_ne!(host_data(&format!("{EXAMPLE}\n")).unwrap(), digest.as_ref());
    }

    #[test]
    fn longer_digests_are_truncated() {
        let text = EXAMPLE.replace("sha256", "sha512");
        let digest = digest::digest(&digest::SHA512, text.as_bytes());
        assert_eq!(host_data(&text).unwrap(), digest.as_ref()[..32]);
        assert_eq!(mr_config_id(&text).unwrap(), digest.as_ref()[..48]);
    }

    #[test]
    fn shorter_digests_are_padded() {
        let digest = digest::digest(&digest::SHA256, EXAMPLE.as_bytes());
        let field = mr_config_id(EXAMPLE).unwrap();
        assert_eq!((&field[..32], &field[32..]), (digest.as_ref(), &[0; 16][..]));
        assert!(mr_config_id("").is_err());
    }

    #[test]
    fn refuses_each_wrong_form() {
        assert!(matches!(
            host_data(&EXAMPLE.replace("0.1.0", "0.2.0")),
            Err(InitDataError::Version)
        ));
        assert!(matches!(
            host_data(&EXAMPLE.replace("sha256", "md5")),
            Err(InitDataError::Algorithm)
        ));
        for bad in [
            "",
            "version = \"0.1.0\"",
            &format!("extra = 1\n{EXAMPLE}"),
            &format!("version = \"0.1.0\"\n{EXAMPLE}"), // D7: a duplicate key
        ] {
            assert!(matches!(host_data(bad), Err(InitDataError::Malformed { .. })), "{bad}");
        }
        let large = format!("{EXAMPLE}#{}", "x".repeat(MAX_INIT_DATA_BYTES));
        assert!(matches!(host_data(&large), Err(InitDataError::TooLarge)));
    }
}
