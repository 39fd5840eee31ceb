// SPDX-License-Identifier: Apache-2.0
//! Networks that would capture what only the guest may hear.

use casemate_agent_api::Code;

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

pub(super) const E14: Case = Case {
    id: "E14",
    level: Level::P,
    attack: "an interface named lo, loopback addresses on another, a route over loopback",
    defence: Defence::Code(Guard {
        function: "casemate_agent_api::request::network::InterfaceName::parse",
        sabotage: "Ok(Self(name.to_owned()))",
    }),
    run: |context| Box::pin(e14(context)),
};

async fn e14(context: Context) -> Verdict {
    let shim = EvilShim::bound(&context, requests::POLICY).await?;
    let mut named_lo = requests::network();
    named_lo.interfaces[0].name = "lo".to_owned();
    let mut loopback = requests::network();
    loopback.interfaces[0].addresses = vec!["127.0.0.2/8".to_owned()];
    for (what, request) in [("interface lo", named_lo), ("loopback address", loopback)] {
        let call = shim.client.set_network(deadline(), &request);
        shim.deny(what, By::Code, Code::NetworkRefused, call).await?;
    }
    Ok(Outcome::pass("refused before anything is set"))
}
