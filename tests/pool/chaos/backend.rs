//! A backend that counts what is open, and a manager whose hooks fail, panic and dawdle.

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

/// What the backend sees, whoever asks.
pub(crate) struct Backend {
    seed: u64,
    /// Faults per thousand calls of a hook.
    faults: AtomicU64,
    calls: AtomicU64,
    book: Mutex<Book>,
    clears_begun: AtomicU64,
    clears_done: AtomicU64,
    foul: AtomicBool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Book {
    /// Connections that take room here, those being opened and closed included.
    pub(crate) open: usize,
    pub(crate) peak: usize,
    /// More must not be open.
    pub(crate) limit: usize,
    pub(crate) created: u64,
    pub(crate) disposed: u64,
    pub(crate) fouls: Vec<String>,
}

/// Where a connection is, as far as the backend must count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// A user has it.
    Outside,
    /// Passed to `add`, which has not answered yet.
    Offered,
    Inside,
    Gone,
}

/// One connection. Holds a descriptor, so that one that is lost shows.
pub(crate) struct Line {
    backend: Arc<Backend>,
    _file: File,
    /// The clears that had begun when this was created; `u64::MAX` for one that was added.
    birth: u64,
    busy: AtomicBool,
    place: Arc<Mutex<Place>>,
}

/// Its hooks ask the dice before they answer.
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
        f.write_str("the dice said so")
    }
}

impl std::error::Error for Fault {}

impl Backend {
    pub(crate) fn new(seed: u64, limit: usize, faults: u64) -> Arc<Self> {
        Arc::new(Self {
            seed,
            faults: AtomicU64::new(faults),
            calls: AtomicU64::new(0),
            book: Mutex::new(Book {
                limit,
                ..Book::default()
            }),
            clears_begun: AtomicU64::new(0),
            clears_done: AtomicU64::new(0),
            foul: AtomicBool::new(false),
        })
    }

    /// What every connection holds a descriptor of.
    pub(crate) fn file() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    pub(crate) fn copy_book(&self) -> Book {
        self.book().clone()
    }

    pub(crate) fn set_limit(&self, limit: usize) {
        self.book().limit = limit;
    }

    pub(crate) fn stop_faults(&self) {
        self.faults.store(0, SeqCst);
    }

    /// Notes that a promise broke.
    pub(crate) fn foul(&self, what: impl Into<String>) {
        self.book().fouls.push(what.into());
        self.foul.store(true, SeqCst);
    }

    pub(crate) fn is_foul(&self) -> bool {
        self.foul.load(SeqCst)
    }

    /// Runs `clear` and remembers that it is over; no connection from before may be seen after.
    pub(crate) fn clearing(&self, clear: impl FnOnce()) {
        let number = self.clears_begun.fetch_add(1, SeqCst) + 1;
        clear();
        self.clears_done.fetch_max(number, SeqCst);
    }

    pub(crate) fn clears_done(&self) -> u64 {
        self.clears_done.load(SeqCst)
    }

    fn count_in(&self, book: &mut Book) {
        book.open += 1;
        book.peak = book.peak.max(book.open);
        if book.open > book.limit {
            let text = format!("{} open where {} may be", book.open, book.limit);
            book.fouls.push(text);
            self.foul.store(true, SeqCst);
        }
    }

    /// A connection made without the pool.
    pub(crate) fn outsider(self: &Arc<Self>) -> Line {
        self.line(u64::MAX, Place::Outside)
    }

    fn line(self: &Arc<Self>, birth: u64, place: Place) -> Line {
        Line {
            backend: Arc::clone(self),
            _file: File::open(Self::file()).unwrap(),
            birth,
            busy: AtomicBool::new(false),
            place: Arc::new(Mutex::new(place)),
        }
    }

    /// Lets the dice fail, panic or delay the call of a hook.
    fn trial(&self) -> Result<(), Fault> {
        let call = self.calls.fetch_add(1, SeqCst);
        let mut dice = scrambled(self.seed ^ call.rotate_left(32));
        let faults = self.faults.load(SeqCst);
        if dice.roll(1000) >= faults {
            return Ok(());
        }
        match dice.roll(8) {
            0..3 => thread::sleep(Duration::from_micros(dice.roll(3000))),
            3..5 => return Err(Fault { transient: true }),
            5 => return Err(Fault { transient: false }),
            // The dice are no bug: nobody needs to read of them, so the panic hook is passed over.
            6 => resume_unwind(Box::new("the dice said so")),
            _ => {
                thread::sleep(Duration::from_micros(dice.roll(500)));
                return Err(Fault { transient: true });
            }
        }
        Ok(())
    }
}

