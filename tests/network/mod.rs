//! What the network tests share: a bridge, a proxy before it and a pool of connections through both.

#![allow(
    dead_code,
    reason = "every test file uses its own part of these helpers"
)]

use crate::{
    bridge::sockets_to,
    common::{self, SOON, eventually, ms, noise, threads, timed},
    support::{
        client::{self, ClientError},
        emulator::{Emulator, EmulatorBuilder},
        proxy::Proxy,
    },
};
use conpool::{
    Cause, ConbusError, ConbusSocketManager, ConbusSocketManagerBuilder, EvictReason, GetError,
    Pool, PoolBuilder, PoolStats, PooledConnection, Timeout,
};
use std::{io::ErrorKind, net::TcpStream, time::Duration};

pub(crate) type Guard = PooledConnection<ConbusSocketManager>;

/// A pool's way to a bridge. What a test does to it is over when it calls [`Site::leave`].
pub(crate) struct Site {
    pub(crate) bridge: Emulator,
    pub(crate) proxy: Proxy,
    pub(crate) pool: Pool<ConbusSocketManager>,
}

/// A bridge that answers only who asked, so that several connections can be told apart.
pub(crate) fn bridge() -> EmulatorBuilder {
    Emulator::builder().broadcast(false)
}

/// Quick retries, and nothing opened before it is needed.
pub(crate) fn pool(name: &str, size: usize) -> PoolBuilder<ConbusSocketManager> {
    // From here on it is measured.
    noise();
    Pool::builder()
        .name(name)
        .max_size(size)
        .backoff(common::quick_backoff())
}

/// The manager for what listens at this proxy.
pub(crate) fn manager(proxy: &Proxy) -> ConbusSocketManagerBuilder {
    // Long enough for a loaded machine, short enough for a peer that never answers.
    ConbusSocketManager::builder(proxy.addr().to_string()).close_wait(ms(150))
}

impl Site {
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
        let site = Self {
            bridge,
            proxy,
            pool,
        };
        drop(site.everybody());
        site
    }

    /// Every connection that the pool may have, held at the same time and each proven by a read.
    #[track_caller]
    pub(crate) fn everybody(&self) -> Vec<Guard> {
        let size = self.pool.config().max_size;
        let mut held = Vec::new();
        let mut broken = 0;
        while held.len() < size {
            let mut line = self.pool.get_timeout(SOON).expect("a connection");
            match read(&mut line, SOON) {
                Ok(_) => held.push(line),
                // What the pool could not know costs its user a read.
                Err(ClientError::Io(_) | ClientError::Closed) if broken < size => {
                    broken += 1;
                    PooledConnection::discard(line);
                }
                Err(error) => panic!("{error}, {}", self.pool.stats()),
            }
        }
        let stats = self.pool.stats();
        assert_eq!((stats.in_use, stats.size), (size, size), "{stats}");
        held
    }

    /// Nobody who takes a connection now finds it dead.
    #[track_caller]
    pub(crate) fn nobody_meets_a_dead_one(&self) {
        let mut lines = common::take(&self.pool, self.pool.config().max_size);
        for line in &mut lines {
            assert_eq!(read(line, SOON).unwrap(), MILD);
        }
    }

    /// The fault is over: the pool is as big as ever, and when it is closed nothing is left of it.
    pub(crate) fn leave(self) {
        self.proxy.heal();
        self.proxy.up().unwrap();
        drop(self.everybody());
        self.pool.close_timeout(SOON).unwrap();
        let stats = self.pool.stats();
        assert_eq!(stats.created, stats.disposed, "{stats}");
        assert_eq!(stats.size + stats.disposing + stats.abandoned, 0, "{stats}");
        assert_eq!(stats.panics, 0, "{stats}");
        assert_eq!(sockets_to(self.proxy.addr()), 0, "{stats}");
        let name = format!("{}-", self.pool.name());
        eventually(|| threads(&name) == 0);
        assert!(self.proxy.wait_for(|seen| seen.open == 0, SOON));
        assert!(self.bridge.wait_for(|seen| seen.open == 0, SOON));
    }
}

/// The device that all tests ask.
pub(crate) const DEVICE: u64 = 1_302_410_003;

/// Its temperature, in tenths of a degree.
pub(crate) fn read(line: &mut TcpStream, patience: Duration) -> Result<i32, ClientError> {
    client::read_temperature(line, DEVICE, patience).map(|celsius| (celsius * 10.0).round() as i32)
}

/// How many connections were found dead at a checkout: by the probe where it was due, else by the
/// look that every checkout takes.
pub(crate) fn found_dead(stats: &PoolStats) -> u64 {
    stats.evicted(EvictReason::CheckFailed) + stats.evicted(EvictReason::HookFailed)
}

/// What a device says that was never told otherwise.
pub(crate) const MILD: i32 = 235;

/// The details of a timeout.
#[track_caller]
pub(crate) fn timeout(error: &GetError<ConbusError>) -> &Timeout<ConbusError> {
    match error {
        GetError::TimedOut(timeout) => timeout,
        other => panic!("{other}"),
    }
}

/// How much too early a read timeout of the system may be, which counts in ticks of its own.
pub(crate) const TICK: Duration = ms(10);

/// Asserts that `took` lies between `least` and `least` plus what a busy machine adds. The thread that
/// measures this may be the last to wake from a stall, so it gets a moment.
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

/// Calls `get` until a caller is told a cause; each waits for its deadline and not longer. On a loaded
/// machine a short one can pass before the first connect has failed.
#[track_caller]
pub(crate) fn told(pool: &Pool<ConbusSocketManager>, deadline: Duration) -> GetError<ConbusError> {
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

/// How the last connect failed that this caller knows of.
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

/// Waits until the other end of what this is a copy of has ended.
pub(crate) fn sees_the_end(witness: &TcpStream) {
    witness.set_read_timeout(Some(SOON)).unwrap();
    match witness.peek(&mut [0]) {
        Ok(0) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("no end: {other:?}"),
    }
}

/// Copies of the sockets that are lent out.
pub(crate) fn copies(lines: &[Guard]) -> Vec<TcpStream> {
    lines.iter().map(|line| line.try_clone().unwrap()).collect()
}
