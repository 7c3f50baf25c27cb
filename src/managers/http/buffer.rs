//! Bytes that came and were not used yet.

use std::fmt;

/// What one read asks for at least.
const PIECE: usize = 8 * 1024;
/// An idle connection keeps no more memory than this.
const KEEP: usize = 16 * 1024;

/// A window on bytes: filled at its end, used from its start.
#[derive(Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    pub(super) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The first `bytes` of the unread ones are used.
    pub(super) fn consume(&mut self, bytes: usize) {
        self.start += bytes.min(self.len());
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Where the next bytes may be put; [`filled`](Self::filled) says how many they were. Never empty.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.bytes.len() - self.end < PIECE {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.bytes.len() - self.end < PIECE {
                self.bytes.resize(self.end + PIECE, 0);
            }
        }
        &mut self.bytes[self.end..]
    }

    pub(super) fn filled(&mut self, bytes: usize) {
        self.end += bytes;
    }

    /// Moves unread bytes out; how many.
    pub(super) fn take(&mut self, out: &mut [u8]) -> usize {
        let bytes = self.len().min(out.len());
        out[..bytes].copy_from_slice(&self.unread()[..bytes]);
        self.consume(bytes);
        bytes
    }

    /// Gives memory back that a long head took.
    pub(super) fn rest(&mut self) {
        if self.is_empty() && self.bytes.len() > KEEP {
            *self = Self::default();
        }
    }
}

/// Without the bytes, which are somebody's data.
impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} unread)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replace(buffer: &mut Buffer, bytes: &[u8]) {
        let room = buffer.room();
        assert!(room.len() >= bytes.len());
        room[..bytes.len()].copy_from_slice(bytes);
        buffer.filled(bytes.len());
    }

    #[test]
    fn what_goes_in_comes_out_in_order_whatever_was_used_between() {
        let mut buffer = Buffer::default();
        let (mut sent, mut seen) = (Vec::<u8>::new(), Vec::<u8>::new());
        for round in 0..2000_usize {
            let piece: Vec<u8> = (0..round % 97).map(|n| (n + round) as u8).collect();
            replace(&mut buffer, &piece);
            sent.extend(piece);
            let mut out = vec![0; round % 89];
            let bytes = buffer.take(&mut out);
            seen.extend(&out[..bytes]);
        }
        seen.extend(buffer.unread());
        assert_eq!(seen, sent);
    }

    #[test]
    fn at_rest_it_keeps_little_memory_and_loses_nothing() {
        let mut buffer = Buffer::default();
        for _ in 0..8 {
            replace(&mut buffer, &[7; PIECE]);
        }
        buffer.rest();
        assert_eq!(buffer.len(), 8 * PIECE);
        buffer.consume(8 * PIECE);
        buffer.rest();
        assert_eq!(buffer.bytes.capacity(), 0);
    }
}
