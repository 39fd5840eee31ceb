// SPDX-License-Identifier: Apache-2.0
//! The guest image as a set of files: the same bytes everywhere, and nothing in it that need not be.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may panic"
)]

mod fixtures;

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroU16;
use std::path::Path;

use casemate_boot_formats::tdvf::Tdvf;
use casemate_guest_image::BuildError;
use casemate_guest_image::BuildInputs;
use casemate_guest_image::Crate;
use casemate_guest_image::Difference;
use casemate_guest_image::ElfError;
use casemate_guest_image::GuestImage;
use casemate_guest_image::ImageTee;
use casemate_guest_image::Kind;
use casemate_guest_image::KindName;
use casemate_guest_image::Manifest;
use casemate_guest_image::ModuleError;
use casemate_guest_image::OutputError;
use casemate_guest_image::ReadError;
use casemate_guest_image::ReferenceValues;
use casemate_guest_image::SBOM_FILE;
use casemate_guest_image::Sha256;
use casemate_guest_image::build;
use casemate_guest_image::inputs::Lock;
use casemate_guest_image::verify;
use casemate_guest_image::verify_reference_values;
use casemate_launch_digest::GuestFeatures;
use casemate_launch_digest::SnpLaunch;
use casemate_launch_digest::plan::TdParams;
use casemate_launch_digest::plan::TdxInputs;
use casemate_launch_digest::tdx::MrtdForm;

#[test]
fn two_builds_in_different_folders_are_equal() {
    let Some(debian) = fixtures::debian() else { return };
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let probe = fixtures::compile_probe(here.path());
    let out = here.path().join("image");
    build(&fixtures::build_inputs(&debian, &probe, Kind::Production), &out).unwrap();

    // The same inputs under other paths, with other times and permissions.
    let copy = |from: &Path, name: &str| {
        let to = there.path().join(name);
        fs::write(&to, fs::read(from).unwrap()).unwrap();
        to
    };
    let (firmware, kernel) = (copy(&debian.firmware, "f"), copy(&debian.kernel, "k"));
    let agent = copy(&probe, "a");
    let elsewhere = BuildInputs {
        firmware: &firmware,
        kernel: &kernel,
        agent: &agent,
        ..fixtures::build_inputs(&debian, &probe, Kind::Production)
    };
    let other = there.path().join("deeper/image");
    build(&elsewhere, &other).unwrap();

    let digests = |folder: &Path| -> BTreeMap<String, Sha256> {
        fs::read_dir(folder)
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                (name, Sha256::of(&fs::read(path).unwrap()))
            })
            .collect()
    };
    assert_eq!(digests(&out), digests(&other));
    assert_eq!(digests(&out).len(), 8);
}

#[test]
fn production_holds_the_agent_and_modules_only() {
    let Some(debian) = fixtures::debian() else { return };
    let folder = tempfile::tempdir().unwrap();
    let agent = fixtures::compile_probe(folder.path());
    // The device is another program: the same one with a byte more.
    let device = folder.path().join("device");
    fs::write(&device, [fs::read(&agent).unwrap(), vec![0]].concat()).unwrap();

    let read = |kind| {
        let out = folder.path().join("image");
        let manifest = build(&fixtures::build_inputs(&debian, &agent, kind), &out).unwrap();
        let image = GuestImage::read(&out).unwrap();
        assert_eq!(image.manifest, manifest);
        let files = unpack(&image.initramfs);
        // The manifest lists exactly what is in the archive.
        let listed = manifest.initramfs_files.iter().map(|file| (file.path.clone(), file.sha256));
        let found = files.iter().map(|(path, contents)| (path.clone(), Sha256::of(contents)));
        assert!(listed.eq(found));
        (manifest, files)
    };
    let (production, files) = read(Kind::Production);
    assert_eq!(production.kind, KindName::Production);
    let agent_bytes = fs::read(&agent).unwrap();
    assert_eq!(files["init"], agent_bytes);
    for (path, contents) in &files {
        // No shell, no software TEE: beside the agent there are only modules and their order.
        match path.as_str() {
            "init" => {}
            "lib/modules/load-order" => check_load_order(contents, &files),
            _ => {
                assert!(path.starts_with("lib/modules/") && path.ends_with(".ko.xz"), "{path}");
                assert!(contents.starts_with(b"\xfd7zXZ\0"), "{path}");
            }
        }
        assert!(!path.contains("cuse") && *contents != fs::read(&device).unwrap(), "{path}");
    }

    let (simulated, files) = read(Kind::Simulated { device: &device });
    assert_eq!(simulated.kind, KindName::Simulated);
    assert_eq!(files["casemate-agent"], agent_bytes, "the agents differ");
    assert_eq!(files["init"], fs::read(&device).unwrap());
    assert_eq!(files["lib/modules-sim/load-order"], b"cuse.ko.xz\n");
    // Another initramfs, hence another launch digest; the rest is the same.
    for part in Manifest::PARTS {
        let same = production.parts[part] == simulated.parts[part];
        assert_eq!(same, part != "initramfs", "{part}");
    }
}

