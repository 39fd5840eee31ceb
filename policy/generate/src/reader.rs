// SPDX-License-Identifier: Apache-2.0
//! Reading objects of the pod field by field, so that no field is passed over unseen.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::error::GenerateError;
use crate::error::Invalid;
use crate::error::Warning;
use crate::quantity::Quantity;

/// An object of which every field must be taken, refused or ignored by name; [`Reader::finish`] warns
/// of the rest.
pub(crate) struct Reader<'a> {
    path: String,
    fields: BTreeMap<&'a str, &'a Value>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(path: &str, value: &'a Value) -> Result<Self, GenerateError> {
        let Value::Object(map) = value else { return Err(wrong_type(path, "an object")) };
        // Kubernetes takes null for absent everywhere.
        let set = map.iter().filter(|(_, value)| !value.is_null());
        Ok(Self {
            path: path.to_owned(),
            fields: set.map(|(key, value)| (key.as_str(), value)).collect(),
        })
    }

    /// The path of this object.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The path of a field of this object.
    pub(crate) fn at(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    pub(crate) fn text(&mut self, key: &str) -> Result<Option<&'a str>, GenerateError> {
        match self.fields.remove(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(wrong_type(&self.at(key), "text")),
        }
    }

    pub(crate) fn required_text(&mut self, key: &str) -> Result<&'a str, GenerateError> {
        let path = self.at(key);
        self.text(key)?.ok_or_else(|| GenerateError::invalid(path, Invalid::Missing))
    }

    pub(crate) fn flag(&mut self, key: &str) -> Result<Option<bool>, GenerateError> {
        match self.fields.remove(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(wrong_type(&self.at(key), "true or false")),
        }
    }

    /// A user or group id.
    pub(crate) fn id(&mut self, key: &str) -> Result<Option<u32>, GenerateError> {
        let Some(value) = self.fields.remove(key) else { return Ok(None) };
        id(value).map(Some).ok_or_else(|| wrong_type(&self.at(key), "a user or group id"))
    }

    /// A list of user or group ids.
    pub(crate) fn ids(&mut self, key: &str) -> Result<Vec<u32>, GenerateError> {
        self.list(key)?
            .iter()
            .map(|value| id(value).ok_or_else(|| wrong_type(&self.at(key), "a list of ids")))
            .collect()
    }

    /// An amount of CPU or memory; numbers count as their text.
    pub(crate) fn quantity(&mut self, key: &str) -> Result<Option<Quantity>, GenerateError> {
        let text = match self.fields.remove(key) {
            None => return Ok(None),
            Some(Value::String(text)) => text.parse(),
            Some(Value::Number(number)) => number.to_string().parse(),
            Some(_) => return Err(wrong_type(&self.at(key), "a quantity")),
        };
        text.map(Some).map_err(|_| GenerateError::invalid(self.at(key), Invalid::Quantity))
    }

    pub(crate) fn texts(&mut self, key: &str) -> Result<Option<Vec<String>>, GenerateError> {
        if !self.fields.contains_key(key) {
            return Ok(None);
        }
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let texts: Option<_> = self.list(key)?.iter().map(text).collect();
        texts.map(Some).ok_or_else(|| wrong_type(&self.at(key), "a list of texts"))
    }

    pub(crate) fn text_map(
        &mut self,
        key: &str,
    ) -> Result<BTreeMap<String, String>, GenerateError> {
        let Some(value) = self.fields.remove(key) else { return Ok(BTreeMap::new()) };
        let text =
            |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
        value
            .as_object()
            .and_then(|map| map.iter().map(text).collect())
            .ok_or_else(|| wrong_type(&self.at(key), "a map from text to text"))
    }

    pub(crate) fn object(&mut self, key: &str) -> Result<Option<Self>, GenerateError> {
        let path = self.at(key);
        self.fields.remove(key).map(|value| Self::new(&path, value)).transpose()
    }

    pub(crate) fn objects(&mut self, key: &str) -> Result<Vec<Self>, GenerateError> {
        let path = self.at(key);
        let list = self.list(key)?;
        list.iter().enumerate().map(|(i, v)| Self::new(&format!("{path}[{i}]"), v)).collect()
    }

    /// The names of the fields that are not taken yet.
    pub(crate) fn remaining(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.fields.keys().copied()
    }

    /// Fails if the field asks for anything at all: `false`, `0`, `""`, `[]` and `{}` do not.
    pub(crate) fn refuse(
        &mut self,
        key: &str,
        reason: &'static str,
        advice: &'static str,
    ) -> Result<(), GenerateError> {
        match self.fields.remove(key) {
            Some(value) if !is_zero(value) => {
                Err(GenerateError::refused(self.at(key), reason, advice))
            }
            _ => Ok(()),
        }
    }

    /// Passes over fields that change nothing of what runs in the guest.
    pub(crate) fn ignore(&mut self, keys: &[&str]) {
        for key in keys {
            self.fields.remove(*key);
        }
    }

    /// Warns of a field that is set and not carried out.
    pub(crate) fn warn(&mut self, key: &str, text: &str, warnings: &mut Vec<Warning>) {
        if self.fields.remove(key).is_some_and(|value| !is_zero(value)) {
            warnings.push(Warning { path: self.at(key), text: text.to_owned() });
        }
    }

    /// Warns of every field that nobody asked for.
    pub(crate) fn finish(self, warnings: &mut Vec<Warning>) {
        let text =
            "unknown field, not in the policy; if it changes what runs, the guest will deny it";
        let unknown = self.fields.keys();
        warnings.extend(unknown.map(|k| Warning { path: self.at(k), text: text.to_owned() }));
    }

    fn list(&mut self, key: &str) -> Result<&'a [Value], GenerateError> {
        match self.fields.remove(key) {
            None => Ok(&[]),
            Some(Value::Array(list)) => Ok(list),
            Some(_) => Err(wrong_type(&self.at(key), "a list")),
        }
    }
}

fn id(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| *n != u32::MAX)
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

fn wrong_type(path: &str, expected: &'static str) -> GenerateError {
    GenerateError::invalid(path, Invalid::Type { expected })
}
