//! A connection of the soak, and the manager that makes it.

use crate::{
    backend::{Backend, Call, Fault, Hook},
    dice::Dice,
};
use conpool::ConnectionManager;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

/// What the two ends of a connection share.
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

pub(crate) struct Line {
    backend: Arc<Backend>,
    wire: Arc<Wire>,
    pub(crate) id: u64,
    dice: Dice,
    /// A user found it dead.
    broken: bool,
    /// The pool has it, and has to dispose it.
    inside: bool,
    /// A hook that had it took so long that the pool may have given it up.
    pub(crate) late: bool,
}

impl Line {
    /// Marks the connection as used by one, for as long as `work` takes.
    #[inline]
    pub(crate) fn alone<R>(&mut self, work: impl FnOnce(&mut Self) -> R) -> R {
        struct Leave<'a>(&'a mut Line);
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

    /// Says something to the backend. A user who gets no answer knows the connection for dead.
    #[inline]
    pub(crate) fn ping(&mut self) -> bool {
        self.broken |= self.wire.cut.load(Relaxed);
        !self.broken
    }

    /// As if a command had failed halfway.
    pub(crate) fn break_it(&mut self) {
        self.broken = true;
    }

    /// The user is about to take it out of the pool.
    pub(crate) fn step_out(&mut self) {
        self.inside = false;
        self.backend.leave(self.id);
    }

    /// The user is about to offer it to the pool.
    pub(crate) fn step_in(&mut self) {
        self.inside = true;
        self.backend.offer(self.id, Some(Arc::clone(&self.wire)));
    }

    /// The pool did not want it.
    pub(crate) fn refused(&mut self) {
        self.inside = false;
        self.backend.offer(self.id, None);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.inside {
            self.backend.verdict.breach("dropped without a dispose");
        }
    }
}

/// Makes lines to one backend.
pub(crate) struct Exchange(pub(crate) Arc<Backend>);

impl Exchange {
    fn end(mut call: Call<'_>, line: &mut Line) {
        if call.is_overdue() && !line.late {
            line.late = true;
            call.note_late();
        }
        call.about(line);
    }
}

impl ConnectionManager for Exchange {
    type Connection = Line;
    type Error = Fault;

    fn create(&self) -> Result<Line, Fault> {
        let mut call = self.0.enter(Hook::Create);
        call.suffer()?;
        let mut line = Line {
            backend: Arc::clone(&self.0),
            wire: Arc::default(),
            id: call.number(),
            dice: call.dice(),
            broken: false,
            inside: true,
            late: false,
        };
        call.note_wire(line.id, Arc::clone(&line.wire));
        Self::end(call, &mut line);
        Ok(line)
    }

    fn check_aliveness(&self, line: &mut Line) -> Result<(), Fault> {
        let mut call = self.0.enter(Hook::Check);
        let answer = line.alone(|line| {
            call.suffer()?;
            match line.ping() {
                true => Ok(()),
                false => Err(Fault { transient: false }),
            }
        });
        Self::end(call, line);
        answer
    }

    fn dispose(&self, mut line: Line) {
        let mut call = self.0.enter(Hook::Dispose);
        if !line.inside {
            self.0.verdict.breach("disposed, and not the pool's");
        }
        line.inside = false;
        call.about(&line);
        // A dispose cannot fail; it can hang and panic.
        let _ = line.alone(|_| call.suffer());
    }

    #[inline]
    fn has_broken(&self, line: &mut Line) -> bool {
        line.broken || self.0.trial(&mut line.dice).is_err()
    }

    #[inline]
    fn on_checkout(&self, line: &mut Line) -> Result<(), Fault> {
        self.0.trial(&mut line.dice)
    }

    #[inline]
    fn on_checkin(&self, line: &mut Line) -> Result<(), Fault> {
        self.0.trial(&mut line.dice)
    }

    fn is_transient(&self, error: &Fault) -> bool {
        error.transient
    }
}
