//! Log limit: bounds how often failures go to `tracing` at WARN.
//!
//! In an outage every caller and every create fails. The first failure of each kind gets a line of its own,
//! with the error and its causes. The failures of the next second are counted, and one line reports their
//! number. The observer still receives every event. This module runs only when something fails.

use super::Shared;
use crate::ConnectionManager;
use crate::clock::real_now;
use crate::event::PoolEvent;
use crate::foreign::{guarded, with_causes};
use crate::sync::outer::Mutex;
use std::error::Error;
use std::time::{Duration, Instant};
use tracing::level_filters::LevelFilter;

/// The minimum time between two lines of one kind.
const INTERVAL: Duration = Duration::from_secs(1);

/// The kinds of failures. Each kind is written at most once per [`INTERVAL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Create,
    Check,
    Broken,
    Hook,
    Timeout,
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::Create,
        Self::Check,
        Self::Broken,
        Self::Hook,
        Self::Timeout,
    ];

    fn of(event: &PoolEvent) -> Option<Self> {
        match event {
            PoolEvent::CreateFailed { .. } => Some(Self::Create),
            PoolEvent::TimedOut { .. } => Some(Self::Timeout),
            _ => None,
        }
    }
}

/// The state of one kind of failure.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    /// When the last line was written.
    written: Option<Instant>,
    /// The number of failures since then.
    pending: u64,
}

impl Window {
    /// Returns when the next line may be written.
    fn end(&self) -> Option<Instant> {
        self.written.map(|written| written + INTERVAL)
    }
}

/// Limits how often each kind of failure is written. The pools of a keyed pool share one limit and one name.
#[derive(Debug, Default)]
pub(super) struct LogLimit(Mutex<[Window; Kind::ALL.len()]>);

/// Whether a failure gets a line of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// The failure gets a line. `more` failures were counted since the last line.
    Write { more: Option<u64> },
    /// The failure is only counted. The first counted failure sets when the count is due to be written.
    Count { due: Option<Instant> },
}

impl LogLimit {
    /// Decides whether a failure of this kind gets a line now.
    pub(super) fn admit(&self, kind: Kind, now: Instant) -> Line {
        let mut windows = self.0.lock();
        let window = &mut windows[kind as usize];
        if let Some(end) = window.end().filter(|end| now < *end) {
            window.pending += 1;
            let due = (window.pending == 1).then_some(end);
            return Line::Count { due };
        }
        window.written = Some(now);
        let more = std::mem::take(&mut window.pending);
        let more = (more > 0).then_some(more);
        Line::Write { more }
    }

    /// Takes the counts that may be written now, or all counts. Also returns when the next count may be
    /// written.
    fn take(&self, now: Instant, all: bool) -> ([u64; Kind::ALL.len()], Option<Instant>) {
        let mut windows = self.0.lock();
        let mut counts = [0; Kind::ALL.len()];
        let mut next = None::<Instant>;
        for (window, count) in windows.iter_mut().zip(&mut counts) {
            if window.pending == 0 {
                continue;
            }
            match window.end().filter(|end| now < *end && !all) {
                Some(end) => next = Some(next.map_or(end, |next| next.min(end))),
                None => {
                    window.written = Some(now);
                    *count = std::mem::take(&mut window.pending);
                }
            }
        }
        (counts, next)
    }
}

/// Writes an event to `tracing`, unless it is only counted.
pub(super) fn trace(event: &PoolEvent, line: Line) {
    if let Line::Write { more } = line {
        event.trace(more);
    }
}

/// Decides whether this event gets a line of its own.
pub(super) fn line_of(limit: &LogLimit, event: &PoolEvent) -> Line {
    match Kind::of(event).filter(|_| warns()) {
        Some(kind) => limit.admit(kind, real_now()),
        None => Line::Write { more: None },
    }
}

/// Returns whether `tracing` may have a subscriber for warnings.
fn warns() -> bool {
    LevelFilter::current() >= LevelFilter::WARN
}

