// SPDX-License-Identifier: Apache-2.0
//! Layers in another order.

use std::fs;

use anyhow::ensure;
use casemate_agent_api::Code;
use casemate_image_crypt::Digest;

use crate::Case;
use crate::Context;
use crate::Defence;
use crate::Guard;
use crate::Level;
use crate::Outcome;
use crate::Verdict;
use crate::images::Pulls;
use crate::images::app;
use crate::images::archive::Archive;
use crate::images::archive::Header;
use crate::images::base;
use crate::images::image;
use crate::images::program;
use crate::images::refused;
use crate::images::registry::Image;
use crate::room;
use crate::room::pod::BUSYBOX;
use crate::room::pod::Room;
use crate::room::pod::of_busybox;

pub(super) const B3: Case = Case {
    id: "B3",
    level: Level::N,
    attack: "layers swapped, dropped, given twice, one more on top",
    defence: Defence::Code(Guard {
        function: "casemate_unpack::apply::check_diff_id",
        sabotage: "Ok(())",
    }),
    run: |context| Box::pin(room::stage(context, "B3", |context| Box::pin(b3(context)))),
};

async fn b3(context: Context) -> Verdict {
    let pulls = Pulls::new()?;
    // The policy's digest is of the manifest, so whoever changes the list has to change it too. Even
    // if the policy pinned such a manifest, the configuration names each archive at its place.
    let mut swapped = image();
    swapped.layers.swap(0, 1);
    refused("swapped", Code::ImageDigest, pulls.try_image(&swapped, |_| None).await)?;
    let mut twice = image();
    twice.layers[1] = twice.layers[0].clone();
    refused("the first one twice", Code::ImageDigest, pulls.try_image(&twice, |_| None).await)?;
    let mut dropped = image();
    dropped.layers.pop();
    refused("dropped", Code::ImageInvalid, pulls.try_image(&dropped, |_| None).await)?;
    let mut more = image().layer(&Archive::default().file("bin/app", "evil").finish());
    more.diff_ids.pop();
    refused("one more", Code::ImageInvalid, pulls.try_image(&more, |_| None).await)?;
    let mut replaced = Image::new().layer(&base()).layer(&base());
    replaced.diff_ids[1] = Digest::of(&app()).to_string();
    refused("another one", Code::ImageDigest, pulls.try_image(&replaced, |_| None).await)?;
    // The honest one, as a container sees it: the upper layer's program over the lower one's.
    let runnable = Archive::default()
        .add(Header { mode: 0o755, ..Header::new(b'0', "bin/busybox") }, fs::read(BUSYBOX)?)
        .dir("srv")
        .finish();
    let honest = Image::new().layer(&base()).layer(&app()).layer(&runnable);
    let honest = pulls.try_image(&honest, |_| None).await?;
    ensure!(honest.is_ok(), "the honest order is refused: {honest:?}");
    let room = Room::furnish().await?.with_image(&pulls.rootfs());
    let (policy, request) = of_busybox("c1");
    let shim = room.attested(&context, &policy).await?;
    let process = room.run(&shim, &request).await?;
    ensure!(process.read("/bin/app")? == program(), "the container's program is another layer's");
    ensure!(process.read("/etc/passwd")?.starts_with(b"root:"), "the lower layer is not there");
    room.delete("c1").await?;
    Ok(Outcome::pass(
        "five orders refused before anything could run; a container of the honest one runs, its \
         files those of the layers in their order",
    ))
}
