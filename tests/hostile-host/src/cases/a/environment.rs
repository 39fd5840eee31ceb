// SPDX-License-Identifier: Apache-2.0
//! Environment variables of the host's choice.

use anyhow::ensure;
use casemate_agent_api::Code;
use casemate_policy::Pattern;

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

pub(super) const A7: Case = Case {
    id: "A7",
    level: Level::P,
    attack: "variables that make a program load or run the host's code; one twice; one without `=`",
    defence: Defence::Policy(Guard {
        function: "casemate_policy_monitor::guard::env::check_values",
        sabotage: "Ok(())",
    }),
    run: |context| Box::pin(a7(context)),
};

async fn a7(context: Context) -> Verdict {
    let added = ["LD_PRELOAD=/x.so", "BASH_ENV=/x", "NODE_OPTIONS=--require /x", "xSVC_A=a"];
    for variable in added {
        let mut request = requests::web("c1");
        request.env.push(variable.to_owned());
        create(&context, variable, By::Policy, Code::PolicyEnv, &request).await?;
    }
    // A hole takes only what its pattern covers, from the first character to the last.
    for variable in ["POD_IP=10.1.2.3\nLD_PRELOAD=/x", "POD_IP=$(evil)", "SVC_A=A", "A=c"] {
        let name = variable.split('=').next().unwrap_or_default();
        let mut request = requests::web("c1");
        request.env.retain(|entry| !entry.starts_with(&format!("{name}=")));
        request.env.push(variable.to_owned());
        create(&context, variable, By::Policy, Code::PolicyEnv, &request).await?;
    }
    let mut twice = requests::web("c1");
    twice.env.push("A=b".to_owned());
    create(&context, "a variable twice", By::Policy, Code::PolicyEnv, &twice).await?;
    for variable in ["LD_PRELOAD", "=x", "", "A=b\0c"] {
        let mut request = requests::web("c1");
        request.env.push(variable.to_owned());
        create(&context, variable, By::Code, Code::RequestInvalid, &request).await?;
    }
    Ok(Outcome::pass("thirteen environments refused"))
}

async fn create(
    context: &Context,
    what: &str,
    by: By,
    code: Code,
    request: &casemate_agent_api::proto::CreateContainerRequest,
) -> anyhow::Result<()> {
    let shim = EvilShim::attested(context, requests::POLICY).await?;
    shim.deny(what, by, code, shim.client.create_container(deadline(), request)).await
}

pub(super) const A8: Case = Case {
    id: "A8",
    level: Level::P,
    attack: "a variable that the policy demands is left out",
    defence: Defence::Policy(Guard {
        function: "casemate_policy_monitor::guard::env::check_complete",
        sabotage: "Ok(())",
    }),
    run: |context| Box::pin(a8(context)),
};

async fn a8(context: Context) -> Verdict {
    for name in ["A", "TOKEN", "POD_IP"] {
        let mut request = requests::web("c1");
        request.env.retain(|entry| !entry.starts_with(&format!("{name}=")));
        create(&context, name, By::Policy, Code::PolicyEnv, &request).await?;
    }
    let shim = EvilShim::attested(&context, requests::POLICY).await?;
    let mut without_optional = requests::web("c1");
    without_optional.env.retain(|entry| !entry.starts_with("SVC_"));
    shim.client.create_container(deadline(), &without_optional).await?;
    Ok(Outcome::pass("exact variables and required holes must be there"))
}

pub(super) const A9: Case = Case {
    id: "A9",
    level: Level::U,
    attack: "a text around what a pattern covers",
    defence: Defence::Code(Guard {
        function: "casemate_policy::pattern::Pattern::matches",
        sabotage: "true",
    }),
    run: |_| Box::pin(a9()),
};

async fn a9() -> Verdict {
    let pattern = Pattern::new("PREFIX_.+")?;
    ensure!(pattern.matches("PREFIX_a"), "does not match at all");
    for text in ["xPREFIX_a", "PREFIX_a\nY=z", "PREFIX_", "\nPREFIX_a"] {
        ensure!(!pattern.matches(text), "{text:?} matches");
    }
    for pattern in ["a)|(?:b", "(?x)a #", "(?m)^a$"] {
        let leaves = Pattern::new(pattern).is_ok_and(|p| p.matches("a\nb") || p.matches("ab"));
        ensure!(!leaves, "{pattern:?} leaves its anchors");
    }
    Ok(Outcome::pass("patterns cover whole texts"))
}
