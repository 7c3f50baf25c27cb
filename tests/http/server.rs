//! A server that runs a function on each connection.

use super::{OK, Peer};
use crate::common::acceptor::Acceptor;
use std::{
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

type Script = dyn Fn(usize, Peer) + Send + Sync;

/// Stops and closes its connections on drop. The drop fails the test if a script panicked.
pub(crate) struct Server {
    acceptor: Acceptor,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    requests: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    peak: AtomicUsize,
    /// Weak: a connection closes when its script drops it.
    lines: Mutex<Vec<(Weak<TcpStream>, JoinHandle<()>)>>,
}

/// Counts a connection as open while this value lives.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Server {
    /// Starts a server. `script` gets each connection with its number, from 0, on a thread of its own.
    pub(crate) fn start(script: impl Fn(usize, Peer) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        Self::on(listener.unwrap(), script)
    }

    pub(crate) fn on(
        listener: TcpListener,
        script: impl Fn(usize, Peer) + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let accepting = Arc::clone(&shared);
        let script: Arc<Script> = Arc::new(script);
        let acceptor = Acceptor::on(listener, move |number, stream| {
            accepting.admit(number, stream, Arc::clone(&script));
        });
        Self { acceptor, shared }
    }

    /// Answers every request with [`OK`].
    pub(crate) fn plain() -> Self {
        Self::start(|_, mut peer| peer.answer(OK))
    }

    /// Answers the first request of the first connection with `first` and every other with [`OK`].
    pub(crate) fn first(first: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        Self::start(move |number, mut peer| {
            if number == 0 && peer.request().is_some() {
                peer.send(first.as_ref());
            }
            peer.answer(OK);
        })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.acceptor.addr()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr())
    }

    /// The number of accepted connections.
    pub(crate) fn connections(&self) -> usize {
        self.acceptor.accepted()
    }

    /// The number of requests read.
    pub(crate) fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// The number of connections that the scripts hold now.
    pub(crate) fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// The highest number of connections open at once.
    pub(crate) fn peak(&self) -> usize {
        self.shared.peak.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn admit(&self, number: usize, stream: TcpStream, script: Arc<Script>) {
        stream.set_nodelay(true).unwrap();
        let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
        self.peak.fetch_max(open, Ordering::SeqCst);
        let open = Open(Arc::clone(&self.open));
        let stream = Arc::new(stream);
        let weak = Arc::downgrade(&stream);
        let peer = Peer::new(stream, Arc::clone(&self.requests));
        let line = thread::spawn(move || {
            let _open = open;
            script(number, peer);
        });
        self.lines.lock().unwrap().push((weak, line));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.acceptor.stop();
        for (stream, line) in self.shared.lines.lock().unwrap().drain(..) {
            if let Some(stream) = stream.upgrade() {
                let _ = stream.shutdown(Shutdown::Both);
            }
            let ended = line.join();
            assert!(ended.is_ok() || thread::panicking(), "a script panicked");
        }
    }
}
