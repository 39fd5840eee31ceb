// SPDX-License-Identifier: Apache-2.0

use super::*;
use crate::mark::Mark;

fn entry(body: &[u8]) -> Entry {
    Entry { fetched: 7, answer: Answer { body: body.to_vec(), issuer_chain: None } }
}

fn keep(cache: &Cache, entry: &Entry) {
    let change = |_: &mut State| Ok::<_, CacheError>(Some(entry.clone()));
    cache.update(&Item::IntelRootCrl, change).unwrap();
}

#[test]
fn items_and_marks_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    assert_eq!(cache.read(&Item::IntelRootCrl).unwrap(), None);
    cache
        .update(&Item::IntelRootCrl, |state| {
            state.raise("x", Mark::of_number(9, 0)).unwrap();
            Ok::<_, CacheError>(Some(entry(b"list")))
        })
        .unwrap();
    let again = Cache::open(dir.path()).unwrap();
    assert_eq!(again.read(&Item::IntelRootCrl).unwrap(), Some(entry(b"list")));
    assert!(again.state().unwrap().compare("x", &Mark::of_number(8, 0)).is_err());
    assert_eq!(again.items().unwrap(), [Item::IntelRootCrl]);
}

#[test]
fn a_refused_change_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    let refused = cache.update(&Item::IntelRootCrl, |state| {
        state.set_wait("https://a", 9, 1);
        Err::<Option<Entry>, _>(CacheError::TooLarge { path: PathBuf::new() })
    });
    assert!(refused.is_err());
    assert_eq!(cache.state().unwrap(), State::default());
    assert_eq!(cache.items().unwrap(), []);
}

#[test]
fn a_malformed_item_is_no_item() {
    // D17: for every truncation, and for rubbish.
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    keep(&cache, &entry(b"list"));
    let path = cache.path(&Item::IntelRootCrl);
    let whole = fs::read(&path).unwrap();
    for end in 0..whole.len() {
        fs::write(&path, &whole[..end]).unwrap();
        assert_eq!(cache.read(&Item::IntelRootCrl).unwrap(), None, "{end}");
    }
    fs::write(&path, b"\xff{}").unwrap();
    assert_eq!(cache.read(&Item::IntelRootCrl).unwrap(), None);
}

#[test]
fn malformed_marks_are_an_error_and_not_forgotten() {
    // D17: a rollback must not be had by breaking a file.
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    for bad in ["", "{", r#"{"marks":{},"waits":{},"x":1}"#, r#"{"marks":{"a":{}},"waits":{}}"#] {
        fs::write(dir.path().join(STATE), bad).unwrap();
        assert!(matches!(cache.state(), Err(CacheError::State { .. })), "{bad}");
        let change = |_: &mut State| Ok::<_, CacheError>(Some(entry(b"x")));
        assert!(cache.update(&Item::IntelRootCrl, change).is_err());
        assert_eq!(cache.items().unwrap(), []);
    }
}

#[test]
fn a_file_over_its_cap_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    let path = cache.path(&Item::IntelRootCrl);
    File::create(&path).unwrap().set_len(MAX_ENTRY_BYTES + 1).unwrap();
    assert_eq!(cache.read(&Item::IntelRootCrl).unwrap(), None);
    File::create(dir.path().join(STATE)).unwrap().set_len(MAX_STATE_BYTES + 1).unwrap();
    assert!(matches!(cache.state(), Err(CacheError::TooLarge { .. })));
}

#[test]
fn the_folder_is_its_owners() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b");
    Cache::open(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
}
