//! The settings that are a choice rather than a number.

use std::time::Duration;

/// When [`check_aliveness`](crate::ConnectionManager::check_aliveness) runs at checkout.
///
/// The default is `AfterIdle(500 ms)`: a connection in steady use is not checked, and a connection that was
/// left idle is checked before it is handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HealthCheck {
    /// Never at checkout. `keepalive_interval` still checks in the background.
    Never,
    /// At every checkout of an idle connection. A check that may block needs a caller that waits, so a
    /// `try_get`, or a get with a zero timeout, then never returns a connection.
    OnCheckout,
    /// At the checkout of a connection that was neither used nor checked for at least this long. Zero equals
    /// [`OnCheckout`](Self::OnCheckout), and `Duration::MAX` equals [`Never`](Self::Never).
    AfterIdle(Duration),
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self::AfterIdle(Duration::from_millis(500))
    }
}

/// Whether a caller that finds a free connection may overtake the callers that wait.
///
/// Strict order costs a context switch per checkout on a busy pool. Without any order, a waiter can starve.
/// The default, `Eventual(500 µs)`, lets newcomers take free connections until the first waiter has waited
/// that long, and then serves in order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fairness {
    /// Newcomers may overtake the first waiter until it has waited this long. Zero equals
    /// [`Strict`](Self::Strict).
    Eventual(Duration),
    /// Callers are always served in order of arrival.
    Strict,
}

/// Which idle connection a checkout takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IdleOrder {
    /// The connection that the calling thread used last, else the one in the lowest slot. Few connections are in use, the
    /// others idle out, and a checkout takes no lock.
    #[default]
    Sticky,
    /// The connection that has been idle longest, so that every connection stays in use. For backends behind a load
    /// balancer, which would otherwise see all load on few of them, and for servers that close what is idle.
    ///
    /// Every checkout and every check-in takes the pool's lock, which costs about ten times a `Sticky` one with one thread
    /// and thirteen times with two, because it does not scale with threads (measured by `cargo bench --bench costs`). A
    /// check or an inspection does not change the order. While the pool is in use, no connection is idle for long, so a pool that has grown does not
    /// shrink by `idle_timeout`.
    Fifo,
}

/// What the pool does about a connection that is held for longer than `leak_threshold`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LeakAction {
    /// It reports the holder.
    #[default]
    Report,
    /// It reports the holder, and interrupts the connection when it is still held after this time, counted from the
    /// checkout. See [`Pool::interrupt`](crate::Pool::interrupt).
    Interrupt {
        /// At least `leak_threshold`.
        after: Duration,
    },
}

/// What a `get` does while the pool is suspended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnSuspend {
    /// It waits for the `resume`, up to its deadline.
    #[default]
    Wait,
    /// It fails at once with [`GetError::Suspended`](crate::GetError::Suspended), also if it waited already when the
    /// pool was suspended. (HikariCP calls this `throwIfSuspended`; in the specification of MongoDB's pools it is a
    /// paused pool.)
    Fail,
}

impl Default for Fairness {
    fn default() -> Self {
        Self::Eventual(Duration::from_micros(500))
    }
}
