//! The manager for PostgreSQL.

use r2d2_postgres::postgres;

// From here on as src/docs/recipes.md has it; `the_page_shows_what_runs_here` compares them.

use conpool::ConnectionManager;
use postgres::{Client, Config, Error, NoTls};
use std::{error, io};

pub struct Postgres {
    pub config: Config, // with connect_timeout and tcp_user_timeout set
}

impl ConnectionManager for Postgres {
    type Connection = Client;
    type Error = Error;

    fn create(&self) -> Result<Client, Error> {
        self.config.connect(NoTls)
    }

    fn check_aliveness(&self, client: &mut Client) -> Result<(), Error> {
        client.batch_execute("ROLLBACK") // an answer proves the session, and no transaction is left in it
    }

    fn has_broken(&self, client: &mut Client) -> bool {
        client.is_closed()
    }

    fn is_transient(&self, error: &Error) -> bool {
        is_transient(error)
    }
}

/// Whether another attempt to connect may succeed.
pub fn is_transient(error: &Error) -> bool {
    match error.code() {
        // Connection exceptions; ended by an administrator, a crash, starting up; too many clients.
        Some(state) => {
            let code = state.code();
            code.starts_with("08") || matches!(code, "57P01" | "57P02" | "57P03" | "53300")
        }
        // Not an answer of the server: of the network, or of the client, which stays as it is.
        None => error.is_closed() || is_from_network(error),
    }
}

fn is_from_network(error: &(dyn error::Error + 'static)) -> bool {
    use io::ErrorKind as Kind;
    let mut chain = std::iter::successors(Some(error), |&error| error.source());
    let transient = |error: &io::Error| {
        matches!(
            error.kind(),
            Kind::ConnectionRefused
                | Kind::ConnectionReset
                | Kind::ConnectionAborted
                | Kind::HostUnreachable
                | Kind::NetworkUnreachable
                | Kind::NotFound // the path of a Unix socket, while the server is down
                | Kind::TimedOut
                | Kind::WouldBlock
                | Kind::BrokenPipe
                | Kind::UnexpectedEof
        )
    };
    chain.any(|error| error.downcast_ref().is_some_and(transient))
}
