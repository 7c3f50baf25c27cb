//! The manager for SMTP.

// From here on as src/docs/recipes.md has it; `the_page_shows_what_runs_here` compares them.

use conpool::{ConbusSocketManager, ConnectionManager};
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;

pub struct Session {
    line: BufReader<TcpStream>,
    dirty: bool,
}

impl Session {
    /// Sends a command and reads its answer, of one line or several.
    pub fn say(&mut self, command: &str) -> io::Result<String> {
        self.dirty = true;
        write!(self.line.get_mut(), "{command}\r\n")?;
        self.answer()
    }

    fn answer(&mut self) -> io::Result<String> {
        loop {
            let mut text = String::new();
            self.line.read_line(&mut text)?;
            match text.as_bytes() {
                [b'2' | b'3', _, _, b' ', ..] => return Ok(text),
                [b'2' | b'3', _, _, b'-', ..] => {}
                _ => return Err(io::Error::other(text)),
            }
        }
    }
}

pub struct Smtp(pub ConbusSocketManager);

impl ConnectionManager for Smtp {
    type Connection = Session;
    type Error = io::Error;

    fn create(&self) -> io::Result<Session> {
        let line = BufReader::new(self.0.create().map_err(io::Error::other)?);
        let mut session = Session { line, dirty: false };
        session.answer()?; // the greeting
        session.say("EHLO client.example")?;
        session.dirty = false;
        Ok(session)
    }

    fn check_aliveness(&self, session: &mut Session) -> io::Result<()> {
        session.say(if session.dirty { "RSET" } else { "NOOP" })?;
        session.dirty = false;
        Ok(())
    }

    fn dispose(&self, mut session: Session) {
        let _ = session.say("QUIT");
    }
}
