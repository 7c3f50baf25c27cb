//! What can be wrong with a line, and what several of these come to.

use std::time::{Duration, Instant};

use super::super::emulator::Ending;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Upstream,
    /// From the server to the client.
    Downstream,
}

/// One thing that is wrong with one direction of every link, those that are open included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Toxic {
    /// Everything arrives later, by `delay` give or take `jitter`, and in its order. A delay of
    /// `Duration::MAX` holds everything back until the toxic is taken away.
    Latency {
        /// In the mean.
        delay: Duration,
        /// At most this much more or less.
        jitter: Duration,
    },
    /// Bytes trickle, and a sender that is faster has to wait.
    Bandwidth {
        /// Not zero.
        bytes_per_second: u64,
    },
    /// Bytes are swallowed. An end is held back until the toxic is taken away.
    Timeout {
        /// The link is closed so long after the toxic came, or the link if that came later. `None`:
        /// it stays open.
        close_after: Option<Duration>,
    },
    /// The end of this direction is passed on so much later.
    SlowClose {
        /// How much.
        delay: Duration,
    },
    /// The link is reset at both ends so long after the toxic came, or the link if that came later.
    ResetPeer {
        /// Zero: at once.
        after: Duration,
    },
    /// Bytes arrive in small pieces.
    Slicer {
        /// In the mean. Not zero.
        size: usize,
        /// At most this much more or less.
        variation: usize,
        /// Between two pieces.
        pause: Duration,
    },
    /// The link is closed when so many bytes have passed since the toxics last changed.
    LimitData {
        /// Zero: the first byte closes it.
        bytes: u64,
    },
}

/// A toxic in its place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Active {
    pub(super) direction: Direction,
    pub(super) toxic: Toxic,
    pub(super) since: Instant,
}

/// What the toxics of one direction come to.
#[derive(Debug, Clone, Default)]
pub(super) struct Weather {
    delay: Duration,
    jitter: Duration,
    pub(super) slow_close: Duration,
    pub(super) bytes_per_second: Option<u64>,
    pub(super) swallows: bool,
    slice: Option<(usize, usize)>,
    pub(super) pause: Duration,
    pub(super) limit: Option<u64>,
    /// When the link ends by itself, and how.
    pub(super) end: Option<(Instant, Ending)>,
}

impl Weather {
    /// For a link that began at `began`.
    pub(super) fn of(toxics: &[Active], direction: Direction, began: Instant) -> Self {
        let mut weather = Self::default();
        let here = toxics.iter().filter(|active| active.direction == direction);
        for Active { toxic, since, .. } in here {
            let from = (*since).max(began);
            match *toxic {
                Toxic::Latency { delay, jitter } => {
                    weather.delay = weather.delay.saturating_add(delay);
                    weather.jitter = weather.jitter.saturating_add(jitter);
                }
                Toxic::Bandwidth { bytes_per_second } => {
                    weather.bytes_per_second =
                        Some(least(weather.bytes_per_second, bytes_per_second));
                }
                Toxic::Timeout { close_after } => {
                    weather.swallows = true;
                    if let Some(after) = close_after {
                        weather.ends(from, after, Ending::Fin);
                    }
                }
                Toxic::SlowClose { delay } => {
                    weather.slow_close = weather.slow_close.saturating_add(delay);
                }
                Toxic::ResetPeer { after } => weather.ends(from, after, Ending::Rst),
                Toxic::Slicer {
                    size,
                    variation,
                    pause,
                } => {
                    weather.slice = Some((size, variation));
                    weather.pause = pause;
                }
                Toxic::LimitData { bytes } => weather.limit = Some(least(weather.limit, bytes)),
            }
        }
        weather
    }

    fn ends(&mut self, from: Instant, after: Duration, ending: Ending) {
        if let Some(at) = from.checked_add(after) {
            if self.end.is_none_or(|(earlier, _)| at < earlier) {
                self.end = Some((at, ending));
            }
        }
    }

    /// How long something with this luck is under way.
    pub(super) fn travel(&self, luck: u64) -> Duration {
        let jitter = self.jitter.as_nanos() as u64;
        let less = Duration::from_nanos(luck % (jitter.saturating_mul(2).saturating_add(1)));
        self.delay.saturating_add(self.jitter).saturating_sub(less)
    }

    /// How many of `length` bytes go next, before limits.
    pub(super) fn piece(&self, length: usize, luck: u64) -> usize {
        let Some((size, variation)) = self.slice else {
            return length;
        };
        let more = luck as usize % (2 * variation + 1);
        (size + more).saturating_sub(variation).clamp(1, length)
    }
}

fn least(one: Option<u64>, other: u64) -> u64 {
    one.map_or(other, |one| one.min(other))
}
