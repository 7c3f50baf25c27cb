//! The log of a pool under failures: the cause once, then a count.

mod common;
mod keyed;
#[path = "common/log_lines.rs"]
mod log_lines;

use common::{SOON, close_clean, eventually, ms, now, quick, quick_backoff, secs, spawn};
use conpool::{ConnectionManager, Hook, MemoryManager, Pool};
use keyed::{Backends, close_all, quick_keyed};
use log_lines::{Line, Lines};
use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use tracing::Level;

fn number(line: &Line, field: &str) -> u64 {
    let text = line.fields.get(field);
    text.map_or(0, |text| text.parse().unwrap())
}

/// The only line of this pool with this message.
#[track_caller]
fn only(lines: &Lines, pool: &str, message: &str) -> Line {
    let with_message = lines.with_message(pool, message);
    assert_eq!(with_message.len(), 1, "{message}: {:#?}", lines.of(pool));
    with_message[0].clone()
}

/// Has an empty message, like the errors of some drivers.
#[derive(Debug)]
struct DbError(std::io::Error);

impl fmt::Display for DbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("db error")
    }
}

impl Error for DbError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

/// A manager whose hooks fail on demand.
#[derive(Clone, Default)]
struct Driver(Arc<Faults>);

#[derive(Default)]
struct Faults {
    create: AtomicBool,
    check: AtomicBool,
    broken: AtomicBool,
    checkin: AtomicBool,
    checkout: AtomicBool,
}

impl ConnectionManager for Driver {
    type Connection = ();
    type Error = DbError;

    fn create(&self) -> Result<(), DbError> {
        fail_once(&self.0.create, "connection refused")
    }
    fn check_aliveness(&self, (): &mut ()) -> Result<(), DbError> {
        fail_once(&self.0.check, "connection reset")
    }
    fn has_broken(&self, (): &mut ()) -> bool {
        self.0.broken.swap(false, SeqCst)
    }
    fn on_checkin(&self, (): &mut ()) -> Result<(), DbError> {
        fail_once(&self.0.checkin, "transaction open")
    }
    fn on_checkout(&self, (): &mut ()) -> Result<(), DbError> {
        fail_once(&self.0.checkout, "out of date")
    }
}

fn fail_once(fails: &AtomicBool, cause: &str) -> Result<(), DbError> {
    match fails.swap(false, SeqCst) {
        true => Err(DbError(std::io::Error::other(cause.to_owned()))),
        false => Ok(()),
    }
}

#[test]
fn each_kind_of_failure_is_a_warning_with_the_causes_of_its_error() {
    let lines = Lines::global(Level::INFO);
    let driver = Driver::default();
    let pool = Pool::builder().name("causes").max_size(1);
    let pool = pool.backoff(quick_backoff()).build(driver.clone()).unwrap();
    let warned = |message: &str| {
        let line = only(&lines, "causes", message);
        assert_eq!(line.level, Level::WARN);
        line.fields
    };

    driver.0.check.store(true, SeqCst);
    let _ = pool.check_health();
    let fields = warned("check failed");
    assert_eq!(fields["error"], "db error: connection reset");
    assert_eq!(fields["id"], "1");
    assert!(!fields.contains_key("more"), "{fields:?}");

    driver.0.broken.store(true, SeqCst);
    drop(pool.get().unwrap());
    assert_eq!(warned("connection came back broken")["id"], "2");

    driver.0.create.store(true, SeqCst);
    assert!(pool.get().is_err());
    let fields = warned("create failed");
    assert_eq!(fields["error"], "db error: connection refused");
    assert_eq!(fields["transient"], "false");
    let (_, text) = pool.stats().last_error.unwrap();
    assert_eq!(text, "db error: connection refused");

    driver.0.checkin.store(true, SeqCst);
    drop(pool.get_timeout(SOON).unwrap());
    let fields = warned("hook failed");
    assert_eq!(fields["error"], "db error: transaction open");
    assert_eq!(fields["hook"], "on_checkin");

    // The second one within a second.
    drop(pool.get_timeout(SOON).unwrap());
    driver.0.checkout.store(true, SeqCst);
    drop(pool.get_timeout(SOON).unwrap());
    pool.close_timeout(SOON).unwrap();
    assert_eq!(only(&lines, "causes", "hooks failed").fields["count"], "1");

    let health = lines.with_message("causes", "health changed");
    let changes = health
        .iter()
        .map(|line| (line.level, line.fields["to"].as_str()));
    let (worse, better) = ((Level::WARN, "degraded"), (Level::INFO, "healthy"));
    let expected = [worse, better, worse, better];
    assert!(
        changes.clone().eq(expected),
        "{:?}",
        changes.collect::<Vec<_>>()
    );
}

/// The number of failures in these lines: one for each single line, plus the counts.
fn accounted(single: &[Line], counts: &[Line]) -> u64 {
    let more = single.iter().map(|line| 1 + number(line, "more"));
    more.sum::<u64>() + counts.iter().map(|line| number(line, "count")).sum::<u64>()
}

