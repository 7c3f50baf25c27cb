//! A reply that comes after its reader timed out. A connection whose exchange did not finish must never serve
//! the next caller. The tests show the effect without that rule, and two ways to keep it.

#[allow(dead_code, reason = "a part of it is used")]
use crate::bridge;
use crate::common;
use crate::network;
use crate::support;

use bridge::{ask, next_reply};
use common::{SOON, eventually, ms};
use conpool::{
    ConbusError, ConbusSocketManager, ConnectionManager, EvictReason, Pool, PooledConnection,
};
use network::{DEVICE, Fixture, bridge, found_dead, manager, pool, read};
use std::{
    io,
    net::TcpStream,
    ops::{Deref, DerefMut},
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};
use support::{
    client::ClientError,
    proxy::{Direction::Downstream, Proxy, Toxic},
};

/// Holds replies back until the proxy is healed.
const HELD: Toxic = Toxic::Latency {
    delay: Duration::MAX,
    jitter: Duration::ZERO,
};
const OLD: i32 = 111;
const NEW: i32 = 222;

/// Sends a request and times out; the reply, which says `OLD`, is still on its way.
fn give_up(fixture: &Fixture, conn: &mut TcpStream) {
    assert!(fixture.bridge.set_temperature(DEVICE, OLD));
    let before = fixture.bridge.counters().requests;
    fixture.proxy.add(Downstream, HELD);
    let error = read(conn, ms(30)).unwrap_err();
    assert!(
        matches!(error, ClientError::TimedOut(_)) && error.is_broken(),
        "{error}"
    );
    // The device has answered before it becomes warmer.
    let answered = |seen: &support::emulator::Counters| seen.requests > before;
    assert!(fixture.bridge.wait_for(answered, SOON));
    assert!(fixture.bridge.set_temperature(DEVICE, NEW));
}

#[test]
fn a_late_reply_that_came_before_the_next_checkout_is_drained_even_without_a_discard() {
    let fixture = Fixture::open("ns-before", 1);
    let mut conn = fixture.pool.get_timeout(SOON).unwrap();
    give_up(&fixture, &mut conn);
    let id = PooledConnection::info(&conn).id;
    let socket_copy = conn.try_clone().unwrap();
    drop(conn);
    fixture.proxy.heal();
    eventually(|| socket_copy.peek(&mut [0]).is_ok());
    drop(socket_copy);
    let mut conn = fixture.pool.get_timeout(SOON).unwrap();
    assert_eq!(PooledConnection::info(&conn).id, id);
    assert_eq!(read(&mut conn, SOON).unwrap(), NEW);
    drop(conn);
    fixture.finish();
}

#[test]
fn a_late_reply_that_comes_after_the_next_checkout_meets_the_next_caller_unless_discarded() {
    for (name, discards) in [("ns-kept", false), ("ns-gone", true)] {
        let fixture = Fixture::open(name, 1);
        let mut conn = fixture.pool.get_timeout(SOON).unwrap();
        give_up(&fixture, &mut conn);
        if discards {
            PooledConnection::discard(conn);
        } else {
            drop(conn);
        }
        // The reply has not arrived yet, so no probe can reject the old connection.
        let mut conn = fixture.pool.get_timeout(SOON).unwrap();
        ask(&mut conn, DEVICE);
        fixture.proxy.heal();
        let reply = next_reply(&mut conn);
        // Serial number and datapoint are the requested ones: a client that matches replies to requests is
        // deceived too.
        let expected = if discards { "+22,2§C" } else { "+11,1§C" };
        assert_eq!((reply.serial, reply.datapoint()), (DEVICE, Some(18)));
        assert_eq!(reply.value(), expected, "{name}");
        let stats = fixture.pool.stats();
        let seen = (stats.evicted(EvictReason::Discarded), found_dead(&stats));
        assert_eq!(seen, (u64::from(discards), 0), "{name}");
        // The next user would read the reply that is left unread here.
        PooledConnection::discard(conn);
        fixture.finish();
    }
}

#[test]
fn a_panic_in_the_middle_of_an_exchange_needs_no_discard() {
    let fixture = Fixture::open("ns-panic", 1);
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let mut conn = fixture.pool.get_timeout(SOON).unwrap();
        give_up(&fixture, &mut conn);
        panic!("in the middle of an exchange");
    }));
    assert!(caught.is_err());
    assert_eq!(fixture.pool.stats().evicted(EvictReason::Panicked), 1);
    let mut conn = fixture.pool.get_timeout(SOON).unwrap();
    ask(&mut conn, DEVICE);
    fixture.proxy.heal();
    assert_eq!(next_reply(&mut conn).value(), "+22,2§C");
    drop(conn);
    fixture.finish();
}

/// A stream that knows whether an exchange is unfinished.
struct TrackedStream {
    stream: TcpStream,
    in_exchange: bool,
}

impl TrackedStream {
    /// Marks the exchange as unfinished from the request until the reply was understood. An early return by
    /// `?`, a timeout and a panic all leave it unfinished.
    fn exchange<T, E>(
        &mut self,
        exchange: impl FnOnce(&mut TcpStream) -> Result<T, E>,
    ) -> Result<T, E> {
        self.in_exchange = true;
        let answer = exchange(&mut self.stream)?;
        self.in_exchange = false;
        Ok(answer)
    }
}

