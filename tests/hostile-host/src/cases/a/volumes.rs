// SPDX-License-Identifier: Apache-2.0
//! Files from the host.

use std::fs;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::symlink;

use anyhow::bail;
use anyhow::ensure;
use casemate_agent_api::Code;
use casemate_agent_api::proto;
use casemate_containers::VolumeError;
use casemate_containers::VolumeFile;
use casemate_containers::VolumeStore;
use protobuf::Message as _;

use crate::Case;
use crate::Context;
use crate::Defence;
use crate::Guard;
use crate::Level;
use crate::Outcome;
use crate::Verdict;
use crate::shim::By;
use crate::shim::EvilShim;
use crate::shim::deadline;
use crate::shim::requests;

/// A store in a folder, and one beside it that nothing may be written to.
fn store() -> anyhow::Result<(tempfile::TempDir, VolumeStore)> {
    let folder = tempfile::tempdir()?;
    fs::create_dir(folder.path().join("volumes"))?;
    fs::create_dir(folder.path().join("outside"))?;
    let store = VolumeStore::open(folder.path().join("volumes"))?;
    Ok((folder, store))
}

pub(super) const A13: Case = Case {
    id: "A13",
    level: Level::P,
    attack: "file names with `..`, slashes, links, magic links, 256 bytes; a link in the way",
    defence: Defence::Code(Guard {
        function: "casemate_containers::volumes::component",
        sabotage: "Ok(())",
    }),
    run: |context| Box::pin(a13(context)),
};

async fn a13(context: Context) -> Verdict {
    let long = "n".repeat(256);
    let names = [
        "",
        ".",
        "..",
        "..data",
        "..2",
        "../outside/x",
        "/outside/x",
        "a/b",
        "a/../../x",
        "a\0b",
        "/proc/self/root/x",
        "x/../../outside/x",
        &long,
    ];
    // Over the API: nothing reaches the store.
    let shim = EvilShim::attested(&context, requests::POLICY).await?;
    for name in names {
        let request = requests::put("info", name, b"evil");
        let call = shim.client.put_volume(deadline(), &request);
        shim.deny(name, By::Code, Code::RequestInvalid, call).await?;
    }
    for volume in ["", "..", "a/b", "../info", "/info", "Info"] {
        let request = requests::put(volume, "ok", b"evil");
        let call = shim.client.put_volume(deadline(), &request);
        shim.deny(volume, By::Code, Code::RequestInvalid, call).await?;
    }
    let mut not_utf8 = Vec::from(b"\x0a\x04info\x12\x06\x0a\x02".as_slice());
    not_utf8.extend([0xff, 0xfe, 0x12, 0x00]);
    let before = shim.fingerprint().await?;
    ensure!(shim.raw("PutVolume", not_utf8).await.is_err(), "a name that is not UTF-8 is taken");
    ensure!(shim.fingerprint().await? == before, "a name that is not UTF-8 changed something");

    // The store itself, as if every check before it had failed.
    let (folder, store) = store()?;
    store.put("conf", &[VolumeFile { name: "a", content: b"one" }])?;
    for name in names {
        for (volume, name) in [("conf", name), (name, "a")] {
            match store.put(volume, &[VolumeFile { name, content: b"evil" }]) {
                Err(VolumeError::Name { .. }) => {}
                other => bail!("{volume:?}/{name:?} in the store: {other:?}"),
            }
        }
    }
    // A link that came there somehow, in the place of a volume and of a revision.
    symlink("../outside", folder.path().join("volumes/linked"))?;
    let linked = store.put("linked", &[VolumeFile { name: "a", content: b"evil" }]);
    ensure!(linked.is_err(), "a link in the place of a volume is followed");
    symlink("../../outside", folder.path().join("volumes/conf/..2"))?;
    let linked = store.put("conf", &[VolumeFile { name: "a", content: b"evil" }]);
    ensure!(linked.is_err(), "a link in the place of a revision is followed");
    ensure!(fs::read(folder.path().join("volumes/conf/a"))? == b"one", "the content has changed");
    ensure!(fs::read_dir(folder.path().join("outside"))?.count() == 0, "written outside");
    ensure!(fs::read_dir(folder.path())?.count() == 2, "written beside the volumes");
    Ok(Outcome::pass("13 names and 6 volumes refused twice over, no link followed"))
}

