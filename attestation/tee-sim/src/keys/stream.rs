// SPDX-License-Identifier: Apache-2.0
//! Random-looking bytes of a seed.

use ring::hmac;
use rsa::rand_core::{CryptoRng, Error, RngCore};

/// Random-looking bytes of a seed and a name: HMAC-SHA-256 of a counter.
pub(super) struct Stream {
    key: hmac::Key,
    counter: u64,
    rest: Vec<u8>,
}

impl Stream {
    pub(super) fn new(seed: &[u8; 32], name: &str) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &derive(seed, name));
        Self { key, counter: 0, rest: Vec::new() }
    }

    pub(super) fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill_bytes(&mut bytes);
        bytes
    }
}

impl RngCore for Stream {
    fn next_u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn next_u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    fn fill_bytes(&mut self, places: &mut [u8]) {
        for place in places {
            if self.rest.is_empty() {
                self.rest = hmac::sign(&self.key, &self.counter.to_be_bytes()).as_ref().to_vec();
                self.counter = self.counter.wrapping_add(1);
            }
            *place = self.rest.pop().unwrap_or_default();
        }
    }

    fn try_fill_bytes(&mut self, places: &mut [u8]) -> Result<(), Error> {
        self.fill_bytes(places);
        Ok(())
    }
}

impl CryptoRng for Stream {}

/// A seed of this name below another.
pub(super) fn derive(seed: &[u8], name: &str) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, seed);
    let mut derived = [0; 32];
    let tag = hmac::sign(&key, name.as_bytes());
    derived.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
    derived
}
