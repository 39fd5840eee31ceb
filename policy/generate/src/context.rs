// SPDX-License-Identifier: Apache-2.0
//! What surrounds a pod while it is read.

use crate::config_map::ConfigMap;
use crate::config_map::ConfigMaps;
use crate::options::Options;

/// What surrounds a pod while it is read.
pub(crate) struct Context<'a> {
    pub(crate) config_maps: &'a ConfigMaps,
    pub(crate) namespace: Option<&'a str>,
    pub(crate) options: &'a Options,
}

impl Context<'_> {
    /// The ConfigMap of this name in the pod's namespace.
    pub(crate) fn config_map(&self, name: &str) -> Option<&ConfigMap> {
        self.config_maps.find(self.namespace, name)
    }

    /// Whether the owner lets the host choose the content of this volume.
    pub(crate) fn is_untrusted(&self, volume: &str) -> bool {
        self.options.untrusted_volumes.contains(volume)
    }
}
