// SPDX-License-Identifier: Apache-2.0
//! The content of a pod's volumes, on its way from kubelet's folders into the guest.
//!
//! kubelet writes ConfigMaps, Secrets, projections and downward-API volumes into folders of the
//! node and swaps their link `..data` when something changes. No folder of the node reaches the
//! guest: the shim reads the files and sends them, and sends them again after a change.

use std::collections::BTreeMap;
use std::fs::File;
use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher;
use std::io;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use casemate_agent_api::ApiError;
use casemate_agent_api::Code;
use casemate_agent_api::proto;
use casemate_agent_api::request::MAX_VOLUME_BYTES;
use casemate_agent_api::request::MAX_VOLUME_FILES;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;

use crate::guest::Guest;

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

/// Brings volumes to one guest, one after the other. Clones are the same one; it ends with the last
/// of them, or with the guest.
#[derive(Debug, Clone)]
pub struct Courier {
    orders: mpsc::Sender<Order>,
}

#[derive(Debug)]
struct Order {
    volume: Volume,
    done: oneshot::Sender<Result<(), ApiError>>,
}

impl Courier {
    /// Starts on the current tokio runtime.
    #[must_use]
    pub fn start(guest: Guest) -> Self {
        let (orders, incoming) = mpsc::channel(MAX_ORDERS);
        tokio::spawn(async move {
            tokio::select! {
                _ = guest.ended() => {}
                () = run(&guest, incoming) => {}
            }
        });
        Self { orders }
    }

    /// Sees to it that the guest has the volume's content, and keeps it up to date from then on.
    ///
    /// # Errors
    ///
    /// When the content cannot be read or the guest does not take it and has none from before.
    pub async fn deliver(&self, volume: Volume) -> Result<(), ApiError> {
        let (done, answer) = oneshot::channel();
        let gone = || ApiError::new(Code::VmDied, "the guest is gone");
        self.orders.send(Order { volume, done }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

async fn run(guest: &Guest, mut orders: mpsc::Receiver<Order>) {
    let mut known = BTreeMap::<String, Known>::new();
    let mut tick = tokio::time::interval(REFRESH);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            order = orders.recv() => {
                let Some(Order { volume, done }) = order else { return };
                let entry = known
                    .entry(volume.name)
                    .or_insert_with(|| Known { folder: volume.folder, ..Known::default() });
                let result = bring(guest, entry).await;
                // Who asked may be gone.
                let _ = done.send(if entry.is_there { Ok(()) } else { result });
            }
            _ = tick.tick() => {
                for entry in known.values_mut() {
                    // The content from before stays in force, and the next look tries again.
                    let _ = bring(guest, entry).await;
                }
            }
        }
    }
}

/// What the shim knows of a volume that it keeps up to date.
#[derive(Debug, Default)]
struct Known {
    folder: PathBuf,
    /// What the link pointed at, and the content, when they were sent last.
    link: Option<PathBuf>,
    sent: Option<u64>,
    /// Whether the guest has some content.
    is_there: bool,
}

/// Sends the volume if it has changed.
async fn bring(guest: &Guest, known: &mut Known) -> Result<(), ApiError> {
    let name = known.folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let result = match known.look(&name).await {
        Ok(None) => return Ok(()),
        Ok(Some((request, mark))) => guest.put_volume(&request).await.map(|()| mark),
        Err(error) => Err(ApiError::new(Code::VolumeContent, format_args!("{name}: {error}"))),
    };
    match result {
        Ok(mark) => {
            tracing::info!(volume = name, "content sent");
            known.note(mark);
            known.is_there = true;
            Ok(())
        }
        Err(error) => {
            tracing::warn!(volume = name, %error, "content not sent");
            Err(error)
        }
    }
}

/// What tells one content of a folder from another.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    link: Option<PathBuf>,
    content: u64,
}

impl Known {
    /// The folder's content, if it is not what was sent last.
    async fn look(
        &self,
        name: &str,
    ) -> Result<Option<(proto::PutVolumeRequest, Mark)>, ContentError> {
        let (folder, link) = (self.folder.clone(), self.link.clone());
        let read = tokio::task::spawn_blocking(move || {
            let now = std::fs::read_link(folder.join(DATA)).ok();
            // kubelet never changes what the link points at.
            if now.is_some() && now == link { Ok(None) } else { read(&folder, now).map(Some) }
        });
        let read = read.await.map_err(|_| ContentError::Aborted)??;
        Ok(read.filter(|(_, mark)| self.sent != Some(mark.content)).map(|(files, mark)| {
            let request =
                proto::PutVolumeRequest { volume: name.to_owned(), files, ..Default::default() };
            (request, mark)
        }))
    }

    fn note(&mut self, mark: Mark) {
        self.link = mark.link;
        self.sent = Some(mark.content);
    }
}

