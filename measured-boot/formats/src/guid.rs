// SPDX-License-Identifier: Apache-2.0
//! GUIDs as firmware stores them.

/// A GUID in its stored, mixed-endian form (UEFI specification 2.10, appendix A).
pub(crate) type Guid = [u8; 16];

/// Converts the digits of a GUID's text form, read as one number, to its stored form.
pub(crate) const fn guid(text: u128) -> Guid {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = text.to_be_bytes();
    [d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p]
}
