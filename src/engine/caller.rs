//! The caller of a checkout: its thread and its call site, as one number that fits into a slot.
//!
//! A checkout stores this number and looks nothing up. The name of the thread is recorded once for each
//! thread, and the call site once for each process. Both are looked up only for a report.

use parking_lot::Mutex;
use std::cell::Cell;
use std::panic::Location;
use std::sync::OnceLock;
use std::sync::atomic::{
    AtomicU32, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};

/// The thread and the call site of a checkout. The low half is the number of the thread, the high half is the
/// number of the call site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller(pub(super) u64);

crate::sync::thread_local! {
    /// The address of the call site that the calling thread used last, and the caller that belongs to it.
    static LAST: (Cell<usize>, Cell<u64>) = const { (Cell::new(0), Cell::new(0)) };
    static NUMBER: Cell<u32> = const { Cell::new(0) };
}

impl Caller {
    /// The calling thread at this call site.
    #[inline]
    pub(crate) fn at(site: &'static Location<'static>) -> Self {
        let address = std::ptr::from_ref(site).addr();
        LAST.with(|(last, caller)| match last.get() == address {
            true => Self(caller.get()),
            false => Self::at_other_site(site),
        })
    }

    #[inline(never)]
    fn at_other_site(site: &'static Location<'static>) -> Self {
        let caller = u64::from(site_number(site)) << 32 | u64::from(this_thread());
        LAST.with(|(last, known)| {
            last.set(std::ptr::from_ref(site).addr());
            known.set(caller);
        });
        Self(caller)
    }

    /// The number of the thread, which [`this_thread`] returned.
    pub(crate) fn thread(self) -> u32 {
        self.0 as u32
    }

    /// The name of the thread, or its id if it has no name. None if the thread ended long ago.
    pub(crate) fn thread_name(self) -> Option<String> {
        names::of(self.thread())
    }

    /// The call site. None if this process has more call sites than the table holds.
    pub(crate) fn call_site(self) -> Option<&'static Location<'static>> {
        let place = ((self.0 >> 32) as usize).checked_sub(1)?;
        LOCATIONS[place].get().copied()
    }
}

// ---- call sites --------------------------------------------------------------------------------

/// How many call sites the table holds. The unused part of the table takes no memory.
const SITES: usize = 4096;
/// How many places a search tries. With the table half full, a search needs three on average.
const PROBES: usize = 64;

/// The addresses of the known call sites, at a place that follows from the address. 0: a free place.
static ADDRESSES: [AtomicUsize; SITES] = [const { AtomicUsize::new(0) }; SITES];
/// The call sites, in the places of their addresses.
static LOCATIONS: [OnceLock<&'static Location<'static>>; SITES] =
    [const { OnceLock::new() }; SITES];

/// Held while a call site gets its place.
static REGISTERING: Mutex<()> = Mutex::new(());

/// Returns the number of a call site: its place plus one, or 0 if the table is full.
#[inline]
fn site_number(site: &'static Location<'static>) -> u32 {
    let address = std::ptr::from_ref(site).addr();
    // Locations are aligned to eight bytes.
    let first = (address >> 3) % SITES;
    match ADDRESSES[first].load(Relaxed) == address {
        true => first as u32 + 1,
        false => find_site(site, address, first),
    }
}

#[cold]
#[inline(never)]
fn find_site(site: &'static Location<'static>, address: usize, first: usize) -> u32 {
    let places = || (0..PROBES).map(|step| (first + step) % SITES);
    let known = |place: &usize| ADDRESSES[*place].load(Acquire) == address;
    if let Some(place) = places().find(known) {
        return place as u32 + 1;
    }
    let _one_at_a_time = REGISTERING.lock();
    let usable = |place: &usize| matches!(ADDRESSES[*place].load(Relaxed), 0) || known(place);
    let Some(place) = places().find(usable) else {
        return 0;
    };
    // The address is stored last: who finds it also finds the call site.
    let _known = LOCATIONS[place].set(site);
    ADDRESSES[place].store(address, Release);
    place as u32 + 1
}

// ---- threads -----------------------------------------------------------------------------------

/// Returns the number of the calling thread, which no other running thread has and which is never 0.
#[inline]
pub(crate) fn this_thread() -> u32 {
    match NUMBER.with(Cell::get) {
        0 => number_this_thread(),
        number => number,
    }
}

#[cold]
fn number_this_thread() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = loop {
        // The numbers start again after four thousand million threads.
        let number = NEXT.fetch_add(1, Relaxed);
        if number != 0 && names::record(number) {
            break number;
        }
    };
    NUMBER.with(|own| own.set(number));
    number
}

