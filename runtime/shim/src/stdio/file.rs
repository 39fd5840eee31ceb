// SPDX-License-Identifier: Apache-2.0
//! `file://`: both outputs are appended to one file.

use std::io;
use std::path::Path;

use tokio::fs::File;
use tokio::fs::OpenOptions;

/// Opens the file twice, making it and its folder when they do not exist.
pub(super) async fn open(path: &Path) -> io::Result<(File, File)> {
    if let Some(folder) = path.parent() {
        tokio::fs::DirBuilder::new().recursive(true).mode(0o755).create(folder).await?;
    }
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o644);
    let first = options.open(path).await?;
    let second = first.try_clone().await?;
    Ok((first, second))
}
