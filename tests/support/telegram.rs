//! The telegrams of the bus: frames, checksums, meaning and encoding.
//!
//! Everything is bytes in latin-1, one byte per character; the checksum is over these bytes.

use std::fmt;

/// The serial that means every device.
pub const BROADCAST: u64 = 0;

// The functions of requests and replies.
pub const DISCOVERY: u8 = 1;
pub const READ_DATAPOINT: u8 = 2;
pub const ACK: u8 = 18;
pub const NAK: u8 = 19;
pub const ACTION: u8 = 27;

/// Longer than any telegram; a longer input without an end is noise.
const MAX_FRAME: usize = 4096;

/// One understood telegram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Telegram {
    /// `S`: a request to a device.
    Request(Message),
    /// `R`: a device answers.
    Reply(Message),
    /// `E` or `O`: an event at an input.
    Event(Event),
}

/// The body that requests and replies share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Ten digits on the wire.
    pub serial: u64,
    /// Two digits on the wire.
    pub function: u8,
    /// What follows the `D`, without the checksum.
    pub data: String,
}

/// A button, a remote control or a sensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// `E`, or `O` for one from a control panel.
    pub origin: char,
    /// The type code of the module.
    pub module_type: u8,
    /// The link number of the module.
    pub link: u8,
    /// 0 to 9 buttons, 10 to 89 remote control, 90 proximity.
    pub input: u8,
    /// Pressed (make) or released (break).
    pub make: bool,
}

/// The reason why a frame is no telegram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadTelegram {
    /// The two letters do not fit the rest.
    Checksum,
    /// No known form.
    Form,
}

impl fmt::Display for BadTelegram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Checksum => "the checksum is wrong",
            Self::Form => "not a known form of telegram",
        })
    }
}

impl std::error::Error for BadTelegram {}

impl Message {
    /// The two digits after the `D`, where there are any.
    pub fn datapoint(&self) -> Option<u8> {
        two_digits(self.data.as_bytes().get(..2)?)
    }

    /// What follows the datapoint.
    pub fn value(&self) -> &str {
        self.data.get(2..).unwrap_or_default()
    }
}

/// The XOR of all bytes as two letters from `A` to `P`.
pub fn checksum(payload: &[u8]) -> [u8; 2] {
    let sum = payload.iter().fold(0, |sum, byte| sum ^ byte);
    [b'A' + (sum >> 4), b'A' + (sum & 15)]
}

/// The whole frame for a payload without checksum.
pub fn frame(payload: &str) -> Vec<u8> {
    let payload = latin1(payload);
    let mut frame = Vec::with_capacity(payload.len() + 4);
    frame.push(b'<');
    frame.extend_from_slice(&payload);
    frame.extend_from_slice(&checksum(&payload));
    frame.push(b'>');
    frame
}

/// The frame of a request; `data` is what follows the `D`.
pub fn request(serial: u64, function: u8, data: &str) -> Vec<u8> {
    frame(&format!("S{serial:010}F{function:02}D{data}"))
}

/// The frame of a reply; `data` is what follows the `D`.
pub fn reply(serial: u64, function: u8, data: &str) -> Vec<u8> {
    frame(&format!("R{serial:010}F{function:02}D{data}"))
}

impl Event {
    /// The frame of the event.
    pub fn to_frame(self) -> Vec<u8> {
        frame(&format!(
            "{}{:02}L{:02}I{:02}{}",
            self.origin,
            self.module_type,
            self.link,
            self.input,
            if self.make { 'M' } else { 'B' }
        ))
    }
}

/// Whether the checksum of a whole frame, `<` to `>`, is right.
pub fn checksum_is_right(frame: &[u8]) -> bool {
    inside(frame).is_some_and(|(payload, sum)| checksum(payload) == sum)
}

