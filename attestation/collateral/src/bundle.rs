// SPDX-License-Identifier: Apache-2.0
//! Items in one file, for places without a network.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::de::Error as _;
use serde::de::MapAccess;
use serde::de::Visitor;

use crate::answer::Answer;
use crate::cache::Entry;
use crate::check::CheckError;
use crate::client::Client;
use crate::error::FetchError;
use crate::item::Item;

/// Largest bundle that is read, bytes.
pub const MAX_BUNDLE_BYTES: usize = 64 << 20;

/// Items by their names. Nothing in it is trusted until it was imported.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    version: Version,
    #[serde(deserialize_with = "once_each")]
    items: BTreeMap<String, Answer>,
}

/// The one layout that there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
struct Version;

impl Bundle {
    /// A bundle of items.
    #[must_use]
    pub fn new(items: impl IntoIterator<Item = (Item, Answer)>) -> Self {
        let items = items.into_iter().map(|(item, answer)| (item.to_string(), answer)).collect();
        Self { version: Version, items }
    }

    /// Reads a bundle.
    ///
    /// # Errors
    ///
    /// [`BundleError`] when it is malformed or too large, or an item is unknown or there twice.
    pub fn from_json(json: &[u8]) -> Result<Self, BundleError> {
        if json.len() > MAX_BUNDLE_BYTES {
            return Err(BundleError::TooLarge);
        }
        serde_json::from_slice(json).map_err(|source| BundleError::Json { source })
    }

    /// The bundle as a file.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Text and numbers have nothing that JSON cannot say.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Its items.
    pub fn items(&self) -> impl Iterator<Item = (Item, &Answer)> {
        self.items.iter().filter_map(|(name, answer)| Some((name.parse().ok()?, answer)))
    }
}

/// What became of a bundle.
#[derive(Debug, Default)]
pub struct Imported {
    /// Items that are kept now.
    pub kept: Vec<Item>,
    /// Items that are not, and why.
    pub refused: Vec<(Item, CheckError)>,
}

impl Client {
    /// Keeps the items of a bundle that pass the same checks as a service's answers at `now`,
    /// seconds since 1970.
    ///
    /// # Errors
    ///
    /// [`FetchError::Cache`].
    pub fn import(&self, bundle: &Bundle, now: u64) -> Result<Imported, FetchError> {
        let mut imported = Imported::default();
        let (chains, others): (Vec<_>, Vec<_>) =
            bundle.items().partition(|(item, _)| matches!(item, Item::AmdChain { .. }));
        // Chips' certificates may need the keys of chains.
        for (item, answer) in chains.into_iter().chain(others) {
            let below = self.kept_signing_keys(&item, now)?;
            // Nobody knows when it was fetched: a service is asked when there is one.
            let entry = Entry { fetched: 0, answer: answer.clone() };
            match self.keep(&item, entry, &below, now)? {
                Ok(()) => imported.kept.push(item),
                Err(error) => imported.refused.push((item, error)),
            }
        }
        Ok(imported)
    }

    /// Everything that is kept and good at `now`, seconds since 1970.
    ///
    /// # Errors
    ///
    /// [`FetchError::Cache`].
    pub fn export(&self, now: u64) -> Result<Bundle, FetchError> {
        let mut items = Vec::new();
        for item in self.cache().items()? {
            let below = self.kept_signing_keys(&item, now)?;
            if let Some(entry) = self.kept(&item, &below, now)? {
                items.push((item, entry.answer));
            }
        }
        Ok(Bundle::new(items))
    }
}

/// Why bytes are no bundle.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// Over [`MAX_BUNDLE_BYTES`].
    #[error("the bundle has more than {MAX_BUNDLE_BYTES} bytes")]
    TooLarge,
    /// Malformed JSON; a member or item is unknown or there twice.
    #[error("the bundle is malformed")]
    Json {
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
}

