// SPDX-License-Identifier: Apache-2.0
//! Layers made to escape, to fill the guest, or never to end.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::ensure;
use casemate_agent_api::Code;
use casemate_image_crypt::Digest;
use casemate_unpack::Compression;
use casemate_unpack::Limits;
use casemate_unpack::Quarantine;
use casemate_unpack::Rootfs;
use casemate_unpack::UnpackError;

use crate::Case;
use crate::Defence;
use crate::Guard;
use crate::Level;
use crate::Outcome;
use crate::Verdict;
use crate::images::Pulls;
use crate::images::app;
use crate::images::archive::Archive;
use crate::images::archive::Header;
use crate::images::at;
use crate::images::base;
use crate::images::image;
use crate::images::refused;
use crate::images::registry::GZIP;
use crate::images::registry::Image;
use crate::images::registry::Reply;
use crate::images::registry::gzip;
use crate::images::top_layer;

pub(super) const C5: Case = Case {
    id: "C5",
    level: Level::P,
    attack: "layers with traversal, links written through, devices, whiteout tricks, bombs",
    defence: Defence::Code(Guard {
        function: "casemate_unpack::tree::confined",
        sabotage: "ResolveFlags::empty()",
    }),
    run: |_| Box::pin(c5()),
};

async fn c5() -> Verdict {
    let place = Place::new()?;
    let outside = place.outside().display().to_string();
    for name in ["../evil", "a/../../evil", "..", "a/.."] {
        place.refuses(name, &[Archive::default().file(name, "evil")], Limits::default())?;
        let pax = Archive::default().pax(&[("path", name.as_bytes())]).file("good", "evil");
        place.refuses(name, &[pax], Limits::default())?;
    }
    for target in [outside.as_str(), "..", "../..", "/..", "../../../../../.."] {
        let through = Archive::default().symlink("l", target).file("l/evil", "evil");
        let rootfs = place.unpack(&[through], Limits::default())?;
        let inside = rootfs.path.join(target.trim_matches(['/', '.'])).join("evil");
        ensure!(fs::read(&inside).is_ok_and(|text| text == b"evil"), "{target}: not inside");
        place.check_outside(target)?;
    }
    for target in [outside.as_str(), "../outside/file", "/", "l/outside/file"] {
        let linked = Archive::default().symlink("l", "/..").hard_link("h", target);
        place.refuses(target, &[linked], Limits::default())?;
    }
    // A whiteout of the root itself, and of what lies above it.
    for name in [".wh..", ".wh...", "a/.wh.", ".wh..wh..", ".wh..wh.x/f"] {
        let _ = place.try_unpack(&[Archive::default().file(name, "")], Limits::default());
        place.check_outside(name)?;
    }
    let devices = Archive::default()
        .add(Header::new(b'3', "dev/mem"), "")
        .add(Header::new(b'4', "dev/sda"), "");
    let rootfs = place.unpack(&[devices], Limits::default())?;
    ensure!(rootfs.skipped_devices == 2, "{} devices left out", rootfs.skipped_devices);
    let names = fs::read_dir(rootfs.path.join("dev"))?.count();
    ensure!(names == 0, "a device was made");
    let records: &[(&str, &[u8])] = &[
        ("SCHILY.xattr.trusted.overlay.redirect", b"/x"),
        ("SCHILY.xattr.security.selinux", b"label"),
    ];
    let labelled = Archive::default().pax(records).file("f", "x");
    let rootfs = place.unpack(&[labelled], Limits::default())?;
    let mut attributes = vec![0_u8; 1024];
    let size = rustix::fs::llistxattr(rootfs.path.join("f"), &mut attributes)?;
    ensure!(size == 0, "an attribute that speaks to the kernel was set");
    // The last of several entries of one name counts, as everywhere.
    let twice = Archive::default().file("f", "one").file("f", "two");
    let rootfs = place.unpack(&[twice], Limits::default())?;
    ensure!(fs::read(rootfs.path.join("f"))? == b"two", "of two entries the first counts");

    privileges(&place)?;
    whiteouts(&place)?;

    let few = Limits { entries: 1000, ..Limits::default() };
    let many = (0..1001).fold(Archive::default(), |all, n| all.file(&n.to_string(), ""));
    place.refuses("1001 entries of 1000", &[many], few)?;
    let mut endless = Endless::new();
    let quarantine = Quarantine::create(&place.next(), few)?;
    let result = quarantine.apply(&mut endless, Compression::None, &[0; 32]);
    ensure!(result.is_err_and(|error| error.is_full()), "an archive without end");
    ensure!(endless.read < 4 << 20, "{} bytes of an archive without end were read", endless.read);
    let small = Limits { bytes: 1 << 20, file_bytes: 1 << 19, ..Limits::default() };
    let sparse: &[(&str, &[u8])] =
        &[("GNU.sparse.size", b"1099511627776"), ("GNU.sparse.map", b"0,1")];
    place.refuses("a hole of 1 TiB", &[Archive::default().pax(sparse).file("a", "1")], small)?;
    let begun = Instant::now();
    let bomb = gzip(&Archive::default().file("zeros", vec![0; 64 << 20]).finish());
    let quarantine = Quarantine::create(&place.next(), small)?;
    let result = quarantine.apply(&mut bomb.as_slice(), Compression::Gzip, &[0; 32]);
    ensure!(result.is_err_and(|error| error.is_full()), "a bomb of 64 MiB in {} bytes", bomb.len());
    ensure!(begun.elapsed() < Duration::from_secs(20), "the bomb was unpacked to its end");
    place.check_outside("all")?;
    Ok(Outcome::pass(
        "nothing outside of the root, no device, no attribute but those of OCI, whiteouts of lower \
         layers alone, limits hold",
    ))
}

