// SPDX-License-Identifier: Apache-2.0
//! Taking bytes apart: fields one after the other, and little-endian words.

/// Takes the next bytes off the front; `None` if fewer are left.
pub(crate) fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*taken)
}

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
