//! A TCP server that can be killed and restarted on its port, with a thread for each connection.

use socket2::SockRef;
use std::{
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// The interval between two polls for new clients. Polling, because no portable call ends a blocked accept.
const POLL: Duration = Duration::from_millis(2);
/// The number of attempts to bind a port that is in use for a moment, one every [`POLL`].
const TRIES: u32 = 1000;

/// Serves one client until the client disconnects.
type Serve = dyn Fn(&TcpStream) -> io::Result<()> + Send + Sync;

pub(crate) struct Server {
    address: SocketAddr,
    serve: Arc<Serve>,
    running: Mutex<Option<Running>>,
}

struct Running {
    stopped: Arc<AtomicBool>,
    acceptor: JoinHandle<()>,
}

struct Session {
    stream: Arc<TcpStream>,
    thread: JoinHandle<()>,
}

impl Server {
    pub(crate) fn start(
        serve: impl Fn(&TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let server = Self {
            address: listener.local_addr()?,
            serve: Arc::new(serve),
            running: Mutex::new(None),
        };
        server.run(listener)?;
        Ok(server)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening and resets every connection. All threads have ended when this returns.
    pub(crate) fn kill(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let running = { running }.take();
        if let Some(Running { stopped, acceptor }) = running {
            stopped.store(true, Relaxed);
            acceptor.join().expect("the server panicked");
        }
    }

    pub(crate) fn revive(&self) -> io::Result<()> {
        self.kill();
        let mut tries = 0;
        let listener = loop {
            match TcpListener::bind(self.address) {
                // An outgoing connection may have been assigned the port.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < TRIES => {
                    tries += 1;
                    thread::sleep(POLL);
                }
                other => break other?,
            }
        };
        self.run(listener)
    }

    fn run(&self, listener: TcpListener) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        let stopped = Arc::new(AtomicBool::new(false));
        let (flag, serve) = (Arc::clone(&stopped), Arc::clone(&self.serve));
        let acceptor = thread::spawn(move || accept(listener, &flag, &serve));
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Running { stopped, acceptor });
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn accept(listener: TcpListener, stopped: &AtomicBool, serve: &Arc<Serve>) {
    let mut sessions: Vec<Session> = Vec::new();
    while !stopped.load(Relaxed) {
        // An accept error concerns one client only.
        match listener.accept() {
            Ok((stream, _)) => sessions.extend(Session::start(stream, serve)),
            Err(_) => thread::sleep(POLL),
        }
        sessions.retain(|session| !session.thread.is_finished());
    }
    drop(listener);
    for session in &sessions {
        session.cut();
    }
    for session in sessions {
        session.thread.join().expect("a session panicked");
    }
}

impl Session {
    fn start(stream: TcpStream, serve: &Arc<Serve>) -> io::Result<Self> {
        // Some systems inherit the listener's mode.
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        let stream = Arc::new(stream);
        let (mine, serve) = (Arc::clone(&stream), Arc::clone(serve));
        let thread = thread::Builder::new().spawn(move || {
            // The client disconnected or was cut off; either way the session is over.
            let _ = serve(&mine);
        })?;
        Ok(Self { stream, thread })
    }

    /// Makes the following close send a reset.
    fn cut(&self) {
        // An error means that the client is gone already.
        let _ = SockRef::from(&*self.stream).set_linger(Some(Duration::ZERO));
        // Sends nothing; ends only the read of the session.
        let _ = self.stream.shutdown(Shutdown::Read);
    }
}
