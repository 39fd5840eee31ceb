// SPDX-License-Identifier: Apache-2.0
//! The seam between the agent and its monitor.

use std::fmt;

use casemate_policy::Container;
use casemate_policy::Policy;
use casemate_policy::Sha256Digest;

use crate::ContainerLimits;
use crate::CreateRequest;
use crate::Denial;
use crate::ExecRequest;
use crate::Grant;
use crate::NetworkRequest;
use crate::Pending;
use crate::ProcessRef;
use crate::PutVolumeRequest;
use crate::UpdateRequest;

/// Judges the host's requests one after the other.
///
/// [`crate::Monitor`] is the one that ships. The trait is there for tests, which put one in its place
/// that allows everything, to show which defences are code and which are policy.
///
/// A method that gives a [`Pending`] has reserved the change; the caller carries it out and says how
/// that went. Every other method is done when it returns.
pub trait ReferenceMonitor: fmt::Debug + Send {
    /// The policy.
    fn policy(&self) -> &Policy;

    /// The policy's text on a container, by the id of an instance that is not deleted.
    fn container(&self, id: &str) -> Option<&Container>;

    /// The host gives the pod's network, once.
    ///
    /// # Errors
    ///
    /// A second time, a hostname that is malformed (B14) or not the policy's, or an address, route,
    /// next hop, name server or search domain outside the policy's ranges (E14).
    fn network(&mut self, request: &NetworkRequest) -> Result<Pending, Denial>;

    /// The host gives a revision of a volume's content; the number of the revision is granted.
    ///
    /// # Errors
    ///
    /// The policy has no such volume, or none whose content the host gives; a name is none, occurs
    /// twice or is not the policy's; content differs or is too large (B13).
    fn put_volume(&mut self, request: &PutVolumeRequest) -> Result<(u64, Pending), Denial>;

    /// The host asks for a container.
    ///
    /// # Errors
    ///
    /// The id is malformed or was used before, the name is not in the policy, its order, restart rule
    /// or count does not allow one now, or any field differs from the policy.
    fn create(&mut self, request: &CreateRequest) -> Result<(Grant, Pending), Denial>;

    /// The host asks for a process in a running container.
    ///
    /// # Errors
    ///
    /// The container does not run, the id is malformed or in use, too many processes are there, or the
    /// command, its environment, directory or streams are not granted.
    fn exec(&mut self, request: &ExecRequest) -> Result<(Grant, Pending), Denial>;

    /// The host starts a process that was created.
    ///
    /// # Errors
    ///
    /// The process is unknown or not just created.
    fn start(&mut self, process: &ProcessRef) -> Result<Pending, Denial>;

    /// The host changes limits of a container; all its limits after the change are granted.
    ///
    /// # Errors
    ///
    /// The container is unknown or has ended, or a figure is outside the range of the policy.
    fn update(&mut self, request: &UpdateRequest) -> Result<(ContainerLimits, Pending), Denial>;

    /// The host sends a signal to a process, or to every process of a container.
    ///
    /// # Errors
    ///
    /// The process is unknown or has ended, the signal is not granted (A17), or "all" is asked of a
    /// process that an exec made.
    ///
    /// # Security
    ///
    /// A20: a container that got a signal never counts as completed, whatever its exit code: killing
    /// the children of a script makes it skip its work and end well.
    fn signal(&mut self, process: &ProcessRef, signal: u32, all: bool) -> Result<(), Denial>;

    /// Whether a signal would be granted now. It changes nothing, and [`ReferenceMonitor::signal`] has
    /// the last word: this is for whoever must ask somebody else in between.
    ///
    /// # Errors
    ///
    /// At least that the process is unknown.
    fn check_signal(&self, process: &ProcessRef, _signal: u32, _all: bool) -> Result<(), Denial> {
        self.observe(process)
    }

    /// The host closes a process's stdin.
    ///
    /// # Errors
    ///
    /// The process is unknown or the host does not hold its stdin (A16).
    fn close_stdin(&mut self, process: &ProcessRef) -> Result<(), Denial>;

    /// The host resizes a terminal.
    ///
    /// # Errors
    ///
    /// The process is unknown or has no terminal.
    fn resize(&self, process: &ProcessRef) -> Result<(), Denial>;

    /// The host asks how a process is, or waits for it.
    ///
    /// # Errors
    ///
    /// The process is unknown.
    fn observe(&self, process: &ProcessRef) -> Result<(), Denial>;

    /// The host reads a container's usage figures.
    ///
    /// # Errors
    ///
    /// The container is unknown, or its metrics stay in the guest (A27).
    fn stats(&self, container_id: &str) -> Result<(), Denial>;

    /// The host reads the ids of a container's processes.
    ///
    /// # Errors
    ///
    /// The container is unknown, or its metrics stay in the guest (A27).
    fn pids(&self, container_id: &str) -> Result<(), Denial>;

    /// The host reads the termination message of a container.
    ///
    /// # Errors
    ///
    /// The container is unknown, has not ended, or its message stays in the guest (A27).
    fn termination_message(&self, container_id: &str) -> Result<(), Denial>;

    /// The host deletes a process that has ended or was never started.
    ///
    /// # Errors
    ///
    /// The process is unknown or runs (A22).
    fn delete(&mut self, process: &ProcessRef) -> Result<Pending, Denial>;

    /// A process ended with this code. Unknown processes are ignored: the guest says this, not the
    /// host, and it may say it late.
    fn exited(&mut self, process: &ProcessRef, code: u32);

    /// The change was carried out.
    fn commit(&mut self, pending: Pending);

    /// The change failed and nothing of it is left: the state is as before the request.
    fn rollback(&mut self, pending: Pending);

    /// A failed change could not be undone: every later request that changes something is denied.
    fn poison(&mut self);

    /// Whether [`ReferenceMonitor::poison`] was called.
    fn is_poisoned(&self) -> bool;

    /// Digest of the whole state: it is the same again exactly if the state is.
    fn fingerprint(&self) -> Sha256Digest;
}
