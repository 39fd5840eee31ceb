// SPDX-License-Identifier: Apache-2.0
//! Arguments of `casemate idblock`.

use std::path::PathBuf;

use clap::Parser;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum IdBlockCommand {
    /// Make ID block and ID authentication of a guest
    Create(IdBlockCreateArgs),
    /// Check the signatures and print what they bind
    Verify(IdBlockVerifyArgs),
}

#[derive(Debug, Parser)]
pub(crate) struct IdBlockCreateArgs {
    /// Launch digest of the guest, 96 hexadecimal digits
    #[arg(long, value_name = "HEX", value_parser = bytes::<48>)]
    pub(crate) launch_digest: [u8; 48],
    /// Guest policy
    #[arg(long, value_name = "HEX", default_value = "0x30000", value_parser = word)]
    pub(crate) policy: u64,
    /// Sign a guest policy that lets the host read and change the guest (bit 19)
    #[arg(long)]
    pub(crate) allow_debug: bool,
    /// Family of the guest, 32 hexadecimal digits of your choice
    #[arg(long, value_name = "HEX", default_value = ZEROS, value_parser = bytes::<16>)]
    pub(crate) family_id: [u8; 16],
    /// Image of the guest, 32 hexadecimal digits of your choice
    #[arg(long, value_name = "HEX", default_value = ZEROS, value_parser = bytes::<16>)]
    pub(crate) image_id: [u8; 16],
    /// Security version of the guest
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) guest_svn: u32,
    /// The key that signs the block: P-384, PKCS#8
    #[arg(long, value_name = "FILE")]
    pub(crate) id_key: PathBuf,
    /// A key that signs the ID key: P-384, PKCS#8
    #[arg(long, value_name = "FILE")]
    pub(crate) author_key: Option<PathBuf>,
    /// Where the ID block goes
    #[arg(long, value_name = "FILE", default_value = "id-block.bin")]
    pub(crate) block: PathBuf,
    /// Where the ID authentication goes
    #[arg(long, value_name = "FILE", default_value = "id-auth.bin")]
    pub(crate) auth: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Parser)]
pub(crate) struct IdBlockVerifyArgs {
    /// The ID block
    #[arg(long, value_name = "FILE", default_value = "id-block.bin")]
    pub(crate) block: PathBuf,
    /// The ID authentication
    #[arg(long, value_name = "FILE", default_value = "id-auth.bin")]
    pub(crate) auth: PathBuf,
    /// Fail unless the block binds this launch digest
    #[arg(long, value_name = "HEX", value_parser = bytes::<48>)]
    pub(crate) launch_digest: Option<[u8; 48]>,
    /// Fail unless this key signed it: the id_key_digest that `create` prints
    #[arg(long, value_name = "HEX", value_parser = bytes::<48>)]
    pub(crate) id_key_digest: Option<[u8; 48]>,
    /// Fail unless this key signed that one: the author_key_digest that `create` prints
    #[arg(long, value_name = "HEX", value_parser = bytes::<48>)]
    pub(crate) author_key_digest: Option<[u8; 48]>,
    /// Fail unless the block binds this guest policy
    #[arg(long, value_name = "HEX", value_parser = word)]
    pub(crate) policy: Option<u64>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

const ZEROS: &str = "00000000000000000000000000000000";

pub(super) fn bytes<const N: usize>(text: &str) -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

pub(super) fn word(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    // The standard library takes a sign.
    if digits.starts_with('+') {
        return Err("expected hexadecimal digits".to_owned());
    }
    u64::from_str_radix(digits, 16).map_err(|error| error.to_string())
}
