//! HTTP-like: a server that answers GET on persistent connections, and a manager for its clients.
//!
//! An emulation of the part of HTTP/1.1 that a pool can observe: heads of lines, `Content-Length` and
//! keep-alive. Other methods, chunks and pipelining are left out.

use crate::line;
use conpool::ConnectionManager;
use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

/// Answers every request with the service's name and the requested path, after `work`.
pub(crate) fn serve(stream: &TcpStream, name: &str, work: Duration) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    while let Some(head) = read_head(&mut reader)? {
        let path = head[0].split(' ').nth(1).unwrap_or_default();
        thread::sleep(work);
        let body = answer(name, path);
        let reply = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        (&*stream).write_all(reply.as_bytes())?;
    }
    Ok(())
}

/// The content of a service's path.
pub(crate) fn answer(name: &str, path: &str) -> String {
    format!("{name} has {path}")
}

/// Reads the lines up to the empty one. `None`: the peer closed between two heads.
pub(crate) fn read_head(reader: &mut impl BufRead) -> io::Result<Option<Vec<String>>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return match lines.is_empty() {
                true => Ok(None),
                false => Err(io::ErrorKind::UnexpectedEof.into()),
            };
        }
        match (line.trim_end(), lines.is_empty()) {
            ("", true) => return Err(line::protocol_error("a head without a first line")),
            ("", false) => return Ok(Some(lines)),
            (text, _) => lines.push(text.to_owned()),
        }
    }
}

/// The value of a header.
pub(crate) fn header<'a>(head: &'a [String], name: &str) -> Option<&'a str> {
    let mut headers = head.iter().skip(1).filter_map(|line| line.split_once(':'));
    headers.find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value.trim()))
}

pub(crate) struct HttpConnection {
    reader: BufReader<TcpStream>,
    /// A request was sent whose answer was not read to its end. The rest would be taken for the next answer.
    unfinished: bool,
}

impl HttpConnection {
    pub(crate) fn get(&mut self, path: &str) -> io::Result<String> {
        self.unfinished = true;
        let request = format!("GET {path} HTTP/1.1\r\nHost: emulated\r\n\r\n");
        self.reader.get_mut().write_all(request.as_bytes())?;
        let head = read_head(&mut self.reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if !head[0].starts_with("HTTP/1.1 200 ") {
            return Err(line::protocol_error(&head[0]));
        }
        let length = header(&head, "Content-Length").and_then(|length| length.parse().ok());
        let mut body =
            vec![0; length.ok_or_else(|| line::protocol_error("an answer without a length"))?];
        self.reader.read_exact(&mut body)?;
        self.unfinished = false;
        String::from_utf8(body).map_err(|_| line::protocol_error("an answer that is no text"))
    }
}

pub(crate) struct HttpManager(pub(crate) SocketAddr);

impl ConnectionManager for HttpManager {
    type Connection = HttpConnection;
    type Error = io::Error;

    fn create(&self) -> io::Result<HttpConnection> {
        Ok(HttpConnection {
            reader: BufReader::new(line::dial(self.0)?),
            unfinished: false,
        })
    }

    // HTTP/1.1 has no ping, but a closed connection can be seen without a request.
    fn check_aliveness(&self, connection: &mut HttpConnection) -> io::Result<()> {
        line::must_be_quiet(connection.reader.get_ref())
    }

    fn has_broken(&self, connection: &mut HttpConnection) -> bool {
        connection.unfinished || !connection.reader.buffer().is_empty()
    }

    fn is_transient(&self, _: &io::Error) -> bool {
        true
    }

    fn check_may_block(&self) -> bool {
        false
    }
}