impl<M: ConnectionManager> Shared<M> {
    /// Writes or counts a failure that has no event.
    fn log(&self, kind: Kind, write: impl FnOnce(&str, Option<u64>)) {
        if !warns() {
            return;
        }
        match self.log_limit.admit(kind, real_now()) {
            Line::Write { more } => {
                // A subscriber is user code.
                guarded(|| write(&self.name, more));
            }
            Line::Count { due } => self.wake_by(due),
        }
    }

    #[cold]
    pub(super) fn log_failed_check(&self, id: u64, error: &(dyn Error + 'static)) {
        self.log(Kind::Check, |pool, more| {
            let error = with_causes(error);
            tracing::warn!(target: "conpool", pool, id, error, more, "check failed");
        });
    }

    #[cold]
    pub(super) fn log_broken(&self, id: u64) {
        self.log(Kind::Broken, |pool, more| {
            tracing::warn!(target: "conpool", pool, id, more, "connection came back broken");
        });
    }

    /// Logs an error of `on_checkout` or `on_checkin`, which evicts its connection.
    #[cold]
    pub(super) fn log_failed_hook(&self, hook: &'static str, error: &(dyn Error + 'static)) {
        self.log(Kind::Hook, |pool, more| {
            let error = with_causes(error);
            tracing::warn!(target: "conpool", pool, hook, error, more, "hook failed");
        });
    }

    /// Writes the counts whose last line is old enough, or all counts if `anyway`. Returns when the next
    /// count may be written.
    ///
    /// The caller must hold no lock.
    pub(super) fn write_counts(&self, now: Instant, anyway: bool) -> Option<Instant> {
        let (counts, next) = self.log_limit.take(now, anyway);
        let counted = Kind::ALL.into_iter().zip(counts);
        for (kind, count) in counted.filter(|(_, count)| *count > 0) {
            let pool = &*self.name;
            let error = self.last_error.lock().clone();
            let error = error.map(|(_, text)| text);
            let error = error.as_deref();
            guarded(|| match kind {
                Kind::Create => {
                    tracing::warn!(target: "conpool", pool, count, error, "creates failed");
                }
                Kind::Check => {
                    tracing::warn!(target: "conpool", pool, count, error, "checks failed");
                }
                Kind::Broken => {
                    tracing::warn!(target: "conpool", pool, count, "connections came back broken");
                }
                Kind::Hook => tracing::warn!(target: "conpool", pool, count, "hooks failed"),
                Kind::Timeout => {
                    let waiters = self.engine.lock().queue.len();
                    tracing::warn!(target: "conpool", pool, count, waiters, "callers got no connection in time");
                }
            });
        }
        next
    }
}

#[cfg(all(test, not(conpool_shuttle)))]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn the_first_is_written_and_those_of_its_second_are_counted() {
        let (limit, start) = (LogLimit::default(), real_now());
        let admit = |kind, after| limit.admit(kind, start + MS(after));
        assert_eq!(admit(Kind::Check, 0), Line::Write { more: None });
        let due = Some(start + INTERVAL);
        assert_eq!(admit(Kind::Check, 10), Line::Count { due });
        assert_eq!(admit(Kind::Check, 999), Line::Count { due: None });
        assert_eq!(admit(Kind::Create, 999), Line::Write { more: None });
        assert_eq!(admit(Kind::Check, 1000), Line::Write { more: Some(2) });
        assert_eq!(admit(Kind::Check, 2000), Line::Write { more: None });
    }

    #[test]
    fn a_count_is_written_once_when_its_second_is_over() {
        let (limit, start) = (LogLimit::default(), real_now());
        for after in [0, 1, 2] {
            limit.admit(Kind::Timeout, start + MS(after));
        }
        let next = Some(start + INTERVAL);
        assert_eq!(limit.take(start + MS(999), false), ([0; 5], next));
        let counts = [0, 0, 0, 0, 2];
        assert_eq!(limit.take(start + MS(1000), false), (counts, None));
        assert_eq!(limit.take(start + MS(1000), true), ([0; 5], None));
        // The line with the count starts a new interval.
        let due = Some(start + MS(2000));
        let line = limit.admit(Kind::Timeout, start + MS(1999));
        assert_eq!(line, Line::Count { due });
        assert_eq!(limit.take(start + MS(1999), true).0, [0, 0, 0, 0, 1]);
    }
}
