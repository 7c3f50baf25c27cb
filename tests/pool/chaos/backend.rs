//! A backend that counts open connections, and a manager whose hooks fail, panic and delay.

use super::settings::scrambled;
use conpool::ConnectionManager;
use std::{
    fmt,
    fs::File,
    panic::resume_unwind,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

/// The backend's view of all connections.
pub(crate) struct Backend {
    seed: u64,
    /// Faults per thousand calls of a hook.
    faults: AtomicU64,
    calls: AtomicU64,
    counts: Mutex<Counts>,
    clears_begun: AtomicU64,
    clears_done: AtomicU64,
    violation: AtomicBool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    /// Connections that take capacity here, including those being opened and closed.
    pub(crate) open: usize,
    pub(crate) peak: usize,
    /// The limit on `open`.
    pub(crate) limit: usize,
    pub(crate) created: u64,
    pub(crate) disposed: u64,
    pub(crate) violations: Vec<String>,
}

/// The place of a connection, as far as the backend must count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the hands of a user, outside the pool.
    Outside,
    /// Passed to `add`, which has not returned yet.
    Offered,
    Inside,
    CountEnd,
}

/// One connection. It holds a descriptor, so that a lost one shows.
pub(crate) struct Conn {
    backend: Arc<Backend>,
    _file: File,
    /// The number of clears that had begun when it was created; `u64::MAX` for an added one.
    generation: u64,
    busy: AtomicBool,
    place: Arc<Mutex<Place>>,
}

/// The manager. Its hooks inject random faults.
pub(crate) struct Flaky {
    pub(crate) backend: Arc<Backend>,
    pub(crate) blocking_check: bool,
}

#[derive(Debug)]
pub(crate) struct Fault {
    transient: bool,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("random fault")
    }
}

impl std::error::Error for Fault {}

impl Backend {
    pub(crate) fn new(seed: u64, limit: usize, faults: u64) -> Arc<Self> {
        Arc::new(Self {
            seed,
            faults: AtomicU64::new(faults),
            calls: AtomicU64::new(0),
            counts: Mutex::new(Counts {
                limit,
                ..Counts::default()
            }),
            clears_begun: AtomicU64::new(0),
            clears_done: AtomicU64::new(0),
            violation: AtomicBool::new(false),
        })
    }

    /// The file of which every connection holds a descriptor.
    pub(crate) fn file() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap()
    }

    pub(crate) fn snapshot(&self) -> Counts {
        self.counts().clone()
    }

    pub(crate) fn set_limit(&self, limit: usize) {
        self.counts().limit = limit;
    }

    pub(crate) fn stop_faults(&self) {
        self.faults.store(0, SeqCst);
    }

    /// Records a violation.
    pub(crate) fn violation(&self, what: impl Into<String>) {
        self.counts().violations.push(what.into());
        self.violation.store(true, SeqCst);
    }

    pub(crate) fn is_violated(&self) -> bool {
        self.violation.load(SeqCst)
    }

    /// Runs `clear` and records its end; afterwards older connections must not be seen.
    pub(crate) fn clearing(&self, clear: impl FnOnce()) {
        let number = self.clears_begun.fetch_add(1, SeqCst) + 1;
        clear();
        self.clears_done.fetch_max(number, SeqCst);
    }

    pub(crate) fn clears_done(&self) -> u64 {
        self.clears_done.load(SeqCst)
    }

    fn count_in(&self, counts: &mut Counts) {
        counts.open += 1;
        counts.peak = counts.peak.max(counts.open);
        if counts.open > counts.limit {
            let text = format!("{} open where {} may be", counts.open, counts.limit);
            counts.violations.push(text);
            self.violation.store(true, SeqCst);
        }
    }

    /// A connection made without the pool.
    pub(crate) fn external(self: &Arc<Self>) -> Conn {
        self.conn(u64::MAX, Place::Outside)
    }

    fn conn(self: &Arc<Self>, generation: u64, place: Place) -> Conn {
        Conn {
            backend: Arc::clone(self),
            _file: File::open(Self::file()).unwrap(),
            generation,
            busy: AtomicBool::new(false),
            place: Arc::new(Mutex::new(place)),
        }
    }

    /// Makes the call of a hook fail, panic or delay at random.
    fn inject_fault(&self) -> Result<(), Fault> {
        let call = self.calls.fetch_add(1, SeqCst);
        let mut rng = scrambled(self.seed ^ call.rotate_left(32));
        let faults = self.faults.load(SeqCst);
        if rng.below(1000) >= faults {
            return Ok(());
        }
        match rng.below(8) {
            0..3 => thread::sleep(Duration::from_micros(rng.below(3000))),
            3..5 => return Err(Fault { transient: true }),
            5 => return Err(Fault { transient: false }),
            // The panic is intended; `resume_unwind` skips the panic hook.
            6 => resume_unwind(Box::new("random fault")),
            _ => {
                thread::sleep(Duration::from_micros(rng.below(500)));
                return Err(Fault { transient: true });
            }
        }
        Ok(())
    }
}

