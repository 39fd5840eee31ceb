// SPDX-License-Identifier: Apache-2.0
use crate::{Case, Defence, Level, Outcome};
pub(super) static D19: Case = Case {
    id: "D19",
    level: Level::P,
    attack: "",
    defence: Defence::Nothing,
    run: |_| Box::pin(async { Ok(Outcome::absent("todo")) }),
};
pub(super) static D23: Case = Case {
    id: "D23",
    level: Level::P,
    attack: "",
    defence: Defence::Nothing,
    run: |_| Box::pin(async { Ok(Outcome::absent("todo")) }),
};
