//! One cell of the product: what two hooks do wrong, how often, and the pool they do it to.

use crate::common::{Dice, ms, quick_backoff, secs};
use conpool::{Fairness, HealthCheck, Hook, Pool, PoolBuilder};
use std::{fmt, time::Duration};

use super::manager::Faulty;

pub(crate) const MAX_SIZE: usize = 3;

/// The most hooks that may be abandoned at once.
pub(crate) const MAX_ABANDONED: usize = 4;

/// When a hook that hangs is given up on.
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

/// What this hook can express. Those on the caller's thread must not block, so they cannot hang.
pub(crate) fn faults_of(hook: Hook) -> &'static [Fault] {
    use Fault::{Error, Hang, None, Panic, Slow, Transient};
    match hook {
        Hook::Create | Hook::Check => &[None, Error, Transient, Slow, Panic, Hang],
        Hook::Dispose => &[None, Slow, Panic, Hang],
        Hook::HasBroken => &[None, Error, Slow, Panic],
        _ => &[None, Error, Transient, Slow, Panic],
    }
}

/// A fault that always comes shows what the pool does when it cannot do anything. One that comes now
/// and then lets connections live long enough to be in every place when it strikes, and lets the two
/// faults meet on one connection: with two that always come, the first keeps the second from its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Often {
    OneInThree,
    Always,
}

/// Where `check_aliveness` runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checks {
    OnWorker,
    OnCaller,
    /// Checkouts take the short way then, which no other setting leaves open.
    Nowhere,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) first: (Hook, Fault),
    pub(crate) second: (Hook, Fault),
    pub(crate) often: Often,
    pub(crate) checks: Checks,
    pub(crate) seed: u64,
}

impl Cell {
    /// All cells of two hooks.
    pub(crate) fn all(first: Hook, second: Hook, seed: u64) -> Vec<Self> {
        let others = match [first, second].contains(&Hook::Check) {
            true => Checks::OnCaller,
            false => Checks::Nowhere,
        };
        let mut cells = Vec::new();
        for &fault in faults_of(first) {
            for &other in faults_of(second) {
                for often in [Often::OneInThree, Often::Always] {
                    for checks in [Checks::OnWorker, others] {
                        cells.push(Self {
                            first: (first, fault),
                            second: (second, other),
                            often,
                            checks,
                            seed,
                        });
                    }
                }
            }
        }
        cells.retain(Cell::makes_sense);
        cells
    }

    fn makes_sense(&self) -> bool {
        let faultless = self.first.1 == Fault::None && self.second.1 == Fault::None;
        let twice = faultless && self.often == Often::Always;
        // A check that says it never waits must not hang.
        let liar = self.checks == Checks::OnCaller && self.fault(Hook::Check) == Fault::Hang;
        !(liar || twice)
    }

    /// What this hook does wrong here.
    pub(crate) fn fault(&self, hook: Hook) -> Fault {
        [self.first, self.second]
            .into_iter()
            .find_map(|(at, fault)| (at == hook).then_some(fault))
            .unwrap_or(Fault::None)
    }

    /// May a new connection fail like this?
    pub(crate) fn birth_meets(&self, fault: Fault) -> bool {
        let hooks = [Hook::Create, Hook::Checkout].map(|hook| self.fault(hook));
        // What hangs may panic in the end.
        hooks.contains(&fault) || fault == Fault::Panic && hooks.contains(&Fault::Hang)
    }

    fn hanging(&self) -> impl Iterator<Item = Hook> {
        let hangs = |(hook, fault)| (fault == Fault::Hang).then_some(hook);
        [self.first, self.second].into_iter().filter_map(hangs)
    }

    pub(crate) fn hangs(&self) -> bool {
        self.hanging().next().is_some()
    }

    /// The hook that hangs here, if the other does not.
    pub(crate) fn only_hang(&self) -> Option<Hook> {
        self.hanging()
            .next()
            .filter(|_| self.hanging().count() == 1)
    }

    /// The pool's settings, those that do not matter thrown by dice. Only hooks that hang have a
    /// timeout that anything can reach: elsewhere no connection may ever be counted aside.
    pub(crate) fn builder(&self, name: &str, dice: &mut Dice) -> PoolBuilder<Faulty> {
        let timeout = |hook| match self.fault(hook) {
            Fault::Hang => HOOK_TIMEOUT,
            _ => secs(60),
        };
        let mut below = |sides| usize::try_from(dice.roll(sides)).unwrap();
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
            .check_timeout(timeout(Hook::Check))
            .dispose_timeout(timeout(Hook::Dispose))
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            first: (first, fault),
            second: (second, other),
            often,
            checks,
            seed,
        } = self;
        write!(
            f,
            "{first} {fault:?}, {second} {other:?}, {often:?}, checks {checks:?}, \
             CONPOOL_FAULT_SEED={seed}"
        )
    }
}
