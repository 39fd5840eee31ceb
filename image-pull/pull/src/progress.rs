// SPDX-License-Identifier: Apache-2.0
//! How far a pull is.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// How far a pull is; copies see the same pull.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    bytes: AtomicU64,
    total_bytes: AtomicU64,
    layers: AtomicU64,
    total_layers: AtomicU64,
}

impl Progress {
    /// Bytes of layers received so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Relaxed)
    }

    /// Bytes of all layers as transferred; 0 while the manifest is not known.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.0.total_bytes.load(Relaxed)
    }

    pub(crate) fn start(&self, layers: u64, bytes: u64) {
        self.0.bytes.store(0, Relaxed);
        self.0.layers.store(0, Relaxed);
        self.0.total_bytes.store(bytes, Relaxed);
        self.0.total_layers.store(layers, Relaxed);
    }

    pub(crate) fn add_bytes(&self, bytes: u64) {
        self.0.bytes.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn finish_layer(&self) {
        self.0.layers.fetch_add(1, Relaxed);
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes| bytes >> 20;
        write!(
            f,
            "{} of {} layers, {} of {} MiB",
            self.0.layers.load(Relaxed),
            self.0.total_layers.load(Relaxed),
            mib(self.bytes()),
            mib(self.total_bytes())
        )
    }
}
