// SPDX-License-Identifier: Apache-2.0
//! Signatures of files: ECDSA on P-384 with SHA-384, as `openssl dgst -sha384` makes and checks them.

use pem_rfc7468::PemLabel;
use ring::rand::SecureRandom;
use ring::signature::ECDSA_P384_SHA384_ASN1;
use ring::signature::ECDSA_P384_SHA384_ASN1_SIGNING;
use ring::signature::EcdsaKeyPair;
use ring::signature::UnparsedPublicKey;
use zeroize::Zeroizing;

/// Signs a message with a key file: PEM of an unencrypted PKCS#8 key on P-384.
///
/// # Errors
///
/// A key file that is none.
pub fn sign(
    key_pem: &[u8],
    message: &[u8],
    random: &dyn SecureRandom,
) -> Result<Vec<u8>, SignatureError> {
    let der = Zeroizing::new(decode::<PrivateKey>(key_pem)?);
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, &der, random)
        .map_err(|_| SignatureError::NoKey)?;
    let signature = pair.sign(random, message).map_err(|_| SignatureError::NoRandomness)?;
    Ok(signature.as_ref().to_vec())
}

/// Checks a signature with a public key file: PEM of a SubjectPublicKeyInfo on P-384.
///
/// # Errors
///
/// [`SignatureError::Wrong`], or a key file that is none.
pub fn verify(key_pem: &[u8], message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
    let der = decode::<PublicKey>(key_pem)?;
    let point = der.strip_prefix(P384_KEY).ok_or(SignatureError::NoKey)?;
    UnparsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, point)
        .verify(message, signature)
        .map_err(|_| SignatureError::Wrong)
}

/// Whether bytes have the form of a signature on P-384: in DER, a sequence of two positive integers
/// of at most 48 bytes (RFC 3279, section 2.2.3). This says nothing of who signed what.
#[must_use]
pub fn is_well_formed(signature: &[u8]) -> bool {
    let integers = match signature {
        [0x30, length, rest @ ..] if usize::from(*length) == rest.len() => rest,
        _ => return false,
    };
    matches!(integer(integers).and_then(integer), Some([]))
}

/// What follows an integer.
fn integer(bytes: &[u8]) -> Option<&[u8]> {
    let [0x02, length, rest @ ..] = bytes else { return None };
    let (number, rest) = rest.split_at_checked(usize::from(*length))?;
    let magnitude = match number {
        [0, next @ ..] if next.first().is_some_and(|first| *first >= 0x80) => next,
        [first, ..] if (1..0x80).contains(first) => number,
        _ => return None,
    };
    (magnitude.len() <= 48).then_some(rest)
}

/// Why there is no signature, or no good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// The key file does not hold a key on P-384.
    #[error("the key file holds no key on P-384 of the kind that is needed, in PEM")]
    NoKey,
    /// The platform gave no randomness.
    #[error("failed to get randomness for a signature")]
    NoRandomness,
    /// The signature is not this key's of these bytes.
    #[error("the signature is not of this file and this key")]
    Wrong,
}

fn decode<T: PemLabel>(pem: &[u8]) -> Result<Vec<u8>, SignatureError> {
    if pem.len() > MAX_KEY_FILE {
        return Err(SignatureError::NoKey);
    }
    match pem_rfc7468::decode_vec(pem) {
        Ok((label, der)) if label == T::PEM_LABEL => Ok(der),
        _ => Err(SignatureError::NoKey),
    }
}

struct PrivateKey;

impl PemLabel for PrivateKey {
    const PEM_LABEL: &'static str = "PRIVATE KEY";
}

struct PublicKey;

impl PemLabel for PublicKey {
    const PEM_LABEL: &'static str = "PUBLIC KEY";
}

/// Largest accepted key file, in bytes.
const MAX_KEY_FILE: usize = 16 * 1024;

/// What stands before the uncompressed point in a SubjectPublicKeyInfo on P-384 (RFC 5480, section
/// 2): two sequences, the object identifiers of EC keys and of the curve, and the bit string's head.
const P384_KEY: &[u8] = &[
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b,
    0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
];

#[cfg(test)]
mod tests {
    use pem_rfc7468::LineEnding;
    use ring::rand::SystemRandom;
    use ring::signature::KeyPair;

    use super::*;

    fn key() -> (String, String) {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P384_SHA384_ASN1_SIGNING;
        let der = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, der.as_ref(), &random).unwrap();
        let public = [P384_KEY, pair.public_key().as_ref()].concat();
        let pem = |label, der: &[u8]| pem_rfc7468::encode_string(label, LineEnding::LF, der);
        (pem("PRIVATE KEY", der.as_ref()).unwrap(), pem("PUBLIC KEY", &public).unwrap())
    }

    #[test]
    fn signs_and_verifies_and_each_other_byte_is_wrong() {
        let (private, public) = key();
        let signature = sign(private.as_bytes(), b"values", &SystemRandom::new()).unwrap();
        let check =
            |message: &[u8], signature: &[u8]| verify(public.as_bytes(), message, signature);
        assert_eq!(check(b"values", &signature), Ok(()));
        assert!(is_well_formed(&signature));
        for length in 0..signature.len() {
            assert!(!is_well_formed(&signature[..length]), "{length}");
        }
        assert!(!is_well_formed(&[&signature[..], &[0]].concat()));
        assert!(!is_well_formed(b"no signature") && !is_well_formed(&[0x30, 4, 2, 0, 2, 0]));
        assert_eq!(check(b"valuez", &signature), Err(SignatureError::Wrong));
        for position in 0..signature.len() {
            let mut other = signature.clone();
            other[position] ^= 1;
            assert_eq!(check(b"values", &other), Err(SignatureError::Wrong), "{position}");
        }
        let (_, other) = key();
        let wrong = verify(other.as_bytes(), b"values", &signature);
        assert_eq!(wrong, Err(SignatureError::Wrong));
    }

    #[test]
    fn refuses_files_that_are_no_such_key() {
        let (private, public) = key();
        let random = SystemRandom::new();
        for file in [public.as_bytes(), b"", b"-----BEGIN PRIVATE KEY-----", &[b' '; 20_000]] {
            assert_eq!(sign(file, b"", &random), Err(SignatureError::NoKey));
        }
        assert_eq!(verify(private.as_bytes(), b"", b""), Err(SignatureError::NoKey));
    }
}
