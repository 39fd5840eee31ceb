// SPDX-License-Identifier: Apache-2.0
//! Names that break out of a line of the guest's files.

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

pub(super) const B14: Case = Case {
    id: "B14",
    level: Level::P,
    attack: "hostname, search domain or option that breaks out of /etc/hosts or resolv.conf",
    defence: Defence::Code(Guard {
        function: "casemate_agent_api::request::network::dns::Hostname::parse",
        sabotage: "Ok(Self(name.to_owned()))",
    }),
    run: |context| Box::pin(b14(context)),
};

async fn b14(context: Context) -> Verdict {
    let shim = EvilShim::bound(&context, requests::POLICY).await?;
    let long = "a".repeat(300);
    let hostnames = [
        ("pod\n10.6.6.6 db", Code::RequestInvalid),
        ("localhost", Code::NetworkRefused),
        ("localhost.evil", Code::NetworkRefused),
        ("x.localhost", Code::NetworkRefused),
        (long.as_str(), Code::RequestInvalid),
        ("a b", Code::RequestInvalid),
        ("", Code::RequestInvalid),
    ];
    for (hostname, code) in hostnames {
        let mut request = requests::network();
        request.hostname = hostname.to_owned();
        let call = shim.client.set_network(deadline(), &request);
        shim.deny(hostname, By::Code, code, call).await?;
    }
    let searches = ["evil\nnameserver 10.6.6.6", "a b", &"a".repeat(64), "-a"];
    for search in searches {
        let mut request = requests::network();
        request.dns_searches = vec![search.to_owned()];
        let call = shim.client.set_network(deadline(), &request);
        shim.deny(search, By::Code, Code::RequestInvalid, call).await?;
    }
    for option in ["ndots:5\nnameserver 10.6.6.6", "", "a b"] {
        let mut request = requests::network();
        request.dns_options = vec![option.to_owned()];
        let call = shim.client.set_network(deadline(), &request);
        shim.deny(option, By::Code, Code::RequestInvalid, call).await?;
    }
    Ok(Outcome::pass("fourteen names refused, nothing set"))
}
