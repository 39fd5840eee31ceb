// SPDX-License-Identifier: Apache-2.0
//! The quote: header, body, and signature data in which each length is inside another one.

use ring::digest::{SHA256, digest};
use zerocopy::IntoBytes;

use super::body::{Body, EnclaveReport, Header};
use crate::keys::Keys;
use crate::mint::MintError;

/// Everything that the quote will say.
#[derive(Clone)]
pub(super) struct QuotePlan {
    pub(super) header: Header,
    /// Type and size of the body, in version 5.
    pub(super) kind: Option<(u16, usize)>,
    /// How much of the body is written.
    pub(super) len: usize,
    pub(super) body: Body,
    pub(super) qe: EnclaveReport,
    pub(super) binding: Binding,
    /// The attestation key that the quote names.
    pub(super) key: &'static str,
    /// Who signs header and body.
    pub(super) signed_by: &'static str,
    /// Who signs the quoting enclave's report.
    pub(super) qe_signed_by: &'static str,
    pub(super) auth_data: Vec<u8>,
    pub(super) lies: Vec<Lie>,
    pub(super) edits: Vec<Edit>,
}

/// What the quoting enclave's report binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binding {
    /// The attestation key and the authentication data.
    Good,
    /// Another attestation key.
    OtherKey,
    /// The key alone, without the authentication data.
    KeyAlone,
    /// The right digest with something behind it, where zeros belong.
    Tail,
}

/// A length or type that is not what it should be: a number is added to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lie {
    /// Of the signature data.
    Signature(i64),
    /// Of the certification data around the quoting enclave's report.
    Certification(i64),
    /// Of the authentication data.
    Auth(i64),
    /// Of the certificate chain.
    Chain(i64),
    /// Type of the certificate chain.
    ChainType(u16),
    /// Type of the certification data.
    CertificationType(u16),
}

/// A change of the finished quote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edit {
    /// A bit is flipped at an offset.
    Flip(usize),
    /// Bits are flipped in the quote's signature.
    FlipSignature,
    /// r or s of the quote's signature becomes zero: offset in it.
    ZeroSignature(usize),
    /// These bytes follow.
    Append(u8),
    /// The last byte is dropped.
    Truncate,
}

impl QuotePlan {
    pub(super) fn mint(&self, chain: &str, keys: &Keys) -> Result<Vec<u8>, MintError> {
        let mut quote = self.header.as_bytes().to_vec();
        if let Some((kind, size)) = self.kind {
            quote.extend(kind.to_le_bytes());
            quote.extend(length(size, 0)?);
        }
        quote.extend(self.body.as_bytes().get(..self.len).unwrap_or_default());
        let signed = quote.len();
        let signature = keys.p256(self.signed_by)?.sign_fixed(&quote);
        let key = point(self.key, keys)?;
        let certification = self.certification(&key, chain, keys)?;

        let mut data = signature.to_vec();
        data.extend(&key);
        data.extend(self.kind_or(6, |lie| match lie {
            Lie::CertificationType(kind) => Some(*kind),
            _ => None,
        }));
        data.extend(length(
            certification.len(),
            self.lie(|lie| match lie {
                Lie::Certification(by) => Some(*by),
                _ => None,
            }),
        )?);
        data.extend(certification);
        quote.extend(length(
            data.len(),
            self.lie(|lie| match lie {
                Lie::Signature(by) => Some(*by),
                _ => None,
            }),
        )?);
        let start = quote.len();
        quote.extend(data);
        debug_assert!(start == signed.saturating_add(4));
        for edit in &self.edits {
            edit.apply(&mut quote, start);
        }
        Ok(quote)
    }

    /// The quoting enclave's report, its signature, authentication data and certificates.
    fn certification(&self, key: &[u8], chain: &str, keys: &Keys) -> Result<Vec<u8>, MintError> {
        let bound = match self.binding {
            Binding::Good | Binding::Tail => [key, &self.auth_data].concat(),
            Binding::OtherKey => [&point("stranger", keys)?, self.auth_data.as_slice()].concat(),
            Binding::KeyAlone => key.to_vec(),
        };
        let mut report = self.qe.clone();
        let hash = digest(&SHA256, &bound);
        report.report_data.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
        if self.binding == Binding::Tail {
            report.report_data.iter_mut().rev().take(1).for_each(|byte| *byte = 1);
        }
        let mut data = report.as_bytes().to_vec();
        data.extend(keys.p256(self.qe_signed_by)?.sign_fixed(report.as_bytes()));
        let by = self.lie(|lie| match lie {
            Lie::Auth(by) => Some(*by),
            _ => None,
        });
        let auth = length(self.auth_data.len(), by)?;
        data.extend(auth.iter().take(2));
        data.extend(&self.auth_data);
        data.extend(self.kind_or(5, |lie| match lie {
            Lie::ChainType(kind) => Some(*kind),
            _ => None,
        }));
        // Intel's own chains end with a NUL.
        let chain = [chain.as_bytes(), &[0]].concat();
        data.extend(length(
            chain.len(),
            self.lie(|lie| match lie {
                Lie::Chain(by) => Some(*by),
                _ => None,
            }),
        )?);
        data.extend(chain);
        Ok(data)
    }

    fn lie(&self, which: impl Fn(&Lie) -> Option<i64>) -> i64 {
        self.lies.iter().find_map(which).unwrap_or_default()
    }

    fn kind_or(&self, kind: u16, which: impl Fn(&Lie) -> Option<u16>) -> [u8; 2] {
        self.lies.iter().find_map(which).unwrap_or(kind).to_le_bytes()
    }
}

impl Edit {
    fn apply(self, quote: &mut Vec<u8>, signature: usize) {
        match self {
            Self::Flip(offset) => quote.iter_mut().skip(offset).take(1).for_each(|byte| *byte ^= 1),
            Self::FlipSignature => {
                quote.iter_mut().skip(signature).take(1).for_each(|byte| *byte ^= 1);
            }
            Self::ZeroSignature(offset) => {
                let number = quote.iter_mut().skip(signature.saturating_add(offset)).take(32);
                number.for_each(|byte| *byte = 0);
            }
            Self::Append(byte) => quote.push(byte),
            Self::Truncate => {
                quote.pop();
            }
        }
    }
}

/// x and y of a key.
fn point(name: &str, keys: &Keys) -> Result<Vec<u8>, MintError> {
    let point = keys.p256(name)?.point();
    Ok(point.get(1..).unwrap_or_default().to_vec())
}

fn length(bytes: usize, by: i64) -> Result<[u8; 4], MintError> {
    let length = i64::try_from(bytes).ok().and_then(|bytes| bytes.checked_add(by));
    let length = length.and_then(|length| u32::try_from(length).ok());
    length.map(u32::to_le_bytes).ok_or(MintError::TooLong { what: "a part of the quote" })
}
