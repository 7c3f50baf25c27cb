use super::{Hook, MemoryConnection, MemoryCounters, MemoryError, backend::Backend};
use crate::{ConnectionManager, Interrupt};
use std::{
    fmt,
    panic::{RefUnwindSafe, UnwindSafe},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Creates connections that exist only in memory, with faults on command.
///
/// Clones share one backend: give one clone to the pool, and keep another to control the faults.
///
/// # Order of scripted faults
///
/// A call of a hook executes its script in this order: panic, hang, delay, failure. Each step is read when
/// its turn comes, so a failure scripted while a call hangs applies to that call. No lock is held while a
/// call sleeps, hangs or panics. Every call takes one short lock, which would show in a benchmark of a pool;
/// use another manager for benchmarks.
///
/// # Examples
///
/// ```
/// use conpool::{Hook, MemoryManager, Pool};
///
/// let backend = MemoryManager::new();
/// let pool = Pool::builder().max_size(2).build(backend.clone())?;
/// assert_eq!(pool.get()?.execute("PING")?, "PONG");
///
/// // The backend refuses the next create. No connection is open, so the caller gets the error at once.
/// pool.clear();
/// backend.fail(Hook::Create, 1);
/// assert!(pool.get().unwrap_err().last_create_error().is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct MemoryManager {
    backend: Arc<Backend>,
    blocking_check: Arc<AtomicBool>,
    blocking_reset: Arc<AtomicBool>,
    needs_reset: Arc<AtomicBool>,
}

impl MemoryManager {
    /// Creates a manager with a backend of its own, without faults.
    #[must_use]
    pub fn new() -> Self {
        Self {
            backend: Arc::default(),
            blocking_check: Arc::new(AtomicBool::new(true)),
            blocking_reset: Arc::new(AtomicBool::new(true)),
            needs_reset: Arc::default(),
        }
    }

    /// Makes the next `n` calls of `hook` fail permanently. For [`Hook::HasBroken`] the next `n` calls return
    /// true. [`Hook::Dispose`] cannot fail, so the script has no effect there.
    ///
    /// Replaces earlier failures of the hook, including those of [`fail_transient`](Self::fail_transient). 0
    /// cancels them; `u64::MAX` is unlimited.
    pub fn fail(&self, hook: Hook, n: u64) {
        self.script_failure(hook, n, false);
    }

    /// Makes the next `n` calls of `hook` fail with errors that [`MemoryError::is_transient`] classifies as
    /// transient. Otherwise equals [`fail`](Self::fail).
    pub fn fail_transient(&self, hook: Hook, n: u64) {
        self.script_failure(hook, n, true);
    }

    fn script_failure(&self, hook: Hook, n: u64, transient: bool) {
        self.backend.script(hook, |script| {
            script.failures = n;
            script.transient = transient;
        });
    }

    /// Makes every call of `hook` that begins from now on sleep this long. Zero switches the delay off; a
    /// sleep under way continues.
    pub fn delay(&self, hook: Hook, delay: Duration) {
        self.backend.script(hook, |script| script.delay = delay);
    }

    /// Makes every call of `hook` from now on block until [`release`](Self::release) or [`heal`](Self::heal).
    /// Keep a clone to call these methods, because calls do not end otherwise.
    pub fn hang(&self, hook: Hook) {
        self.backend.script(hook, |script| script.hangs = true);
    }

    /// Ends all hangs: blocked calls continue, and later calls do not block until [`hang`](Self::hang) is
    /// called again.
    pub fn release(&self) {
        self.backend.release();
    }

    /// Makes the next `n` calls of `hook` panic with a message that names the hook. Replaces earlier panics
    /// of the hook; 0 cancels them.
    pub fn panic(&self, hook: Hook, n: u64) {
        self.backend.script(hook, |script| script.panics = n);
    }

    /// Kills one connection: its checks and commands fail from now on. As with a real driver, `has_broken`
    /// returns false until a command has failed.
    ///
    /// Returns true if the connection was open and alive.
    pub fn kill(&self, id: u64) -> bool {
        self.backend.kill(id)
    }

    /// Kills all open connections, as [`kill`](Self::kill) does, and returns the number of those that were
    /// alive.
    pub fn kill_all(&self) -> usize {
        self.backend.kill_all()
    }

    /// Cancels every scripted failure, delay, hang and panic. Killed connections stay dead.
    pub fn heal(&self) {
        self.backend.heal();
    }

    /// Sets the result of [`check_may_block`](ConnectionManager::check_may_block), which a pool reads once,
    /// when it is built. Default true. Shared by all clones.
    pub fn blocking_check(&self, may_block: bool) {
        self.blocking_check.store(may_block, Ordering::Relaxed);
    }

