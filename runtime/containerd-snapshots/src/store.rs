// SPDX-License-Identifier: Apache-2.0
//! The snapshots on disk: one directory each, with a record that is replaced atomically.
//!
//! `<root>/<id>/record.json`, `<root>/<id>/fs` (content), `<root>/<id>/work` (overlayfs). A directory
//! without a record is left over from a crash and removed at the next start.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::chown;
use std::path::Path;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::error::Error;
use crate::record::Kind;
use crate::record::Record;

/// All snapshots.
#[derive(Debug)]
pub(crate) struct Store {
    root: PathBuf,
    records: BTreeMap<String, Record>,
    next_id: u64,
}

/// What a new snapshot is made from.
#[derive(Debug, Clone)]
pub(crate) struct New {
    /// Key or name.
    pub(crate) name: String,
    /// Parent's name, empty for none.
    pub(crate) parent: String,
    /// Its kind.
    pub(crate) kind: Kind,
    /// Whether it stands for an encrypted layer.
    pub(crate) stub: bool,
    /// Labels.
    pub(crate) labels: HashMap<String, String>,
}

impl Store {
    /// Opens the store in `root`, which is made if it does not exist.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or written, or a record is damaged.
    pub(crate) fn open(root: &Path) -> Result<Self, Error> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(root)
            .map_err(Error::io("create", root))?;
        let mut store = Self { root: root.to_owned(), records: BTreeMap::new(), next_id: 1 };
        for entry in fs::read_dir(root).map_err(Error::io("read", root))? {
            let path = entry.map_err(Error::io("read", root))?.path();
            let file = path.join(RECORD);
            match fs::read(&file) {
                Ok(bytes) => {
                    let record: Record = serde_json::from_slice(&bytes)
                        .map_err(|source| Error::Record { path: file, source })?;
                    store.next_id = store.next_id.max(record.id.saturating_add(1));
                    store.records.insert(record.name.clone(), record);
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    fs::remove_dir_all(&path).map_err(Error::io("remove", path))?;
                }
                Err(source) => return Err(Error::Io { what: "read", path: file, source }),
            }
        }
        Ok(store)
    }

    /// The record of a snapshot.
    pub(crate) fn get(&self, key: &str) -> Result<&Record, Error> {
        self.records.get(key).ok_or_else(|| Error::NotFound { key: key.to_owned() })
    }

    /// Every record.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// The committed snapshot that stands for `chain` over `parent`.
    pub(crate) fn committed_for(&self, chain: &str, parent: &str) -> Option<&Record> {
        self.all()
            .find(|r| r.kind == Kind::Committed && r.chain() == Some(chain) && r.parent == parent)
    }

    /// Records of the snapshot and everything that stands on it, children before parents.
    pub(crate) fn subtree(&self, key: &str) -> Vec<Record> {
        let mut found = Vec::new();
        for child in self.all().filter(|r| r.parent == key) {
            found.extend(self.subtree(&child.name));
        }
        found.extend(self.records.get(key).cloned());
        found
    }

    /// Makes a snapshot.
    ///
    /// # Errors
    ///
    /// When the name is taken, the parent is not committed, or a file cannot be written.
    pub(crate) fn create(&mut self, new: New) -> Result<&Record, Error> {
        if self.records.contains_key(&new.name) {
            return Err(Error::AlreadyExists { key: new.name });
        }
        let parent_fs = if new.parent.is_empty() {
            None
        } else {
            let parent = self.get(&new.parent)?;
            if parent.kind != Kind::Committed {
                return Err(Error::WrongKind { key: new.parent, wanted: "committed" });
            }
            Some(self.fs_dir(parent))
        };
        let now = SystemTime::now();
        let record = Record {
            id: self.next_id,
            name: new.name,
            parent: new.parent,
            kind: new.kind,
            stub: new.stub,
            labels: new.labels,
            created: now,
            updated: now,
        };
        self.next_id = self.next_id.saturating_add(1);
        let fs_dir = self.fs_dir(&record);
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o755);
        builder.create(&fs_dir).map_err(Error::io("create", &fs_dir))?;
        if record.kind == Kind::Active {
            let work = self.work_dir(&record);
            fs::DirBuilder::new().mode(0o711).create(&work).map_err(Error::io("create", work))?;
        }
        if let Some(parent) = parent_fs {
            // The root directory of a new layer looks like the one below.
            let like = fs::metadata(&parent).map_err(Error::io("read", &parent))?;
            chown(&fs_dir, Some(like.uid()), Some(like.gid()))
                .map_err(Error::io("change the owner of", &fs_dir))?;
            fs::set_permissions(&fs_dir, fs::Permissions::from_mode(like.mode()))
                .map_err(Error::io("change the mode of", &fs_dir))?;
        }
        self.put(record)
    }

    /// Turns an active snapshot into a committed one.
    ///
    /// # Errors
    ///
    /// When the key is not active, the name is taken, or a file cannot be written.
    pub(crate) fn commit(
        &mut self,
        name: String,
        key: &str,
        labels: HashMap<String, String>,
    ) -> Result<&Record, Error> {
        if self.records.contains_key(&name) {
            return Err(Error::AlreadyExists { key: name });
        }
        let active = self.get(key)?.clone();
        if active.kind != Kind::Active {
            return Err(Error::WrongKind { key: key.to_owned(), wanted: "active" });
        }
        let record =
            Record { name, kind: Kind::Committed, labels, updated: SystemTime::now(), ..active };
        self.write(&record)?;
        self.records.remove(key);
        Ok(self.records.entry(record.name.clone()).or_insert(record))
    }

    /// Replaces labels: all of them, or those named by `fields` (`labels.<name>`).
    ///
    /// # Errors
    ///
    /// When another field is to be changed, or a file cannot be written.
    pub(crate) fn update(
        &mut self,
        key: &str,
        labels: HashMap<String, String>,
        fields: Option<Vec<String>>,
    ) -> Result<&Record, Error> {
        let mut record = self.get(key)?.clone();
        match fields.filter(|f| !f.is_empty()) {
            None => record.labels = labels,
            Some(fields) => {
                for field in fields {
                    if field == "labels" {
                        record.labels.clone_from(&labels);
                    } else if let Some(name) = field.strip_prefix("labels.") {
                        match labels.get(name) {
                            Some(value) => {
                                record.labels.insert(name.to_owned(), value.clone());
                            }
                            None => {
                                record.labels.remove(name);
                            }
                        }
                    } else {
                        return Err(Error::Immutable { field });
                    }
                }
            }
        }
        record.updated = SystemTime::now();
        self.put(record)
    }

    /// Removes a snapshot with its content.
    ///
    /// # Errors
    ///
    /// When it has children or its directory cannot be removed.
    pub(crate) fn remove(&mut self, key: &str) -> Result<(), Error> {
        let record = self.get(key)?;
        if self.all().any(|r| r.parent == key) {
            return Err(Error::InUse { key: key.to_owned() });
        }
        let dir = self.dir(record);
        // The record first: what is left after a crash is removed at the next start.
        let file = dir.join(RECORD);
        fs::remove_file(&file).map_err(Error::io("remove", file))?;
        self.records.remove(key);
        fs::remove_dir_all(&dir).map_err(Error::io("remove", dir))
    }

    /// Directory of a snapshot's content.
    pub(crate) fn fs_dir(&self, record: &Record) -> PathBuf {
        self.dir(record).join("fs")
    }

    /// Directory for overlayfs' own use.
    pub(crate) fn work_dir(&self, record: &Record) -> PathBuf {
        self.dir(record).join("work")
    }

    /// Content directories of the snapshot's ancestors, nearest first.
    ///
    /// # Errors
    ///
    /// When an ancestor is missing.
    pub(crate) fn ancestors(&self, record: &Record) -> Result<Vec<PathBuf>, Error> {
        let mut dirs = Vec::new();
        let mut parent = record.parent.as_str();
        while !parent.is_empty() {
            let next = self.get(parent)?;
            dirs.push(self.fs_dir(next));
            parent = &next.parent;
        }
        Ok(dirs)
    }

    fn dir(&self, record: &Record) -> PathBuf {
        self.root.join(record.id.to_string())
    }

    fn put(&mut self, record: Record) -> Result<&Record, Error> {
        self.write(&record)?;
        let name = record.name.clone();
        self.records.insert(name.clone(), record);
        self.get(&name)
    }

    fn write(&self, record: &Record) -> Result<(), Error> {
        let file = self.dir(record).join(RECORD);
        let new = self.dir(record).join("record.json.new");
        let bytes = serde_json::to_vec(record)
            .map_err(|source| Error::Record { path: file.clone(), source })?;
        fs::write(&new, bytes).map_err(Error::io("write", &new))?;
        fs::rename(&new, &file).map_err(Error::io("write", file))
    }
}

