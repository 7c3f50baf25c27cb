//! Follows the frames that come in, to know whether a message has begun that is not complete.
//!
//! The codec keeps this to itself, and it decides three things: whether a user gave up in the middle
//! of a message, whether data arrives on an idle connection, and how much of it is held already.

/// The first byte of a frame: is it the last of its message?
const FIN: u8 = 0x80;
/// The first byte: this bit of the kind of a frame tells control frames from data.
const CONTROL: u8 = 0x08;
/// The second byte: is there a mask? A server must not send one; the codec complains about it.
const MASKED: u8 = 0x80;
/// Two bytes, a long length, a mask.
const LONGEST_HEAD: usize = 2 + 8 + 4;

/// Where in the stream of frames the last byte that came in stands.
#[derive(Debug, Default)]
pub(super) struct FrameTracker {
    head: [u8; LONGEST_HEAD],
    /// How much of `head` is there. Zero between two frames.
    have: usize,
    /// What is missing of the payload. Counts only when the head is complete.
    missing: u64,
    in_payload: bool,
    /// Frames of a message came, its last did not.
    fragments: bool,
    /// Payload of the incomplete message.
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

    /// A data message has begun and is not complete. A control frame is none.
    pub(super) fn mid_message(&self) -> bool {
        self.fragments || (self.have > 0 && self.is_data())
    }

    /// How much of the payload of the incomplete message has come.
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

    /// So much of the payload has come; with the last of it the frame is over.
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
            let mut follower = FrameTracker::default();
            for byte in &frame[..frame.len() - 1] {
                follower.feed(&[*byte]);
                assert!(follower.mid_message(), "{length}");
            }
            assert_eq!(follower.bytes(), length.saturating_sub(1));
            follower.feed(&frame[frame.len() - 1..]);
            assert!(!follower.mid_message(), "{length}");
            assert_eq!(follower.bytes(), 0);
        }
    }

    #[test]
    fn a_control_frame_is_no_message_not_even_between_fragments() {
        let mut follower = FrameTracker::default();
        follower.feed(&frame(FIN | PING, 4)[..3]);
        assert!(!follower.mid_message());
        follower.feed(&[0, 0, 0]);

        follower.feed(&frame(TEXT, 7));
        assert!(follower.mid_message());
        follower.feed(&frame(FIN | PING, 4));
        assert!(follower.mid_message());
        assert_eq!(follower.bytes(), 7);
        follower.feed(&frame(MORE, 5));
        assert_eq!(follower.bytes(), 12);
        follower.feed(&frame(FIN | MORE, 0));
        assert!(!follower.mid_message());
        assert_eq!(follower.bytes(), 0);
    }

    #[test]
    fn frames_that_come_together_are_told_apart_however_they_are_cut() {
        let mut stream = Vec::new();
        for length in [0, 3, 200, 70_000, 1] {
            stream.extend(frame(FIN | TEXT, length));
            stream.extend(frame(FIN | PING, 5));
        }
        // With a mask, which no server sends.
        stream.extend([FIN | TEXT, 0x80 | 2, 1, 2, 3, 4, 5, 6]);
        for size in [1, 2, 3, 7, 1000, stream.len()] {
            let mut follower = FrameTracker::default();
            stream.chunks(size).for_each(|chunk| follower.feed(chunk));
            assert!(!follower.mid_message(), "{size}");
            follower.feed(&[TEXT]);
            assert!(follower.mid_message(), "{size}");
        }
    }
}
