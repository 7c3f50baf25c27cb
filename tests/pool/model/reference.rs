//! The reference pool: two lists, a clock that is a number, and the rules of the contract.

use super::{
    operation::Op,
    settings::{Check, Settings},
};
use conpool::EvictReason;

/// One connection as the reference knows it. Times are in milliseconds of the manual clock.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) id: u64,
    pub(crate) born: u64,
    pub(crate) idle_since: u64,
    pub(crate) checked_at: u64,
    /// The operation in which it became idle.
    pub(crate) turn: u64,
    pub(crate) uses: u64,
    pub(crate) generation: u64,
    /// Failures of its hooks or its holder's verdicts: any of these explains its eviction.
    pub(crate) faults: Vec<EvictReason>,
}

/// The pool's information about a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) id: u64,
    pub(crate) age: u64,
    pub(crate) idle_for: u64,
    pub(crate) uses: u64,
    pub(crate) generation: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Refusal {
    Closed,
    Create,
    Panicked,
    Saturated,
    Suspended,
    TimedOut,
}

/// The pool's answer.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// The operation has no answer, or could not be tried.
    Nothing,
    Got(Seen),
    Refused(Refusal),
    NoneReady,
    Accepted(bool),
    Added(Option<u64>),
    Retained(usize, Vec<Seen>),
    Health {
        checked: usize,
        failed: usize,
    },
    Swept {
        evicted: usize,
        checks: usize,
        creates: usize,
    },
}

/// Counters that must be equal to those of the pool.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) gets: u64,
    pub(crate) failed_gets: u64,
    pub(crate) timeouts: u64,
    pub(crate) saturated: u64,
    pub(crate) checkouts: u64,
    pub(crate) reused: u64,
    pub(crate) created: u64,
    pub(crate) create_errors: u64,
    /// Failures of on_checkout on a connection that may have been created for the caller or for min_idle.
    pub(crate) doubtful_errors: u64,
    pub(crate) check_failures: u64,
    pub(crate) disposed: u64,
    pub(crate) added: u64,
    pub(crate) detached: u64,
    pub(crate) panics: u64,
    /// Permanent failures that no caller has got yet.
    pub(crate) unreported: u64,
    /// Errors that a create or a check returned.
    pub(crate) errors: u64,
}

/// The changes in the current operation.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    pub(crate) op: Op,
    pub(crate) idle_before: Vec<Member>,
    pub(crate) ready_before: Vec<u64>,
    pub(crate) out_before: usize,
    pub(crate) servable: bool,
    /// Created, added or given back.
    pub(crate) arrived: usize,
    pub(crate) fresh: Vec<u64>,
    pub(crate) creates: usize,
    pub(crate) create_failed: bool,
    /// A create failed with an error that callers get.
    pub(crate) permanent: bool,
    pub(crate) checked: Vec<u64>,
    /// Failed checks of connections that existed before.
    pub(crate) check_failed: usize,
    /// Failed checks of connections created in this operation.
    pub(crate) fresh_check_failed: usize,
    /// Check-in hooks that succeeded.
    pub(crate) passed: usize,
    pub(crate) taken: Option<u64>,
    /// For each eviction, the possible reasons.
    pub(crate) evicted: Vec<Vec<EvictReason>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Reference {
    pub(crate) settings: Settings,
    pub(crate) now: u64,
    pub(crate) generation: u64,
    pub(crate) max_size: usize,
    pub(crate) min_idle: usize,
    pub(crate) max_idle: Option<usize>,
    pub(crate) suspended: bool,
    pub(crate) closed: bool,
    pub(crate) creating: usize,
    /// The number of operations so far.
    pub(crate) turn: u64,
    /// In the order in which they became idle.
    pub(crate) idle: Vec<Member>,
    /// In the order in which the run holds its guards.
    pub(crate) out: Vec<Member>,
    /// The connection that is being returned.
    pub(crate) returning: Option<Member>,
    pub(crate) totals: Totals,
    pub(crate) round: Round,
    /// The last get took so long that it may have tried another connection than the one being checked.
    pub(crate) impatient: bool,
}

