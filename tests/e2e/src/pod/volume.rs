// SPDX-License-Identifier: Apache-2.0
//! Volumes of a pod, in the folders in which kubelet keeps them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::bail;
use serde::Deserialize;
use serde_json::Value;

use super::Place;

/// A volume of the pod.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Volume {
    pub(super) name: String,
    empty_dir: Option<Value>,
    config_map: Option<ConfigMapVolume>,
    #[serde(rename = "downwardAPI")]
    downward_api: Option<Value>,
    projected: Option<Value>,
}

#[derive(Debug, Clone, Deserialize)]
struct ConfigMapVolume {
    name: String,
    #[serde(default)]
    items: Vec<Item>,
    #[serde(default)]
    optional: bool,
}

#[derive(Debug, Clone, Deserialize)]
struct Item {
    key: String,
    path: String,
}

/// Contents by the names of their files.
pub type Files = BTreeMap<String, Vec<u8>>;

impl Volume {
    pub(super) fn is_empty_dir(&self) -> bool {
        self.empty_dir.is_some()
    }

    /// Makes the volume's folder below the pod's.
    pub(super) fn folder(&self, place: &Place<'_>) -> anyhow::Result<PathBuf> {
        let folder = |plugin: &str| {
            place.files.join(format!("volumes/kubernetes.io~{plugin}")).join(&self.name)
        };
        if self.empty_dir.is_some() {
            let folder = folder("empty-dir");
            fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o777))
                .context("open the volume to every user")?;
            return Ok(folder);
        }
        let (plugin, files) = if let Some(source) = &self.config_map {
            ("configmap", self.config_files(source, place)?)
        } else if self.downward_api.is_some() {
            ("downward-api", BTreeMap::from([("labels".to_owned(), b"app=\"x\"".to_vec())]))
        } else if self.projected.is_some() {
            ("projected", BTreeMap::from([("token".to_owned(), b"a token".to_vec())]))
        } else {
            bail!("the volume {} is of another kind than this client knows", self.name)
        };
        let folder = folder(plugin);
        write(&folder, &files).with_context(|| format!("fill {}", folder.display()))?;
        Ok(folder)
    }

    fn config_files(&self, source: &ConfigMapVolume, place: &Place<'_>) -> anyhow::Result<Files> {
        let Some(map) = place.pod.config_maps.get(&source.name) else {
            if source.optional {
                return Ok(Files::new());
            }
            bail!("there is no ConfigMap {}", source.name)
        };
        let texts = map.data.iter().map(|(key, text)| (key.clone(), text.clone().into_bytes()));
        let all: Files = texts.chain(map.binary_data.clone()).collect();
        if source.items.is_empty() {
            return Ok(all);
        }
        let item = |item: &Item| {
            let bytes = all.get(&item.key).with_context(|| format!("there is no {}", item.key))?;
            Ok((item.path.clone(), bytes.clone()))
        };
        source.items.iter().map(item).collect()
    }
}

/// As kubelet's atomic writer: a folder of its own, a link `..data` to it, and links to the files.
fn write(folder: &Path, files: &Files) -> anyhow::Result<()> {
    if folder.join(DATA).exists() {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    for name in files.keys() {
        symlink(Path::new(DATA).join(name), folder.join(name))?;
    }
    write_revision(folder, FIRST, files)
}

/// Gives the same files of a volume other content, as kubelet does when their source has changed: a
/// folder of its own again, then the link `..data` in one step, then no trace of the old folder.
///
/// # Errors
///
/// When the volume's folder cannot be written.
pub fn replace_content(folder: &Path, files: &Files) -> anyhow::Result<()> {
    write_revision(folder, SECOND, files)?;
    Ok(fs::remove_dir_all(folder.join(FIRST))?)
}

fn write_revision(folder: &Path, name: &str, files: &Files) -> anyhow::Result<()> {
    let revision = folder.join(name);
    fs::create_dir(&revision)?;
    for (name, bytes) in files {
        fs::write(revision.join(name), bytes)?;
    }
    symlink(name, folder.join(NEXT))?;
    Ok(fs::rename(folder.join(NEXT), folder.join(DATA))?)
}

const DATA: &str = "..data";
const NEXT: &str = "..data_tmp";
const FIRST: &str = "..2026_01_01_00_00_00.0000000001";
const SECOND: &str = "..2026_01_01_00_10_00.0000000002";
