//! Eight threads on the pool of one cell, its recovery, and its end.

use super::{
    cell::{Cell, Fault, HOOK_TIMEOUT, MAX_ABANDONED, MAX_SIZE},
    gauge::{delay_since, widened},
    manager::{Failed, Faulty, Line},
};
use crate::common::{Dice, SOON, eventually, ms, now, spawn, threads};
use conpool::{EvictReason, GetError, Pool, PoolStats, PooledConnection};
use std::{
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::{Duration, Instant},
};

const USERS: usize = 8;

/// How often each of them comes before the faults end.
const ROUNDS: usize = 5;

/// What came of a cell.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) complaints: Vec<String>,
    pub(crate) served: u64,
    pub(crate) abandoned: usize,
    /// What on a busy machine alone proves nothing: a late get, which can meet several threads in turn
    /// that were held up; a slow recovery or close, for which many threads take turns; a hook that the
    /// book takes for quick and the pool has given up on, because the thread that came out of it was held
    /// up longer than the gauge.
    pub(crate) doubt: Option<String>,
}

impl Verdict {
    fn must(&mut self, holds: bool, complaint: impl FnOnce() -> String) {
        if !holds {
            self.complaints.push(complaint());
        }
    }

    /// No bound is promised here: what takes long once is a doubt.
    fn prompt(&mut self, what: &str, took: Duration, start: Instant) {
        self.doubt((took > widened(PROMPT, start)).then(|| format!("{what} in {took:?}")));
    }

    /// The first doubt counts.
    fn doubt(&mut self, doubt: Option<String>) {
        self.doubt = self.doubt.take().or(doubt);
    }
}

/// How late a get may come back on a quiet machine.
const GRACE: Duration = ms(50);

/// How long what has no promised bound may take on a quiet machine: to serve everybody in line after
/// the faults, to open what is missing, to close.
const PROMPT: Duration = ms(250);

enum Report {
    Hammered,
    Over(Tally),
}

/// What one user saw.
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
    dice: Dice,
    tally: Tally,
}

impl User {
    fn run(mut self, reports: &Sender<Report>) {
        for _ in 0..ROUNDS {
            let timeout = ms([0, 5, 20, 50][self.roll(4)]);
            if let Some(guard) = self.get(timeout) {
                self.hold(guard);
            }
            let stats = self.pool.stats();
            self.tally.complaints.extend(audit(&stats));
        }
        // Nobody listens any more when this cell has failed.
        let _heard = reports.send(Report::Hammered);
        self.outlast();
        let _heard = reports.send(Report::Over(self.tally));
    }

    fn roll(&mut self, sides: u64) -> usize {
        usize::try_from(self.dice.roll(sides)).unwrap()
    }

    fn complain(&mut self, complaint: String) {
        self.tally.complaints.push(complaint);
    }

    fn get(&mut self, timeout: Duration) -> Option<PooledConnection<Faulty>> {
        self.tally.gets += 1;
        let until = self.roll(2) == 0;
        let start = now();
        let got = match until {
            true => self.pool.get_deadline(start + timeout),
            false => self.pool.get_timeout(timeout),
        };
        let took = start.elapsed();
        self.tally.latest = self.tally.latest.max(took.saturating_sub(timeout));
        match got {
            Ok(guard) => {
                self.tally.served += 1;
                if guard.is_condemned() {
                    self.complain("got a connection that a hook had turned down".to_owned());
                }
                Some(guard)
            }
            Err(error) => {
                self.judge(&error, timeout, took);
                None
            }
        }
    }

    /// Only errors that this cell's faults explain.
    fn judge(&mut self, error: &GetError<Failed>, timeout: Duration, took: Duration) {
        let explained = match &error {
            GetError::TimedOut(_) => {
                self.tally.timeouts += 1;
                took >= timeout
            }
            GetError::Create { error, .. } => {
                !error.transient && self.cell.birth_meets(Fault::Error)
            }
            GetError::Panicked { .. } => self.cell.birth_meets(Fault::Panic),
            _ => false,
        };
        if !explained {
            self.complain(format!("{error:?} after {took:?} of {timeout:?}"));
        }
    }

