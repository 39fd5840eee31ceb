// SPDX-License-Identifier: Apache-2.0
//! HPKE (RFC 9180), mode base, DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM: the one suite
//! that the log uses. The sender is ring's key agreement, the recipient's is RustCrypto's, whose keys
//! can be read from a file.

use ring::aead;
use ring::agreement;
use ring::hmac;
use ring::rand::SecureRandom;
use zeroize::Zeroizing;

use crate::key::OwnerKey;
use crate::key::OwnerPublicKey;
use crate::key::POINT_BYTES;

/// A context (RFC 9180, 5.2): one key, and a nonce for each sequence number.
pub(crate) struct Context {
    key: aead::LessSafeKey,
    base_nonce: [u8; aead::NONCE_LEN],
}

/// The recipient cannot make the context, the message does not open, or the system gave no randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HpkeError;

/// A new context to `owner` and its encapsulated key (RFC 9180, 5.1.1).
pub(crate) fn sender(
    owner: &OwnerPublicKey,
    info: &[u8],
    random: &dyn SecureRandom,
) -> Result<([u8; POINT_BYTES], Context), HpkeError> {
    let private = agreement::EphemeralPrivateKey::generate(&agreement::ECDH_P256, random)
        .map_err(|_| HpkeError)?;
    let public = private.compute_public_key().map_err(|_| HpkeError)?;
    let encapsulated: [u8; POINT_BYTES] = public.as_ref().try_into().map_err(|_| HpkeError)?;
    let peer = agreement::UnparsedPublicKey::new(&agreement::ECDH_P256, owner.point());
    let secret = agreement::agree_ephemeral(private, &peer, |dh| {
        shared_secret(dh, &encapsulated, owner.point())
    })
    .map_err(|_| HpkeError)?;
    Ok((encapsulated, SUITE.context(&*secret, info)?))
}

/// The context of an encapsulated key (RFC 9180, 5.1.1).
pub(crate) fn recipient(
    owner: &OwnerKey,
    encapsulated: &[u8; POINT_BYTES],
    info: &[u8],
) -> Result<Context, HpkeError> {
    SUITE.context(&*decapsulate(owner, encapsulated)?, info)
}

impl Context {
    /// Seals a message under its sequence number, which must not have been used.
    pub(crate) fn seal(
        &self,
        sequence: u64,
        aad: &[u8],
        mut message: Vec<u8>,
    ) -> Result<Vec<u8>, HpkeError> {
        self.key
            .seal_in_place_append_tag(self.nonce(sequence), aead::Aad::from(aad), &mut message)
            .map_err(|_| HpkeError)?;
        Ok(message)
    }

    /// Opens a message of that sequence number.
    pub(crate) fn open(
        &self,
        sequence: u64,
        aad: &[u8],
        mut sealed: Vec<u8>,
    ) -> Result<Vec<u8>, HpkeError> {
        let length = self
            .key
            .open_in_place(self.nonce(sequence), aead::Aad::from(aad), &mut sealed)
            .map_err(|_| HpkeError)?
            .len();
        sealed.truncate(length);
        Ok(sealed)
    }

    /// RFC 9180, 5.2: the base nonce xor the sequence number at its end.
    fn nonce(&self, sequence: u64) -> aead::Nonce {
        let mut nonce = self.base_nonce;
        for (place, byte) in nonce.iter_mut().rev().zip(sequence.to_be_bytes().iter().rev()) {
            *place ^= byte;
        }
        aead::Nonce::assume_unique_for_key(nonce)
    }
}

/// An AEAD of HPKE.
struct Suite {
    aead_id: u16,
    algorithm: &'static aead::Algorithm,
}

