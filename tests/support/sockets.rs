//! Ports without a working server.

use std::{
    io::{self, Write},
    mem::MaybeUninit,
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use socket2::{Domain, SockRef, Socket, Type};

/// A port that refuses connects. It is bound as long as this lives.
#[derive(Debug)]
pub struct ClosedPort(Socket);

impl ClosedPort {
    /// Takes a free port of 127.0.0.1.
    pub fn new() -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        Ok(Self(socket))
    }

    /// Where a connect is refused.
    pub fn addr(&self) -> SocketAddr {
        address_of(&self.0)
    }
}

/// A port that answers no connect at all: a listener with a full queue.
#[derive(Debug)]
pub struct BlackHole {
    listener: Socket,
    _queue: Vec<Socket>,
}

impl BlackHole {
    /// Binds a free port of 127.0.0.1 and fills its queue.
    pub fn new() -> io::Result<Self> {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        listener.listen(0)?;
        let mut queue = Vec::new();
        loop {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            let peer = address_of(&listener).into();
            if socket
                .connect_timeout(&peer, Duration::from_millis(60))
                .is_err()
            {
                break;
            }
            queue.push(socket);
            assert!(queue.len() < 64, "the queue does not fill");
        }
        Ok(Self {
            listener,
            _queue: queue,
        })
    }

    /// Where a connect hangs.
    pub fn addr(&self) -> SocketAddr {
        address_of(&self.listener)
    }
}

fn address_of(socket: &Socket) -> SocketAddr {
    socket
        .local_addr()
        .ok()
        .and_then(|address| address.as_socket())
        .expect("a bound socket has an address")
}

/// A listener on a free port; the test accepts the clients.
pub fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a free port")
}

/// Ends a connection with a reset.
pub fn reset(stream: TcpStream) {
    SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .expect("a socket takes a linger time");
    drop(stream);
}

/// Sends bytes and waits until `to` has them.
pub fn deliver<'a>(mut from: impl Write, to: impl Into<SockRef<'a>>, bytes: &[u8]) {
    from.write_all(bytes).expect("a peer that listens");
    let to = to.into();
    let mut seen = vec![MaybeUninit::uninit(); bytes.len()];
    while to.peek(&mut seen).expect("an open connection") < bytes.len() {
        std::thread::yield_now();
    }
}
