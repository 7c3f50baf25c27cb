//! Which errors of PostgreSQL are worth another attempt.

use ::postgres::Error;
use std::error;
use std::io::{self, ErrorKind as Kind};

/// Returns true if another attempt to connect may succeed. The page of the [module](crate::managers::postgres) lists
/// the classes.
#[must_use]
pub fn is_transient_postgres(error: &Error) -> bool {
    match error.code().map(|state| state.code()) {
        Some(code) => {
            code.starts_with("08") || matches!(code, "57P01" | "57P02" | "57P03" | "53300")
        }
        // The driver hides its kinds of errors. The cause of a failed handshake may be an error of the network too,
        // and the handshake fails again all the same.
        None if error.to_string() == "error performing TLS handshake" => false,
        None => error.is_closed() || is_from_network(error) || is_timeout(error),
    }
}

/// Whether this error says that the transaction can be repeated: a serialization failure or a deadlock.
pub(super) fn may_be_repeated(error: &Error) -> bool {
    let code = error.code().map(|state| state.code());
    matches!(code, Some("40001" | "40P01"))
}

/// Whether this error says that the session is in the wrong place: the server has become read-only, or the session is
/// being ended.
pub(super) fn is_misplaced(error: &Error) -> bool {
    let code = error.code().map(|state| state.code());
    matches!(code, Some("25006" | "57P01" | "57P02" | "57P03"))
}

/// Finds the driver's error in a chain of causes.
pub(super) fn find<'a>(error: &'a (dyn error::Error + 'static)) -> Option<&'a Error> {
    let mut chain = std::iter::successors(Some(error), |&error| error.source());
    chain.find_map(|error| error.downcast_ref())
}

fn is_timeout(error: &Error) -> bool {
    error.to_string() == "timeout waiting for server"
}

fn is_from_network(error: &(dyn error::Error + 'static)) -> bool {
    let mut chain = std::iter::successors(Some(error), |&error| error.source());
    chain.any(|error| error.downcast_ref().is_some_and(is_transient_io))
}

fn is_transient_io(error: &io::Error) -> bool {
    let kind = matches!(
        error.kind(),
        Kind::ConnectionRefused
            | Kind::ConnectionReset
            | Kind::ConnectionAborted
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::NetworkDown
            | Kind::NotFound
            | Kind::TimedOut
            | Kind::WouldBlock
            | Kind::BrokenPipe
            | Kind::UnexpectedEof
    );
    // The resolver of the system has no kind of its own for "try again".
    kind || error
        .to_string()
        .contains("Temporary failure in name resolution")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_is_transient_and_a_fault_of_the_client_is_not() {
        for kind in [
            Kind::ConnectionRefused,
            Kind::ConnectionReset,
            Kind::TimedOut,
            Kind::UnexpectedEof,
            Kind::NotFound,
        ] {
            assert!(is_transient_io(&io::Error::from(kind)), "{kind}");
        }
        for kind in [Kind::InvalidInput, Kind::PermissionDenied, Kind::Other] {
            assert!(!is_transient_io(&io::Error::from(kind)), "{kind}");
        }
        let again = io::Error::other(
            "failed to lookup address information: Temporary failure in name resolution",
        );
        assert!(is_transient_io(&again));
        let unknown =
            io::Error::other("failed to lookup address information: Name or service not known");
        assert!(!is_transient_io(&unknown));
    }

    #[test]
    fn a_configuration_without_a_user_or_with_a_bad_word_is_not_transient() {
        let error = "host=".parse::<::postgres::Config>();
        if let Err(error) = error {
            assert!(!is_transient_postgres(&error), "{error}");
        }
        let error = "no such key=1".parse::<::postgres::Config>().unwrap_err();
        assert!(!is_transient_postgres(&error), "{error}");
        let error = ::postgres::Config::new()
            .connect(::postgres::NoTls)
            .err()
            .expect("no host");
        assert!(!is_transient_postgres(&error), "{error}");
    }
}
