//! A server that counts its clients, and fails, hangs and panics at random.

use crate::{
    conn::{Conn, Wire},
    rng::Rng,
    verdict::Verdict,
};
use parking_lot::{Condvar, Mutex};
use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

/// A hook that has run this long may have been abandoned: half the pool's timeout for it.
pub(crate) const OVERDUE: Duration = Duration::from_millis(500);

/// The hooks that run on threads of the pool and may hang.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    Create,
    Check,
    Dispose,
}

pub(crate) struct Backend {
    pub(crate) verdict: Arc<Verdict>,
    pub(crate) injected: Injected,
    /// Faults per million calls of any hook.
    faults: AtomicU64,
    /// Refuses new connections.
    down: AtomicBool,
    hanging: Mutex<Option<Hook>>,
    over: Condvar,
    book: Mutex<Book>,
}

/// The faults that the backend injected.
#[derive(Debug, Default)]
pub(crate) struct Injected {
    pub(crate) errors: AtomicU64,
    pub(crate) panics: AtomicU64,
    pub(crate) hangs: AtomicU64,
    pub(crate) kills: AtomicU64,
}

impl Injected {
    pub(crate) fn all(&self) -> u64 {
        let counters = [&self.errors, &self.panics, &self.hangs, &self.kills];
        counters.map(|counter| counter.load(Relaxed)).iter().sum()
    }
}

/// Signed, because an added connection may be counted after it is gone.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    /// Connections that take capacity here, including those being opened and closed.
    pub(crate) open: i64,
    pub(crate) peak: i64,
    pub(crate) created: i64,
    pub(crate) added: i64,
    pub(crate) disposed: i64,
    pub(crate) detached: i64,
}

struct Book {
    count: Count,
    /// The limit on `open`, without the connections of abandoned hooks.
    limit: i64,
    /// The start times of the running hooks.
    running: BTreeSet<(Instant, u64)>,
    /// Open connections that come from an overdue hook.
    late: i64,
    wires: HashMap<u64, Arc<Wire>>,
    calls: u64,
    rng: Rng,
}

/// A random fault, or a dead connection.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) transient: bool,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.transient {
            "busy"
        } else {
            "out of order"
        })
    }
}

impl std::error::Error for Fault {}

impl Backend {
    pub(crate) fn new(seed: u64, limit: usize, verdict: &Arc<Verdict>) -> Arc<Self> {
        Arc::new(Self {
            verdict: Arc::clone(verdict),
            injected: Injected::default(),
            faults: AtomicU64::new(0),
            down: AtomicBool::new(false),
            hanging: Mutex::default(),
            over: Condvar::new(),
            book: Mutex::new(Book {
                count: Count::default(),
                limit: limit as i64,
                running: BTreeSet::new(),
                late: 0,
                wires: HashMap::new(),
                calls: 0,
                rng: Rng::new(seed),
            }),
        })
    }

    pub(crate) fn count(&self) -> Count {
        self.book.lock().count
    }

    pub(crate) fn set_limit(&self, limit: usize) {
        self.book.lock().limit = limit as i64;
    }

    pub(crate) fn set_faults(&self, per_million: u64) {
        self.faults.store(per_million, Relaxed);
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.down.store(down, Relaxed);
    }

    /// Makes every call of this hook hang until the next call of this function.
    pub(crate) fn set_hanging(&self, hook: Option<Hook>) {
        *self.hanging.lock() = hook;
        self.over.notify_all();
    }

    pub(crate) fn heal(&self) {
        self.set_faults(0);
        self.set_down(false);
        self.set_hanging(None);
    }

    /// Ends about every second connection from the server's side.
    pub(crate) fn kill(&self, rng: &mut Rng) {
        for wire in self.book.lock().wires.values() {
            if rng.below(2) == 0 {
                wire.cut();
                self.injected.kills.fetch_add(1, Relaxed);
            }
        }
    }

    /// Makes the call of a hook fail or panic at random.
    #[inline]
    pub(crate) fn trial(&self, rng: &mut Rng) -> Result<(), Fault> {
        let faults = self.faults.load(Relaxed);
        if faults == 0 || rng.below(1_000_000) >= faults {
            return Ok(());
        }
        self.random_fault(rng)
    }

