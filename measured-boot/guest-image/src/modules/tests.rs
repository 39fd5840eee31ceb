// SPDX-License-Identifier: Apache-2.0
use std::io::Write;

use lzma_rust2::XzOptions;
use lzma_rust2::XzWriter;

use super::*;

const RELEASE: &str = "6.12.1-cloud";

/// A tree of modules in a temporary folder.
struct Tree {
    folder: tempfile::TempDir,
}

impl Tree {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("kernel/drivers/net")).unwrap();
        fs::write(folder.path().join("modules.builtin"), "kernel/lib/built-in.ko\n").unwrap();
        Self { folder }
    }

    fn with(self, file: &str, name: &str, depends: &str) -> Self {
        self.with_info(file, &format!("name={name}\0depends={depends}\0vermagic={RELEASE} SMP\0"))
    }

    fn with_info(self, file: &str, info: &str) -> Self {
        let module = [module_file(info.as_bytes()).as_slice(), b"sig", SIGNATURE_MARK].concat();
        self.with_bytes(file, &xz(&module))
    }

    fn with_bytes(self, file: &str, bytes: &[u8]) -> Self {
        fs::write(self.folder.path().join("kernel").join(file), bytes).unwrap();
        self
    }

    fn select(&self, names: &[&str]) -> Result<Vec<String>, ModuleError> {
        let modules = ModuleTree::open(self.folder.path(), RELEASE)?.select(names)?;
        Ok(modules.into_iter().map(|module| module.file_name).collect())
    }
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut writer = XzWriter::new(Vec::new(), XzOptions::with_preset(0)).unwrap();
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

/// The least ELF object with a `.modinfo` section: header, section data, names, three sections.
fn module_file(info: &[u8]) -> Vec<u8> {
    const NAMES: &[u8] = b"\0.modinfo\0.shstrtab\0";
    let names_at = 64 + info.len();
    let sections_at = (names_at + NAMES.len()).next_multiple_of(8);
    let mut file = Vec::new();
    file.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    file.extend([1, 0, 62, 0, 1, 0, 0, 0]); // relocatable, x86-64, version 1
    file.extend([0; 16]); // no entry, no segments
    file.extend(u64::try_from(sections_at).unwrap().to_le_bytes());
    file.extend([0, 0, 0, 0, 64, 0, 0, 0, 0, 0, 64, 0, 3, 0, 2, 0]);
    file.extend(info);
    file.extend(NAMES);
    file.resize(sections_at, 0);
    let mut section = |name: u32, kind: u32, at: usize, size: usize| {
        file.extend(name.to_le_bytes());
        file.extend(kind.to_le_bytes());
        file.extend([0; 16]);
        file.extend(u64::try_from(at).unwrap().to_le_bytes());
        file.extend(u64::try_from(size).unwrap().to_le_bytes());
        file.extend([0; 24]);
    };
    section(0, 0, 0, 0);
    section(1, 1, 64, info.len());
    section(10, 3, names_at, NAMES.len());
    file
}

#[test]
fn needed_modules_come_first_and_once() {
    let tree = Tree::new()
        .with("drivers/net/virtio_net.ko.xz", "virtio_net", "net-failover,built-in")
        .with("drivers/net/net-failover.ko.xz", "net_failover", "failover")
        .with("failover.ko.xz", "failover", "")
        .with("unrelated.ko.xz", "unrelated", "");
    assert_eq!(
        tree.select(&["virtio_net", "failover"]).unwrap(),
        ["failover.ko.xz", "net-failover.ko.xz", "virtio_net.ko.xz"]
    );
    assert_eq!(tree.select(&["built_in"]).unwrap(), Vec::<String>::new());
}

#[test]
fn refuses_what_cannot_be_loaded() {
    let missing = Tree::new().with("a.ko.xz", "a", "b");
    assert!(matches!(missing.select(&["a"]), Err(ModuleError::Missing { name }) if name == "b"));

    let cycle = Tree::new().with("a.ko.xz", "a", "b").with("b.ko.xz", "b", "a");
    assert!(matches!(cycle.select(&["a"]), Err(ModuleError::Cycle { name }) if name == "a"));

    let info = "name=a\0depends=\0vermagic=6.1.0 SMP\0";
    let other = Tree::new().with_info("a.ko.xz", info).select(&["a"]);
    assert!(matches!(other, Err(ModuleError::OtherKernel { release, .. }) if release == "6.1.0"));

    let renamed = Tree::new().with("a.ko.xz", "b", "").select(&["a"]);
    assert!(matches!(renamed, Err(ModuleError::OtherName { .. })), "{renamed:?}");

    let unsigned = xz(&module_file(b"name=a\0"));
    let unsigned = Tree::new().with_bytes("a.ko.xz", &unsigned).select(&["a"]);
    assert!(matches!(unsigned, Err(ModuleError::NotSigned { .. })), "{unsigned:?}");

    let plain = Tree::new().with_bytes("a.ko.xz", b"not xz").select(&["a"]);
    assert!(matches!(plain, Err(ModuleError::Unpack { .. })), "{plain:?}");

    let no_module = xz(&[b"not ELF", SIGNATURE_MARK].concat());
    let no_module = Tree::new().with_bytes("a.ko.xz", &no_module).select(&["a"]);
    assert!(matches!(no_module, Err(ModuleError::Malformed { .. })), "{no_module:?}");

    let twice = Tree::new().with("a.ko.xz", "a", "").with("drivers/a.ko", "a", "").select(&["a"]);
    assert!(matches!(twice, Err(ModuleError::Unexpected { .. })), "{twice:?}");

    let empty = tempfile::tempdir().unwrap();
    let absent = ModuleTree::open(empty.path(), RELEASE);
    assert!(matches!(absent, Err(ModuleError::Read { .. })), "{absent:?}");
}

#[test]
fn damaged_modules_never_panic() {
    let module = module_file(format!("name=a\0depends=\0vermagic={RELEASE} SMP\0").as_bytes());
    assert_eq!(elf::module_info(&module).unwrap()["name"], "a");
    for length in 0..module.len() {
        assert!(elf::module_info(&module[..length]).is_err(), "accepted at {length}");
    }
    for position in 0..module.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut mutated = module.clone();
            mutated[position] ^= flip;
            let _ = elf::module_info(&mutated);
            let _ = elf::check_static_program(&mutated);
        }
    }
}
