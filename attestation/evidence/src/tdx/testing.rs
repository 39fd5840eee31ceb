// SPDX-License-Identifier: Apache-2.0
//! Real vectors for the tests of this crate, and quotes put together from their parts.

/// Bytes of a file under `shared/vectors` beside the workspace.
pub(crate) fn vector(name: &str) -> Vec<u8> {
    let path = format!("{}/../../../shared/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("test vector {name} is missing: {error}"))
}

/// Text of a file under `shared/vectors`.
pub(crate) fn text(name: &str) -> String {
    String::from_utf8(vector(name)).unwrap()
}

/// A quote: binary, hexadecimal, or in dstack's JSON.
pub(crate) fn quote(name: &str) -> Vec<u8> {
    let bytes = vector(name);
    if name.ends_with(".json") {
        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        return hex::decode(json["quote"].as_str().unwrap()).unwrap();
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => hex::decode(text.trim().trim_start_matches("0x")).unwrap(),
        Err(_) => bytes,
    }
}

/// Every part of a quote.
#[derive(Debug, Clone)]
pub(crate) struct Pieces {
    pub(crate) version: u16,
    pub(crate) key_type: u16,
    pub(crate) tee_type: u32,
    pub(crate) vendor: [u8; 16],
    pub(crate) body_type: u16,
    pub(crate) body: Vec<u8>,
    pub(crate) outer_type: u16,
    pub(crate) qe_report: Vec<u8>,
    pub(crate) auth_data: Vec<u8>,
    pub(crate) inner_type: u16,
    pub(crate) chain: Vec<u8>,
    pub(crate) padding: Vec<u8>,
}

impl Default for Pieces {
    fn default() -> Self {
        Self {
            version: 4,
            key_type: 2,
            tee_type: 0x81,
            vendor: 0x939a_7233_f79c_4ca9_940a_0db3_957f_0607_u128.to_be_bytes(),
            body_type: 2,
            body: vec![7; 584],
            outer_type: 6,
            qe_report: vec![5; 384],
            auth_data: vec![3; 32],
            inner_type: 5,
            chain: b"chain".to_vec(),
            padding: Vec::new(),
        }
    }
}

impl Pieces {
    pub(crate) fn quote(&self) -> Vec<u8> {
        let mut quote = Vec::new();
        quote.extend(self.version.to_le_bytes());
        quote.extend(self.key_type.to_le_bytes());
        quote.extend(self.tee_type.to_le_bytes());
        quote.extend([0; 4]);
        quote.extend(self.vendor);
        quote.extend([9; 20]);
        if self.version == 5 {
            quote.extend(self.body_type.to_le_bytes());
            quote.extend(u32::try_from(self.body.len()).unwrap().to_le_bytes());
        }
        quote.extend(&self.body);
        let mut inner = self.qe_report.clone();
        inner.extend([0x51; 64]);
        inner.extend(u16::try_from(self.auth_data.len()).unwrap().to_le_bytes());
        inner.extend(&self.auth_data);
        inner.extend(self.inner_type.to_le_bytes());
        inner.extend(u32::try_from(self.chain.len()).unwrap().to_le_bytes());
        inner.extend(&self.chain);
        let mut data = vec![0x5A; 64];
        data.extend([0xA5; 64]);
        data.extend(self.outer_type.to_le_bytes());
        data.extend(u32::try_from(inner.len()).unwrap().to_le_bytes());
        data.extend(inner);
        quote.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        quote.extend(data);
        quote.extend(&self.padding);
        quote
    }
}
