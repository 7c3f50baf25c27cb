use std::{fmt, time::Duration};

/// A hook of [`ConnectionManager`](crate::ConnectionManager), in the scripts of
/// [`MemoryManager`](crate::MemoryManager).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Hook {
    /// `create`
    Create,
    /// `check_aliveness`
    Check,
    /// `dispose`, which cannot report an error: a scripted failure has no effect
    Dispose,
    /// `has_broken`, where a scripted failure means that it returns true
    HasBroken,
    /// `on_checkout`
    Checkout,
    /// `on_checkin`
    Checkin,
    /// `reset`
    Reset,
    /// [`MemoryConnection::execute`](crate::MemoryConnection::execute), which is no hook of the manager. A hang
    /// ends when the connection is killed or interrupted, as with a real driver.
    Execute,
}

impl fmt::Display for Hook {
    /// Writes the name of the trait's method.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Check => "check_aliveness",
            Self::Dispose => "dispose",
            Self::HasBroken => "has_broken",
            Self::Checkout => "on_checkout",
            Self::Checkin => "on_checkin",
            Self::Reset => "reset",
            Self::Execute => "execute",
        })
    }
}

/// The scripted faults of one hook, and the counts of its calls.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) panics: u64,
    pub(super) hangs: bool,
    pub(super) delay: Duration,
    pub(super) failures: u64,
    pub(super) transient: bool,
    pub(super) calls: u64,
    pub(super) running: usize,
    pub(super) peak_running: usize,
}

impl Script {
    pub(super) fn take_panic(&mut self) -> bool {
        take_one(&mut self.panics)
    }

    /// Takes the next scripted failure, and returns whether it is transient.
    pub(super) fn take_failure(&mut self) -> Option<bool> {
        take_one(&mut self.failures).then_some(self.transient)
    }

    pub(super) fn heal(&mut self) {
        self.panics = 0;
        self.hangs = false;
        self.delay = Duration::ZERO;
        self.failures = 0;
    }
}

fn take_one(left: &mut u64) -> bool {
    let some = *left > 0;
    *left = left.saturating_sub(1);
    some
}

/// One [`Script`] for each hook.
#[derive(Debug, Default)]
pub(super) struct Scripts([Script; 8]);

impl Scripts {
    pub(super) fn of(&mut self, hook: Hook) -> &mut Script {
        &mut self.0[hook as usize]
    }

    pub(super) fn all(&mut self) -> impl Iterator<Item = &mut Script> {
        self.0.iter_mut()
    }
}
