//! The port of the proxy: open, closed, or a black hole that leaves connects unanswered. It stays the same
//! port.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use socket2::{Domain, Socket, Type};

use super::{
    super::sockets::{bind_again, end_accept, fill_queue},
    shared::Shared,
};

#[derive(Debug)]
pub(super) enum Port {
    Open {
        listener: TcpListener,
        acceptor: JoinHandle<()>,
    },
    /// Bound, but not listening: connects are refused.
    Closed(Socket),
    /// Listening with a full queue: connects are not answered.
    BlackHole {
        listener: Socket,
        queue: Vec<Socket>,
    },
}

impl Port {
    /// Binds the port of `address`, any free one for port 0.
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = bind_again(|| {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
            // Links of an earlier opening may still hold the port.
            #[cfg(unix)]
            socket.set_reuse_address(true)?;
            socket.bind(&address.into()).map(|()| socket)
        })?;
        Ok(Self::Closed(socket))
    }

    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Open { listener, .. } => listener.local_addr(),
            Self::Closed(socket)
            | Self::BlackHole {
                listener: socket, ..
            } => socket
                .local_addr()?
                .as_socket()
                .ok_or_else(|| io::ErrorKind::AddrNotAvailable.into()),
        }
    }

    /// Closes the port from any state.
    pub(super) fn close(self, shared: &Shared) -> io::Result<Self> {
        let address = self.address()?;
        match self {
            Self::Open { listener, acceptor } => {
                shared.set_closed(true);
                end_accept(&listener, address);
                assert!(
                    acceptor.join().is_ok() || thread::panicking(),
                    "the acceptor of the proxy panicked"
                );
            }
            Self::Closed(socket) => return Ok(Self::Closed(socket)),
            Self::BlackHole { .. } => {}
        }
        Self::bind(address)
    }

    /// Accepts clients, on a thread of its own.
    pub(super) fn open(self, shared: &Arc<Shared>) -> io::Result<Self> {
        let (socket, mut fillers) = match self {
            Self::Open { .. } => return Ok(self),
            Self::Closed(socket) => {
                socket.listen(128)?;
                (socket, Vec::new())
            }
            Self::BlackHole { listener, queue } => {
                // The filling connections are still in the queue, although their sockets close here.
                let fillers = queue
                    .iter()
                    .filter_map(|socket| socket.local_addr().ok()?.as_socket())
                    .collect();
                listener.listen(128)?;
                (listener, fillers)
            }
        };
        let listener = TcpListener::from(socket);
        let accepting = listener.try_clone()?;
        shared.set_closed(false);
        let shared = Arc::clone(shared);
        let acceptor = thread::Builder::new()
            .name("proxy-accept".into())
            .spawn(move || accept(&accepting, &shared, &mut fillers))?;
        Ok(Self::Open { listener, acceptor })
    }

    /// Fills the queue of a closed port.
    pub(super) fn black_hole(self) -> io::Result<Self> {
        let address = self.address()?;
        let Self::Closed(listener) = self else {
            return Ok(self);
        };
        listener.listen(0)?;
        let queue = fill_queue(address)?;
        Ok(Self::BlackHole { listener, queue })
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>, fillers: &mut Vec<SocketAddr>) {
    while !shared.is_closed() {
        match listener.accept() {
            Ok((_, peer)) if fillers.contains(&peer) => fillers.retain(|other| *other != peer),
            Ok((client, _)) => shared.serve_client(client),
            // Out of descriptors, or a client that left the queue: an immediate retry helps in neither case.
            Err(_) if !shared.is_closed() => thread::sleep(Duration::from_millis(5)),
            Err(_) => {}
        }
    }
}
