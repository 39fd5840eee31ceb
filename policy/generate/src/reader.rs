// SPDX-License-Identifier: Apache-2.0
//! Reading objects of the pod field by field, so that no field is passed over unseen.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde_json::Value;

use crate::error::GenerateError;
use crate::error::Invalid;
use crate::error::Warning;
use crate::quantity::Quantity;

/// An object of which every field must be taken, refused or ignored by name; [`Reader::finish`] says
/// what is left.
pub(crate) struct Reader<'a> {
    path: String,
    fields: BTreeMap<&'a str, &'a Value>,
    /// The names that were asked for: what the object may hold.
    known: BTreeSet<String>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(path: &str, value: &'a Value) -> Result<Self, GenerateError> {
        let Value::Object(map) = value else { return Err(wrong_type(path, "an object")) };
        // Kubernetes takes null for absent everywhere.
        let set = map.iter().filter(|(_, value)| !value.is_null());
        Ok(Self {
            path: path.to_owned(),
            fields: set.map(|(key, value)| (key.as_str(), value)).collect(),
            known: BTreeSet::new(),
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
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(wrong_type(&self.at(key), "text (put it in quotes)")),
        }
    }

    pub(crate) fn required_text(&mut self, key: &str) -> Result<&'a str, GenerateError> {
        let path = self.at(key);
        self.text(key)?.ok_or_else(|| GenerateError::invalid(path, Invalid::Missing))
    }

    pub(crate) fn flag(&mut self, key: &str) -> Result<Option<bool>, GenerateError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(wrong_type(&self.at(key), "true or false")),
        }
    }

    /// One of a few words.
    pub(crate) fn choice(
        &mut self,
        key: &str,
        words: &'static [&'static str],
    ) -> Result<Option<&'static str>, GenerateError> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        words.iter().find(|word| **word == text).map(|word| Some(*word)).ok_or_else(|| {
            GenerateError::invalid(self.at(key), Invalid::Unknown { value: text.to_owned() })
        })
    }

    /// A whole number that is not negative.
    pub(crate) fn number(&mut self, key: &str) -> Result<Option<u64>, GenerateError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        value.as_u64().map(Some).ok_or_else(|| wrong_type(&self.at(key), "a whole number"))
    }

    /// A user or group id.
    pub(crate) fn id(&mut self, key: &str) -> Result<Option<u32>, GenerateError> {
        let Some(value) = self.take(key) else { return Ok(None) };
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
        let text = match self.take(key) {
            None => return Ok(None),
            Some(Value::String(text)) => text.parse(),
            Some(Value::Number(number)) => number.to_string().parse(),
            Some(_) => return Err(wrong_type(&self.at(key), "a quantity")),
        };
        text.map(Some).map_err(|_| GenerateError::invalid(self.at(key), Invalid::Quantity))
    }

    pub(crate) fn texts(&mut self, key: &str) -> Result<Option<Vec<String>>, GenerateError> {
        if !self.has(key) {
            self.known.insert(key.to_owned());
            return Ok(None);
        }
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let texts: Option<_> = self.list(key)?.iter().map(text).collect();
        texts
            .map(Some)
            .ok_or_else(|| wrong_type(&self.at(key), "a list of texts (put them in quotes)"))
    }

    pub(crate) fn text_map(
        &mut self,
        key: &str,
    ) -> Result<BTreeMap<String, String>, GenerateError> {
        let Some(value) = self.take(key) else { return Ok(BTreeMap::new()) };
        let text =
            |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
        value.as_object().and_then(|map| map.iter().map(text).collect()).ok_or_else(|| {
            wrong_type(&self.at(key), "a map from text to text (put them in quotes)")
        })
    }

    pub(crate) fn object(&mut self, key: &str) -> Result<Option<Self>, GenerateError> {
        let path = self.at(key);
        self.take(key).map(|value| Self::new(&path, value)).transpose()
    }

    pub(crate) fn required_object(&mut self, key: &str) -> Result<Self, GenerateError> {
        let path = self.at(key);
        self.object(key)?.ok_or_else(|| GenerateError::invalid(path, Invalid::Missing))
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
        reason: impl Into<Cow<'static, str>>,
        advice: impl Into<Cow<'static, str>>,
    ) -> Result<(), GenerateError> {
        match self.take(key) {
            Some(value) if !is_zero(value) => {
                Err(GenerateError::refused(self.at(key), reason, advice))
            }
            _ => Ok(()),
        }
    }

    /// Passes over fields that change nothing of what runs in the guest.
    pub(crate) fn ignore(&mut self, keys: &[&str]) {
        for key in keys {
            self.take(key);
        }
    }

    /// Warns of a field that is set and not carried out.
    pub(crate) fn warn(&mut self, key: &str, text: &str, warnings: &mut Vec<Warning>) {
        if self.take(key).is_some_and(|value| !is_zero(value)) {
            warnings.push(Warning::new(self.at(key), text));
        }
    }

    /// Says what is left: a warning for each field that nobody asked for, an error for one that is
    /// written almost like a field that would have been heeded.
    pub(crate) fn finish(self, warnings: &mut Vec<Warning>) -> Result<(), GenerateError> {
        for key in self.fields.keys() {
            if let Some(meant) = self.known.iter().find(|known| resembles(key, known)) {
                let problem =
                    Invalid::Misspelt { name: (*key).to_owned(), meant: meant.to_owned() };
                return Err(GenerateError::invalid(self.at(key), problem));
            }
            let text =
                "unknown field, not in the policy; if it changes what runs, the guest will deny it";
            warnings.push(Warning::new(self.at(key), text));
        }
        Ok(())
    }

    /// Fails if anything is left: in this object every field changes what runs.
    pub(crate) fn finish_strictly(self) -> Result<(), GenerateError> {
        match self.fields.keys().next() {
            None => Ok(()),
            Some(key) => {
                let problem = match self.known.iter().find(|known| resembles(key, known)) {
                    Some(meant) => {
                        Invalid::Misspelt { name: (*key).to_owned(), meant: meant.to_owned() }
                    }
                    None => Invalid::UnknownField,
                };
                Err(GenerateError::invalid(self.at(key), problem))
            }
        }
    }

    /// Whether the field is there and not null.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.fields.contains_key(key)
    }

    fn take(&mut self, key: &str) -> Option<&'a Value> {
        self.known.insert(key.to_owned());
        self.fields.remove(key)
    }

    fn list(&mut self, key: &str) -> Result<&'a [Value], GenerateError> {
        match self.take(key) {
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

/// Whether two names differ in case, or in one letter that is missing, too many, wrong or in its
/// neighbour's place.
fn resembles(found: &str, known: &str) -> bool {
    if known.len() < MIN_RESEMBLING {
        return false;
    }
    let (found, known) = (found.to_ascii_lowercase(), known.to_ascii_lowercase());
    let (found, known) = (found.as_bytes(), known.as_bytes());
    let same = found.iter().zip(known).take_while(|(a, b)| a == b).count();
    let tail = |a: &[u8], skip: usize| a.get(same.saturating_add(skip)..).map(<[u8]>::to_vec);
    let swapped = || {
        let (a, b) = (found.get(same..=same + 1)?, known.get(same..=same + 1)?);
        Some(a.iter().eq(b.iter().rev()))
    };
    found == known
        || (found.len() == known.len() && tail(found, 1) == tail(known, 1))
        || (found.len() == known.len() + 1 && tail(found, 1) == tail(known, 0))
        || (found.len() + 1 == known.len() && tail(found, 0) == tail(known, 1))
        || (swapped() == Some(true) && tail(found, 2) == tail(known, 2))
}

/// Shorter names resemble too many others.
const MIN_RESEMBLING: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_resemble() {
        for (found, known) in [
            ("comand", "command"),
            ("commmand", "command"),
            ("cmomand", "command"),
            ("commant", "command"),
            ("readonlyRootFilesystem", "readOnlyRootFilesystem"),
            ("arg", "args"),
            ("imagepullpolicy", "imagePullPolicy"),
        ] {
            assert!(resembles(found, known), "{found} {known}");
        }
        for (found, known) in [
            ("ports", "probes"),
            ("tty", "tt"),
            ("env", "envFrom"),
            ("hostUsers", "hostIPC"),
            ("", "args"),
        ] {
            assert!(!resembles(found, known), "{found} {known}");
        }
    }
}
