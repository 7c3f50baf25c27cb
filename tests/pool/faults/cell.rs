//! One cell of the product: the faults of two hooks, their frequency, and the pool.

use crate::common::{Rng, ms, quick_backoff, secs};
use conpool::{Fairness, HealthCheck, Hook, Pool, PoolBuilder};
use std::{fmt, time::Duration};

use super::manager::Faulty;

pub(crate) const MAX_SIZE: usize = 3;

/// The most hooks that may be abandoned at once.
pub(crate) const MAX_ABANDONED: usize = 4;

/// The time after which a hanging hook is abandoned.
pub(crate) const HOOK_TIMEOUT: Duration = ms(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    None,
    /// For `has_broken` the answer "yes".
    Error,
    Transient,
    Slow,
    Panic,
    Hang,
}

/// The faults that this hook can have. Hooks on the caller's thread must not block, so they cannot hang.
pub(crate) fn faults_of(hook: Hook) -> &'static [Fault] {
    use Fault::{Error, Hang, None, Panic, Slow, Transient};
    match hook {
        Hook::Create | Hook::Check | Hook::Reset => &[None, Error, Transient, Slow, Panic, Hang],
        Hook::Dispose => &[None, Slow, Panic, Hang],
        Hook::HasBroken => &[None, Error, Slow, Panic],
        _ => &[None, Error, Transient, Slow, Panic],
    }
}

/// How often a fault occurs. A permanent fault shows the pool's behaviour when every call fails. An
/// occasional one lets connections live long enough to be in every state at the fault, and lets the two
/// faults meet on one connection: of two permanent faults the first prevents the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frequency {
    OneInThree,
    Always,
}

/// The thread on which `check_aliveness` and `reset` run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checks {
    OnWorker,
    OnCaller,
    /// The only setting with which checkouts take the fast path.
    Nowhere,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) first: (Hook, Fault),
    pub(crate) second: (Hook, Fault),
    pub(crate) frequency: Frequency,
    pub(crate) checks: Checks,
    pub(crate) seed: u64,
}

impl Cell {
    /// All cells of two hooks.
    pub(crate) fn all(first: Hook, second: Hook, seed: u64) -> Vec<Self> {
        let hooks = [first, second];
        let others = match hooks.contains(&Hook::Check) || hooks.contains(&Hook::Reset) {
            true => Checks::OnCaller,
            false => Checks::Nowhere,
        };
        let mut cells = Vec::new();
        for &fault in faults_of(first) {
            for &other in faults_of(second) {
                for frequency in [Frequency::OneInThree, Frequency::Always] {
                    for checks in [Checks::OnWorker, others] {
                        cells.push(Self {
                            first: (first, fault),
                            second: (second, other),
                            frequency,
                            checks,
                            seed,
                        });
                    }
                }
            }
        }
        cells.retain(Cell::is_meaningful);
        cells
    }

    fn is_meaningful(&self) -> bool {
        let faultless = self.first.1 == Fault::None && self.second.1 == Fault::None;
        let twice = faultless && self.frequency == Frequency::Always;
        // A check or a reset that is declared as non-blocking must not hang.
        let hangs = [Hook::Check, Hook::Reset].map(|hook| self.fault(hook) == Fault::Hang);
        let misdeclared = self.checks == Checks::OnCaller && hangs.contains(&true);
        !(misdeclared || twice)
    }

    /// The fault of this hook in this cell.
    pub(crate) fn fault(&self, hook: Hook) -> Fault {
        [self.first, self.second]
            .into_iter()
            .find_map(|(at, fault)| (at == hook).then_some(fault))
            .unwrap_or(Fault::None)
    }

    /// Whether this cell has faults of `reset`, so that connections need one.
    pub(crate) fn resets(&self) -> bool {
        [self.first.0, self.second.0].contains(&Hook::Reset)
    }

    /// Whether the create of a connection can fail like this.
    pub(crate) fn create_can_fail_with(&self, fault: Fault) -> bool {
        let hooks = [Hook::Create, Hook::Checkout].map(|hook| self.fault(hook));
        // A hang may end in a panic.
        hooks.contains(&fault) || fault == Fault::Panic && hooks.contains(&Fault::Hang)
    }

    fn hanging(&self) -> impl Iterator<Item = Hook> {
        let hangs = |(hook, fault)| (fault == Fault::Hang).then_some(hook);
        [self.first, self.second].into_iter().filter_map(hangs)
    }

    pub(crate) fn hangs(&self) -> bool {
        self.hanging().next().is_some()
    }

    /// The hook that hangs here, if it is the only one.
    pub(crate) fn only_hang(&self) -> Option<Hook> {
        self.hanging()
            .next()
            .filter(|_| self.hanging().count() == 1)
    }

    /// The pool's settings; irrelevant ones are random. Only hooks that hang have a timeout that can be
    /// reached: in other cells a hook must never be abandoned.
    pub(crate) fn builder(&self, name: &str, rng: &mut Rng) -> PoolBuilder<Faulty> {
        let timeout = |hook| match self.fault(hook) {
            Fault::Hang => HOOK_TIMEOUT,
            _ => secs(60),
        };
        let mut below = |sides| usize::try_from(rng.below(sides)).unwrap();
        Pool::builder()
            .name(name)
            .max_size(MAX_SIZE)
            .min_idle(below(3))
            .max_creating(1 + below(3))
            .fairness(match below(4) {
                0 => Fairness::Strict,
                _ => Fairness::default(),
            })
            .backoff(quick_backoff())
            .health_check(match self.checks {
                Checks::Nowhere => HealthCheck::Never,
                _ => HealthCheck::OnCheckout,
            })
            .create_timeout(timeout(Hook::Create))
            .check_timeout(timeout(Hook::Check).min(timeout(Hook::Reset)))
            .dispose_timeout(timeout(Hook::Dispose))
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            first: (first, fault),
            second: (second, other),
            frequency,
            checks,
            seed,
        } = self;
        write!(
            f,
            "{first} {fault:?}, {second} {other:?}, {frequency:?}, checks {checks:?}, \
             CONPOOL_FAULT_SEED={seed}"
        )
    }
}
