// SPDX-License-Identifier: Apache-2.0
//! A model of KVM's launch rules, for tests of whatever launches confidential guests. It refuses
//! what the kernel refuses, fails as the kernel fails, and measures the bytes that it was given.
//!
//! It trusts nobody: every argument is checked as the kernel would, and where the kernel is lenient
//! about reserved fields the model is strict, so that a launcher stays right on kernels to come. The
//! fold, the state of the virtual CPUs and the check of the ID block are written again here, from
//! the specifications, and share no code with the prediction: only so is it worth something that
//! both come to the same digest.
//!
//! It is a crate of its own, not a feature of `casemate-launch`: a feature can be switched on for a
//! shipped program by mistake, and a development dependency cannot be linked into one.
//!
//! ```
//! use casemate_kvm_model::Host;
//! use casemate_kvm_model::Model;
//! use casemate_kvm_model::Rule;
//! use casemate_launch::Kvm;
//! use casemate_launch::SnpKvm;
//! use casemate_launch::abi;
//!
//! let mut kvm = Model::new(Host::default());
//! kvm.create_vm(abi::VM_TYPE_SNP)?;
//! let start = abi::SnpLaunchStart { policy: 0x3_0000, ..Default::default() };
//! assert!(kvm.snp_launch_start(&start).is_err());
//! assert_eq!(kvm.broken_rule(), Some(Rule::StartBeforeInit));
//! # Ok::<(), casemate_launch::Refusal>(())
//! ```
//!
//! # Invariants
//!
//! - A refusal is either a broken [`Rule`] or was ordered by the test's [`Faults`].
//! - A guest exists ([`Model::snp_guest`], [`Model::tdx_guest`]) only behind a finished launch.
//!
//! Sources: Linux 7.2, `arch/x86/kvm/svm/sev.c`, `arch/x86/kvm/vmx/tdx.c`, `virt/kvm/kvm_main.c`,
//! `virt/kvm/guest_memfd.c`; AMD, SEV Secure Nested Paging Firmware ABI (56860) 1.57.

mod faults;
mod host;
mod id_block;
mod kvm;
mod memory;
mod psp;
mod rule;
mod snp;
mod tdx;
mod vcpu;

pub use faults::Fault;
pub use faults::Faults;
pub use host::CpuidLimit;
pub use host::Host;
pub use psp::SnpGuest;
pub use rule::Rule;
pub use tdx::TdxGuest;

use casemate_launch::Call;
use casemate_launch::Refusal;
use kvm::Vm;
use rule::No;
use rustix::io::Errno;

/// KVM with at most one VM.
#[derive(Debug)]
pub struct Model {
    host: Host,
    faults: Faults,
    vm: Option<Vm>,
    calls: Vec<Call>,
    pauses: u32,
    broken: Option<Rule>,
}

impl Model {
    /// KVM on a host, without faults.
    #[must_use]
    pub fn new(host: Host) -> Self {
        Self::with_faults(host, Faults::none())
    }

    /// KVM on a host that fails as ordered.
    #[must_use]
    pub fn with_faults(host: Host, faults: Faults) -> Self {
        Self { host, faults, vm: None, calls: Vec::new(), pauses: 0, broken: None }
    }

    /// The rule that the last refused call broke.
    #[must_use]
    pub fn broken_rule(&self) -> Option<Rule> {
        self.broken
    }

    /// All calls so far, refused ones too.
    #[must_use]
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// How often the launcher waited.
    #[must_use]
    pub fn pauses(&self) -> u32 {
        self.pauses
    }

    /// The guest of a finished SNP launch.
    #[must_use]
    pub fn snp_guest(&self) -> Option<&SnpGuest> {
        self.vm.as_ref().and_then(|vm| vm.snp.guest())
    }

    /// The guest of a finished TDX launch.
    #[must_use]
    pub fn tdx_guest(&self) -> Option<&TdxGuest> {
        self.vm.as_ref().and_then(|vm| vm.tdx.guest())
    }

    /// Makes one call: notes it, lets it fail as ordered, and notes the rule that it breaks.
    fn call<T: Default>(
        &mut self,
        call: Call,
        body: impl FnOnce(&Host, &mut Option<Vm>, Manner) -> Result<T, No>,
    ) -> Result<T, Refusal> {
        self.calls.push(call);
        let manner = match self.faults.next(call) {
            None => Manner { most: u64::MAX, misreports: false },
            Some(Fault::Partial(most)) => Manner { most, misreports: false },
            Some(Fault::Misreport) => Manner { most: u64::MAX, misreports: true },
            Some(Fault::Refuse(refusal)) => return Err(refusal),
            Some(Fault::Ignore) => return Ok(T::default()),
        };
        body(&self.host, &mut self.vm, manner).map_err(|no| {
            let (rule, refusal) = match no {
                No::Interrupted => return Refusal::kernel(Errno::INTR),
                No::Broken(rule) => (rule, rule.refusal()),
                No::BrokenInTdx(rule) => (rule, rule.tdx_refusal()),
            };
            self.broken = Some(rule);
            refusal
        })
    }

    /// Makes one call on the VM.
    fn vm_call<T: Default>(
        &mut self,
        call: Call,
        body: impl FnOnce(&Host, &mut Vm, Manner) -> Result<T, No>,
    ) -> Result<T, Refusal> {
        self.call(call, |host, vm, manner| body(host, vm.as_mut().ok_or(Rule::NoVm)?, manner))
    }
}

/// How a call with pages is carried out.
#[derive(Clone, Copy, Debug)]
struct Manner {
    /// Most pages that it does.
    most: u64,
    /// It says something else than it did.
    misreports: bool,
}

fn sha384(parts: &[&[u8]]) -> [u8; 48] {
    let mut context = ring::digest::Context::new(&ring::digest::SHA384);
    parts.iter().for_each(|part| context.update(part));
    let mut digest = [0; 48];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}
