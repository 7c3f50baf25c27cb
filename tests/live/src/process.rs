//! The process of a server, and its child processes.

use std::{
    fs::{self, File},
    net::TcpListener,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, geteuid, kill_process};

/// The time limit for the start or the end of a server on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The user that a server runs as.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl User {
    /// An unprivileged user when this process is root, because PostgreSQL refuses to run as root.
    pub(crate) fn harmless() -> Option<Self> {
        if !geteuid().is_root() {
            return None;
        }
        let users = fs::read_to_string("/etc/passwd").expect("the list of users");
        let find = |wanted: &str| {
            let line = users
                .lines()
                .find(|line| line.split(':').next() == Some(wanted))?;
            let mut ids = line.split(':').skip(2);
            Some(Self {
                uid: ids.next()?.parse().ok()?,
                gid: ids.next()?.parse().ok()?,
            })
        };
        Some(
            find("postgres")
                .or_else(|| find("nobody"))
                .expect("the user nobody"),
        )
    }

    pub(crate) fn run(user: Option<&Self>, command: &mut Command) {
        if let Some(Self { uid, gid }) = user {
            command.uid(*uid).gid(*gid);
        }
    }
}

/// A free port outside the range of ephemeral ports: while the server is down, a client with an ephemeral
/// port could connect to itself and block the port.
fn free_port() -> u16 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    loop {
        let number = COUNT.fetch_add(1, Relaxed) * 101 + u64::from(process::id()) * 37;
        let port = 20_000 + (number % 12_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a server that writes its log to this file, and waits until `ready`. `None` if it ended before
    /// that.
    pub(crate) fn start(
        command: &mut Command,
        log: PathBuf,
        mut ready: impl FnMut() -> bool,
    ) -> Option<Self> {
        let file = File::options().create(true).append(true).open(&log);
        let file = file.expect("a log file");
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a descriptor"))
            .stderr(file);
        let child = command.spawn().expect("a server that is installed starts");
        let mut process = Self { child, log };
        let start = Instant::now();
        while !ready() {
            if process.ended() {
                return None;
            }
            assert!(start.elapsed() < PATIENCE, "not ready after {PATIENCE:?}");
            thread::sleep(Duration::from_millis(5));
        }
        Some(process)
    }

    /// Starts a server on a free port; `launch` tries one port.
    pub(crate) fn on_a_free_port(
        log: &PathBuf,
        mut launch: impl FnMut(u16) -> Option<Self>,
    ) -> Self {
        // Another process may take the port meanwhile.
        let launched = (0..5).find_map(|_| launch(free_port()));
        Self::required(launched, log)
    }

    /// Panics with the end of the server's log if there is no server.
    pub(crate) fn required(launched: Option<Self>, log: &PathBuf) -> Self {
        launched.unwrap_or_else(|| panic!("does not start:\n{}", Self::last_words(log)))
    }

    /// Ends the process in `place`, if any, with this signal.
    pub(crate) fn take(place: &mut Option<Self>, signal: Signal) {
        let mut process = place.take().expect("a server that runs");
        process.signal(signal);
        process.wait();
    }

    /// The last lines of the server's log.
    pub(crate) fn last_words(log: &PathBuf) -> String {
        let text = fs::read_to_string(log).unwrap_or_default();
        let lines: Vec<_> = text.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    fn ended(&mut self) -> bool {
        self.child.try_wait().expect("a child of mine").is_some()
    }

    fn main(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The server and its child processes.
    fn all(&self) -> Vec<Pid> {
        let main = self.main();
        let started = fs::read_dir("/proc").expect("the list of processes");
        let started = started.flatten().filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // The name, in parentheses, may contain blanks.
            let (_, rest) = stat.rsplit_once(") ")?;
            let parent: i32 = rest.split(' ').nth(1)?.parse().ok()?;
            (parent == main.as_raw_nonzero().get()).then_some(Pid::from_raw(pid)?)
        });
        [main].into_iter().chain(started).collect()
    }

    /// Sends a signal to the server alone.
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = kill_process(self.main(), signal);
    }

    /// Sends a signal to the server and its child processes. Some may be gone by then.
    pub(crate) fn signal_all(&self, signal: Signal) {
        for pid in self.all() {
            let _ = kill_process(pid, signal);
        }
    }

    /// Waits until the server has ended.
    pub(crate) fn wait(&mut self) {
        let start = Instant::now();
        while !self.ended() {
            assert!(start.elapsed() < PATIENCE, "still there after {PATIENCE:?}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ends the server by this signal, or by SIGKILL when that does not help.
    pub(crate) fn end(&mut self, signal: Signal) {
        if self.ended() {
            return;
        }
        self.signal_all(Signal::CONT);
        self.signal(signal);
        let start = Instant::now();
        while !self.ended() {
            if start.elapsed() > Duration::from_secs(10) {
                self.signal_all(Signal::KILL);
                let _ = self.child.wait();
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the server's last words:\n{}", Self::last_words(&self.log));
        }
        // For PostgreSQL the fastest way that removes its shared memory; Redis just ends.
        self.end(Signal::QUIT);
    }
}