#[test]
fn four_hundred_callers_that_time_out_in_a_second_are_two_lines() {
    let lines = Lines::global(Level::INFO);
    let backend = MemoryManager::new();
    let pool = quick("many").max_size(1).build(backend.clone()).unwrap();
    let held = pool.get().unwrap();
    let start = now();
    let callers: Vec<_> = (0..400)
        .map(|_| {
            let pool = pool.clone();
            spawn(move || pool.get_timeout(ms(5)).map(drop).unwrap_err())
        })
        .collect();
    for caller in callers {
        assert!(caller.join_soon().is_timeout());
    }
    let of = |message| lines.with_message("many", message);
    let single = || of("no connection in time");
    let counts = || of("callers got no connection in time");
    eventually(|| accounted(&single(), &counts()) == 400);
    let written = single().len() + counts().len();
    let most = 2 + start.elapsed().as_secs() as usize;
    assert!((2..=most).contains(&written), "{written} lines");
    drop(held);
    close_clean(&pool, &backend);
}

#[test]
fn a_long_outage_is_a_line_a_second() {
    let lines = Lines::global(Level::INFO);
    let backend = MemoryManager::new();
    backend.fail_transient(Hook::Create, u64::MAX);
    let pool = quick("outage").build_lazy(backend.clone()).unwrap();
    let start = now();
    while start.elapsed() < secs(3) {
        let _ = pool.get_timeout(ms(50));
    }
    let failed = || pool.stats().create_errors;
    let of = |message| lines.with_message("outage", message);
    eventually(|| accounted(&of("create failed"), &of("creates failed")) == failed());
    let written = of("create failed").len() + of("creates failed").len();
    let most = 2 + start.elapsed().as_secs() as usize;
    assert!((3..=most).contains(&written), "{written} lines");
    assert!(failed() > 20, "{} creates", failed());
    let counts = of("creates failed");
    assert!(counts[0].fields["error"].contains("create"), "{counts:?}");
    close_clean(&pool, &backend);
}

#[test]
fn without_a_collector_the_next_failure_or_the_end_of_the_pool_tells_the_count() {
    let lines = Lines::global(Level::INFO);
    let backend = MemoryManager::new();
    let pool = quick("inlinelog").background_collector(false).max_size(1);
    let pool = pool.build(backend.clone()).unwrap();
    let held = pool.get().unwrap();
    let fail = |n| (0..n).for_each(|_| assert!(pool.get_timeout(ms(0)).is_err()));
    let of = |message| lines.with_message("inlinelog", message);
    fail(5);
    std::thread::sleep(ms(1001));
    fail(3);
    let single = of("no connection in time");
    let more: Vec<_> = single.iter().map(|line| number(line, "more")).collect();
    assert_eq!(more, [0, 4], "{single:?}");
    drop(held);
    close_clean(&pool, &backend);
    assert_eq!(
        number(&of("callers got no connection in time")[0], "count"),
        2
    );
}

#[test]
fn all_keys_are_limited_together() {
    let lines = Lines::global(Level::INFO);
    let backends = Backends::new();
    let pool = backends.build(quick_keyed("tenants").max_total(100));
    for key in 0..50 {
        backends.of(key).fail(Hook::Create, 1);
        assert!(pool.get(&key).is_err());
    }
    let of = |message| lines.with_message("tenants", message);
    eventually(|| accounted(&of("create failed"), &of("creates failed")) == 50);
    assert!(of("create failed").len() <= 3, "{:?}", of("create failed"));
    close_all(&pool, &backends);
}

/// Its errors ask their pool for statistics when they are formatted, and then panic.
struct CallsPool;

static POOL: OnceLock<Pool<CallsPool>> = OnceLock::new();
static WRITTEN: AtomicUsize = AtomicUsize::new(0);

#[derive(Debug)]
struct CallsPoolError;

impl fmt::Display for CallsPoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("curious")?;
        if let Some(pool) = POOL.get() {
            let _ = (pool.stats(), pool.health(), pool.config());
            WRITTEN.fetch_add(1, SeqCst);
        }
        panic!("in Display");
    }
}

impl Error for CallsPoolError {}

impl ConnectionManager for CallsPool {
    type Connection = ();
    type Error = CallsPoolError;

    fn create(&self) -> Result<(), CallsPoolError> {
        Ok(())
    }
    fn check_aliveness(&self, (): &mut ()) -> Result<(), CallsPoolError> {
        Err(CallsPoolError)
    }
    fn on_checkin(&self, (): &mut ()) -> Result<(), CallsPoolError> {
        Err(CallsPoolError)
    }
}

#[test]
fn an_error_is_written_under_no_lock_and_may_panic() {
    let lines = Lines::global(Level::INFO);
    let pool = POOL.get_or_init(|| Pool::builder().name("curious").build(CallsPool).unwrap());
    let work = spawn(|| {
        let pool = POOL.get().unwrap();
        let _ = pool.check_health();
        drop(pool.get_timeout(SOON).unwrap());
        drop(pool.get_timeout(SOON).unwrap());
    });
    work.join_soon();
    assert!(WRITTEN.load(SeqCst) >= 3);
    for message in ["check failed", "hook failed"] {
        let line = lines.with_message("curious", message);
        assert_eq!(line[0].fields["error"], "curious(its Display panicked)");
    }
    assert_eq!(pool.stats().panics, 0, "none of a hook");
    pool.close_timeout(SOON).unwrap();
}