    fn hold(&mut self, guard: PooledConnection<Faulty>) {
        match self.roll(8) {
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

    /// Waits in line while the faults end, and must be served then.
    fn outlast(&mut self) {
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

/// What must be true of the numbers at any instant.
fn audit(stats: &PoolStats) -> Option<String> {
    let here = stats.idle + stats.in_use + stats.disposing;
    let most = (here + stats.abandoned) as u64;
    let open = (stats.created + stats.added).checked_sub(stats.disposed + stats.detached);
    let complaint = if stats.size != stats.idle + stats.in_use + stats.creating {
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
    Some(format!("{complaint}: {stats:?}"))
}

/// Asks again and again, for a while.
fn comes_true(mut condition: impl FnMut() -> bool) -> bool {
    let start = now();
    while !condition() {
        if start.elapsed() > SOON {
            return false;
        }
        thread::sleep(ms(1));
    }
    true
}

/// Plays a cell from the first connection of its pool to the last. `name` is the pool's, and no other
/// thread's name begins like this.
pub(crate) fn play(cell: Cell, name: &str, mut dice: Dice) -> (Verdict, Faulty) {
    let begun = now();
    let mut verdict = Verdict::default();
    let manager = Faulty::new(cell, Dice::new(dice.roll(u64::MAX)));
    let builder = cell.builder(name, &mut dice);
    let pool = builder.build_lazy(manager.clone()).expect("a lazy pool");
    let (sender, reports) = channel();
    for _ in 0..USERS {
        let user = User {
            cell,
            pool: pool.clone(),
            manager: manager.clone(),
            dice: Dice::new(dice.roll(u64::MAX)),
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
        verdict.must(comes_true(left), || "threads are left".to_owned());
    } else {
        verdict.complaints.push(format!("wedged: {}", pool.stats()));
    }
    // Else a quick hook may have been given up on as well.
    let steady = delay_since(begun) < HOOK_TIMEOUT / 3;
    manager.read(|book| {
        verdict.complaints.extend(book.complaint());
        verdict.doubt(book.crowd().filter(|_| steady));
    });
    (verdict, manager)
}

/// The faults, and their end under load. None: somebody never came back.
fn hammer(
    verdict: &mut Verdict,
    pool: &Pool<Faulty>,
    manager: &Faulty,
    reports: &Receiver<Report>,
) -> Option<Tally> {
    let patient = SOON * 3;
    for _ in 0..USERS {
        let Ok(Report::Hammered) = reports.recv_timeout(patient) else {
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

/// The same pool, at full capacity.
fn recover(verdict: &mut Verdict, pool: &Pool<Faulty>, manager: &Faulty, seen: &mut Tally) {
    let quiet = manager.falls_quiet(SOON);
    verdict.must(quiet, || "hooks run on after the faults".to_owned());
    // The last create may have failed and its thread may not have told yet. A caller that comes before
    // it does would get that for an answer.
    eventually(|| pool.stats().creating == 0);
    let start = now();
    let held: Vec<PooledConnection<Faulty>> = (0..MAX_SIZE)
        .filter_map(|number| {
            let got = pool.get_timeout(SOON);
            let got = got.map_err(|error| format!("no connection {number} afterwards: {error}"));
            got.map_err(|complaint| verdict.complaints.push(complaint))
                .ok()
        })
        .collect();
    verdict.prompt("was at full capacity", start.elapsed(), start);
    let sound = |line: &&Line| !line.is_condemned();
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
        gone && stats.in_use == MAX_SIZE && manager.read(|book| book.len()) == MAX_SIZE
    };
    verdict.must(comes_true(settled), || {
        let there = manager.read(|book| book.len());
        format!("{there} connections at full capacity: {:?}", pool.stats())
    });
}

/// Closed: nothing is left, and everybody has counted the same.
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
    manager.read(|book| {
        let counted = [
            ("left", (stats.size + stats.disposing) as u64, 0),
            ("abandoned", stats.abandoned as u64, 0),
            ("open", book.len() as u64, 0),
            ("created", stats.created, book.created),
            ("disposed", stats.disposed, stats.created),
            ("disposed there", book.disposed, book.created),
            ("evicted", evicted, stats.created),
            ("panics", stats.panics, book.panics),
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
