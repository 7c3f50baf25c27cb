//! The backend of the schedules: a manager with random faults, which counts connections.

use crate::ConnectionManager;
use crate::sync::world;
use shuttle::rand::{Rng, thread_rng};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// How many of a hundred hook calls fail, by kind of failure.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Faults {
    pub(super) transient: u32,
    pub(super) permanent: u32,
    pub(super) panics: u32,
    /// Calls that take longer than any timeout.
    pub(super) hangs: u32,
}

/// How long a hanging hook call lasts. The hook timeouts of the schedules are shorter.
pub(super) const HANG: Duration = Duration::from_secs(60);

/// The counts of connections by how they began and ended.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) created: AtomicUsize,
    pub(super) disposed: AtomicUsize,
    /// Connections that were dropped without dispose.
    pub(super) dropped: AtomicUsize,
    /// Connections that a user closed outside of the pool.
    pub(super) closed_detached: AtomicUsize,
    pub(super) open: AtomicUsize,
    pub(super) peak_open: AtomicUsize,
    healed: AtomicBool,
}

/// A backend with faults, whose connections panic if two threads use one at once.
#[derive(Debug, Clone)]
pub(super) struct Backend {
    pub(super) counts: Arc<Counts>,
    faults: Faults,
}

#[derive(Debug)]
pub(super) struct Connection {
    used: AtomicBool,
    disposed: bool,
    pub(super) broken: bool,
    counts: Arc<Counts>,
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
        let counts = Arc::default();
        Self { counts, faults }
    }

    /// Stops all faults.
    pub(super) fn heal(&self) {
        self.counts.healed.store(true, Relaxed);
    }

    /// Runs the common part of every hook: a turn of the scheduler and perhaps a fault.
    ///
    /// A hook that cannot return an error ignores the result.
    fn maybe_fail(&self) -> Result<(), Refused> {
        world::turn();
        if self.counts.healed.load(Relaxed) {
            return Ok(());
        }
        let mut draw = thread_rng().gen_range(0..100);
        let mut happens = |share: u32| {
            let hit = draw < share;
            draw = draw.saturating_sub(share).max(if hit { 1000 } else { 0 });
            hit
        };
        if happens(self.faults.hangs) {
            world::sleep(HANG);
        } else if happens(self.faults.panics) {
            // `resume_unwind` prints no panic message.
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

    /// Closes a connection that no longer belongs to the pool.
    pub(super) fn close_detached(&self, connection: Connection) {
        connection.use_exclusively(|| ());
        drop(connection);
        self.counts.closed_detached.fetch_add(1, Relaxed);
    }

    /// Opens a connection without the pool.
    pub(super) fn connect(&self) -> Connection {
        let counts = &self.counts;
        counts.created.fetch_add(1, Relaxed);
        let open = counts.open.fetch_add(1, Relaxed) + 1;
        counts.peak_open.fetch_max(open, Relaxed);
        Connection {
            used: AtomicBool::new(false),
            disposed: false,
            broken: false,
            counts: Arc::clone(counts),
        }
    }
}

impl Connection {
    /// Runs `work` and asserts that no other thread uses the connection meanwhile.
    pub(super) fn use_exclusively(&self, work: impl FnOnce()) {
        /// Ends the use even if the work panics.
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
        self.counts.open.fetch_sub(1, Relaxed);
        let end = match self.disposed {
            true => &self.counts.disposed,
            false => &self.counts.dropped,
        };
        end.fetch_add(1, Relaxed);
    }
}

impl ConnectionManager for Backend {
    type Connection = Connection;
    type Error = Refused;

    fn create(&self) -> Result<Connection, Refused> {
        self.maybe_fail()?;
        Ok(self.connect())
    }

    fn check_aliveness(&self, connection: &mut Connection) -> Result<(), Refused> {
        let mut result = Ok(());
        connection.use_exclusively(|| result = self.maybe_fail());
        result
    }

    fn dispose(&self, mut connection: Connection) {
        connection.use_exclusively(|| ());
        connection.disposed = true;
        let _has_no_error = self.maybe_fail();
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        world::turn();
        connection.broken
    }

    fn on_checkout(&self, connection: &mut Connection) -> Result<(), Refused> {
        let mut result = Ok(());
        connection.use_exclusively(|| result = self.maybe_fail());
        result
    }

    fn on_checkin(&self, connection: &mut Connection) -> Result<(), Refused> {
        let mut result = Ok(());
        connection.use_exclusively(|| result = self.maybe_fail());
        result
    }

    fn is_transient(&self, error: &Refused) -> bool {
        error.transient
    }
}
