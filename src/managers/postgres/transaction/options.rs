//! The options of a transaction.

use ::postgres::{Client, Error, IsolationLevel, Transaction};

/// How a transaction of [`Pool::transaction`](crate::Pool#method.transaction-1) runs.
///
/// ```
/// use conpool::{TxOptions, postgres::IsolationLevel};
///
/// let options = TxOptions::new().isolation(IsolationLevel::RepeatableRead).read_only(true);
/// assert_eq!(options.retries, 3);
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct TxOptions {
    /// The isolation level. None: that of the session, usually `READ COMMITTED`.
    pub isolation: Option<IsolationLevel>,
    /// Whether the transaction may only read. Default false: as the session is set.
    pub read_only: bool,
    /// Whether a serializable transaction that only reads waits for a moment at which it cannot fail. Default false.
    pub deferrable: bool,
    /// How often the transaction is repeated after a serialization failure or a deadlock. Default 3.
    pub retries: u32,
}

impl TxOptions {
    /// Returns the defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            isolation: None,
            read_only: false,
            deferrable: false,
            retries: 3,
        }
    }

    /// Sets [`isolation`](Self::isolation).
    #[must_use]
    pub const fn isolation(mut self, level: IsolationLevel) -> Self {
        self.isolation = Some(level);
        self
    }

    /// Sets [`read_only`](Self::read_only).
    #[must_use]
    pub const fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Sets [`deferrable`](Self::deferrable).
    #[must_use]
    pub const fn deferrable(mut self, deferrable: bool) -> Self {
        self.deferrable = deferrable;
        self
    }

    /// Sets [`retries`](Self::retries).
    #[must_use]
    pub const fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    pub(super) fn begin(self, client: &mut Client) -> Result<Transaction<'_>, Error> {
        let mut builder = client.build_transaction();
        if let Some(level) = self.isolation {
            builder = builder.isolation_level(level);
        }
        if self.read_only {
            builder = builder.read_only(true);
        }
        if self.deferrable {
            builder = builder.deferrable(true);
        }
        builder.start()
    }
}

impl Default for TxOptions {
    fn default() -> Self {
        Self::new()
    }
}
