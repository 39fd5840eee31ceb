// SPDX-License-Identifier: Apache-2.0

use proptest::prelude::*;

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

#[test]
fn a_changed_byte_of_a_file_is_an_error_or_another_entry() {
    // D17
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    let change = |state: &mut State| {
        state.raise("x", Mark::of_number(9, 7)).unwrap();
        state.set_wait("https://a", 9, 1);
        Ok::<_, CacheError>(Some(entry(b"list")))
    };
    cache.update(&Item::IntelRootCrl, change).unwrap();
    let (item, good) = (cache.path(&Item::IntelRootCrl), cache.state().unwrap());
    let flipped = |whole: &[u8], at: usize| {
        let mut bad = whole.to_vec();
        bad[at] ^= 1;
        bad
    };
    let whole = fs::read(&item).unwrap();
    for at in 0..whole.len() {
        fs::write(&item, flipped(&whole, at)).unwrap();
        assert_ne!(cache.read(&Item::IntelRootCrl).unwrap(), Some(entry(b"list")), "{at}");
    }
    let state = dir.path().join(STATE);
    let whole = fs::read(&state).unwrap();
    for at in 0..whole.len() {
        fs::write(&state, flipped(&whole, at)).unwrap();
        assert!(cache.state().ok().as_ref() != Some(&good), "{at}");
        fs::write(&state, &whole[..at]).unwrap();
        assert!(cache.state().is_err(), "{at}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn files_say_what_was_written(
        fetched: u64,
        body in proptest::collection::vec(any::<u8>(), 0..60),
        issuer_chain in proptest::option::of(".{0,20}"),
        marks in proptest::collection::btree_map(".{0,8}", any::<(u64, u64)>(), 0..5),
        endpoint in ".{0,12}",
    ) {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let entry = Entry { fetched, answer: Answer { body, issuer_chain } };
        let mut written = State::default();
        let change = |state: &mut State| {
            for (name, (number, made)) in &marks {
                state.raise(name, Mark::of_number(*number, *made)).unwrap();
            }
            state.set_wait(&endpoint, 9, 1);
            written = state.clone();
            Ok::<_, CacheError>(Some(entry.clone()))
        };
        cache.update(&Item::IntelRootCrl, change).unwrap();
        prop_assert_eq!(cache.read(&Item::IntelRootCrl).unwrap(), Some(entry));
        prop_assert_eq!(cache.state().unwrap(), written);
    }
}
