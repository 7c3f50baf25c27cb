//! A PgBouncer in front of a PostgreSQL server.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use r2d2_postgres::postgres::{Config, NoTls};

use crate::{
    Postgres, find,
    folder::Folder,
    process::{Process, User},
    skip,
};

/// A PgBouncer in transaction mode on a port of its own. Its clients are `postgres` and `app`, without
/// passwords.
#[derive(Debug)]
pub struct PgBouncer {
    // The order matters: the process ends before its files are removed.
    #[allow(dead_code, reason = "it ends when it is dropped")]
    process: Option<Process>,
    folder: Folder,
    program: PathBuf,
    user: Option<User>,
    port: u16,
}

impl PgBouncer {
    /// Starts a PgBouncer; prints why and returns `None` where it is not installed. `database` is added to
    /// the entry of the database, for example `connect_query='...'`.
    pub fn start(server: &Postgres, database: &str) -> Option<Self> {
        // Debian installs it in a folder that is in root's PATH only.
        let Some(programs) = find(&["pgbouncer"], ["/usr/sbin".into()].into_iter()) else {
            skip("no pgbouncer here (Debian: pgbouncer)");
            return None;
        };
        // Like the server it refuses to run as root.
        let user = User::harmless();
        let mut bouncer = Self {
            process: None,
            folder: Folder::new(user.as_ref()),
            program: programs.join("pgbouncer"),
            user,
            port: 0,
        };
        let entry = format!("* = host=127.0.0.1 port={} {database}", server.port());
        bouncer.process = Some(Process::on_a_free_port(&bouncer.log(), |port| {
            bouncer.port = port;
            bouncer.try_launch(&entry)
        }));
        Some(bouncer)
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn try_launch(&self, entry: &str) -> Option<Process> {
        let folder = self.folder.path();
        let users = folder.join("users.txt");
        fs::write(&users, "\"postgres\" \"\"\n\"app\" \"\"\n").expect("a file of users");
        let settings = format!(
            "[databases]\n{entry}\n\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {}\n\
             unix_socket_dir =\nauth_type = trust\nauth_file = {}\npool_mode = transaction\n\
             default_pool_size = 4\nquery_wait_timeout = 3\nserver_login_retry = 1\n",
            self.port,
            users.display()
        );
        let file = folder.join("pgbouncer.ini");
        fs::write(&file, settings).expect("a file of settings");
        let mut command = Command::new(&self.program);
        command.arg(&file).current_dir(folder);
        User::run(self.user.as_ref(), &mut command);
        let mut config = self.config("postgres");
        config.connect_timeout(Duration::from_secs(1));
        let ready = || config.connect(NoTls).is_ok();
        Process::start(&mut command, self.log(), ready)
    }

    /// The configuration to connect through it as `user`.
    pub fn config(&self, user: &str) -> Config {
        let mut config = Config::new();
        config
            .host("127.0.0.1")
            .port(self.port)
            .user(user)
            .dbname("postgres");
        config
    }
}
