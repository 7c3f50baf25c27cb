//! Limits on the resources of this process, and their end.

use super::usage::address_space;
use crate::common::Gate;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    collections::HashSet,
    fs, io,
    thread::{Builder, JoinHandle},
};

/// Less than a default thread stack, and enough for everything else.
const HEADROOM: u64 = 1024 * 1024;
/// The stack size of a test's threads while others are refused.
const SMALL_STACK: usize = 96 * 1024;

/// As long as this lives, the system refuses every thread with a stack of the default size.
pub(crate) struct NoThreads {
    limit: Rlimit,
    /// Threads that occupy the cached stacks of ended threads.
    stack_holders: Vec<JoinHandle<()>>,
    over: Gate,
}

impl NoThreads {
    /// Begins the limit. The pool must be idle: a thread that ends later frees a stack.
    pub(crate) fn begin() -> Self {
        let over = Gate::default();
        let mut refused = Self {
            limit: getrlimit(Resource::As),
            stack_holders: Vec::new(),
            over: over.clone(),
        };
        loop {
            set(Resource::As, &refused.limit, address_space() + HEADROOM);
            let over = over.clone();
            match Builder::new().spawn(move || over.pass()) {
                Ok(sitter) => refused.stack_holders.push(sitter),
                Err(_) => return refused,
            }
        }
    }
}

impl Drop for NoThreads {
    fn drop(&mut self) {
        setrlimit(Resource::As, self.limit).expect("the limit was this one before");
        self.over.open();
        for sitter in self.stack_holders.drain(..) {
            sitter.join().expect("it only waits");
        }
    }
}

/// Spawns a thread that is small enough to start while others are refused.
pub(crate) fn spawn_small<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let thread = Builder::new().name("slim".into()).stack_size(SMALL_STACK);
    thread.spawn(work).expect("a small stack")
}

/// As long as this lives, at most `more` further descriptors can be open at a time.
pub(crate) struct FewDescriptors(Rlimit);

impl FewDescriptors {
    pub(crate) fn begin(more: usize) -> Self {
        let listed: Vec<_> = fs::read_dir("/proc/self/fd")
            .expect("the list of descriptors")
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        // Without the descriptor of the listing itself, which is closed by now.
        let open = listed.iter().filter(|path| path.is_symlink());
        let taken: HashSet<u64> = open
            .filter_map(|path| path.file_name()?.to_str()?.parse().ok())
            .collect();
        // The system assigns the lowest free number.
        let mut free = (0..).filter(|number| !taken.contains(number));
        let top = free.nth(more).expect("numbers do not end");
        let limit = getrlimit(Resource::Nofile);
        set(Resource::Nofile, &limit, top);
        Self(limit)
    }
}

impl Drop for FewDescriptors {
    fn drop(&mut self) {
        setrlimit(Resource::Nofile, self.0).expect("the limit was this one before");
    }
}

fn set(resource: Resource, before: &Rlimit, current: u64) {
    let limit = Rlimit {
        current: Some(current),
        maximum: before.maximum,
    };
    let set: io::Result<()> = setrlimit(resource, limit).map_err(Into::into);
    set.expect("a limit below the hard one");
}
