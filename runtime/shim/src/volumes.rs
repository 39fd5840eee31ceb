// SPDX-License-Identifier: Apache-2.0
//! The content of a pod's volumes, on its way from kubelet's folders into the guest.
//!
//! kubelet writes ConfigMaps, Secrets, projections and downward-API volumes into folders of the
//! node and swaps their link `..data` when something changes. No folder of the node reaches the
//! guest: the shim reads the files and sends them, and sends them again after a change.

mod content;
mod courier;

use std::path::Path;
use std::path::PathBuf;

pub use courier::Courier;

/// What a mount's source is, by the folders that kubelet keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// `<root>/pods/<uid>/volumes/kubernetes.io~empty-dir/<volume>`
    EmptyDir,
    /// A volume whose content kubelet writes.
    Content(Volume),
    /// `<root>/pods/<uid>/containers/<container>/<hash>`
    TerminationLog,
    /// Anything else of the node.
    Other,
}

/// A volume with content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name in the pod.
    pub name: String,
    /// kubelet's folder.
    pub folder: PathBuf,
}

/// What a mount's source is. Of a sub-path (`<root>/pods/<uid>/volume-subpaths/<volume>/<container>/<n>`)
/// the volume is looked up beside it.
#[must_use]
pub fn origin(source: &str) -> Origin {
    let parts: Vec<&str> = source.split('/').collect();
    match parts.as_slice() {
        [.., "pods", _, "volumes", plugin, name] => match plugin.strip_prefix(PLUGIN) {
            Some(EMPTY_DIR) => Origin::EmptyDir,
            Some(plugin) if CONTENT.contains(&plugin) => {
                Origin::Content(Volume { name: (*name).to_owned(), folder: source.into() })
            }
            _ => Origin::Other,
        },
        [above @ .., "pods", pod, "volume-subpaths", name, _, _] => {
            let pod = [above, &["pods", pod]].concat().join("/");
            sub_path(Path::new(&pod), name)
        }
        [.., "pods", _, "containers", _, _] => Origin::TerminationLog,
        _ => Origin::Other,
    }
}

fn sub_path(pod: &Path, name: &str) -> Origin {
    let folder = |plugin: &str| pod.join("volumes").join(format!("{PLUGIN}{plugin}")).join(name);
    if folder(EMPTY_DIR).is_dir() {
        return Origin::EmptyDir;
    }
    let found = CONTENT.iter().map(|plugin| folder(plugin)).find(|folder| folder.is_dir());
    found.map_or(Origin::Other, |folder| Origin::Content(Volume { name: name.to_owned(), folder }))
}

/// Kubernetes' prefix of its own volume plugins' folders.
const PLUGIN: &str = "kubernetes.io~";
const EMPTY_DIR: &str = "empty-dir";
/// Plugins whose folders hold content that kubelet writes.
const CONTENT: [&str; 4] = ["configmap", "downward-api", "projected", "secret"];

#[cfg(test)]
mod tests;
