//! The client's side of a TCP connection: connect, and a probe that does not wait.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// The timeout of a connect and of an answer.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    // While the server is down, the system may assign the client the very port that it calls, and the client
    // connects to itself.
    if stream.local_addr()? == address {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Fails when the peer has closed, or has sent something unasked.
pub(crate) fn must_be_quiet(stream: &TcpStream) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let seen = stream.peek(&mut [0]);
    stream.set_nonblocking(false)?;
    match seen {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error),
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(_) => Err(protocol_error("bytes that nobody asked for")),
    }
}

/// The peer broke the protocol.
pub(crate) fn protocol_error(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
