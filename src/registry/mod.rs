//! Pools with different managers, by name.
//!
//! The registry is a map of type-erased handles behind one lock. The lock is held for a lookup or an insert,
//! and never while a pool is built, checked or closed, so that one dead service does not delay the others. A
//! thread that builds a pool first reserves its name; other threads that ask for this name wait for the
//! result.

mod error;

pub use error::{CloseAllError, RegistryError};

use crate::clock::real_now;
use crate::{ConnectionManager, Health, Pool, PoolStats, StillInUse};
use parking_lot::{Condvar, Mutex};
use std::any::{Any, type_name};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::error::Error;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::thread::{self, ThreadId};
use std::time::Duration;

/// The pools of a process, by name, with managers of any type.
///
/// The registry holds a handle to each pool, so a registered pool stays open until
/// [`close_all`](Self::close_all), [`remove`](Self::remove) or the end of the registry. A name is any text.
/// All methods take `&self` and may be called from any thread. No method holds a lock while it works on a
/// pool.
///
/// # Example
///
/// One registry for the whole process:
///
/// ```
/// use conpool::{MemoryManager, Pool, PoolRegistry};
/// use std::sync::LazyLock;
/// use std::time::Duration;
///
/// static POOLS: LazyLock<PoolRegistry> = LazyLock::new(PoolRegistry::new);
///
/// let orders = Pool::builder().name("orders").build(MemoryManager::new())?;
/// POOLS.register("orders", orders)?;
///
/// let pool = POOLS.get::<MemoryManager>("orders")?;
/// assert_eq!(pool.get()?.execute("PING")?, "PONG");
/// POOLS.close_all(Duration::from_secs(5))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
pub struct PoolRegistry {
    entries: Mutex<BTreeMap<String, RegistryEntry>>,
    built: Condvar,
}

enum RegistryEntry {
    Registered(Arc<dyn AnyPool>),
    /// This thread builds the pool.
    Building(ThreadId),
}

impl RegistryEntry {
    fn pool(&self) -> Option<Arc<dyn AnyPool>> {
        match self {
            Self::Registered(pool) => Some(Arc::clone(pool)),
            Self::Building(_) => None,
        }
    }
}

/// The methods of a pool that do not depend on the type of its manager.
trait AnyPool: Send + Sync {
    fn stats(&self) -> PoolStats;
    fn check_health(&self) -> Health;
    fn close(&self);
    fn close_timeout(&self, timeout: Duration) -> Result<(), StillInUse>;
    fn manager(&self) -> &'static str;
    fn as_any(&self) -> &dyn Any;
}

impl<M: ConnectionManager> AnyPool for Pool<M> {
    fn stats(&self) -> PoolStats {
        self.stats()
    }

    fn check_health(&self) -> Health {
        self.check_health()
    }

    fn close(&self) {
        self.close();
    }

    fn close_timeout(&self, timeout: Duration) -> Result<(), StillInUse> {
        self.close_timeout(timeout)
    }

    fn manager(&self) -> &'static str {
        type_name::<M>()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A value that [`PoolRegistry::get_or_register`] accepts from its closure: a pool, or a `Result` with a
/// pool. Both implementations are provided; the trait is not meant to be implemented elsewhere.
pub trait IntoPool {
    /// The pool's manager.
    type Manager: ConnectionManager;

    /// Returns the pool, or the reason why there is none.
    ///
    /// # Errors
    ///
    /// Returns the error of the builder of the pool.
    fn into_pool(self) -> Result<Pool<Self::Manager>, Arc<dyn Error + Send + Sync>>;
}

impl<M: ConnectionManager> IntoPool for Pool<M> {
    type Manager = M;

    fn into_pool(self) -> Result<Pool<M>, Arc<dyn Error + Send + Sync>> {
        Ok(self)
    }
}

impl<M: ConnectionManager, E: Error + Send + Sync + 'static> IntoPool for Result<Pool<M>, E> {
    type Manager = M;

    fn into_pool(self) -> Result<Pool<M>, Arc<dyn Error + Send + Sync>> {
        self.map_err(|error| Arc::new(error) as _)
    }
}

/// The function that builds a pool asked the registry for the same name.
#[derive(Debug, thiserror::Error)]
#[error("building it asks for it")]
struct RecursiveBuild;

