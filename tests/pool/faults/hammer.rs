//! Eight threads on the pool of one cell, its recovery, and its end.

use super::{
    cell::{Cell, Fault, HOOK_TIMEOUT, MAX_ABANDONED, MAX_SIZE},
    gauge::{delay_since, widened},
    manager::{Conn, Failed, Faulty},
};
use crate::common::executor::{ByHand, block_on};
use crate::common::{Rng, SOON, eventually, ms, now, spawn, threads};
use conpool::{EvictReason, GetError, Pool, PoolStats, PooledConnection};
use std::{
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::{Duration, Instant},
};

const USERS: usize = 8;

/// The number of occurrences of each fault before the faults end.
const ROUNDS: usize = 5;

/// The result of a cell.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) complaints: Vec<String>,
    pub(crate) served: u64,
    pub(crate) abandoned: usize,
    /// A result that proves nothing on a busy machine: a late get, which can meet several delayed threads in
    /// turn; a slow recovery or close, which needs many threads; a hook that the tracker counts as fast and
    /// the pool has abandoned, because its thread was delayed longer than the gauge's.
    pub(crate) doubt: Option<String>,
}

impl Verdict {
    fn must(&mut self, holds: bool, violation: impl FnOnce() -> String) {
        if !holds {
            self.complaints.push(violation());
        }
    }

    /// Records a doubt if this took too long. There is no promised bound here, so one slow case is no
    /// failure.
    fn prompt(&mut self, what: &str, took: Duration, start: Instant) {
        self.doubt((took > widened(PROMPT, start)).then(|| format!("{what} in {took:?}")));
    }

    /// Keeps the first doubt.
    fn doubt(&mut self, doubt: Option<String>) {
        self.doubt = self.doubt.take().or(doubt);
    }
}

/// The allowed delay of a get on a quiet machine.
const GRACE: Duration = ms(50);

/// The allowed time of actions without a promised bound on a quiet machine: to serve all waiters after the
/// faults, to open missing connections, to close.
const PROMPT: Duration = ms(250);

enum Report {
    LoadEnded,
    Over(Tally),
}

/// The results of one user.
#[derive(Default)]
struct Tally {
    gets: u64,
    timeouts: u64,
    served: u64,
    latest: Duration,
    complaints: Vec<String>,
}

struct User {
    cell: Cell,
    pool: Pool<Faulty>,
    manager: Faulty,
    rng: Rng,
    tally: Tally,
}

impl User {
    fn run(mut self, reports: &Sender<Report>) {
        for _ in 0..ROUNDS {
            let timeout = ms([0, 5, 20, 50][self.below(4)]);
            if let Some(guard) = self.get(timeout) {
                self.hold(guard);
            }
            let stats = self.pool.stats();
            self.tally.complaints.extend(audit(&stats));
        }
        // The receiver is gone when this cell has failed.
        let _heard = reports.send(Report::LoadEnded);
        self.wait_through_heal();
        let _heard = reports.send(Report::Over(self.tally));
    }

    fn below(&mut self, sides: u64) -> usize {
        usize::try_from(self.rng.below(sides)).unwrap()
    }

    fn complain(&mut self, violation: String) {
        self.tally.complaints.push(violation);
    }

    fn get(&mut self, timeout: Duration) -> Option<PooledConnection<Faulty>> {
        self.tally.gets += 1;
        self.give_up();
        let way = self.below(4);
        let start = now();
        let got = match way {
            0 => self.pool.get_deadline(start + timeout),
            1 => self.pool.get_timeout(timeout),
            2 => block_on(self.pool.get_async_deadline(start + timeout)),
            _ => block_on(self.pool.get_async_timeout(timeout)),
        };
        let took = start.elapsed();
        self.tally.latest = self.tally.latest.max(took.saturating_sub(timeout));
        match got {
            Ok(mut guard) => {
                self.tally.served += 1;
                if !guard.make_dirty() {
                    self.complain("got a connection that was not reset".to_owned());
                }
                if guard.must_dispose() {
                    self.complain("got a connection that a hook had turned down".to_owned());
                }
                Some(guard)
            }
            Err(error) => {
                self.check_error(&error, timeout, took);
                None
            }
        }
    }

