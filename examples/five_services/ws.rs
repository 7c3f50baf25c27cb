//! WebSocket-like: a server that echoes frames after an upgrade, and a manager for its clients.
//!
//! An emulation. Frames have the layout of RFC 6455, with masked clients, ping, pong and close. Unlike the
//! standard, payloads have at most 125 bytes, messages have one fragment, the mask is not random, and the
//! server returns the key as it is instead of a SHA-1.

use crate::{http, line};
use conpool::ConnectionManager;
use std::{
    io::{self, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// The FIN bit: the only frame of its message.
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
/// A longer payload would need a longer head.
const LONGEST: usize = 125;

/// The time that a client waits for the server's close frame.
const FAREWELL: Duration = Duration::from_millis(250);

/// Echoes every text, after `work`.
pub(crate) fn serve(stream: &TcpStream, work: Duration) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let Some(head) = http::read_head(&mut reader)? else {
        return Ok(());
    };
    let key = http::header(&head, "Sec-WebSocket-Key");
    let key = key.ok_or_else(|| line::protocol_error("no key"))?;
    let welcome = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {key}\r\n\r\n"
    );
    (&*stream).write_all(welcome.as_bytes())?;
    loop {
        let (kind, payload) = read_frame(&mut reader)?;
        let reply = match kind {
            TEXT => {
                thread::sleep(work);
                TEXT
            }
            PING => PONG,
            CLOSE => return write_frame(stream, CLOSE, &payload, None),
            _ => return Err(line::protocol_error("a frame of an unknown kind")),
        };
        write_frame(stream, reply, &payload, None)?;
    }
}

fn write_frame(
    mut stream: &TcpStream,
    kind: u8,
    payload: &[u8],
    mask: Option<[u8; 4]>,
) -> io::Result<()> {
    if payload.len() > LONGEST {
        return Err(line::protocol_error(
            "a payload too long for this emulation",
        ));
    }
    let length = payload.len() as u8;
    let mut frame = vec![FINAL | kind];
    match mask {
        None => {
            frame.push(length);
            frame.extend_from_slice(payload);
        }
        Some(mask) => {
            frame.push(MASKED | length);
            frame.extend(mask);
            frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b));
        }
    }
    stream.write_all(&frame)
}

fn read_frame(reader: &mut impl Read) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    reader.read_exact(&mut head)?;
    let length = usize::from(head[1] & !MASKED);
    if head[0] & FINAL == 0 || length > LONGEST {
        return Err(line::protocol_error(
            "a frame that this emulation does not know",
        ));
    }
    let mut mask = [0; 4];
    if head[1] & MASKED != 0 {
        reader.read_exact(&mut mask)?;
    }
    let mut payload = vec![0; length];
    reader.read_exact(&mut payload)?;
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    Ok((head[0] & !FINAL, payload))
}

pub(crate) struct WsConnection {
    reader: BufReader<TcpStream>,
    sent: u32,
    /// A frame was sent whose reply has not come.
    unfinished: bool,
}

impl WsConnection {
    pub(crate) fn echo(&mut self, text: &str) -> io::Result<String> {
        let payload = self.exchange(TEXT, TEXT, text.as_bytes())?;
        String::from_utf8(payload).map_err(|_| line::protocol_error("an echo that is no text"))
    }

    fn exchange(&mut self, kind: u8, wanted: u8, payload: &[u8]) -> io::Result<Vec<u8>> {
        self.unfinished = true;
        self.sent = self.sent.wrapping_add(1);
        let mask = self.sent.wrapping_mul(0x9E37_79B9).to_be_bytes();
        write_frame(self.reader.get_ref(), kind, payload, Some(mask))?;
        let (kind, reply) = read_frame(&mut self.reader)?;
        if kind != wanted {
            return Err(line::protocol_error("a reply of another kind"));
        }
        self.unfinished = false;
        Ok(reply)
    }

    fn upgrade(&mut self, key: &str) -> io::Result<()> {
        let request = format!(
            "GET /chat HTTP/1.1\r\nHost: emulated\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {key}\r\n\r\n"
        );
        self.reader.get_mut().write_all(request.as_bytes())?;
        let head = http::read_head(&mut self.reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let switched = head[0].starts_with("HTTP/1.1 101 ");
        match switched && http::header(&head, "Sec-WebSocket-Accept") == Some(key) {
            true => Ok(()),
            false => Err(line::protocol_error("the server does not upgrade")),
        }
    }
}

pub(crate) struct WsManager(pub(crate) SocketAddr);

impl ConnectionManager for WsManager {
    type Connection = WsConnection;
    type Error = io::Error;

    fn create(&self) -> io::Result<WsConnection> {
        let stream = line::dial(self.0)?;
        let key = stream.local_addr()?.to_string();
        let mut connection = WsConnection {
            reader: BufReader::new(stream),
            sent: 0,
            unfinished: false,
        };
        connection.upgrade(&key)?;
        Ok(connection)
    }

    // Waits for the pong, so the pool runs the check on a thread of its own.
    fn check_aliveness(&self, connection: &mut WsConnection) -> io::Result<()> {
        match connection.exchange(PING, PONG, b"still there?")? == b"still there?" {
            true => Ok(()),
            false => Err(line::protocol_error("the pong of another ping")),
        }
    }

    fn dispose(&self, mut connection: WsConnection) {
        // If the server is gone, the close frame fails; the drop closes the socket either way.
        let stream = connection.reader.get_ref();
        let _ = stream.set_read_timeout(Some(FAREWELL));
        let _ = connection.exchange(CLOSE, CLOSE, &[]);
    }

    fn has_broken(&self, connection: &mut WsConnection) -> bool {
        connection.unfinished || !connection.reader.buffer().is_empty()
    }

    fn is_transient(&self, _: &io::Error) -> bool {
        true
    }
}