const RECORD: &str = "record.json";

#[cfg(test)]
mod tests {
    use super::*;

    fn new(name: &str, parent: &str, kind: Kind) -> New {
        New {
            name: name.to_owned(),
            parent: parent.to_owned(),
            kind,
            stub: false,
            labels: HashMap::new(),
        }
    }

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        (dir, store)
    }

    #[test]
    fn prepare_commit_prepare_gives_the_committed_layer_as_ancestor() {
        let (_dir, mut store) = store();
        store.create(new("ns/1/a", "", Kind::Active)).unwrap();
        store.commit("ns/2/base".to_owned(), "ns/1/a", HashMap::new()).unwrap();
        store.create(new("ns/3/b", "ns/2/base", Kind::Active)).unwrap();
        let record = store.get("ns/3/b").unwrap().clone();
        let base = store.get("ns/2/base").unwrap().clone();
        assert_eq!(store.ancestors(&record).unwrap(), [store.fs_dir(&base)]);
        assert!(matches!(store.get("ns/1/a"), Err(Error::NotFound { .. })));
    }

    #[test]
    fn refuses_a_taken_name() {
        let (_dir, mut store) = store();
        store.create(new("a", "", Kind::Active)).unwrap();
        let again = store.create(new("a", "", Kind::Active));
        assert!(matches!(again, Err(Error::AlreadyExists { .. })));
    }

    #[test]
    fn refuses_a_parent_that_is_not_committed() {
        let (_dir, mut store) = store();
        store.create(new("a", "", Kind::Active)).unwrap();
        let child = store.create(new("b", "a", Kind::Active));
        assert!(matches!(child, Err(Error::WrongKind { .. })));
    }

    #[test]
    fn refuses_to_commit_twice_and_to_commit_a_view() {
        let (_dir, mut store) = store();
        store.create(new("a", "", Kind::Active)).unwrap();
        store.commit("base".to_owned(), "a", HashMap::new()).unwrap();
        assert!(matches!(
            store.commit("again".to_owned(), "base", HashMap::new()),
            Err(Error::WrongKind { .. })
        ));
        store.create(new("v", "base", Kind::View)).unwrap();
        assert!(matches!(
            store.commit("other".to_owned(), "v", HashMap::new()),
            Err(Error::WrongKind { .. })
        ));
    }

    #[test]
    fn refuses_to_remove_what_has_children() {
        let (_dir, mut store) = store();
        store.create(new("a", "", Kind::Active)).unwrap();
        store.commit("base".to_owned(), "a", HashMap::new()).unwrap();
        store.create(new("b", "base", Kind::Active)).unwrap();
        assert!(matches!(store.remove("base"), Err(Error::InUse { .. })));
        store.remove("b").unwrap();
        store.remove("base").unwrap();
    }

    #[test]
    fn survives_a_restart_and_clears_what_a_crash_left() {
        let (dir, mut store) = store();
        store.create(new("a", "", Kind::Active)).unwrap();
        store
            .commit("base".to_owned(), "a", HashMap::from([("k".to_owned(), "v".to_owned())]))
            .unwrap();
        let before = store.get("base").unwrap().clone();
        let torn = dir.path().join("77");
        fs::create_dir_all(torn.join("fs")).unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        assert_eq!(store.get("base").unwrap(), &before);
        assert!(!torn.exists());
        // Numbers are not used again.
        let id = store.create(new("b", "", Kind::Active)).unwrap().id;
        assert!(id > before.id);
    }

    #[test]
    fn reports_a_damaged_record() {
        let (dir, mut store) = store();
        let id = store.create(new("a", "", Kind::Active)).unwrap().id;
        fs::write(dir.path().join(id.to_string()).join(RECORD), "{").unwrap();
        assert!(matches!(Store::open(dir.path()), Err(Error::Record { .. })));
    }

    #[test]
    fn updates_labels_only() {
        let (_dir, mut store) = store();
        store.create(new("a", "", Kind::Active)).unwrap();
        let labels =
            HashMap::from([("x".to_owned(), "1".to_owned()), ("y".to_owned(), "2".to_owned())]);
        store.update("a", labels.clone(), Some(vec!["labels.x".to_owned()])).unwrap();
        assert_eq!(
            store.get("a").unwrap().labels,
            HashMap::from([("x".to_owned(), "1".to_owned())])
        );
        store.update("a", HashMap::new(), Some(vec!["labels.x".to_owned()])).unwrap();
        assert!(store.get("a").unwrap().labels.is_empty());
        store.update("a", labels.clone(), None).unwrap();
        assert_eq!(store.get("a").unwrap().labels, labels);
        let parent = store.update("a", labels, Some(vec!["parent".to_owned()]));
        assert!(matches!(parent, Err(Error::Immutable { .. })));
    }

    #[test]
    fn subtree_lists_children_first() {
        let (_dir, mut store) = store();
        for (key, name, parent) in [("1", "a", ""), ("2", "b", "a"), ("3", "c", "b")] {
            store.create(new(key, parent, Kind::Active)).unwrap();
            store.commit(name.to_owned(), key, HashMap::new()).unwrap();
        }
        let names: Vec<String> = store.subtree("a").into_iter().map(|r| r.name).collect();
        assert_eq!(names, ["c", "b", "a"]);
    }
}
