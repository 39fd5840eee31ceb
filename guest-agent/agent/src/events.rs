// SPDX-License-Identifier: Apache-2.0
//! Events that wait for the host to ask for them.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::PoisonError;

use tokio::sync::Notify;

/// Something that the host did not ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// A process of the container was killed for want of memory.
    Oom { container: String },
}

/// Events in their order. A host that never asks loses the oldest ones.
#[derive(Debug, Default)]
pub(crate) struct Events {
    waiting: Mutex<VecDeque<Event>>,
    added: Notify,
}

impl Events {
    pub(crate) fn push(&self, event: Event) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= MAX_WAITING {
            waiting.pop_front();
        }
        waiting.push_back(event);
        drop(waiting);
        self.added.notify_one();
    }

    /// The next event, as soon as there is one. Dropping the future loses none.
    pub(crate) async fn next(&self) -> Event {
        loop {
            let event = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            if let Some(event) = event {
                // Another asker may have slept through the same notification.
                self.added.notify_one();
                return event;
            }
            self.added.notified().await;
        }
    }
}

/// Most events that wait.
const MAX_WAITING: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn oom(n: usize) -> Event {
        Event::Oom { container: n.to_string() }
    }

    #[tokio::test]
    async fn events_come_in_order_and_the_oldest_are_lost() {
        let events = Events::default();
        (0..MAX_WAITING + 2).for_each(|n| events.push(oom(n)));
        assert_eq!(events.next().await, oom(2));
        assert_eq!(events.next().await, oom(3));
    }

    #[tokio::test]
    async fn two_askers_both_get_one() {
        let events = std::sync::Arc::new(Events::default());
        let askers: Vec<_> = (0..2)
            .map(|_| {
                let events = events.clone();
                tokio::spawn(async move { events.next().await })
            })
            .collect();
        tokio::task::yield_now().await;
        events.push(oom(0));
        events.push(oom(1));
        for asker in askers {
            asker.await.unwrap();
        }
    }
}
