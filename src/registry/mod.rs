//! Pools of different managers, by name.
//!
//! A map of type-erased handles behind one lock, which is held for a look or an insert and never while
//! a pool is built, checked or closed: one dead service must not delay another. Who builds a pool puts
//! a place under its name first, so that others who ask for the same name wait there, and only they.

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

/// The pools of a process, by name, whatever their managers.
///
/// It holds a handle to each, so a registered pool stays open until [`close_all`](Self::close_all),
/// [`remove`](Self::remove) or the end of the registry. A name is any text. All methods take `&self`
/// and may be called from any thread; none holds a lock while it works on a pool.
///
/// # Example
///
/// One for the whole process:
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
    places: Mutex<BTreeMap<String, Place>>,
    built: Condvar,
}

enum Place {
    Taken(Arc<dyn AnyPool>),
    /// Being built by this thread.
    Building(ThreadId),
}

impl Place {
    fn pool(&self) -> Option<Arc<dyn AnyPool>> {
        match self {
            Self::Taken(pool) => Some(Arc::clone(pool)),
            Self::Building(_) => None,
        }
    }
}

/// What can be asked of a pool without knowing its manager.
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

/// What [`PoolRegistry::get_or_register`] may be given to make a pool with: something that returns a
/// pool, or a pool or an error. There is nothing to implement: it is for those two.
pub trait IntoPool {
    /// The pool's manager.
    type Manager: ConnectionManager;

