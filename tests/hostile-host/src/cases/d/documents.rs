// SPDX-License-Identifier: Apache-2.0
//! The measured documents.

use anyhow::ensure;
use casemate_policy::GuestConfig;

use crate::Case;
use crate::Defence;
use crate::Guard;
use crate::Level;
use crate::Outcome;
use crate::Verdict;

pub(super) const D15: Case = Case {
    id: "D15",
    level: Level::P,
    attack: "the broker's address is changed to one of the host's",
    defence: Defence::Code(Guard {
        function: "casemate_policy::config::check_url",
        sabotage: "Ok(())",
    }),
    run: |_| Box::pin(d15()),
};

async fn d15() -> Verdict {
    for url in ["http://broker.example", "https://user@broker.example", "ftp://broker.example"] {
        let config = format!("version = 1\n[broker]\nurl = {url:?}\nca = \"\"\n");
        ensure!(GuestConfig::parse(config.as_bytes()).is_err(), "{url} is taken");
    }
    Ok(Outcome::pass("only https"))
}