impl Reference {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            settings: settings.clone(),
            now: 0,
            generation: 0,
            max_size: settings.max_size,
            min_idle: settings.min_idle,
            max_idle: settings.max_idle,
            suspended: false,
            closed: false,
            creating: 0,
            turn: 0,
            idle: Vec::new(),
            out: Vec::new(),
            returning: None,
            totals: Totals::default(),
            round: Round {
                op: Op::Built,
                idle_before: Vec::new(),
                ready_before: Vec::new(),
                out_before: 0,
                servable: false,
                arrived: 0,
                fresh: Vec::new(),
                creates: 0,
                create_failed: false,
                permanent: false,
                checked: Vec::new(),
                check_failed: 0,
                fresh_check_failed: 0,
                passed: 0,
                taken: None,
                evicted: Vec::new(),
            },
            impatient: false,
        }
    }

    /// The number of connections that hold a slot.
    pub(crate) fn live(&self) -> usize {
        self.idle.len() + self.out.len() + usize::from(self.returning.is_some())
    }

    pub(crate) fn everybody(&self) -> impl Iterator<Item = &Member> {
        self.idle.iter().chain(&self.out).chain(&self.returning)
    }

    pub(crate) fn oldest_age(&self) -> Option<u64> {
        self.everybody().map(|member| self.now - member.born).max()
    }

    /// Whether a caller without a deadline gets an answer.
    pub(crate) fn servable(&self) -> bool {
        let room = !self.idle.is_empty() || self.live() < self.max_size;
        self.closed || !self.suspended && room
    }

    /// Whether threads of the pool create connections without a caller.
    pub(crate) fn refills_by_itself(&self) -> bool {
        self.settings.collector && self.min_idle > 0
    }

    /// The information that the pool must give about an idle connection.
    pub(crate) fn seen(&self, member: &Member) -> Seen {
        Seen {
            id: member.id,
            age: self.now - member.born,
            idle_for: self.now - member.idle_since,
            uses: member.uses,
            generation: member.generation,
        }
    }

    /// Older than the shortest jittered lifetime: it may be evicted.
    pub(crate) fn may_be_too_old(&self, member: &Member) -> bool {
        let share = 1.0 - self.settings.lifetime_jitter;
        let limit = self.settings.max_lifetime;
        limit.is_some_and(|limit| (self.now - member.born) as f64 >= limit as f64 * 1000.0 * share)
            && self.now > member.born
    }

    /// Older than any lifetime: it must be evicted.
    pub(crate) fn is_too_old(&self, member: &Member) -> bool {
        let limit = self.settings.max_lifetime;
        limit.is_some_and(|limit| self.now - member.born > limit * 1000)
    }

    pub(crate) fn is_idle_too_long(&self, member: &Member) -> bool {
        let limit = self.settings.idle_timeout;
        limit.is_some_and(|limit| self.now - member.idle_since > limit * 1000)
    }

    pub(crate) fn is_used_up(&self, member: &Member) -> bool {
        let limit = self.settings.max_uses;
        limit.is_some_and(|limit| member.uses >= limit)
    }

    /// Whether a checkout of this connection includes a check. `since`: the last proof that it was alive.
    fn check_due(&self, since: u64) -> bool {
        match self.settings.check {
            Check::Never => false,
            Check::Always => true,
            Check::AfterIdle(idle) => self.now - since > idle * 1000,
        }
    }

    pub(crate) fn may_be_checked(&self, member: &Member) -> bool {
        self.check_due(member.idle_since)
    }

    pub(crate) fn must_be_checked(&self, member: &Member) -> bool {
        self.check_due(member.idle_since.max(member.checked_at))
    }

    pub(crate) fn keepalive_due(&self, member: &Member) -> bool {
        let since = member.idle_since.max(member.checked_at);
        let interval = self.settings.keepalive;
        interval.is_some_and(|interval| self.now - since > interval * 1000)
    }

    /// All reasons that would explain the eviction of this connection.
    pub(crate) fn reasons(&self, member: &Member) -> Vec<EvictReason> {
        let idle = self.idle.iter().any(|other| other.id == member.id);
        let rejected = self.round.op.rejects(member.id);
        let mut reasons = member.faults.clone();
        for (holds, reason) in [
            (self.closed, EvictReason::Closed),
            (member.generation < self.generation, EvictReason::Cleared),
            (self.may_be_too_old(member), EvictReason::MaxLifetime),
            (self.live() > self.max_size, EvictReason::Shrunk),
            (self.is_used_up(member), EvictReason::MaxUses),
            (
                idle && self.is_idle_too_long(member),
                EvictReason::IdleTimeout,
            ),
            (idle && rejected, EvictReason::Rejected),
            (self.is_surplus(member), EvictReason::Surplus),
        ] {
            if holds {
                reasons.push(reason);
            }
        }
        reasons
    }

    /// Whether max_idle has no place for this connection. Unless max_idle has just changed, the one that arrives is
    /// evicted, and none that was idle before.
    pub(crate) fn is_surplus(&self, member: &Member) -> bool {
        let back = self.returning.as_ref();
        let idle = self.idle.len() + usize::from(back.is_some());
        let arrives = match back {
            Some(back) => back.id == member.id,
            None => member.turn == self.turn || matches!(self.round.op, Op::SetMaxIdle(_)),
        };
        self.max_idle.is_some_and(|most| idle > most) && arrives
    }

    /// Whether this connection must be evicted in every state.
    pub(crate) fn must_evict(&self, member: &Member) -> bool {
        !member.faults.is_empty()
            || self.closed
            || member.generation < self.generation
            || self.live() > self.max_size
    }

    /// Whether a caller certainly gets this idle connection at once.
    pub(crate) fn is_ready(&self, member: &Member) -> bool {
        let check = self.may_be_checked(member) && self.settings.check_may_block;
        self.reasons(member).is_empty() && !check && !self.suspended
    }
}
