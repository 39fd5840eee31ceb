// SPDX-License-Identifier: Apache-2.0
//! The fold step by step, for whoever wants to know where two digests part.

use std::slice;

use super::LaunchDigest;
use super::PageRange;
use super::PageType;
use super::fold::nth_page;
use super::sha384;
use crate::plan::Vcpus;

/// One step of the fold: a range of pages, one page, or one virtual CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnpStep {
    /// Guest-physical address of the first page.
    pub gpa: u64,
    /// Number of pages.
    pub count: u64,
    /// Type of the pages.
    pub page_type: PageType,
    /// SHA-384 of the page, where one page with measured contents is folded.
    pub contents: Option<[u8; 48]>,
    /// Index of the virtual CPU whose state is folded.
    pub vcpu: Option<u16>,
    /// The digest after this step.
    pub digest: LaunchDigest,
}

/// The steps of a plan, in order. Each is folded when it is asked for.
#[derive(Clone, Debug)]
pub struct SnpSteps<'p> {
    digest: LaunchDigest,
    ranges: slice::Iter<'p, PageRange<'p>>,
    /// What is left of a range that is folded page by page: the number of its next page.
    rest: Option<(&'p PageRange<'p>, u64)>,
    by_page: bool,
    vcpus: VcpuFold,
}

impl<'p> SnpSteps<'p> {
    pub(crate) fn new(start: LaunchDigest, ranges: &'p [PageRange<'p>], vcpus: &Vcpus) -> Self {
        let vcpus = VcpuFold::new(vcpus);
        Self { digest: start, ranges: ranges.iter(), rest: None, by_page: false, vcpus }
    }

    /// The same with a step for each page.
    #[must_use]
    pub fn by_page(self) -> Self {
        Self { by_page: true, ..self }
    }

    /// Folds one page of a range.
    fn page(&mut self, range: &'p PageRange<'p>, index: u64) -> SnpStep {
        let next = index.saturating_add(1);
        self.rest = (next < range.count()).then_some((range, next));
        let page = usize::try_from(index)
            .ok()
            .and_then(|index| range.bytes()?.as_chunks::<4096>().0.get(index));
        let contents = page.map(|page| sha384(&[page]));
        let (gpa, page_type) = (nth_page(range.gpa(), index), range.page_type());
        self.digest.fold_page(gpa, page_type, &contents.unwrap_or([0; 48]));
        SnpStep { gpa, count: 1, page_type, contents, vcpu: None, digest: self.digest }
    }

    /// Folds to the end and keeps the digests after each virtual CPU.
    pub(crate) fn digests_by_vcpus(self) -> Vec<LaunchDigest> {
        let mut digests = Vec::with_capacity(self.vcpus.count.into());
        digests.extend(self.filter(|step| step.vcpu.is_some()).map(|step| step.digest));
        digests
    }
}

impl Iterator for SnpSteps<'_> {
    type Item = SnpStep;

    fn next(&mut self) -> Option<SnpStep> {
        if let Some((range, index)) = self.rest {
            return Some(self.page(range, index));
        }
        let Some(range) = self.ranges.next() else {
            return self.vcpus.step(&mut self.digest);
        };
        if self.by_page {
            return Some(self.page(range, 0));
        }
        let contents = range.bytes().filter(|_| range.count() == 1).map(|page| sha384(&[page]));
        match &contents {
            Some(hash) => self.digest.fold_page(range.gpa(), PageType::Normal, hash),
            None => self.digest.fold_range(range),
        }
        Some(SnpStep {
            gpa: range.gpa(),
            count: range.count(),
            page_type: range.page_type(),
            contents,
            vcpu: None,
            digest: self.digest,
        })
    }
}

/// The virtual CPUs at the end of the fold. Only the first one differs, so two pages are hashed.
#[derive(Clone, Debug)]
pub(crate) struct VcpuFold {
    gpa: u64,
    first: [u8; 48],
    other: [u8; 48],
    next: u16,
    count: u16,
}

impl VcpuFold {
    pub(crate) fn new(vcpus: &Vcpus) -> Self {
        let hash = |state: &super::VcpuState| sha384(&[state.to_page().as_slice()]);
        Self {
            gpa: vcpus.gpa(),
            first: hash(vcpus.first()),
            other: hash(vcpus.other()),
            next: 0,
            count: vcpus.count().get(),
        }
    }

    pub(crate) fn step(&mut self, digest: &mut LaunchDigest) -> Option<SnpStep> {
        let vcpu = self.next;
        if vcpu >= self.count {
            return None;
        }
        self.next = vcpu.saturating_add(1);
        let contents = if vcpu == 0 { self.first } else { self.other };
        digest.fold_page(self.gpa, PageType::Vmsa, &contents);
        Some(SnpStep {
            gpa: self.gpa,
            count: 1,
            page_type: PageType::Vmsa,
            contents: Some(contents),
            vcpu: Some(vcpu),
            digest: *digest,
        })
    }
}