impl PoolRegistry {
    /// Creates an empty registry. The constructor can initialize a `static`.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            entries: Mutex::new(BTreeMap::new()),
            built: Condvar::new(),
        }
    }

    /// Registers a pool under a name, which may differ from the pool's own.
    ///
    /// # Errors
    ///
    /// [`NameTaken`](RegistryError::NameTaken) if another pool has the name, or is being built for it. The
    /// pool is then dropped; keep a clone if it should stay open.
    pub fn register<M: ConnectionManager>(
        &self,
        name: impl Into<String>,
        pool: Pool<M>,
    ) -> Result<(), RegistryError> {
        match self.entries.lock().entry(name.into()) {
            Entry::Vacant(entry) => {
                entry.insert(RegistryEntry::Registered(Arc::new(pool)));
                Ok(())
            }
            Entry::Occupied(entry) => Err(RegistryError::NameTaken(entry.key().clone())),
        }
    }

    /// Returns another handle to the pool of this name.
    ///
    /// # Errors
    ///
    /// [`Unknown`](RegistryError::Unknown) if no pool has the name, or if it is still being built.
    /// [`WrongType`](RegistryError::WrongType) if its manager is not an `M`.
    pub fn get<M: ConnectionManager>(&self, name: &str) -> Result<Pool<M>, RegistryError> {
        let pool = self.entries.lock().get(name).and_then(RegistryEntry::pool);
        let pool = pool.ok_or_else(|| RegistryError::Unknown(name.into()))?;
        typed(name, &*pool)
    }

    /// Returns the pool of this name, or calls `make` and registers its pool.
    ///
    /// `make` runs on the calling thread, without a lock, at most once at a time for each name. Other callers
    /// that ask for the name wait for the outcome. If `make` fails, the next of these callers tries.
    ///
    /// # Errors
    ///
    /// [`WrongType`](RegistryError::WrongType) if the name has a pool with a manager of another type.
    /// [`Build`](RegistryError::Build) if `make` returns an error, or asks for the same name.
    ///
    /// # Panics
    ///
    /// Panics if `make` does. The name is free again.
    ///
    /// # Example
    ///
    /// ```
    /// use conpool::{MemoryManager, Pool, PoolRegistry};
    ///
    /// let registry = PoolRegistry::new();
    /// let make = || Pool::builder().max_size(2).build(MemoryManager::new());
    /// let pool = registry.get_or_register("orders", make)?;
    /// assert_eq!(registry.get_or_register("orders", make)?.config().max_size, 2);
    /// assert_eq!(registry.names(), ["orders"]);
    /// # Ok::<(), conpool::RegistryError>(())
    /// ```
    pub fn get_or_register<P: IntoPool>(
        &self,
        name: impl Into<String>,
        make: impl FnOnce() -> P,
    ) -> Result<Pool<P::Manager>, RegistryError> {
        let name = name.into();
        let me = thread::current().id();
        let mut entries = self.entries.lock();
        loop {
            match entries.get(&name) {
                None => break,
                Some(RegistryEntry::Registered(pool)) => {
                    let pool = Arc::clone(pool);
                    drop(entries);
                    return typed(&name, &*pool);
                }
                Some(RegistryEntry::Building(builder)) if *builder == me => {
                    let source = Arc::new(RecursiveBuild);
                    return Err(RegistryError::Build { name, source });
                }
                Some(RegistryEntry::Building(_)) => self.built.wait(&mut entries),
            }
        }
        entries.insert(name.clone(), RegistryEntry::Building(me));
        drop(entries);
        let reservation = Reservation {
            registry: self,
            name: &name,
        };
        let outcome = make().into_pool();
        match outcome {
            Ok(pool) => {
                reservation.complete(Some(Arc::new(pool.clone())));
                Ok(pool)
            }
            Err(source) => {
                drop(reservation);
                Err(RegistryError::Build { name, source })
            }
        }
    }

    /// Removes the name; returns true if a pool had it. The pool closes when its last handle is dropped.
    pub fn remove(&self, name: &str) -> bool {
        let mut entries = self.entries.lock();
        let here = matches!(entries.get(name), Some(RegistryEntry::Registered(_)));
        // The handle is dropped outside of the lock, because it may be the last one.
        let removed = here.then(|| entries.remove(name)).flatten();
        drop(entries);
        removed.is_some()
    }

    /// Returns the names of all pools, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.pools().into_iter().map(|(name, _)| name).collect()
    }

    /// Returns the statistics of every pool, by name.
    #[must_use]
    pub fn stats(&self) -> BTreeMap<String, PoolStats> {
        let pools = self.pools().into_iter();
        pools.map(|(name, pool)| (name, pool.stats())).collect()
    }

    /// Checks the health of every pool, as [`Pool::check_health`] does.
    ///
    /// The checks run at the same time, each on a thread of its own: a pool that hangs takes its timeouts and
    /// does not delay the others. The checks of a pool without a collector have no timeout, so the result
    /// waits for them.
    #[must_use = "the answer is the purpose"]
    pub fn check_health(&self) -> BTreeMap<String, Health> {
        let pools = self.pools();
        thread::scope(|scope| {
            let asked: Vec<_> = pools
                .iter()
                .map(|(name, pool)| {
                    // A registered name is any text, but the name of a thread cannot contain a NUL.
                    let name_of_thread = format!("{}-health", name.replace('\0', ""));
                    let named = thread::Builder::new().name(name_of_thread);
                    let spawned = named.spawn_scoped(scope, || pool.check_health());
                    (name, pool, spawned)
                })
                .collect();
            let answers = asked.into_iter().map(|(name, pool, spawned)| {
                let answer = spawned.ok().and_then(|thread| thread.join().ok());
                // If no thread could be started, the check runs on this one.
                (name.clone(), answer.unwrap_or_else(|| pool.check_health()))
            });
            answers.collect()
        })
    }

    /// Closes every pool at once, then waits for connections that are still in use, at most `timeout` in all.
    ///
    /// A pool without a collector runs its disposes on this thread, so only its hooks bound them, and the
    /// other pools wait. The pools keep their names, for their statistics; [`remove`](Self::remove) frees a
    /// name.
    ///
    /// # Errors
    ///
    /// At the timeout, returns the pools that did not finish, and the work that each waits for.
    pub fn close_all(&self, timeout: Duration) -> Result<(), CloseAllError> {
        let deadline = real_now().checked_add(timeout);
        let pools = self.pools();
        for (_, pool) in &pools {
            pool.close();
        }
        let left = || {
            deadline.map_or(Duration::MAX, |deadline| {
                deadline.saturating_duration_since(real_now())
            })
        };
        let unfinished = pools
            .into_iter()
            .filter_map(|(name, pool)| Some((name, pool.close_timeout(left()).err()?)));
        let pools: Vec<_> = unfinished.collect();
        match pools.is_empty() {
            true => Ok(()),
            false => Err(CloseAllError { pools }),
        }
    }

    fn pools(&self) -> Vec<(String, Arc<dyn AnyPool>)> {
        let entries = self.entries.lock();
        let pools = entries.iter();
        pools
            .filter_map(|(name, entry)| Some((name.clone(), entry.pool()?)))
            .collect()
    }
}

