// SPDX-License-Identifier: Apache-2.0
//! What a service answered, in the form in which it is kept.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::Serialize;

use crate::item::Item;
use crate::transport::Response;

/// What a service answered: unverified bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The body. Lists and certificates are DER, whatever form they came in.
    #[serde(with = "base64_text")]
    pub body: Vec<u8>,
    /// Certificates of who signed it, PEM, where they come beside the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_chain: Option<String>,
}

impl Answer {
    /// Undoes the encodings in which services send things.
    pub(crate) fn read(item: &Item, response: Response) -> Self {
        let Response { body, issuer_chain, .. } = response;
        let body = match item {
            Item::AmdCrl { .. } | Item::PckCrl { .. } | Item::IntelRootCrl => undo_hex(body),
            _ => body,
        };
        let issuer_chain = issuer_chain.map(|header| {
            let decoded = percent_decode_str(&header).decode_utf8_lossy();
            Cow::into_owned(decoded)
        });
        Self { body, issuer_chain }
    }

    /// The body as text, if it is.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap_or_default()
    }
}

/// PCCS gives lists as hexadecimal digits. DER begins with a byte that is no such digit.
fn undo_hex(body: Vec<u8>) -> Vec<u8> {
    let digits = body.trim_ascii();
    if digits.starts_with(b"30") { hex::decode(digits).unwrap_or(body) } else { body }
}

mod base64_text {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::Deserialize as _;
    use serde::Deserializer;
    use serde::Serializer;
    use serde::de::Error as _;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        STANDARD.decode(text.as_bytes()).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(item: &Item, body: &[u8], chain: Option<&str>) -> Answer {
        let issuer_chain = chain.map(str::to_owned);
        let response = Response { status: 200, retry_after: None, issuer_chain, body: body.into() };
        Answer::read(item, response)
    }

    #[test]
    fn lists_come_as_der_or_as_digits() {
        let der = [0x30, 0x03, 0x02, 0x01, 0x05];
        for body in [&der[..], b"3003020105", b" 3003020105\n", b"3003020105"] {
            assert_eq!(read(&Item::IntelRootCrl, body, None).body, der);
        }
        // What is neither stays what it was, for the parser to refuse.
        assert_eq!(read(&Item::IntelRootCrl, b"30zz", None).body, b"30zz");
        let document = Item::QeIdentity { update: crate::Update::Early };
        assert_eq!(read(&document, b"3003", None).body, b"3003");
    }

    #[test]
    fn chains_come_url_encoded() {
        let chain = read(&Item::IntelRootCrl, b"", Some("-----BEGIN%20X%0Aa%2Bb+c%3D")).issuer_chain;
        assert_eq!(chain.unwrap(), "-----BEGIN X\na+b+c=");
    }

    #[test]
    fn files_hold_base64_and_nothing_unknown() {
        let answer = Answer { body: vec![1, 2, 255], issuer_chain: None };
        let json = serde_json::to_string(&answer).unwrap();
        assert_eq!(json, r#"{"body":"AQL/"}"#);
        assert_eq!(serde_json::from_str::<Answer>(&json).unwrap(), answer);
        for bad in [r#"{"body":"AQL"}"#, r#"{"body":"AQL/","x":1}"#, r#"{"issuer_chain":""}"#] {
            assert!(serde_json::from_str::<Answer>(bad).is_err(), "{bad}");
        }
    }
}
