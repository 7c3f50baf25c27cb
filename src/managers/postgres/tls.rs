//! The connector: hides the type of the caller's TLS from the manager.

use ::postgres::tls::{MakeTlsConnect, TlsConnect};
use ::postgres::{CancelToken, Client, Config, Error, Socket};

/// Opens sessions, and asks servers to cancel statements.
pub(super) trait Connector: Send + Sync {
    fn connect(&self, config: &Config) -> Result<Client, Error>;
    fn cancel(&self, token: &CancelToken) -> Result<(), Error>;
}

pub(super) struct Tls<T>(pub(super) T);

impl<T> Connector for Tls<T>
where
    T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    T::TlsConnect: Send,
    T::Stream: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    fn connect(&self, config: &Config) -> Result<Client, Error> {
        config.connect(self.0.clone())
    }

    fn cancel(&self, token: &CancelToken) -> Result<(), Error> {
        token.cancel_query(self.0.clone())
    }
}