/// The names of the threads that have used a pool.
#[cfg(not(any(conpool_loom, conpool_shuttle)))]
mod names {
    use super::Mutex;
    use std::cell::Cell;
    use std::collections::{BTreeMap, VecDeque};
    use std::thread;

    /// How many names of ended threads are kept, for connections that outlive the thread that took them.
    const ENDED: usize = 1024;

    struct Names {
        running: BTreeMap<u32, String>,
        /// The threads that have ended, the latest last.
        ended: VecDeque<(u32, String)>,
    }

    static NAMES: Mutex<Names> = Mutex::new(Names {
        running: BTreeMap::new(),
        ended: VecDeque::new(),
    });

    /// Moves the name to the ended threads when its thread ends.
    struct Own(Cell<u32>);

    impl Drop for Own {
        fn drop(&mut self) {
            let number = self.0.get();
            let mut names = NAMES.lock();
            if let Some(name) = names.running.remove(&number) {
                names.end(number, name);
            }
        }
    }

    thread_local! {
        static OWN: Own = const { Own(Cell::new(0)) };
    }

    impl Names {
        fn end(&mut self, number: u32, name: String) {
            if self.ended.len() == ENDED {
                self.ended.pop_front();
            }
            self.ended.push_back((number, name));
        }
    }

    /// Records the calling thread under this number. False if a running thread has the number.
    pub(super) fn record(number: u32) -> bool {
        let thread = thread::current();
        let name = match thread.name() {
            Some(name) => name.to_owned(),
            None => format!("{:?}", thread.id()),
        };
        let mut names = NAMES.lock();
        if names.running.contains_key(&number) {
            return false;
        }
        // A pool that is used in the destructor of another thread-local value finds this one gone.
        match OWN.try_with(|own| own.0.set(number)) {
            Ok(()) => drop(names.running.insert(number, name)),
            Err(_) => names.end(number, name),
        }
        true
    }

    pub(super) fn of(number: u32) -> Option<String> {
        let names = NAMES.lock();
        let ended = || {
            let mut ended = names.ended.iter().rev();
            ended
                .find(|(ended, _)| *ended == number)
                .map(|(_, name)| name)
        };
        names.running.get(&number).or_else(ended).cloned()
    }
}

/// Records no names: the threads of a model have none.
#[cfg(any(conpool_loom, conpool_shuttle))]
mod names {
    pub(super) fn record(_: u32) -> bool {
        true
    }

    pub(super) fn of(number: u32) -> Option<String> {
        Some(format!("thread {number}"))
    }
}

#[cfg(all(test, not(any(conpool_loom, conpool_shuttle))))]
mod tests {
    use super::*;
    use std::thread;

    #[track_caller]
    fn here() -> Caller {
        Caller::at(Location::caller())
    }

    #[test]
    fn a_caller_knows_its_call_site_and_its_thread() {
        let mine = [here(), here()];
        let lines = mine.map(|caller| caller.call_site().unwrap().line());
        assert_eq!(lines, [line!() - 2; 2]);
        assert_eq!(mine[0].call_site().unwrap().file(), file!());
        assert_eq!(mine[0].thread(), this_thread());
        assert_eq!(mine[0].thread_name().as_deref(), thread::current().name());
    }

    #[test]
    fn one_call_site_has_one_number() {
        let calls: Vec<_> = (0..3).map(|_| here()).collect();
        assert!(calls.iter().all(|call| *call == calls[0]));
    }

    #[test]
    fn two_threads_have_two_numbers_and_their_own_names() {
        let named = thread::Builder::new().name("worker-3".into());
        let (theirs, name) = named
            .spawn(|| (here(), here().thread_name()))
            .unwrap()
            .join()
            .unwrap();
        assert_ne!(theirs.thread(), this_thread());
        assert_eq!(name.as_deref(), Some("worker-3"));
        // The name outlives the thread, because a connection can outlive it too.
        assert_eq!(theirs.thread_name().as_deref(), Some("worker-3"));
    }

    #[test]
    fn a_thread_without_a_name_is_known_by_its_id() {
        let (name, id) = thread::spawn(|| (here().thread_name(), thread::current().id()))
            .join()
            .unwrap();
        assert_eq!(name, Some(format!("{id:?}")));
    }

    #[test]
    fn a_thousand_threads_that_ended_are_remembered_and_no_more() {
        let first = thread::spawn(here).join().unwrap();
        for _ in 0..1100 {
            thread::spawn(here).join().unwrap();
        }
        assert_eq!(first.thread_name(), None);
    }
}