// A panic never leaves a name half registered.
impl UnwindSafe for PoolRegistry {}
impl RefUnwindSafe for PoolRegistry {}

impl fmt::Debug for PoolRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolRegistry")
            .field("names", &self.names())
            .finish()
    }
}

/// The reserved name of a pool that is being built. Dropping it after an error or a panic frees the name.
struct Reservation<'a> {
    registry: &'a PoolRegistry,
    name: &'a str,
}

impl Reservation<'_> {
    fn complete(self, pool: Option<Arc<dyn AnyPool>>) {
        self.put(pool);
        std::mem::forget(self);
    }

    fn put(&self, pool: Option<Arc<dyn AnyPool>>) {
        let mut entries = self.registry.entries.lock();
        match pool {
            Some(pool) => entries.insert(self.name.into(), RegistryEntry::Registered(pool)),
            None => entries.remove(self.name),
        };
        self.registry.built.notify_all();
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.put(None);
    }
}

fn typed<M: ConnectionManager>(name: &str, pool: &dyn AnyPool) -> Result<Pool<M>, RegistryError> {
    let found = pool.as_any().downcast_ref::<Pool<M>>().cloned();
    found.ok_or_else(|| RegistryError::WrongType {
        name: name.into(),
        registered: pool.manager(),
        asked: type_name::<M>(),
    })
}
