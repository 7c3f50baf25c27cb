//! The client's side of a TCP connection: opened, and looked at without waiting.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// How long a server may take to let somebody in, or to answer.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    // With nobody listening, the system may lend the client the very port that it calls, and the
    // client meets itself.
    if stream.local_addr()? == address {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// An error when the peer has hung up, or says something that nobody asked for.
pub(crate) fn must_be_quiet(stream: &TcpStream) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let seen = stream.peek(&mut [0]);
    stream.set_nonblocking(false)?;
    match seen {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error),
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(_) => Err(nonsense("bytes that nobody asked for")),
    }
}

/// The peer broke the protocol.
pub(crate) fn nonsense(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
