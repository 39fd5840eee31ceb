// SPDX-License-Identifier: Apache-2.0
//! The snapshot service that containerd calls.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::pin::Pin;

use containerd_snapshots::Info;
use containerd_snapshots::Snapshotter;
use containerd_snapshots::Usage;
use containerd_snapshots::api::types::Mount;
use containerd_snapshots::tonic;
use futures_util::Stream;
use futures_util::stream;
use tokio::sync::Mutex;
use tracing::info;

use crate::chain::chain_of_key;
use crate::content::Containerd;
use crate::content::Image;
use crate::error::Error;
use crate::overlay;
use crate::record::Kind;
use crate::record::REF_LABEL;
use crate::record::Record;
use crate::store::New;
use crate::store::Store;
use crate::stub;

/// The snapshot service.
#[derive(Debug)]
pub(crate) struct Service {
    store: Mutex<Store>,
    containerd: Containerd,
    /// Images already read, by manifest digest; content never changes under a digest.
    images: Mutex<HashMap<String, Image>>,
}

impl Service {
    /// A service over an opened store.
    pub(crate) fn new(store: Store, containerd: Containerd) -> Self {
        Self { store: Mutex::new(store), containerd, images: Mutex::new(HashMap::new()) }
    }

    /// The image of the layer that containerd unpacks, when the layer is encrypted.
    async fn encrypted(
        &self,
        namespace: &str,
        labels: &HashMap<String, String>,
    ) -> Result<Option<Image>, Error> {
        let (Some(manifest), Some(layer)) = (labels.get(MANIFEST_LABEL), labels.get(LAYER_LABEL))
        else {
            return Ok(None);
        };
        let image = self.image(namespace, manifest).await?;
        let encrypted = image.layers.iter().any(|l| &l.digest == layer && l.encrypted);
        Ok(encrypted.then_some(image))
    }

    /// Makes the committed stub that containerd will find in place of the layer.
    async fn make_stub(
        &self,
        key: &str,
        parent: String,
        labels: HashMap<String, String>,
        chain: &str,
        image: &Image,
    ) -> Result<(), Error> {
        let mut store = self.store.lock().await;
        if store.committed_for(chain, &parent).is_none() {
            let new = New {
                name: format!("{key} stub"),
                parent,
                kind: Kind::Committed,
                stub: true,
                // containerd finds the stub by the reference label among these.
                labels,
            };
            let record = store.create(new)?.clone();
            stub::fill(&store.fs_dir(&record), &image.user)?;
            info!(chain, "stubbed an encrypted layer");
        }
        Ok(())
    }

