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
}

impl<T: ManageConnection> R2d2Manager<T> {
    /// Takes an r2d2 manager as it is. Touches no backend.
    pub fn new(inner: T) -> Self {
        Self {
            inner,
            customizer: None,
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

    /// The r2d2 manager inside, for example `pool.manager().get_ref()`.
    pub fn get_ref(&self) -> &T {
        &self.inner
    }
}

// By hand: few managers are Debug, and those that are may print a password.
impl<T: ManageConnection> fmt::Debug for R2d2Manager<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("R2d2Manager")
            .field("inner", &format_args!("{}", any::type_name::<T>()))
            .field("customizer", &self.customizer)
            .finish()
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

    fn is_transient(&self, _: &T::Error) -> bool {
        true
    }
}
