// SPDX-License-Identifier: Apache-2.0
//! Derives apt sources for other suites from the machine's own.
//!
//! Source: `sources.list(5)`. The machine says where its Debian archive is and which keys sign it;
//! only suites and components change.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use super::FetchError;

/// Sources to try: one archive of the machine, asked for other suites, and its security updates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// The files of a private source folder.
    pub(super) files: Vec<SourceFile>,
    /// Where the machine keeps the archive's original.
    pub(super) origin: String,
}

/// A file for apt's source folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SourceFile {
    /// Ending of its name, by which apt tells the two forms apart.
    pub(super) ending: &'static str,
    /// Its contents.
    pub(super) text: String,
}

/// The machine's sources of its own Debian release, rewritten for the given suites.
pub(super) fn candidates(suites: &[&str]) -> Result<Vec<Candidate>, FetchError> {
    let os_release = read(Path::new("/etc/os-release"))?;
    let Some(codename) = field(&os_release, "VERSION_CODENAME") else { return Ok(Vec::new()) };
    let files = source_files()?;
    let security_suite = format!("{codename}-security");
    let security = rewrite_all(&files, &security_suite, &[&security_suite])?;
    let security: Vec<_> = security.into_iter().map(|(_, file)| file).collect();
    let archives = rewrite_all(&files, codename, suites)?;
    let with_security = archives.into_iter().map(|(origin, archive)| {
        let files = std::iter::once(archive).chain(security.iter().cloned()).collect();
        Candidate { files, origin }
    });
    Ok(with_security.collect())
}

/// Paths of all files in which the machine may keep sources.
fn source_files() -> Result<Vec<PathBuf>, FetchError> {
    let mut files = Vec::new();
    let parts = Path::new("/etc/apt/sources.list.d");
    match fs::read_dir(parts) {
        Ok(entries) => {
            for entry in entries {
                files.push(entry.map_err(FetchError::file(parts))?.path());
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(FetchError::file(parts)(error)),
    }
    files.sort();
    files.insert(0, Path::new("/etc/apt/sources.list").to_owned());
    Ok(files)
}

/// Rewrites the main archives of one suite for others, with the path of each original.
fn rewrite_all(
    files: &[PathBuf],
    suite: &str,
    suites: &[&str],
) -> Result<Vec<(String, SourceFile)>, FetchError> {
    let mut rewritten: Vec<(String, SourceFile)> = Vec::new();
    for path in files {
        let rewrite = match path.extension().and_then(|extension| extension.to_str()) {
            Some("sources") => rewrite_stanzas,
            Some("list") => rewrite_lines,
            _ => continue,
        };
        for file in rewrite(&read(path)?, suite, suites) {
            if !rewritten.iter().any(|(_, known)| *known == file) {
                rewritten.push((path.display().to_string(), file));
            }
        }
    }
    Ok(rewritten)
}

/// Rewrites the stanzas of a `.sources` file that are the release's main archive.
fn rewrite_stanzas(text: &str, suite: &str, suites: &[&str]) -> Vec<SourceFile> {
    let mut stanzas = vec![Vec::new()];
    for line in text.lines() {
        if line.trim().is_empty() {
            stanzas.push(Vec::new());
        } else if let Some(stanza) = stanzas.last_mut()
            && !line.starts_with('#')
        {
            stanza.push(line);
        }
    }
    stanzas.iter().filter_map(|stanza| rewrite_stanza(stanza, suite, suites)).collect()
}

fn rewrite_stanza(stanza: &[&str], suite: &str, suites: &[&str]) -> Option<SourceFile> {
    // A field goes on over lines that start with a blank.
    let mut fields: Vec<(&str, String)> = Vec::new();
    for line in stanza {
        if line.starts_with([' ', '\t']) {
            let (_, value) = fields.last_mut()?;
            value.push('\n');
            value.push_str(line);
        } else {
            let (key, value) = line.split_once(':')?;
            fields.push((key.trim(), value.trim().to_owned()));
        }
    }
    let words = |key: &str| -> Vec<&str> {
        fields
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(key))
            .flat_map(|(_, value)| value.split_whitespace())
            .collect()
    };
    let enabled = !words("Enabled").iter().any(|word| word.eq_ignore_ascii_case("no"));
    let wanted = enabled
        && words("Types").contains(&"deb")
        && words("Suites").contains(&suite)
        && words("Components").contains(&"main");
    if !wanted {
        return None;
    }
    let mut text = String::new();
    for (key, value) in &fields {
        let value = match key.to_ascii_lowercase().as_str() {
            "types" => "deb",
            "suites" => &suites.join(" "),
            "components" => "main",
            _ => value.as_str(),
        };
        text.push_str(&format!("{key}: {value}\n"));
    }
    Some(SourceFile { ending: "sources", text })
}

/// Rewrites the lines of a `.list` file that are the release's main archive.
fn rewrite_lines(text: &str, suite: &str, suites: &[&str]) -> Vec<SourceFile> {
    text.lines().filter_map(|line| rewrite_line(line, suite, suites)).collect()
}

fn rewrite_line(line: &str, suite: &str, suites: &[&str]) -> Option<SourceFile> {
    let line = line.split('#').next().unwrap_or_default().trim();
    let rest = line.strip_prefix("deb")?;
    if !rest.starts_with([' ', '\t', '[']) {
        return None; // deb-src
    }
    let rest = rest.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => {
            rest.split_once(']').map(|(options, rest)| (format!("[{options}] "), rest))?
        }
        None => (String::new(), rest),
    };
    let mut words = rest.split_whitespace();
    let (uri, found) = (words.next()?, words.next()?);
    // Installation media have no other suites.
    if found != suite || uri.starts_with("cdrom:") || !words.any(|word| word == "main") {
        return None;
    }
    let lines = suites.iter().map(|suite| format!("deb {options}{uri} {suite} main\n"));
    Some(SourceFile { ending: "list", text: lines.collect() })
}

