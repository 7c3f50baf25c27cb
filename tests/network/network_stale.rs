//! A reply that comes after its reader gave up. A connection whose exchange did not finish must never
//! serve the next caller; here is what happens without that rule, and two ways to keep it.

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
use network::{DEVICE, Site, bridge, found_dead, manager, pool, read};
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

/// Replies stay on their way until the line is healed.
const HELD: Toxic = Toxic::Latency {
    delay: Duration::MAX,
    jitter: Duration::ZERO,
};
const OLD: i32 = 111;
const NEW: i32 = 222;

/// Asks on a connection and gives up; the reply, which says `OLD`, is still on its way.
fn give_up(site: &Site, line: &mut TcpStream) {
    assert!(site.bridge.set_temperature(DEVICE, OLD));
    let before = site.bridge.counters().requests;
    site.proxy.add(Downstream, HELD);
    let error = read(line, ms(30)).unwrap_err();
    assert!(
        matches!(error, ClientError::TimedOut(_)) && error.is_broken(),
        "{error}"
    );
    // The device has answered before it becomes warmer.
    let answered = |seen: &support::emulator::Counters| seen.requests > before;
    assert!(site.bridge.wait_for(answered, SOON));
    assert!(site.bridge.set_temperature(DEVICE, NEW));
}

#[test]
fn a_late_reply_that_came_before_the_next_checkout_is_drained_even_without_a_discard() {
    let site = Site::open("ns-before", 1);
    let mut line = site.pool.get_timeout(SOON).unwrap();
    give_up(&site, &mut line);
    let id = PooledConnection::info(&line).id;
    let witness = line.try_clone().unwrap();
    drop(line);
    site.proxy.heal();
    eventually(|| witness.peek(&mut [0]).is_ok());
    drop(witness);
    let mut line = site.pool.get_timeout(SOON).unwrap();
    assert_eq!(PooledConnection::info(&line).id, id);
    assert_eq!(read(&mut line, SOON).unwrap(), NEW);
    drop(line);
    site.leave();
}

#[test]
fn a_late_reply_that_comes_after_the_next_checkout_meets_the_next_caller_unless_discarded() {
    for (name, discards) in [("ns-kept", false), ("ns-gone", true)] {
        let site = Site::open(name, 1);
        let mut line = site.pool.get_timeout(SOON).unwrap();
        give_up(&site, &mut line);
        if discards {
            PooledConnection::discard(line);
        } else {
            drop(line);
        }
        // Nothing has arrived yet, so no probe can object to the old connection.
        let mut line = site.pool.get_timeout(SOON).unwrap();
        ask(&mut line, DEVICE);
        site.proxy.heal();
        let reply = next_reply(&mut line);
        // Serial number and datapoint are those that were asked for: a client that matches replies
        // to requests is taken in too.
        let expected = if discards { "+22,2§C" } else { "+11,1§C" };
        assert_eq!((reply.serial, reply.datapoint()), (DEVICE, Some(18)));
        assert_eq!(reply.value(), expected, "{name}");
        let stats = site.pool.stats();
        let seen = (stats.evicted(EvictReason::Discarded), found_dead(&stats));
        assert_eq!(seen, (u64::from(discards), 0), "{name}");
        // What is not read here is the next one's late reply.
        PooledConnection::discard(line);
        site.leave();
    }
}

#[test]
fn a_panic_in_the_middle_of_an_exchange_needs_no_discard() {
    let site = Site::open("ns-panic", 1);
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let mut line = site.pool.get_timeout(SOON).unwrap();
        give_up(&site, &mut line);
        panic!("in the middle of an exchange");
    }));
    assert!(caught.is_err());
    assert_eq!(site.pool.stats().evicted(EvictReason::Panicked), 1);
    let mut line = site.pool.get_timeout(SOON).unwrap();
    ask(&mut line, DEVICE);
    site.proxy.heal();
    assert_eq!(next_reply(&mut line).value(), "+22,2§C");
    drop(line);
    site.leave();
}

/// A stream that knows whether it is in the middle of an exchange.
struct Talk {
    stream: TcpStream,
    in_exchange: bool,
}

impl Talk {
    /// Out of step from the request on, and in step again only when the reply was understood. A `?`
    /// of the caller, a timeout and a panic all leave it out of step.
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

impl Deref for Talk {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        &self.stream
    }
}

impl DerefMut for Talk {
    fn deref_mut(&mut self) -> &mut TcpStream {
        &mut self.stream
    }
}

/// The manager of the box, and the rule: what is in the middle of an exchange is broken.
struct InStep(ConbusSocketManager);

