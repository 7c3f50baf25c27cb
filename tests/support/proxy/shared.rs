//! The shared state of links, toxics and counters. Lock order: this state before a link's.

use std::{
    io, mem,
    net::{SocketAddr, TcpStream},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use socket2::SockRef;

use super::{
    super::emulator::Ending,
    counters::Counters,
    link::Link,
    toxic::{Active, Direction, Toxic},
};

/// The timeout of the proxy's connect to the server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Shared {
    server: SocketAddr,
    state: Mutex<State>,
    /// Signals a change of counters or `live`.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    toxics: Vec<Active>,
    links: Vec<Arc<Link>>,
    /// Links whose threads still run or whose sockets are still open.
    live: Vec<u64>,
    threads: Vec<JoinHandle<()>>,
    last_id: u64,
    /// Clients up to this number were cut in this way, even if their link did not exist yet.
    cut: Option<(u64, Ending)>,
    counters: Counters,
    bind: bool,
}

impl Shared {
    pub(super) fn new(server: SocketAddr) -> Self {
        Self {
            server,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    pub(super) fn counters(&self) -> Counters {
        self.state.lock().counters
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut Counters)) {
        change(&mut self.state.lock().counters);
        self.changed.notify_all();
    }

    pub(super) fn wait_for(&self, until: impl Fn(&Counters) -> bool, timeout: Duration) -> bool {
        self.wait_while(|state| !until(&state.counters), timeout)
    }

    fn wait_while(&self, hold: impl Fn(&State) -> bool, timeout: Duration) -> bool {
        let mut state = self.state.lock();
        !self
            .changed
            .wait_while_for(&mut state, |state| hold(state), timeout)
            .timed_out()
    }

    /// Changes the toxics of all links, including later ones.
    pub(super) fn set_toxics(&self, change: impl FnOnce(&mut Vec<Active>)) {
        let mut state = self.state.lock();
        change(&mut state.toxics);
        for link in &state.links {
            link.set_toxics(&state.toxics);
        }
    }

    pub(super) fn add(&self, direction: Direction, toxic: Toxic) {
        let since = Instant::now();
        self.set_toxics(|toxics| {
            toxics.push(Active {
                direction,
                toxic,
                since,
            });
        });
    }

    /// Starts the threads of a new client's link.
    pub(super) fn serve_client(self: &Arc<Self>, client: TcpStream) {
        let mut state = self.state.lock();
        if state.bind {
            return;
        }
        state.last_id += 1;
        let id = state.last_id;
        state.live.push(id);
        state.counters.accepted += 1;
        state.counters.open = state.live.len();
        state.threads.retain(|thread| !thread.is_finished());
        let shared = Arc::clone(self);
        let thread = thread::Builder::new()
            .name("proxy-link".into())
            .spawn(move || {
                shared.serve(id, client);
                shared.gone(id);
            });
        match thread {
            Ok(thread) => state.threads.push(thread),
            Err(_) => {
                drop(state);
                self.gone(id);
            }
        }
        self.changed.notify_all();
    }

    /// Runs a link; returns when its sockets are closed.
    fn serve(&self, id: u64, client: TcpStream) {
        let Ok(server) = connect(self.server) else {
            return self.count(|counters| counters.unreached += 1);
        };
        let Some(link) = self.register(id, client, server) else {
            return;
        };
        let ending = link.run(self);
        let mut state = self.state.lock();
        state.links.retain(|other| other.id != id);
        state.counters.reset += u64::from(ending == Ending::Rst);
        drop(state);
        // The last reference closes the sockets.
        drop(link);
    }

    fn register(&self, id: u64, client: TcpStream, server: TcpStream) -> Option<Arc<Link>> {
        let mut state = self.state.lock();
        match state.cut {
            Some((last, Ending::Rst)) if id <= last => {
                for stream in [&client, &server] {
                    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
                }
                return None;
            }
            Some((last, Ending::Fin)) if id <= last => return None,
            _ if state.bind => return None,
            _ => {}
        }
        // Fails only for a client that is gone already.
        let link = Link::new(id, client, server, state.toxics.clone()).ok()?;
        let link = Arc::new(link);
        state.links.push(Arc::clone(&link));
        Some(link)
    }

    fn gone(&self, id: u64) {
        let mut state = self.state.lock();
        state.live.retain(|other| *other != id);
        state.counters.open = state.live.len();
        self.changed.notify_all();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().bind
    }

    /// Stops or starts accepting clients.
    pub(super) fn set_closed(&self, bind: bool) {
        self.state.lock().bind = bind;
    }

    /// Ends every link and waits until their sockets are closed. Returns their number.
    pub(super) fn cut(&self, ending: Ending) -> usize {
        let mut state = self.state.lock();
        state.cut = Some((state.last_id, ending));
        let live = state.live.clone();
        for link in &state.links {
            link.end(ending);
        }
        drop(state);
        let patience = Duration::from_secs(5);
        let closed = self.wait_while(
            |state| state.live.iter().any(|id| live.contains(id)),
            patience,
        );
        assert!(
            closed || thread::panicking(),
            "a link was not closed in {patience:?}"
        );
        live.len()
    }

    /// Waits for the threads of all links, which have ended.
    pub(super) fn join(&self) {
        let threads = mem::take(&mut self.state.lock().threads);
        for thread in threads {
            let joined = thread.join();
            assert!(
                joined.is_ok() || thread::panicking(),
                "a thread of the proxy panicked"
            );
        }
    }
}

fn connect(server: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&server, CONNECT_TIMEOUT)?;
    // A connect to a free port can connect to itself, and would keep the server from binding it again.
    if stream.local_addr()? == server {
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}
