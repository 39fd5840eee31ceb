// SPDX-License-Identifier: Apache-2.0
//! Just enough DER to write a certificate.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub(crate) type Der = Vec<u8>;

fn tlv(tag: u8, content: &[u8]) -> Der {
    let [.., high, low] = content.len().to_be_bytes();
    let mut der = vec![tag];
    match (high, low) {
        (0, 0..=0x7F) => der.push(low),
        (0, _) => der.extend([0x81, low]),
        _ => der.extend([0x82, high, low]),
    }
    der.extend_from_slice(content);
    der
}

pub(crate) fn sequence(parts: &[Der]) -> Der {
    tlv(0x30, &parts.concat())
}

pub(crate) fn set(parts: &[Der]) -> Der {
    tlv(0x31, &parts.concat())
}

pub(crate) fn explicit(tag: u8, content: &Der) -> Der {
    tlv(0xA0 | tag, content)
}

pub(crate) fn integer(value: u8) -> Der {
    if value < 0x80 { tlv(0x02, &[value]) } else { tlv(0x02, &[0, value]) }
}

pub(crate) fn boolean(value: bool) -> Der {
    tlv(0x01, &[if value { 0xFF } else { 0 }])
}

pub(crate) fn null() -> Der {
    tlv(0x05, &[])
}

pub(crate) fn bit_string(bytes: &[u8]) -> Der {
    tlv(0x03, &[&[0], bytes].concat())
}

pub(crate) fn utf8(text: &str) -> Der {
    tlv(0x0C, text.as_bytes())
}

pub(crate) fn ia5(text: &str) -> Der {
    tlv(0x16, text.as_bytes())
}

pub(crate) fn utc_time(text: &str) -> Der {
    tlv(0x17, text.as_bytes())
}

pub(crate) fn oid(text: &str) -> Der {
    let arcs: Vec<u32> = text.split('.').map(|arc| arc.parse().unwrap()).collect();
    let group = |bits: u32| u8::try_from(bits & 0x7F).unwrap();
    let mut bytes = vec![u8::try_from(arcs[0] * 40 + arcs[1]).unwrap()];
    for arc in &arcs[2..] {
        let mut groups = vec![group(*arc)];
        let mut rest = arc >> 7;
        while rest > 0 {
            groups.push(group(rest) | 0x80);
            rest >>= 7;
        }
        bytes.extend(groups.iter().rev());
    }
    tlv(0x06, &bytes)
}

pub(crate) fn extension(id: &str, critical: bool, value: &[u8]) -> Der {
    let mut parts = vec![oid(id)];
    if critical {
        parts.push(boolean(true));
    }
    parts.push(tlv(0x04, value));
    sequence(&parts)
}

pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
