//! The manager of sessions.

use super::classify::is_transient_postgres;
use super::connection::PostgresConnection;
use super::interrupt::Cancel;
use super::reset::Reset;
use super::tls::{Connector, Tls};
use crate::{ConnectionManager, Interrupt};
use ::postgres::tls::{MakeTlsConnect, TlsConnect};
use ::postgres::{Config, Error, Socket};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Limits a connect whose configuration has no `connect_timeout`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Limits a check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);
/// The parts of `DISCARD ALL` (its page in the manual of PostgreSQL lists them) except `DEALLOCATE ALL`: the driver
/// reuses the prepared statements of its type queries.
const DISCARD: &str = "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; \
     SELECT pg_advisory_unlock_all(); DISCARD PLANS; DISCARD TEMP; DISCARD SEQUENCES";
/// The server truncates a longer name.
const LONGEST_NAME: usize = 63;

/// Creates sessions of PostgreSQL. The page of the [module](crate::managers::postgres) describes its errors and faults.
///
/// Requires the feature `postgres`. A clone is an independent manager with the same configuration.
///
/// ```no_run
/// use conpool::{Pool, PostgresManager, Reset, postgres};
///
/// let mut config = postgres::Config::new();
/// config.host("db-1").host("db-2").user("orders").dbname("orders");
/// config.target_session_attrs(postgres::config::TargetSessionAttrs::ReadWrite);
/// let manager = PostgresManager::new(config, postgres::NoTls).reset(Reset::None);
/// let pool = Pool::builder().build(manager)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct PostgresManager {
    config: Config,
    connector: Arc<dyn Connector>,
    reset: Reset,
    check_timeout: Duration,
}

impl PostgresManager {
    /// Creates a manager with this configuration, and opens nothing.
    ///
    /// The driver interprets the hosts, `target_session_attrs` and `load_balance_hosts`: each create tries the hosts in
    /// order, or in random order. Without a `connect_timeout` the limit for each address is 10 s. The default `application_name` is the name of the program, which
    /// `pg_stat_activity` shows.
    ///
    /// `tls` is [`NoTls`](::postgres::NoTls) or a connector such as those of the crates postgres-native-tls and
    /// tokio-postgres-rustls.
    #[must_use]
    pub fn new<T>(mut config: Config, tls: T) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::TlsConnect: Send,
        T::Stream: Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name(&program());
        }
        Self {
            config,
            connector: Arc::new(Tls(tls)),
            reset: Reset::default(),
            check_timeout: CHECK_TIMEOUT,
        }
    }

    /// Creates a manager from a connection string, either `postgres://user:password@host/database?connect_timeout=5` or
    /// `host=... user=...`, as [`new`](Self::new) does.
    ///
    /// # Errors
    ///
    /// The driver's error if the string is not valid.
    pub fn from_url<T>(url: &str, tls: T) -> Result<Self, Error>
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::TlsConnect: Send,
        T::Stream: Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        Ok(Self::new(url.parse()?, tls))
    }

    /// Sets what happens to a session between two callers. Default [`Reset::Rollback`].
    #[must_use]
    pub fn reset(mut self, reset: Reset) -> Self {
        self.reset = reset;
        self
    }

    /// Sets how long a check waits for the answer of the server. Default 5 s. The pool's `check_timeout` also limits it.
    #[must_use]
    pub fn check_timeout(mut self, timeout: Duration) -> Self {
        self.check_timeout = timeout;
        self
    }

    /// Returns the configuration, including what [`new`](Self::new) added.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }
}

/// Returns the name of the program.
fn program() -> String {
    let path = std::env::current_exe().ok();
    let name = path.as_deref().and_then(|path| path.file_name());
    let mut name = name.map_or_else(
        || "conpool".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    );
    while name.len() > LONGEST_NAME {
        name.pop();
    }
    name
}

impl ConnectionManager for PostgresManager {
    type Connection = PostgresConnection;
    type Error = Error;

    fn create(&self) -> Result<PostgresConnection, Error> {
        self.connector
            .connect(&self.config)
            .map(PostgresConnection::new)
    }

    /// Sends an empty query, and waits at most [`check_timeout`](PostgresManager::check_timeout) for the answer.
    fn check_aliveness(&self, connection: &mut PostgresConnection) -> Result<(), Error> {
        connection.client.is_valid(self.check_timeout)
    }

    /// Tells the server that the session ends.
    fn dispose(&self, connection: PostgresConnection) {
        // The session ends either way.
        let _ = connection.client.close();
    }

    fn has_broken(&self, connection: &mut PostgresConnection) -> bool {
        connection.is_unusable || connection.client.is_closed()
    }

    fn needs_reset(&self, connection: &PostgresConnection) -> bool {
        match self.reset {
            Reset::None => false,
            Reset::Rollback => connection.may_be_open,
            Reset::DiscardAll | Reset::Query(_) => connection.is_used,
        }
    }

    fn reset(&self, connection: &mut PostgresConnection) -> Result<(), Error> {
        if connection.may_be_open {
            connection.roll_back()?;
        }
        match &self.reset {
            Reset::None | Reset::Rollback => {}
            Reset::DiscardAll => connection.client.batch_execute(DISCARD)?,
            Reset::Query(query) => connection.client.batch_execute(query)?,
        }
        (connection.is_used, connection.may_be_open) = (false, false);
        Ok(())
    }

    fn is_transient(&self, error: &Error) -> bool {
        is_transient_postgres(error)
    }

    /// Asks the server to cancel the running statement, over a connection of its own. The caller gets the SQLSTATE 57014. A
    /// caller that runs no statement at the moment, or whose server cannot be reached, is not interrupted.
    fn interrupter(&self, connection: &mut PostgresConnection) -> Option<Box<dyn Interrupt>> {
        Some(Box::new(Cancel {
            connector: Arc::clone(&self.connector),
            token: connection.client.cancel_token(),
        }))
    }
}

impl fmt::Debug for PostgresManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The Debug of the driver hides the password.
        f.debug_struct("PostgresManager")
            .field("config", &self.config)
            .field("reset", &self.reset)
            .field("check_timeout", &self.check_timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::postgres::NoTls;

    #[test]
    fn what_the_configuration_does_not_say_is_set_sensibly() {
        let manager = PostgresManager::from_url("postgres://orders@db/orders", NoTls).unwrap();
        assert_eq!(
            manager.config().get_connect_timeout(),
            Some(&CONNECT_TIMEOUT)
        );
        let name = manager.config().get_application_name().unwrap();
        assert!(!name.is_empty() && name.len() <= LONGEST_NAME, "{name}");
    }

    #[test]
    fn what_the_configuration_says_stays() {
        let url = "postgres://orders@db/orders?connect_timeout=3&application_name=cash";
        let manager = PostgresManager::from_url(url, NoTls).unwrap();
        let config = manager.config();
        assert_eq!(config.get_connect_timeout(), Some(&Duration::from_secs(3)));
        assert_eq!(config.get_application_name(), Some("cash"));
    }

    #[test]
    fn debug_does_not_show_the_password() {
        let url = "postgres://orders:secret@db/orders";
        let manager = PostgresManager::from_url(url, NoTls).unwrap();
        assert!(!format!("{manager:?}").contains("secret"));
    }

    #[test]
    fn a_string_that_is_no_configuration_is_an_error() {
        let error = PostgresManager::from_url("postgres://db:many/orders", NoTls);
        assert!(error.is_err());
    }
}
