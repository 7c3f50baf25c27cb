//! Limits on what this process may have, and their end.

use super::usage::address_space;
use crate::common::Gate;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    collections::HashSet,
    fs, io,
    thread::{Builder, JoinHandle},
};

/// Less than the stack of any thread that asks for the default, and enough for everything else.
const LEFT: u64 = 1024 * 1024;
/// For the threads of a test that runs while others are refused.
const SLIM: usize = 96 * 1024;

/// As long as this lives, the system refuses every thread with a stack of the default size.
pub(crate) struct NoThreads {
    limit: Rlimit,
    /// Threads that sit on the stacks which ended threads left for reuse.
    sitters: Vec<JoinHandle<()>>,
    over: Gate,
}

impl NoThreads {
    /// The pool must be at rest: a thread that ends later makes room for another.
    pub(crate) fn begin() -> Self {
        let over = Gate::default();
        let mut refused = Self {
            limit: getrlimit(Resource::As),
            sitters: Vec::new(),
            over: over.clone(),
        };
        loop {
            set(Resource::As, &refused.limit, address_space() + LEFT);
            let over = over.clone();
            match Builder::new().spawn(move || over.pass()) {
                Ok(sitter) => refused.sitters.push(sitter),
                Err(_) => return refused,
            }
        }
    }
}

impl Drop for NoThreads {
    fn drop(&mut self) {
        setrlimit(Resource::As, self.limit).expect("the limit was this one before");
        self.over.open();
        for sitter in self.sitters.drain(..) {
            sitter.join().expect("it only waits");
        }
    }
}

/// A thread that is small enough to be had while others are refused.
pub(crate) fn slim<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let thread = Builder::new().name("slim".into()).stack_size(SLIM);
    thread.spawn(work).expect("a small stack")
}

/// As long as this lives, no more than so many further descriptors can be had at a time.
pub(crate) struct FewDescriptors(Rlimit);

impl FewDescriptors {
    pub(crate) fn begin(more: usize) -> Self {
        let listed: Vec<_> = fs::read_dir("/proc/self/fd")
            .expect("the list of descriptors")
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        // Without the descriptor of the list itself, which is gone by now.
        let open = listed.iter().filter(|path| path.is_symlink());
        let taken: HashSet<u64> = open
            .filter_map(|path| path.file_name()?.to_str()?.parse().ok())
            .collect();
        // The system gives the lowest number that is free.
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
