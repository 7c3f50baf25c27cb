//! The error of a deadline that passed, with the state of the pool.

use crate::info::{Holder, LongestHolders};
use crate::rounded::Rounded;
use std::{error::Error, fmt, sync::Arc, time::Duration};

/// The event that a call waited for when its time was up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// For a connection to be given back.
    Waiting,
    /// For `create` to return.
    Creating,
    /// For `check_aliveness` to return.
    Checking,
    /// For `dispose` to return, which frees the slot.
    Disposing,
    /// For the pool to be resumed.
    Suspended,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Waiting => "waiting",
            Self::Creating => "creating",
            Self::Checking => "checking",
            Self::Disposing => "disposing",
            Self::Suspended => "suspended",
        })
    }
}

/// The deadline of a call passed. The numbers describe the pool at that moment.
///
/// Displays as one line, for example
///
/// ```text
/// pool "orders": no connection within 30s (size 10/10: 0 idle, 10 in use, 0 creating; 3 waiters); held longest: src/report.rs:41 on "worker-3" for 28s, src/api.rs:88 on "worker-1" for 2s, src/api.rs:88 on "worker-7" for 1s (7 more)
/// ```
///
/// The line names the call sites and threads that have held a connection longest, which are the likeliest reason.
///
/// In a keyed pool the numbers are those of the key. If all keys together have reached their limit, the line
/// continues with `; max_total (100) is reached`, and the connections held by the caller are counted over all
/// keys.
///
/// If the caller itself holds connections of this pool, the line ends with `; this thread already holds 1`: a
/// thread that takes several connections can block itself.
#[derive(Debug)]
#[non_exhaustive]
pub struct Timeout<E> {
    /// The pool's name.
    pub pool: Arc<str>,
    /// How long the call waited. Zero if waiting was not allowed.
    pub waited: Duration,
    /// The pool's activity at that moment, which is the likeliest reason.
    pub phase: Phase,
    /// The connections that counted towards `max_size`: idle, in use and creating.
    pub size: usize,
    /// The limit on connections.
    pub max_size: usize,
    /// Connections ready to be handed out.
    pub idle: usize,
    /// The connections that callers held, including those being checked.
    pub in_use: usize,
    /// Creates under way.
    pub creating: usize,
    /// The connections being disposed that still held their slots.
    pub disposing: usize,
    /// Callers that waited.
    pub waiters: usize,
    /// The longest holders of connections, the longest first, at most three. If `max_total` is reached, the holders are
    /// those over all keys.
    pub holders: Vec<Holder>,
    /// How many connections were held beyond those of `holders`.
    pub more_holders: usize,
    /// The limit over all keys of a keyed pool, if it was reached.
    pub max_total: Option<usize>,
    /// The last failure of a create or a check since the call began. While creates keep failing, it may be an
    /// earlier failure.
    pub last: Option<Cause<E>>,
    /// The number of connections that this thread checked out and that are still in use, wherever their
    /// guards are now.
    pub held_by_this_thread: usize,
}

impl<E> fmt::Display for Timeout<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pool {:?}: no connection ", self.pool)?;
        if self.waited < Duration::from_micros(1) {
            f.write_str("free now")?;
        } else {
            write!(f, "within {}", Rounded(self.waited))?;
        }
        if self.phase != Phase::Waiting {
            write!(f, ", while {}", self.phase)?;
        }
        write!(
            f,
            " (size {}/{}: {} idle, {} in use, {} creating",
            self.size, self.max_size, self.idle, self.in_use, self.creating
        )?;
        if self.disposing > 0 {
            write!(f, ", {} disposing", self.disposing)?;
        }
        let plural = if self.waiters == 1 { "" } else { "s" };
        write!(f, "; {} waiter{plural})", self.waiters)?;
        if let Some(total) = self.max_total {
            write!(f, "; max_total ({total}) is reached")?;
        }
        let (holders, more) = (&self.holders, self.more_holders);
        write!(f, "{}", LongestHolders { holders, more })?;
        if self.held_by_this_thread > 0 {
            write!(
                f,
                "; this thread already holds {}",
                self.held_by_this_thread
            )?;
        }
        Ok(())
    }
}

impl<E: Error + 'static> Error for Timeout<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.last.as_ref().map(|cause| cause as _)
    }
}

// The impl is manual: a derive would require `E: Clone`.
impl<E> Clone for Timeout<E> {
    fn clone(&self) -> Self {
        Self {
            pool: self.pool.clone(),
            last: self.last.clone(),
            holders: self.holders.clone(),
            ..*self
        }
    }
}

/// The last failure while a call waited.
#[derive(Debug)]
#[non_exhaustive]
pub enum Cause<E> {
    /// `create`, or `on_checkout` on a new connection, returned this error.
    Create(Arc<E>),
    /// `check_aliveness` returned this error.
    Check(Arc<E>),
    /// A hook did not return within its timeout.
    TimedOut {
        /// The hook's name, for example `create`.
        hook: &'static str,
        /// The timeout of the hook.
        after: Duration,
    },
    /// A hook panicked.
    Panicked {
        /// The hook's name, for example `create`.
        hook: &'static str,
        /// The message of the panic.
        message: String,
    },
}

