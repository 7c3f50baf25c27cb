//! One direction of a link: what has been read and not yet passed on. No sockets here, and "now" is
//! an argument.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{super::emulator::Ending, toxic::Weather};

/// More than this is left in the sender's socket, so that a slow direction slows the sender.
const ROOM: usize = 16 * 1024;

#[derive(Debug)]
pub(super) struct Flow {
    queue: VecDeque<Chunk>,
    /// Bytes in the queue.
    held: usize,
    /// When the sender ended its side.
    ended: Option<Instant>,
    /// Bytes passed on since the toxics last changed.
    passed: u64,
    /// Nothing goes before this.
    free_at: Instant,
    /// The state of the random numbers.
    dice: u64,
}

#[derive(Debug)]
struct Chunk {
    arrived: Instant,
    /// Chosen once, so that asking again does not choose again.
    luck: u64,
    bytes: Vec<u8>,
}

/// What the writer does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Write(Vec<u8>),
    /// The sender's end is passed on, and this direction is finished.
    End,
    /// The whole link ends.
    Close(Ending),
    /// Nothing to do before this, or before something changes.
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
            dice: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.held < ROOM
    }

    pub(super) fn push(&mut self, bytes: &[u8], now: Instant) {
        let luck = self.roll();
        self.held += bytes.len();
        self.queue.push_back(Chunk {
            arrived: now,
            luck,
            bytes: bytes.to_vec(),
        });
    }

    pub(super) fn end(&mut self, now: Instant) {
        self.ended.get_or_insert(now);
    }

    /// The toxics have changed: their counts start again.
    pub(super) fn recount(&mut self, now: Instant) {
        self.passed = 0;
        self.free_at = now;
    }

    pub(super) fn step(&mut self, weather: &Weather, now: Instant) -> Step {
        let closes = weather.end.map(|(at, _)| at);
        match weather.end {
            Some((at, ending)) if at <= now => return Step::Close(ending),
            _ => {}
        }
        if weather.swallows {
            self.queue.clear();
            self.held = 0;
            return Step::Wait(closes);
        }
        // A limit of zero is reached by the first byte that wants to pass.
        let begun = self.passed > 0 || !self.queue.is_empty();
        if begun && weather.limit.is_some_and(|limit| self.passed >= limit) {
            return Step::Close(Ending::Fin);
        }
        let due = match (self.queue.front(), self.ended) {
            (Some(chunk), _) => {
                let arrives = chunk.arrived.checked_add(weather.travel(chunk.luck));
                arrives.map(|arrives| arrives.max(self.free_at))
            }
            (None, Some(ended)) => {
                ended.checked_add(weather.travel(0).saturating_add(weather.slow_close))
            }
            (None, None) => return Step::Wait(closes),
        };
        match due {
            Some(due) if due <= now && self.queue.is_empty() => Step::End,
            Some(due) if due <= now => Step::Write(self.cut(weather, now)),
            Some(due) => Step::Wait(Some(closes.map_or(due, |closes| closes.min(due)))),
            None => Step::Wait(closes),
        }
    }

    /// Takes what goes next off the queue.
    fn cut(&mut self, weather: &Weather, now: Instant) -> Vec<u8> {
        let luck = self.roll();
        let Some(chunk) = self.queue.front_mut() else {
            return Vec::new();
        };
        let mut size = weather.piece(chunk.bytes.len(), luck);
        if let Some(rate) = weather.bytes_per_second {
            // At least fifty pieces a second, so that it trickles and does not drip.
            size = size.min((rate / 50).max(1) as usize);
        }
        if let Some(limit) = weather.limit {
            size = size.min((limit - self.passed) as usize);
        }
        let rest = chunk.bytes.split_off(size);
        let piece = std::mem::replace(&mut chunk.bytes, rest);
        if chunk.bytes.is_empty() {
            self.queue.pop_front();
        }
        self.held -= size;
        self.passed += size as u64;
        let costs = weather.bytes_per_second.map_or(Duration::ZERO, |rate| {
            Duration::from_secs_f64(size as f64 / rate as f64)
        });
        self.free_at = now + weather.pause + costs;
        piece
    }

    fn roll(&mut self) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice >> 11
    }
}
