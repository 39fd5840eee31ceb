// SPDX-License-Identifier: Apache-2.0
//! A TPM's registers and its quote of them: TPMS_ATTEST (TPM 2.0 Library, part 2, 10.12.12),
//! big-endian.

use ring::digest::{SHA256, digest};

use crate::keys::{Authority, Keys};
use crate::mint::MintError;

/// Everything that the TPM will say.
#[derive(Clone)]
pub(super) struct TpmPlan {
    pub(super) magic: [u8; 4],
    /// Kind of the message.
    pub(super) kind: [u8; 2],
    pub(super) nonce: Vec<u8>,
    /// Algorithm of each bank that is quoted.
    pub(super) banks: Vec<[u8; 2]>,
    /// One bit for each register that is quoted.
    pub(super) selected: u32,
    pub(super) registers: [[u8; 32]; PCRS],
    /// The quoted digest is of the registers from the last to the first.
    pub(super) reversed: bool,
    pub(super) signed_by: Authority,
    /// Bytes of the message that are changed after it is signed.
    pub(super) flips: Vec<usize>,
    pub(super) flip_signature: bool,
    /// Bytes behind the message, under the signature.
    pub(super) behind: Vec<u8>,
    /// How many bytes of the message there are, if not all; the signature is over these.
    pub(super) cut: Option<usize>,
    /// A register whose value beside the quote is another one.
    pub(super) shown: Option<usize>,
    /// How many values stand beside the quote.
    pub(super) values: usize,
}

/// A quote as evidence carries it.
pub(super) struct SignedQuote {
    pub(super) message: Vec<u8>,
    pub(super) signature: Vec<u8>,
    pub(super) registers: Vec<[u8; 32]>,
}

/// Number of registers.
pub(super) const PCRS: usize = 24;
pub(super) const BANK_SHA256: [u8; 2] = [0x00, 0x0b];
pub(super) const BANK_SHA1: [u8; 2] = [0x00, 0x04];
/// A key's certificate by another one: another message that a TPM signs.
pub(super) const ATTEST_CERTIFY: [u8; 2] = [0x80, 0x17];
const ATTEST_QUOTE: [u8; 2] = [0x80, 0x18];
/// Offset of the clock: behind magic, kind, the signer's name and the nonce.
pub(super) const CLOCK: usize = 4 + 2 + 2 + 34 + 2;
const ALL: u32 = 0x00ff_ffff;
/// Registers of a dynamic root of trust, which there was none of: all ones.
const DYNAMIC: std::ops::RangeInclusive<usize> = 17..=22;
/// The registers that the guest's owner looks at.
pub(super) const BOOT: usize = 4;
pub(super) const INIT_DATA: usize = 8;
pub(super) const KERNEL: usize = 9;

impl TpmPlan {
    pub(super) fn good(nonce: &[u8], registers: [[u8; 32]; PCRS]) -> Self {
        Self {
            magic: [0xff, b'T', b'C', b'G'],
            kind: ATTEST_QUOTE,
            nonce: nonce.to_vec(),
            banks: vec![BANK_SHA256],
            selected: ALL,
            registers,
            reversed: false,
            signed_by: Authority::Tpm,
            flips: Vec::new(),
            flip_signature: false,
            behind: Vec::new(),
            cut: None,
            shown: None,
            values: PCRS,
        }
    }

    /// Gives a register another value, before it is quoted.
    pub(super) fn measure(&mut self, index: usize, value: [u8; 32]) {
        self.registers.iter_mut().skip(index).take(1).for_each(|register| *register = value);
    }

    pub(super) fn sign(&self, keys: &Keys) -> Result<SignedQuote, MintError> {
        let mut message = self.message(keys)?;
        message.truncate(self.cut.unwrap_or(usize::MAX));
        let mut signature = keys.rsa(self.signed_by)?.sign_as_tpm(&message)?;
        for offset in &self.flips {
            message.iter_mut().skip(*offset).take(1).for_each(|byte| *byte ^= 1);
        }
        if self.flip_signature {
            signature.iter_mut().rev().take(1).for_each(|byte| *byte ^= 1);
        }
        let mut registers = self.registers.to_vec();
        if let Some(shown) = self.shown {
            let value = registers.iter_mut().skip(shown).take(1).flatten();
            value.take(1).for_each(|byte| *byte ^= 1);
        }
        registers.truncate(self.values);
        Ok(SignedQuote { message, signature, registers })
    }

    fn message(&self, keys: &Keys) -> Result<Vec<u8>, MintError> {
        let mut message = [&self.magic[..], &self.kind].concat();
        // The name of the key that signs: an algorithm and a digest of its public part.
        let name = [&BANK_SHA256[..], &keys.bytes::<32>("name of the attestation key")].concat();
        sized(&mut message, &name)?;
        sized(&mut message, &self.nonce)?;
        let [clock, resets, restarts, firmware] = [4242_u64, 2, 0, 0x2020_0312_0012_0003];
        message.extend(clock.to_be_bytes());
        message.extend(resets.to_be_bytes().iter().skip(4));
        message.extend(restarts.to_be_bytes().iter().skip(4));
        message.push(1);
        message.extend(firmware.to_be_bytes());
        let banks = u32::try_from(self.banks.len());
        let banks = banks.map_err(|_| MintError::TooLong { what: "the selection" })?;
        message.extend(banks.to_be_bytes());
        for bank in &self.banks {
            message.extend(bank);
            message.push(3);
            message.extend(self.selected.to_le_bytes().iter().take(3));
        }
        sized(&mut message, digest(&SHA256, &self.quoted()).as_ref())?;
        message.extend(&self.behind);
        Ok(message)
    }

    /// The selected values, one after the other.
    fn quoted(&self) -> Vec<u8> {
        let selected = (0_u32..).zip(&self.registers);
        let selected = selected.filter(|(index, _)| self.selected >> index & 1 == 1);
        let mut values: Vec<&[u8; 32]> = selected.map(|(_, value)| value).collect();
        if self.reversed {
            values.reverse();
        }
        values.into_iter().flatten().copied().collect()
    }
}

/// The registers of a guest that booted and extended its initdata.
pub(super) fn registers(
    boot: [u8; 32],
    kernel: [u8; 32],
    init_data: &[u8; 32],
    keys: &Keys,
) -> [[u8; 32]; PCRS] {
    std::array::from_fn(|index| match index {
        BOOT => boot,
        KERNEL => kernel,
        INIT_DATA => extended([0; 32], init_data),
        0..=7 | 12 | 14 => keys.bytes(&format!("register {index}")),
        index if DYNAMIC.contains(&index) => [0xff; 32],
        _ => [0; 32],
    })
}

/// A register of this value, extended.
pub(super) fn extended(register: [u8; 32], with: &[u8; 32]) -> [u8; 32] {
    let mut value = [0; 32];
    let hash = digest(&SHA256, &[register, *with].concat());
    value.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
    value
}

/// A field with its length before it.
fn sized(message: &mut Vec<u8>, field: &[u8]) -> Result<(), MintError> {
    let length = u16::try_from(field.len());
    let length = length.map_err(|_| MintError::TooLong { what: "a field of the quote" })?;
    message.extend(length.to_be_bytes());
    message.extend(field);
    Ok(())
}
