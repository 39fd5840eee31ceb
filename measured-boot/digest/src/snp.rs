// SPDX-License-Identifier: Apache-2.0
//! AMD SEV-SNP: pages, virtual CPUs and parameters of a launch, and the fold that the PSP does.

mod fold;
mod guest;
mod launch;
mod pages;
mod profile;
mod sections;
mod steps;
mod vcpu;
mod vmsa;

pub use fold::FoldError;
pub use fold::LaunchDigest;
pub use fold::Pages;
pub use guest::GuestPolicy;
pub use guest::HostData;
pub use guest::InvalidPolicy;
pub use launch::LaunchError;
pub use launch::SnpLaunch;
pub use launch::measure_memory;
pub use pages::PageContents;
pub use pages::PageRange;
pub use pages::PageType;
pub use profile::GceHost;
pub use profile::UnknownVmm;
pub use profile::VmmProfile;
pub use sections::MAX_SECTIONS;
pub use sections::Section;
pub use sections::SectionsError;
pub use sections::SevMetadata;
pub use steps::SnpStep;
pub use steps::SnpSteps;
pub use vcpu::GuestFeatures;
pub use vcpu::InvalidFeatures;
pub use vcpu::UnknownVcpuType;
pub use vcpu::VcpuType;
pub use vmsa::Segment;
pub use vmsa::VMSA_GPA;
pub use vmsa::Vcpu;
pub use vmsa::VcpuState;
pub use vmsa::fold_vcpus;

pub(crate) use fold::sha384;
