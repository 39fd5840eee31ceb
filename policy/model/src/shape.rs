// SPDX-License-Identifier: Apache-2.0
//! Tables are written with the names of their fields.
//!
//! serde takes a list of values in place of a table, in the order of the fields. Nobody who reads a
//! policy could say what `user = [0, 0, []]` means, so such a document is refused.

use serde::Serialize;
use toml::Table;
use toml::Value;

use crate::DocumentError;
use crate::error::FieldPath;
use crate::error::Problem;

/// Compares the text with what was read from it.
pub(crate) fn check<T: Serialize>(text: &str, read: &T) -> Result<(), DocumentError> {
    let syntax = |message: String| DocumentError::Syntax { message };
    let given: Table = text.parse().map_err(|e: toml::de::Error| syntax(e.message().to_owned()))?;
    let written = Table::try_from(read).map_err(|e| syntax(e.to_string()))?;
    check_fields(&given, &written, FieldPath::root)
}

fn check_fields(
    given: &Table,
    written: &Table,
    path: impl Fn(&str) -> FieldPath,
) -> Result<(), DocumentError> {
    for (key, value) in given {
        // What is absent was left out because it is empty.
        if let Some(written) = written.get(key) {
            check_value(value, written, path(key))?;
        }
    }
    Ok(())
}

fn check_value(given: &Value, written: &Value, path: FieldPath) -> Result<(), DocumentError> {
    match (given, written) {
        (Value::Table(given), Value::Table(written)) => {
            check_fields(given, written, |key| path.field(key))
        }
        (Value::Array(given), Value::Array(written)) => {
            let mut pairs = given.iter().zip(written).enumerate();
            pairs.try_for_each(|(index, (g, w))| check_value(g, w, path.index(index)))
        }
        (Value::Array(_), Value::Table(_)) => Err(path.error(Problem::NotTable)),
        _ => Ok(()),
    }
}
