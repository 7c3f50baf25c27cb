//! The promises, one line each: held or broken.

use crate::{CONNECTIONS, NOTES, Run, SOON, service::Service, table::Short, tally::Phase};
use conpool::{Pool, PoolStats, SqliteManager, StillInUse};
use std::{
    process::ExitCode,
    sync::atomic::Ordering::Relaxed,
    thread,
    time::{Duration, Instant},
};

/// One for each connection, and four more. A thread that has given its connection back ends its job while the next one
/// starts; on a machine with more to do than cores that may happen for each connection at once.
const MOST_THREADS: usize = 2 * CONNECTIONS + 4;

#[derive(Default)]
pub(crate) struct Verdict {
    broken: u32,
}

impl Verdict {
    fn must(&mut self, held: bool, promise: impl AsRef<str>) {
        let word = if held { "held  " } else { "BROKEN" };
        println!("{word}  {}", promise.as_ref());
        self.broken += u32::from(!held);
    }

    pub(crate) fn print(&self) -> ExitCode {
        match self.broken {
            0 => {
                println!("\nevery promise held");
                ExitCode::SUCCESS
            }
            broken => {
                println!("\n{broken} promises broke");
                ExitCode::FAILURE
            }
        }
    }

    pub(crate) fn on_requests(&mut self, run: &Run, service: &Service) {
        let tally = &run.tally;
        let (requests, lost) = (tally.requests(), tally.lost);
        let first = tally.first_lost.as_deref();
        self.must(
            lost == 0 && requests >= run.clients as u64,
            match first {
                None => format!("{requests} requests: each was answered or cancelled"),
                Some(first) => format!("{lost} of {requests} requests had no answer: {first}"),
            },
        );
        let handlers = &service.handlers;
        let [begun, answered, dropped] = [&handlers.begun, &handlers.answered, &handlers.dropped]
            .map(|counter| counter.load(Relaxed));
        self.must(
            begun == answered + dropped && dropped > 0,
            format!("{begun} handlers: {answered} answered, {dropped} were dropped, none is left"),
        );
    }

    pub(crate) fn on_outage(&mut self, run: &Run) {
        let tally = &run.tally;
        let failed = tally.failed.get("no database").copied().unwrap_or(0);
        self.must(
            failed > 0 && tally.phases[Phase::Before as usize].answered > 0,
            format!("the folder was missed: {failed} requests failed for want of a database"),
        );
        self.must(
            run.answered_after.is_some() && tally.phases[Phase::Back as usize].answered > 0,
            match run.answered_after {
                Some(after) => {
                    format!("an answer again {} after the folder was back", Short(after))
                }
                None => format!("no answer within {} after the folder was back", Short(SOON)),
            },
        );
    }

    pub(crate) fn on_notes(&mut self, run: &Run, notes: i64) {
        let (written, maybe) = (run.tally.written, run.tally.maybe_written);
        let least = NOTES as u64 + written;
        self.must(
            (least..=least + maybe).contains(&(notes as u64)),
            format!(
                "{notes} notes: {NOTES} from the start, {written} written, and of {maybe} writes whose client hung \
                 up what had begun"
            ),
        );
    }

    pub(crate) fn on_threads(&mut self, threads: Option<usize>) {
        let most = MOST_THREADS;
        match threads {
            Some(threads) => self.must(
                threads <= most,
                format!("{threads} threads at the peak beside the runtime's (at most {most})"),
            ),
            None => println!("        this system does not tell how many threads there are"),
        }
    }

    /// Checks the pool after the last request. A closure may outlive its request, and gives its connection back by itself.
    pub(crate) fn on_rest(&mut self, pool: &Pool<SqliteManager>) {
        let start = Instant::now();
        let mut stats = pool.stats();
        while stats.in_use > 0 && start.elapsed() < SOON {
            thread::sleep(Duration::from_millis(1));
            stats = pool.stats();
        }
        let (in_use, waiters) = (stats.in_use, stats.waiters);
        self.must(
            in_use == 0 && waiters == 0,
            format!(
                "after the last request {in_use} connections are in use and {waiters} callers wait"
            ),
        );
    }

    pub(crate) fn on_close(&mut self, closed: Result<(), StillInUse>, stats: &PoolStats) {
        self.must(
            closed.is_ok(),
            match closed {
                Ok(()) => "the pool is closed".to_owned(),
                Err(error) => error.to_string(),
            },
        );
        let (created, disposed) = (stats.created, stats.disposed);
        self.must(
            created == disposed && stats.size + stats.disposing + stats.abandoned == 0,
            format!("{created} connections created, {disposed} disposed"),
        );
    }
}
