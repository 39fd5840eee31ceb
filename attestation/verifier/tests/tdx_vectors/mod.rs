// SPDX-License-Identifier: Apache-2.0
//! Real evidence under `shared/vectors` beside the workspace.

/// Bytes of a file.
pub(crate) fn vector(name: &str) -> Vec<u8> {
    let path = format!("{}/../../../shared/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("test vector {name} is missing: {error}"))
}

/// Text of a file.
pub(crate) fn text(name: &str) -> String {
    String::from_utf8(vector(name)).unwrap()
}

/// A string of a JSON object.
pub(crate) fn member(json: &str, name: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(json).unwrap();
    value[name].as_str().unwrap_or_else(|| panic!("{name} is missing")).to_owned()
}

/// A quote: binary, hexadecimal, in dstack's JSON, or inside something longer.
pub(crate) fn quote(name: &str) -> Vec<u8> {
    let bytes = vector(name);
    match name {
        _ if name.ends_with(".json") => {
            hex::decode(member(std::str::from_utf8(&bytes).unwrap(), "quote")).unwrap()
        }
        // Somebody's text follows the quote.
        "tdx/go-tdx-guest/tdx_prod_quote_SPR_E4.dat" => bytes[..4935].to_vec(),
        // A message of Oak that begins with the quote.
        "tdx/oak/tdx_oc_evidence.binarypb" => bytes[8..8 + 4935].to_vec(),
        _ => match std::str::from_utf8(&bytes) {
            Ok(text) => hex::decode(text.trim().trim_start_matches("0x")).unwrap(),
            Err(_) => bytes,
        },
    }
}
