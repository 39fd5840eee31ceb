// SPDX-License-Identifier: Apache-2.0
//! What Azure says of its hosts' certificates ("THIM"): JSON with a VCEK and its chain. Containers
//! get it as base64 in `UVM_HOST_AMD_CERTIFICATE`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// The certificates as one PEM bundle; `None` for anything else.
pub(super) fn pem(content: &[u8]) -> Option<Vec<u8>> {
    let answer: Answer = match content.trim_ascii() {
        json @ [b'{', ..] => serde_json::from_slice(json).ok()?,
        text => {
            let digits: Vec<u8> =
                text.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
            serde_json::from_slice(&STANDARD.decode(digits).ok()?).ok()?
        }
    };
    Some(format!("{}\n{}", answer.vcek, answer.chain).into_bytes())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    #[serde(rename = "vcekCert")]
    vcek: String,
    #[serde(rename = "certificateChain")]
    chain: String,
    /// The TCB that the VCEK is for; its certificate says it too, signed.
    #[serde(rename = "tcbm")]
    _tcbm: String,
    #[serde(default, rename = "cacheControl")]
    _cache_control: serde_json::Value,
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str =
        r#"{"vcekCert":"A","tcbm":"00","certificateChain":"B","cacheControl":"86400"}"#;

    #[test]
    fn reads_the_answer_plain_and_in_base64() {
        let wrapped = STANDARD.encode(JSON);
        let (head, tail) = wrapped.split_at(20);
        for text in
            [JSON.to_owned(), format!(" {JSON}\n"), wrapped.clone(), format!("{head}\n{tail}\n")]
        {
            assert_eq!(pem(text.as_bytes()).as_deref(), Some(&b"A\nB"[..]), "{text}");
        }
    }

    #[test]
    fn anything_else_is_left_alone() {
        let twice = JSON.replacen('{', "{\"vcekCert\":\"C\",", 1);
        let more = JSON.replacen('{', "{\"x\":1,", 1);
        for text in ["", "{}", "{", "AAAA", "-----BEGIN CERTIFICATE-----", &twice, &more] {
            assert_eq!(pem(text.as_bytes()), None, "{text}");
        }
    }
}
