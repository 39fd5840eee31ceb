// SPDX-License-Identifier: Apache-2.0
//! ConfigMaps, given beside the workloads that refer to them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::error::GenerateError;
use crate::error::Invalid;
use crate::reader::Reader;

/// A ConfigMap's content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ConfigMap {
    /// Texts by key: variables and files.
    pub(crate) data: BTreeMap<String, String>,
    /// Bytes by key: files only.
    pub(crate) binary_data: BTreeMap<String, Vec<u8>>,
}

impl ConfigMap {
    /// Reads the object's fields but for kind and metadata.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, GenerateError> {
        let data = reader.text_map("data")?;
        let mut binary_data = BTreeMap::new();
        for (key, text) in reader.text_map("binaryData")? {
            let path = || format!("{}.{key}", reader.at("binaryData"));
            // As Go's decoder: line breaks count for nothing.
            let packed: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
            let bytes = BASE64
                .decode(packed)
                .map_err(|_| GenerateError::invalid(path(), Invalid::Base64))?;
            if data.contains_key(&key) {
                let problem = Invalid::Duplicate { name: key.clone() };
                return Err(GenerateError::invalid(path(), problem));
            }
            binary_data.insert(key, bytes);
        }
        reader.ignore(&["immutable"]);
        if let Some(key) = data.keys().chain(binary_data.keys()).find(|key| !is_key(key)) {
            let problem = Invalid::FileName { name: key.clone() };
            return Err(GenerateError::invalid(reader.at("data"), problem));
        }
        Ok(Self { data, binary_data })
    }

    /// The bytes under a key.
    pub(crate) fn bytes(&self, key: &str) -> Option<&[u8]> {
        let text = self.data.get(key).map(String::as_bytes);
        text.or_else(|| self.binary_data.get(key).map(Vec::as_slice))
    }

    /// All keys with their bytes.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let texts = self.data.iter().map(|(key, text)| (key.as_str(), text.as_bytes()));
        texts.chain(self.binary_data.iter().map(|(key, bytes)| (key.as_str(), bytes.as_slice())))
    }
}

/// ConfigMaps by namespace and name. An object without a namespace is in whichever it is applied to.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConfigMaps(Vec<(Option<String>, String, ConfigMap)>);

impl ConfigMaps {
    /// Adds one; false if there is one of this name already.
    #[must_use]
    pub(crate) fn add(&mut self, namespace: Option<&str>, name: &str, map: ConfigMap) -> bool {
        if self.0.iter().any(|(n, known, _)| n.as_deref() == namespace && known == name) {
            return false;
        }
        self.0.push((namespace.map(str::to_owned), name.to_owned(), map));
        true
    }

    /// The ConfigMap that a pod of this namespace means.
    pub(crate) fn find(&self, namespace: Option<&str>, name: &str) -> Option<&ConfigMap> {
        let named = || self.0.iter().filter(|(_, known, _)| known == name);
        let same = named().find(|(own, ..)| own.as_deref() == namespace);
        let open = || named().find(|(own, ..)| own.is_none() || namespace.is_none());
        same.or_else(open).map(|(.., map)| map)
    }
}

/// Kubernetes' rule for keys of ConfigMaps.
fn is_key(key: &str) -> bool {
    !key.is_empty()
        && key.len() <= MAX_KEY
        && !matches!(key, "." | "..")
        && !key.starts_with("..")
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// Longest key in bytes.
const MAX_KEY: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_left_out_is_any() {
        let map = |text: &str| ConfigMap {
            data: BTreeMap::from([("k".to_owned(), text.to_owned())]),
            ..ConfigMap::default()
        };
        let mut maps = ConfigMaps::default();
        assert!(maps.add(Some("a"), "m", map("a")));
        assert!(maps.add(Some("b"), "m", map("b")));
        assert!(!maps.add(Some("b"), "m", map("c")));
        let found = |maps: &ConfigMaps, namespace| {
            maps.find(namespace, "m").and_then(|m| m.data.get("k").cloned())
        };
        assert_eq!(found(&maps, Some("a")).as_deref(), Some("a"));
        assert_eq!(found(&maps, Some("b")).as_deref(), Some("b"));
        assert_eq!(found(&maps, Some("c")), None);
        assert_eq!(found(&maps, None).as_deref(), Some("a"));
        assert!(maps.add(None, "m", map("open")));
        assert_eq!(found(&maps, Some("c")).as_deref(), Some("open"));
    }

    #[test]
    fn keys_are_kubernetes() {
        for (key, fits) in [
            ("app.conf", true),
            ("A_b-c", true),
            ("..x", false),
            (".", false),
            ("a/b", false),
            ("", false),
        ] {
            assert_eq!(is_key(key), fits, "{key}");
        }
    }
}