/// The claim of the two guest images that `cargo xtask` builds: a simulated guest runs production's
/// agent to the byte, beside files that production does not have.
#[test]
fn the_built_images_hold_the_same_agent_and_kernel_modules() {
    let Some(guest) = fixtures::built_images() else { return };
    let read = |name: &str, kind| {
        let image = GuestImage::read(&guest.join(name)).unwrap();
        assert_eq!(image.manifest.kind, kind);
        (unpack(&image.initramfs), image.manifest.parts)
    };
    let (production, parts) = read("production", KindName::Production);
    let (mut simulated, simulated_parts) = read("sim", KindName::Simulated);

    let device = simulated.remove("init").unwrap();
    let agent = simulated.remove("casemate-agent").unwrap();
    assert_eq!(Sha256::of(&agent), Sha256::of(&production["init"]), "the agents differ");
    assert!(agent == production["init"]);
    let modules = |files: &BTreeMap<String, Vec<u8>>, folder: &str| -> BTreeMap<_, _> {
        let inside = files.iter().filter(|(path, _)| path.starts_with(folder));
        inside.map(|(path, contents)| (path.clone(), Sha256::of(contents))).collect()
    };
    assert_eq!(modules(&production, "lib/modules/"), modules(&simulated, "lib/modules/"));
    let extra = modules(&simulated, "lib/modules-sim/");
    let all = modules(&simulated, "lib/");
    assert_eq!(simulated.len(), all.len(), "a file in another place");
    assert_eq!(all.len(), extra.len() + modules(&production, "lib/").len());
    for part in [Manifest::CMDLINE, Manifest::CMDLINE_SMP, Manifest::FIRMWARE, Manifest::KERNEL] {
        assert_eq!(parts[part], simulated_parts[part], "{part}");
    }

    // No software TEE is compiled into the agent: nothing in it opens what makes a program a device.
    let knows = |program: &[u8]| program.windows(CUSE.len()).any(|window| window == CUSE);
    assert!(knows(&device), "the device no longer has this path in it: choose another mark");
    assert!(!knows(&agent));
}

/// The kernel's interface for devices whose driver is a program.
const CUSE: &[u8] = b"/dev/cuse";

/// Each listed file is there, each there is listed, and the network's driver stands behind what it
/// needs.
fn check_load_order(order: &[u8], files: &BTreeMap<String, Vec<u8>>) {
    let order: Vec<&str> = std::str::from_utf8(order).unwrap().lines().collect();
    let mut sorted = order.clone();
    sorted.sort_unstable();
    let mut present: Vec<&str> = files
        .keys()
        .filter_map(|path| path.strip_prefix("lib/modules/"))
        .filter(|name| *name != "load-order")
        .collect();
    present.sort_unstable();
    assert_eq!(sorted, present);
    let position = |name: &str| order.iter().position(|known| *known == name).unwrap();
    assert!(position("failover.ko.xz") < position("net_failover.ko.xz"));
    assert!(position("net_failover.ko.xz") < position("virtio_net.ko.xz"));
    assert!(position("configfs.ko.xz") < position("tsm.ko.xz"));
    assert!(position("tsm.ko.xz") < position("sev-guest.ko.xz"));
}

