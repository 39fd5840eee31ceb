// SPDX-License-Identifier: Apache-2.0
//! Chain IDs: the name of a layer together with all below it (OCI image specification, "Layer
//! ChainID").

use ring::digest::SHA256;
use ring::digest::digest;

/// The chain IDs of an image, bottom layer first.
pub(crate) fn chain_ids(diff_ids: &[String]) -> Vec<String> {
    let mut chain: Vec<String> = Vec::with_capacity(diff_ids.len());
    for diff in diff_ids {
        let next = match chain.last() {
            None => diff.clone(),
            Some(below) => {
                let hash = digest(&SHA256, format!("{below} {diff}").as_bytes());
                let hex: String = hash.as_ref().iter().map(|b| format!("{b:02x}")).collect();
                format!("sha256:{hex}")
            }
        };
        chain.push(next);
    }
    chain
}

/// The chain ID in the key under which containerd unpacks a layer: `…extract-<unique> <chain ID>`.
pub(crate) fn chain_of_key(key: &str) -> Option<&str> {
    let name = key.rsplit('/').next()?;
    name.strip_prefix("extract-")?.split_once(' ').map(|(_, chain)| chain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_chain_id_is_the_diff_id_and_each_next_hashes_the_one_below() {
        let diffs = ["sha256:aa".to_owned(), "sha256:bb".to_owned()];
        // printf 'sha256:aa sha256:bb' | sha256sum
        let second = "sha256:b68ad689d6d1ec110ea1c13617437ad6f3766d4b3b309f6a603a222e07a0164f";
        assert_eq!(chain_ids(&diffs), ["sha256:aa", second]);
        assert!(chain_ids(&[]).is_empty());
    }

    #[test]
    fn reads_the_chain_from_an_unpack_key() {
        assert_eq!(chain_of_key("k8s.io/7/extract-123-AbC= sha256:aa"), Some("sha256:aa"));
        assert_eq!(chain_of_key("k8s.io/7/container"), None);
        assert_eq!(chain_of_key("extract-1"), None);
    }
}
