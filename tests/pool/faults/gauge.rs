//! How long this machine delays threads.
//!
//! A thread that only sleeps sees little of the delay: the scheduler favours sleepers, and they need no
//! resources of the process. A pool starts threads, so this gauge does the same and waits in the same queues.

use crate::common::{ms, now, secs};
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, OnceLock},
    thread,
    time::{Duration, Instant},
};

struct Gauge {
    trying_since: Instant,
    /// The end of each delay, and its length.
    delays: VecDeque<(Instant, Duration)>,
}

/// Longer than any cell takes.
const FORGOTTEN: Duration = secs(120);

fn gauge() -> MutexGuard<'static, Gauge> {
    static GAUGE: OnceLock<Mutex<Gauge>> = OnceLock::new();
    let gauge = GAUGE.get_or_init(|| {
        thread::spawn(|| {
            loop {
                try_once();
            }
        });
        Mutex::new(Gauge {
            trying_since: now(),
            delays: VecDeque::new(),
        })
    });
    gauge.lock().unwrap()
}

fn try_once() {
    gauge().trying_since = now();
    thread::sleep(ms(1));
    drop(thread::spawn(|| ()).join());
    let mut gauge = gauge();
    let end = now();
    let took = end.saturating_duration_since(gauge.trying_since);
    gauge.delays.push_back((end, took));
    while (gauge.delays.front()).is_some_and(|(then, _)| *then + FORGOTTEN < end) {
        gauge.delays.pop_front();
    }
}

/// The longest delay since `start`, including a current one.
pub(crate) fn delay_since(start: Instant) -> Duration {
    let gauge = gauge();
    let recent = gauge.delays.iter().rev();
    let over = recent.take_while(|(end, _)| *end >= start);
    let worst = over.map(|(_, took)| *took).max().unwrap_or_default();
    worst.max(gauge.trying_since.elapsed())
}

/// The bound, plus the measured delays since `start`.
pub(crate) fn widened(bound: Duration, start: Instant) -> Duration {
    bound + delay_since(start) * 4
}
