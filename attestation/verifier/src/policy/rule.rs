// SPDX-License-Identifier: Apache-2.0
//! The forms of a rule.

use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::Deserialize;
use serde::Deserializer;
use serde::de::Error as _;
use serde::de::MapAccess;
use serde::de::Visitor;
use serde::de::value::MapAccessDeserializer;

/// `">= N"`: the value is not below `N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AtLeast<T>(pub T);

/// A list of which one must match, or a single value that must.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneOf<T: Ord>(pub BTreeSet<T>);

/// `N` bytes, in text hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes<const N: usize>(pub [u8; N]);

/// Values that stand in the policy, or the name of a set of reference values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Values<T: Ord> {
    /// These.
    Listed(BTreeSet<T>),
    /// Those of a signed bundle, or of a broker's store: `{ reference = "NAME" }`.
    Reference(String),
}

/// The field that binds the initdata: HOST_DATA or MRCONFIGID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound<const N: usize> {
    /// The digest of the initdata that comes with the evidence, to be judged further by whoever
    /// asked: `"initdata"`.
    Initdata,
    /// One of these.
    Listed(BTreeSet<Bytes<N>>),
}

impl<'de, T: FromStr> Deserialize<'de> for AtLeast<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.strip_prefix(">=")
            .and_then(|number| number.trim_start_matches(' ').parse().ok())
            .map(Self)
            .ok_or_else(|| D::Error::custom(format_args!("{text:?} is not of the form \">= N\"")))
    }
}

impl<'de, T: Ord + Deserialize<'de>> Deserialize<'de> for OneOf<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a value of this rule's form, or a list of them")]
        enum Form<T> {
            One(T),
            Many(Vec<T>),
        }
        let listed = match Form::deserialize(deserializer)? {
            Form::One(value) => vec![value],
            Form::Many(values) => values,
        };
        set(listed).map(Self)
    }
}

impl<'de, T: Ord + Deserialize<'de>> Deserialize<'de> for Values<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "expected 96 hexadecimal digits, a list of such, or { reference = \"NAME\" }"
        )]
        enum Form<T> {
            Reference(Table<Named>),
            One(T),
            Many(Vec<T>),
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Named {
            reference: String,
        }
        match Form::deserialize(deserializer)? {
            Form::Reference(Table(named)) => Ok(Self::Reference(named.reference)),
            Form::One(value) => Ok(Self::Listed(BTreeSet::from([value]))),
            Form::Many(values) => set(values).map(Self::Listed),
        }
    }
}

impl<'de, const N: usize> Deserialize<'de> for Bound<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        enum Literal {
            Initdata,
        }
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "expected \"initdata\", hexadecimal digits of the field's size, or a list of such"
        )]
        enum Form<const N: usize> {
            Literal(Literal),
            Listed(OneOf<Bytes<N>>),
        }
        Ok(match Form::deserialize(deserializer)? {
            Form::Literal(Literal::Initdata) => Self::Initdata,
            Form::Listed(set) => Self::Listed(set.0),
        })
    }
}

impl<const N: usize> FromStr for Bytes<N> {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; N];
        hex::decode_to_slice(text, &mut bytes).map(|()| Self(bytes))
    }
}

impl<'de, const N: usize> Deserialize<'de> for Bytes<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map_err(|_| D::Error::custom(format_args!("expected {N} bytes as hexadecimal digits")))
    }
}

impl<const N: usize> fmt::Display for Bytes<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// A table and nothing else: a derived reader takes a list of the members' values too, so that a list
/// of one measurement would be taken for the name of a set.
pub(super) struct Table<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Table<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TableVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for TableVisitor<T> {
            type Value = Table<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Table<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members)).map(Table)
            }
        }
        deserializer.deserialize_map(TableVisitor(PhantomData))
    }
}

/// A version `MAJOR.MINOR`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u8, pub u8);

impl FromStr for Version {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (major, minor) = text.split_once('.').unwrap_or((text, ""));
        Ok(Self(major.parse()?, minor.parse()?))
    }
}

fn set<T: Ord, E: serde::de::Error>(listed: Vec<T>) -> Result<BTreeSet<T>, E> {
    let count = listed.len();
    let set: BTreeSet<T> = listed.into_iter().collect();
    if set.len() == count { Ok(set) } else { Err(E::custom("a value stands twice in a list")) }
}
