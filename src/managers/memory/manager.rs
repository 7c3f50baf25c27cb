use super::{Hook, MemoryConnection, MemoryCounters, MemoryError, backend::Backend};
use crate::ConnectionManager;
use std::{
    fmt,
    panic::{RefUnwindSafe, UnwindSafe},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Makes connections that exist only in memory, and makes them fail on command.
///
/// Clones share one backend: give one to the pool and keep another as the remote control.
///
/// # Order of scripted faults
///
/// A call of a hook goes through its script in this order: panic, hang, delay, failure. Each is
/// looked up when its turn comes, so a failure scripted while a call hangs still meets that call.
/// No lock is held while a call sleeps, hangs or panics. Every call takes one short lock, which a
/// benchmark of a pool would see; such a benchmark wants a manager of its own.
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
/// // The backend refuses the next caller: nothing is open, so that one hears of it at once.
/// pool.clear();
/// backend.fail(Hook::Create, 1);
/// assert!(pool.get().unwrap_err().last_create_error().is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct MemoryManager {
    backend: Arc<Backend>,
    blocking_check: Arc<AtomicBool>,
}

impl MemoryManager {
    /// A manager with a backend of its own, without faults.
    #[must_use]
    pub fn new() -> Self {
        Self {
            backend: Arc::default(),
            blocking_check: Arc::new(AtomicBool::new(true)),
        }
    }

    /// Makes the next `n` calls of `hook` fail permanently. For [`Hook::HasBroken`] the next `n`
    /// answers are yes; [`Hook::Dispose`] cannot fail, so nothing happens there.
    ///
    /// Replaces what earlier calls of this method or [`fail_transient`](Self::fail_transient) left
    /// for the hook; 0 takes it back, `u64::MAX` is for good.
    pub fn fail(&self, hook: Hook, n: u64) {
        self.script_failure(hook, n, false);
    }

    /// Like [`fail`](Self::fail), with errors that [`MemoryError::is_transient`] calls worth
    /// repeating.
    pub fn fail_transient(&self, hook: Hook, n: u64) {
        self.script_failure(hook, n, true);
    }

    fn script_failure(&self, hook: Hook, n: u64, transient: bool) {
        self.backend.script(hook, |script| {
            script.failures = n;
            script.transient = transient;
        });
    }

    /// Makes every call of `hook` that begins from now on sleep this long. Zero switches it off; a
    /// sleep under way goes on.
    pub fn delay(&self, hook: Hook, delay: Duration) {
        self.backend.script(hook, |script| script.delay = delay);
    }

    /// Makes every call of `hook` from now on block until [`release`](Self::release) or
    /// [`heal`](Self::heal). There is no other way out, so keep a clone to call them on.
    pub fn hang(&self, hook: Hook) {
        self.backend.script(hook, |script| script.hangs = true);
    }

    /// Ends all hangs: blocked calls go on, and later calls do not block until
    /// [`hang`](Self::hang) is called again.
    pub fn release(&self) {
        self.backend.release();
    }

    /// Makes the next `n` calls of `hook` panic with a message that names the hook. Replaces what
    /// an earlier call left for the hook; 0 takes it back.
    pub fn panic(&self, hook: Hook, n: u64) {
        self.backend.script(hook, |script| script.panics = n);
    }

    /// Kills one connection: its checks and commands fail from now on. As with a real driver,
    /// `has_broken` answers no until a command has failed.
    ///
    /// Returns whether the connection was open and alive.
    pub fn kill(&self, id: u64) -> bool {
        self.backend.kill(id)
    }

    /// Kills all open connections, as [`kill`](Self::kill) does, and returns how many were alive.
    pub fn kill_all(&self) -> usize {
        self.backend.kill_all()
    }

    /// Takes back every scripted failure, delay, hang and panic. Killed connections stay dead.
    pub fn heal(&self) {
        self.backend.heal();
    }

    /// Sets the answer to [`check_may_block`](ConnectionManager::check_may_block), which a pool asks
    /// once, when it is built. Default true. Shared by all clones.
    pub fn blocking_check(&self, may_block: bool) {
        self.blocking_check.store(may_block, Ordering::Relaxed);
    }

    /// What has happened so far.
    #[must_use]
    pub fn counters(&self) -> MemoryCounters {
        self.backend.counters()
    }

    /// How many calls of `hook` have begun, those that failed or panicked included.
    #[must_use]
    pub fn calls(&self, hook: Hook) -> u64 {
        self.backend.script(hook, |script| script.calls)
    }

    /// How many calls of `hook` are running now.
    #[must_use]
    pub fn running(&self, hook: Hook) -> usize {
        self.backend.script(hook, |script| script.running)
    }

    /// The highest value that [`running`](Self::running) has had.
    #[must_use]
    pub fn peak_running(&self, hook: Hook) -> usize {
        self.backend.script(hook, |script| script.peak_running)
    }

    /// Waits until the counters satisfy `condition`, at most `timeout`, and returns whether they
    /// did. It is asked at once and after every change, under no lock: it may call this manager, as
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
        // Before the call ends, so that nobody sees it finished and the connection still open.
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

    fn is_transient(&self, error: &MemoryError) -> bool {
        error.is_transient()
    }

    fn check_may_block(&self) -> bool {
        self.blocking_check.load(Ordering::Relaxed)
    }
}

impl Default for MemoryManager {
    /// The same as [`new`](Self::new).
    fn default() -> Self {
        Self::new()
    }
}

// Its panics are scripted, and raised with no lock held.
impl UnwindSafe for MemoryManager {}
impl RefUnwindSafe for MemoryManager {}

impl fmt::Debug for MemoryManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryManager")
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}
