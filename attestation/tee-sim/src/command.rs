// SPDX-License-Identifier: Apache-2.0
//! The commands that mint evidence.

pub(crate) mod mint;
pub(crate) mod suite;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow};
use casemate_tee_sim::keys::{Keys, RSA_BITS};
use casemate_tee_sim::mint::from_rfc3339;
use clap::Args;

/// Keys and time.
#[derive(Args)]
pub(crate) struct Source {
    /// A folder that keeps the keys, made with the first use: RSA keys take a while to make.
    #[arg(long)]
    identity: Option<PathBuf>,
    /// Makes the keys, and all that is minted, from this number: the same again each time.
    #[arg(long)]
    seed: Option<u64>,
    /// The time at which the evidence is to be verified; now, if absent.
    #[arg(long, value_parser = time)]
    at: Option<u64>,
    /// Size of the RSA keys; AMD's have 4096 bits, smaller ones are made faster.
    #[arg(long, default_value_t = RSA_BITS, value_parser = bits)]
    rsa_bits: usize,
}

impl Source {
    fn keys(&self) -> anyhow::Result<Keys> {
        match &self.identity {
            Some(folder) => Keys::open(folder, self.seed, self.rsa_bits),
            None => Keys::passing(self.seed, self.rsa_bits),
        }
        .context("failed to get the keys")
    }

    fn at(&self) -> anyhow::Result<u64> {
        let now =
            SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
        Ok(self.at.unwrap_or(now.as_secs()))
    }
}

fn time(text: &str) -> Result<u64, String> {
    from_rfc3339(text).ok_or_else(|| "a time in RFC 3339, such as 2026-01-31T00:00:00Z".to_owned())
}

fn bits(text: &str) -> Result<usize, String> {
    let bits = text.parse().ok().filter(|bits| (2048..=8192).contains(bits));
    bits.ok_or_else(|| "2048 to 8192".to_owned())
}

/// Exactly so many bytes in hexadecimal digits.
fn bytes<const N: usize>(text: &str) -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes)
        .map_err(|_| anyhow!("expected {N} bytes as {} hexadecimal digits", N.saturating_mul(2)))?;
    Ok(bytes)
}

/// A number, decimal or with `0x`.
fn number(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| "a number, decimal or hexadecimal with 0x".to_owned())
}
