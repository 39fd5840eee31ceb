// SPDX-License-Identifier: Apache-2.0
//! Finding the policy in what people have at hand: a policy, an initdata document, the value of the
//! pod's annotation, or the YAML of the pod that carries it.

use casemate_boot_formats::initdata::Initdata;
use casemate_boot_formats::initdata::InitdataError;
use casemate_policy::CONFIG_ENTRY;
use casemate_policy::DocumentError;
use casemate_policy::GuestConfig;
use casemate_policy::POLICY_ENTRY;
use casemate_policy::Policy;
use serde_json::Value;

use crate::Place;
use crate::Places;

/// A policy and what came with it.
#[derive(Debug, Clone)]
pub struct Document {
    /// The policy.
    pub policy: Policy,
    /// The policy's text, as it stands in its carrier.
    pub text: String,
    /// What carried it.
    pub carrier: Carrier,
    /// The initdata document that holds the policy, if one does.
    pub initdata: Option<Initdata>,
    /// The guest configuration of the initdata.
    pub config: Option<GuestConfig>,
    /// The owner's extra rules in the initdata, Rego.
    pub rules: Option<String>,
}

/// What a policy was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// The value of the annotation, base64.
    Annotation,
    /// An initdata document.
    Initdata,
    /// The YAML or JSON of a Kubernetes object.
    Pod,
    /// The policy's own text.
    Policy,
}

impl Carrier {
    /// What it is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Annotation => "annotation",
            Self::Initdata => "initdata",
            Self::Pod => "pod",
            Self::Policy => "policy",
        }
    }
}

impl Document {
    /// Most bytes that are read.
    pub const MAX_BYTES: usize = 8 << 20;

    /// Reads a document of any kind and checks all that is in it.
    ///
    /// # Errors
    ///
    /// The bytes are none of the kinds, or what they carry breaks a rule of its format.
    pub fn read(bytes: &[u8]) -> Result<Self, ReadError> {
        if bytes.len() > Self::MAX_BYTES {
            return Err(ReadError::TooLarge { size: bytes.len() });
        }
        let text = std::str::from_utf8(bytes).map_err(|_| ReadError::NotUtf8)?;
        match kind(text) {
            Carrier::Policy => Self::policy(text),
            Carrier::Initdata => {
                let initdata = Initdata::parse(bytes)?;
                Self::initdata(initdata, Carrier::Initdata)
            }
            Carrier::Annotation => {
                let initdata = Initdata::from_annotation(text.trim())?;
                Self::initdata(initdata, Carrier::Annotation)
            }
            Carrier::Pod => {
                let initdata = Initdata::from_annotation(&annotation(text)?)?;
                Self::initdata(initdata, Carrier::Pod)
            }
        }
    }

    /// Where the fields of the policy stand in its text.
    #[must_use]
    pub fn places(&self) -> Places {
        Places::read(&self.text)
    }

    fn policy(text: &str) -> Result<Self, ReadError> {
        Ok(Self {
            policy: parse_policy(text)?,
            text: text.to_owned(),
            carrier: Carrier::Policy,
            initdata: None,
            config: None,
            rules: None,
        })
    }

    fn initdata(initdata: Initdata, carrier: Carrier) -> Result<Self, ReadError> {
        let known = [POLICY_ENTRY, CONFIG_ENTRY, casemate_policy_rules::ENTRY];
        if let Some((name, _)) = initdata.entries().find(|(name, _)| !known.contains(name)) {
            return Err(ReadError::UnknownEntry { name: name.to_owned() });
        }
        let entry = |name| initdata.entry(name).ok_or(ReadError::MissingEntry { name });
        let text = entry(POLICY_ENTRY)?.to_owned();
        let policy = parse_policy(&text)?;
        let config = entry(CONFIG_ENTRY)?;
        let config = GuestConfig::parse(config.as_bytes()).map_err(|source| ReadError::Config {
            place: place(config, &source),
            source: Box::new(source),
        })?;
        let rules = initdata.entry(casemate_policy_rules::ENTRY).map(str::to_owned);
        Ok(Self { policy, text, carrier, rules, config: Some(config), initdata: Some(initdata) })
    }
}

fn parse_policy(text: &str) -> Result<Policy, ReadError> {
    Policy::parse(text.as_bytes()).map_err(|source| ReadError::Policy {
        place: place(text, &source),
        source: Box::new(source),
    })
}

/// The place of an error: its field, or the line that a parser names.
fn place(text: &str, error: &DocumentError) -> Option<Place> {
    match error {
        DocumentError::Field { path, .. } => Places::read(text).find(path.as_str()),
        DocumentError::Syntax { message } => {
            let number = message.strip_prefix("line ")?.split(':').next()?;
            Places::read(text).line(number.parse().ok()?)
        }
        _ => None,
    }
}

