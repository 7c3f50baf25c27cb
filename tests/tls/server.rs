//! A server that makes the handshake and hands its end of each connection to the test.

use crate::common::{SOON, acceptor::Acceptor};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use socket2::SockRef;
use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};

/// The server's end of one connection.
pub(crate) struct Peer(pub(crate) StreamOwned<ServerConnection, TcpStream>);

impl Peer {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
        self.0.flush().unwrap();
    }

    /// Sends the close notification, and leaves TCP open.
    pub(crate) fn notify(&mut self) {
        self.0.conn.send_close_notify();
        self.0.flush().unwrap();
    }

    /// Closes TCP in the middle of the session.
    pub(crate) fn cut(self) {
        drop(self.0.sock);
    }

    pub(crate) fn reset(self) {
        SockRef::from(&self.0.sock)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }

    /// Writes unencrypted bytes.
    pub(crate) fn push_raw(&mut self, bytes: &[u8]) {
        self.0.sock.write_all(bytes).unwrap();
    }

    /// How the other side ended: true with a close notification, false without.
    pub(crate) fn farewell(mut self) -> bool {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => false,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Ends, with its thread, when it is dropped.
pub(crate) struct Server {
    /// The connections of an echo server, which end with it.
    open: Arc<Mutex<Vec<TcpStream>>>,
    peers: Receiver<Peer>,
    acceptor: Acceptor,
}

impl Server {
    /// Makes the handshake of one connection after the other. The test plays the server from then on.
    pub(crate) fn start(config: Arc<ServerConfig>) -> Self {
        let (give, peers) = channel();
        Self::listen("127.0.0.1:0", peers, Arc::default(), move |stream| {
            if let Ok(peer) = handshake(stream, &config) {
                let _ = give.send(peer);
            }
        })
    }

    /// Echoes everything, each connection on a thread of its own.
    pub(crate) fn echo(address: &str, config: Arc<ServerConfig>) -> Self {
        let (_, peers) = channel();
        let open: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let opened = Arc::clone(&open);
        Self::listen(address, peers, open, move |stream| {
            let config = config.clone();
            opened.lock().unwrap().push(stream.try_clone().unwrap());
            thread::spawn(move || {
                let Ok(mut peer) = handshake(stream, &config) else {
                    return;
                };
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = peer.0.read(&mut buffer) {
                    if peer.0.write_all(&buffer[..count]).is_err() {
                        return;
                    }
                }
            });
        })
    }

    /// Ends all connections abruptly.
    pub(crate) fn kill(self) {
        for stream in self.open.lock().unwrap().iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Runs `each` on each TCP connection, before any handshake.
    pub(crate) fn raw(each: impl Fn(TcpStream) + Send + 'static) -> Self {
        let (_, peers): (Sender<Peer>, _) = channel();
        Self::listen("127.0.0.1:0", peers, Arc::default(), each)
    }

    fn listen(
        address: &str,
        peers: Receiver<Peer>,
        open: Arc<Mutex<Vec<TcpStream>>>,
        each: impl Fn(TcpStream) + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let acceptor = Acceptor::on(listener, move |_, stream| each(stream));
        Self {
            open,
            peers,
            acceptor,
        }
    }

    pub(crate) fn address(&self) -> String {
        self.acceptor.addr().to_string()
    }

    pub(crate) fn accepted(&self) -> usize {
        self.acceptor.accepted()
    }

    /// The server's end of the next connection.
    #[track_caller]
    pub(crate) fn peer(&self) -> Peer {
        self.peers.recv_timeout(SOON).expect("a connection")
    }
}

fn handshake(stream: TcpStream, config: &Arc<ServerConfig>) -> io::Result<Peer> {
    stream.set_read_timeout(Some(SOON))?;
    stream.set_nodelay(true)?;
    let session = ServerConnection::new(config.clone()).map_err(io::Error::other)?;
    let mut peer = StreamOwned::new(session, stream);
    while peer.conn.is_handshaking() || peer.conn.wants_write() {
        peer.conn.complete_io(&mut peer.sock)?;
    }
    Ok(Peer(peer))
}