impl BundleError {
    /// What the reader can do next, one sentence without a full stop.
    #[must_use]
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::TooLarge => "export from a folder that keeps fewer chips' certificates",
            Self::Json { .. } => {
                "give the file that `casemate collateral export` wrote, whole and unchanged"
            }
        }
    }
}

impl TryFrom<u32> for Version {
    type Error = &'static str;

    fn try_from(version: u32) -> Result<Self, &'static str> {
        if version == VERSION { Ok(Self) } else { Err("the layout of the bundle is not known") }
    }
}

impl From<Version> for u32 {
    fn from(Version: Version) -> Self {
        VERSION
    }
}

const VERSION: u32 = 1;

fn once_each<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Answer>, D::Error> {
    struct Items;

    impl<'de> Visitor<'de> for Items {
        type Value = BTreeMap<String, Answer>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("items by their names")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut items = BTreeMap::new();
            while let Some((name, answer)) = map.next_entry::<String, Answer>()? {
                name.parse::<Item>().map_err(A::Error::custom)?;
                if items.insert(name, answer).is_some() {
                    return Err(A::Error::custom("an item is there twice"));
                }
            }
            Ok(items)
        }
    }

    from.deserialize_map(Items)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn files_round_trip() {
        let answer = Answer { body: vec![1, 2], issuer_chain: Some("x".to_owned()) };
        let bundle = Bundle::new([(Item::IntelRootCrl, answer.clone())]);
        let read = Bundle::from_json(bundle.to_json().as_bytes()).unwrap();
        assert_eq!(read, bundle);
        assert_eq!(read.items().collect::<Vec<_>>(), [(Item::IntelRootCrl, &answer)]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let one = r#""intel-root-crl":{"body":""}"#;
        for bad in [
            String::new(),
            "{}".to_owned(),
            r#"{"version":2,"items":{}}"#.to_owned(),
            r#"{"version":1,"items":{},"x":0}"#.to_owned(),
            r#"{"version":1,"items":{"x":{"body":""}}}"#.to_owned(),
            format!(r#"{{"version":1,"items":{{{one},{one}}}}}"#),
            format!(r#"{{"version":1,"items":{{{one}}}}} x"#),
        ] {
            let read = Bundle::from_json(bad.as_bytes());
            assert!(matches!(read, Err(BundleError::Json { .. })), "{bad}");
        }
        let large = vec![b' '; MAX_BUNDLE_BYTES + 1];
        assert!(matches!(Bundle::from_json(&large), Err(BundleError::TooLarge)));
    }

    #[test]
    fn a_changed_or_missing_byte_is_an_error_or_another_bundle() {
        let answer = Answer { body: vec![1, 2], issuer_chain: Some("x".to_owned()) };
        let good = Bundle::new([(Item::IntelRootCrl, answer)]);
        let text = good.to_json();
        for at in 0..text.len() {
            assert!(Bundle::from_json(&text.as_bytes()[..at]).is_err(), "{at}");
            let mut bad = text.clone().into_bytes();
            bad[at] ^= 1;
            assert!(Bundle::from_json(&bad).ok().as_ref() != Some(&good), "{at}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            items in proptest::collection::btree_map(
                any::<[u8; 6]>(),
                (proptest::collection::vec(any::<u8>(), 0..40), proptest::option::of(".{0,20}")),
                0..6,
            ),
        ) {
            let items = items.into_iter().map(|(fmspc, (body, issuer_chain))| {
                let item = Item::TcbInfo { fmspc, update: crate::Update::Standard };
                (item, Answer { body, issuer_chain })
            });
            let items: Vec<_> = items.collect();
            let bundle = Bundle::new(items.clone());
            let read = Bundle::from_json(bundle.to_json().as_bytes()).unwrap();
            prop_assert_eq!(&read, &bundle);
            let read: Vec<_> = read.items().map(|(item, answer)| (item, answer.clone())).collect();
            prop_assert_eq!(read, items);
        }

        #[test]
        fn any_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Bundle::from_json(&bytes).is_err());
        }
    }
}
