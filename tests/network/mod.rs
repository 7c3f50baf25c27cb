//! Shared by the network tests: a bridge, a proxy in front of it and a pool of connections through both.

#![allow(
    dead_code,
    reason = "every test file uses its own part of these helpers"
)]

use crate::{
    bridge::sockets_to,
    common::{self, SOON, ms, noise, timed},
    support::{
        client::{self, ClientError},
        emulator::{Emulator, EmulatorBuilder},
        proxy::Proxy,
    },
};
use conpool::{
    Cause, ConbusError, ConbusSocketManager, ConbusSocketManagerBuilder, GetError, Pool,
    PoolBuilder, PooledConnection, Timeout,
};
use std::{io::ErrorKind, net::TcpStream, time::Duration};

pub(crate) use crate::common::found_dead;

pub(crate) type Guard = PooledConnection<ConbusSocketManager>;

/// A pool, its proxy and its bridge. [`Fixture::finish`] ends the faults and checks the pool.
pub(crate) struct Fixture {
    pub(crate) bridge: Emulator,
    pub(crate) proxy: Proxy,
    pub(crate) pool: Pool<ConbusSocketManager>,
}

/// A bridge that replies only to the requesting client, so that several connections can be told apart.
pub(crate) fn bridge() -> EmulatorBuilder {
    Emulator::builder().broadcast(false)
}

/// A pool builder with quick retries and no initial connections.
pub(crate) fn pool(name: &str, size: usize) -> PoolBuilder<ConbusSocketManager> {
    // Starts the latency monitor.
    noise();
    Pool::builder()
        .name(name)
        .max_size(size)
        .backoff(common::quick_backoff())
}

/// The manager for the server behind this proxy.
pub(crate) fn manager(proxy: &Proxy) -> ConbusSocketManagerBuilder {
    // Long enough for a loaded machine, short enough for a peer that never answers.
    ConbusSocketManager::builder(proxy.addr().to_string()).close_wait(ms(150))
}

impl Fixture {
    /// A bridge without limits and a pool of `size` connections, all open.
    pub(crate) fn open(name: &str, size: usize) -> Self {
        Self::with(bridge(), pool(name, size), |manager| manager)
    }

    pub(crate) fn with(
        bridge: EmulatorBuilder,
        pool: PoolBuilder<ConbusSocketManager>,
        tune: impl FnOnce(ConbusSocketManagerBuilder) -> ConbusSocketManagerBuilder,
    ) -> Self {
        let bridge = bridge.start().unwrap();
        let proxy = Proxy::start(bridge.addr()).unwrap();
        let pool = pool.build_lazy(tune(manager(&proxy)).build()).unwrap();
        let fixture = Self {
            bridge,
            proxy,
            pool,
        };
        drop(fixture.take_and_read_all());
        fixture
    }

    /// Takes every connection that the pool may have at the same time and reads on each.
    #[track_caller]
    pub(crate) fn take_and_read_all(&self) -> Vec<Guard> {
        let size = self.pool.config().max_size;
        let mut held = Vec::new();
        let mut broken = 0;
        while held.len() < size {
            let mut conn = self.pool.get_timeout(SOON).expect("a connection");
            match read(&mut conn, SOON) {
                Ok(_) => held.push(conn),
                // A failure that the pool could not know of costs its user a read.
                Err(ClientError::Io(_) | ClientError::Closed) if broken < size => {
                    broken += 1;
                    PooledConnection::discard(conn);
                }
                Err(error) => panic!("{error}, {}", self.pool.stats()),
            }
        }
        let stats = self.pool.stats();
        assert_eq!((stats.in_use, stats.size), (size, size), "{stats}");
        held
    }

    /// Asserts that the next checkouts find no dead connection.
    #[track_caller]
    pub(crate) fn checkouts_find_no_dead_connection(&self) {
        let mut conns = common::take(&self.pool, self.pool.config().max_size);
        for conn in &mut conns {
            assert_eq!(read(conn, SOON).unwrap(), DEFAULT_TEMPERATURE);
        }
    }

    /// Ends the fault and asserts that the pool has its full size; closes it and asserts that nothing is
    /// left.
    pub(crate) fn finish(self) {
        self.proxy.heal();
        self.proxy.up().unwrap();
        drop(self.take_and_read_all());
        self.pool.close_timeout(SOON).unwrap();
        let stats = self.pool.stats();
        common::left_nothing(&stats, self.pool.name());
        assert_eq!(sockets_to(self.proxy.addr()), 0, "{stats}");
        assert!(self.proxy.wait_for(|seen| seen.open == 0, SOON));
        assert!(self.bridge.wait_for(|seen| seen.open == 0, SOON));
    }
}

/// The device of all tests.
pub(crate) const DEVICE: u64 = 1_302_410_003;

/// Reads the device's temperature, in tenths of a degree.
pub(crate) fn read(conn: &mut TcpStream, patience: Duration) -> Result<i32, ClientError> {
    client::read_temperature(conn, DEVICE, patience).map(|celsius| (celsius * 10.0).round() as i32)
}

/// The default temperature of a device, in tenths of a degree.
pub(crate) const DEFAULT_TEMPERATURE: i32 = 235;

/// Returns the details of a timeout error.
#[track_caller]
pub(crate) fn timeout(error: &GetError<ConbusError>) -> &Timeout<ConbusError> {
    match error {
        GetError::TimedOut(timeout) => timeout,
        other => panic!("{other}"),
    }
}

/// The system rounds read timeouts to its ticks, so a timeout may end this much early.
pub(crate) const TICK: Duration = ms(10);

/// Asserts that `took` lies between `least` and `least` plus noise. The latency monitor may be the last
/// thread to wake from a stall, so it gets a moment.
#[track_caller]
pub(crate) fn assert_at(took: Duration, least: Duration) {
    assert!(took >= least, "gave up after {took:?}, before {least:?}");
    if took > least + noise() {
        std::thread::sleep(ms(50));
    }
    assert!(
        took <= least + noise() + ms(200),
        "took {took:?} instead of {least:?}"
    );
}

/// Calls `get` until a caller gets a cause; each waits exactly until its deadline. On a loaded machine a
/// short deadline can pass before the first connect has failed.
#[track_caller]
pub(crate) fn timeout_with_cause(
    pool: &Pool<ConbusSocketManager>,
    deadline: Duration,
) -> GetError<ConbusError> {
    for _ in 0..50 {
        let (got, took) = timed(|| pool.get_timeout(deadline));
        let error = got.unwrap_err();
        assert_at(took, deadline);
        if timeout(&error).last.is_some() {
            return error;
        }
    }
    panic!("nobody is told: {}", pool.stats());
}

/// The error of the last connect that this caller knows of.
#[track_caller]
pub(crate) fn connect_error(error: &GetError<ConbusError>) -> ErrorKind {
    match timeout(error).last.as_ref() {
        Some(Cause::Create(cause)) => match &**cause {
            ConbusError::Connect { source, .. } => source.kind(),
            other => panic!("{other}"),
        },
        other => panic!("{error}: {other:?}"),
    }
}

/// Waits until the peer of the copied socket has closed.
pub(crate) fn wait_for_end(socket_copy: &TcpStream) {
    socket_copy.set_read_timeout(Some(SOON)).unwrap();
    match socket_copy.peek(&mut [0]) {
        Ok(0) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("no end: {other:?}"),
    }
}

/// Copies of the sockets of the checked-out connections.
pub(crate) fn copies(conns: &[Guard]) -> Vec<TcpStream> {
    conns.iter().map(|conn| conn.try_clone().unwrap()).collect()
}