/// The regular files of a compressed newc archive, read independently of the builder.
fn unpack(initramfs: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let archive = zstd::decode_all(initramfs).unwrap();
    let mut files = BTreeMap::new();
    let mut at = 0;
    loop {
        let field = |index: usize| {
            let start = at + 6 + index * 8;
            let digits = std::str::from_utf8(&archive[start..start + 8]).unwrap();
            usize::from_str_radix(digits, 16).unwrap()
        };
        assert_eq!(&archive[at..at + 6], b"070701");
        let (mode, size, name_size) = (field(1), field(6), field(11));
        assert_eq!((field(2), field(3), field(5)), (0, 0, 0), "owner, group and time");
        let name = std::str::from_utf8(&archive[at + 110..at + 110 + name_size - 1]).unwrap();
        let start = (at + 110 + name_size).next_multiple_of(4);
        if name == "TRAILER!!!" {
            assert_eq!(archive.len(), start, "something stands behind the archive");
            return files;
        }
        if mode & 0o17_0000 == 0o10_0000 {
            files.insert(name.to_owned(), archive[start..start + size].to_vec());
        }
        at = (start + size).next_multiple_of(4);
    }
}

#[test]
fn refuses_inputs_that_make_no_measured_guest() {
    let Some(debian) = fixtures::debian() else { return };
    let folder = tempfile::tempdir().unwrap();
    let probe = fixtures::compile_probe(folder.path());
    let good = fixtures::build_inputs(&debian, &probe, Kind::Production);
    let out = folder.path().join("image");
    let refused = |inputs: &BuildInputs<'_>| {
        let error = build(inputs, &out).unwrap_err();
        assert!(!out.exists(), "a refused build left something behind");
        error
    };

    // E1: firmware that would start any kernel, made by renaming its hash table entry.
    let entry = [0x1f, 0x37, 0x55, 0x72, 0x3b, 0x3a, 0x04, 0x4b];
    let mut firmware = fs::read(&debian.firmware).unwrap();
    let at = firmware.windows(8).rposition(|window| window == entry).unwrap();
    firmware[at] ^= 1;
    let unmeasuring = folder.path().join("firmware");
    fs::write(&unmeasuring, firmware).unwrap();
    let error = refused(&BuildInputs { firmware: &unmeasuring, ..good.clone() });
    assert!(matches!(error, BuildError::Firmware { .. }), "{error:?}");

    let error = refused(&BuildInputs { kernel: &debian.firmware, ..good.clone() });
    assert!(matches!(error, BuildError::Kernel { .. }), "{error:?}");

    let error = refused(&BuildInputs { agent: &debian.kernel, ..good.clone() });
    assert!(matches!(error, BuildError::Program { .. }), "{error:?}");

    let dynamic_folder = tempfile::tempdir().unwrap();
    let dynamic = fixtures::compile_dynamic_probe(dynamic_folder.path());
    let error = refused(&BuildInputs { agent: &dynamic, ..good.clone() });
    let BuildError::Program { source: ElfError::NotStatic, .. } = error else {
        panic!("{error:?}");
    };

    let error = refused(&BuildInputs { modules: folder.path(), ..good.clone() });
    assert!(matches!(error, BuildError::Modules(ModuleError::Read { .. })), "{error:?}");

    let error = refused(&BuildInputs { agent: Path::new("/nonexistent"), ..good.clone() });
    assert!(matches!(error, BuildError::Input(_)), "{error:?}");

    // What lies in the place of the output and is no guest image stays.
    let taken = folder.path().join("taken");
    fs::create_dir(&taken).unwrap();
    fs::write(taken.join("precious"), "data").unwrap();
    let error = build(&good, &taken).unwrap_err();
    assert!(matches!(error, BuildError::Output(OutputError::Holds { .. })), "{error:?}");
    assert!(taken.join("precious").exists());
}

#[test]
fn verify_names_what_differs() {
    let Some(debian) = fixtures::debian() else { return };
    let folder = tempfile::tempdir().unwrap();
    let probe = fixtures::compile_probe(folder.path());
    let out = folder.path().join("image");
    build(&fixtures::build_inputs(&debian, &probe, Kind::Production), &out).unwrap();
    assert_eq!(verify(&out).unwrap(), []);

    fs::write(out.join("cmdline.txt"), "init=/bin/sh").unwrap();
    fs::remove_file(out.join("kernel")).unwrap();
    fs::write(out.join("extra"), "").unwrap();
    let differences = verify(&out).unwrap();
    assert!(
        matches!(
            differences.as_slice(),
            [
                Difference::Changed { part, found, .. },
                Difference::Missing { part: missing },
                Difference::Unexpected { name },
            ] if part == "cmdline.txt" && found.size == 12 && missing == "kernel" && name == "extra"
        ),
        "{differences:?}"
    );
    let refused = GuestImage::read(&out);
    assert!(matches!(refused, Err(ReadError::File { .. })), "{refused:?}");
    fs::copy(&debian.kernel, out.join("kernel")).unwrap();
    let refused = GuestImage::read(&out);
    assert!(matches!(refused, Err(ReadError::Changed { part: "cmdline.txt" })), "{refused:?}");
}

