//! The two settings that are a choice and not a number.

use std::time::Duration;

/// When [`check_aliveness`](crate::ConnectionManager::check_aliveness) runs at checkout.
///
/// The default is `AfterIdle(500 ms)`: a connection in steady use costs nothing, one that was left
/// alone is asked before it is handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HealthCheck {
    /// Never at checkout. `keepalive_interval` still checks in the background.
    Never,
    /// At every checkout of an idle connection. A check that may block needs a caller that waits: a
    /// `try_get`, or a get with a zero timeout, then never returns a connection.
    OnCheckout,
    /// At the checkout of a connection that was idle, and not checked, for at least this long. Zero is the same as
    /// [`OnCheckout`](Self::OnCheckout), `Duration::MAX` the same as [`Never`](Self::Never).
    AfterIdle(Duration),
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self::AfterIdle(Duration::from_millis(500))
    }
}

/// Whether a caller that finds a free connection may be faster than the callers that wait.
///
/// Strict order costs a context switch per checkout on a busy pool; without any order a waiter can
/// starve. The default, `Eventual(500 µs)`, takes free connections in passing until the first of the
/// waiters has waited that long, and from then on serves in order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fairness {
    /// The first waiter may be overtaken while it has waited less than this. Zero is the same as
    /// [`Strict`](Self::Strict).
    Eventual(Duration),
    /// First come, first served, always.
    Strict,
}

impl Default for Fairness {
    fn default() -> Self {
        Self::Eventual(Duration::from_micros(500))
    }
}
