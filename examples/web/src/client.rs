//! The clients: HTTP/1.1 over a socket that stays open, unless the client hangs up.

use crate::{
    NOTES, SOON,
    rng::Rng,
    tally::{Outcome, Phase, Tally},
};
use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

/// The pause of a client whose request failed.
const PAUSE: Duration = Duration::from_millis(50);
/// Of this many requests a client hangs up in one.
const HANGS_UP: u64 = 10;

/// The state that all clients share.
pub(crate) struct Load {
    address: SocketAddr,
    phase: AtomicU8,
    is_over: AtomicBool,
}

impl Load {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            phase: AtomicU8::new(Phase::Before as u8),
            is_over: AtomicBool::new(false),
        }
    }

    pub(crate) fn set(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
    }

    pub(crate) fn end(&self) {
        self.is_over.store(true, Relaxed);
    }

    fn phase(&self) -> Phase {
        Phase::ALL[usize::from(self.phase.load(Relaxed))]
    }
}

pub(crate) struct Client {
    load: Arc<Load>,
    random: Rng,
    socket: Option<TcpStream>,
}

impl Client {
    pub(crate) fn new(load: &Arc<Load>, random: Rng) -> Self {
        let load = Arc::clone(load);
        let socket = None;
        Self {
            load,
            random,
            socket,
        }
    }

    /// Sends request after request until the load ends.
    pub(crate) async fn live(mut self) -> Tally {
        let mut tally = Tally::default();
        while !self.load.is_over.load(Relaxed) {
            let (phase, start) = (self.load.phase(), Instant::now());
            let is_write = self.random.below(100) < 10;
            let request = self.request(is_write);
            let hangs_up = self.random.below(HANGS_UP) == 0;
            let limit = match hangs_up {
                true => Duration::from_millis(self.random.below(300)),
                false => SOON,
            };
            let outcome = match timeout(limit, self.exchange(&request)).await {
                Ok(Ok((200, _))) => Outcome::Answered { is_write },
                Ok(Ok((_, kind))) => Outcome::Failed(kind),
                Ok(Err(error)) => Outcome::Lost(error.to_string()),
                Err(_) if hangs_up => Outcome::Cancelled { is_write },
                Err(_) => Outcome::Lost(format!("no answer within {SOON:?}")),
            };
            if !matches!(outcome, Outcome::Answered { .. } | Outcome::Failed(_)) {
                self.socket = None;
            }
            let failed = matches!(outcome, Outcome::Failed(_) | Outcome::Lost(_));
            tally.note(phase, outcome, start.elapsed());
            if failed {
                sleep(PAUSE).await;
            }
        }
        tally
    }

    /// Repeats a request until it is answered, within this time.
    pub(crate) async fn wait_for_answer(mut self, limit: Duration) -> bool {
        let answer = async {
            while !matches!(
                self.exchange("GET /notes/1 HTTP/1.1\r\nhost: here\r\n\r\n")
                    .await,
                Ok((200, _))
            ) {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(limit, answer).await.is_ok()
    }

    fn request(&mut self, is_write: bool) -> String {
        if is_write {
            let body = format!("written by {}", self.random.below(1_000));
            let length = body.len();
            return format!(
                "POST /notes HTTP/1.1\r\nhost: here\r\ncontent-length: {length}\r\n\r\n{body}"
            );
        }
        let path = match self.random.below(100) {
            0..3 => "report".to_owned(),
            _ => format!("notes/{}", 1 + self.random.below(NOTES as u64)),
        };
        format!("GET /{path} HTTP/1.1\r\nhost: here\r\n\r\n")
    }

    /// Sends a request, and returns the status and the body of its answer.
    async fn exchange(&mut self, request: &str) -> io::Result<(u16, String)> {
        let socket = match &mut self.socket {
            Some(socket) => socket,
            None => self
                .socket
                .insert(TcpStream::connect(self.load.address).await?),
        };
        socket.write_all(request.as_bytes()).await?;
        let mut text = String::new();
        let mut buffer = [0; 1024];
        loop {
            let read = socket.read(&mut buffer).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            text.push_str(&String::from_utf8_lossy(&buffer[..read]));
            if let Some(answer) = parse(&text) {
                return Ok(answer);
            }
        }
    }
}

/// The status and the body of an answer, once it is complete.
fn parse(text: &str) -> Option<(u16, String)> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))?;
    (body.len() == length.parse::<usize>().ok()?).then(|| (status, body.to_owned()))
}