/// What gives a program rights is the image's word, and just that: kept as it stands in the layer
/// whose digest the policy names, given to no other name, and gone with the file that had it.
fn privileges(place: &Place) -> anyhow::Result<()> {
    let setuid = Header { mode: 0o4755, ..Header::new(b'0', "bin/su") };
    let records: &[(&str, &[u8])] = &[("SCHILY.xattr.security.capability", CAPABLE)];
    let lower = Archive::default()
        .add(setuid, "su")
        .pax(records)
        .file("bin/ping", "ping")
        .symlink("bin/link", "su");
    let mode = |rootfs: &Rootfs, name: &str| -> anyhow::Result<u32> {
        Ok(rootfs.path.join(name).symlink_metadata()?.mode() & 0o7777)
    };
    let capable = |rootfs: &Rootfs, name: &str| {
        let mut value = [0; 64];
        let size = rustix::fs::lgetxattr(
            rootfs.path.join(name),
            "security.capability",
            value.as_mut_slice(),
        );
        size.is_ok_and(|size| &value[..size] == CAPABLE)
    };
    let rootfs = place.unpack(std::slice::from_ref(&lower), Limits::default())?;
    ensure!(mode(&rootfs, "bin/su")? == 0o4755, "the mode of the image is not kept");
    ensure!(capable(&rootfs, "bin/ping"), "the capability of the image is not kept");
    ensure!(!capable(&rootfs, "bin/su"), "a capability spread to the next name");
    // A layer above replaces the program: nothing of its rights stays for the new bytes.
    let above = Archive::default().file("bin/su", "evil").file("bin/ping", "evil");
    let rootfs = place.unpack(&[lower, above], Limits::default())?;
    ensure!(mode(&rootfs, "bin/su")? == 0o644, "the new file has the old one's setuid bit");
    ensure!(!capable(&rootfs, "bin/ping"), "the new file has the old one's capability");
    Ok(())
}