#[test]
fn reference_values_and_bill_of_materials_lie_beside_the_image() {
    let Some(debian) = fixtures::debian() else { return };
    let folder = tempfile::tempdir().unwrap();
    let probe = fixtures::compile_probe(folder.path());
    let out = folder.path().join("image");
    let crates = [Crate {
        name: "example".to_owned(),
        version: "1.0.0+build".to_owned(),
        license: Some("MIT".to_owned()),
        published: true,
        needs: Vec::new(),
        library: None,
    }];
    let inputs = fixtures::build_inputs(&debian, &probe, Kind::Production);
    build(&BuildInputs { crates: &crates, ..inputs }, &out).unwrap();

    let image = GuestImage::read(&out).unwrap();
    let text = fs::read_to_string(out.join(ReferenceValues::FILE)).unwrap();
    let values: ReferenceValues = serde_json::from_str(&text).unwrap();
    assert_eq!(values.parts, image.manifest.parts);
    let milan = values.snp.iter().find(|v| v.vcpu_types.contains(&"EPYC-Milan".to_owned()));
    let milan = milan.unwrap();
    assert_eq!(milan.launch_digests.len(), 255);
    for vcpus in [1, 2, 255].map(|count| NonZeroU16::new(count).unwrap()) {
        let launch = SnpLaunch {
            firmware: &image.firmware,
            hashes: Some(image.hashes(vcpus).unwrap()),
            vcpu_type: "EPYC-Milan".parse().unwrap(),
            features: GuestFeatures::SNP,
        };
        let digest = launch.digest(vcpus).unwrap().to_string();
        assert_eq!(milan.launch_digests[usize::from(vcpus.get()) - 1], digest);
    }
    assert!(verify_reference_values(&out).unwrap());
    fs::write(out.join(ReferenceValues::FILE), text.replacen('0', "1", 1)).unwrap();
    assert!(!verify_reference_values(&out).unwrap());
    fs::write(out.join(ReferenceValues::FILE), &text).unwrap();
    // Descriptions are covered too.
    let bill = fs::read_to_string(out.join(SBOM_FILE)).unwrap();
    fs::write(out.join(SBOM_FILE), "{}").unwrap();
    assert!(!verify_reference_values(&out).unwrap());
    fs::write(out.join(SBOM_FILE), bill).unwrap();
    assert!(verify_reference_values(&out).unwrap());

    let bill = fs::read_to_string(out.join(SBOM_FILE)).unwrap();
    let bill: serde_json::Value = serde_json::from_str(&bill).unwrap();
    let components = bill["components"].as_array().unwrap();
    let named = |name: &str| components.iter().find(|c| c["name"] == name).unwrap();
    let agent = Sha256::of(&fs::read(&probe).unwrap()).to_string();
    assert_eq!(named("init")["hashes"][0]["content"], agent);
    assert_eq!(named("example")["purl"], "pkg:cargo/example@1.0.0%2Bbuild");
    let firmware = &debian.lock.firmware;
    assert_eq!(named(&firmware.package)["hashes"][0]["content"], firmware.sha256.to_string());
    // References are unique, as the format demands.
    let references: std::collections::HashSet<_> =
        components.iter().map(|c| c["bom-ref"].as_str().unwrap()).collect();
    assert_eq!(references.len(), components.len());

    // Each is in the tree of dependencies, which begins at the image and names nothing else.
    let root = bill["metadata"]["component"]["bom-ref"].as_str().unwrap();
    let tree = dependencies(&bill);
    assert_eq!(tree.len(), components.len() + 1);
    assert!(references.iter().all(|reference| tree.contains_key(reference)));
    assert!(tree.values().flatten().all(|reference| references.contains(reference)));
    assert!(tree[root].contains("part:initramfs"), "{:?}", tree[root]);
    assert!(tree["part:initramfs"].contains("initramfs:init"), "{tree:?}");
    let firmware = named(&firmware.package)["bom-ref"].as_str().unwrap();
    assert!(tree["part:firmware.fd"].contains(firmware), "{tree:?}");
    let std = named("rust-std")["bom-ref"].as_str().unwrap();
    assert!(tree["initramfs:init"].contains(std), "{tree:?}");
}

