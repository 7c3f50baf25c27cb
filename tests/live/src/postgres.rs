//! A PostgreSQL server.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use r2d2_postgres::postgres::{Client, Config, NoTls};
use rustix::process::Signal;

use crate::{
    find,
    folder::Folder,
    process::{Process, User},
    skip,
};

/// A PostgreSQL server with an empty database, for the user `postgres` without a password.
#[derive(Debug)]
pub struct Postgres {
    // The order matters: the server ends before its files are removed.
    process: Option<Process>,
    folder: Folder,
    template: Arc<Template>,
    port: u16,
}

/// The output of `initdb`, made once per test program, because it takes longer than everything else.
#[derive(Debug)]
struct Template {
    programs: PathBuf,
    user: Option<User>,
    folder: Folder,
}

impl Template {
    /// The template that other tests hold at this moment, or a new one.
    fn get(programs: PathBuf) -> Arc<Self> {
        static LAST: Mutex<Weak<Template>> = Mutex::new(Weak::new());
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        last.upgrade().unwrap_or_else(|| {
            let template = Arc::new(Self::new(programs));
            *last = Arc::downgrade(&template);
            template
        })
    }

    fn new(programs: PathBuf) -> Self {
        let user = User::harmless();
        let folder = Folder::new(user.as_ref());
        let mut command = Command::new(programs.join("initdb"));
        command
            .args(["--username=postgres", "--auth=trust", "--no-sync"])
            .args(["--encoding=UTF8", "--locale=C", "--pgdata"])
            .arg(folder.path().join("data"));
        User::run(user.as_ref(), &mut command);
        run(command.current_dir(folder.path()));
        Self {
            programs,
            user,
            folder,
        }
    }
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output();
    let output = output.expect("a program that is installed starts");
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// The folders of Debian's packages, the newest version first.
fn debian() -> impl Iterator<Item = PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut folders: Vec<_> = versions
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .collect();
    folders.sort();
    folders.into_iter().rev()
}

impl Postgres {
    /// Starts a server; prints why and returns `None` where it is not installed.
    pub fn start() -> Option<Self> {
        let Some(programs) = find(&["initdb", "postgres"], debian()) else {
            skip("no initdb and postgres here (Debian: postgresql)");
            return None;
        };
        let template = Template::get(programs);
        let folder = Folder::new(template.user.as_ref());
        let data = template.folder.path().join("data");
        run(Command::new("cp").arg("-a").args([&data, folder.path()]));
        Some(Self::launch(folder, template))
    }

    /// Starts a streaming replica of this server, which answers queries and changes nothing before
    /// [`promote`](Self::promote).
    ///
    /// The server is restarted, because its files are copied while it is down.
    #[must_use = "the replica ends when it is dropped"]
    pub fn start_replica(&mut self) -> Self {
        let template = Arc::clone(&self.template);
        let folder = Folder::new(template.user.as_ref());
        let (from, data) = (self.folder.path().join("data"), folder.path().join("data"));
        self.shut_down();
        run(Command::new("cp").arg("-a").args([&from, folder.path()]));
        self.start_again();
        let settings = data.join("postgresql.auto.conf");
        let primary = format!("primary_conninfo = '{}'\n", self.url("replica"));
        let written = File::options().append(true).open(settings);
        let written = written.and_then(|mut file| file.write_all(primary.as_bytes()));
        written.expect("root or the owner may write them");
        let mut signal = Command::new("touch");
        signal.arg(data.join("standby.signal"));
        User::run(template.user.as_ref(), &mut signal);
        run(signal.current_dir(folder.path()));
        Self::launch(folder, template)
    }

    /// Makes a replica the primary, and returns when it takes changes.
    pub fn promote(&self) {
        let promoted = self.admin().query_one("SELECT pg_promote()", &[]);
        let promoted: bool = promoted.expect("the administrator may").get(0);
        assert!(promoted, "not promoted in time");
    }

    fn launch(folder: Folder, template: Arc<Template>) -> Self {
        let mut server = Self {
            process: None,
            folder,
            template,
            port: 0,
        };
        server.process = Some(Process::on_a_free_port(&server.log(), |port| {
            server.port = port;
            server.try_launch()
        }));
        server
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn try_launch(&self) -> Option<Process> {
        let settings = [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=off",
            "max_connections=40",
            "autovacuum=off",
        ];
        let mut command = Command::new(self.template.programs.join("postgres"));
        command
            .arg("-D")
            .arg(self.folder.path().join("data"))
            .args(["-p", &self.port.to_string()]);
        for setting in settings {
            command.args(["-c", setting]);
        }
        User::run(self.template.user.as_ref(), &mut command);
        command.current_dir(self.folder.path());
        let mut config = self.config("readiness");
        config.connect_timeout(Duration::from_secs(1));
        let ready = || config.connect(NoTls).is_ok();
        Process::start(&mut command, self.log(), ready)
    }

    /// The configuration to connect, with this name in `pg_stat_activity`.
    pub fn config(&self, name: &str) -> Config {
        let mut config = Config::new();
        config
            .host("127.0.0.1")
            .port(self.port)
            .user("postgres")
            .dbname("postgres")
            .application_name(name);
        config
    }

    /// The connection string for clients that take a text.
    pub fn url(&self, name: &str) -> String {
        let port = self.port;
        format!("postgres://postgres@127.0.0.1:{port}/postgres?application_name={name}")
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Makes the server ask this user for the role's password from now on.
    pub fn ask_for_password(&self, user: &str) {
        let rules = self.folder.path().join("data/pg_hba.conf");
        let old = fs::read_to_string(&rules).expect("the rules of initdb");
        let rule = format!("host all {user} 127.0.0.1/32 scram-sha-256\n");
        fs::write(&rules, rule + &old).expect("root or the owner may write them");
        let reload = self.admin().batch_execute("SELECT pg_reload_conf()");
        reload.expect("the administrator may");
    }

    /// Begins a smart shutdown: refuses new clients, and ends when the last one has gone.
    pub fn begin_shut_down(&self) {
        self.process
            .as_ref()
            .expect("a server that runs")
            .signal(Signal::TERM);
    }

    /// Opens a connection outside the pool.
    pub fn admin(&self) -> Client {
        let client = self.config("admin").connect(NoTls);
        client.expect("a server that is ready takes one more client")
    }

    /// Ends the server at once, like a crash: clients get no message.
    pub fn crash(&mut self) {
        self.stop(Signal::QUIT);
    }

    /// Ends the server like an administrator: every client is told and disconnected.
    pub fn shut_down(&mut self) {
        self.stop(Signal::INT);
    }

    fn stop(&mut self, signal: Signal) {
        Process::take(&mut self.process, signal);
    }

    /// Starts the server again, on the same port with the same data.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "it runs");
        self.process = Some(Process::required(self.try_launch(), &self.log()));
    }

    /// Stops every process of the server: connections stay open without answers.
    pub fn freeze(&self) {
        self.signal_all(Signal::STOP);
    }

    /// Continues the stopped processes.
    pub fn thaw(&self) {
        self.signal_all(Signal::CONT);
    }

    fn signal_all(&self, signal: Signal) {
        let process = self.process.as_ref().expect("a server that runs");
        process.signal_all(signal);
    }

    /// The folder of the server's files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}
