//! The port of the proxy: open, shut, or a hole in which connects vanish. It stays the same port.

use std::{
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use socket2::{Domain, SockRef, Socket, Type};

use super::shared::Shared;

/// How long a connect may take that finds room in the queue.
const KNOCK: Duration = Duration::from_millis(60);

#[derive(Debug)]
pub(super) enum Door {
    Open {
        listener: TcpListener,
        acceptor: JoinHandle<()>,
    },
    /// Holds the port, but does not listen: connects are refused.
    Shut(Socket),
    /// Listens with a full queue that nobody empties: connects are not answered.
    Hole {
        listener: Socket,
        queue: Vec<Socket>,
    },
}

impl Door {
    /// Takes the port of `address`, any free one for port 0.
    pub(super) fn shut(address: SocketAddr) -> io::Result<Self> {
        let mut tries = 0;
        loop {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
            // Links of an earlier opening may still sit on the port.
            #[cfg(unix)]
            socket.set_reuse_address(true)?;
            match socket.bind(&address.into()) {
                // An outgoing connection of somebody else can sit on the port for a moment.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < 100 => {
                    tries += 1;
                    thread::sleep(Duration::from_millis(10));
                }
                other => return other.map(|()| Self::Shut(socket)),
            }
        }
    }

    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Open { listener, .. } => listener.local_addr(),
            Self::Shut(socket)
            | Self::Hole {
                listener: socket, ..
            } => socket
                .local_addr()?
                .as_socket()
                .ok_or_else(|| io::ErrorKind::AddrNotAvailable.into()),
        }
    }

    /// Shuts it, whatever it was.
    pub(super) fn close(self, shared: &Shared) -> io::Result<Self> {
        let address = self.address()?;
        match self {
            Self::Open { listener, acceptor } => {
                shared.set_shut(true);
                // Linux wakes the accept by this; elsewhere a last visitor does.
                if SockRef::from(&listener).shutdown(Shutdown::Both).is_err() {
                    let _ = TcpStream::connect_timeout(&address, Duration::from_millis(100));
                }
                assert!(
                    acceptor.join().is_ok() || thread::panicking(),
                    "the acceptor of the proxy panicked"
                );
            }
            Self::Shut(socket) => return Ok(Self::Shut(socket)),
            Self::Hole { .. } => {}
        }
        Self::shut(address)
    }

    /// Lets clients in, on a thread of its own.
    pub(super) fn open(self, shared: &Arc<Shared>) -> io::Result<Self> {
        let (socket, mut strangers) = match self {
            Self::Open { .. } => return Ok(self),
            Self::Shut(socket) => {
                socket.listen(128)?;
                (socket, Vec::new())
            }
            Self::Hole { listener, queue } => {
                // Those that fill the queue are still in it, though their sockets close here.
                let strangers = queue
                    .iter()
                    .filter_map(|socket| socket.local_addr().ok()?.as_socket())
                    .collect();
                listener.listen(128)?;
                (listener, strangers)
            }
        };
        let listener = TcpListener::from(socket);
        let accepting = listener.try_clone()?;
        shared.set_shut(false);
        let shared = Arc::clone(shared);
        let acceptor = thread::Builder::new()
            .name("proxy-accept".into())
            .spawn(move || accept(&accepting, &shared, &mut strangers))?;
        Ok(Self::Open { listener, acceptor })
    }

    /// Fills the queue of a shut door.
    pub(super) fn dig(self) -> io::Result<Self> {
        let address = self.address()?;
        let Self::Shut(listener) = self else {
            return Ok(self);
        };
        listener.listen(0)?;
        let mut queue = Vec::new();
        loop {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
            if socket.connect_timeout(&address.into(), KNOCK).is_err() {
                return Ok(Self::Hole { listener, queue });
            }
            queue.push(socket);
            assert!(queue.len() < 64, "the queue does not fill");
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>, strangers: &mut Vec<SocketAddr>) {
    while !shared.is_shut() {
        match listener.accept() {
            Ok((_, peer)) if strangers.contains(&peer) => strangers.retain(|other| *other != peer),
            Ok((client, _)) => shared.admit(client),
            // Out of descriptors, or a client that left the queue: neither is solved by haste.
            Err(_) if !shared.is_shut() => thread::sleep(Duration::from_millis(5)),
            Err(_) => {}
        }
    }
}