impl ConnectionManager for InStep {
    type Connection = Talk;
    type Error = ConbusError;

    fn create(&self) -> Result<Talk, ConbusError> {
        let stream = self.0.create()?;
        Ok(Talk {
            stream,
            in_exchange: false,
        })
    }

    fn check_aliveness(&self, talk: &mut Talk) -> Result<(), ConbusError> {
        self.0.check_aliveness(&mut talk.stream)
    }

    fn dispose(&self, talk: Talk) {
        self.0.dispose(talk.stream);
    }

    fn has_broken(&self, talk: &mut Talk) -> bool {
        talk.in_exchange
    }

    fn on_checkout(&self, talk: &mut Talk) -> Result<(), ConbusError> {
        self.0.on_checkout(&mut talk.stream)
    }

    fn on_checkin(&self, talk: &mut Talk) -> Result<(), ConbusError> {
        self.0.on_checkin(&mut talk.stream)
    }

    fn is_transient(&self, error: &ConbusError) -> bool {
        self.0.is_transient(error)
    }

    fn check_may_block(&self) -> bool {
        self.0.check_may_block()
    }
}

/// A user who never heard of discard: every error leaves by a question mark.
fn temperature(pool: &Pool<InStep>, patience: Duration) -> Result<i32, ClientError> {
    let mut talk = pool
        .get_timeout(SOON)
        .map_err(|error| io::Error::other(error.to_string()))?;
    let tenths = talk.exchange(|stream| read(stream, patience))?;
    Ok(tenths)
}

#[test]
fn a_connection_that_knows_its_exchange_is_not_finished_goes_without_anybody_asking() {
    let bridge = bridge().start().unwrap();
    let proxy = Proxy::start(bridge.addr()).unwrap();
    let pool = Pool::builder()
        .name("ns-talk")
        .max_size(1)
        .build(InStep(manager(&proxy).build()))
        .unwrap();
    assert!(bridge.set_temperature(DEVICE, OLD));
    for round in 1..=3 {
        proxy.add(Downstream, HELD);
        let late = temperature(&pool, ms(30)).unwrap_err();
        assert!(matches!(late, ClientError::TimedOut(_)), "{late}");
        assert_eq!(pool.stats().evicted(EvictReason::Broken), round);
        assert!(bridge.wait_for(|seen| seen.requests >= 2 * round - 1, SOON));
        assert!(bridge.set_temperature(DEVICE, NEW));

        // Out of the pool before the reply comes, and the same for whoever trusts what comes first.
        let mut talk = pool.get_timeout(SOON).unwrap();
        let first = talk.exchange(|stream| {
            ask(stream, DEVICE);
            proxy.heal();
            Ok::<_, ClientError>(next_reply(stream))
        });
        assert_eq!(first.unwrap().value(), "+22,2§C");
        drop(talk);
        assert!(bridge.set_temperature(DEVICE, OLD));
    }
    // A finished exchange goes back.
    let stats = pool.stats();
    assert_eq!((stats.created, stats.idle), (4, 1), "{stats}");
    pool.close_timeout(SOON).unwrap();
    assert_eq!(pool.stats().disposed, 4);
}

/// A guard for one exchange: whatever way it ends, the connection goes back only if it finished.
struct Exchange(Option<network::Guard>);

impl Exchange {
    fn begin(pool: &Pool<ConbusSocketManager>) -> Self {
        Self(Some(pool.get_timeout(SOON).expect("a connection")))
    }

    fn line(&mut self) -> &mut TcpStream {
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
    let site = Site::with(bridge(), pool("ns-guard", 1), |manager| manager);
    let ask_patiently = |patience: Duration| {
        let mut exchange = Exchange::begin(&site.pool);
        let tenths = read(exchange.line(), patience)?;
        exchange.finish();
        Ok::<_, ClientError>(tenths)
    };
    assert!(site.bridge.set_temperature(DEVICE, OLD));
    site.proxy.add(Downstream, HELD);
    let late = ask_patiently(ms(30)).unwrap_err();
    assert!(matches!(late, ClientError::TimedOut(_)), "{late}");
    assert_eq!(site.pool.stats().evicted(EvictReason::Discarded), 1);
    assert!(site.bridge.set_temperature(DEVICE, NEW));
    site.proxy.heal();
    assert_eq!(ask_patiently(SOON).unwrap(), NEW);
    assert_eq!(ask_patiently(SOON).unwrap(), NEW);
    let stats = site.pool.stats();
    assert_eq!((stats.created, stats.idle), (2, 1), "{stats}");
    site.leave();
}