/// Whiteouts remove names of lower layers alone, wherever in their own layer they stand, and follow
/// no link.
fn whiteouts(place: &Place) -> anyhow::Result<()> {
    let lower = || {
        Archive::default()
            .file("d/low", "low")
            .file("d/sub/low", "low")
            .file("kept/low", "low")
            .symlink("l", "kept")
    };
    let names = |rootfs: &Rootfs, folder: &str| -> anyhow::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(rootfs.path.join(folder))? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    };
    // Before and behind its siblings, twice, and with content: the lower layer's names go, its own stay.
    let opaque = ".wh..wh..opq";
    for (what, upper) in [
        ("first", Archive::default().file(&format!("d/{opaque}"), "").file("d/new", "new")),
        ("last", Archive::default().file("d/new", "new").file(&format!("d/{opaque}"), "")),
        (
            "twice, with content",
            Archive::default()
                .file(&format!("d/{opaque}"), "text")
                .file("d/new", "new")
                .file(&format!("d/{opaque}"), "text"),
        ),
        (
            "with a whiteout of its own new file",
            Archive::default()
                .file("d/new", "new")
                .file("d/.wh.new", "")
                .file(&format!("d/{opaque}"), ""),
        ),
    ] {
        let rootfs = place.unpack(&[lower(), upper], Limits::default())?;
        ensure!(names(&rootfs, "d")? == ["new"], "{what}: {:?}", names(&rootfs, "d")?);
    }
    // Through a link: of another folder, and out of the root.
    for target in ["kept", "/kept", "../../outside", &place.outside().display().to_string()] {
        let linked = Archive::default().symlink("x", target);
        let upper = Archive::default().file(&format!("x/{opaque}"), "").file("x/.wh.file", "");
        // Refused or done inside of the root: either way nothing outside goes.
        let _ = place.try_unpack(&[lower(), linked, upper], Limits::default());
        place.check_outside(target)?;
    }
    // No name of a whiteout is left as a file.
    let upper = Archive::default().file("d/.wh.low", "").file("d/.wh.never", "");
    let rootfs = place.unpack(&[lower(), upper], Limits::default())?;
    ensure!(names(&rootfs, "d")? == ["sub"], "{:?}", names(&rootfs, "d")?);
    Ok(())
}

/// `cap_net_raw` permitted and effective (`struct vfs_cap_data`, revision 2).
const CAPABLE: &[u8] = &[1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// An archive of empty files that never ends.
struct Endless {
    header: [u8; 512],
    read: usize,
}

impl Endless {
    fn new() -> Self {
        Self { header: Header::new(b'0', "again").block(), read: 0 }
    }
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let at = self.read % self.header.len();
        let size = buffer.len().min(self.header.len() - at);
        buffer[..size].copy_from_slice(&self.header[at..at + size]);
        self.read += size;
        Ok(size)
    }
}

/// A folder with something outside of what is unpacked.
struct Place {
    folder: tempfile::TempDir,
    count: std::cell::Cell<u32>,
}

impl Place {
    fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::create_dir(folder.path().join("outside"))?;
        fs::write(folder.path().join("outside/file"), "honest")?;
        fs::create_dir(folder.path().join("inside"))?;
        Ok(Self { folder, count: std::cell::Cell::new(0) })
    }

    fn outside(&self) -> PathBuf {
        self.folder.path().join("outside")
    }

    /// A place for the next root.
    fn next(&self) -> PathBuf {
        self.count.set(self.count.get() + 1);
        self.folder.path().join("inside").join(self.count.get().to_string())
    }

    fn try_unpack(&self, layers: &[Archive], limits: Limits) -> Result<Rootfs, UnpackError> {
        let mut quarantine = Quarantine::create(&self.next(), limits)?;
        for layer in layers {
            let bytes = layer.clone().finish();
            let diff_id = Digest::of(&bytes);
            let mut input: &[u8] = &bytes;
            quarantine = quarantine.apply(
                &mut input as &mut dyn Read,
                Compression::None,
                diff_id.as_bytes(),
            )?;
        }
        quarantine.release()
    }

    fn unpack(&self, layers: &[Archive], limits: Limits) -> anyhow::Result<Rootfs> {
        Ok(self.try_unpack(layers, limits)?)
    }

    /// The layers are refused and nothing of them is left.
    fn refuses(&self, what: &str, layers: &[Archive], limits: Limits) -> anyhow::Result<()> {
        if let Ok(rootfs) = self.try_unpack(layers, limits) {
            bail!("{what}: unpacked to {}", rootfs.path.display());
        }
        let destination = self.folder.path().join("inside").join(self.count.get().to_string());
        ensure!(!destination.exists(), "{what}: refused and left");
        self.check_outside(what)
    }

    /// Nothing but the roots was touched.
    fn check_outside(&self, what: &str) -> anyhow::Result<()> {
        let names = |path: &Path| -> anyhow::Result<usize> { Ok(fs::read_dir(path)?.count()) };
        let file = self.outside().join("file");
        ensure!(names(self.folder.path())? == 2, "{what}: something beside the root");
        ensure!(names(&self.outside())? == 1, "{what}: something outside of the root");
        ensure!(fs::read(&file)? == b"honest", "{what}: a file outside was written");
        ensure!(file.metadata()?.nlink() == 1, "{what}: a file outside was linked");
        Ok(())
    }
}

