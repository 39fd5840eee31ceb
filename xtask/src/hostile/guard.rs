// SPDX-License-Identifier: Apache-2.0
//! Finds a function of the workspace by its path.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::ensure;
use serde_json::Value;
use syn::ImplItem;
use syn::Item;

use crate::step;

/// The workspace's crates, each with the file that it begins in.
pub(super) struct Crates(BTreeMap<String, PathBuf>);

/// Where a function is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: PathBuf,
    /// The byte behind the brace that opens its body.
    pub(super) body: usize,
}

impl Crates {
    pub(super) fn read(workspace: &Path) -> anyhow::Result<Self> {
        let mut metadata = step::cargo();
        metadata.current_dir(workspace);
        metadata.args(["metadata", "--locked", "--no-deps", "--format-version", "1"]);
        let json: Value =
            serde_json::from_str(&step::quiet(metadata)?).context("read cargo metadata")?;
        let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned();
        let mut crates = BTreeMap::new();
        for package in list(json.get("packages")).unwrap_or_default() {
            let name = package.get("name").and_then(Value::as_str).context("a package's name")?;
            let targets = list(package.get("targets")).unwrap_or_default();
            let kind = |wanted: &str| {
                let is_wanted = |target: &&Value| {
                    list(target.get("kind")).is_some_and(|kinds| kinds.iter().any(|k| k == wanted))
                };
                targets.iter().find(is_wanted)
            };
            let root = kind("lib").or_else(|| kind("bin"));
            if let Some(path) = root.and_then(|t| t.get("src_path")).and_then(Value::as_str) {
                crates.insert(name.replace('-', "_"), PathBuf::from(path));
            }
        }
        Ok(Self(crates))
    }

    /// The one function of this path: modules, then perhaps a type, then its name.
    ///
    /// # Errors
    ///
    /// When there is none or more than one, or when it cannot be switched off.
    pub(super) fn find(&self, path: &str) -> anyhow::Result<Place> {
        let mut segments = path.split("::");
        let krate = segments.next().unwrap_or_default();
        let root = self.0.get(krate).with_context(|| format!("{path}: no crate {krate}"))?;
        let segments: Vec<&str> = segments.collect();
        let mut found = Vec::new();
        let module = Module { file: root.clone(), children: folder_of(root, true) };
        search_file(&module, &segments, &mut found)?;
        ensure!(found.len() == 1, "{path}: {} functions of this path", found.len());
        let (place, is_const) = found.remove(0);
        ensure!(!is_const, "{path}: is const, so it cannot look at the environment");
        Ok(place)
    }
}

/// A file, and the folder in which its modules lie.
struct Module {
    file: PathBuf,
    children: PathBuf,
}

fn search_file(
    module: &Module,
    segments: &[&str],
    found: &mut Vec<(Place, bool)>,
) -> anyhow::Result<()> {
    let text = fs::read_to_string(&module.file)
        .with_context(|| format!("read {}", module.file.display()))?;
    let file =
        syn::parse_file(&text).with_context(|| format!("parse {}", module.file.display()))?;
    search(&file.items, module, segments, found)
}

fn search(
    items: &[Item],
    module: &Module,
    segments: &[&str],
    found: &mut Vec<(Place, bool)>,
) -> anyhow::Result<()> {
    let place = |block: &syn::Block| Place {
        file: module.file.clone(),
        body: block.brace_token.span.open().byte_range().end,
    };
    for item in items {
        match (item, segments) {
            (Item::Fn(function), [name]) if function.sig.ident == name => {
                let is_const = function.sig.constness.is_some();
                found.push((place(&function.block), is_const));
            }
            (Item::Impl(block), [of, name]) if is_type(&block.self_ty, of) => {
                for item in &block.items {
                    if let ImplItem::Fn(method) = item
                        && method.sig.ident == name
                    {
                        found.push((place(&method.block), method.sig.constness.is_some()));
                    }
                }
            }
            (Item::Mod(inner), [name, rest @ ..])
                if inner.ident == name && !rest.is_empty() && !is_for_tests(&inner.attrs) =>
            {
                let children = module.children.join(name);
                match &inner.content {
                    Some((_, items)) => {
                        let inline = Module { file: module.file.clone(), children };
                        search(items, &inline, rest, found)?;
                    }
                    None => {
                        let beside = module.children.join(format!("{name}.rs"));
                        let file = if beside.is_file() { beside } else { children.join("mod.rs") };
                        search_file(&Module { file, children }, rest, found)?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Where the modules of a file lie: beside a crate's first file, else in the folder of its name.
fn folder_of(file: &Path, is_root: bool) -> PathBuf {
    if is_root {
        file.parent().map(PathBuf::from).unwrap_or_default()
    } else {
        file.with_extension("")
    }
}

fn is_type(of: &syn::Type, name: &str) -> bool {
    match of {
        syn::Type::Path(path) => path.path.segments.last().is_some_and(|s| s.ident == name),
        _ => false,
    }
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|condition| condition == "test")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crates(files: &[(&str, &str)]) -> (tempfile::TempDir, Crates) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let root = folder.path().join("lib.rs");
        let crates = Crates(BTreeMap::from([("one".to_owned(), root)]));
        (folder, crates)
    }

    #[test]
    fn finds_functions_methods_and_inline_modules() {
        let deep = "// ä\nstruct T; impl T { fn go(&self) -> bool { false } }\nfn go() { }";
        let (folder, crates) = crates(&[
            ("lib.rs", "mod a; mod i { pub fn x() {} } fn top() -> u8 { 1 }"),
            ("a.rs", "mod b; #[cfg(test)] mod tests { fn t() {} }"),
            ("a/b.rs", deep),
        ]);
        let place = crates.find("one::a::b::T::go").unwrap();
        assert_eq!(place.file, folder.path().join("a/b.rs"));
        assert!(deep[..place.body].ends_with("-> bool {"));
        assert!(deep[..crates.find("one::a::b::go").unwrap().body].ends_with("fn go() {"));
        for path in ["one::top", "one::i::x"] {
            crates.find(path).unwrap();
        }
        for path in ["two::x", "one::x", "one::a::tests::t", "one::a", "one::a::b::T::stop"] {
            assert!(crates.find(path).is_err(), "{path}");
        }
    }

    #[test]
    fn refuses_what_is_there_twice_or_const() {
        let twice = "struct T; impl A for T { fn f() {} } impl B for T { fn f() {} }";
        let (_folder, crates) = crates(&[("lib.rs", &format!("{twice} const fn c() {{}}"))]);
        assert!(crates.find("one::T::f").is_err());
        assert!(crates.find("one::c").is_err());
    }
}
