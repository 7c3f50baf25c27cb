//! The checks after an operation: the answer, and the place of every connection.

use super::{
    operation::Op,
    reference::{Answer, Member, Reference, Refusal, Seen},
};
use conpool::{EvictReason, IdleOrder, OnSuspend};

/// An error with this text unless the condition holds.
macro_rules! must {
    ($holds:expr, $($what:tt)+) => {
        if !$holds {
            return Err(format!($($what)+));
        }
    };
}

impl Reference {
    pub(crate) fn check_answer(&mut self, answer: &Answer) -> Result<(), String> {
        must!(self.creating == 0, "a create is still under way");
        self.settle_return()?;
        match self.round.op {
            Op::Get | Op::GetNow => {
                self.totals.gets += 1;
                self.check_get(answer)?;
            }
            Op::TryGet => match answer {
                Answer::Got(seen) => self.hand_out(*seen)?,
                _ => self.refuse_ready()?,
            },
            _ => must!(self.round.taken.is_none(), "a checkout that nobody got"),
        }
        match answer {
            Answer::Retained(count, seen) => self.check_retain(*count, seen)?,
            Answer::Health { checked, failed } => self.check_health_answer(*checked, *failed)?,
            Answer::Swept {
                evicted,
                checks,
                creates,
            } if !self.settings.collector => {
                let round = &self.round;
                let did = (round.checked.len(), round.creates);
                let said = (*checks, *creates);
                must!(said == did, "the sweep said {said:?} and did {did:?}");
                // Evictions of connections that a create replaced may be part of that create.
                let least = round.evicted.len().saturating_sub(round.creates);
                must!(
                    (least..=round.evicted.len()).contains(evicted),
                    "the sweep said {evicted} and evicted {:?}",
                    round.evicted
                );
            }
            _ => {}
        }
        self.check_idle()
    }

    /// Makes a returned connection idle, if that is correct.
    fn settle_return(&mut self) -> Result<(), String> {
        let Some(member) = self.returning.clone() else {
            return Ok(());
        };
        must!(
            !self.must_evict(&member)
                && !self.is_too_old(&member)
                && !self.is_used_up(&member)
                && !self.is_surplus(&member),
            "{member:?} goes idle and must not"
        );
        must!(
            self.round.passed == 2 + usize::from(self.settings.resets),
            "not every hook of check-in was asked"
        );
        self.returning = None;
        self.idle.push(Member {
            idle_since: self.now,
            checked_at: self.now,
            turn: self.turn,
            ..member
        });
        Ok(())
    }

    fn check_get(&mut self, answer: &Answer) -> Result<(), String> {
        let patient = matches!(self.round.op, Op::Get);
        let refusal = match answer {
            Answer::Got(seen) => return self.hand_out(*seen),
            Answer::Refused(refusal) => *refusal,
            _ => return Err("get without an answer".into()),
        };
        self.totals.failed_gets += 1;
        must!(
            (refusal == Refusal::Closed) == self.closed,
            "{refusal:?}, closed: {}",
            self.closed
        );
        let fails = self.settings.on_suspend == OnSuspend::Fail;
        must!(
            (refusal == Refusal::Suspended) == (fails && self.suspended && !self.closed),
            "{refusal:?}, suspended: {}",
            self.suspended
        );
        match refusal {
            Refusal::Closed | Refusal::Suspended => return Ok(()),
            Refusal::TimedOut => self.totals.timeouts += 1,
            Refusal::Saturated => {
                self.totals.saturated += 1;
                must!(
                    self.settings.max_waiters.is_some(),
                    "saturated without a limit"
                );
            }
            Refusal::Create | Refusal::Panicked => {
                // A thread of the pool may report the error to the next caller, but only once.
                let late = self.settings.collector && self.totals.unreported > 0;
                must!(self.round.permanent || late, "no create failed for good");
                self.totals.unreported -= 1;
                must!(
                    !self.settings.collector || self.out.is_empty(),
                    "a waiter got {refusal:?} while a connection was open"
                );
                return Ok(());
            }
        }
        // While others dispose, a slot is not free yet, and a caller that may not queue cannot wait for it.
        let held_up = self.settings.collector
            && refusal == Refusal::Saturated
            && !self.round.evicted.is_empty();
        must!(
            !(patient && self.round.servable) || held_up,
            "{refusal:?}, though there was a connection or a free slot"
        );
        self.refuse_ready()
    }

    /// The get failed: checks that no connection was ready all the time.
    fn refuse_ready(&self) -> Result<(), String> {
        must!(self.round.taken.is_none(), "a checkout that nobody got");
        let ready = &self.round.ready_before;
        let left = self.idle.iter().find(|member| ready.contains(&member.id));
        must!(left.is_none(), "refused while {left:?} was ready");
        Ok(())
    }

    fn hand_out(&mut self, seen: Seen) -> Result<(), String> {
        must!(
            !self.closed && !self.suspended,
            "handed out by a pool that must not"
        );
        must!(
            self.round.taken == Some(seen.id),
            "handed out without a checkout"
        );
        let place = self.idle.iter().position(|member| member.id == seen.id);
        let place = place.ok_or("handed out after it was disposed")?;
        self.check_order(place)?;
        let mut member = self.idle.remove(place);
        if self.round.fresh.contains(&seen.id) && !self.refills_by_itself() {
            self.refuse_ready_others()?;
        }
        self.totals.checkouts += 1;
        self.totals.reused += u64::from(member.uses > 0);
        member.uses += 1;
        let known = self.seen(&member);
        must!(seen == known, "the pool says {seen:?}, and it is {known:?}");
        self.out.push(member);
        Ok(())
    }

