// SPDX-License-Identifier: Apache-2.0
use std::os::unix::fs::symlink;

use super::*;

/// A pod's folder as kubelet keeps it.
pub(super) struct Kubelet {
    root: tempfile::TempDir,
}

impl Kubelet {
    pub(super) fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap() }
    }

    pub(super) fn pod(&self) -> PathBuf {
        self.root.path().join("pods/0a1b")
    }

    pub(super) fn volume(&self, plugin: &str, name: &str) -> PathBuf {
        let folder = self.pod().join(format!("volumes/kubernetes.io~{plugin}/{name}"));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// Writes a revision and swaps the link.
    pub(super) fn write(&self, folder: &Path, revision: &str, files: &[(&str, &[u8])]) {
        let inside = folder.join(revision);
        std::fs::create_dir(&inside).unwrap();
        for (name, content) in files {
            std::fs::write(inside.join(name), content).unwrap();
            let _ = symlink(format!("..data/{name}"), folder.join(name));
        }
        symlink(revision, folder.join("..data_tmp")).unwrap();
        std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    }
}

fn content(source: &Path) -> Option<(String, PathBuf)> {
    match origin(source.to_str().unwrap()) {
        Origin::Content(Volume { name, folder }) => Some((name, folder)),
        _ => None,
    }
}

#[test]
fn kubelets_folders_tell_what_a_mount_is() {
    let kubelet = Kubelet::new();
    for plugin in CONTENT {
        let folder = kubelet.volume(plugin, "v");
        assert_eq!(content(&folder), Some(("v".to_owned(), folder)), "{plugin}");
    }
    let pod = kubelet.pod();
    let of = |path: &str| origin(pod.join(path).to_str().unwrap());
    assert_eq!(of("volumes/kubernetes.io~empty-dir/cache"), Origin::EmptyDir);
    assert_eq!(of("containers/web/5f"), Origin::TerminationLog);
    for other in [
        "volumes/kubernetes.io~csi/claim",
        "volumes/kubernetes.io~csi/claim/mount",
        "volumes/other~configmap/v",
        "volumes/kubernetes.io~configmap/v/inner",
        "etc-hosts",
    ] {
        assert_eq!(of(other), Origin::Other, "{other}");
    }
    assert_eq!(origin("/srv/kubernetes.io~empty-dir/x"), Origin::Other);
    assert_eq!(origin("/data"), Origin::Other);
}

#[test]
fn sub_paths_belong_to_their_volume() {
    let kubelet = Kubelet::new();
    let conf = kubelet.volume("configmap", "conf");
    kubelet.volume("empty-dir", "cache");
    let pod = kubelet.pod();
    let found = content(&pod.join("volume-subpaths/conf/web/0"));
    assert_eq!(found, Some(("conf".to_owned(), conf)));
    let of = |path: &str| origin(pod.join(path).to_str().unwrap());
    assert_eq!(of("volume-subpaths/cache/web/1"), Origin::EmptyDir);
    assert_eq!(of("volume-subpaths/claim/web/1"), Origin::Other);
}
