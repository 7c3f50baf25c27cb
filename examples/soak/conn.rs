//! A connection of the soak, and its manager.

use crate::{
    backend::{Backend, Call, Fault, Hook},
    rng::Rng,
};
use conpool::ConnectionManager;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

/// The state that the two ends of a connection share.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    cut: AtomicBool,
    busy: AtomicBool,
}

impl Wire {
    pub(crate) fn cut(&self) {
        self.cut.store(true, Relaxed);
    }
}

pub(crate) struct Conn {
    backend: Arc<Backend>,
    wire: Arc<Wire>,
    pub(crate) id: u64,
    rng: Rng,
    /// A user found the connection dead.
    broken: bool,
    /// The pool owns the connection and has to dispose it.
    inside: bool,
    /// A hook took so long with the connection that the pool may have abandoned it.
    pub(crate) late: bool,
}

impl Conn {
    /// Marks the connection as in use by one thread for as long as `work` runs.
    #[inline]
    pub(crate) fn exclusively<R>(&mut self, work: impl FnOnce(&mut Self) -> R) -> R {
        struct Leave<'a>(&'a mut Conn);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.wire.busy.store(false, Relaxed);
            }
        }
        if self.wire.busy.swap(true, Relaxed) {
            self.backend.verdict.breach("two had the same connection");
        }
        work(Leave(self).0)
    }

    /// Sends a request to the backend. Without an answer the connection counts as dead.
    #[inline]
    pub(crate) fn ping(&mut self) -> bool {
        self.broken |= self.wire.cut.load(Relaxed);
        !self.broken
    }

    /// Simulates a command that failed halfway.
    pub(crate) fn break_it(&mut self) {
        self.broken = true;
    }

    /// Records that the user is about to take the connection out of the pool.
    pub(crate) fn before_detach(&mut self) {
        self.inside = false;
        self.backend.leave(self.id);
    }

    /// Records that the user is about to offer the connection to the pool.
    pub(crate) fn before_add(&mut self) {
        self.inside = true;
        self.backend.offer(self.id, Some(Arc::clone(&self.wire)));
    }

    /// Records that the pool has refused the connection.
    pub(crate) fn refused(&mut self) {
        self.inside = false;
        self.backend.offer(self.id, None);
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        if self.inside {
            self.backend.verdict.breach("dropped without a dispose");
        }
    }
}

/// Makes connections to one backend.
pub(crate) struct SoakManager(pub(crate) Arc<Backend>);

impl SoakManager {
    fn end(mut call: Call<'_>, conn: &mut Conn) {
        if call.is_overdue() && !conn.late {
            conn.late = true;
            call.note_late();
        }
        call.about(conn);
    }
}

impl ConnectionManager for SoakManager {
    type Connection = Conn;
    type Error = Fault;

    fn create(&self) -> Result<Conn, Fault> {
        let mut call = self.0.enter(Hook::Create);
        call.inject_fault()?;
        let mut conn = Conn {
            backend: Arc::clone(&self.0),
            wire: Arc::default(),
            id: call.number(),
            rng: call.rng(),
            broken: false,
            inside: true,
            late: false,
        };
        call.note_wire(conn.id, Arc::clone(&conn.wire));
        Self::end(call, &mut conn);
        Ok(conn)
    }

    fn check_aliveness(&self, conn: &mut Conn) -> Result<(), Fault> {
        let mut call = self.0.enter(Hook::Check);
        let answer = conn.exclusively(|conn| {
            call.inject_fault()?;
            match conn.ping() {
                true => Ok(()),
                false => Err(Fault { transient: false }),
            }
        });
        Self::end(call, conn);
        answer
    }

    fn dispose(&self, mut conn: Conn) {
        let mut call = self.0.enter(Hook::Dispose);
        if !conn.inside {
            self.0.verdict.breach("disposed, and not the pool's");
        }
        conn.inside = false;
        call.about(&conn);
        // A dispose cannot fail; it can hang and panic.
        let _ = conn.exclusively(|_| call.inject_fault());
    }

    #[inline]
    fn has_broken(&self, conn: &mut Conn) -> bool {
        conn.broken || self.0.trial(&mut conn.rng).is_err()
    }

    #[inline]
    fn on_checkout(&self, conn: &mut Conn) -> Result<(), Fault> {
        self.0.trial(&mut conn.rng)
    }

    #[inline]
    fn on_checkin(&self, conn: &mut Conn) -> Result<(), Fault> {
        self.0.trial(&mut conn.rng)
    }

    fn is_transient(&self, error: &Fault) -> bool {
        error.transient
    }
}
