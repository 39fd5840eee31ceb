// SPDX-License-Identifier: Apache-2.0
//! `image.json`: what a guest image consists of and what it was made from.

use std::collections::BTreeMap;
use std::fmt;

use ring::digest;
use serde::Deserialize;
use serde::Serialize;

use crate::inputs::Lock;

/// The description beside the parts of a guest image. It is not measured: who trusts it, trusts the
/// folder it lies in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this format: [`Manifest::FORMAT`].
    pub format: u32,
    /// What the image is for.
    pub kind: KindName,
    /// Release of the kernel.
    pub kernel_release: String,
    /// The packages that firmware and kernel come from.
    pub inputs: Lock,
    /// The measured files, by name.
    pub parts: BTreeMap<String, PartRecord>,
    /// The files in the initramfs, in the order of their paths.
    pub initramfs_files: Vec<FileRecord>,
}

impl Manifest {
    /// The only version of the format.
    pub const FORMAT: u32 = 2;
    /// Name of the file that holds the manifest.
    pub const FILE: &str = "image.json";
    /// Largest accepted manifest, in bytes.
    pub const MAX_SIZE: u64 = 1024 * 1024;
    /// Names of the measured files.
    pub const PARTS: [&str; 5] =
        [Self::CMDLINE_SMP, Self::CMDLINE, Self::FIRMWARE, Self::INITRAMFS, Self::KERNEL];

    /// The command line of guests with one virtual CPU.
    pub const CMDLINE: &str = "cmdline.txt";
    /// The command line of guests with several virtual CPUs.
    pub const CMDLINE_SMP: &str = "cmdline-smp.txt";
    pub(crate) const FIRMWARE: &str = "firmware.fd";
    pub(crate) const INITRAMFS: &str = "initramfs";
    pub(crate) const KERNEL: &str = "kernel";
}

/// What a guest image is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KindName {
    /// Real TEEs.
    Production,
    /// Development and tests: holds the device of the software TEE, and therefore has another
    /// digest.
    Simulated,
}

/// One measured file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartRecord {
    /// Its size in bytes.
    pub size: u64,
    /// Its digest.
    pub sha256: Sha256,
}

impl PartRecord {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self { size: u64::try_from(bytes.len()).unwrap_or(u64::MAX), sha256: Sha256::of(bytes) }
    }
}

/// One file in the initramfs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    /// Its path without a leading slash.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its digest.
    pub sha256: Sha256,
}

/// A SHA-256 digest, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// Hashes bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
        Self(hash)
    }

    /// The digest's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Sha256({self})")
    }
}

impl From<Sha256> for String {
    fn from(digest: Sha256) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for Sha256 {
    type Error = hex::FromHexError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut hash = [0; 32];
        hex::decode_to_slice(text, &mut hash)?;
        Ok(Self(hash))
    }
}