/// Parses a whole frame, `<` to `>`, and requires the right checksum.
pub fn parse(frame: &[u8]) -> Result<Telegram, BadTelegram> {
    let telegram = parse_loosely(frame)?;
    if checksum_is_right(frame) {
        Ok(telegram)
    } else {
        Err(BadTelegram::Checksum)
    }
}

/// Parses a whole frame with any checksum.
pub fn parse_loosely(frame: &[u8]) -> Result<Telegram, BadTelegram> {
    let (payload, sum) = inside(frame).ok_or(BadTelegram::Form)?;
    let well_formed_sum = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    if !sum.iter().all(well_formed_sum) {
        return Err(BadTelegram::Form);
    }
    let telegram = match payload.first() {
        Some(b'S') => message(payload)
            .filter(|message| message.data.len() >= 2)
            .map(Telegram::Request),
        Some(b'R') => message(payload).map(Telegram::Reply),
        Some(b'E' | b'O') => event(payload).map(Telegram::Event),
        _ => None,
    };
    telegram.ok_or(BadTelegram::Form)
}

fn inside(frame: &[u8]) -> Option<(&[u8], [u8; 2])> {
    let inner = frame.strip_prefix(b"<")?.strip_suffix(b">")?;
    let (payload, sum) = inner.split_at_checked(inner.len().checked_sub(2)?)?;
    Some((payload, [sum[0], sum[1]]))
}

/// `x0123456789F12D...`
fn message(payload: &[u8]) -> Option<Message> {
    let serial = payload.get(1..11)?;
    if !serial.iter().all(u8::is_ascii_digit) || payload.get(11) != Some(&b'F') {
        return None;
    }
    if payload.get(14) != Some(&b'D') {
        return None;
    }
    Some(Message {
        serial: std::str::from_utf8(serial).ok()?.parse().ok()?,
        function: two_digits(payload.get(12..14)?)?,
        data: from_latin1(&payload[15..]),
    })
}

/// `x14L00I02M`, the first number of one or two digits.
fn event(payload: &[u8]) -> Option<Event> {
    let text = std::str::from_utf8(payload).ok()?;
    let origin = text.chars().next()?;
    let (module_type, rest) = text[1..].split_once('L')?;
    if !(1..=2).contains(&module_type.len()) || !module_type.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let rest = rest.as_bytes();
    if rest.len() != 6 || rest[2] != b'I' {
        return None;
    }
    Some(Event {
        origin,
        module_type: module_type.parse().ok()?,
        link: two_digits(&rest[..2])?,
        input: two_digits(&rest[3..5])?,
        make: match rest[5] {
            b'M' => true,
            b'B' => false,
            _ => return None,
        },
    })
}

fn two_digits(bytes: &[u8]) -> Option<u8> {
    match bytes {
        [a @ b'0'..=b'9', b @ b'0'..=b'9'] => Some((a - b'0') * 10 + (b - b'0')),
        _ => None,
    }
}

/// Bytes of a text of which every character is below 256; others become `?`.
pub fn latin1(text: &str) -> Vec<u8> {
    text.chars()
        .map(|char| u8::try_from(u32::from(char)).unwrap_or(b'?'))
        .collect()
}

/// The text of latin-1 bytes.
pub fn from_latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// Finds whole frames in a stream that TCP splits and joins arbitrarily.
#[derive(Debug, Default)]
pub struct FrameBuffer {
    bytes: Vec<u8>,
}

impl FrameBuffer {
    /// Adds what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame, `<` to `>`; noise before it is dropped.
    pub fn next_frame(&mut self) -> Option<Vec<u8>> {
        let Some(start) = self.bytes.iter().position(|byte| *byte == b'<') else {
            self.bytes.clear();
            return None;
        };
        self.bytes.drain(..start);
        let Some(end) = self.bytes.iter().position(|byte| *byte == b'>') else {
            if self.bytes.len() > MAX_FRAME {
                self.bytes.clear();
            }
            return None;
        };
        Some(self.bytes.drain(..=end).collect())
    }
}