pub(super) const C13: Case = Case {
    id: "C13",
    level: Level::P,
    attack: "bodies that are slow, endless, too long or too short, trailing data, window bombs",
    defence: Defence::Code(Guard {
        function: "casemate_image_pull::client::within",
        sabotage: "Ok(work.await)",
    }),
    run: |_| Box::pin(c13()),
};

async fn c13() -> Verdict {
    let mut pulls = Pulls::new()?;
    pulls.timeouts.layer = Duration::from_millis(800);
    let small = Image::new().layer(&base()).layer(&Archive::default().file("f", "x").finish());
    let blob = small.blobs[&top_digest(&small)].clone();
    // Each piece comes in time, all of them together do not.
    let trickle = Reply { pause: Some(Duration::from_millis(250)), ..Reply::new(200, blob) };
    let padded = Reply { body: [trickle.body.clone(), vec![0; 900]].concat(), ..trickle };
    let mut slow = small.clone();
    let digest = Digest::of(&padded.body);
    let last = slow.layers.len() - 1;
    slow.layers[last]["digest"] = serde_json::json!(digest);
    slow.layers[last]["size"] = serde_json::json!(padded.body.len());
    slow.blobs.insert(digest, padded.body.clone());
    let handler = at(top_layer(&slow), move |_| Some(padded.clone()));
    let begun = Instant::now();
    let error =
        refused("a trickle", Code::ImageUnreachable, pulls.try_image(&slow, handler).await)?;
    ensure!(begun.elapsed() < Duration::from_secs(10), "{error} after {:?}", begun.elapsed());
    ensure!(error.to_string().contains("took longer"), "a trickle: {error}");

    let honest = image();
    let whole = gzip(&app());
    let longer = [&whole[..], b"x"].concat();
    let shorter = whole[..whole.len() - 1].to_vec();
    let lying = Reply { length: Some(whole.len() * 2), ..Reply::new(200, longer.clone()) };
    let pulls = Pulls::new()?;
    for (what, reply) in [
        ("one byte more", Reply::new(200, longer)),
        ("one byte less", Reply::new(200, shorter)),
        ("a length that lies", lying),
    ] {
        let handler = at(top_layer(&honest), move |_| Some(reply.clone()));
        refused(what, Code::ImageDigest, pulls.try_image(&honest, handler).await)?;
    }
    let manifest = crate::images::registry::manifest_path(&honest.digest().to_string());
    let endless = Reply { length: Some(1 << 40), ..Reply::new(200, "") };
    let handler = at(manifest, move |_| Some(endless.clone()));
    let result = pulls.try_image(&honest, handler).await;
    refused("a manifest of 1 TiB", Code::ImageInvalid, result)?;

    let trailing = [gzip(&app()), b"garbage".to_vec()].concat();
    let image = Image::new().blob_layer(GZIP, trailing, Digest::of(&app()));
    refused("bytes behind gzip", Code::ImageInvalid, pulls.try_image(&image, |_| None).await)?;
    // A frame header that asks for a window of 2 GiB (RFC 8878, 3.1.1.1.2).
    let window = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00];
    let kind = GZIP.replace("gzip", "zstd");
    let image = Image::new().blob_layer(&kind, window.to_vec(), Digest::of(b""));
    refused("a window of 2 GiB", Code::ImageInvalid, pulls.try_image(&image, |_| None).await)?;
    Ok(Outcome::pass("seven bodies refused in time"))
}

fn top_digest(image: &Image) -> Digest {
    let text = image.layers.last().and_then(|layer| layer["digest"].as_str()).expect("a layer");
    text.parse().expect("a digest")
}