impl Suite {
    /// RFC 9180, 5.1: the key schedule of mode base.
    fn context(&self, shared_secret: &[u8], info: &[u8]) -> Result<Context, HpkeError> {
        let (kem, kdf, aead_id) =
            (KEM_ID.to_be_bytes(), KDF_ID.to_be_bytes(), self.aead_id.to_be_bytes());
        let suite: [&[u8]; 4] = [b"HPKE", &kem, &kdf, &aead_id];
        let suite = suite.concat();
        let psk_id_hash = extract(&[], &suite, b"psk_id_hash", &[]);
        let info_hash = extract(&[], &suite, b"info_hash", info);
        let context: [&[u8]; 3] = [&[MODE_BASE], psk_id_hash.as_ref(), info_hash.as_ref()];
        let context = context.concat();
        let secret = extract(shared_secret, &suite, b"secret", &[]);
        let key_bytes = self.algorithm.key_len();
        let key = expand(&*secret, &suite, b"key", &context, key_bytes);
        let key = key.get(..key_bytes).ok_or(HpkeError)?;
        let nonce = expand(&*secret, &suite, b"base_nonce", &context, aead::NONCE_LEN);
        let base_nonce = nonce.get(..aead::NONCE_LEN).and_then(|nonce| nonce.try_into().ok());
        let key = aead::UnboundKey::new(self.algorithm, key).map_err(|_| HpkeError)?;
        Ok(Context { key: aead::LessSafeKey::new(key), base_nonce: base_nonce.ok_or(HpkeError)? })
    }
}

fn decapsulate(
    owner: &OwnerKey,
    encapsulated: &[u8; POINT_BYTES],
) -> Result<Zeroizing<[u8; SECRET_BYTES]>, HpkeError> {
    let peer = OwnerPublicKey::from_point(*encapsulated).map_err(|_| HpkeError)?;
    let dh = owner.agree(&peer).map_err(|_| HpkeError)?;
    Ok(shared_secret(&*dh, encapsulated, owner.public_key().point()))
}

/// `ExtractAndExpand` of the KEM (RFC 9180, 4.1).
fn shared_secret(
    dh: &[u8],
    encapsulated: &[u8; POINT_BYTES],
    recipient: &[u8; POINT_BYTES],
) -> Zeroizing<[u8; SECRET_BYTES]> {
    let suite: [&[u8]; 2] = [b"KEM", &KEM_ID.to_be_bytes()];
    let suite = suite.concat();
    let prk = extract(&[], &suite, b"eae_prk", dh);
    let context = [encapsulated.as_slice(), recipient].concat();
    expand(&*prk, &suite, b"shared_secret", &context, SECRET_BYTES)
}

/// `LabeledExtract` (RFC 9180, 4).
fn extract(salt: &[u8], suite: &[u8], label: &[u8], ikm: &[u8]) -> Zeroizing<[u8; SECRET_BYTES]> {
    mac(salt, &[VERSION, suite, label, ikm])
}

