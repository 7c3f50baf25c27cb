//! Connects to the first reachable address, within one timeout.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use super::{ConbusError, builder::Settings};
#[cfg(target_os = "linux")]
use crate::managers::deadline::whole_millis;
use crate::managers::{
    deadline::{Deadline, now, round_up},
    socket::{Refused, set_limit, set_timeouts},
};

/// Tries the addresses in order and returns the first connection.
///
/// A name is resolved just before it is tried, so that a dead resolver for the last name does not delay the
/// first.
pub(super) fn open(settings: &Settings) -> Result<TcpStream, ConbusError> {
    let deadline = Deadline::after(settings.connect_timeout);
    let mut attempts = Vec::new();
    let count = settings.addresses.len();
    for (number, address) in settings.addresses.iter().enumerate() {
        let peers = match resolve(settings, address) {
            Ok(peers) => peers,
            Err(error) => {
                attempts.push(error);
                continue;
            }
        };
        // The share is computed after resolving, so that a slow resolver shortens all later steps alike.
        let share = deadline.share(count - number);
        for (tried, peer) in peers.iter().enumerate() {
            let limit = share.share(peers.len() - tried).left();
            if limit.is_zero() {
                attempts.push(ConbusError::OutOfTime {
                    address: address.clone(),
                    budget: settings.connect_timeout,
                });
                break;
            }
            match connect(settings, address, *peer, limit) {
                Ok(stream) => return Ok(stream),
                Err(error) => attempts.push(error),
            }
        }
        if deadline.is_over() {
            break;
        }
    }
    Err(if attempts.len() == 1 {
        attempts.remove(0)
    } else {
        ConbusError::AllFailed { attempts }
    })
}

/// Returns the peers of `address` that the local address, if one is set, can reach. Never empty.
fn resolve(settings: &Settings, address: &str) -> Result<Vec<SocketAddr>, ConbusError> {
    let failed = |source| ConbusError::Resolve {
        address: address.to_owned(),
        source,
    };
    let mut peers: Vec<SocketAddr> = address.to_socket_addrs().map_err(failed)?.collect();
    if peers.is_empty() {
        return Err(failed(io::ErrorKind::NotFound.into()));
    }
    if let Some(text) = &settings.bind {
        let unusable = |source| ConbusError::Bind {
            bind: text.clone(),
            address: address.to_owned(),
            source,
        };
        let local = parse_local(text).map_err(unusable)?;
        peers.retain(|peer| peer.is_ipv4() == local.is_ipv4());
        if peers.is_empty() {
            return Err(unusable(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the peer has no address of the same family",
            )));
        }
    }
    Ok(peers)
}

fn parse_local(text: &str) -> io::Result<SocketAddr> {
    text.parse::<SocketAddr>()
        .or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 0)))
        .map_err(|_| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "neither an IP address nor one with a port",
            )
        })
}

/// Makes one attempt on a new socket, because the state of a socket is undefined after a failed connect.
fn connect(
    settings: &Settings,
    address: &str,
    peer: SocketAddr,
    limit: Duration,
) -> Result<TcpStream, ConbusError> {
    let started = now();
    let socket = Socket::new(Domain::for_address(peer), Type::STREAM, Some(Protocol::TCP))
        .map_err(|source| ConbusError::Open { peer, source })?;
    configure(&socket, settings).map_err(|(option, source)| ConbusError::Configure {
        option,
        peer,
        source,
    })?;
    if let Some(text) = &settings.bind {
        bind(&socket, text).map_err(|source| ConbusError::Bind {
            bind: text.clone(),
            address: address.to_owned(),
            source,
        })?;
    }
    socket
        .connect_timeout(&peer.into(), limit)
        .and_then(|()| refuse_self_connect(&socket, peer))
        .map_err(|source| ConbusError::Connect {
            address: address.to_owned(),
            peer,
            after: now().saturating_duration_since(started),
            source,
        })?;
    Ok(socket.into())
}

fn configure(socket: &Socket, settings: &Settings) -> Result<(), Refused> {
    (socket.set_tcp_nodelay(settings.nodelay)).map_err(|error| ("nodelay", error))?;
    set_limit("keepalive", settings.keepalive, |idle| {
        let keepalive = TcpKeepalive::new().with_time(whole_seconds(idle));
        socket.set_tcp_keepalive(&with_probe_interval(keepalive, settings.user_timeout))
    })?;
    set_limit("user_timeout", settings.user_timeout, |timeout| {
        set_user_timeout(socket, timeout)
    })?;
    set_timeouts(socket, settings.read_timeout, settings.write_timeout)
}

/// Rounds up to whole seconds. Linux accepts 1 to 32767.
fn whole_seconds(value: Duration) -> Duration {
    Duration::from_secs(round_up(value, Duration::from_secs(1)).clamp(1, 32_767))
}

/// Sets the interval of repeated probes. Linux checks the user timeout only when it sends a probe, by default
/// every 75 s.
#[cfg(target_os = "linux")]
fn with_probe_interval(keepalive: TcpKeepalive, user_timeout: Option<Duration>) -> TcpKeepalive {
    match user_timeout {
        Some(limit) => keepalive.with_interval(whole_seconds(limit)),
        None => keepalive,
    }
}

#[cfg(not(target_os = "linux"))]
fn with_probe_interval(keepalive: TcpKeepalive, _: Option<Duration>) -> TcpKeepalive {
    keepalive
}

#[cfg(target_os = "linux")]
fn set_user_timeout(socket: &Socket, timeout: Duration) -> io::Result<()> {
    socket.set_tcp_user_timeout(Some(whole_millis(timeout)))
}

#[cfg(not(target_os = "linux"))]
#[allow(
    clippy::unnecessary_wraps,
    reason = "has the signature of its Linux twin"
)]
fn set_user_timeout(_: &Socket, _: Duration) -> io::Result<()> {
    Ok(())
}

fn bind(socket: &Socket, text: &str) -> io::Result<()> {
    let local = parse_local(text)?;
    // Without the option, a fixed port stays in use for a minute after each connection. Windows gives the
    // option another meaning: two sockets share a port.
    #[cfg(unix)]
    if local.port() != 0 {
        socket.set_reuse_address(true)?;
    }
    socket.bind(&local.into())
}

/// Treats a self-connection as refused. A connect to a free local port of the ephemeral range can reach its
/// own socket, if the system picks that port as the source. No server listens on the port, and none can start
/// there while such a socket lives.
fn refuse_self_connect(socket: &Socket, peer: SocketAddr) -> io::Result<()> {
    if socket.local_addr()?.as_socket() == Some(peer) {
        // A linger of zero frees the port at once; otherwise it stays in use for a minute.
        socket.set_linger(Some(Duration::ZERO))?;
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_address_is_an_address_with_or_without_a_port() {
        assert_eq!(parse_local("127.0.0.1").unwrap().port(), 0);
        assert_eq!(parse_local("[::1]:7").unwrap().port(), 7);
        assert!(parse_local("::1").unwrap().is_ipv6());
        assert!(parse_local("eth0").is_err());
    }
}
