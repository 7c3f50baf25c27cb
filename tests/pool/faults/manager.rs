//! A manager whose hooks do what the cell says until they are healed.

use super::{
    book::Book,
    cell::{Cell, Checks, Fault, HOOK_TIMEOUT, Often},
};
use crate::common::{Dice, Gate, ms, now};
use conpool::{ConnectionManager, Hook};
use std::{
    fmt, mem,
    panic::resume_unwind,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
    time::Duration,
};

/// Far below every timeout, and above what else a hook costs.
const SLOW: Duration = ms(4);

/// Clones are one manager; the one that the pool does not have is the remote control.
#[derive(Clone)]
pub(crate) struct Faulty(Arc<Inner>);

struct Inner {
    cell: Cell,
    state: Mutex<State>,
    /// Told when the last running hook ends.
    quiet: Condvar,
    /// What hangs, hangs here.
    gate: Gate,
}

struct State {
    book: Book,
    dice: Dice,
    healed: bool,
}

impl State {
    /// One of three.
    fn roll(&mut self) -> usize {
        usize::try_from(self.dice.roll(3)).unwrap()
    }
}

/// One connection.
pub(crate) struct Line {
    number: u64,
    manager: Faulty,
    disposed: bool,
    /// A hook has been called with it and has not said that all is well.
    condemned: bool,
}

#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) hook: Hook,
    pub(crate) transient: bool,
}

impl Line {
    /// Nobody may get to see it any more.
    pub(crate) fn is_condemned(&self) -> bool {
        self.condemned
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} does not want to", self.hook)
    }
}

impl std::error::Error for Failed {}

impl Faulty {
    pub(crate) fn new(cell: Cell, dice: Dice) -> Self {
        let patience = match cell.hangs() {
            true => HOOK_TIMEOUT / 4,
            false => Duration::MAX,
        };
        Self(Arc::new(Inner {
            cell,
            state: Mutex::new(State {
                book: Book::new(patience),
                dice,
                healed: false,
            }),
            quiet: Condvar::new(),
            gate: Gate::default(),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    pub(crate) fn read<R>(&self, read: impl FnOnce(&Book) -> R) -> R {
        read(&self.state().book)
    }

    /// Ends all faults, and lets go on what hangs.
    pub(crate) fn heal(&self) {
        self.state().healed = true;
        self.0.gate.open();
    }

    pub(crate) fn is_healed(&self) -> bool {
        self.state().healed
    }

    /// Waits until no hook runs; false if that takes too long.
    pub(crate) fn falls_quiet(&self, timeout: Duration) -> bool {
        let busy = |state: &mut State| state.book.running > 0;
        let wait = self.0.quiet.wait_timeout_while(self.state(), timeout, busy);
        !wait.unwrap().1.timed_out()
    }

    /// The fault of this call, if its turn has come.
    fn trial(&self, hook: Hook) -> Result<(), Failed> {
        let fault = self.0.cell.fault(hook);
        if fault == Fault::None {
            return Ok(());
        }
        let mut state = self.state();
        let due = self.0.cell.often == Often::Always || state.roll() == 0;
        if state.healed || !due {
            return Ok(());
        }
        state.book.strike(hook, fault);
        if fault != Fault::Hang {
            drop(state);
            return self.carry_out(hook, fault);
        }
        // Whoever has given up on it must cope with any end.
        let end = [Fault::None, Fault::Transient, Fault::Panic][state.roll()];
        drop(state);
        self.0.gate.pass();
        self.carry_out(hook, end)
    }

    fn carry_out(&self, hook: Hook, fault: Fault) -> Result<(), Failed> {
        match fault {
            Fault::Error | Fault::Transient => {
                let transient = fault == Fault::Transient;
                return Err(Failed { hook, transient });
            }
            Fault::Slow => thread::sleep(SLOW),
            Fault::Panic => {
                self.state().book.panics += 1;
                // Nobody needs to read of these panics, so the panic hook is passed over.
                resume_unwind(Box::new(format!("{hook} panics")));
            }
            Fault::None | Fault::Hang => {}
        }
        Ok(())
    }

    /// A hook of a connection, from which it comes back.
    fn visit(&self, hook: Hook, line: &mut Line) -> Result<(), Failed> {
        self.state().book.enter(line.number, now());
        let _leaves = Leaves {
            manager: self,
            number: line.number,
            lives: true,
        };
        let before = mem::replace(&mut line.condemned, true);
        self.trial(hook)?;
        line.condemned = before;
        Ok(())
    }
}

/// A running hook; it ends when this is dropped, in a panic too.
struct Leaves<'a> {
    manager: &'a Faulty,
    number: u64,
    lives: bool,
}

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        let mut state = self.manager.state();
        match self.lives {
            true => state.book.leave(self.number, now()),
            false => state.book.close(self.number),
        }
        if state.book.running == 0 {
            self.manager.0.quiet.notify_all();
        }
    }
}

impl ConnectionManager for Faulty {
    type Connection = Line;
    type Error = Failed;

    fn create(&self) -> Result<Line, Failed> {
        let number = self.state().book.open(now());
        let mut leaves = Leaves {
            manager: self,
            number,
            lives: false,
        };
        self.trial(Hook::Create)?;
        leaves.lives = true;
        self.state().book.created += 1;
        Ok(Line {
            number,
            manager: self.clone(),
            disposed: false,
            condemned: false,
        })
    }

    fn check_aliveness(&self, line: &mut Line) -> Result<(), Failed> {
        self.visit(Hook::Check, line)
    }

    fn dispose(&self, mut line: Line) {
        self.state().book.enter(line.number, now());
        let _leaves = Leaves {
            manager: self,
            number: line.number,
            lives: false,
        };
        line.disposed = true;
        let _fault = self.trial(Hook::Dispose);
    }

    fn has_broken(&self, line: &mut Line) -> bool {
        self.visit(Hook::HasBroken, line).is_err()
    }

    fn on_checkout(&self, line: &mut Line) -> Result<(), Failed> {
        self.visit(Hook::Checkout, line)
    }

    fn on_checkin(&self, line: &mut Line) -> Result<(), Failed> {
        self.visit(Hook::Checkin, line)
    }

    fn is_transient(&self, error: &Failed) -> bool {
        error.transient
    }

    fn check_may_block(&self) -> bool {
        self.0.cell.checks != Checks::OnCaller
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut state = self.manager.state();
        match self.disposed {
            true => state.book.disposed += 1,
            false => state.book.lost += 1,
        }
    }
}
