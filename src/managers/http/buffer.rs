//! A buffer of bytes that were received but not used yet.

use std::fmt;

/// The minimum size of one read.
const PIECE: usize = 8 * 1024;
/// The maximum memory that an idle connection keeps.
const KEEP: usize = 16 * 1024;

/// A window on bytes that is filled at its end and consumed from its start.
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

    /// Consumes the first `bytes` unread bytes.
    pub(super) fn consume(&mut self, bytes: usize) {
        self.start += bytes.min(self.len());
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Returns the space for the next bytes, which is never empty. Call [`filled`](Self::filled) with their
    /// number.
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

    /// Moves unread bytes out and returns their number.
    pub(super) fn take(&mut self, out: &mut [u8]) -> usize {
        let bytes = self.len().min(out.len());
        out[..bytes].copy_from_slice(&self.unread()[..bytes]);
        self.consume(bytes);
        bytes
    }

    /// Frees the memory that a long head took.
    pub(super) fn shrink(&mut self) {
        if self.is_empty() && self.bytes.len() > KEEP {
            *self = Self::default();
        }
    }
}

/// Omits the bytes, which may be confidential.
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
        buffer.shrink();
        assert_eq!(buffer.len(), 8 * PIECE);
        buffer.consume(8 * PIECE);
        buffer.shrink();
        assert_eq!(buffer.bytes.capacity(), 0);
    }
}
