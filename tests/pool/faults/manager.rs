//! A manager whose hooks have the cell's faults until they are healed.

use super::{
    cell::{Cell, Checks, Fault, Frequency, HOOK_TIMEOUT},
    tracker::Tracker,
};
use crate::common::{Gate, Rng, ms, now};
use conpool::{ConnectionManager, Hook};
use std::{
    fmt, mem,
    panic::resume_unwind,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
    time::Duration,
};

/// Far below every timeout, and far above the usual cost of a hook.
const SLOW: Duration = ms(4);

/// Clones share one state; the test keeps a clone to control the pool's.
#[derive(Clone)]
pub(crate) struct Faulty(Arc<Inner>);

struct Inner {
    cell: Cell,
    state: Mutex<State>,
    /// Notified when the last running hook ends.
    idle: Condvar,
    /// Hanging hooks block here.
    gate: Gate,
}

struct State {
    tracker: Tracker,
    rng: Rng,
    healed: bool,
}

impl State {
    /// One of three.
    fn one_of_three(&mut self) -> usize {
        usize::try_from(self.rng.below(3)).unwrap()
    }
}

/// One connection.
pub(crate) struct Conn {
    number: u64,
    manager: Faulty,
    disposed: bool,
    /// A hook was called with it and has not succeeded yet.
    must_dispose: bool,
    /// A user has had it since its last reset.
    is_dirty: bool,
}

#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) hook: Hook,
    pub(crate) transient: bool,
}

impl Conn {
    /// Whether users must not get this connection any more.
    pub(crate) fn must_dispose(&self) -> bool {
        self.must_dispose
    }

    /// Leaves something in the connection. False if the last user's remains are still there.
    pub(crate) fn make_dirty(&mut self) -> bool {
        let before = mem::replace(&mut self.is_dirty, self.manager.0.cell.resets());
        !before
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} does not want to", self.hook)
    }
}

impl std::error::Error for Failed {}

impl Faulty {
    pub(crate) fn new(cell: Cell, rng: Rng) -> Self {
        let patience = match cell.hangs() {
            true => HOOK_TIMEOUT / 4,
            false => Duration::MAX,
        };
        Self(Arc::new(Inner {
            cell,
            state: Mutex::new(State {
                tracker: Tracker::new(patience),
                rng,
                healed: false,
            }),
            idle: Condvar::new(),
            gate: Gate::default(),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    pub(crate) fn read<R>(&self, read: impl FnOnce(&Tracker) -> R) -> R {
        read(&self.state().tracker)
    }

    /// Ends all faults, and releases the hanging hooks.
    pub(crate) fn heal(&self) {
        self.state().healed = true;
        self.0.gate.open();
    }

    pub(crate) fn is_healed(&self) -> bool {
        self.state().healed
    }

    /// Waits until no hook runs; false if that takes too long.
    pub(crate) fn wait_until_idle(&self, timeout: Duration) -> bool {
        let busy = |state: &mut State| state.tracker.running > 0;
        let wait = self.0.idle.wait_timeout_while(self.state(), timeout, busy);
        !wait.unwrap().1.timed_out()
    }

    /// Injects the fault of this call, if it is due.
    fn maybe_fault(&self, hook: Hook) -> Result<(), Failed> {
        let fault = self.0.cell.fault(hook);
        if fault == Fault::None {
            return Ok(());
        }
        let mut state = self.state();
        let due = self.0.cell.frequency == Frequency::Always || state.one_of_three() == 0;
        if state.healed || !due {
            return Ok(());
        }
        state.tracker.record_fault(hook, fault);
        if fault != Fault::Hang {
            drop(state);
            return self.run_fault(hook, fault);
        }
        // An abandoned hook may end in any way.
        let end = [Fault::None, Fault::Transient, Fault::Panic][state.one_of_three()];
        drop(state);
        self.0.gate.pass();
        self.run_fault(hook, end)
    }

    fn run_fault(&self, hook: Hook, fault: Fault) -> Result<(), Failed> {
        match fault {
            Fault::Error | Fault::Transient => {
                let transient = fault == Fault::Transient;
                return Err(Failed { hook, transient });
            }
            Fault::Slow => thread::sleep(SLOW),
            Fault::Panic => {
                self.state().tracker.panics += 1;
                // The panics are intended; `resume_unwind` skips the panic hook.
                resume_unwind(Box::new(format!("{hook} panics")));
            }
            Fault::None | Fault::Hang => {}
        }
        Ok(())
    }

    /// Runs a hook that returns the connection.
    fn call_hook(&self, hook: Hook, conn: &mut Conn) -> Result<(), Failed> {
        self.state().tracker.enter(conn.number, now());
        let _end_hook = EndHook {
            manager: self,
            number: conn.number,
            lives: true,
        };
        let before = mem::replace(&mut conn.must_dispose, true);
        self.maybe_fault(hook)?;
        conn.must_dispose = before;
        Ok(())
    }
}

/// Records the end of a running hook on drop, also in a panic.
struct EndHook<'a> {
    manager: &'a Faulty,
    number: u64,
    lives: bool,
}

impl Drop for EndHook<'_> {
    fn drop(&mut self) {
        let mut state = self.manager.state();
        match self.lives {
            true => state.tracker.leave(self.number, now()),
            false => state.tracker.close(self.number),
        }
        if state.tracker.running == 0 {
            self.manager.0.idle.notify_all();
        }
    }
}

impl ConnectionManager for Faulty {
    type Connection = Conn;
    type Error = Failed;

    fn create(&self) -> Result<Conn, Failed> {
        let number = self.state().tracker.open(now());
        let mut end_hook = EndHook {
            manager: self,
            number,
            lives: false,
        };
        self.maybe_fault(Hook::Create)?;
        end_hook.lives = true;
        self.state().tracker.created += 1;
        Ok(Conn {
            number,
            manager: self.clone(),
            disposed: false,
            must_dispose: false,
            is_dirty: false,
        })
    }

    fn check_aliveness(&self, conn: &mut Conn) -> Result<(), Failed> {
        self.call_hook(Hook::Check, conn)
    }

    fn dispose(&self, mut conn: Conn) {
        self.state().tracker.enter(conn.number, now());
        let _end_hook = EndHook {
            manager: self,
            number: conn.number,
            lives: false,
        };
        conn.disposed = true;
        let _fault = self.maybe_fault(Hook::Dispose);
    }

    fn has_broken(&self, conn: &mut Conn) -> bool {
        self.call_hook(Hook::HasBroken, conn).is_err()
    }

    fn on_checkout(&self, conn: &mut Conn) -> Result<(), Failed> {
        self.call_hook(Hook::Checkout, conn)
    }

    fn on_checkin(&self, conn: &mut Conn) -> Result<(), Failed> {
        self.call_hook(Hook::Checkin, conn)
    }

    fn needs_reset(&self, conn: &Conn) -> bool {
        conn.is_dirty
    }

    fn reset(&self, conn: &mut Conn) -> Result<(), Failed> {
        self.call_hook(Hook::Reset, conn)?;
        conn.is_dirty = false;
        Ok(())
    }

    fn reset_may_block(&self) -> bool {
        self.0.cell.checks != Checks::OnCaller
    }

    fn is_transient(&self, error: &Failed) -> bool {
        error.transient
    }

    fn check_may_block(&self) -> bool {
        self.0.cell.checks != Checks::OnCaller
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        let mut state = self.manager.state();
        match self.disposed {
            true => state.tracker.disposed += 1,
            false => state.tracker.lost += 1,
        }
    }
}
