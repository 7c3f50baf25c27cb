//! The faults of a link, and their combination.

use std::time::{Duration, Instant};

use super::super::emulator::Ending;

/// The direction of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Upstream,
    /// From the server to the client.
    Downstream,
}

/// One fault of one direction of every link, including the open ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Toxic {
    /// Delays all bytes by `delay` plus or minus `jitter`, in order. A delay of `Duration::MAX` holds
    /// everything back until the toxic is removed.
    Latency {
        /// The mean.
        delay: Duration,
        /// At most this much more or less.
        jitter: Duration,
    },
    /// Limits the rate; a faster sender has to wait.
    Bandwidth {
        /// Not zero.
        bytes_per_second: u64,
    },
    /// Swallows bytes. An end is held back until the toxic is removed.
    Timeout {
        /// Closes the link this long after the toxic was added, or after the link began if that was later.
        /// `None`: it stays open.
        close_after: Option<Duration>,
    },
    /// Delays the end of this direction.
    SlowClose {
        /// The delay of the end.
        delay: Duration,
    },
    /// Resets the link at both ends this long after the toxic was added, or after the link began if that was
    /// later.
    ResetPeer {
        /// Zero: at once.
        after: Duration,
    },
    /// Splits bytes into small pieces.
    Slicer {
        /// The mean. Not zero.
        size: usize,
        /// At most this much more or less.
        variation: usize,
        /// Between two pieces.
        pause: Duration,
    },
    /// Closes the link when this many bytes have passed since the toxics last changed.
    LimitData {
        /// Zero: the first byte closes it.
        bytes: u64,
    },
}

/// A toxic with its direction and start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Active {
    pub(super) direction: Direction,
    pub(super) toxic: Toxic,
    pub(super) since: Instant,
}

/// The combined toxics of one direction.
#[derive(Debug, Clone, Default)]
pub(super) struct Effects {
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

impl Effects {
    /// Combines the toxics for a link that began at `began`.
    pub(super) fn of(toxics: &[Active], direction: Direction, began: Instant) -> Self {
        let mut effects = Self::default();
        let here = toxics.iter().filter(|active| active.direction == direction);
        for Active { toxic, since, .. } in here {
            let from = (*since).max(began);
            match *toxic {
                Toxic::Latency { delay, jitter } => {
                    effects.delay = effects.delay.saturating_add(delay);
                    effects.jitter = effects.jitter.saturating_add(jitter);
                }
                Toxic::Bandwidth { bytes_per_second } => {
                    effects.bytes_per_second =
                        Some(least(effects.bytes_per_second, bytes_per_second));
                }
                Toxic::Timeout { close_after } => {
                    effects.swallows = true;
                    if let Some(after) = close_after {
                        effects.ends(from, after, Ending::Fin);
                    }
                }
                Toxic::SlowClose { delay } => {
                    effects.slow_close = effects.slow_close.saturating_add(delay);
                }
                Toxic::ResetPeer { after } => effects.ends(from, after, Ending::Rst),
                Toxic::Slicer {
                    size,
                    variation,
                    pause,
                } => {
                    effects.slice = Some((size, variation));
                    effects.pause = pause;
                }
                Toxic::LimitData { bytes } => effects.limit = Some(least(effects.limit, bytes)),
            }
        }
        effects
    }

    fn ends(&mut self, from: Instant, after: Duration, ending: Ending) {
        if let Some(at) = from.checked_add(after) {
            if self.end.is_none_or(|(earlier, _)| at < earlier) {
                self.end = Some((at, ending));
            }
        }
    }

    /// The delay of a piece with this random number.
    pub(super) fn travel(&self, random: u64) -> Duration {
        let jitter = self.jitter.as_nanos() as u64;
        let less = Duration::from_nanos(random % (jitter.saturating_mul(2).saturating_add(1)));
        self.delay.saturating_add(self.jitter).saturating_sub(less)
    }

    /// The size of the next piece out of `length` bytes, before limits.
    pub(super) fn piece(&self, length: usize, random: u64) -> usize {
        let Some((size, variation)) = self.slice else {
            return length;
        };
        let more = random as usize % (2 * variation + 1);
        (size + more).saturating_sub(variation).clamp(1, length)
    }
}

fn least(one: Option<u64>, other: u64) -> u64 {
    one.map_or(other, |one| one.min(other))
}