impl Line {
    /// Marks the connection as used by one, for as long as `work` takes.
    pub(crate) fn alone<R>(&mut self, work: impl FnOnce(&mut Self) -> R) -> R {
        struct Leave<'a>(&'a mut Line);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.busy.store(false, SeqCst);
            }
        }
        if self.busy.swap(true, SeqCst) {
            self.backend.foul("two had the same connection");
        }
        work(Leave(self).0)
    }

    pub(crate) fn birth(&self) -> u64 {
        self.birth
    }

    /// The backend must not count it from here on: its user is about to take it away.
    pub(crate) fn step_out(&mut self) {
        let backend = Arc::clone(&self.backend);
        let mut book = backend.book();
        let mut place = self.place.lock().unwrap();
        if *place == Place::Inside {
            book.open -= 1;
        }
        *place = Place::Outside;
    }

    /// Prepares for `add`. Call the result when it has been accepted.
    pub(crate) fn step_in(&mut self) -> impl FnOnce() + use<> {
        self.birth = u64::MAX;
        self.place = Arc::new(Mutex::new(Place::Offered));
        let (backend, place) = (Arc::clone(&self.backend), Arc::clone(&self.place));
        move || Self::arrive(&backend, &place)
    }

    /// A hook sees it: it is inside, though `add` may not have returned yet.
    fn seen(&self) {
        Self::arrive(&self.backend, &self.place);
    }

    fn arrive(backend: &Backend, place: &Mutex<Place>) {
        let mut book = backend.book();
        let mut place = place.lock().unwrap();
        if *place == Place::Offered {
            *place = Place::Inside;
            backend.count_in(&mut book);
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if *self.place.lock().unwrap() == Place::Inside {
            self.backend.foul("dropped without dispose");
        }
    }
}

impl ConnectionManager for Flaky {
    type Connection = Line;
    type Error = Fault;

    fn create(&self) -> Result<Line, Fault> {
        /// Gives the room back unless something was made of it.
        struct Room<'a>(&'a Backend, bool);
        impl Drop for Room<'_> {
            fn drop(&mut self) {
                if !self.1 {
                    self.0.book().open -= 1;
                }
            }
        }
        let birth = self.backend.clears_begun.load(SeqCst);
        self.backend.count_in(&mut self.backend.book());
        let mut room = Room(&self.backend, false);
        self.backend.trial()?;
        room.1 = true;
        let line = self.backend.line(birth, Place::Inside);
        self.backend.book().created += 1;
        Ok(line)
    }

    fn check_aliveness(&self, line: &mut Line) -> Result<(), Fault> {
        line.seen();
        line.alone(|_| self.backend.trial())
    }

    fn dispose(&self, line: Line) {
        /// Counts the end whatever the dice say.
        struct Gone<'a>(&'a Backend, Line);
        impl Drop for Gone<'_> {
            fn drop(&mut self) {
                let mut book = self.0.book();
                let mut place = self.1.place.lock().unwrap();
                if *place == Place::Inside {
                    book.open -= 1;
                    book.disposed += 1;
                    *place = Place::Gone;
                } else {
                    let text = format!("disposed where it was {:?}", *place);
                    book.fouls.push(text);
                    self.0.foul.store(true, SeqCst);
                }
            }
        }
        line.seen();
        if line.busy.swap(true, SeqCst) {
            self.backend.foul("disposed while somebody had it");
        }
        line.busy.store(false, SeqCst);
        let _gone = Gone(&self.backend, line);
        let _ = self.backend.trial();
    }

    fn has_broken(&self, line: &mut Line) -> bool {
        line.seen();
        line.alone(|_| self.backend.trial().is_err())
    }

    fn on_checkout(&self, line: &mut Line) -> Result<(), Fault> {
        line.seen();
        line.alone(|_| self.backend.trial())
    }

    fn on_checkin(&self, line: &mut Line) -> Result<(), Fault> {
        line.seen();
        line.alone(|_| self.backend.trial())
    }

    fn is_transient(&self, error: &Fault) -> bool {
        error.transient
    }

    fn check_may_block(&self) -> bool {
        self.blocking_check
    }
}