impl Conn {
    /// Marks the connection as in use by one thread for as long as `work` runs.
    pub(crate) fn alone<R>(&mut self, work: impl FnOnce(&mut Self) -> R) -> R {
        struct Leave<'a>(&'a mut Conn);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.busy.store(false, SeqCst);
            }
        }
        if self.busy.swap(true, SeqCst) {
            self.backend.violation("two had the same connection");
        }
        work(Leave(self).0)
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Ends the backend's count of the connection: its user is about to detach it.
    pub(crate) fn before_detach(&mut self) {
        let backend = Arc::clone(&self.backend);
        let mut counts = backend.counts();
        let mut place = self.place.lock().unwrap();
        if *place == Place::Inside {
            counts.open -= 1;
        }
        *place = Place::Outside;
    }

    /// Prepares for `add`. Call the result when the connection has been accepted.
    pub(crate) fn before_add(&mut self) -> impl FnOnce() + use<> {
        self.generation = u64::MAX;
        self.place = Arc::new(Mutex::new(Place::Offered));
        let (backend, place) = (Arc::clone(&self.backend), Arc::clone(&self.place));
        move || Self::arrive(&backend, &place)
    }

    /// Records that a hook has the connection: it is inside, though `add` may not have returned yet.
    fn seen(&self) {
        Self::arrive(&self.backend, &self.place);
    }

    fn arrive(backend: &Backend, place: &Mutex<Place>) {
        let mut counts = backend.counts();
        let mut place = place.lock().unwrap();
        if *place == Place::Offered {
            *place = Place::Inside;
            backend.count_in(&mut counts);
        }
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        if *self.place.lock().unwrap() == Place::Inside {
            self.backend.violation("dropped without dispose");
        }
    }
}

impl ConnectionManager for Flaky {
    type Connection = Conn;
    type Error = Fault;

    fn create(&self) -> Result<Conn, Fault> {
        /// Gives the capacity back unless a connection was made.
        struct Reservation<'a>(&'a Backend, bool);
        impl Drop for Reservation<'_> {
            fn drop(&mut self) {
                if !self.1 {
                    self.0.counts().open -= 1;
                }
            }
        }
        let generation = self.backend.clears_begun.load(SeqCst);
        self.backend.count_in(&mut self.backend.counts());
        let mut reservation = Reservation(&self.backend, false);
        self.backend.inject_fault()?;
        reservation.1 = true;
        let conn = self.backend.conn(generation, Place::Inside);
        self.backend.counts().created += 1;
        Ok(conn)
    }

    fn check_aliveness(&self, conn: &mut Conn) -> Result<(), Fault> {
        conn.seen();
        conn.alone(|_| self.backend.inject_fault())
    }

    fn dispose(&self, conn: Conn) {
        /// Counts the end even when a fault is injected.
        struct CountEnd<'a>(&'a Backend, Conn);
        impl Drop for CountEnd<'_> {
            fn drop(&mut self) {
                let mut counts = self.0.counts();
                let mut place = self.1.place.lock().unwrap();
                if *place == Place::Inside {
                    counts.open -= 1;
                    counts.disposed += 1;
                    *place = Place::CountEnd;
                } else {
                    let text = format!("disposed where it was {:?}", *place);
                    counts.violations.push(text);
                    self.0.violation.store(true, SeqCst);
                }
            }
        }
        conn.seen();
        if conn.busy.swap(true, SeqCst) {
            self.backend.violation("disposed while somebody had it");
        }
        conn.busy.store(false, SeqCst);
        let _count_end = CountEnd(&self.backend, conn);
        let _ = self.backend.inject_fault();
    }

    fn has_broken(&self, conn: &mut Conn) -> bool {
        conn.seen();
        conn.alone(|_| self.backend.inject_fault().is_err())
    }

    fn on_checkout(&self, conn: &mut Conn) -> Result<(), Fault> {
        conn.seen();
        conn.alone(|_| self.backend.inject_fault())
    }

    fn on_checkin(&self, conn: &mut Conn) -> Result<(), Fault> {
        conn.seen();
        conn.alone(|_| self.backend.inject_fault())
    }

    fn is_transient(&self, error: &Fault) -> bool {
        error.transient
    }

    fn check_may_block(&self) -> bool {
        self.blocking_check
    }
}
