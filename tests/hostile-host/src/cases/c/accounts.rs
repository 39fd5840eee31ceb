// SPDX-License-Identifier: Apache-2.0
//! Accounts in an image.

use anyhow::ensure;
use casemate_image_pull::Accounts;
use casemate_policy::Policy;

use crate::Case;
use crate::Defence;
use crate::Guard;
use crate::Level;
use crate::Outcome;
use crate::Verdict;
use crate::shim::requests;

pub(super) const C14: Case = Case {
    id: "C14",
    level: Level::U,
    attack: "a passwd with duplicate names, names that are numbers, lines that are malformed",
    defence: Defence::Code(Guard {
        function: "casemate_image_pull::accounts::number",
        sabotage: "None",
    }),
    run: |_| Box::pin(c14()),
};

async fn c14() -> Verdict {
    let passwd = "root:x:0:0::/:\nweb:x:33:34::/:\nweb:x:0:0::/:\nbad:x:x:0::/:\n77:x:0:0::/:\n";
    let accounts = Accounts::new(passwd.into(), "web:x:34:\n".into());
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
    Ok(Outcome::pass("numbers as containerd resolves them, and a policy holds numbers only"))
}
