// SPDX-License-Identifier: Apache-2.0
use crate::{Case, Defence, Level, Outcome};
pub(super) static E16: Case = Case {
    id: "E16",
    level: Level::P,
    attack: "",
    defence: Defence::Nothing,
    run: |_| Box::pin(async { Ok(Outcome::absent("todo")) }),
};
pub(super) static E20: Case = Case {
    id: "E20",
    level: Level::P,
    attack: "",
    defence: Defence::Nothing,
    run: |_| Box::pin(async { Ok(Outcome::absent("todo")) }),
};