    /// With Fifo: checks that nothing is handed out before what became idle earlier.
    fn check_order(&self, taken: usize) -> Result<(), String> {
        if self.settings.order == IdleOrder::Sticky {
            return Ok(());
        }
        // A caller that may wait has the earlier one checked. Threads finish the creates of one operation in any order.
        let patient = matches!(self.round.op, Op::Get) && !self.settings.collector;
        let member = &self.idle[taken];
        let skipped = self.idle[..taken].iter().find(|earlier| {
            let concurrent = self.settings.collector && earlier.turn == member.turn;
            let ready = self.round.ready_before.contains(&earlier.id);
            (ready || patient) && !concurrent
        });
        must!(
            skipped.is_none(),
            "{member:?} is handed out before {skipped:?}"
        );
        Ok(())
    }

    fn refuse_ready_others(&self) -> Result<(), String> {
        let ready = &self.round.ready_before;
        let left = self.idle.iter().find(|member| ready.contains(&member.id));
        must!(left.is_none(), "created while {left:?} was ready");
        Ok(())
    }

    fn check_retain(&self, count: usize, shown: &[Seen]) -> Result<(), String> {
        let before = &self.round.idle_before;
        for seen in shown {
            if self.round.fresh.contains(&seen.id) {
                continue;
            }
            let member = before.iter().find(|member| member.id == seen.id);
            let known = member.map(|member| self.seen(member));
            must!(
                known == Some(*seen),
                "retain showed {seen:?}, and it is {known:?}"
            );
        }
        for member in &self.idle {
            let asked = shown.iter().any(|seen| seen.id == member.id);
            let new = self.round.fresh.contains(&member.id);
            must!(asked || new, "retain did not ask about {member:?}");
        }
        let rejected = |seen: &&Seen| self.round.op.rejects(seen.id);
        let rejected = shown.iter().filter(rejected).count();
        must!(
            count == rejected,
            "retain says {count}, its closure rejected {rejected}"
        );
        Ok(())
    }

    fn check_health_answer(&self, checked: usize, failed: usize) -> Result<(), String> {
        if !self.settings.collector {
            let round = &self.round;
            let fresh = |id: &&u64| round.fresh.contains(id);
            let of_fresh = round.checked.iter().filter(fresh).count();
            let of_old = round.checked.len() - of_fresh;
            let nothing_open = self.idle.is_empty() && self.out.is_empty() && !self.closed;
            let did = match (of_old, of_fresh) {
                // A connection that could not be opened, now or before the pause, counts as failed.
                (0, 0) if nothing_open && failed == 1 => (1, 1),
                (0, _) => (of_fresh, round.fresh_check_failed),
                _ => (of_old, round.check_failed),
            };
            let said = (checked, failed);
            must!(said == did, "check_health said {said:?} and did {did:?}");
        }
        for member in &self.idle {
            let asked = self.round.checked.contains(&member.id);
            let new = self.round.fresh.contains(&member.id);
            must!(asked || new, "check_health left out {member:?}");
        }
        Ok(())
    }

    /// Checks that no idle connection should have been evicted.
    fn check_idle(&self) -> Result<(), String> {
        for member in &self.idle {
            must!(!self.must_evict(member), "{member:?} must not stay");
        }
        must!(
            self.max_idle.is_none_or(|most| self.idle.len() <= most) || self.closed,
            "more than max_idle are idle"
        );
        let swept = self.settings.collector || matches!(self.round.op, Op::Sweep);
        if !swept {
            return Ok(());
        }
        // Without a collector a failed create is not repeated.
        let excused = self.round.create_failed && !self.settings.collector;
        let late = self.idle.iter().filter(|one| self.is_idle_too_long(one));
        must!(
            late.count() == 0 || self.idle.len() <= self.min_idle || excused,
            "idle too long, and more than min_idle"
        );
        for member in &self.idle {
            must!(!self.is_too_old(member), "{member:?} is too old");
            must!(
                !self.keepalive_due(member) || self.suspended,
                "{member:?} was not kept alive"
            );
        }
        let room = self.max_size.saturating_sub(self.out.len());
        must!(
            self.idle.len() >= self.min_idle.min(room) || excused || self.suspended || self.closed,
            "fewer idle connections than min_idle"
        );
        Ok(())
    }

    /// Whether the pool's counts by reason explain the evictions.
    pub(crate) fn explains(
        &self,
        mut counted: [u64; EvictReason::ALL.len()],
    ) -> Result<(), String> {
        let by_idleness = EvictReason::ALL
            .iter()
            .zip(counted)
            .find(|(reason, _)| **reason == EvictReason::IdleTimeout)
            .map_or(0, |(_, count)| count as usize);
        let there = self.round.idle_before.len() + self.round.arrived;
        must!(
            by_idleness <= there.saturating_sub(self.min_idle),
            "{by_idleness} of {there} evicted for idleness, min_idle is {}",
            self.min_idle
        );
        must!(
            assign(&self.round.evicted, &mut counted),
            "counted {counted:?}, allowed {:?}",
            self.round.evicted
        );
        Ok(())
    }
}

/// Assigns each eviction one of its reasons, so that the counts match.
fn assign(evicted: &[Vec<EvictReason>], counted: &mut [u64; EvictReason::ALL.len()]) -> bool {
    let Some((first, others)) = evicted.split_first() else {
        return counted.iter().all(|count| *count == 0);
    };
    (0..counted.len()).any(|index| {
        if counted[index] == 0 || !first.contains(&EvictReason::ALL[index]) {
            return false;
        }
        counted[index] -= 1;
        let fits = assign(others, counted);
        counted[index] += 1;
        fits
    })
}
