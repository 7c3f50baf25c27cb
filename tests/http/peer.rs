//! One connection, as the server sees it.

use crate::common::{SOON, ms};
use socket2::SockRef;
use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// The head of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    fn parse(text: &str) -> Self {
        let mut lines = text.split("\r\n");
        let first = lines.next().unwrap_or_default();
        let mut words = first.split(' ').map(str::to_owned);
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
        let head = Self {
            method: words.next().unwrap_or_default(),
            target: words.next().unwrap_or_default(),
            headers: headers.collect(),
        };
        assert_eq!(words.next().as_deref(), Some("HTTP/1.1"), "{text}");
        head
    }

    /// All values of a header, separated by commas.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        let all = self.headers.iter().filter(|(key, _)| key == name);
        let all: Vec<_> = all.map(|(_, value)| value.as_str()).collect();
        (!all.is_empty()).then(|| all.join(","))
    }
}

/// The server's end of a connection. Dropping it closes the connection.
#[derive(Debug)]
pub(crate) struct Peer {
    stream: Arc<TcpStream>,
    pending: Vec<u8>,
    requests: Arc<AtomicUsize>,
}

impl Peer {
    pub(super) fn new(stream: Arc<TcpStream>, requests: Arc<AtomicUsize>) -> Self {
        Self {
            stream,
            pending: Vec::new(),
            requests,
        }
    }

    /// Reads the next head; `None` when the client has closed.
    pub(crate) fn head(&mut self) -> Option<Head> {
        let head = self.until(b"\r\n\r\n")?;
        self.requests.fetch_add(1, Ordering::SeqCst);
        Some(Head::parse(&head))
    }

    /// Reads the body after a head, without its chunk lines; `None` when the client closes before its end.
    pub(crate) fn body(&mut self, head: &Head) -> Option<Vec<u8>> {
        if let Some(length) = head.get("content-length") {
            return self.exactly(length.parse().unwrap());
        }
        let mut body = Vec::new();
        if head.get("transfer-encoding").is_some() {
            loop {
                let size = usize::from_str_radix(&self.line()?, 16).unwrap();
                body.extend(self.exactly(size)?);
                assert_eq!(self.line()?, "");
                if size == 0 {
                    break;
                }
            }
        }
        Some(body)
    }

    pub(crate) fn request(&mut self) -> Option<(Head, Vec<u8>)> {
        let head = self.head()?;
        let body = self.body(&head)?;
        Some((head, body))
    }

    pub(crate) fn exactly(&mut self, bytes: usize) -> Option<Vec<u8>> {
        while self.pending.len() < bytes {
            if !self.more() {
                return None;
            }
        }
        Some(self.pending.drain(..bytes).collect())
    }

    /// Reads a line of a chunked body.
    pub(crate) fn line(&mut self) -> Option<String> {
        self.until(b"\r\n")
    }

    /// Reads up to this end; returns the text before it.
    fn until(&mut self, end: &[u8]) -> Option<String> {
        loop {
            let found = self.pending.windows(end.len()).position(|at| at == end);
            if let Some(length) = found {
                let text = self.exactly(length + end.len())?;
                return Some(String::from_utf8(text[..length].to_vec()).unwrap());
            }
            if !self.more() {
                return None;
            }
        }
    }

    fn more(&mut self) -> bool {
        let mut piece = [0; 16 * 1024];
        match (&*self.stream).read(&mut piece) {
            Ok(bytes) => {
                self.pending.extend(&piece[..bytes]);
                bytes > 0
            }
            Err(_) => false,
        }
    }

    /// Sends; returns false if the client is gone.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        (&*self.stream).write_all(bytes.as_ref()).is_ok()
    }

    /// Sends `step` bytes at a time, each in a packet of its own.
    pub(crate) fn send_in(&mut self, bytes: &[u8], step: usize, pause: Duration) {
        for piece in bytes.chunks(step) {
            if !self.send(piece) {
                return;
            }
            thread::sleep(pause);
        }
    }

    /// Closes the sending side.
    pub(crate) fn fin(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Closes with a reset.
    pub(crate) fn rst(self) {
        let _ = SockRef::from(&*self.stream).set_linger(Some(Duration::ZERO));
    }

    /// Waits until the client has closed; returns the bytes before the close. `None`: the client did not
    /// close.
    pub(crate) fn end(&mut self) -> Option<Vec<u8>> {
        self.stream.set_read_timeout(Some(SOON)).unwrap();
        let mut rest = std::mem::take(&mut self.pending);
        match (&*self.stream).read_to_end(&mut rest) {
            Ok(_) => Some(rest),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Some(rest),
            Err(_) => None,
        }
    }

    /// Answers every request with `response` until the client closes.
    pub(crate) fn answer(&mut self, response: &[u8]) {
        while self.request().is_some() {
            self.send(response);
        }
    }
}
