//! The manager for Redis over a plain line.

// From here on as src/docs/recipes.md has it; `the_page_shows_what_runs_here` compares them.

use conpool::{ConbusError, ConbusSocketManager, ConnectionManager};
use std::io::{self, Read, Write};
use std::net::TcpStream;

pub struct Redis(pub ConbusSocketManager);

#[derive(Debug)]
pub enum RedisError {
    Connect(ConbusError),
    Exchange(io::Error),
    Answer(String),
}
impl std::fmt::Display for RedisError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}
impl std::error::Error for RedisError {}

fn ask(line: &mut TcpStream, question: &str, answer: &str) -> Result<(), RedisError> {
    let mut buffer = vec![0; answer.len()];
    line.write_all(question.as_bytes())
        .and_then(|()| line.read_exact(&mut buffer))
        .map_err(RedisError::Exchange)?;
    match buffer == answer.as_bytes() {
        true => Ok(()),
        false => Err(RedisError::Answer(String::from_utf8_lossy(&buffer).into())),
    }
}

impl ConnectionManager for Redis {
    type Connection = TcpStream;
    type Error = RedisError;

    fn create(&self) -> Result<TcpStream, RedisError> {
        let mut line = self.0.create().map_err(RedisError::Connect)?;
        ask(&mut line, "AUTH secret\r\n", "+OK\r\n")?;
        Ok(line)
    }

    fn check_aliveness(&self, line: &mut TcpStream) -> Result<(), RedisError> {
        ask(line, "PING\r\n", "+PONG\r\n")
    }

    // A dead one is found without a round trip, and nothing stale is read by the next user.
    fn on_checkout(&self, line: &mut TcpStream) -> Result<(), RedisError> {
        self.0.on_checkout(line).map_err(RedisError::Connect)
    }

    fn on_checkin(&self, line: &mut TcpStream) -> Result<(), RedisError> {
        self.0.on_checkin(line).map_err(RedisError::Connect)
    }

    fn dispose(&self, line: TcpStream) {
        self.0.dispose(line);
    }

    fn is_transient(&self, error: &RedisError) -> bool {
        match error {
            RedisError::Connect(error) => error.is_transient(),
            RedisError::Exchange(_) => true, // it has just gone
            RedisError::Answer(_) => false,  // the wrong password stays wrong
        }
    }
}
