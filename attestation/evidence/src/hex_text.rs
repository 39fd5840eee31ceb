// SPDX-License-Identifier: Apache-2.0
//! Bytes written as hexadecimal digits of either case.

/// The bytes of a text that has nothing but pairs of digits.
pub(crate) fn bytes(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let mut bytes = Vec::with_capacity(pairs.len());
    for [high, low] in pairs {
        bytes.push(digit(*high)? << 4 | digit(*low)?);
    }
    Some(bytes)
}

/// The bytes of a text of exactly `N` pairs of digits.
pub(crate) fn array<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => byte.checked_sub(b'0'),
        b'a'..=b'f' => byte.checked_sub(b'a' - 10),
        b'A'..=b'F' => byte.checked_sub(b'A' - 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_pairs_of_digits_are_bytes() {
        assert_eq!(bytes("00fFA9"), Some(vec![0, 0xFF, 0xA9]));
        assert_eq!(array("00fFA9"), Some([0, 0xFF, 0xA9]));
        assert_eq!(array::<2>("00fFA9"), None);
        for bad in ["0", "0g", "/0", ":0", "@0", "G0", "`0", "0x", " 0"] {
            assert_eq!((bytes(bad), array::<1>(bad)), (None, None), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn round_trips(data in proptest::collection::vec(any::<u8>(), 0..50)) {
            prop_assert_eq!(bytes(&hex::encode(&data)), Some(data.clone()));
            prop_assert_eq!(bytes(&hex::encode_upper(&data)), Some(data));
        }
    }
}
