// SPDX-License-Identifier: Apache-2.0
//! Calls with as many tries as they may have.

use crate::Call;
use crate::Kvm;
use crate::LaunchError;
use crate::Refusal;

/// Tries without progress before a call is given up. With the pauses of a real KVM, a second.
pub const MAX_ATTEMPTS: u32 = 1000;

/// Tries of `KVM_TDX_INIT_VM`, which waits for the processor's random numbers.
pub const MAX_TDX_INIT_ATTEMPTS: u32 = 10_000;

/// Makes the calls of one launch.
pub(crate) struct Caller<'k, K> {
    kvm: &'k mut K,
    retries: u32,
}

impl<'k, K: Kvm> Caller<'k, K> {
    pub(crate) fn new(kvm: &'k mut K) -> Self {
        Self { kvm, retries: 0 }
    }

    /// How often a call was made again.
    pub(crate) fn retries(&self) -> u32 {
        self.retries
    }

    /// Makes a call once.
    pub(crate) fn once<T>(
        &mut self,
        call: Call,
        make: impl FnOnce(&mut K) -> Result<T, Refusal>,
    ) -> Result<T, LaunchError> {
        self.make(call, make).map_err(|source| LaunchError::Refused { call, source })
    }

    /// Makes a call until KVM does not ask for another try. For calls that do nothing when they
    /// fail.
    pub(crate) fn call<T>(
        &mut self,
        call: Call,
        make: impl FnMut(&mut K) -> Result<T, Refusal>,
    ) -> Result<T, LaunchError> {
        self.call_patiently(call, MAX_ATTEMPTS, make)
    }

    /// As [`Caller::call`], with the tries of a call that may wait long.
    pub(crate) fn call_patiently<T>(
        &mut self,
        call: Call,
        max_attempts: u32,
        mut make: impl FnMut(&mut K) -> Result<T, Refusal>,
    ) -> Result<T, LaunchError> {
        let mut patience = Patience::new(call, max_attempts);
        loop {
            match self.make(call, &mut make) {
                Ok(value) => return Ok(value),
                Err(refusal) => self.wait(&mut patience, Some(refusal))?,
            }
        }
    }

    /// Makes a call and notes KVM's answer.
    pub(crate) fn make<T>(
        &mut self,
        call: Call,
        make: impl FnOnce(&mut K) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let answer = make(self.kvm);
        self.kvm.note(call, answer.as_ref().map(|_| ()).map_err(|refusal| *refusal));
        answer
    }

    /// Goes on after a call that may have done a part: waits if it did nothing, or was refused for
    /// now.
    pub(crate) fn go_on(
        &mut self,
        patience: &mut Patience,
        progressed: bool,
        answer: Result<(), Refusal>,
    ) -> Result<(), LaunchError> {
        if progressed {
            patience.attempts = 0;
        }
        match answer {
            Ok(()) if progressed => Ok(()),
            Ok(()) => self.wait(patience, None),
            Err(refusal) => self.wait(patience, Some(refusal)),
        }
    }

    /// Waits before the next try, if there may be one.
    fn wait(
        &mut self,
        patience: &mut Patience,
        refusal: Option<Refusal>,
    ) -> Result<(), LaunchError> {
        let Patience { call, max_attempts, .. } = *patience;
        if let Some(source) = refusal
            && !source.is_transient(call)
        {
            return Err(LaunchError::Refused { call, source });
        }
        patience.attempts = patience.attempts.saturating_add(1);
        if patience.attempts >= max_attempts {
            let attempts = patience.attempts;
            return Err(LaunchError::RetriesExhausted { call, attempts, source: refusal });
        }
        self.retries = self.retries.saturating_add(1);
        self.kvm.pause(patience.attempts);
        Ok(())
    }
}

/// Tries of one call since it last got on.
pub(crate) struct Patience {
    call: Call,
    attempts: u32,
    max_attempts: u32,
}

impl Patience {
    pub(crate) fn new(call: Call, max_attempts: u32) -> Self {
        Self { call, attempts: 0, max_attempts }
    }
}
