use crate::ConnectionManager;
use crate::sync::world;
use shuttle::rand::{Rng, thread_rng};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// How many calls of a hook in a hundred go wrong, and how.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Faults {
    pub(super) transient: u32,
    pub(super) permanent: u32,
    pub(super) panics: u32,
    /// Take longer than any timeout.
    pub(super) hangs: u32,
}

/// What a timeout of a hook must be less than for its hanging calls to outlive it.
pub(super) const HANG: Duration = Duration::from_secs(60);

/// What it was asked for, and what it gave.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) created: AtomicUsize,
    pub(super) disposed: AtomicUsize,
    /// Connections whose value went without dispose.
    pub(super) dropped: AtomicUsize,
    /// Those that were not the pool's when they ended.
    pub(super) parted: AtomicUsize,
    pub(super) open: AtomicUsize,
    pub(super) peak_open: AtomicUsize,
    healed: AtomicBool,
}

/// A backend of which some calls fail, and whose connections notice if two use them at once.
#[derive(Debug, Clone)]
pub(super) struct Backend {
    pub(super) books: Arc<Books>,
    faults: Faults,
}

#[derive(Debug)]
pub(super) struct Connection {
    used: AtomicBool,
    disposed: bool,
    pub(super) broken: bool,
    books: Arc<Books>,
}

#[derive(Debug)]
pub(super) struct Refused {
    transient: bool,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("refused")
    }
}

impl std::error::Error for Refused {}

impl Backend {
    pub(super) fn new(faults: Faults) -> Self {
        let books = Arc::default();
        Self { books, faults }
    }

    /// From now on nothing fails.
    pub(super) fn heal(&self) {
        self.books.healed.store(true, Relaxed);
    }

    /// What happens in every hook. Errors are for those that can return them.
    fn meet(&self) -> Result<(), Refused> {
        world::turn();
        if self.books.healed.load(Relaxed) {
            return Ok(());
        }
        let mut dice = thread_rng().gen_range(0..100);
        let mut happens = |share: u32| {
            let hit = dice < share;
            dice = dice.saturating_sub(share).max(if hit { 1000 } else { 0 });
            hit
        };
        if happens(self.faults.hangs) {
            world::sleep(HANG);
        } else if happens(self.faults.panics) {
            // Without the message that a panic prints.
            resume_unwind(Box::new("a panic of the schedule"));
        } else if happens(self.faults.transient) {
            return Err(Refused { transient: true });
        } else if happens(self.faults.permanent) {
            return Err(Refused { transient: false });
        } else if happens(30) {
            world::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Ends a connection that is not the pool's.
    pub(super) fn part(&self, connection: Connection) {
        connection.alone(|| ());
        drop(connection);
        self.books.parted.fetch_add(1, Relaxed);
    }

    /// A connection made without the pool.
    pub(super) fn connect(&self) -> Connection {
        let books = &self.books;
        books.created.fetch_add(1, Relaxed);
        let open = books.open.fetch_add(1, Relaxed) + 1;
        books.peak_open.fetch_max(open, Relaxed);
        Connection {
            used: AtomicBool::new(false),
            disposed: false,
            broken: false,
            books: Arc::clone(books),
        }
    }
}

impl Connection {
    /// Uses it for a moment, which must be nobody else's.
    pub(super) fn alone(&self, work: impl FnOnce()) {
        /// Ends the use even where the work panics.
        struct Use<'a>(&'a AtomicBool);
        impl Drop for Use<'_> {
            fn drop(&mut self) {
                self.0.store(false, Relaxed);
            }
        }
        assert!(!self.used.swap(true, Relaxed), "used by two at once");
        let _use = Use(&self.used);
        work();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.books.open.fetch_sub(1, Relaxed);
        let end = match self.disposed {
            true => &self.books.disposed,
            false => &self.books.dropped,
        };
        end.fetch_add(1, Relaxed);
    }
}

impl ConnectionManager for Backend {
    type Connection = Connection;
    type Error = Refused;

    fn create(&self) -> Result<Connection, Refused> {
        self.meet()?;
        Ok(self.connect())
    }

    fn check_aliveness(&self, connection: &mut Connection) -> Result<(), Refused> {
        let mut result = Ok(());
        connection.alone(|| result = self.meet());
        result
    }

    fn dispose(&self, mut connection: Connection) {
        connection.alone(|| ());
        connection.disposed = true;
        let _has_no_error = self.meet();
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        world::turn();
        connection.broken
    }

    fn on_checkout(&self, connection: &mut Connection) -> Result<(), Refused> {
        let mut result = Ok(());
        connection.alone(|| result = self.meet());
        result
    }

    fn on_checkin(&self, connection: &mut Connection) -> Result<(), Refused> {
        let mut result = Ok(());
        connection.alone(|| result = self.meet());
        result
    }

    fn is_transient(&self, error: &Refused) -> bool {
        error.transient
    }
}
