//! A session of PostgreSQL.

use super::classify::is_misplaced;
use ::postgres::{Client, Error};
use std::fmt;
use std::ops::{Deref, DerefMut};

/// A session. Implements `Deref` and `DerefMut` to [`postgres::Client`](::postgres::Client), so a guard has the methods of
/// the client.
///
/// A function that takes `&mut Client` accepts `&mut guard`.
pub struct PostgresConnection {
    pub(super) client: Client,
    /// A caller has used the client since the last reset.
    pub(super) is_used: bool,
    /// A caller has used the client outside of `Pool::transaction`.
    pub(super) may_be_open: bool,
    /// The session must not be used again.
    pub(super) is_unusable: bool,
}

impl PostgresConnection {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            is_used: false,
            may_be_open: false,
            is_unusable: false,
        }
    }

    /// Ends an open transaction, if there is one.
    pub(super) fn roll_back(&mut self) -> Result<(), Error> {
        // Without a transaction a plain ROLLBACK logs a warning at the server each time.
        let Err(error) = self.client.batch_execute("BEGIN; ROLLBACK") else {
            return Ok(());
        };
        match error.code() {
            // In a transaction that has failed the BEGIN is an error.
            Some(state) if state.code() == "25P02" => self.client.batch_execute("ROLLBACK"),
            _ => Err(error),
        }
    }

    /// Marks the session as unusable if this error says so.
    pub(super) fn note(&mut self, error: &Error) {
        self.is_unusable |= is_misplaced(error) || error.is_closed();
    }
}

impl Deref for PostgresConnection {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for PostgresConnection {
    fn deref_mut(&mut self) -> &mut Client {
        (self.is_used, self.may_be_open) = (true, true);
        &mut self.client
    }
}

impl fmt::Debug for PostgresConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresConnection")
            .field("is_closed", &self.client.is_closed())
            .finish_non_exhaustive()
    }
}
