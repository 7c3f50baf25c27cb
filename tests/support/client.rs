//! A small client: sends one request and finds its reply among other telegrams.

use std::{
    fmt,
    io::{self, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use super::telegram::{
    self, ACK, ACTION, BROADCAST, DISCOVERY, FrameBuffer, Message, NAK, READ_DATAPOINT, Telegram,
};

const TEMPERATURE: u8 = 18;

/// The reason why a request has no answer.
#[derive(Debug)]
pub enum ClientError {
    /// The stream failed.
    Io(io::Error),
    /// The peer closed before it replied.
    Closed,
    /// No reply came in this time.
    TimedOut(Duration),
    /// The device refused the action.
    Refused,
    /// The reply is not of the expected form.
    BadValue(String),
}

impl ClientError {
    /// Whether the connection must be discarded. After a timeout too: the reply may still come, and would be
    /// taken for that of the next request.
    pub fn is_broken(&self) -> bool {
        matches!(self, Self::Io(_) | Self::Closed | Self::TimedOut(_))
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(_) => f.write_str("the connection failed"),
            Self::Closed => f.write_str("the peer closed the connection before it replied"),
            Self::TimedOut(after) => write!(f, "no reply within {after:?}"),
            Self::Refused => f.write_str("the device refused the action"),
            Self::BadValue(value) => write!(f, "cannot make sense of the value {value:?}"),
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The temperature in degrees Celsius.
pub fn read_temperature(
    stream: &mut TcpStream,
    serial: u64,
    timeout: Duration,
) -> Result<f64, ClientError> {
    let value = read_datapoint(stream, serial, TEMPERATURE, timeout)?;
    let number = value.strip_suffix("§C").map(|text| text.replace(',', "."));
    number
        .and_then(|text| text.parse().ok())
        .ok_or(ClientError::BadValue(value))
}

/// The value of a datapoint as the device writes it.
pub fn read_datapoint(
    stream: &mut TcpStream,
    serial: u64,
    datapoint: u8,
    timeout: Duration,
) -> Result<String, ClientError> {
    let request = telegram::request(serial, READ_DATAPOINT, &format!("{datapoint:02}"));
    exchange(stream, &request, timeout, |reply| {
        let fits = reply.serial == serial
            && reply.function == READ_DATAPOINT
            && reply.datapoint() == Some(datapoint);
        fits.then(|| reply.value().to_owned())
    })
}

/// Switches an output. Returns after the acknowledgement.
pub fn switch(
    stream: &mut TcpStream,
    serial: u64,
    output: u8,
    on: bool,
    timeout: Duration,
) -> Result<(), ClientError> {
    let state = if on { "AB" } else { "AA" };
    let request = telegram::request(serial, ACTION, &format!("{output:02}{state}"));
    let acknowledged = exchange(stream, &request, timeout, |reply| {
        let fits = reply.serial == serial && matches!(reply.function, ACK | NAK);
        fits.then_some(reply.function == ACK)
    })?;
    if acknowledged {
        Ok(())
    } else {
        Err(ClientError::Refused)
    }
}

/// The serials of all devices that answer before a silence of `quiet`, within `timeout`. Sorted, each once. A
/// broadcast has no last reply, so its exchange never finishes: the connection may go back only because every
/// later request here ignores replies that are not its own.
pub fn discover(
    stream: &mut TcpStream,
    quiet: Duration,
    timeout: Duration,
) -> Result<Vec<u64>, ClientError> {
    stream.write_all(&telegram::request(BROADCAST, DISCOVERY, "00"))?;
    let mut serials = Vec::new();
    let end = Instant::now() + timeout;
    let mut buffer = FrameBuffer::default();
    loop {
        let wait = end.saturating_duration_since(Instant::now());
        let wait = if serials.is_empty() {
            wait
        } else {
            wait.min(quiet)
        };
        match receive(stream, &mut buffer, wait) {
            Ok(Some(reply)) if reply.function == DISCOVERY => serials.push(reply.serial),
            Ok(_) => {}
            Err(ClientError::TimedOut(_)) if !serials.is_empty() => break,
            Err(ClientError::TimedOut(_)) => return Err(ClientError::TimedOut(timeout)),
            Err(error) => return Err(error),
        }
    }
    serials.sort_unstable();
    serials.dedup();
    Ok(serials)
}

/// Sends `request` and returns what `wanted` makes of the first reply it accepts.
fn exchange<T>(
    stream: &mut TcpStream,
    request: &[u8],
    timeout: Duration,
    mut wanted: impl FnMut(&Message) -> Option<T>,
) -> Result<T, ClientError> {
    let end = Instant::now() + timeout;
    let mut buffer = FrameBuffer::default();
    stream.write_all(request)?;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let reply = receive(stream, &mut buffer, left).map_err(|error| match error {
            ClientError::TimedOut(_) => ClientError::TimedOut(timeout),
            other => other,
        })?;
        if let Some(answer) = reply.as_ref().and_then(&mut wanted) {
            return Ok(answer);
        }
    }
}

/// The next frame if it is a reply, `None` for anything else.
fn receive(
    stream: &mut TcpStream,
    buffer: &mut FrameBuffer,
    wait: Duration,
) -> Result<Option<Message>, ClientError> {
    let end = Instant::now() + wait;
    loop {
        if let Some(frame) = buffer.next_frame() {
            return Ok(match telegram::parse(&frame) {
                Ok(Telegram::Reply(reply)) => Some(reply),
                _ => None,
            });
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ClientError::TimedOut(wait));
        }
        stream.set_read_timeout(Some(left))?;
        let mut chunk = [0; 1024];
        match stream.read(&mut chunk) {
            Ok(0) => return Err(ClientError::Closed),
            Ok(length) => buffer.push(&chunk[..length]),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock
                | io::ErrorKind::TimedOut
                | io::ErrorKind::Interrupted => {}
                _ => return Err(error.into()),
            },
        }
    }
}