impl<E> Cause<E> {
    pub(super) fn create_error(&self) -> Option<&E> {
        match self {
            Self::Create(error) => Some(error),
            Self::Check(_) | Self::TimedOut { .. } | Self::Panicked { .. } => None,
        }
    }
}

impl<E> fmt::Display for Cause<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(_) => f.write_str("the last create failed"),
            Self::Check(_) => f.write_str("the last check failed"),
            Self::TimedOut { hook, after } => {
                write!(f, "{hook} did not return within {}", Rounded(*after))
            }
            Self::Panicked { hook, message } => write!(f, "{hook} panicked with {message:?}"),
        }
    }
}

// The impl is manual, as for `GetError`: the source is the error, not the `Arc` around it.
impl<E: Error + 'static> Error for Cause<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Create(error) | Self::Check(error) => Some(&**error),
            Self::TimedOut { .. } | Self::Panicked { .. } => None,
        }
    }
}

// The impl is manual: a derive would require `E: Clone`.
impl<E> Clone for Cause<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Create(error) => Self::Create(error.clone()),
            Self::Check(error) => Self::Check(error.clone()),
            Self::TimedOut { hook, after } => Self::TimedOut {
                hook,
                after: *after,
            },
            Self::Panicked { hook, message } => Self::Panicked {
                hook,
                message: message.clone(),
            },
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A manager's error that is not `Clone`.
    #[derive(Debug, thiserror::Error)]
    #[error("refused")]
    pub(in crate::error) struct Refused;

    /// Returns the timeout of a pool whose ten connections are all in use.
    pub(in crate::error) fn timeout() -> Timeout<Refused> {
        Timeout {
            pool: "orders".into(),
            waited: Duration::from_micros(30_000_120),
            phase: Phase::Waiting,
            size: 10,
            max_size: 10,
            idle: 0,
            in_use: 10,
            creating: 0,
            disposing: 0,
            waiters: 3,
            holders: Vec::new(),
            more_holders: 0,
            max_total: None,
            last: None,
            held_by_this_thread: 0,
        }
    }

    pub(in crate::error) fn source_is<T: Error + 'static>(error: &dyn Error) -> bool {
        matches!(error.source(), Some(source) if source.is::<T>())
    }

    fn text(change: impl FnOnce(&mut Timeout<Refused>)) -> String {
        let mut timeout = timeout();
        change(&mut timeout);
        timeout.to_string()
    }

    #[test]
    fn the_line_has_the_name_and_the_numbers() {
        assert_eq!(
            text(|_| ()),
            "pool \"orders\": no connection within 30s \
             (size 10/10: 0 idle, 10 in use, 0 creating; 3 waiters)"
        );
    }

    #[test]
    fn a_thread_that_holds_some_itself_is_told() {
        assert!(
            text(|t| t.held_by_this_thread = 1)
                .ends_with("0 creating; 3 waiters); this thread already holds 1")
        );
    }

    #[test]
    fn the_longest_holders_are_named_and_the_others_counted() {
        let holder = |(line, thread, held)| Holder {
            connection_id: line,
            file: "src/report.rs",
            line: line as u32,
            thread: format!("worker-{thread}"),
            since: std::time::Instant::now(),
            held: Duration::from_secs(held),
        };
        let text = text(|t| {
            t.holders = [(41, 3, 28), (88, 1, 2)].map(holder).into();
            t.more_holders = 8;
        });
        assert!(
            text.ends_with(
                "3 waiters); held longest: src/report.rs:41 on \"worker-3\" for 28s, \
                 src/report.rs:88 on \"worker-1\" for 2s (8 more)"
            ),
            "{text}"
        );
    }

    #[test]
    fn the_phase_is_named_where_it_is_not_plain_waiting() {
        assert!(
            text(|t| t.phase = Phase::Creating)
                .starts_with(r#"pool "orders": no connection within 30s, while creating (size"#)
        );
    }

    #[test]
    fn connections_on_their_way_out_are_named_where_there_are_any() {
        assert!(
            text(|t| {
                t.disposing = 2;
                t.waiters = 1;
            })
            .ends_with("0 creating, 2 disposing; 1 waiter)")
        );
    }

    #[test]
    fn a_call_that_did_not_wait_says_so() {
        assert!(
            text(|t| t.waited = Duration::ZERO)
                .starts_with(r#"pool "orders": no connection free now (size 10/10: "#)
        );
    }

    #[test]
    fn causes_without_an_error_say_the_hook() {
        let late = Cause::<Refused>::TimedOut {
            hook: "create",
            after: Duration::from_secs(5),
        };
        assert_eq!(late.to_string(), "create did not return within 5s");
        assert!(late.source().is_none());
        let panicked = Cause::<Refused>::Panicked {
            hook: "on_checkout",
            message: "boom".into(),
        };
        assert_eq!(
            panicked.clone().to_string(),
            r#"on_checkout panicked with "boom""#
        );
    }

    #[test]
    fn the_source_of_a_timeout_is_its_cause() {
        let mut error = timeout();
        assert!(error.source().is_none());
        error.last = Some(Cause::Check(Arc::new(Refused)));
        let copy = error.clone();
        assert!(source_is::<Cause<Refused>>(&copy));
    }
}
