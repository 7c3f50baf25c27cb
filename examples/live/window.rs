//! What a pool has done in the last second. Its statistics count since it was built, and a percentile
//! of all that has ever been hides that the pool is well again.

use conpool::{PoolEvent, PoolObserver};
use std::{
    collections::VecDeque,
    error::Error,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

const SPAN: Duration = Duration::from_secs(1);

/// More than anybody looks at.
const MOST: usize = 100_000;

/// The waits of the last second. An observer; clones see the same.
#[derive(Clone, Default)]
pub(crate) struct Window(Arc<Mutex<Inside>>);

#[derive(Default)]
struct Inside {
    waits: VecDeque<(Instant, Duration)>,
    /// The first checkout since [`Window::forget_first`].
    first: Option<Instant>,
    last_error: Option<(Instant, String)>,
}

impl PoolObserver for Window {
    fn on_event(&self, event: &PoolEvent) {
        let (waited, served) = match event {
            PoolEvent::CheckedOut { waited, .. } => (*waited, true),
            // Who got nothing has waited too.
            PoolEvent::TimedOut { waited, .. } => (*waited, false),
            PoolEvent::CreateFailed { error, .. } => return self.note(&**error),
            _ => return,
        };
        let now = Instant::now();
        let mut inside = self.inside();
        if served {
            inside.first.get_or_insert(now);
        }
        inside.waits.push_back((now, waited));
        while inside.waits.len() > MOST
            || inside
                .waits
                .front()
                .is_some_and(|(at, _)| now.duration_since(*at) > SPAN)
        {
            inside.waits.pop_front();
        }
    }
}

/// A look at it.
#[derive(Default)]
pub(crate) struct Sight {
    /// Callers that got an answer, good or bad.
    pub(crate) calls: usize,
    pub(crate) p99: Option<Duration>,
    pub(crate) last_error: Option<(Instant, String)>,
}

impl Window {
    pub(crate) fn look(&self) -> Sight {
        let now = Instant::now();
        let inside = self.inside();
        let recent = inside
            .waits
            .iter()
            .filter(|(at, _)| now.duration_since(*at) <= SPAN);
        let mut waits: Vec<Duration> = recent.map(|(_, waited)| *waited).collect();
        let last_error = inside.last_error.clone();
        drop(inside);
        let rank = (waits.len() * 99).div_ceil(100).checked_sub(1);
        Sight {
            calls: waits.len(),
            p99: rank.map(|rank| *waits.select_nth_unstable(rank).1),
            last_error,
        }
    }

    /// From now on the next checkout counts as the first.
    pub(crate) fn forget_first(&self) {
        self.inside().first = None;
    }

    pub(crate) fn first(&self) -> Option<Instant> {
        self.inside().first
    }

    /// Keeps the cause of all causes: who opens a connection says where, the system says why.
    fn note(&self, mut error: &(dyn Error + 'static)) {
        while let Some(cause) = error.source() {
            error = cause;
        }
        self.inside().last_error = Some((Instant::now(), error.to_string()));
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