    /// Now and then begins a checkout as a task and drops it: before, during or after the wait.
    fn give_up(&mut self) {
        if self.below(3) > 0 {
            return;
        }
        self.tally.gets += 1;
        let mut task = ByHand::new(self.pool.get_async_timeout(ms(50)));
        let mut got = task.poll();
        if got.is_none() && self.below(2) == 0 {
            thread::yield_now();
            got = task.poll();
        }
        match got {
            Some(Ok(guard)) => {
                self.tally.served += 1;
                drop(guard);
            }
            Some(Err(error)) => {
                self.tally.timeouts += u64::from(error.is_timeout());
            }
            None => drop(task),
        }
    }

    /// Checks that this cell's faults explain the error.
    fn check_error(&mut self, error: &GetError<Failed>, timeout: Duration, took: Duration) {
        let explained = match &error {
            GetError::TimedOut(_) => {
                self.tally.timeouts += 1;
                took >= timeout
            }
            GetError::Create { error, .. } => {
                !error.transient && self.cell.create_can_fail_with(Fault::Error)
            }
            GetError::Panicked { .. } => self.cell.create_can_fail_with(Fault::Panic),
            _ => false,
        };
        if !explained {
            self.complain(format!("{error:?} after {took:?} of {timeout:?}"));
        }
    }

    fn hold(&mut self, guard: PooledConnection<Faulty>) {
        match self.below(8) {
            0..2 => PooledConnection::discard(guard),
            2..4 => {
                thread::sleep(ms(1));
                drop(guard);
            }
            _ => {
                thread::yield_now();
                drop(guard);
            }
        }
    }

    /// Waits while the faults end, and must be served then.
    fn wait_through_heal(&mut self) {
        let start = now();
        while start.elapsed() < SOON {
            if let Some(guard) = self.get(SOON) {
                self.hold(guard);
                if self.manager.is_healed() {
                    return;
                }
            }
            thread::sleep(ms(1));
        }
        self.complain("not served after the faults".to_owned());
    }
}

/// Checks the invariants of a snapshot.
fn audit(stats: &PoolStats) -> Option<String> {
    let here = stats.idle + stats.in_use + stats.disposing;
    let most = (here + stats.abandoned) as u64;
    let open = (stats.created + stats.added).checked_sub(stats.disposed + stats.detached);
    let violation = if stats.size != stats.idle + stats.in_use + stats.creating {
        "size is not idle + in_use + creating"
    } else if stats.size + stats.disposing > MAX_SIZE {
        "over the cap"
    } else if stats.abandoned > MAX_ABANDONED {
        "too many hooks abandoned"
    } else if open.is_none_or(|open| open < here as u64 || open > most) {
        "what came and has not gone is not what is there"
    } else {
        return None;
    };
    Some(format!("{violation}: {stats:?}"))
}

/// Polls the condition for a while.
fn becomes_true(mut condition: impl FnMut() -> bool) -> bool {
    let start = now();
    while !condition() {
        if start.elapsed() > SOON {
            return false;
        }
        thread::sleep(ms(1));
    }
    true
}

/// Runs a cell from the first connection of its pool to the last. `name` is the pool's, and no other thread's
/// name starts with it.
pub(crate) fn run_cell(cell: Cell, name: &str, mut rng: Rng) -> (Verdict, Faulty) {
    let begun = now();
    let mut verdict = Verdict::default();
    let manager = Faulty::new(cell, Rng::new(rng.below(u64::MAX)));
    let builder = cell.builder(name, &mut rng);
    let pool = builder.build_lazy(manager.clone()).expect("a lazy pool");
    let (sender, reports) = channel();
    for _ in 0..USERS {
        let user = User {
            cell,
            pool: pool.clone(),
            manager: manager.clone(),
            rng: Rng::new(rng.below(u64::MAX)),
            tally: Tally::default(),
        };
        let sender = sender.clone();
        drop(spawn(move || user.run(&sender)));
    }
    drop(sender);
    if let Some(mut seen) = hammer(&mut verdict, &pool, &manager, &reports) {
        verdict.doubt(
            (seen.latest > widened(GRACE, begun))
                .then(|| format!("a get came back {:?} after its deadline", seen.latest)),
        );
        verdict.must(seen.latest < SOON, || {
            format!("a get came back {:?} after its deadline", seen.latest)
        });
        recover(&mut verdict, &pool, &manager, &mut seen);
        end(&mut verdict, &pool, &manager, &seen);
        let left = || threads(name) == 0;
        verdict.must(becomes_true(left), || "threads are left".to_owned());
    } else {
        verdict.complaints.push(format!("wedged: {}", pool.stats()));
    }
    // Otherwise a fast hook may have been abandoned as well.
    let steady = delay_since(begun) < HOOK_TIMEOUT / 3;
    manager.read(|tracker| {
        verdict.complaints.extend(tracker.violation());
        verdict.doubt(tracker.over_limit().filter(|_| steady));
    });
    (verdict, manager)
}

