// SPDX-License-Identifier: Apache-2.0
//! Bytes that must not be printed, copied or left in memory.

use zeroize::Zeroizing;

/// The value of a resource. Zeroized when dropped; has neither `Debug` nor `Clone`.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// The bytes themselves. Copy them only into memory that is zeroized too.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl From<Zeroizing<Vec<u8>>> for Secret {
    fn from(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }
}
