// SPDX-License-Identifier: Apache-2.0
use super::*;

#[test]
fn takes_the_newest_signed_cloud_kernel() {
    let names = [
        "linux-image-6.12.9+deb12-cloud-amd64",
        "linux-image-6.12.117+deb12-cloud-amd64",
        "linux-image-6.12.43+deb12-cloud-amd64",
        "linux-image-6.12.200+deb12-amd64",
        "linux-image-6.12.200+deb12-cloud-amd64-unsigned",
        "linux-image-6.12.200+deb12-cloud-amd64-dbg",
        "linux-image-6.12.200+deb12-cloud-arm64",
    ]
    .map(str::to_owned);
    let newest = newest_kernel(&names);
    assert_eq!(newest.as_deref(), Some("linux-image-6.12.117+deb12-cloud-amd64"));
    assert_eq!(newest_kernel(&[]), None);
}

#[test]
fn an_empty_folder_holds_no_inputs() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(DebianInputs::open(folder.path()).unwrap(), None);
}

#[test]
fn refuses_records_without_their_files() {
    let folder = tempfile::tempdir().unwrap();
    let lock = Lock::of_this_release(ImageTee::Snp).unwrap();
    write_record(folder.path(), &lock).unwrap();
    let refused = DebianInputs::open(folder.path());
    assert!(matches!(refused, Err(FetchError::Incomplete { .. })), "{refused:?}");
    let record = folder.path().join(RECORD);
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replace("\"unpacked\"", "\"more\": 1, \"unpacked\"")).unwrap();
    let refused = DebianInputs::open(folder.path());
    assert!(matches!(refused, Err(FetchError::Record { .. })), "{refused:?}");
}

// E1: a kernel that somebody gives in place of the locked one.
#[test]
fn a_package_file_that_is_not_the_locked_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let lock = Lock::of_this_release(ImageTee::Snp).unwrap();
    fs::write(folder.path().join(lock.kernel.file_name()), b"another kernel").unwrap();
    let refused = prepare(folder.path(), &lock).unwrap_err();
    let FetchError::Altered { locked, found, .. } = refused else { panic!("{refused}") };
    assert_eq!((locked, found), (lock.kernel.sha256, Sha256::of(b"another kernel")));
    assert!(!folder.path().join(KERNEL).exists(), "it was unpacked");
}

#[test]
fn locked_packages_that_lie_there_need_no_package_manager() {
    let folder = tempfile::tempdir().unwrap();
    let deb = |name: &str, file: &str| {
        let tree = folder.path().join("trees").join(name);
        fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        let control = format!(
            "Package: {name}\nVersion: 1-1\nArchitecture: all\nMaintainer: nobody\nDescription: test\n"
        );
        fs::write(tree.join("DEBIAN/control"), control).unwrap();
        fs::create_dir_all(tree.join(file).parent().unwrap()).unwrap();
        fs::write(tree.join(file), name).unwrap();
        let built = folder.path().join(format!("{name}_1-1_all.deb"));
        let mut command = std::process::Command::new("dpkg-deb");
        command.args(["--build", "--root-owner-group"]).args([&tree, &built]);
        assert!(command.output().unwrap().status.success());
        let sha256 = Sha256::of(&fs::read(&built).unwrap());
        LockedPackage {
            package: name.to_owned(),
            version: "1-1".to_owned(),
            architecture: "all".to_owned(),
            sha256,
        }
    };
    let kernel = deb("linux-image-6.12.1-cloud-amd64", "boot/vmlinuz-6.12.1-cloud-amd64");
    let firmware = deb("ovmf-amdsev", "usr/share/ovmf/OVMF.amdsev.fd");
    let lock = Lock { format: Lock::FORMAT, firmware, kernel };
    // The kernel's package lacks the modules.
    let refused = prepare(folder.path(), &lock).unwrap_err();
    assert!(matches!(refused, FetchError::Incomplete { .. }), "{refused}");
    let modules = "lib/modules/6.12.1-cloud-amd64/x.ko";
    let kernel = deb("linux-image-6.12.1-cloud-amd64", modules);
    let lock = Lock { kernel, ..lock };
    let inputs = prepare(folder.path(), &lock).unwrap();
    assert_eq!(fs::read(&inputs.firmware).unwrap(), b"ovmf-amdsev");
    assert_eq!(DebianInputs::open(folder.path()).unwrap(), Some(inputs.clone()));

    // E1: what lies unpacked is never taken; a package that was altered later is noticed.
    fs::write(&inputs.firmware, "another firmware").unwrap();
    let again = prepare(folder.path(), &lock).unwrap();
    assert_eq!(fs::read(&again.firmware).unwrap(), b"ovmf-amdsev");
    fs::write(folder.path().join(lock.firmware.file_name()), "another package").unwrap();
    let refused = prepare(folder.path(), &lock).unwrap_err();
    assert!(matches!(refused, FetchError::Altered { .. }), "{refused}");
}

#[test]
fn a_folder_of_somebody_else_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join(KERNEL)).unwrap();
    let refused =
        prepare(folder.path(), &Lock::of_this_release(ImageTee::Snp).unwrap()).unwrap_err();
    assert!(matches!(refused, FetchError::Taken { .. }), "{refused}");
}

#[test]
fn what_is_missing_is_named_beside_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let package = Lock::of_this_release(ImageTee::Snp).unwrap().firmware;
    let (file, name, version) = (package.file_name(), &package.package, &package.version);
    assert_eq!(wanted(folder.path(), &package), format!("{file} (version {version})"));
    let other = format!("{name}_0.1-1_all.deb");
    fs::write(folder.path().join(&other), "").unwrap();
    fs::write(folder.path().join("another_0.1-1_all.deb"), "").unwrap();
    let both = format!("{file} (version {version}; there is {other})");
    assert_eq!(wanted(folder.path(), &package), both);
    let refused = FetchError::NoSource { wanted: vec![both.clone()], refusals: vec![] }.to_string();
    assert!(refused.contains(&both), "{refused}");
}

#[test]
fn a_folder_is_held_by_one_build_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let inputs = folder.path().join("new");
    let held = Held::wait(&inputs).unwrap();
    let other = File::open(inputs.join("in-use")).unwrap();
    assert!(matches!(other.try_lock(), Err(std::fs::TryLockError::WouldBlock)));
    drop(held);
    other.try_lock().unwrap();
    other.unlock().unwrap();
    assert!(Held::wait(&inputs).is_ok());
}
