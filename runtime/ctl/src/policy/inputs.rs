// SPDX-License-Identifier: Apache-2.0
//! What the command line gives: files, and decisions beyond the YAML.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use casemate_policy::ResourceUri;
use casemate_policy::SecretFile;
use casemate_policy_generate::ContainerSecret;
use casemate_policy_generate::DEFAULT_MODE;
use casemate_policy_generate::Manifest;
use casemate_policy_generate::Manifests;
use casemate_policy_generate::Options;
use casemate_policy_generate::SignatureRule;

use crate::args::GenerateArgs;
use crate::args::Pair;
use crate::failure::Failure;
use crate::file;

/// A file of YAML with its name.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) name: String,
    text: String,
}

/// A key that must have signed certain images.
#[derive(Debug)]
pub(super) struct SignatureKey {
    /// What the images' names begin with; empty for every image.
    images: String,
    /// The name of the key in the guest configuration.
    pub(super) name: String,
    /// The public key.
    pub(super) file: PathBuf,
}

/// Reads files, and the YAML and JSON files of folders in the order of their names.
pub(super) fn read(paths: &[PathBuf]) -> Result<Vec<Text>, Failure> {
    let max = u64::try_from(Manifests::MAX_BYTES).unwrap_or(u64::MAX);
    let mut texts = Vec::new();
    for path in paths {
        let files = if path.is_dir() { yaml_files(path)? } else { vec![path.clone()] };
        for path in files {
            let text = file::read_text(&path, max)?;
            texts.push(Text { name: path.display().to_string(), text });
        }
    }
    Ok(texts)
}

pub(super) fn manifests(texts: &[Text]) -> Vec<Manifest<'_>> {
    texts.iter().map(|text| Manifest { name: &text.name, text: &text.text }).collect()
}

pub(super) fn options(
    args: &GenerateArgs,
    signatures: &[SignatureKey],
) -> Result<Options, Failure> {
    let secrets: Result<Vec<_>, _> = args.secret.iter().map(secret).collect();
    let rule =
        |key: &SignatureKey| SignatureRule { images: key.images.clone(), key: key.name.clone() };
    Ok(Options {
        untrusted_volumes: args.untrusted_volume.iter().cloned().collect(),
        secrets: secrets?,
        signatures: signatures.iter().map(rule).collect(),
    })
}

/// `[IMAGES=]FILE`. The key is named after its file.
pub(super) fn signature_rules(list: &[String]) -> Result<Vec<SignatureKey>, Failure> {
    let mut keys: Vec<SignatureKey> = Vec::new();
    for text in list {
        let (images, path) = text.split_once('=').unwrap_or(("", text));
        let file = PathBuf::from(path);
        let name = key_name(&file);
        let other =
            |key: &SignatureKey| key.images == images || (key.name == name && key.file != file);
        if keys.iter().any(other) {
            let message =
                format!("--image-signature-key {text}: the name or the images occur twice");
            return Err(Failure::new(
                "usage",
                message,
                "give one key for images, in files of own names",
            ));
        }
        keys.push(SignatureKey { images: images.to_owned(), name, file });
    }
    Ok(keys)
}

/// A file's name without its ending, as the guest configuration takes names.
fn key_name(path: &Path) -> String {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().to_ascii_lowercase());
    let fits = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
    let name: String = stem.unwrap_or_default().chars().map(fits).take(MAX_NAME).collect();
    match name.trim_matches('-') {
        "" => "owner".to_owned(),
        name => name.to_owned(),
    }
}

/// `CONTAINER:PATH=kbs:///REPOSITORY/TYPE/TAG`.
fn secret(pair: &Pair) -> Result<ContainerSecret, Failure> {
    let wrong = || {
        let message = format!("--secret {}={}", pair.key, pair.value);
        let next = "write CONTAINER:PATH=kbs:///REPOSITORY/TYPE/TAG";
        Failure::new("usage", format_args!("{message}: not of the expected form"), next)
    };
    let (container, path) = pair.key.split_once(':').ok_or_else(wrong)?;
    let resource: ResourceUri = pair.value.parse().map_err(|_| wrong())?;
    if container.is_empty() || !path.starts_with('/') {
        return Err(wrong());
    }
    let secret = SecretFile { resource, path: path.to_owned(), mode: DEFAULT_MODE };
    Ok(ContainerSecret { container: container.to_owned(), secret })
}

fn yaml_files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error: std::io::Error| {
        let message = format!("failed to read {}: {error}", folder.display());
        Failure::new("file", message, "check the path and its permissions")
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        if matches!(ending, Some("yaml" | "yml" | "json")) && path.is_file() {
            files.push(path);
        }
    }
    if files.is_empty() {
        let message = format!("{} holds no .yaml, .yml or .json file", folder.display());
        return Err(Failure::new("file", message, "give the folder that is meant"));
    }
    files.sort();
    Ok(files)
}

/// Most characters of a key's name.
const MAX_NAME: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_named_after_their_files() {
        for (path, name) in [
            ("keys/team.pub", "team"),
            ("Cosign_2026.pem", "cosign-2026"),
            ("/a/b", "b"),
            ("...", "owner"),
        ] {
            assert_eq!(key_name(Path::new(path)), name, "{path}");
        }
        let keys = |list: &[&str]| {
            let list: Vec<String> = list.iter().map(|text| (*text).to_owned()).collect();
            signature_rules(&list)
                .map(|keys| keys.into_iter().map(|k| (k.images, k.name)).collect())
        };
        let expected =
            vec![(String::new(), "any".to_owned()), ("reg.example".to_owned(), "team".to_owned())];
        let found: Result<Vec<_>, Failure> = keys(&["any.pub", "reg.example=team.pub"]);
        assert_eq!(found.unwrap(), expected);
        let twice: Result<Vec<_>, Failure> = keys(&["a/x.pub", "reg.example=b/x.pub"]);
        assert!(twice.is_err());
        let same: Result<Vec<_>, Failure> = keys(&["a.pub", "b.pub"]);
        assert!(same.is_err());
    }

    #[test]
    fn secrets_name_container_path_and_resource() {
        let read =
            |key: &str, value: &str| secret(&Pair { key: key.to_owned(), value: value.to_owned() });
        let good = read("web:/run/x", "kbs:///a/b/c").unwrap();
        assert_eq!((good.container.as_str(), good.secret.path.as_str()), ("web", "/run/x"));
        for (key, value) in [
            ("web", "kbs:///a/b/c"),
            (":/run/x", "kbs:///a/b/c"),
            ("web:run/x", "kbs:///a/b/c"),
            ("web:/run/x", "a/b/c"),
        ] {
            assert!(read(key, value).is_err(), "{key}={value}");
        }
    }
}
