//! Sockets and ports in states that tests need.

use std::{
    io::{self, ErrorKind, Write},
    mem::MaybeUninit,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
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
        let queue = fill_queue(address_of(&listener))?;
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

/// Connects to a listener until its queue is full.
pub fn fill_queue(address: SocketAddr) -> io::Result<Vec<Socket>> {
    let mut queue = Vec::new();
    loop {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        let limit = Duration::from_millis(60);
        if socket.connect_timeout(&address.into(), limit).is_err() {
            return Ok(queue);
        }
        queue.push(socket);
        assert!(queue.len() < 64, "the queue does not fill");
    }
}

/// Repeats a bind while another process's outgoing connection holds the port, which lasts a moment.
pub fn bind_again<T>(mut bind: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 0..100 {
        match bind() {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                thread::sleep(Duration::from_millis(10));
            }
            other => return other,
        }
    }
    bind()
}

/// Ends an accept of another thread. On Linux a shutdown wakes it; elsewhere a last connect does.
pub fn end_accept(listener: &TcpListener, address: SocketAddr) {
    if SockRef::from(listener).shutdown(Shutdown::Both).is_err() {
        let _ = TcpStream::connect_timeout(&address, Duration::from_millis(100));
    }
}

/// Lets a write to a peer that does not read return soon, for [`write_until`].
pub fn limit_writes(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(Duration::from_millis(20)))
}

/// Writes all bytes, unless `is_over` holds while the peer does not read.
pub fn write_until(
    mut stream: &TcpStream,
    mut bytes: &[u8],
    is_over: impl Fn() -> bool,
) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => {}
                ErrorKind::WouldBlock | ErrorKind::TimedOut if !is_over() => {}
                _ => return Err(error),
            },
        }
    }
    Ok(())
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

/// Waits until something has come: data or an end. Leaves it unread.
pub fn arrives(socket: &TcpStream) {
    let patience = Some(Duration::from_secs(20));
    socket.set_read_timeout(patience).expect("an open socket");
    // A reset is an error, and has come too.
    let _ = socket.peek(&mut [0]);
}

/// Sends bytes and waits until `to` has them.
pub fn deliver<'a>(mut from: impl Write, to: impl Into<SockRef<'a>>, bytes: &[u8]) {
    from.write_all(bytes).expect("a peer that listens");
    let to = to.into();
    let mut seen = vec![MaybeUninit::uninit(); bytes.len()];
    while to.peek(&mut seen).expect("an open connection") < bytes.len() {
        thread::yield_now();
    }
}