    /// The pool, or why there is none.
    ///
    /// # Errors
    ///
    /// Whatever the building of the pool ended with.
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

/// Somebody asked, while building a pool, for the pool being built.
#[derive(Debug, thiserror::Error)]
#[error("building it asks for it")]
struct RecursiveBuild;

impl PoolRegistry {
    /// An empty registry. It can be the value of a `static`.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            places: Mutex::new(BTreeMap::new()),
            built: Condvar::new(),
        }
    }

    /// Puts a pool under a name, which need not be the pool's own.
    ///
    /// # Errors
    ///
    /// [`NameTaken`](RegistryError::NameTaken): another pool has the name, or is being built for it.
    /// The pool is dropped then; keep a clone if it should stay open.
    pub fn register<M: ConnectionManager>(
        &self,
        name: impl Into<String>,
        pool: Pool<M>,
    ) -> Result<(), RegistryError> {
        match self.places.lock().entry(name.into()) {
            Entry::Vacant(place) => {
                place.insert(Place::Taken(Arc::new(pool)));
                Ok(())
            }
            Entry::Occupied(place) => Err(RegistryError::NameTaken(place.key().clone())),
        }
    }

    /// The pool of this name: another handle to it.
    ///
    /// # Errors
    ///
    /// [`Unknown`](RegistryError::Unknown): there is none, or it is still being built.
    /// [`WrongType`](RegistryError::WrongType): its manager is no `M`.
    pub fn get<M: ConnectionManager>(&self, name: &str) -> Result<Pool<M>, RegistryError> {
        let pool = self.places.lock().get(name).and_then(Place::pool);
        let pool = pool.ok_or_else(|| RegistryError::Unknown(name.into()))?;
        typed(name, &*pool)
    }

    /// The pool of this name, or else the one that `make` makes, which is registered then. `make` runs
    /// on the calling thread, without a lock, at most once at a time for each name; others who ask for
    /// the name wait for its outcome, and if it fails the next of them tries.
    ///
    /// # Errors
    ///
    /// [`WrongType`](RegistryError::WrongType): the name has a pool with another kind of manager.
    /// [`Build`](RegistryError::Build): `make` returned an error, or asked for the name itself.
    ///
    /// # Panics
    ///
    /// Where `make` does. The name is free again.
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
        let mut places = self.places.lock();
        loop {
            match places.get(&name) {
                None => break,
                Some(Place::Taken(pool)) => {
                    let pool = Arc::clone(pool);
                    drop(places);
                    return typed(&name, &*pool);
                }
                Some(Place::Building(builder)) if *builder == me => {
                    let source = Arc::new(RecursiveBuild);
                    return Err(RegistryError::Build { name, source });
                }
                Some(Place::Building(_)) => self.built.wait(&mut places),
            }
        }
        places.insert(name.clone(), Place::Building(me));
        drop(places);
        let site = Reservation {
            registry: self,
            name: &name,
        };
        let outcome = make().into_pool();
        match outcome {
            Ok(pool) => {
                site.settle(Some(Arc::new(pool.clone())));
                Ok(pool)
            }
            Err(source) => {
                drop(site);
                Err(RegistryError::Build { name, source })
            }
        }
    }

    /// Takes the name away; true if a pool had it. The pool closes when its last handle is dropped.
    pub fn remove(&self, name: &str) -> bool {
        let mut places = self.places.lock();
        let here = matches!(places.get(name), Some(Place::Taken(_)));
        // Dropped outside of the lock: it may be the last handle.
        let removed = here.then(|| places.remove(name)).flatten();
        drop(places);
        removed.is_some()
    }

    /// The names of all pools, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.pools().into_iter().map(|(name, _)| name).collect()
    }

    /// The statistics of every pool, by name.
    #[must_use]
    pub fn stats(&self) -> BTreeMap<String, PoolStats> {
        let pools = self.pools().into_iter();
        pools.map(|(name, pool)| (name, pool.stats())).collect()
    }

    /// Checks the health of every pool, as [`Pool::check_health`] does, all at the same time, each on a
    /// thread of its own: one that hangs takes its timeouts and adds nothing to the others. (The checks of a pool without a
    /// collector have no timeout: the answer waits for them.)
    #[must_use = "the answer is the purpose"]
    pub fn check_health(&self) -> BTreeMap<String, Health> {
        let pools = self.pools();
        thread::scope(|scope| {
            let asked: Vec<_> = pools
                .iter()
                .map(|(name, pool)| {
                    // A name here is any text; that of a thread has no NUL.
                    let name_of_thread = format!("{}-health", name.replace('\0', ""));
                    let named = thread::Builder::new().name(name_of_thread);
                    let spawned = named.spawn_scoped(scope, || pool.check_health());
                    (name, pool, spawned)
                })
                .collect();
            let answers = asked.into_iter().map(|(name, pool, spawned)| {
                let answer = spawned.ok().and_then(|thread| thread.join().ok());
                // Without a thread, here.
                (name.clone(), answer.unwrap_or_else(|| pool.check_health()))
            });
            answers.collect()
        })
    }

    /// Closes every pool at once, then waits for what is still out, at most for `timeout` in all. (A pool
    /// without a collector is disposed on this thread: its hooks bound that, and the others wait.) The
    /// pools keep their names, for their statistics; [`remove`](Self::remove) frees one.
    ///
    /// # Errors
    ///
    /// At the timeout: the pools that were not done, and what each waits for.
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
        let places = self.places.lock();
        let pools = places.iter();
        pools
            .filter_map(|(name, place)| Some((name.clone(), place.pool()?)))
            .collect()
    }
}

// A panic leaves no name half registered.
impl UnwindSafe for PoolRegistry {}
impl RefUnwindSafe for PoolRegistry {}

impl fmt::Debug for PoolRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolRegistry")
            .field("names", &self.names())
            .finish()
    }
}

/// Where a pool is being built. Dropped unsettled, by an error or a panic, it frees the name.
struct Reservation<'a> {
    registry: &'a PoolRegistry,
    name: &'a str,
}

impl Reservation<'_> {
    fn settle(self, pool: Option<Arc<dyn AnyPool>>) {
        self.put(pool);
        std::mem::forget(self);
    }

    fn put(&self, pool: Option<Arc<dyn AnyPool>>) {
        let mut places = self.registry.places.lock();
        match pool {
            Some(pool) => places.insert(self.name.into(), Place::Taken(pool)),
            None => places.remove(self.name),
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
