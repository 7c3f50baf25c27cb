//! The classifier for the client redis.

// From here on as src/docs/recipes.md has it; `the_page_shows_what_runs_here` compares them.

use redis::RedisError;

/// Whether another attempt to connect may succeed.
pub fn is_transient(error: &RedisError) -> bool {
    error.is_connection_refusal()
        || error.is_connection_dropped()
        || error.is_timeout()
        || error.code() == Some("LOADING") // it starts up
}
