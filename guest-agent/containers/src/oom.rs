// SPDX-License-Identifier: Apache-2.0
//! Tells when the kernel has killed a container's process for want of memory.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use rustix::fs::inotify;
use rustix::io::Errno;
use tokio::sync::broadcast;

use crate::cgroup::Cgroup;
use crate::id::ContainerId;

/// Watches the cgroups of running containers.
#[derive(Debug, Clone)]
pub(crate) struct OomWatch {
    inotify: Arc<OwnedFd>,
    watched: Arc<Mutex<HashMap<i32, Watched>>>,
    events: broadcast::Sender<ContainerId>,
}

#[derive(Debug)]
struct Watched {
    id: ContainerId,
    cgroup: Cgroup,
    kills: u64,
}

impl OomWatch {
    /// Starts to watch, in a thread of its own that mostly sleeps in read(2).
    ///
    /// # Errors
    ///
    /// When the kernel gives no inotify instance or no thread.
    pub(crate) fn start() -> io::Result<Self> {
        let watch = Self {
            inotify: Arc::new(inotify::init(inotify::CreateFlags::CLOEXEC)?),
            watched: Arc::default(),
            events: broadcast::channel(MAX_EVENTS).0,
        };
        let this = watch.clone();
        std::thread::Builder::new().name("oom".to_owned()).stack_size(STACK).spawn(move || {
            let error = this.read_events();
            tracing::error!(%error, "cannot watch for want of memory any more");
        })?;
        Ok(watch)
    }

    /// Ids of containers, one for each time that processes of theirs were killed.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<ContainerId> {
        self.events.subscribe()
    }

    /// Adds a container. Without the memory controller there is nothing to watch.
    pub(crate) fn add(&self, id: ContainerId, cgroup: Cgroup) {
        let mut watched = self.lock();
        let file = cgroup.memory_events();
        match inotify::add_watch(&*self.inotify, &file, inotify::WatchFlags::MODIFY) {
            Ok(number) => {
                let kills = cgroup.oom_kills();
                watched.insert(number, Watched { id, cgroup, kills });
            }
            Err(error) => tracing::warn!(container = %id, %error, "cannot watch memory.events"),
        }
    }

    /// Removes a container whose cgroup is about to go.
    pub(crate) fn remove(&self, id: &ContainerId) {
        let mut watched = self.lock();
        let number = watched.iter().find(|(_, w)| w.id == *id).map(|(number, _)| *number);
        if let Some(number) = number {
            if let Some(mut entry) = watched.remove(&number) {
                self.report(&mut entry);
            }
            // Fails only if the file is gone, and the watch with it.
            let _ = inotify::remove_watch(&*self.inotify, number);
        }
    }

    fn read_events(&self) -> Errno {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&*self.inotify, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => {
                    if let Some(entry) = self.lock().get_mut(&event.wd()) {
                        self.report(entry);
                    }
                }
                Err(Errno::INTR) => {}
                Err(error) => return error,
            }
        }
    }

    /// The file changes for other reasons too: only the count of kills tells.
    fn report(&self, entry: &mut Watched) {
        let kills = entry.cgroup.oom_kills();
        if kills > entry.kills {
            entry.kills = kills;
            // Nobody listens: nobody to tell.
            drop(self.events.send(entry.id.clone()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i32, Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Events kept for a slow listener; older ones are dropped, which the listener is told.
const MAX_EVENTS: usize = 64;

/// Bytes of the thread's stack; it keeps a small buffer there and formats log lines.
const STACK: usize = 128 * 1024;
