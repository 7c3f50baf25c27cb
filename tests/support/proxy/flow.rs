//! One direction of a link: bytes that were read and not yet passed on. It uses no sockets, and "now" is an
//! argument.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{super::emulator::Ending, toxic::Effects};

/// The capacity. Further bytes stay in the sender's socket, so that a slow direction slows the sender.
const CAPACITY: usize = 16 * 1024;

#[derive(Debug)]
pub(super) struct Flow {
    queue: VecDeque<Chunk>,
    /// Bytes in the queue.
    held: usize,
    /// When the sender ended its side.
    ended: Option<Instant>,
    /// Bytes passed on since the toxics last changed.
    passed: u64,
    /// The earliest time of the next piece.
    free_at: Instant,
    /// The state of the random number generator.
    rng: u64,
}

#[derive(Debug)]
struct Chunk {
    arrived: Instant,
    /// Drawn once per piece, so that repeated calls agree.
    random: u64,
    bytes: Vec<u8>,
}

/// The writer's next action.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Write(Vec<u8>),
    /// Pass on the sender's end; this direction is finished.
    End,
    /// End the whole link.
    Close(Ending),
    /// Wait until this time, or until a change.
    Wait(Option<Instant>),
}

impl Flow {
    pub(super) fn new(seed: u64, now: Instant) -> Self {
        Self {
            queue: VecDeque::new(),
            held: 0,
            ended: None,
            passed: 0,
            free_at: now,
            rng: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.held < CAPACITY
    }

    pub(super) fn push(&mut self, bytes: &[u8], now: Instant) {
        let random = self.one_of_three();
        self.held += bytes.len();
        self.queue.push_back(Chunk {
            arrived: now,
            random,
            bytes: bytes.to_vec(),
        });
    }

    pub(super) fn end(&mut self, now: Instant) {
        self.ended.get_or_insert(now);
    }

    /// Restarts the counts after a change of the toxics.
    pub(super) fn recount(&mut self, now: Instant) {
        self.passed = 0;
        self.free_at = now;
    }

    pub(super) fn step(&mut self, effects: &Effects, now: Instant) -> Step {
        let closes = effects.end.map(|(at, _)| at);
        match effects.end {
            Some((at, ending)) if at <= now => return Step::Close(ending),
            _ => {}
        }
        if effects.swallows {
            self.queue.clear();
            self.held = 0;
            return Step::Wait(closes);
        }
        // A limit of zero is reached by the first byte.
        let begun = self.passed > 0 || !self.queue.is_empty();
        if begun && effects.limit.is_some_and(|limit| self.passed >= limit) {
            return Step::Close(Ending::Fin);
        }
        let due = match (self.queue.front(), self.ended) {
            (Some(chunk), _) => {
                let arrives = chunk.arrived.checked_add(effects.travel(chunk.random));
                arrives.map(|arrives| arrives.max(self.free_at))
            }
            (None, Some(ended)) => {
                ended.checked_add(effects.travel(0).saturating_add(effects.slow_close))
            }
            (None, None) => return Step::Wait(closes),
        };
        match due {
            Some(due) if due <= now && self.queue.is_empty() => Step::End,
            Some(due) if due <= now => Step::Write(self.cut(effects, now)),
            Some(due) => Step::Wait(Some(closes.map_or(due, |closes| closes.min(due)))),
            None => Step::Wait(closes),
        }
    }

    /// Takes the next piece off the queue.
    fn cut(&mut self, effects: &Effects, now: Instant) -> Vec<u8> {
        let random = self.one_of_three();
        let Some(chunk) = self.queue.front_mut() else {
            return Vec::new();
        };
        let mut size = effects.piece(chunk.bytes.len(), random);
        if let Some(rate) = effects.bytes_per_second {
            // At least fifty pieces a second, for a steady flow.
            size = size.min((rate / 50).max(1) as usize);
        }
        if let Some(limit) = effects.limit {
            size = size.min((limit - self.passed) as usize);
        }
        let rest = chunk.bytes.split_off(size);
        let piece = std::mem::replace(&mut chunk.bytes, rest);
        if chunk.bytes.is_empty() {
            self.queue.pop_front();
        }
        self.held -= size;
        self.passed += size as u64;
        let costs = effects.bytes_per_second.map_or(Duration::ZERO, |rate| {
            Duration::from_secs_f64(size as f64 / rate as f64)
        });
        self.free_at = now + effects.pause + costs;
        piece
    }

    fn one_of_three(&mut self) -> u64 {
        self.rng ^= self.rng << 13;
        self.rng ^= self.rng >> 7;
        self.rng ^= self.rng << 17;
        self.rng >> 11
    }
}
