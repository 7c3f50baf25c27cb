//! All cells of a pair of hooks, several at a time.

use super::{
    cell::{Cell, Fault, faults_of},
    hammer::play,
};
use crate::common::Dice;
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

/// Cells spend their time waiting, so that many of them share a core.
const AT_ONCE: usize = 8;

/// A doubt about a cell must come up so often again to count.
const AGAIN: usize = 3;

/// What came of a pair of hooks, all cells together.
#[derive(Default)]
struct Outcome {
    complaints: Vec<String>,
    doubtful: Vec<Cell>,
    served: u64,
    /// Hooks that were given up on.
    abandoned: HashSet<Hook>,
    struck: HashSet<(Hook, Fault)>,
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().expect(name))
}

/// Plays every cell of two hooks: `CONPOOL_FAULT_ROUNDS` times (once), with the dice of
/// `CONPOOL_FAULT_SEED` (1) and the numbers that follow. The same seed throws the same dice; which
/// thread gets which throw is up to the scheduler.
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
                    if play_one(*cell, &outcome).is_some() {
                        outcome.lock().unwrap().doubtful.push(*cell);
                    }
                }
            });
        }
    });
    let doubtful = take(&mut outcome.lock().unwrap().doubtful);
    for cell in doubtful {
        // Once more with less company, before the pool is blamed for what the scheduler did.
        let doubts: Vec<_> = (0..AGAIN).map_while(|_| play_one(cell, &outcome)).collect();
        if doubts.len() == AGAIN {
            let complaint = format!("[{cell}] again and again: {doubts:?}");
            outcome.lock().unwrap().complaints.push(complaint);
        }
    }
    let outcome = outcome.into_inner().unwrap();
    let bad = outcome.complaints.len();
    let shown = outcome.complaints.iter().take(12).cloned();
    assert_eq!(bad, 0, "\n{}", shown.collect::<Vec<_>>().join("\n"));
    // What never came was never survived.
    for hook in [first, second] {
        for &fault in faults_of(hook)
            .iter()
            .filter(|&&fault| fault != Fault::None)
        {
            let came = outcome.struck.contains(&(hook, fault));
            assert!(came, "{hook} {fault:?} never came");
            let missed = fault == Fault::Hang && !outcome.abandoned.contains(&hook);
            assert!(!missed, "{hook} was never given up on");
        }
    }
    assert!(outcome.served > 0);
}

/// Plays one cell; Some if there is a doubt about it.
fn play_one(cell: Cell, outcome: &Mutex<Outcome>) -> Option<String> {
    static PLAYED: AtomicU64 = AtomicU64::new(0);
    let played = PLAYED.fetch_add(1, Relaxed);
    let mut dice = Dice::new(cell.seed);
    for part in cell.to_string().bytes() {
        // Other dice for every cell, whatever the order in which they are played.
        dice = Dice::new(dice.roll(1 << 40) ^ u64::from(part));
    }
    let (verdict, manager) = play(cell, &format!("f{played}x"), dice);
    let mut outcome = outcome.lock().unwrap();
    let complaints = verdict.complaints.iter();
    outcome
        .complaints
        .extend(complaints.map(|complaint| format!("[{cell}] {complaint}")));
    outcome.served += verdict.served;
    if verdict.abandoned > 0 {
        outcome.abandoned.extend(cell.only_hang());
    }
    let both = [cell.first, cell.second].into_iter();
    let struck = both.filter(|what| manager.read(|book| book.has_struck(*what)));
    outcome.struck.extend(struck);
    verdict.doubt
}
