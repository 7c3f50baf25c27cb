//! The classifier for diesel.

// From here on as src/docs/recipes.md has it; `the_page_shows_what_runs_here` compares them.

use diesel::{ConnectionError, r2d2::Error};

/// Whether another attempt to connect may succeed. libpq tells only a text, here in English.
pub fn is_transient(error: &Error) -> bool {
    let Error::ConnectionError(ConnectionError::BadConnection(text)) = error else {
        return false;
    };
    let transient = [
        "Connection refused",
        "Connection reset",
        "No such file or directory", // the path of a Unix socket, while the server is down
        "No route to host",
        "Network is unreachable",
        "timeout expired",
        "timed out",
        "server closed the connection",
        "the database system is", // starting up, shutting down, in recovery mode
        "too many",
        "remaining connection slots",
    ];
    transient.iter().any(|reason| text.contains(reason))
}
