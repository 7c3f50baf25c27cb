//! All cells of a pair of hooks, several at a time.

use super::{
    cell::{Cell, Fault, faults_of},
    hammer::run_cell,
};
use crate::common::Rng;
use conpool::Hook;
use std::{
    collections::HashSet,
    env,
    mem::take,
    sync::{
        Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

/// Cells spend most of their time waiting, so many of them can share a core.
const AT_ONCE: usize = 8;

/// The number of repeated doubts about a cell that make it a failure.
const AGAIN: usize = 3;

/// The results of a pair of hooks, over all cells.
#[derive(Default)]
struct Outcome {
    complaints: Vec<String>,
    doubtful: Vec<Cell>,
    served: u64,
    /// Hooks that were abandoned.
    abandoned: HashSet<Hook>,
    fault_counts: HashSet<(Hook, Fault)>,
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().expect(name))
}

/// Runs every cell of two hooks `CONPOOL_FAULT_ROUNDS` times (once), with the seed `CONPOOL_FAULT_SEED` (1)
/// and the following ones. The same seed gives the same random numbers; the scheduler decides which thread
/// gets which number.
pub(crate) fn every_cell(first: Hook, second: Hook) {
    let seed = number("CONPOOL_FAULT_SEED").unwrap_or(1);
    let rounds = number("CONPOOL_FAULT_ROUNDS").unwrap_or(1);
    let cells: Vec<Cell> = (0..rounds)
        .flat_map(|round| Cell::all(first, second, seed.wrapping_add(round)))
        .collect();
    let (next, outcome) = (AtomicUsize::new(0), Mutex::new(Outcome::default()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(cell) = cells.get(next.fetch_add(1, Relaxed)) {
                    if run_one(*cell, &outcome).is_some() {
                        outcome.lock().unwrap().doubtful.push(*cell);
                    }
                }
            });
        }
    });
    let doubtful = take(&mut outcome.lock().unwrap().doubtful);
    for cell in doubtful {
        // Repeated with less load, before the pool is blamed for the scheduler.
        let doubts: Vec<_> = (0..AGAIN).map_while(|_| run_one(cell, &outcome)).collect();
        if doubts.len() == AGAIN {
            let violation = format!("[{cell}] again and again: {doubts:?}");
            outcome.lock().unwrap().complaints.push(violation);
        }
    }
    let outcome = outcome.into_inner().unwrap();
    let bad = outcome.complaints.len();
    let shown = outcome.complaints.iter().take(12).cloned();
    assert_eq!(bad, 0, "\n{}", shown.collect::<Vec<_>>().join("\n"));
    // A fault that never occurred was not tested.
    for hook in [first, second] {
        for &fault in faults_of(hook)
            .iter()
            .filter(|&&fault| fault != Fault::None)
        {
            let came = outcome.fault_counts.contains(&(hook, fault));
            assert!(came, "{hook} {fault:?} never came");
            let missed = fault == Fault::Hang && !outcome.abandoned.contains(&hook);
            assert!(!missed, "{hook} was never given up on");
        }
    }
    assert!(outcome.served > 0);
}

/// Runs one cell; returns a doubt about it.
fn run_one(cell: Cell, outcome: &Mutex<Outcome>) -> Option<String> {
    static COMPLETED: AtomicU64 = AtomicU64::new(0);
    let played = COMPLETED.fetch_add(1, Relaxed);
    let mut rng = Rng::new(cell.seed);
    for part in cell.to_string().bytes() {
        // Another seed for every cell, whatever the order in which they run.
        rng = Rng::new(rng.below(1 << 40) ^ u64::from(part));
    }
    let (verdict, manager) = run_cell(cell, &format!("f{played}x"), rng);
    let mut outcome = outcome.lock().unwrap();
    let complaints = verdict.complaints.iter();
    outcome
        .complaints
        .extend(complaints.map(|violation| format!("[{cell}] {violation}")));
    outcome.served += verdict.served;
    if verdict.abandoned > 0 {
        outcome.abandoned.extend(cell.only_hang());
    }
    let both = [cell.first, cell.second].into_iter();
    let fault_counts = both.filter(|what| manager.read(|tracker| tracker.has_occurred(*what)));
    outcome.fault_counts.extend(fault_counts);
    verdict.doubt
}
