//! A scripted r2d2 manager and customizer that count their calls.

#![allow(
    dead_code,
    reason = "every test file uses its own part of these helpers"
)]

use crate::common::{Gate, Log, SOON, eventually, quick_backoff, threads};
use conpool::{Pool, PoolBuilder, R2d2Manager};
use r2d2::{CustomizeConnection, ManageConnection};
use std::{
    collections::{HashMap, VecDeque},
    error::Error,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
};

/// A hook of r2d2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Hook {
    Connect,
    OnAcquire,
    IsValid,
    HasBroken,
    OnRelease,
}

pub(crate) const HOOKS: [Hook; 5] = [
    Hook::Connect,
    Hook::OnAcquire,
    Hook::IsValid,
    Hook::HasBroken,
    Hook::OnRelease,
];

/// The fault of a hook. `has_broken` returns true where others fail; `on_release` cannot fail.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    Fail,
    Panic,
    Hang(Gate),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused(pub(crate) Hook);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} refuses", self.0)
    }
}

impl Error for Refused {}

#[derive(Debug, Default)]
struct State {
    faults: Mutex<HashMap<Hook, VecDeque<(Fault, u64)>>>,
    log: Log,
    calls: Mutex<HashMap<Hook, u64>>,
    connected: AtomicU64,
    released: AtomicU64,
    dropped: AtomicU64,
}

/// A backend, its r2d2 manager and its customizer in one; clones share all of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peer(Arc<State>);

/// A connection is its number, and reports its drop.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) id: u64,
    peer: Peer,
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.peer.0.dropped.fetch_add(1, SeqCst);
    }
}

impl Peer {
    /// Plans this fault for the next `times` calls of `hook`, after those planned before.
    pub(crate) fn plan(&self, hook: Hook, fault: Fault, times: u64) {
        let mut faults = self.0.faults.lock().unwrap();
        faults.entry(hook).or_default().push_back((fault, times));
    }

    pub(crate) fn heal(&self) {
        self.0.faults.lock().unwrap().clear();
    }

    /// Each call as `hook id on thread`; a connect has no id yet.
    pub(crate) fn log(&self) -> Vec<String> {
        self.0.log.lines()
    }

    /// The calls without their threads.
    pub(crate) fn calls(&self) -> Vec<String> {
        let line = |line: &String| line.split(" on ").next().unwrap().to_owned();
        self.log().iter().map(line).collect()
    }

    /// The number of calls of `hook`.
    pub(crate) fn count(&self, hook: Hook) -> u64 {
        *self.0.calls.lock().unwrap().get(&hook).unwrap_or(&0)
    }

    pub(crate) fn connected(&self) -> u64 {
        self.0.connected.load(SeqCst)
    }

    pub(crate) fn released(&self) -> u64 {
        self.0.released.load(SeqCst)
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.0.dropped.load(SeqCst)
    }

    fn enter(&self, hook: Hook, id: Option<u64>) -> Result<(), Refused> {
        let id = id.map(|id| format!(" {id}")).unwrap_or_default();
        let thread = thread::current();
        let thread = thread.name().unwrap_or("?");
        self.0.log.push(format!("{hook:?}{id} on {thread}"));
        let fault = {
            let mut faults = self.0.faults.lock().unwrap();
            let due = faults.get_mut(&hook).and_then(|planned| {
                planned.retain(|due| due.1 > 0);
                planned.front_mut()
            });
            due.map(|due| {
                due.1 -= 1;
                due.0.clone()
            })
        };
        *self.0.calls.lock().unwrap().entry(hook).or_default() += 1;
        match fault {
            None => Ok(()),
            Some(Fault::Fail) => Err(Refused(hook)),
            Some(Fault::Panic) => panic!("{hook:?} panics"),
            Some(Fault::Hang(gate)) => {
                gate.pass();
                Ok(())
            }
        }
    }
}

impl ManageConnection for Peer {
    type Connection = Conn;
    type Error = Refused;

    fn connect(&self) -> Result<Conn, Refused> {
        self.enter(Hook::Connect, None)?;
        Ok(Conn {
            id: self.0.connected.fetch_add(1, SeqCst) + 1,
            peer: self.clone(),
        })
    }

    fn is_valid(&self, connection: &mut Conn) -> Result<(), Refused> {
        self.enter(Hook::IsValid, Some(connection.id))
    }

    fn has_broken(&self, connection: &mut Conn) -> bool {
        self.enter(Hook::HasBroken, Some(connection.id)).is_err()
    }
}

impl CustomizeConnection<Conn, Refused> for Peer {
    fn on_acquire(&self, connection: &mut Conn) -> Result<(), Refused> {
        self.enter(Hook::OnAcquire, Some(connection.id))
    }

    fn on_release(&self, connection: Conn) {
        self.0.released.fetch_add(1, SeqCst);
        let _ = self.enter(Hook::OnRelease, Some(connection.id));
    }
}

/// The manager with its customizer.
pub(crate) fn manager(peer: &Peer) -> R2d2Manager<Peer> {
    R2d2Manager::new(peer.clone()).customizer(peer.clone())
}

/// A pool builder with quick retries and otherwise the defaults.
pub(crate) fn builder(name: &str) -> PoolBuilder<R2d2Manager<Peer>> {
    let _ = crate::common::noise();
    Pool::builder().name(name).backoff(quick_backoff())
}

/// Closes `pool` and asserts that everything is released: every connection was dropped, each that
/// `on_acquire` accepted was released, and all threads have ended. `refused` is the number that it did not
/// accept.
#[track_caller]
pub(crate) fn close_clean(pool: &Pool<R2d2Manager<Peer>>, refused: u64) {
    if let Err(left) = pool.close_timeout(SOON) {
        panic!("not closed: {left:?}, {:?}", pool.stats());
    }
    let peer = pool.manager().get_ref();
    eventually(|| peer.dropped() == peer.connected());
    assert_eq!(peer.released() + refused, peer.connected(), "{peer:?}");
    let stats = pool.stats();
    assert_eq!(
        stats.size + stats.disposing + stats.abandoned,
        0,
        "{stats:?}"
    );
    assert_eq!(stats.created, stats.disposed, "{stats:?}");
    let prefix = format!("{}-", pool.name());
    eventually(|| threads(&prefix) == 0);
}