/// What a text is, by its looks; reading it as that says whether it is.
fn kind(text: &str) -> Carrier {
    let mut lines =
        text.lines().map(str::trim_end).filter(|l| !l.is_empty() && !l.starts_with('#'));
    let is_yaml = |line: &str| {
        line.starts_with("---")
            || line.starts_with('{')
            || line.starts_with("apiVersion:")
            || line.starts_with("kind:")
            || line.starts_with("metadata:")
            || line.starts_with("\"apiVersion\"")
    };
    let first = lines.next().unwrap_or_default();
    let is_base64 = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
    if is_yaml(first) {
        Carrier::Pod
    } else if first.starts_with("H4sI") && first.bytes().all(is_base64) {
        // The first bytes of gzip.
        Carrier::Annotation
    } else if std::iter::once(first)
        .chain(lines)
        .any(|line| is_key(line, "algorithm") || line == "[data]")
    {
        Carrier::Initdata
    } else {
        Carrier::Policy
    }
}

fn is_key(line: &str, key: &str) -> bool {
    line.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='))
}

/// The initdata annotation of the one object of the text that has it, where kubelet would look.
fn annotation(text: &str) -> Result<String, ReadError> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| {
        ReadError::Yaml { message: error.without_snippet().to_string().replace('\n', " ") }
    })?;
    let mut found = Vec::new();
    for document in &documents {
        let items = document.get("items").and_then(Value::as_array);
        match items {
            Some(items) => found.extend(items.iter().filter_map(object_annotation)),
            None => found.extend(object_annotation(document)),
        }
    }
    match found.as_slice() {
        [] => Err(ReadError::NoAnnotation),
        [one] => Ok((*one).to_owned()),
        many => Err(ReadError::Several { count: many.len() }),
    }
}

/// Of a Pod, of the template of a Deployment and its like, or of a CronJob's.
fn object_annotation(object: &Value) -> Option<&str> {
    ["", "/spec/template", "/spec/jobTemplate/spec/template"].iter().find_map(|template| {
        let metadata = object.pointer(&format!("{template}/metadata/annotations"))?;
        metadata.get(ANNOTATION)?.as_str()
    })
}

/// Nothing usable was read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The guest configuration is refused.
    #[error("{CONFIG_ENTRY} is refused")]
    Config {
        /// Where in its text.
        place: Option<Place>,
        /// Why.
        #[source]
        source: Box<DocumentError>,
    },
    /// The initdata is refused.
    #[error("the initdata is refused")]
    Initdata {
        /// Why.
        #[source]
        source: Box<InitdataError>,
    },
    /// The initdata lacks an entry.
    #[error("the initdata has no {name}")]
    MissingEntry {
        /// The entry's name.
        name: &'static str,
    },
    /// No object carries initdata.
    #[error("no object has the annotation {ANNOTATION}")]
    NoAnnotation,
    /// The bytes are no text.
    #[error("the file is not UTF-8")]
    NotUtf8,
    /// The policy is refused.
    #[error("the policy is refused")]
    Policy {
        /// Where in its text.
        place: Option<Place>,
        /// Why.
        #[source]
        source: Box<DocumentError>,
    },
    /// It is not clear which policy is meant.
    #[error("{count} objects have the annotation {ANNOTATION}")]
    Several {
        /// How many.
        count: usize,
    },
    /// The file is over its cap.
    #[error("the file has {size} bytes, more than {max}", max = Document::MAX_BYTES)]
    TooLarge {
        /// Its size.
        size: usize,
    },
    /// The initdata has an entry that no guest knows.
    #[error("the initdata has the unknown entry {name:?}")]
    UnknownEntry {
        /// The entry's name.
        name: String,
    },
    /// The text is no YAML.
    #[error("no YAML: {message}")]
    Yaml {
        /// What the parser says.
        message: String,
    },
}

impl ReadError {
    /// Where the fault stands, where that is known, and in which text.
    #[must_use]
    pub fn place(&self) -> Option<(&'static str, &Place)> {
        match self {
            Self::Config { place, .. } => place.as_ref().map(|place| (CONFIG_ENTRY, place)),
            Self::Policy { place, .. } => place.as_ref().map(|place| (POLICY_ENTRY, place)),
            _ => None,
        }
    }

    /// What the reader can do about it.
    #[must_use]
    pub const fn next_step(&self) -> &'static str {
        match self {
            Self::Config { .. } | Self::Policy { .. } => {
                "correct what the message names, or run `casemate policy generate` again"
            }
            Self::Initdata { .. } | Self::MissingEntry { .. } | Self::UnknownEntry { .. } => {
                "run `casemate policy generate` again and do not edit its output"
            }
            Self::NoAnnotation => "give the YAML that `casemate policy generate` wrote",
            Self::Several { .. } => "give the objects one by one",
            Self::NotUtf8 | Self::TooLarge { .. } | Self::Yaml { .. } => {
                "give a policy, an initdata document, or the YAML of a pod that carries one"
            }
        }
    }
}

impl From<InitdataError> for ReadError {
    fn from(source: InitdataError) -> Self {
        Self::Initdata { source: Box::new(source) }
    }
}

/// The pod annotation that carries the initdata.
const ANNOTATION: &str = "io.casemate.initdata";