/// What the bill of the built production image says of the agent, beside its crates; and what the
/// linker is offered besides and takes nothing of: libelf and zlib, for a part of libbpf that is not
/// used.
#[test]
fn the_bill_of_the_built_image_names_the_libraries_in_the_agent() {
    let Some(images) = fixtures::built_images() else { return };
    let bill = fs::read_to_string(images.join("production").join(SBOM_FILE)).unwrap();
    let bill: serde_json::Value = serde_json::from_str(&bill).unwrap();
    let components = bill["components"].as_array().unwrap();
    let reference = |start: &str| {
        let mut found = components.iter().filter_map(|component| component["bom-ref"].as_str());
        let found = found.find(|reference| reference.starts_with(start));
        found.unwrap_or_else(|| panic!("{start} is not in the bill"))
    };
    let tree = dependencies(&bill);
    for needed in [
        "pkg:deb/debian/libc6-dev@2.",
        "pkg:deb/debian/libgcc-12-dev@12.",
        "library:rust-std",
        "pkg:cargo/casemate-agent@",
    ] {
        assert!(tree["initramfs:init"].contains(reference(needed)), "{needed}");
    }
    let libseccomp = reference("pkg:deb/debian/libseccomp-dev@2.");
    assert!(tree[reference("pkg:cargo/libseccomp-sys@")].contains(libseccomp));
    // Every crate is reached from the agent.
    let mut reached = std::collections::BTreeSet::from([reference("pkg:cargo/casemate-agent@")]);
    let mut waiting: Vec<_> = reached.iter().copied().collect();
    while let Some(next) = waiting.pop() {
        waiting.extend(tree[next].iter().copied().filter(|more| reached.insert(more)));
    }
    let crates = components.iter().filter_map(|component| component["bom-ref"].as_str());
    let crates: Vec<_> = crates.filter(|found| found.starts_with("pkg:cargo/")).collect();
    assert!(crates.len() > 100 && crates.iter().all(|found| reached.contains(found)));

    let image = GuestImage::read(&images.join("production")).unwrap();
    let agent = &unpack(&image.initramfs)["init"];
    let holds = |text: &[u8]| agent.windows(text.len()).any(|window| window == text);
    assert!(holds(b"GNU C Library (") && holds(b"filter for syscall"));
    for foreign in [&b"invalid `Elf' handle"[..], b"inflate 1.", b"incorrect header check"] {
        assert!(!holds(foreign), "{}", String::from_utf8_lossy(foreign));
    }
}

/// What each component is made of.
fn dependencies(bill: &serde_json::Value) -> BTreeMap<&str, std::collections::BTreeSet<&str>> {
    let list = bill["dependencies"].as_array().unwrap();
    let tree: BTreeMap<_, _> = list
        .iter()
        .map(|entry| {
            let made_of = entry["dependsOn"].as_array().unwrap();
            let made_of = made_of.iter().map(|reference| reference.as_str().unwrap()).collect();
            (entry["ref"].as_str().unwrap(), made_of)
        })
        .collect();
    assert_eq!(tree.len(), list.len());
    tree
}

