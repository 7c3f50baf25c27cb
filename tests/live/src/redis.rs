//! A Redis server.

use std::{iter, path::PathBuf, process::Command, time::Duration};

use redis::{Client, Connection};
use rustix::process::Signal;

use crate::{find, folder::Folder, process::Process, skip};

/// A Redis server without persistence.
#[derive(Debug)]
pub struct Redis {
    // The order matters: the server ends before its files are removed.
    process: Option<Process>,
    folder: Folder,
    program: PathBuf,
    port: u16,
}

impl Redis {
    /// Starts a server; prints why and returns `None` where it is not installed.
    pub fn start() -> Option<Self> {
        let Some(programs) = find(&["redis-server"], iter::empty()) else {
            skip("no redis-server here (Debian: redis-server)");
            return None;
        };
        let mut server = Self {
            process: None,
            folder: Folder::new(None),
            program: programs.join("redis-server"),
            port: 0,
        };
        server.process = Some(Process::on_a_free_port(&server.log(), |port| {
            server.port = port;
            server.try_launch()
        }));
        Some(server)
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn try_launch(&self) -> Option<Process> {
        let mut command = Command::new(&self.program);
        command
            .args(["--port", &self.port.to_string()])
            .args(["--bind", "127.0.0.1", "--save", "", "--dir"])
            .arg(self.folder.path())
            .arg("--unixsocket")
            .arg(self.socket());
        let client = self.client();
        let ready = || {
            let limit = Duration::from_secs(1);
            let connection = client.get_connection_with_timeout(limit);
            connection.is_ok_and(|mut connection| {
                let pong = redis::cmd("PING").query::<String>(&mut connection);
                pong.is_ok()
            })
        };
        Process::start(&mut command, self.log(), ready)
    }

    /// The client to connect with; it is also the r2d2 manager.
    pub fn client(&self) -> Client {
        Client::open(("127.0.0.1", self.port)).expect("an address")
    }

    /// The path of its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Opens a connection outside the pool.
    pub fn admin(&self) -> Connection {
        let connection = self.client().get_connection();
        connection.expect("a server that is ready takes one more client")
    }

    /// Ends the server like `kill -9`.
    pub fn kill(&mut self) {
        Process::take(&mut self.process, Signal::KILL);
    }

    /// Starts the server again on the same port, empty.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "it runs");
        self.process = Some(Process::required(self.try_launch(), &self.log()));
    }

    /// Stops the server: connections stay open without answers.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Continues the stopped server.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().expect("a server that runs");
        process.signal(signal);
    }
}
