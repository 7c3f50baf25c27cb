//! The implementation of `ConnectionManager` on top of r2d2's managers.

use std::{any, fmt};

use ::r2d2::{CustomizeConnection, ManageConnection};

use super::IntoCustomizer;
use crate::ConnectionManager;

/// Adapts an r2d2 manager. The [module](crate::managers::r2d2) lists which hook runs which method, and the
/// limit of each step.
///
/// Needs the feature `r2d2`.
///
/// `R2d2Manager<T>` is a [`ConnectionManager`] if the error of `T` is `Send + Sync`.
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
/// // `manager` is the argument of r2d2::Pool::builder().build(manager).
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

/// A function that decides whether an error of a create is transient.
type Classifier<E> = Box<dyn Fn(&E) -> bool + Send + Sync>;

impl<T: ManageConnection> R2d2Manager<T> {
    /// Wraps an r2d2 manager. Touches no backend.
    pub fn new(inner: T) -> Self {
        Self {
            inner,
            customizer: None,
            transient: None,
        }
    }

    /// Sets the customizer, like `connection_customizer` of r2d2's builder. Accepts it by value or boxed.
    /// Replaces an earlier customizer. Default: none.
    ///
    /// `on_acquire` runs once for each new connection, after `connect` and within the same `create_timeout`.
    /// Its error fails the create, and the connection is dropped without `on_release`. `on_release` receives
    /// every other connection that leaves the pool, also on close, where r2d2 only drops connections.
    /// [Detached](crate::PooledConnection::detach) connections are excepted.
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

    /// Sets the classifier, which decides whether an error of `connect` or `on_acquire` is transient.
    /// Replaces an earlier classifier. Default: none; every error is transient, as in r2d2.
    ///
    /// With a classifier, a wrong password or an untrusted certificate fails a build and a caller at once,
    /// while both keep waiting for a server that starts up. [`docs::recipes`](crate::docs::recipes) has
    /// classifiers for PostgreSQL, diesel and Redis.
    ///
    /// The classifier serves as [`is_transient`](ConnectionManager::is_transient) of this manager. It must
    /// not block. A panic is caught, counted and taken as "not transient".
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

    /// Returns the inner r2d2 manager, for example as `pool.manager().get_ref()`.
    pub fn get_ref(&self) -> &T {
        &self.inner
    }
}

// The impl is manual: few managers implement Debug, and those that do may print a password.
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
