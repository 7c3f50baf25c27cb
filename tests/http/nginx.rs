//! A real nginx with its own configuration and folder, stopped with the test.

use crate::common::{SOON, eventually, folder::Folder, ms};
use std::{
    collections::BTreeSet,
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::Instant,
};

/// Runs until it is dropped; the drop removes the folder.
pub(crate) struct Nginx {
    folder: Folder,
    port: u16,
    master: Option<Child>,
}

impl Nginx {
    /// Starts a server with these lines in its `server` block. Returns `None`, and prints so, where nginx is
    /// missing.
    pub(crate) fn start(name: &str, server: &str) -> Option<Self> {
        Self::start_with(name, server, &[])
    }

    /// Starts a server with files in its folder, which the lines call `FOLDER`.
    pub(crate) fn start_with(name: &str, server: &str, files: &[(&str, &str)]) -> Option<Self> {
        if Command::new("nginx")
            .arg("-v")
            .stderr(Stdio::null())
            .status()
            .is_err()
        {
            println!("SKIPPED: nginx is not installed");
            return None;
        }
        let folder = Folder::new(name);
        fs::create_dir(folder.join("www")).unwrap();
        // The workers may run as another user.
        fs::create_dir(folder.join("tmp")).unwrap();
        for (file, text) in files {
            fs::write(folder.join(file), text).unwrap();
        }
        let mut nginx = Self {
            folder,
            port: 0,
            master: None,
        };
        // Another process may take the port between the search and the bind.
        for _ in 0..10 {
            nginx.port = free_port();
            nginx.configure(server);
            nginx.run();
            if nginx.is_up() {
                return Some(nginx);
            }
            println!("{}", nginx.errors());
            nginx.stop();
        }
        panic!("nginx does not start");
    }

    fn configure(&self, server: &str) {
        let folder = self.folder.display();
        let user = match self.is_root() {
            true => "user root;",
            false => "",
        };
        let temps = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temps = temps.map(|name| format!("{name}_temp_path {folder}/tmp/{name};\n"));
        let temps = temps.concat();
        let text = format!(
            "{user}\n\
             daemon off;\n\
             worker_processes 2;\n\
             pid {folder}/pid;\n\
             error_log {folder}/error.log warn;\n\
             events {{ worker_connections 256; }}\n\
             http {{\n\
             {temps}\
             log_format lines '$connection $request_method $status';\n\
             access_log {folder}/access.log lines;\n\
             server {{\n\
             listen 127.0.0.1:{port} {ssl};\n\
             root {folder}/www;\n\
             {server}\n\
             }}\n\
             }}\n",
            port = self.port,
            ssl = if server.contains("ssl_certificate") {
                "ssl"
            } else {
                ""
            },
            server = server.replace("FOLDER", &folder.to_string()),
        );
        fs::write(self.folder.join("nginx.conf"), text).unwrap();
    }

    fn is_root(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(&*self.folder).unwrap().uid() == 0
    }

    fn command(&self) -> Command {
        let mut command = Command::new("nginx");
        command
            .arg("-p")
            .arg(&*self.folder)
            .arg("-c")
            .arg(self.folder.join("nginx.conf"));
        command.arg("-e").arg(self.folder.join("error.log"));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    pub(crate) fn run(&mut self) {
        self.master = Some(self.command().spawn().unwrap());
    }

    /// Whether it answers soon.
    pub(crate) fn is_up(&mut self) -> bool {
        let start = Instant::now();
        while start.elapsed() < SOON {
            if self.master.as_mut().unwrap().try_wait().unwrap().is_some() {
                return false;
            }
            // The pid file appears after the sockets. Another nginx may listen on the port.
            let ready = self.folder.join("pid").exists();
            if ready && TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok() {
                return true;
            }
            thread::sleep(ms(5));
        }
        false
    }

    /// `kill` instead of `nginx -s`, which fails when the configuration cannot be read.
    fn signal(&self, name: &str) {
        if let Some(master) = &self.master {
            let order = format!("kill -{name} {}", master.id());
            let _ = Command::new("sh").arg("-c").arg(order).status();
        }
    }

    /// Starts new workers; the old ones end when their requests have.
    pub(crate) fn reload(&self) {
        self.signal("HUP");
    }

    /// Stops the server and all of its workers.
    pub(crate) fn stop(&mut self) {
        self.signal("TERM");
        let Some(mut master) = self.master.take() else {
            return;
        };
        let start = Instant::now();
        while start.elapsed() < SOON {
            if master.try_wait().is_ok_and(|status| status.is_some()) {
                return;
            }
            thread::sleep(ms(5));
        }
        let _ = master.kill();
        let _ = master.wait();
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn www(&self, name: &str) -> PathBuf {
        self.folder.join("www").join(name)
    }

    /// The log lines of `requests` requests, one for each.
    #[track_caller]
    pub(crate) fn log(&self, requests: usize) -> Vec<String> {
        let read = || fs::read_to_string(self.folder.join("access.log")).unwrap_or_default();
        // A request is logged when its response has been sent.
        eventually(|| read().lines().count() >= requests);
        read().lines().map(str::to_owned).collect()
    }

    /// The number of connections on which it has served this many requests.
    #[track_caller]
    pub(crate) fn connections(&self, requests: usize) -> usize {
        let log = self.log(requests);
        assert_eq!(log.len(), requests, "{log:?}");
        let numbers = log.iter().filter_map(|line| line.split(' ').next());
        numbers.collect::<BTreeSet<_>>().len()
    }

    fn errors(&self) -> String {
        fs::read_to_string(self.folder.join("error.log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.stop();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}
