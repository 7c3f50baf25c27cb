//! The last second of a pool. Statistics count since the build of the pool, and a percentile over that time
//! would hide a recovery.

use conpool::{PoolEvent, PoolObserver};
use std::{
    collections::VecDeque,
    error::Error,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

const SPAN: Duration = Duration::from_secs(1);

/// An upper bound that is never reached in practice.
const MOST: usize = 100_000;

/// The waits of the last second. An observer; clones share the data.
#[derive(Clone, Default)]
pub(crate) struct Window(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    waits: VecDeque<(Instant, Duration)>,
    /// The first checkout since [`Window::forget_first`].
    first: Option<Instant>,
    last_error: Option<(Instant, String)>,
}

impl PoolObserver for Window {
    fn on_event(&self, event: &PoolEvent) {
        let (waited, served) = match event {
            PoolEvent::CheckedOut { waited, .. } => (*waited, true),
            // A caller that timed out has waited too.
            PoolEvent::TimedOut { waited, .. } => (*waited, false),
            PoolEvent::CreateFailed { error, .. } => return self.note(&**error),
            _ => return,
        };
        let now = Instant::now();
        let mut state = self.state();
        if served {
            state.first.get_or_insert(now);
        }
        state.waits.push_back((now, waited));
        while state.waits.len() > MOST
            || state
                .waits
                .front()
                .is_some_and(|(at, _)| now.duration_since(*at) > SPAN)
        {
            state.waits.pop_front();
        }
    }
}

/// One reading of the window.
#[derive(Default)]
pub(crate) struct Reading {
    /// Callers that got an answer, good or bad.
    pub(crate) calls: usize,
    pub(crate) p99: Option<Duration>,
    pub(crate) last_error: Option<(Instant, String)>,
}

impl Window {
    pub(crate) fn look(&self) -> Reading {
        let now = Instant::now();
        let state = self.state();
        let recent = state
            .waits
            .iter()
            .filter(|(at, _)| now.duration_since(*at) <= SPAN);
        let mut waits: Vec<Duration> = recent.map(|(_, waited)| *waited).collect();
        let last_error = state.last_error.clone();
        drop(state);
        let rank = (waits.len() * 99).div_ceil(100).checked_sub(1);
        Reading {
            calls: waits.len(),
            p99: rank.map(|rank| *waits.select_nth_unstable(rank).1),
            last_error,
        }
    }

    /// Makes the next checkout count as the first.
    pub(crate) fn forget_first(&self) {
        self.state().first = None;
    }

    pub(crate) fn first(&self) -> Option<Instant> {
        self.state().first
    }

    /// Keeps the root cause: the outer error says where it failed, the system's error says why.
    fn note(&self, mut error: &(dyn Error + 'static)) {
        while let Some(cause) = error.source() {
            error = cause;
        }
        self.state().last_error = Some((Instant::now(), error.to_string()));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