impl Deref for TrackedStream {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        &self.stream
    }
}

impl DerefMut for TrackedStream {
    fn deref_mut(&mut self) -> &mut TcpStream {
        &mut self.stream
    }
}

/// The manager of the tracked streams: a connection with an unfinished exchange is broken.
struct TrackingManager(ConbusSocketManager);

impl ConnectionManager for TrackingManager {
    type Connection = TrackedStream;
    type Error = ConbusError;

    fn create(&self) -> Result<TrackedStream, ConbusError> {
        let stream = self.0.create()?;
        Ok(TrackedStream {
            stream,
            in_exchange: false,
        })
    }

    fn check_aliveness(&self, tracked: &mut TrackedStream) -> Result<(), ConbusError> {
        self.0.check_aliveness(&mut tracked.stream)
    }

    fn dispose(&self, tracked: TrackedStream) {
        self.0.dispose(tracked.stream);
    }

    fn has_broken(&self, tracked: &mut TrackedStream) -> bool {
        tracked.in_exchange
    }

    fn on_checkout(&self, tracked: &mut TrackedStream) -> Result<(), ConbusError> {
        self.0.on_checkout(&mut tracked.stream)
    }

    fn on_checkin(&self, tracked: &mut TrackedStream) -> Result<(), ConbusError> {
        self.0.on_checkin(&mut tracked.stream)
    }

    fn is_transient(&self, error: &ConbusError) -> bool {
        self.0.is_transient(error)
    }

    fn check_may_block(&self) -> bool {
        self.0.check_may_block()
    }
}

/// A user who never discards: every error returns by `?`.
fn temperature(pool: &Pool<TrackingManager>, patience: Duration) -> Result<i32, ClientError> {
    let mut tracked = pool
        .get_timeout(SOON)
        .map_err(|error| io::Error::other(error.to_string()))?;
    let tenths = tracked.exchange(|stream| read(stream, patience))?;
    Ok(tenths)
}

#[test]
fn a_connection_that_knows_its_exchange_is_not_finished_goes_without_anybody_asking() {
    let bridge = bridge().start().unwrap();
    let proxy = Proxy::start(bridge.addr()).unwrap();
    let pool = Pool::builder()
        .name("ns-talk")
        .max_size(1)
        .build(TrackingManager(manager(&proxy).build()))
        .unwrap();
    assert!(bridge.set_temperature(DEVICE, OLD));
    for round in 1..=3 {
        proxy.add(Downstream, HELD);
        let late = temperature(&pool, ms(30)).unwrap_err();
        assert!(matches!(late, ClientError::TimedOut(_)), "{late}");
        assert_eq!(pool.stats().evicted(EvictReason::Broken), round);
        assert!(bridge.wait_for(|seen| seen.requests >= 2 * round - 1, SOON));
        assert!(bridge.set_temperature(DEVICE, NEW));

        // Evicted before the reply comes, so a client that does not match replies is safe too.
        let mut tracked = pool.get_timeout(SOON).unwrap();
        let first = tracked.exchange(|stream| {
            ask(stream, DEVICE);
            proxy.heal();
            Ok::<_, ClientError>(next_reply(stream))
        });
        assert_eq!(first.unwrap().value(), "+22,2§C");
        drop(tracked);
        assert!(bridge.set_temperature(DEVICE, OLD));
    }
    // A connection whose exchange finished goes back.
    let stats = pool.stats();
    assert_eq!((stats.created, stats.idle), (4, 1), "{stats}");
    pool.close_timeout(SOON).unwrap();
    assert_eq!(pool.stats().disposed, 4);
}

/// A guard for one exchange: the connection goes back only if the exchange finished.
struct Exchange(Option<network::Guard>);

impl Exchange {
    fn begin(pool: &Pool<ConbusSocketManager>) -> Self {
        Self(Some(pool.get_timeout(SOON).expect("a connection")))
    }

    fn conn(&mut self) -> &mut TcpStream {
        self.0.as_mut().expect("bug: used after its end")
    }

    fn finish(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(unfinished) = self.0.take() {
            PooledConnection::discard(unfinished);
        }
    }
}

#[test]
fn a_guard_for_one_exchange_does_the_same_around_the_manager_of_the_box() {
    let fixture = Fixture::with(bridge(), pool("ns-guard", 1), |manager| manager);
    let ask_patiently = |patience: Duration| {
        let mut exchange = Exchange::begin(&fixture.pool);
        let tenths = read(exchange.conn(), patience)?;
        exchange.finish();
        Ok::<_, ClientError>(tenths)
    };
    assert!(fixture.bridge.set_temperature(DEVICE, OLD));
    fixture.proxy.add(Downstream, HELD);
    let late = ask_patiently(ms(30)).unwrap_err();
    assert!(matches!(late, ClientError::TimedOut(_)), "{late}");
    assert_eq!(fixture.pool.stats().evicted(EvictReason::Discarded), 1);
    assert!(fixture.bridge.set_temperature(DEVICE, NEW));
    fixture.proxy.heal();
    assert_eq!(ask_patiently(SOON).unwrap(), NEW);
    assert_eq!(ask_patiently(SOON).unwrap(), NEW);
    let stats = fixture.pool.stats();
    assert_eq!((stats.created, stats.idle), (2, 1), "{stats}");
    fixture.finish();
}
