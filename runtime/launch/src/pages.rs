// SPDX-License-Identifier: Apache-2.0
//! Page-aligned memory from which KVM copies.
//!
//! `KVM_TDX_INIT_MEM_REGION`, and newer kernels' LAUNCH_UPDATE, take sources at page addresses only,
//! and a plan's contents lie anywhere.

use zerocopy::FromBytes;
use zerocopy::FromZeros;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;

/// Most pages of one call: enough to make the calls' cost vanish beside the hardware's, and few
/// enough that a launch needs no second copy of its firmware.
pub(crate) const MAX_PAGES_PER_CALL: u64 = 256;

/// One page.
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
pub(crate) struct Page(pub(crate) [u8; 4096]);

/// The source of one call.
pub(crate) struct PageBuffer(Vec<Page>);

impl PageBuffer {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    /// Takes `pages` pages of contents, and zeros behind the contents' end.
    pub(crate) fn fill(&mut self, contents: &[u8], pages: usize) -> &[u8] {
        self.0.clear();
        self.0.resize_with(pages, Page::new_zeroed);
        let bytes = self.0.as_mut_slice().as_mut_bytes();
        let length = contents.len().min(bytes.len());
        if let (Some(places), Some(contents)) = (bytes.get_mut(..length), contents.get(..length)) {
            places.copy_from_slice(contents);
        }
        self.0.as_slice().as_bytes()
    }
}

/// Splits a number of pages into calls: the first page of each and how many it has.
pub(crate) fn calls(pages: u64) -> impl Iterator<Item = (u64, u64)> {
    let step = MAX_PAGES_PER_CALL;
    let count = pages.div_ceil(step);
    (0..count).map(move |call| call.saturating_mul(step)).map(move |first| {
        let rest = pages.saturating_sub(first);
        (first, rest.min(step))
    })
}

/// What contents hold of these pages; less or nothing where they have ended.
pub(crate) fn part(contents: &[u8], first: u64, pages: u64) -> &[u8] {
    let at = |page: u64| {
        let offset = page.saturating_mul(crate::abi::PAGE_SIZE);
        usize::try_from(offset).unwrap_or(usize::MAX).min(contents.len())
    };
    contents.get(at(first)..at(first.saturating_add(pages))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_end_in_zeros() {
        let mut buffer = PageBuffer::new();
        buffer.fill(&[9; 8192], 2);
        let bytes = buffer.fill(&[7; 5000], 3);
        assert_eq!(bytes.as_ptr().addr() % 4096, 0);
        assert_eq!(bytes.len(), 3 * 4096);
        assert!(bytes[..5000].iter().all(|byte| *byte == 7));
        assert!(bytes[5000..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn calls_cover_every_page_once() {
        for pages in [0, 1, 255, 256, 257, 1024, 1025] {
            let mut next = 0;
            for (first, count) in calls(pages) {
                assert_eq!(first, next);
                assert!((1..=256).contains(&count));
                next += count;
            }
            assert_eq!(next, pages);
        }
    }

    #[test]
    fn parts_end_with_the_contents() {
        let contents = vec![1; 4096 + 10];
        assert_eq!(part(&contents, 0, 1).len(), 4096);
        assert_eq!(part(&contents, 1, 256).len(), 10);
        assert_eq!(part(&contents, 2, 1).len(), 0);
    }
}