pub(super) const A14: Case = Case {
    id: "A14",
    level: Level::P,
    attack: "a file sent again while a container reads it",
    defence: Defence::Code(Guard {
        function: "casemate_containers::volumes::swap",
        sabotage: "Ok(())",
    }),
    run: |_| Box::pin(a14()),
};

async fn a14() -> Verdict {
    let (folder, store) = store()?;
    let path = folder.path().join("volumes/conf");
    let pair = |text: &'static [u8]| {
        [VolumeFile { name: "a", content: text }, VolumeFile { name: "b", content: text }]
    };
    ensure!(store.put("conf", &pair(b"one"))? == 1, "the first revision is not 1");
    let mut open = File::open(path.join("a"))?;
    let revision = fs::canonicalize(path.join("..data"))?;
    ensure!(store.put("conf", &pair(b"two"))? == 2, "the second revision is not 2");
    let mut old = String::new();
    open.read_to_string(&mut old)?;
    ensure!(old == "one", "an open file has changed: {old}");
    ensure!(fs::canonicalize(path.join("..data"))? != revision, "written over the old revision");
    for name in ["a", "b"] {
        ensure!(fs::read(path.join(name))? == b"two", "{name} is not the new one");
    }
    ensure!(store.put("conf", &[VolumeFile { name: "c", content: b"three" }])? == 3);
    ensure!(!path.join("a").exists() && path.join("c").exists(), "names of two revisions");
    Ok(Outcome::pass("revisions never change, are swapped whole, and open files keep theirs"))
}

pub(super) const A15: Case = Case {
    id: "A15",
    level: Level::P,
    attack: "too many files, too many bytes, the same name twice, lengths that lie",
    defence: Defence::Code(Guard {
        function: "casemate_agent_api::request::text::within",
        sabotage: "Ok(())",
    }),
    run: |context| Box::pin(a15(context)),
};

async fn a15(context: Context) -> Verdict {
    let shim = EvilShim::attested(&context, requests::POLICY).await?;
    let file = |name: String, size: usize| proto::File {
        name,
        content: vec![b'x'; size],
        ..Default::default()
    };
    let put = |files: Vec<proto::File>| proto::PutVolumeRequest {
        volume: "info".to_owned(),
        files,
        ..Default::default()
    };
    let cap = (1 << 20) + (64 << 10);
    let attacks = [
        ("1025 files", put((0..1025).map(|n| file(n.to_string(), 0)).collect())),
        ("one byte over the cap", put(vec![file("a".into(), cap + 1)])),
        (
            "over the cap together",
            put(vec![file("a".into(), cap / 2 + 1), file("b".into(), cap / 2)]),
        ),
        ("a name twice", put(vec![file("a".into(), 1), file("a".into(), 2)])),
    ];
    let count = attacks.len();
    for (what, request) in attacks {
        let call = shim.client.put_volume(deadline(), &request);
        shim.deny(what, By::Code, Code::RequestInvalid, call).await?;
    }
    // A frame that is larger than any request ends its stream, and no other.
    let before = shim.fingerprint().await?;
    let huge = put(vec![file("a".into(), 2 << 20)]);
    ensure!(shim.raw("PutVolume", huge.write_to_bytes()?).await.is_err(), "2 MiB are taken");
    ensure!(shim.fingerprint().await? == before, "2 MiB changed something");
    // A content that claims 2^63 bytes, 4 GiB and a negative number of them.
    let before = shim.fingerprint().await?;
    for length in [
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f][..],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    ] {
        let lie = [&[0x0a, 4], b"info".as_slice(), &[0x12], length].concat();
        ensure!(shim.raw("PutVolume", lie).await.is_err(), "a length that lies is taken");
    }
    ensure!(shim.fingerprint().await? == before, "a length that lies changed something");
    // What fits the API still has to fit the policy.
    let large = requests::put("info", "a", &[b'x'; 4097]);
    let call = shim.client.put_volume(deadline(), &large);
    shim.deny("more than the policy's bytes", By::Policy, Code::PolicyVolume, call).await?;
    Ok(Outcome::pass(format!("{count} sizes and three lengths refused before they are looked at")))
}
