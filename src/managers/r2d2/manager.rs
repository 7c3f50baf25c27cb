//! The manager itself: which hook of r2d2 stands behind which of ours.

use std::{any, fmt};

use ::r2d2::{CustomizeConnection, ManageConnection};

use super::IntoCustomizer;
use crate::ConnectionManager;

/// Pools what an r2d2 manager makes; see the [module](crate::managers::r2d2) for which hook is which,
/// and what bounds what.
///
/// Needs the feature `r2d2`.
///
/// It is a [`ConnectionManager`] when the error of `T` is `Send + Sync`.
///
/// # Example
///
/// ```
/// use conpool::{Pool, R2d2Manager};
/// # use std::convert::Infallible;
/// # struct Manager;
/// # impl r2d2::ManageConnection for Manager {
/// #     type Connection = u32;
/// #     type Error = Infallible;
/// #     fn connect(&self) -> Result<u32, Infallible> { Ok(7) }
/// #     fn is_valid(&self, _: &mut u32) -> Result<(), Infallible> { Ok(()) }
/// #     fn has_broken(&self, _: &mut u32) -> bool { false }
/// # }
/// # let manager = Manager;
///
/// // `manager` is what r2d2::Pool::builder().build(manager) took.
/// let pool = Pool::builder()
///     .name("orders")
///     .max_size(4)
///     .build(R2d2Manager::new(manager))?;
/// assert_eq!(*pool.get()?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a manager does nothing until a pool is built with it"]
pub struct R2d2Manager<T: ManageConnection> {
    inner: T,
    customizer: Option<Box<dyn CustomizeConnection<T::Connection, T::Error>>>,
    transient: Option<Classifier<T::Error>>,
}

/// Says whether an error of a create is worth another attempt.
type Classifier<E> = Box<dyn Fn(&E) -> bool + Send + Sync>;

impl<T: ManageConnection> R2d2Manager<T> {
    /// Takes an r2d2 manager as it is. Touches no backend.
    pub fn new(inner: T) -> Self {
        Self {
            inner,
            customizer: None,
            transient: None,
        }
    }

    /// Sets the customizer, what `connection_customizer` of r2d2's builder was; by itself or boxed.
    /// The last one given counts. Default: none.
    ///
    /// Its `on_acquire` runs once for each new connection, after `connect` and within the same
    /// `create_timeout`; an error makes it a failed create, and the connection is dropped without
    /// `on_release`. Its `on_release` gets every other connection that leaves the pool, also on close,
    /// where r2d2 just drops them; not those that were [detached](crate::PooledConnection::detach).
    ///
    /// # Example
    ///
    /// ```
    /// use conpool::R2d2Manager;
    /// # use std::convert::Infallible;
    /// # struct Manager;
    /// # impl r2d2::ManageConnection for Manager {
    /// #     type Connection = u32;
    /// #     type Error = Infallible;
    /// #     fn connect(&self) -> Result<u32, Infallible> { Ok(7) }
    /// #     fn is_valid(&self, _: &mut u32) -> Result<(), Infallible> { Ok(()) }
    /// #     fn has_broken(&self, _: &mut u32) -> bool { false }
    /// # }
    ///
    /// #[derive(Debug)]
    /// struct SetUp;
    ///
    /// impl r2d2::CustomizeConnection<u32, Infallible> for SetUp {
    ///     fn on_acquire(&self, connection: &mut u32) -> Result<(), Infallible> {
    ///         *connection += 1; // for a database: SET search_path, PRAGMA foreign_keys ...
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let pool = conpool::Pool::new(R2d2Manager::new(Manager).customizer(Box::new(SetUp)))?;
    /// assert_eq!(*pool.get()?, 8);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn customizer<K>(
        mut self,
        customizer: impl IntoCustomizer<T::Connection, T::Error, K>,
    ) -> Self {
        self.customizer = Some(customizer.into_customizer());
        self
    }

    /// Sets the classifier, which says whether an error of `connect` or `on_acquire` is worth another
    /// attempt. The last one given counts. Default: none, and every error is, as in r2d2.
    ///
    /// With one, a wrong password or an untrusted certificate fails a build and a caller at once, and they
    /// go on waiting for a server that starts up. [`docs::recipes`](crate::docs::recipes) has classifiers for
    /// PostgreSQL, diesel and Redis.
    ///
    /// It is [`is_transient`](ConnectionManager::is_transient) of this manager: it must not block, and a panic
    /// in it is caught, counted and taken for a no.
    ///
    /// # Example
    ///
    /// ```
    /// use conpool::{BuildError, Pool, R2d2Manager};
    /// use std::io;
    /// # struct Manager;
    /// # impl r2d2::ManageConnection for Manager {
    /// #     type Connection = u32;
    /// #     type Error = io::Error;
    /// #     fn connect(&self) -> io::Result<u32> { Err(io::ErrorKind::PermissionDenied.into()) }
    /// #     fn is_valid(&self, _: &mut u32) -> io::Result<()> { Ok(()) }
    /// #     fn has_broken(&self, _: &mut u32) -> bool { false }
    /// # }
    ///
    /// // The connect of this manager fails with ErrorKind::PermissionDenied.
    /// let manager = R2d2Manager::new(Manager)
    ///     .transient(|error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused);
    /// let error = Pool::new(manager).unwrap_err(); // at once, and not after get_timeout
    /// assert!(matches!(error, BuildError::Create { .. }));
    /// ```
    pub fn transient(
        mut self,
        transient: impl Fn(&T::Error) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.transient = Some(Box::new(transient));
        self
    }

    /// The r2d2 manager inside, for example `pool.manager().get_ref()`.
    pub fn get_ref(&self) -> &T {
        &self.inner
    }
}

// By hand: few managers are Debug, and those that are may print a password.
impl<T: ManageConnection> fmt::Debug for R2d2Manager<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut manager = f.debug_struct("R2d2Manager");
        manager
            .field("inner", &format_args!("{}", any::type_name::<T>()))
            .field("customizer", &self.customizer);
        if self.transient.is_some() {
            manager.field("transient", &"custom");
        }
        manager.finish()
    }
}

impl<T> ConnectionManager for R2d2Manager<T>
where
    T: ManageConnection,
    T::Error: Send + Sync,
{
    type Connection = T::Connection;
    type Error = T::Error;

    fn create(&self) -> Result<T::Connection, T::Error> {
        let mut connection = self.inner.connect()?;
        if let Some(customizer) = &self.customizer {
            customizer.on_acquire(&mut connection)?;
        }
        Ok(connection)
    }

    fn check_aliveness(&self, connection: &mut T::Connection) -> Result<(), T::Error> {
        self.inner.is_valid(connection)
    }

    fn dispose(&self, connection: T::Connection) {
        match &self.customizer {
            Some(customizer) => customizer.on_release(connection),
            None => drop(connection),
        }
    }

    fn has_broken(&self, connection: &mut T::Connection) -> bool {
        self.inner.has_broken(connection)
    }

    fn is_transient(&self, error: &T::Error) -> bool {
        match &self.transient {
            Some(transient) => transient(error),
            None => true,
        }
    }
}
