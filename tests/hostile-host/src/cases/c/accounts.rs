// SPDX-License-Identifier: Apache-2.0
//! Accounts in an image.

use std::fs;
use std::process::Command;

use anyhow::ensure;
use casemate_image_pull::Accounts;
use casemate_policy::Policy;

use crate::Case;
use crate::Context;
use crate::Defence;
use crate::Guard;
use crate::Level;
use crate::Outcome;
use crate::Verdict;
use crate::images::Pulls;
use crate::images::archive::Archive;
use crate::images::archive::Header;
use crate::images::registry::Image;
use crate::room;
use crate::room::pod::BUSYBOX;
use crate::room::pod::Room;
use crate::room::pod::of_busybox;
use crate::shim::requests;

pub(super) const C14: Case = Case {
    id: "C14",
    level: Level::N,
    attack: "a passwd with duplicate names, names that are numbers, lines that are malformed",
    defence: Defence::Code(Guard {
        function: "casemate_image_pull::accounts::number",
        sabotage: "None",
    }),
    run: |context| Box::pin(room::stage(context, "C14", |context| Box::pin(c14(context)))),
};

async fn c14(context: Context) -> Verdict {
    let accounts = Accounts::new(PASSWD.into(), GROUP.into());
    let web = accounts.user("web")?;
    ensure!((web.uid, web.gid) == (33, 34), "of two lines the second counts: {web:?}");
    let number = accounts.user("77")?;
    ensure!((number.uid, number.gid) == (77, 0), "a number was looked up as a name: {number:?}");
    for text in ["bad", "nobody", "-1", "4294967296", "web:", ":web", "web:nogroup"] {
        ensure!(accounts.user(text).is_err(), "{text:?} is somebody");
    }
    // What runs is the policy's number, whatever the image says.
    let named = requests::POLICY.replace("uid = 1000", "uid = \"web\"");
    ensure!(Policy::parse(named.as_bytes()).is_err(), "a policy names a user by name");
    // The image, pulled, with an oracle of its own: who busybox says that they are.
    let pulls = Pulls::new()?;
    let executable = Header { mode: 0o755, ..Header::new(b'0', "bin/busybox") };
    let archive = Archive::default()
        .file("etc/passwd", PASSWD)
        .file("etc/group", GROUP)
        .add(executable, fs::read(BUSYBOX)?)
        .dir("srv")
        .finish();
    let mut image = Image::new().layer(&archive);
    image.config["config"]["User"] = "web".into();
    let pulled = pulls.try_image(&image, |_| None).await??;
    ensure!(fs::read_to_string(pulled.rootfs.join("etc/passwd"))? == PASSWD, "another passwd");
    for (option, right) in [("-u", web.uid), ("-g", web.gid)] {
        let said = Command::new(BUSYBOX)
            .arg("chroot")
            .arg(&pulled.rootfs)
            .args(["/bin/busybox", "id", option, "web"])
            .output()?;
        let said = String::from_utf8(said.stdout)?;
        ensure!(said.trim() == right.to_string(), "busybox says {said:?} and not {right}");
    }
    // And who the container runs as.
    let room = Room::furnish().await?.with_image(&pulled.rootfs);
    let (policy, request) = of_busybox("c1");
    let shim = room.attested(&context, &policy).await?;
    let process = room.run(&shim, &request).await?;
    for (word, right) in [("Uid", vec![1000; 4]), ("Gid", vec![1000; 4]), ("Groups", vec![])] {
        let numbers = process.numbers(word)?;
        ensure!(numbers == right, "{word} of the container's process: {numbers:?}");
    }
    room.delete("c1").await?;
    Ok(Outcome::pass(
        "numbers as containerd and busybox resolve them; a policy holds numbers only, and the \
         container of a hostile passwd runs as the policy's",
    ))
}

const PASSWD: &str =
    "root:x:0:0::/:\nweb:x:33:34::/:\nweb:x:0:0::/:\nbad:x:x:0::/:\n77:x:0:0::/:\n";
const GROUP: &str = "web:x:34:\nroot:x:0:web\nevil:x:1000:web\n";