/// Reads one revision: where `..data` points, or the folder itself when there is no such link.
fn read(folder: &Path, link: Option<PathBuf>) -> Result<(Vec<proto::File>, Mark), ContentError> {
    let folder = link.as_ref().map_or_else(|| folder.to_owned(), |link| folder.join(link));
    let mut files = Vec::new();
    let mut left = MAX_VOLUME_BYTES;
    for entry in std::fs::read_dir(&folder).map_err(failed(&folder))? {
        let path = entry.map_err(failed(&folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| ContentError::Name { path: path.clone() })?.to_owned();
        if name.starts_with("..") {
            continue;
        }
        if files.len() >= MAX_VOLUME_FILES {
            return Err(ContentError::TooMany);
        }
        // A link among the files is kubelet's own, to what is in `..data`.
        if !std::fs::metadata(&path).map_err(failed(&path))?.is_file() {
            return Err(ContentError::Folder { path });
        }
        let mut content = Vec::new();
        let limit = u64::try_from(left).unwrap_or(u64::MAX).saturating_add(1);
        let file = File::open(&path).map_err(failed(&path))?;
        file.take(limit).read_to_end(&mut content).map_err(failed(&path))?;
        left = left.checked_sub(content.len()).ok_or(ContentError::TooLarge)?;
        files.push(proto::File { name, content, ..Default::default() });
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    let mut hasher = DefaultHasher::new();
    for file in &files {
        (&file.name, &file.content).hash(&mut hasher);
    }
    Ok((files, Mark { link, content: hasher.finish() }))
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ContentError + use<> {
    let path = path.to_owned();
    move |source| ContentError::Io { path, source }
}

/// A volume's content cannot be sent.
#[derive(Debug, thiserror::Error)]
enum ContentError {
    #[error("failed to read {path}: {source}", path = path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} is no file", path = path.display())]
    Folder { path: PathBuf },
    #[error("the name of {path} is not UTF-8", path = path.display())]
    Name { path: PathBuf },
    #[error("more than {MAX_VOLUME_FILES} files")]
    TooMany,
    #[error("more than {MAX_VOLUME_BYTES} bytes")]
    TooLarge,
    #[error("the reading was aborted")]
    Aborted,
}

/// Kubernetes' prefix of its own volume plugins' folders.
const PLUGIN: &str = "kubernetes.io~";
const EMPTY_DIR: &str = "empty-dir";
/// Plugins whose folders hold content that kubelet writes.
const CONTENT: [&str; 4] = ["configmap", "downward-api", "projected", "secret"];
/// The link that kubelet swaps.
const DATA: &str = "..data";
/// How often folders are looked at; kubelet itself takes a minute to notice a change.
const REFRESH: Duration = Duration::from_secs(10);
/// Deliveries that wait.
const MAX_ORDERS: usize = 16;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A pod's folder as kubelet keeps it.
    struct Kubelet {
        root: tempfile::TempDir,
    }

    impl Kubelet {
        fn new() -> Self {
            Self { root: tempfile::tempdir().unwrap() }
        }

        fn pod(&self) -> PathBuf {
            self.root.path().join("pods/0a1b")
        }

        fn volume(&self, plugin: &str, name: &str) -> PathBuf {
            let folder = self.pod().join(format!("volumes/kubernetes.io~{plugin}/{name}"));
            std::fs::create_dir_all(&folder).unwrap();
            folder
        }

        /// Writes a revision and swaps the link.
        fn write(&self, folder: &Path, revision: &str, files: &[(&str, &[u8])]) {
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

    #[tokio::test]
    async fn content_is_read_once_for_each_revision() {
        let kubelet = Kubelet::new();
        let folder = kubelet.volume("configmap", "conf");
        kubelet.write(&folder, "..1", &[("b", b"2"), ("a", b"1")]);
        let mut known = Known { folder: folder.clone(), ..Known::default() };
        let (request, mark) = known.look("conf").await.unwrap().unwrap();
        let files: Vec<_> = request.files.iter().map(|f| (f.name.as_str(), &*f.content)).collect();
        assert_eq!(files, [("a", b"1".as_slice()), ("b", b"2")]);
        assert_eq!(request.volume, "conf");
        // Not sent: it is found again.
        assert!(known.look("conf").await.unwrap().is_some());
        known.note(mark);
        assert!(known.look("conf").await.unwrap().is_none());
        // kubelet swaps the link.
        kubelet.write(&folder, "..2", &[("a", b"3")]);
        let (request, mark) = known.look("conf").await.unwrap().unwrap();
        assert_eq!((request.files.len(), &*request.files[0].content), (1, b"3".as_slice()));
        known.note(mark);
        // The same content behind another link is no change.
        kubelet.write(&folder, "..3", &[("a", b"3")]);
        assert!(known.look("conf").await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_folder_without_kubelets_link_is_read_as_it_is() {
        let kubelet = Kubelet::new();
        let folder = kubelet.volume("secret", "s");
        std::fs::write(folder.join("a"), "1").unwrap();
        let mut known = Known { folder: folder.clone(), ..Known::default() };
        let (_, mark) = known.look("s").await.unwrap().unwrap();
        known.note(mark);
        assert!(known.look("s").await.unwrap().is_none());
        std::fs::write(folder.join("a"), "2").unwrap();
        assert!(known.look("s").await.unwrap().is_some());
    }

    #[test]
    fn what_no_volume_can_hold_is_named() {
        let kubelet = Kubelet::new();
        let folder = kubelet.volume("projected", "p");
        std::fs::create_dir(folder.join("inner")).unwrap();
        assert!(matches!(read(&folder, None), Err(ContentError::Folder { .. })));
        std::fs::remove_dir(folder.join("inner")).unwrap();
        std::fs::write(folder.join("half"), vec![0; MAX_VOLUME_BYTES]).unwrap();
        assert!(read(&folder, None).is_ok());
        std::fs::write(folder.join("more"), "x").unwrap();
        assert!(matches!(read(&folder, None), Err(ContentError::TooLarge)));
        std::fs::remove_file(folder.join("half")).unwrap();
        for n in 0..MAX_VOLUME_FILES {
            std::fs::write(folder.join(n.to_string()), "").unwrap();
        }
        assert!(matches!(read(&folder, None), Err(ContentError::TooMany)));
        assert!(matches!(read(&folder.join("absent"), None), Err(ContentError::Io { .. })));
    }
}