/// Runs the faults and ends them under load. `None`: a user never returned.
fn hammer(
    verdict: &mut Verdict,
    pool: &Pool<Faulty>,
    manager: &Faulty,
    reports: &Receiver<Report>,
) -> Option<Tally> {
    let patient = SOON * 3;
    for _ in 0..USERS {
        let Ok(Report::LoadEnded) = reports.recv_timeout(patient) else {
            manager.heal();
            return None;
        };
    }
    verdict.abandoned = pool.stats().abandoned;
    let healed = now();
    manager.heal();
    let mut all = Tally::default();
    for _ in 0..USERS {
        let Ok(Report::Over(tally)) = reports.recv_timeout(patient) else {
            return None;
        };
        all.gets += tally.gets;
        all.timeouts += tally.timeouts;
        all.served += tally.served;
        all.latest = all.latest.max(tally.latest);
        verdict.complaints.extend(tally.complaints);
    }
    verdict.prompt("served all after the faults", healed.elapsed(), healed);
    verdict.served = all.served;
    Some(all)
}

/// Checks that the same pool serves at full capacity.
fn recover(verdict: &mut Verdict, pool: &Pool<Faulty>, manager: &Faulty, seen: &mut Tally) {
    let idle = manager.wait_until_idle(SOON);
    verdict.must(idle, || "hooks run on after the faults".to_owned());
    // The last create may have failed without having reported it yet. A caller that comes before the report
    // would get the error.
    eventually(|| pool.stats().creating == 0);
    let start = now();
    let held: Vec<PooledConnection<Faulty>> = (0..MAX_SIZE)
        .filter_map(|number| {
            let got = pool.get_timeout(SOON);
            let got = got.map_err(|error| format!("no connection {number} afterwards: {error}"));
            got.map_err(|violation| verdict.complaints.push(violation))
                .ok()
        })
        .collect();
    verdict.prompt("was at full capacity", start.elapsed(), start);
    let sound = |conn: &&Conn| !conn.must_dispose();
    let sound = held.iter().map(|guard| &**guard).filter(sound).count();
    verdict.must(sound == MAX_SIZE, || format!("{sound} are sound"));
    let more = pool.get_timeout(ms(1));
    verdict.must(more.is_err_and(|error| error.is_timeout()), || {
        "one more than may be".to_owned()
    });
    seen.gets += MAX_SIZE as u64 + 1;
    seen.timeouts += 1;
    let settled = || {
        let stats = pool.stats();
        let gone = stats.disposing + stats.abandoned == 0;
        gone && stats.in_use == MAX_SIZE && manager.read(|tracker| tracker.len()) == MAX_SIZE
    };
    verdict.must(becomes_true(settled), || {
        let there = manager.read(|tracker| tracker.len());
        format!("{there} connections at full capacity: {:?}", pool.stats())
    });
}

/// Closes the pool, checks that everything is released, and compares all counts.
fn end(verdict: &mut Verdict, pool: &Pool<Faulty>, manager: &Faulty, seen: &Tally) {
    let start = now();
    if let Err(left) = pool.close_timeout(SOON) {
        verdict.complaints.push(format!("not closed: {left:?}"));
        return;
    }
    verdict.prompt("closed", start.elapsed(), start);
    let stats = pool.stats();
    let evicted: u64 = EvictReason::ALL
        .iter()
        .map(|&reason| stats.evicted(reason))
        .sum();
    manager.read(|tracker| {
        let counted = [
            ("left", (stats.size + stats.disposing) as u64, 0),
            ("abandoned", stats.abandoned as u64, 0),
            ("open", tracker.len() as u64, 0),
            ("created", stats.created, tracker.created),
            ("disposed", stats.disposed, stats.created),
            ("disposed there", tracker.disposed, tracker.created),
            ("evicted", evicted, stats.created),
            ("panics", stats.panics, tracker.panics),
            ("gets", stats.gets, seen.gets),
            ("timeouts", stats.timeouts, seen.timeouts),
        ];
        for (what, is, should) in counted {
            verdict.must(is == should, || {
                format!("{what}: {is} instead of {should}: {stats:?}")
            });
        }
    });
}