/// `LabeledExpand` (RFC 9180, 4) of up to one block: the first `length` bytes of the result count.
fn expand(
    prk: &[u8],
    suite: &[u8],
    label: &[u8],
    info: &[u8],
    length: usize,
) -> Zeroizing<[u8; SECRET_BYTES]> {
    let length = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    mac(prk, &[&length, VERSION, suite, label, info, &[1]])
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Zeroizing<[u8; SECRET_BYTES]> {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    for part in parts {
        context.update(part);
    }
    let mut out = Zeroizing::new([0; SECRET_BYTES]);
    for (place, byte) in out.iter_mut().zip(context.sign().as_ref()) {
        *place = *byte;
    }
    out
}

const SUITE: Suite = Suite { aead_id: 2, algorithm: &aead::AES_256_GCM };
const KEM_ID: u16 = 0x0010;
const KDF_ID: u16 = 0x0001;
const MODE_BASE: u8 = 0;
const VERSION: &[u8] = b"HPKE-v1";
/// Bytes of an HMAC-SHA256 and of the KEM's secret.
const SECRET_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;

    use super::*;
    use crate::key::tests::example;

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        hex::decode(hex).unwrap().try_into().unwrap()
    }

    /// RFC 9180, A.3.1.
    const ENCAPSULATED: &str = "04a92719c6195d5085104f469a8b9814d5838ff72b60501e2c4466e5e67b325a\
        c98536d7b61a1af4b78e5b7f951c0900be863c403ce65c9bfcb9382657222d18c4";

    #[test]
    fn the_rfcs_key_schedule_and_messages() {
        // RFC 9180, A.3.1: the same KEM and KDF, with AES-128-GCM.
        let suite = Suite { aead_id: 1, algorithm: &aead::AES_128_GCM };
        let secret = decapsulate(&example(), &bytes(ENCAPSULATED)).unwrap();
        let expected = "c0d26aeab536609a572b07695d933b589dcf363ff9d93c93adea537aeabb8cb8";
        assert_eq!(hex::encode(*secret), expected);
        let context = suite.context(&*secret, b"Ode on a Grecian Urn").unwrap();
        assert_eq!(hex::encode(context.base_nonce), "4e0bc5018beba4bf004cca59");
        for (sequence, sealed) in [
            (
                0,
                "5ad590bb8baa577f8619db35a36311226a896e7342a6d836d8b7bcd2f20b6c7f9076ac232e3ab2523f39513434",
            ),
            (
                1,
                "fa6f037b47fc21826b610172ca9637e82d6e5801eb31cbd3748271affd4ecb06646e0329cbdf3c3cd655b28e82",
            ),
            (
                2,
                "895cabfac50ce6c6eb02ffe6c048bf53b7f7be9a91fc559402cbc5b8dcaeb52b2ccc93e466c28fb55fed7a7fec",
            ),
            (
                4,
                "8787491ee8df99bc99a246c4b3216d3d57ab5076e18fa27133f520703bc70ec999dd36ce042e44f0c3169a6a8f",
            ),
            (
                255,
                "2ad71c85bf3f45c6eca301426289854b31448bcf8a8ccb1deef3ebd87f60848aa53c538c30a4dac71d619ee2cd",
            ),
            (
                256,
                "10f179686aa2caec1758c8e554513f16472bd0a11e2a907dde0b212cbe87d74f367f8ffe5e41cd3e9962a6afb2",
            ),
        ] {
            let aad = format!("Count-{sequence}");
            let message = b"Beauty is truth, truth beauty".to_vec();
            let ours = context.seal(sequence, aad.as_bytes(), message.clone()).unwrap();
            assert_eq!(hex::encode(&ours), sealed, "{sequence}");
            assert_eq!(context.open(sequence, aad.as_bytes(), ours).unwrap(), message);
        }
    }

    #[test]
    fn opens_what_another_implementation_sealed() {
        // pyca/cryptography 48, Suite(P256, HKDF_SHA256, AES_256_GCM).encrypt, to the same key.
        let encapsulated = bytes(
            "0488b5f05772dd174e6fa7f3c660526f37a1174f09540cb696d87ae014a79ed441a3a7f207b4d4d19f2c34d4\
             b1ab6610ba9380d12a6ba64eacdc0c7d1248e3b974",
        );
        let sealed = hex::decode(
            "bedfc6a4910c6af962df9dd54920767144e25f1e122919cb13eff2872cea32b17207ba2494f0127363c95006\
             c247c2c9533d",
        )
        .unwrap();
        let context = recipient(&example(), &encapsulated, b"casemate-audit-1").unwrap();
        assert_eq!(context.open(0, b"", sealed).unwrap(), b"a record of another implementation");
    }

    #[test]
    fn the_two_libraries_agree() {
        let owner = OwnerKey::generate().unwrap();
        let random = SystemRandom::new();
        let (encapsulated, sender) = sender(owner.public_key(), b"info", &random).unwrap();
        let open = |info: &[u8], sequence, aad: &[u8], sealed: &[u8]| {
            let context = recipient(&owner, &encapsulated, info).unwrap();
            context.open(sequence, aad, sealed.to_vec())
        };
        let sealed = sender.seal(u64::MAX, b"aad", b"message".to_vec()).unwrap();
        assert_eq!(open(b"info", u64::MAX, b"aad", &sealed).unwrap(), b"message");
        // Each of the inputs counts.
        assert_eq!(open(b"other", u64::MAX, b"aad", &sealed), Err(HpkeError));
        assert_eq!(open(b"info", 0, b"aad", &sealed), Err(HpkeError));
        assert_eq!(open(b"info", u64::MAX, b"", &sealed), Err(HpkeError));
        assert_eq!(open(b"info", u64::MAX, b"aad", &sealed[1..]), Err(HpkeError));
        let stranger = OwnerKey::generate().unwrap();
        let context = recipient(&stranger, &encapsulated, b"info").unwrap();
        assert_eq!(context.open(u64::MAX, b"aad", sealed), Err(HpkeError));
    }

    #[test]
    fn refuses_a_key_that_is_no_point() {
        assert!(recipient(&example(), &[4; POINT_BYTES], b"").is_err());
        assert!(recipient(&example(), &[0; POINT_BYTES], b"").is_err());
    }
}