/// The value of a `KEY=value` line.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut lines = text.lines().filter_map(|line| line.split_once('='));
    lines.find(|(known, _)| *known == key).map(|(_, value)| value.trim_matches(['"', '\'']))
}

fn read(path: &Path) -> Result<String, FetchError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(FetchError::file(path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUITES: &[&str] = &["backports", "sid"];

    fn texts(files: Vec<SourceFile>) -> Vec<String> {
        files.into_iter().map(|file| file.text).collect()
    }

    #[test]
    fn rewrites_deb822_stanzas() {
        let text = "\
# a comment
Types: deb deb-src
URIs: http://archive.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 key
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
URIs: http://archive.example/debian-security
Suites: bookworm-security
Components: main

Types: deb
URIs: http://archive.example/debian
Suites: bookworm
Components: main
Enabled: no

Types: deb-src
URIs: http://archive.example/debian
Suites: bookworm
Components: main
";
        let expected = "\
Types: deb
URIs: http://archive.example/debian
Suites: backports sid
Components: main
Signed-By: 
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 key
 -----END PGP PUBLIC KEY BLOCK-----
";
        assert_eq!(texts(rewrite_stanzas(text, "bookworm", SUITES)), [expected]);
    }

    #[test]
    fn rewrites_one_line_sources() {
        let text = "\
# deb http://off.example/debian bookworm main
deb cdrom:[Debian 12]/ bookworm main
deb http://archive.example/debian/ bookworm main non-free-firmware # installer
deb-src http://archive.example/debian/ bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/a.gpg] https://b.example/debian bookworm main
deb http://archive.example/debian/ bookworm-updates main
deb https://tools.example/apt bookworm stable
deb
";
        assert_eq!(
            texts(rewrite_lines(text, "bookworm", SUITES)),
            [
                "deb http://archive.example/debian/ backports main\n\
                 deb http://archive.example/debian/ sid main\n",
                "deb [arch=amd64 signed-by=/usr/share/keyrings/a.gpg] https://b.example/debian backports main\n\
                 deb [arch=amd64 signed-by=/usr/share/keyrings/a.gpg] https://b.example/debian sid main\n",
            ]
        );
    }

    #[test]
    fn ignores_what_is_malformed() {
        for text in
            ["", "\n\n", "Types deb\n", " continued: yes\n", "Types: deb\n", "deb [arch=amd64"]
        {
            assert!(rewrite_stanzas(text, "bookworm", SUITES).is_empty());
            assert!(rewrite_lines(text, "bookworm", SUITES).is_empty());
        }
    }

    #[test]
    fn reads_the_codename() {
        let text = "NAME=\"Debian\"\nVERSION_CODENAME=bookworm\n";
        assert_eq!(field(text, "VERSION_CODENAME"), Some("bookworm"));
        assert_eq!(field(text, "NAME"), Some("Debian"));
        assert_eq!(field(text, "VERSION"), None);
    }
}
