// SPDX-License-Identifier: Apache-2.0
//! The cases, in their order.

mod confinement;
mod devices;
mod files;
mod lifecycle;
mod load;
mod terminal;

use std::pin::Pin;

use crate::harness::Harness;

/// A case.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) run: for<'a> fn(&'a Harness) -> Running<'a>,
}

pub(crate) type Running<'a> = Pin<Box<dyn Future<Output = anyhow::Result<()>> + 'a>>;

macro_rules! cases {
    ($($module:ident :: $name:ident),+ $(,)?) => {
        pub(crate) const ALL: &[Case] = &[$(Case {
            name: concat!(stringify!($module), "::", stringify!($name)),
            run: |harness| Box::pin($module::$name(harness)),
        }),+];
    };
}

cases! {
    lifecycle::output_and_exit_code,
    lifecycle::stdin_reaches_the_program_and_ends,
    lifecycle::signals_end_processes,
    lifecycle::states_are_kept,
    lifecycle::a_failed_create_leaves_nothing,
    lifecycle::delete_leaves_nothing,
    lifecycle::exec_runs_in_the_container,
    lifecycle::orphans_are_reaped,
    lifecycle::a_termination_message_is_read_until_the_delete,
    confinement::processes_are_confined,
    confinement::execs_are_confined_alike,
    confinement::privileges_may_be_gained_if_the_policy_says_so,
    confinement::users_and_groups_are_the_policys,
    confinement::refused_calls_fail,
    confinement::no_filter_if_the_policy_says_so,
    confinement::namespaces_are_the_containers,
    confinement::limits_hold,
    confinement::limits_change_together_or_not_at_all,
    confinement::an_exec_may_have_another_user,
    confinement::want_of_memory_is_told,
    devices::nodes_cannot_be_made,
    devices::nodes_that_are_there_cannot_be_opened,
    devices::the_root_has_no_devices,
    files::mounts_are_the_policys,
    files::volumes_are_shared_by_name,
    files::a_volume_may_be_small,
    files::content_of_volumes_is_swapped_under_readers,
    files::parts_of_volumes_are_mounted,
    files::secrets_are_seen_by_their_container_alone,
    files::proc_may_be_unmasked,
    files::the_root_may_be_read_only,
    files::the_image_stays_as_it_was,
    files::kernel_files_are_hidden_or_read_only,
    terminal::a_terminal_has_a_size,
    terminal::an_exec_may_have_a_terminal,
    load::a_hundred_creates_beside_forty_allocating_threads,
    load::nothing_is_left,
}

/// Fails with both values.
macro_rules! equal {
    ($left:expr, $right:expr, $($what:tt)+) => {
        match (&$left, &$right) {
            (left, right) => anyhow::ensure!(
                left == right, "{}: {left:?} instead of {right:?}", format!($($what)+)
            ),
        }
    };
}
pub(crate) use equal;