    /// Whether a plain image with this chain is being pulled at the moment: its manifest is there, the
    /// layer is not, and no image record names it yet.
    async fn plain_pull_needs(&self, namespace: &str, chain: &str) -> Result<bool, Error> {
        let mut candidates = Vec::new();
        for manifest in self.containerd.manifests(namespace).await? {
            // A damaged or foreign manifest is no reason to fail this image.
            let Ok(image) = self.image(namespace, &manifest).await else { continue };
            for layer in image.layers.into_iter().filter(|l| l.chain == chain && !l.encrypted) {
                candidates.push((manifest.clone(), layer.digest));
            }
        }
        if candidates.is_empty() {
            return Ok(false);
        }
        let finished = self.containerd.finished(namespace).await?;
        for (manifest, layer) in candidates {
            if !finished.contains(&manifest) && !self.containerd.has_blob(namespace, &layer).await?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Makes containerd forget a stub and all stubs on it, so that a plain layer takes its place.
    async fn give_way(&self, record: &Record, chain: &str) -> Result<(), Error> {
        let subtree = self.store.lock().await.subtree(&record.name);
        if subtree.iter().any(|r| r.kind != Kind::Committed) {
            return Err(Error::StubInUse { chain: chain.to_owned() });
        }
        for stub in &subtree {
            if let Some(chain) = stub.chain() {
                self.containerd.forget(stub.namespace(), SNAPSHOTTER, chain).await?;
            }
        }
        info!(chain, "a stub gave way to a plain layer");
        Ok(())
    }

    async fn image(&self, namespace: &str, manifest: &str) -> Result<Image, Error> {
        if let Some(image) = self.images.lock().await.get(manifest) {
            return Ok(image.clone());
        }
        let image = self.containerd.image(namespace, manifest).await?;
        let mut images = self.images.lock().await;
        if images.len() >= MAX_CACHED_IMAGES {
            images.clear();
        }
        images.insert(manifest.to_owned(), image.clone());
        Ok(image)
    }

    async fn create(
        &self,
        key: String,
        parent: String,
        labels: HashMap<String, String>,
        kind: Kind,
    ) -> Result<Vec<Mount>, Error> {
        let mut store = self.store.lock().await;
        let record = store.create(New { name: key, parent, kind, stub: false, labels })?.clone();
        overlay::mounts(&store, &record)
    }
}

#[tonic::async_trait]
impl Snapshotter for Service {
    type Error = Error;
    type InfoStream = Pin<Box<dyn Stream<Item = Result<Info, Error>> + Send>>;

    async fn stat(&self, key: String) -> Result<Info, Error> {
        let record = self.store.lock().await.get(&key)?.clone();
        if let (true, Some(chain)) = (record.stub, record.chain())
            && self.plain_pull_needs(record.namespace(), chain).await?
        {
            self.give_way(&record, chain).await?;
            return Err(Error::NotFound { key });
        }
        Ok(Info::from(&record))
    }

    async fn update(&self, info: Info, fields: Option<Vec<String>>) -> Result<Info, Error> {
        let mut store = self.store.lock().await;
        store.update(&info.name, info.labels, fields).map(Info::from)
    }

    async fn usage(&self, key: String) -> Result<Usage, Error> {
        let dir = {
            let store = self.store.lock().await;
            store.fs_dir(store.get(&key)?)
        };
        let mut usage = Usage::default();
        measure(&dir, &mut usage)?;
        Ok(usage)
    }

    async fn mounts(&self, key: String) -> Result<Vec<Mount>, Error> {
        let store = self.store.lock().await;
        overlay::mounts(&store, store.get(&key)?)
    }

    async fn prepare(
        &self,
        key: String,
        parent: String,
        labels: HashMap<String, String>,
    ) -> Result<Vec<Mount>, Error> {
        let namespace = key.split('/').next().unwrap_or_default().to_owned();
        match labels.get(REF_LABEL).cloned() {
            Some(chain) => {
                if let Some(image) = self.encrypted(&namespace, &labels).await? {
                    self.make_stub(&key, parent, labels, &chain, &image).await?;
                    // containerd takes this as: the layer is there, do not fetch it.
                    return Err(Error::AlreadyExists { key: chain });
                }
            }
            // containerd unpacks an image at container creation: no label says of which manifest.
            None => {
                if let Some(chain) = chain_of_key(&key) {
                    let mut layers = Vec::new();
                    for manifest in self.containerd.manifests(&namespace).await? {
                        let Ok(image) = self.image(&namespace, &manifest).await else { continue };
                        layers.extend(image.layers.into_iter().filter(|l| l.chain == chain));
                    }
                    if !layers.is_empty() && layers.iter().all(|l| l.encrypted) {
                        return Err(Error::Encrypted { chain: chain.to_owned() });
                    }
                }
            }
        }
        self.create(key, parent, labels, Kind::Active).await
    }

    async fn view(
        &self,
        key: String,
        parent: String,
        labels: HashMap<String, String>,
    ) -> Result<Vec<Mount>, Error> {
        self.create(key, parent, labels, Kind::View).await
    }

    async fn commit(
        &self,
        name: String,
        key: String,
        labels: HashMap<String, String>,
    ) -> Result<(), Error> {
        self.store.lock().await.commit(name, &key, labels).map(drop)
    }

    async fn remove(&self, key: String) -> Result<(), Error> {
        self.store.lock().await.remove(&key)
    }

    async fn list(
        &self,
        _snapshotter: String,
        _filters: Vec<String>,
    ) -> Result<Self::InfoStream, Error> {
        // containerd filters again on its side.
        let infos: Vec<_> = self.store.lock().await.all().map(|r| Ok(Info::from(r))).collect();
        Ok(Box::pin(stream::iter(infos)))
    }
}

/// Adds up files and bytes below a directory; hard links count once each, as containerd does by inode
/// only within one layer, which is close enough for kubelet's disk accounting.
fn measure(dir: &Path, usage: &mut Usage) -> Result<(), Error> {
    for entry in fs::read_dir(dir).map_err(Error::io("read", dir))? {
        let path = entry.map_err(Error::io("read", dir))?.path();
        let meta = fs::symlink_metadata(&path).map_err(Error::io("read", &path))?;
        let bytes = i64::try_from(meta.blocks().saturating_mul(512)).unwrap_or(i64::MAX);
        usage.inodes = usage.inodes.saturating_add(1);
        usage.size = usage.size.saturating_add(bytes);
        if meta.is_dir() {
            measure(&path, usage)?;
        }
    }
    Ok(())
}

/// Labels that containerd's CRI sets when `disable_snapshot_annotations = false`.
const MANIFEST_LABEL: &str = "containerd.io/snapshot/cri.manifest-digest";
const LAYER_LABEL: &str = "containerd.io/snapshot/cri.layer-digest";
/// Name of this snapshotter in containerd's `proxy_plugins`.
const SNAPSHOTTER: &str = "casemate";
/// More images than a node holds; beyond it the cache starts anew.
const MAX_CACHED_IMAGES: usize = 1024;
