// SPDX-License-Identifier: Apache-2.0
//! A TPM's quote: TPMS_ATTEST (TPM 2.0 Library, part 2, 10.12.12), big-endian.

/// Number of registers that come with a quote.
pub const PCRS: usize = 24;

/// Largest signed part of a quote, bytes.
pub const MAX_QUOTE_BYTES: usize = 1 << 10;

/// A well-formed quote over registers of SHA-256, with the registers' values beside it. Says
/// nothing about who made it, nor that quote and values belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmQuote {
    message: Vec<u8>,
    signature: Vec<u8>,
    pcrs: Box<[[u8; 32]; PCRS]>,
    nonce: Vec<u8>,
    selected: u32,
    digest: [u8; 32],
}

impl TpmQuote {
    /// Reads a quote: `message` is what the TPM signed, `signature` the bare RSA signature.
    ///
    /// # Errors
    ///
    /// [`QuoteError`] when the message is no quote of a TPM, quotes another bank than SHA-256 or
    /// several, quotes registers beyond the 24th, or is followed by anything (D7).
    pub fn parse(
        message: &[u8],
        signature: &[u8],
        pcrs: [[u8; 32]; PCRS],
    ) -> Result<Self, QuoteError> {
        if message.len() > MAX_QUOTE_BYTES || signature.len() > MAX_QUOTE_BYTES {
            return Err(QuoteError::TooLarge);
        }
        let mut rest = Reader(message);
        if rest.array()? != TPM_GENERATED {
            return Err(QuoteError::Magic);
        }
        if rest.array()? != ATTEST_QUOTE {
            return Err(QuoteError::Kind);
        }
        let _signer = rest.sized()?;
        let nonce = rest.sized()?.to_vec();
        let _clock_and_firmware = rest.array::<25>()?;
        if rest.array()? != 1_u32.to_be_bytes() || rest.array()? != ALGORITHM_SHA256 {
            return Err(QuoteError::Bank);
        }
        let [len] = rest.array()?;
        let selected = match *rest.take(usize::from(len))? {
            [low, middle, high] => u32::from_le_bytes([low, middle, high, 0]),
            _ => return Err(QuoteError::Bank),
        };
        let digest = rest.sized()?.try_into().map_err(|_| QuoteError::Digest)?;
        if !rest.0.is_empty() {
            return Err(QuoteError::Trailing);
        }
        Ok(Self {
            message: message.to_vec(),
            signature: signature.to_vec(),
            pcrs: Box::new(pcrs),
            nonce,
            selected,
            digest,
        })
    }

    /// What the TPM signed, exactly as it came.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// The TPM's signature, RSASSA-PKCS1-v1_5 with SHA-256.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// What the quote was asked for with.
    #[must_use]
    pub fn nonce(&self) -> &[u8] {
        &self.nonce
    }

    /// Whether the quote speaks of a register.
    #[must_use]
    pub fn is_selected(&self, index: usize) -> bool {
        u32::try_from(index)
            .is_ok_and(|index| self.selected.checked_shr(index).is_some_and(|rest| rest & 1 == 1))
    }

    /// Every register's value, as it came beside the quote.
    ///
    /// # Security
    ///
    /// A value counts only if it [is selected](Self::is_selected) and the
    /// [digest](Self::digest) of the selected values is right.
    #[must_use]
    pub fn pcrs(&self) -> &[[u8; 32]; PCRS] {
        &self.pcrs
    }

    /// SHA-256 of the selected values, one after the other.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}

/// Why bytes are no quote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuoteError {
    /// Over [`MAX_QUOTE_BYTES`].
    #[error("the TPM's quote has more than {MAX_QUOTE_BYTES} bytes")]
    TooLarge,
    /// It ends within a field.
    #[error("the TPM's quote is cut short")]
    Truncated,
    /// No TPM made it.
    #[error("the message is not one that a TPM made")]
    Magic,
    /// A TPM's word about something else.
    #[error("the TPM's message is no quote")]
    Kind,
    /// Not exactly 24 registers of SHA-256.
    #[error("the TPM's quote is not over one bank of {PCRS} SHA-256 registers")]
    Bank,
    /// The digest is not of SHA-256.
    #[error("the digest in the TPM's quote is not of SHA-256")]
    Digest,
    /// Bytes follow the quote.
    #[error("bytes follow the TPM's quote")]
    Trailing,
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], QuoteError> {
        let (head, tail) = self.0.split_at_checked(len).ok_or(QuoteError::Truncated)?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], QuoteError> {
        self.take(N)?.try_into().map_err(|_| QuoteError::Truncated)
    }

    /// A field with its length, 16 bits, before it.
    fn sized(&mut self) -> Result<&'a [u8], QuoteError> {
        let len = u16::from_be_bytes(self.array()?);
        self.take(usize::from(len))
    }
}

const TPM_GENERATED: [u8; 4] = [0xFF, b'T', b'C', b'G'];
const ATTEST_QUOTE: [u8; 2] = [0x80, 0x18];
const ALGORITHM_SHA256: [u8; 2] = [0x00, 0x0B];