    #[cold]
    fn random_fault(&self, rng: &mut Rng) -> Result<(), Fault> {
        let kind = rng.below(4);
        if kind == 0 {
            self.injected.panics.fetch_add(1, Relaxed);
            // `resume_unwind` skips the panic hook, because the message is of no use.
            resume_unwind(Box::new("random fault"));
        }
        self.injected.errors.fetch_add(1, Relaxed);
        Err(Fault {
            transient: kind < 3,
        })
    }

    /// Begins a call of a hook.
    pub(crate) fn enter(&self, hook: Hook) -> Call<'_> {
        let mut book = self.book.lock();
        book.calls += 1;
        let begun = (Instant::now(), book.calls);
        book.running.insert(begun);
        if hook == Hook::Create {
            book.count_new(&self.verdict);
        }
        Call {
            backend: self,
            hook,
            begun,
            rng: book.rng.fork(),
            conn: None,
        }
    }

    /// A user takes this connection out of the pool, so it is no longer counted.
    pub(crate) fn leave(&self, id: u64) {
        let mut book = self.book.lock();
        book.wires.remove(&id);
        book.count.open -= 1;
        book.count.detached += 1;
    }

    /// A connection that `add` may accept, or has refused.
    pub(crate) fn offer(&self, id: u64, wire: Option<Arc<Wire>>) {
        let mut book = self.book.lock();
        match wire {
            Some(wire) => book.wires.insert(id, wire),
            None => book.wires.remove(&id),
        };
    }

    pub(crate) fn accepted(&self) {
        let mut book = self.book.lock();
        book.count.added += 1;
        book.count_new(&self.verdict);
    }
}

impl Book {
    fn count_new(&mut self, verdict: &Verdict) {
        self.count.open += 1;
        self.count.peak = self.count.peak.max(self.count.open);
        let (open, limit) = (self.count.open, self.limit);
        if open > limit {
            let overdue = (self.running.iter()).take_while(|(since, _)| since.elapsed() > OVERDUE);
            let aside = self.late + overdue.count() as i64;
            verdict.must(open - aside <= limit, || {
                format!(
                    "{open} connections open, {aside} of them in late hooks, at a cap of {limit}"
                )
            });
        }
    }
}

/// A running hook. The hook ends when this is dropped, also by a panic.
pub(crate) struct Call<'a> {
    backend: &'a Backend,
    hook: Hook,
    begun: (Instant, u64),
    rng: Rng,
    conn: Option<(u64, bool)>,
}

impl Call<'_> {
    /// Injects faults.
    pub(crate) fn inject_fault(&mut self) -> Result<(), Fault> {
        let backend = self.backend;
        let mut hanging = backend.hanging.lock();
        if *hanging == Some(self.hook) {
            backend.injected.hangs.fetch_add(1, Relaxed);
            while *hanging == Some(self.hook) {
                backend.over.wait(&mut hanging);
            }
            // The call is overdue, so its end must not add another fault.
            return Ok(());
        }
        drop(hanging);
        if self.hook == Hook::Create && backend.down.load(Relaxed) {
            backend.injected.errors.fetch_add(1, Relaxed);
            return Err(Fault {
                transient: self.rng.below(4) > 0,
            });
        }
        if self.rng.below(16) == 0 {
            thread::sleep(Duration::from_micros(self.rng.below(2000)));
        }
        backend.trial(&mut self.rng)
    }

    pub(crate) fn rng(&mut self) -> Rng {
        self.rng.fork()
    }

    /// Whether the pool may have abandoned this call.
    pub(crate) fn is_overdue(&self) -> bool {
        self.begun.0.elapsed() > OVERDUE
    }

    /// Names the connection that the create has made or the dispose ends.
    pub(crate) fn about(&mut self, conn: &Conn) {
        self.conn = Some((conn.id, conn.late));
    }

    /// Records that this connection is open and no longer counted by the cap.
    pub(crate) fn note_late(&self) {
        self.backend.book.lock().late += 1;
    }

    pub(crate) fn note_wire(&self, id: u64, wire: Arc<Wire>) {
        self.backend.book.lock().wires.insert(id, wire);
    }

    pub(crate) fn number(&self) -> u64 {
        self.begun.1
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let mut book = self.backend.book.lock();
        book.running.remove(&self.begun);
        match (self.hook, self.conn) {
            (Hook::Create, Some(_)) => book.count.created += 1,
            (Hook::Create, None) => book.count.open -= 1,
            (Hook::Dispose, Some((id, late))) => {
                book.wires.remove(&id);
                book.late -= i64::from(late);
                book.count.open -= 1;
                book.count.disposed += 1;
            }
            _ => {}
        }
    }
}
