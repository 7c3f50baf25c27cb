use super::{
    Hook, MemoryCounters, MemoryError,
    hook::{Script, Scripts},
};
use parking_lot::{Condvar, Mutex};
use std::{
    collections::HashMap,
    thread,
    time::{Duration, Instant},
};

/// The state shared by all clones of one manager and their connections.
#[derive(Debug, Default)]
pub(super) struct Backend {
    /// Unlocked while a scripted delay, hang or panic is carried out.
    state: Mutex<State>,
    /// Notified of every change of the counters, and of every release.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    scripts: Scripts,
    counters: MemoryCounters,
    /// Incremented by every release. An earlier hang then ends even if the hook was told to hang again before
    /// its thread woke.
    releases: u64,
    /// Incremented by every change of the counters and every release.
    changes: u64,
    last_id: u64,
    /// The connections whose values exist, and whether each was killed.
    killed: HashMap<u64, bool>,
    store: HashMap<String, String>,
}

impl Backend {
    /// Begins a call of `hook`: carries out its script up to the failure, which [`Call::fail`] handles.
    ///
    /// # Panics
    ///
    /// Panics if the script says so.
    pub(super) fn enter(&self, hook: Hook) -> Call<'_> {
        self.enter_on(hook, None)
    }

    /// Begins a call of `hook` as [`enter`](Self::enter) does. A hang or a delay ends when this connection is
    /// killed.
    fn enter_on(&self, hook: Hook, connection: Option<u64>) -> Call<'_> {
        let mut state = self.state.lock();
        let script = state.scripts.of(hook);
        script.calls += 1;
        script.running += 1;
        script.peak_running = script.peak_running.max(script.running);
        let panics = script.take_panic();
        let counters = &mut state.counters;
        counters.in_hook += 1;
        match hook {
            Hook::Check => counters.checked += 1,
            Hook::Checkout => counters.checkouts += 1,
            Hook::Checkin => counters.checkins += 1,
            Hook::Reset => counters.resets += 1,
            Hook::Create | Hook::Dispose | Hook::HasBroken | Hook::Execute => {}
        }
        self.notify(&mut state);

        // The call ends when this value is dropped, also during a panic.
        let call = Call {
            backend: self,
            hook,
        };
        if panics {
            drop(state);
            panic!("scripted panic in {hook}");
        }
        let releases = state.releases;
        let alive = |state: &State| connection.is_none_or(|id| state.alive(id).is_ok());
        while state.scripts.of(hook).hangs && state.releases == releases && alive(&state) {
            self.changed.wait(&mut state);
        }
        let delay = state.scripts.of(hook).delay;
        if connection.is_none() {
            drop(state);
            if !delay.is_zero() {
                thread::sleep(delay);
            }
            return call;
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "written as a user's manager would be: it cannot reach the pool's clock"
        )]
        let until = Instant::now() + delay;
        while !delay.is_zero() && alive(&state) {
            if self.changed.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        drop(state);
        call
    }

    pub(super) fn script<R>(&self, hook: Hook, change: impl FnOnce(&mut Script) -> R) -> R {
        change(self.state.lock().scripts.of(hook))
    }

    pub(super) fn release(&self) {
        let mut state = self.state.lock();
        state.releases += 1;
        state.scripts.all().for_each(|script| script.hangs = false);
        self.notify(&mut state);
    }

    pub(super) fn heal(&self) {
        let mut state = self.state.lock();
        state.releases += 1;
        state.scripts.all().for_each(Script::heal);
        self.notify(&mut state);
    }

    /// Returns the number of a new connection.
    pub(super) fn open(&self) -> u64 {
        let mut state = self.state.lock();
        state.last_id += 1;
        let id = state.last_id;
        state.killed.insert(id, false);
        let counters = &mut state.counters;
        counters.created += 1;
        counters.open += 1;
        counters.peak_open = counters.peak_open.max(counters.open);
        self.notify(&mut state);
        id
    }

    /// Records the end of connection `id`, whose value is being dropped.
    pub(super) fn closed(&self, id: u64, disposed: bool) {
        let mut state = self.state.lock();
        state.killed.remove(&id);
        let counters = &mut state.counters;
        counters.open -= 1;
        if disposed {
            counters.disposed += 1;
        } else {
            counters.dropped_undisposed += 1;
        }
        self.notify(&mut state);
    }

    pub(super) fn kill(&self, id: u64) -> bool {
        let mut state = self.state.lock();
        let killed = match state.killed.get_mut(&id) {
            Some(killed) => !std::mem::replace(killed, true),
            None => false,
        };
        self.notify(&mut state);
        killed
    }

    pub(super) fn kill_all(&self) -> usize {
        let mut state = self.state.lock();
        let connections = state.killed.values_mut();
        let killed =
            connections.filter_map(|killed| (!std::mem::replace(killed, true)).then_some(()));
        let killed = killed.count();
        self.notify(&mut state);
        killed
    }

    /// Returns an error if connection `id` was killed.
    pub(super) fn alive(&self, id: u64) -> Result<(), MemoryError> {
        self.state.lock().alive(id)
    }

    pub(super) fn execute(&self, id: u64, command: &str) -> Result<String, MemoryError> {
        self.alive(id)?;
        // The call ends at the end of this function.
        let call = self.enter_on(Hook::Execute, Some(id));
        call.fail()?;
        let mut state = self.state.lock();
        state.alive(id)?;
        state.counters.executed += 1;
        self.notify(&mut state);

        let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
        let (key, value) = match rest.split_once(' ') {
            Some((key, value)) => (key, Some(value)),
            None => (rest, None),
        };
        match (verb, key, value) {
            ("PING", "", None) => Ok("PONG".to_owned()),
            ("GET", key, None) if !key.is_empty() => {
                Ok(state.store.get(key).cloned().unwrap_or_default())
            }
            ("SET", key, Some(value)) if !key.is_empty() => {
                state.store.insert(key.to_owned(), value.to_owned());
                Ok("OK".to_owned())
            }
            _ => Err(MemoryError::Command {
                command: command.to_owned(),
            }),
        }
    }

    pub(super) fn counters(&self) -> MemoryCounters {
        self.state.lock().counters
    }

    pub(super) fn wait_for(
        &self,
        mut condition: impl FnMut(&MemoryCounters) -> bool,
        timeout: Duration,
    ) -> bool {
        #[expect(
            clippy::disallowed_methods,
            reason = "written as a user's manager would be: it cannot reach the pool's clock"
        )]
        let deadline = Instant::now().checked_add(timeout);
        loop {
            // The condition runs without the lock, so it may call any code, including this manager.
            let (changes, seen) = {
                let state = self.state.lock();
                (state.changes, state.counters)
            };
            if condition(&seen) {
                return true;
            }
            let mut state = self.state.lock();
            while state.changes == changes {
                match deadline {
                    None => self.changed.wait(&mut state),
                    Some(deadline) => {
                        if self.changed.wait_until(&mut state, deadline).timed_out() {
                            return false;
                        }
                    }
                }
            }
        }
    }

    fn notify(&self, state: &mut State) {
        state.changes += 1;
        self.changed.notify_all();
    }
}

