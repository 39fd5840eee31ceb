// SPDX-License-Identifier: Apache-2.0
//! The mounts that give a snapshot's content, as containerd's own overlay snapshotter words them.

use std::path::Path;
use std::path::PathBuf;

use containerd_snapshots::api::types::Mount;

use crate::error::Error;
use crate::record::Kind;
use crate::record::Record;
use crate::store::Store;

/// The mounts of an active snapshot or a view.
///
/// # Errors
///
/// When the snapshot is committed, or an ancestor is missing.
pub(crate) fn mounts(store: &Store, record: &Record) -> Result<Vec<Mount>, Error> {
    let lower = store.ancestors(record)?;
    let mount = match (record.kind, lower.as_slice()) {
        (Kind::Committed, _) => {
            return Err(Error::WrongKind { key: record.name.clone(), wanted: "active or a view" });
        }
        (Kind::Active, []) => bind(&store.fs_dir(record), "rw"),
        (Kind::View, []) => bind(&store.fs_dir(record), "ro"),
        (Kind::View, [only]) => bind(only, "ro"),
        (Kind::View, _) => overlay(vec![lowerdir(&lower)]),
        (Kind::Active, _) => overlay(vec![
            format!("workdir={}", store.work_dir(record).display()),
            format!("upperdir={}", store.fs_dir(record).display()),
            lowerdir(&lower),
        ]),
    };
    Ok(vec![mount])
}

fn bind(source: &Path, access: &str) -> Mount {
    Mount {
        r#type: "bind".to_owned(),
        source: source.display().to_string(),
        target: String::new(),
        options: vec![access.to_owned(), "rbind".to_owned()],
    }
}

fn overlay(options: Vec<String>) -> Mount {
    Mount {
        r#type: "overlay".to_owned(),
        source: "overlay".to_owned(),
        target: String::new(),
        options,
    }
}

fn lowerdir(dirs: &[PathBuf]) -> String {
    let list: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
    format!("lowerdir={}", list.join(":"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::store::New;

    fn add(store: &mut Store, name: &str, parent: &str, kind: Kind) -> Record {
        let new = New {
            name: name.to_owned(),
            parent: parent.to_owned(),
            kind,
            stub: false,
            labels: HashMap::new(),
        };
        store.create(new).unwrap().clone()
    }

    #[test]
    fn words_mounts_as_containerd_does() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        let at = |path: &str| dir.path().join(path).display().to_string();
        let first = add(&mut store, "k1", "", Kind::Active);
        assert_eq!(mounts(&store, &first).unwrap(), [bind(&dir.path().join("1/fs"), "rw")]);
        store.commit("one".to_owned(), "k1", HashMap::new()).unwrap();
        let view = add(&mut store, "v1", "one", Kind::View);
        assert_eq!(mounts(&store, &view).unwrap(), [bind(&dir.path().join("1/fs"), "ro")]);
        let second = add(&mut store, "k2", "one", Kind::Active);
        let got = mounts(&store, &second).unwrap();
        assert_eq!(
            got[0].options,
            [
                format!("workdir={}", at("3/work")),
                format!("upperdir={}", at("3/fs")),
                format!("lowerdir={}", at("1/fs"))
            ]
        );
        store.commit("two".to_owned(), "k2", HashMap::new()).unwrap();
        let top = add(&mut store, "v2", "two", Kind::View);
        let got = mounts(&store, &top).unwrap();
        assert_eq!(got[0].options, [format!("lowerdir={}:{}", at("3/fs"), at("1/fs"))]);
        let committed = store.get("two").unwrap().clone();
        assert!(matches!(mounts(&store, &committed), Err(Error::WrongKind { .. })));
    }
}