    /// Sets the result of [`reset_may_block`](ConnectionManager::reset_may_block), which a pool reads once,
    /// when it is built. Default true. Shared by all clones.
    pub fn blocking_reset(&self, may_block: bool) {
        self.blocking_reset.store(may_block, Ordering::Relaxed);
    }

    /// Sets the result of [`needs_reset`](ConnectionManager::needs_reset) for all connections. Default false. Shared by
    /// all clones.
    pub fn needs_reset(&self, needs_reset: bool) {
        self.needs_reset.store(needs_reset, Ordering::Relaxed);
    }

    /// Returns the current counters.
    #[must_use]
    pub fn counters(&self) -> MemoryCounters {
        self.backend.counters()
    }

    /// Returns the number of calls of `hook` that have begun, including those that failed or panicked.
    #[must_use]
    pub fn calls(&self, hook: Hook) -> u64 {
        self.backend.script(hook, |script| script.calls)
    }

    /// Returns the number of calls of `hook` that are running now.
    #[must_use]
    pub fn running(&self, hook: Hook) -> usize {
        self.backend.script(hook, |script| script.running)
    }

    /// Returns the highest value of [`running`](Self::running) so far.
    #[must_use]
    pub fn peak_running(&self, hook: Hook) -> usize {
        self.backend.script(hook, |script| script.peak_running)
    }

    /// Waits until the counters satisfy `condition`, at most `timeout`, and returns whether they did.
    /// `condition` runs at once and after every change. It runs without a lock and may call this manager, as
    /// in `backend.wait_for(|_| backend.running(Hook::Dispose) == 2, timeout)`.
    pub fn wait_for(
        &self,
        condition: impl FnMut(&MemoryCounters) -> bool,
        timeout: Duration,
    ) -> bool {
        self.backend.wait_for(condition, timeout)
    }
}

impl ConnectionManager for MemoryManager {
    type Connection = MemoryConnection;
    type Error = MemoryError;

    fn create(&self) -> Result<MemoryConnection, MemoryError> {
        let call = self.backend.enter(Hook::Create);
        let scripted = call.fail();
        call.count(scripted)?;
        Ok(MemoryConnection::new(Arc::clone(&self.backend)))
    }

    fn check_aliveness(&self, connection: &mut MemoryConnection) -> Result<(), MemoryError> {
        let call = self.backend.enter(Hook::Check);
        let alive = call
            .fail()
            .and_then(|()| self.backend.alive(connection.id()));
        call.count(alive)
    }

    fn dispose(&self, mut connection: MemoryConnection) {
        connection.disposed = true;
        let _call = self.backend.enter(Hook::Dispose);
        // The connection is dropped before the call ends, so that a finished call implies a closed connection.
        drop(connection);
    }

    fn has_broken(&self, connection: &mut MemoryConnection) -> bool {
        let call = self.backend.enter(Hook::HasBroken);
        call.fail().is_err() || connection.known_dead
    }

    fn on_checkout(&self, _: &mut MemoryConnection) -> Result<(), MemoryError> {
        self.backend.enter(Hook::Checkout).fail()
    }

    fn on_checkin(&self, _: &mut MemoryConnection) -> Result<(), MemoryError> {
        self.backend.enter(Hook::Checkin).fail()
    }

    fn needs_reset(&self, _: &MemoryConnection) -> bool {
        self.needs_reset.load(Ordering::Relaxed)
    }

    /// Fails on a killed connection, as a round trip would.
    fn reset(&self, connection: &mut MemoryConnection) -> Result<(), MemoryError> {
        let call = self.backend.enter(Hook::Reset);
        call.fail()
            .and_then(|()| self.backend.alive(connection.id()))
    }

    fn reset_may_block(&self) -> bool {
        self.blocking_reset.load(Ordering::Relaxed)
    }

    fn is_transient(&self, error: &MemoryError) -> bool {
        error.is_transient()
    }

    /// Returns a handle that kills the connection, as [`kill`](Self::kill) does.
    fn interrupter(&self, connection: &mut MemoryConnection) -> Option<Box<dyn Interrupt>> {
        Some(Box::new(Killer {
            backend: Arc::clone(&self.backend),
            id: connection.id(),
        }))
    }

    fn check_may_block(&self) -> bool {
        self.blocking_check.load(Ordering::Relaxed)
    }
}

/// Kills a connection from another thread.
struct Killer {
    backend: Arc<Backend>,
    id: u64,
}

impl Interrupt for Killer {
    fn interrupt(&self) {
        self.backend.kill(self.id);
    }
}

impl Default for MemoryManager {
    /// Equals [`new`](Self::new).
    fn default() -> Self {
        Self::new()
    }
}

// All panics are scripted, and occur without a lock held.
impl UnwindSafe for MemoryManager {}
impl RefUnwindSafe for MemoryManager {}

impl fmt::Debug for MemoryManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryManager")
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}
