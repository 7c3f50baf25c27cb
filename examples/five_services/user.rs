//! The threads that use the pools.

use crate::{POOLS, USERS_PER_SERVICE, services::Service, tally::Tally};
use conpool::{ConnectionManager, PooledConnection};
use std::{
    error::Error,
    fmt,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// The time in which users must end: longer than a `get` and an answer together.
const END_TIMEOUT: Duration = Duration::from_secs(45);
/// The extra pause after a refused get, before the usual pause.
const REFUSED_PAUSE: Duration = Duration::from_millis(20);

/// The user and the number of a question: part of every request and of its answer.
pub(crate) struct Tag {
    pub(crate) user: u32,
    pub(crate) call: u64,
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.user, self.call)
    }
}

/// Whether the answer belongs to the question, or why there is none.
pub(crate) type Answer = Result<bool, Box<dyn Error>>;

/// The loop of a user.
pub(crate) type UserLoop = dyn Fn(u32, &AtomicBool) + Send + Sync;

/// Makes a user's loop. `ask` sends one question on a connection, which goes back when it has been answered.
pub(crate) fn user_loop<M: ConnectionManager>(
    name: &'static str,
    tally: Arc<Tally>,
    ask: impl Fn(PooledConnection<M>, &Tag) -> Answer + Send + Sync + 'static,
) -> Arc<UserLoop> {
    Arc::new(move |number, done| {
        let pool = POOLS.get::<M>(name).expect("main has registered it");
        // Each user pauses for another time, so that the users do not run in step.
        let pause = Duration::from_micros(5_000 + 331 * u64::from(number % USERS_PER_SERVICE));
        let mut tag = Tag {
            user: number,
            call: 0,
        };
        while !done.load(Relaxed) {
            tag.call += 1;
            let asked = Instant::now();
            let got = pool.get();
            tally.note_wait(asked.elapsed());
            match got {
                Ok(connection) => match ask(connection, &tag) {
                    Ok(right) => tally.note_answer(right),
                    Err(error) => tally.note_failure(&*error),
                },
                Err(error) => {
                    tally.note_failure(&error);
                    thread::sleep(REFUSED_PAUSE);
                }
            }
            thread::sleep(pause);
        }
    })
}

pub(crate) struct Users {
    done: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Users {
    /// Starts all users at once.
    pub(crate) fn start(services: &[Service]) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let count = services.len() * USERS_PER_SERVICE as usize;
        let gate = Arc::new(Barrier::new(count));
        let loops = services
            .iter()
            .flat_map(|service| (0..USERS_PER_SERVICE).map(|_| Arc::clone(&service.user_loop)));
        let threads = (0..).zip(loops).map(|(number, user_loop)| {
            let (done, gate) = (Arc::clone(&done), Arc::clone(&gate));
            let work = move || {
                gate.wait();
                user_loop(number, &done);
            };
            let named = thread::Builder::new().name(format!("user-{number}"));
            named.spawn(work).expect("the system has a thread to spare")
        });
        Self {
            threads: threads.collect(),
            done,
        }
    }

    /// Returns false if a user did not end, or panicked.
    pub(crate) fn stop(self) -> bool {
        self.done.store(true, Relaxed);
        let start = Instant::now();
        while !self.threads.iter().all(JoinHandle::is_finished) {
            if start.elapsed() > END_TIMEOUT {
                return false;
            }
            thread::sleep(Duration::from_millis(1));
        }
        self.threads.into_iter().all(|thread| thread.join().is_ok())
    }
}
