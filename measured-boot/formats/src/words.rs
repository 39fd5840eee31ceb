// SPDX-License-Identifier: Apache-2.0
//! Little-endian words.

/// Splits bytes into little-endian words; `N` must be four times `M`.
pub(crate) fn words<const N: usize, const M: usize>(bytes: [u8; N]) -> [u32; M] {
    const { assert!(N == 4 * M) };
    let (chunks, _) = bytes.as_chunks::<4>();
    let mut words = [0; M];
    for (word, chunk) in words.iter_mut().zip(chunks) {
        *word = u32::from_le_bytes(*chunk);
    }
    words
}