#[test]
fn a_tdx_image_has_its_own_firmware_command_line_and_reference_values() {
    let folder = tempfile::tempdir().unwrap();
    let Some(debian) = fixtures::debian_tdx(folder.path()) else { return };
    let probe = fixtures::compile_probe(folder.path());
    let out = folder.path().join("image");
    build(&fixtures::build_inputs(&debian, &probe, Kind::Production), &out).unwrap();
    let image = GuestImage::read(&out).unwrap();

    assert!(image.cmdline.starts_with(b"casemate.tee=tdx "));
    assert_eq!(image.cmdline, image.cmdline_smp);
    // The drivers of either TEE are in every image, and the agent is the same.
    let files = unpack(&image.initramfs);
    assert_eq!(files["init"], fs::read(&probe).unwrap());
    for module in ["configfs", "tsm", "tdx-guest", "sev-guest"] {
        assert!(files.contains_key(&format!("lib/modules/{module}.ko.xz")), "{module}");
    }

    // Of the firmware, nothing but variables is gone, and MRTD is that of the package.
    let original = fs::read(&debian.firmware).unwrap();
    assert_ne!(image.firmware, original);
    let pairs = || image.firmware.iter().zip(&original);
    assert!(pairs().all(|(new, old)| new == old || *new == 0xff));
    let gone = pairs().filter(|(new, old)| new != old).count();
    assert!((30_000..40_000).contains(&gone), "{gone} bytes of keys");
    let mrtd = |firmware: &[u8], form| {
        let tdvf = Tdvf::parse(firmware).unwrap();
        let inputs = TdxInputs { tdvf, params: TdParams::default(), vcpus: NonZeroU16::MIN };
        inputs.plan().unwrap().mrtd(form).to_string()
    };
    let text = fs::read_to_string(out.join(ReferenceValues::FILE)).unwrap();
    let values: ReferenceValues = serde_json::from_str(&text).unwrap();
    assert!(values.snp.is_empty());
    let tdx = values.tdx.unwrap();
    assert_eq!(tdx.mrtd, mrtd(&original, MrtdForm::SinglePass));
    assert_eq!(tdx.mrtd_two_pass, mrtd(&original, MrtdForm::TwoPass));
    assert_ne!(tdx.mrtd, tdx.mrtd_two_pass);
    // What nobody can predict has its reason, and nothing is in both.
    assert!(tdx.rtmrs.keys().eq(["rtmr2", "rtmr3"]), "{:?}", tdx.rtmrs);
    assert!(tdx.not_shown.keys().eq(["rtmr0", "rtmr1"]), "{:?}", tdx.not_shown);
    assert_eq!(tdx.rtmrs["rtmr3"], "0".repeat(96));

    assert_eq!(verify(&out).unwrap(), []);
    assert!(verify_reference_values(&out).unwrap());

    // Firmware without a hash table, a file that is no firmware, and a TEE that is not simulated.
    let elsewhere = folder.path().join("refused");
    let refused = |inputs: &BuildInputs<'_>| build(inputs, &elsewhere).unwrap_err();
    let snp = fixtures::debian().unwrap();
    let good = fixtures::build_inputs(&debian, &probe, Kind::Production);
    let error = refused(&BuildInputs { lock: snp.lock.clone(), ..good.clone() });
    assert!(matches!(error, BuildError::Firmware { .. }), "{error:?}");
    let error = refused(&BuildInputs { firmware: &debian.kernel, ..good.clone() });
    assert!(matches!(error, BuildError::TdxFirmware { .. }), "{error:?}");
    let error = refused(&BuildInputs { kind: Kind::Simulated { device: &probe }, ..good });
    assert!(matches!(error, BuildError::NoSimulatedTdx), "{error:?}");
}

#[test]
fn verify_refuses_other_manifests() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("image.json");
    assert!(matches!(verify(folder.path()), Err(ReadError::File { .. })));
    fs::write(&manifest, "{}").unwrap();
    assert!(matches!(verify(folder.path()), Err(ReadError::Manifest { .. })));
    let lock = Lock::of_this_release(ImageTee::Snp).unwrap().to_json();
    let text = format!(
        "{{\"format\":3,\"kind\":\"production\",\"kernel_release\":\"6.12\",\
         \"inputs\":{lock},\"parts\":{{}},\"initramfs_files\":[]}}"
    );
    fs::write(&manifest, &text).unwrap();
    assert!(matches!(verify(folder.path()), Err(ReadError::UnknownFormat { .. })));
    let text = text.replace("\"format\":3", "\"format\":2");
    fs::write(&manifest, &text).unwrap();
    assert!(matches!(verify(folder.path()), Err(ReadError::UnknownFormat { .. })));
    fs::write(&manifest, text.replace("{\"format\"", "{\"more\":1,\"format\"")).unwrap();
    assert!(matches!(verify(folder.path()), Err(ReadError::Manifest { .. })));
    fs::write(&manifest, vec![b' '; 1024 * 1024 + 1]).unwrap();
    assert!(matches!(verify(folder.path()), Err(ReadError::TooLarge { .. })));
}
