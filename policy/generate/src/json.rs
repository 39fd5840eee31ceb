// SPDX-License-Identifier: Apache-2.0
//! JSON in annotations.

use serde_json::Value;

use crate::error::GenerateError;
use crate::error::Invalid;

/// Parses the text of an annotation.
pub(crate) fn parse(text: &str, path: &str) -> Result<Value, GenerateError> {
    serde_json::from_str(text).map_err(|error| {
        let problem = Invalid::Json { line: error.line(), column: error.column() };
        GenerateError::invalid(path, problem)
    })
}
