//! Lower bounds: a floor hands out numbers, but cannot wait, create, check or count.

use std::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Relaxed, Release},
};

use crossbeam_queue::ArrayQueue;
use crossbeam_utils::CachePadded;
use parking_lot::Mutex;

use super::Subject;

pub(super) struct MutexVec(Mutex<Vec<u64>>);

impl MutexVec {
    pub(super) fn new(size: usize) -> Self {
        Self(Mutex::new(vec![0; size]))
    }
}

impl Subject for MutexVec {
    const NAME: &'static str = "Mutex<Vec>";

    #[inline]
    fn with(&self, _: usize, work: impl FnOnce(&mut u64)) {
        let mut connection = self.0.lock().pop().expect("enough for all threads");
        work(&mut connection);
        self.0.lock().push(connection);
    }
}

pub(super) struct Queue(ArrayQueue<u64>);

impl Queue {
    pub(super) fn new(size: usize) -> Self {
        let queue = ArrayQueue::new(size);
        (0..size).for_each(|_| assert!(queue.push(0).is_ok()));
        Self(queue)
    }
}

impl Subject for Queue {
    const NAME: &'static str = "ArrayQueue";

    #[inline]
    fn with(&self, _: usize, work: impl FnOnce(&mut u64)) {
        let mut connection = self.0.pop().expect("enough for all threads");
        work(&mut connection);
        self.0.push(connection).expect("it came from there");
    }
}

/// One compare-and-swap and one store, on a flag that no other thread touches: the minimum to mark a slot as
/// taken and as free again.
pub(super) struct Flags(Vec<CachePadded<AtomicBool>>);

impl Flags {
    pub(super) fn new(threads: usize) -> Self {
        Self((0..threads).map(|_| CachePadded::default()).collect())
    }
}

impl Subject for Flags {
    const NAME: &'static str = "CAS + store";

    #[inline]
    fn with(&self, thread: usize, work: impl FnOnce(&mut u64)) {
        let flag = &self.0[thread];
        let taken = flag.compare_exchange(false, true, Acquire, Relaxed);
        assert!(taken.is_ok());
        let mut connection = 0;
        work(&mut connection);
        flag.store(false, Release);
    }
}
