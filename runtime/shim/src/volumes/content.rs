// SPDX-License-Identifier: Apache-2.0
//! One revision of a volume's content, read from kubelet's folder.

use std::fs::File;
use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher;
use std::io;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;

use casemate_agent_api::proto;
use casemate_agent_api::request::MAX_VOLUME_BYTES;
use casemate_agent_api::request::MAX_VOLUME_FILES;

/// What tells one content of a folder from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) link: Option<PathBuf>,
    pub(super) content: u64,
}

/// Reads one revision: where `..data` points, or the folder itself when there is no such link.
pub(super) fn read(
    folder: &Path,
    link: Option<PathBuf>,
) -> Result<(Vec<proto::File>, Mark), ContentError> {
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
pub(super) enum ContentError {
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

#[cfg(test)]
mod tests {
    use super::super::tests::Kubelet;
    use super::*;

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