impl State {
    fn alive(&self, id: u64) -> Result<(), MemoryError> {
        match self.killed.get(&id) {
            Some(true) => Err(MemoryError::Dead { id }),
            _ => Ok(()),
        }
    }
}

/// A running hook. It ends when this value is dropped.
#[derive(Debug)]
#[must_use]
pub(super) struct Call<'a> {
    backend: &'a Backend,
    hook: Hook,
}

impl Call<'_> {
    /// Returns an error if the script has a failure left.
    pub(super) fn fail(&self) -> Result<(), MemoryError> {
        let hook = self.hook;
        match self.backend.script(hook, Script::take_failure) {
            Some(transient) => Err(MemoryError::Scripted { hook, transient }),
            None => Ok(()),
        }
    }

    /// Counts the errors of hooks that have an error counter, and returns the result.
    pub(super) fn count<T>(&self, result: Result<T, MemoryError>) -> Result<T, MemoryError> {
        if result.is_err() {
            let mut state = self.backend.state.lock();
            match self.hook {
                Hook::Create => state.counters.create_errors += 1,
                Hook::Check => state.counters.check_errors += 1,
                Hook::Dispose
                | Hook::HasBroken
                | Hook::Checkout
                | Hook::Checkin
                | Hook::Reset
                | Hook::Execute => {}
            }
            self.backend.notify(&mut state);
        }
        result
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let mut state = self.backend.state.lock();
        state.counters.in_hook -= 1;
        state.scripts.of(self.hook).running -= 1;
        self.backend.notify(&mut state);
    }
}
