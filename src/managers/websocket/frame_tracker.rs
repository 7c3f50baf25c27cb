//! Tracks the received frames, to detect an incomplete message.
//!
//! The codec does not expose this state. It is needed to determine whether a user gave up in the middle of a
//! message, whether data arrived on an idle connection, and how much of a message has been received.

/// In the first byte of a frame: set for the last frame of a message.
const FIN: u8 = 0x80;
/// In the first byte: set for control frames.
const CONTROL: u8 = 0x08;
/// In the second byte: set if there is a mask. A server must not send one; the codec reports it.
const MASKED: u8 = 0x80;
/// Two bytes, a long length and a mask.
const LONGEST_HEAD: usize = 2 + 8 + 4;

/// The position of the last received byte in the stream of frames.
#[derive(Debug, Default)]
pub(super) struct FrameTracker {
    head: [u8; LONGEST_HEAD],
    /// The number of bytes in `head`. Zero between two frames.
    have: usize,
    /// The number of missing payload bytes. Valid only if the head is complete.
    missing: u64,
    in_payload: bool,
    /// Fragments of a message arrived, but not the last one.
    fragments: bool,
    /// The payload of the incomplete message.
    bytes: u64,
}

impl FrameTracker {
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while let [first, rest @ ..] = bytes {
            if self.in_payload {
                let taken = bytes
                    .len()
                    .min(usize::try_from(self.missing).unwrap_or(usize::MAX));
                self.pass(taken as u64);
                bytes = &bytes[taken..];
                continue;
            }
            self.head[self.have] = *first;
            self.have += 1;
            bytes = rest;
            if self.have == self.head_length() {
                self.in_payload = true;
                self.missing = self.payload_length();
                self.pass(0);
            }
        }
    }

    /// Returns true inside a data message. Control frames do not count.
    pub(super) fn mid_message(&self) -> bool {
        self.fragments || (self.have > 0 && self.is_data())
    }

    /// Returns the payload bytes of the incomplete message received so far.
    pub(super) fn bytes(&self) -> usize {
        usize::try_from(self.bytes).unwrap_or(usize::MAX)
    }

    fn is_data(&self) -> bool {
        self.head[0] & CONTROL == 0
    }

    fn head_length(&self) -> usize {
        if self.have < 2 {
            return 2;
        }
        let long = match self.head[1] & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if self.head[1] & MASKED == 0 { 0 } else { 4 };
        2 + long + mask
    }

    fn payload_length(&self) -> u64 {
        let number = |bytes: &[u8]| {
            let next = |sum: u64, byte: &u8| (sum << 8) | u64::from(*byte);
            bytes.iter().fold(0, next)
        };
        match self.head[1] & !MASKED {
            126 => number(&self.head[2..4]),
            127 => number(&self.head[2..10]),
            short => u64::from(short),
        }
    }

    /// Records payload bytes. The last of them ends the frame.
    fn pass(&mut self, taken: u64) {
        self.missing -= taken;
        let data = self.is_data();
        if data {
            self.bytes = self.bytes.saturating_add(taken);
        }
        if self.missing > 0 {
            return;
        }
        if data {
            self.fragments = self.head[0] & FIN == 0;
            if !self.fragments {
                self.bytes = 0;
            }
        }
        self.have = 0;
        self.in_payload = false;
    }
}

#[cfg(test)]
mod tests {
    use super::{FIN, FrameTracker};

    const TEXT: u8 = 1;
    const MORE: u8 = 0;
    const PING: u8 = 9;

    fn frame(first: u8, length: usize) -> Vec<u8> {
        let mut frame = vec![first];
        match length {
            0..=125 => frame.push(length as u8),
            126..=0xFFFF => {
                frame.push(126);
                frame.extend((length as u16).to_be_bytes());
            }
            _ => {
                frame.push(127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(vec![0xFF; length]);
        frame
    }

    #[test]
    fn a_message_is_under_way_from_its_first_byte_to_its_last() {
        for length in [0, 1, 125, 126, 0xFFFF, 0x1_0000] {
            let frame = frame(FIN | TEXT, length);
            let mut tracker = FrameTracker::default();
            for byte in &frame[..frame.len() - 1] {
                tracker.feed(&[*byte]);
                assert!(tracker.mid_message(), "{length}");
            }
            assert_eq!(tracker.bytes(), length.saturating_sub(1));
            tracker.feed(&frame[frame.len() - 1..]);
            assert!(!tracker.mid_message(), "{length}");
            assert_eq!(tracker.bytes(), 0);
        }
    }

    #[test]
    fn a_control_frame_is_no_message_not_even_between_fragments() {
        let mut tracker = FrameTracker::default();
        tracker.feed(&frame(FIN | PING, 4)[..3]);
        assert!(!tracker.mid_message());
        tracker.feed(&[0, 0, 0]);

        tracker.feed(&frame(TEXT, 7));
        assert!(tracker.mid_message());
        tracker.feed(&frame(FIN | PING, 4));
        assert!(tracker.mid_message());
        assert_eq!(tracker.bytes(), 7);
        tracker.feed(&frame(MORE, 5));
        assert_eq!(tracker.bytes(), 12);
        tracker.feed(&frame(FIN | MORE, 0));
        assert!(!tracker.mid_message());
        assert_eq!(tracker.bytes(), 0);
    }

    #[test]
    fn frames_that_come_together_are_told_apart_however_they_are_cut() {
        let mut stream = Vec::new();
        for length in [0, 3, 200, 70_000, 1] {
            stream.extend(frame(FIN | TEXT, length));
            stream.extend(frame(FIN | PING, 5));
        }
        // Has a mask, which no server may send.
        stream.extend([FIN | TEXT, 0x80 | 2, 1, 2, 3, 4, 5, 6]);
        for size in [1, 2, 3, 7, 1000, stream.len()] {
            let mut tracker = FrameTracker::default();
            stream.chunks(size).for_each(|chunk| tracker.feed(chunk));
            assert!(!tracker.mid_message(), "{size}");
            tracker.feed(&[TEXT]);
            assert!(tracker.mid_message(), "{size}");
        }
    }
}
