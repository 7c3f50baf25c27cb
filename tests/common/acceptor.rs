//! Accepts the connections of a test's server.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread::{self, JoinHandle},
};

/// Runs a function on each connection, on a thread of its own that ends when this is dropped.
pub(crate) struct Acceptor {
    addr: SocketAddr,
    accepted: Arc<AtomicUsize>,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Acceptor {
    /// Listens on a free port of 127.0.0.1.
    pub(crate) fn start(each: impl Fn(usize, TcpStream) + Send + 'static) -> Self {
        Self::on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(), each)
    }

    /// `each` gets every connection with its number, from 0.
    pub(crate) fn on(
        listener: TcpListener,
        each: impl Fn(usize, TcpStream) + Send + 'static,
    ) -> Self {
        let addr = listener.local_addr().unwrap();
        let (accepted, stopped) = <(Arc<AtomicUsize>, Arc<AtomicBool>)>::default();
        let (count, stop) = (Arc::clone(&accepted), Arc::clone(&stopped));
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(SeqCst) {
                    return;
                }
                if let Ok(stream) = stream {
                    each(count.fetch_add(1, SeqCst), stream);
                }
            }
        });
        Self {
            addr,
            accepted,
            stopped,
            thread: Some(thread),
        }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The number of accepted connections.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(SeqCst)
    }

    /// Closes the port. The thread has ended when this returns.
    pub(crate) fn stop(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        self.stopped.store(true, SeqCst);
        // Wakes the thread from its accept.
        let _ = TcpStream::connect(self.addr);
        let _ = thread.join();
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.stop();
    }
}
