//! A memory manager that records every hook and its result.

use conpool::{ConnectionManager, Hook, Interrupt, MemoryConnection, MemoryError, MemoryManager};
use std::{
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Mutex, Once},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Recorded for creates only, because they hold a slot from their begin on.
    Begun,
    Fine,
    /// For `has_broken`: the answer yes.
    Failed,
    Transient,
    Panicked,
}

/// One call of a hook. A failed create has no connection and number 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HookCall {
    pub(crate) hook: Hook,
    pub(crate) id: u64,
    pub(crate) end: End,
}

#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    pub(crate) memory: MemoryManager,
    trace: Arc<Mutex<Vec<HookCall>>>,
}

impl Recorder {
    pub(crate) fn new(memory: &MemoryManager) -> Self {
        silence_scripted_panics();
        Self {
            memory: memory.clone(),
            trace: Arc::default(),
        }
    }

    /// All calls so far.
    pub(crate) fn trace(&self) -> Vec<HookCall> {
        self.trace.lock().unwrap().clone()
    }

    fn note(&self, hook: Hook, id: u64, end: End) {
        self.trace.lock().unwrap().push(HookCall { hook, id, end });
    }

    /// Runs a hook and records its result at its end.
    fn call<R>(&self, hook: Hook, id: u64, run: impl FnOnce() -> R, end: impl Fn(&R) -> End) -> R {
        match panic::catch_unwind(AssertUnwindSafe(run)) {
            Ok(result) => {
                self.note(hook, id, end(&result));
                result
            }
            Err(payload) => {
                self.note(hook, id, End::Panicked);
                panic::resume_unwind(payload)
            }
        }
    }
}

fn ended<T>(result: &Result<T, MemoryError>) -> End {
    match result {
        Ok(_) => End::Fine,
        Err(error) if error.is_transient() => End::Transient,
        Err(_) => End::Failed,
    }
}

impl ConnectionManager for Recorder {
    type Connection = MemoryConnection;
    type Error = MemoryError;

    fn create(&self) -> Result<MemoryConnection, MemoryError> {
        self.note(Hook::Create, 0, End::Begun);
        match panic::catch_unwind(AssertUnwindSafe(|| self.memory.create())) {
            Ok(result) => {
                let id = result.as_ref().map_or(0, MemoryConnection::id);
                self.note(Hook::Create, id, ended(&result));
                result
            }
            Err(payload) => {
                self.note(Hook::Create, 0, End::Panicked);
                panic::resume_unwind(payload)
            }
        }
    }

    fn check_aliveness(&self, connection: &mut MemoryConnection) -> Result<(), MemoryError> {
        let id = connection.id();
        let check = || self.memory.check_aliveness(connection);
        self.call(Hook::Check, id, check, ended)
    }

    fn dispose(&self, connection: MemoryConnection) {
        let id = connection.id();
        let dispose = || self.memory.dispose(connection);
        self.call(Hook::Dispose, id, dispose, |()| End::Fine);
    }

    fn has_broken(&self, connection: &mut MemoryConnection) -> bool {
        let id = connection.id();
        let ask = || self.memory.has_broken(connection);
        self.call(Hook::HasBroken, id, ask, |broken| {
            if *broken { End::Failed } else { End::Fine }
        })
    }

    fn on_checkout(&self, connection: &mut MemoryConnection) -> Result<(), MemoryError> {
        let id = connection.id();
        let hook = || self.memory.on_checkout(connection);
        self.call(Hook::Checkout, id, hook, ended)
    }

    fn on_checkin(&self, connection: &mut MemoryConnection) -> Result<(), MemoryError> {
        let id = connection.id();
        let hook = || self.memory.on_checkin(connection);
        self.call(Hook::Checkin, id, hook, ended)
    }

    fn needs_reset(&self, connection: &MemoryConnection) -> bool {
        ConnectionManager::needs_reset(&self.memory, connection)
    }

    fn reset(&self, connection: &mut MemoryConnection) -> Result<(), MemoryError> {
        let id = connection.id();
        let reset = || self.memory.reset(connection);
        self.call(Hook::Reset, id, reset, ended)
    }

    fn interrupter(&self, connection: &mut MemoryConnection) -> Option<Box<dyn Interrupt>> {
        self.memory.interrupter(connection)
    }

    fn is_transient(&self, error: &MemoryError) -> bool {
        error.is_transient()
    }

    fn check_may_block(&self) -> bool {
        self.memory.check_may_block()
    }
}

/// Thousands of scripted panics would hide the one message that counts.
fn silence_scripted_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let text = info.payload().downcast_ref::<String>();
            if !text.is_some_and(|text| text.starts_with("scripted panic")) {
                others(info);
            }
        }));
    });
}
