//! One operation: the request, and then every hook call, in order.

use super::{
    backend::{End, HookCall},
    operation::Op,
    reference::{Answer, Member, Reference},
};
use conpool::{EvictReason, Hook};

impl Reference {
    /// Follows one operation. The error describes a violation.
    pub(crate) fn step(
        &mut self,
        op: Op,
        answer: &Answer,
        trace: &[HookCall],
    ) -> Result<(), String> {
        self.begin(op, answer)?;
        for did in trace {
            self.replay(*did)
                .map_err(|what| format!("{what} ({did:?})"))?;
        }
        self.check_answer(answer)
    }

    fn begin(&mut self, op: Op, answer: &Answer) -> Result<(), String> {
        self.round = Self::new(&self.settings).round;
        self.round.op = op.rules();
        self.turn += 1;
        self.round.idle_before = self.idle.clone();
        self.round.out_before = self.out.len();
        self.round.servable = self.servable();
        let ready = |member: &&Member| self.is_ready(member);
        self.round.ready_before = self.idle.iter().filter(ready).map(|one| one.id).collect();
        match op {
            Op::GiveBack(n) => self.give_back(n, &[]),
            Op::Discard(n) => self.give_back(n, &[EvictReason::Discarded]),
            Op::Unwind(n) => self.give_back(n, &[EvictReason::Panicked]),
            Op::Detach(n) if !self.out.is_empty() => {
                self.out.remove(n % self.out.len());
                self.totals.detached += 1;
            }
            Op::Interrupt(n) if !self.out.is_empty() => {
                let place = n % self.out.len();
                let faults = &mut self.out[place].faults;
                let first = !faults.contains(&EvictReason::Interrupted);
                faults.push(EvictReason::Interrupted);
                self.accept(answer, first)?;
            }
            Op::Clear => self.generation += 1,
            Op::SetMaxSize(n) => {
                self.accept(answer, n >= 1 && n >= self.min_idle)?;
                self.max_size = if n >= self.min_idle.max(1) {
                    n
                } else {
                    self.max_size
                };
            }
            Op::SetMinIdle(n) => {
                let valid = n <= self.max_size && self.max_idle.is_none_or(|most| n <= most);
                self.accept(answer, valid)?;
                self.min_idle = if valid { n } else { self.min_idle };
            }
            Op::SetMaxIdle(n) => {
                let valid = n.is_none_or(|most| self.min_idle <= most);
                self.accept(answer, valid)?;
                self.max_idle = if valid { n } else { self.max_idle };
            }
            Op::Suspend => self.suspended = true,
            Op::Resume => self.suspended = false,
            Op::Advance(seconds) => self.now += seconds * 1000 + 1,
            Op::Close => self.closed = true,
            _ => {}
        }
        if let Answer::Added(id) = *answer {
            let room = !self.closed && self.live() < self.max_size;
            if id.is_some() != room {
                return Err(format!("add took {id:?}, room: {room}"));
            }
            if let Some(id) = id {
                self.arrive(id);
                self.totals.added += 1;
            }
        }
        Ok(())
    }

    fn accept(&self, answer: &Answer, valid: bool) -> Result<(), String> {
        match answer {
            Answer::Accepted(accepted) if *accepted != valid => Err(format!(
                "a request that is valid: {valid}, accepted: {accepted}"
            )),
            _ => Ok(()),
        }
    }

    fn give_back(&mut self, n: usize, faults: &[EvictReason]) {
        if !self.out.is_empty() {
            let mut member = self.out.remove(n % self.out.len());
            member.faults.extend(faults);
            self.returning = Some(member);
            self.round.arrived += 1;
        }
    }

    fn arrive(&mut self, id: u64) {
        self.round.arrived += 1;
        self.idle.push(Member {
            id,
            born: self.now,
            idle_since: self.now,
            checked_at: self.now,
            turn: self.turn,
            uses: 0,
            generation: self.generation,
            faults: Vec::new(),
        });
    }

    fn replay(&mut self, did: HookCall) -> Result<(), String> {
        if did.end == End::Panicked {
            self.totals.panics += 1;
        } else if matches!(did.end, End::Failed | End::Transient)
            && matches!(did.hook, Hook::Create | Hook::Check | Hook::Reset)
        {
            self.totals.errors += 1;
        }
        match did.hook {
            Hook::Create => self.create(did),
            Hook::Check => self.check(did),
            Hook::Checkout => self.checkout(did),
            Hook::HasBroken | Hook::Checkin | Hook::Reset => self.checkin(did),
            _ => self.dispose(did.id),
        }
    }

    fn idle_member(&mut self, id: u64) -> Result<&mut Member, String> {
        let found = self.idle.iter_mut().find(|member| member.id == id);
        found.ok_or_else(|| "a hook ran on a connection that is not idle".into())
    }

    fn create(&mut self, did: HookCall) -> Result<(), String> {
        if did.end == End::Begun {
            self.may_create()?;
            self.round.creates += 1;
            self.creating += 1;
            return Ok(());
        }
        self.creating -= 1;
        if did.end == End::Fine {
            self.totals.created += 1;
            self.round.fresh.push(did.id);
            self.arrive(did.id);
        } else {
            self.totals.create_errors += 1;
            self.round.create_failed = true;
            self.fail_for_good(did);
        }
        Ok(())
    }

    fn fail_for_good(&mut self, did: HookCall) {
        if did.end != End::Transient {
            self.round.permanent = true;
            self.totals.unreported += 1;
        }
    }

    fn may_create(&self) -> Result<(), String> {
        if self.closed || self.suspended {
            return Err("a create in a pool that is closed or suspended".into());
        }
        if self.live() + self.creating >= self.max_size {
            return Err("a create beyond max_size".into());
        }
        if self.creating >= self.settings.max_creating {
            return Err("a create beyond max_creating".into());
        }
        let sound = |member: &&Member| self.reasons(member).is_empty();
        let sound = self.idle.iter().filter(sound).count() + self.creating;
        let eager = usize::from(!self.settings.lazy);
        let wanted = match self.round.op {
            Op::Get => sound == 0 || self.impatient,
            // The create that tells whether a caller would be served, when no connection is open.
            Op::CheckHealth if sound == 0 && self.out.is_empty() => self.round.creates == 0,
            // Beside a caller, and while idle connections are checked, the collector may find too few of
            // them.
            _ if self.settings.collector => self.min_idle > 0 || eager > 0,
            Op::Built => eager > 0 && sound < self.min_idle.max(1),
            Op::Sweep => sound < self.min_idle,
            _ => false,
        };
        if wanted || self.refills_by_itself() {
            return Ok(());
        }
        Err("a create that nobody needs".into())
    }

    fn check(&mut self, did: HookCall) -> Result<(), String> {
        let op = self.round.op;
        let member = self.idle_member(did.id)?.clone();
        let due = match op {
            Op::Get | Op::GetNow | Op::TryGet => self.may_be_checked(&member),
            Op::CheckHealth => true,
            Op::Sweep => self.keepalive_due(&member),
            _ => false,
        };
        let kept_alive = self.settings.collector && self.keepalive_due(&member);
        if !due && !kept_alive {
            return Err("a check that is not due".into());
        }
        self.round.checked.push(did.id);
        let now = self.now;
        let member = self.idle_member(did.id)?;
        match did.end {
            End::Fine => member.checked_at = now,
            End::Panicked => member.faults.push(EvictReason::Panicked),
            _ => member.faults.push(EvictReason::CheckFailed),
        }
        if did.end != End::Fine {
            let fresh = self.round.fresh.contains(&did.id);
            self.round.check_failed += usize::from(!fresh);
            self.round.fresh_check_failed += usize::from(fresh);
            self.totals.check_failures += 1;
        }
        Ok(())
    }

    fn checkout(&mut self, did: HookCall) -> Result<(), String> {
        let fresh = self.round.fresh.contains(&did.id);
        let member = self.idle_member(did.id)?.clone();
        // Connections that threads of the pool have created since do not count.
        let others = self
            .idle
            .iter()
            .filter(|one| !self.round.fresh.contains(&one.id));
        let kept_by_min_idle = others.count() <= self.min_idle;
        if !matches!(self.round.op, Op::Get | Op::GetNow | Op::TryGet) || self.round.taken.is_some()
        {
            return Err("a checkout that nobody asked for".into());
        }
        if self.must_evict(&member) || self.is_too_old(&member) || self.is_used_up(&member) {
            return Err("a connection is handed out that the pool knows to be bad".into());
        }
        if self.is_idle_too_long(&member) && !kept_by_min_idle {
            return Err("a connection is handed out that was idle too long".into());
        }
        let checked = self.round.checked.contains(&did.id);
        if self.must_be_checked(&member) && !checked && !fresh {
            return Err("a connection is handed out without the check that is due".into());
        }
        let fault = match did.end {
            End::Fine => {
                self.round.taken = Some(did.id);
                return Ok(());
            }
            End::Panicked => EvictReason::Panicked,
            _ => EvictReason::HookFailed,
        };
        self.idle_member(did.id)?.faults.push(fault);
        if fresh {
            let doubtful = self.refills_by_itself();
            self.totals.create_errors += u64::from(!doubtful);
            self.totals.doubtful_errors += u64::from(doubtful);
            self.round.create_failed = true;
            self.fail_for_good(did);
        }
        Ok(())
    }

    fn checkin(&mut self, did: HookCall) -> Result<(), String> {
        let Some(member) = self.returning.as_mut().filter(|one| one.id == did.id) else {
            return Err("a hook of check-in ran on a connection that does not come back".into());
        };
        if did.hook == Hook::Reset && (self.round.passed != 2 || !self.settings.resets) {
            return Err("a reset that nobody needs, or before the hooks of check-in".into());
        }
        match (did.end, did.hook) {
            (End::Fine, _) => self.round.passed += 1,
            (End::Panicked, _) => member.faults.push(EvictReason::Panicked),
            (_, Hook::HasBroken) => member.faults.push(EvictReason::Broken),
            (_, Hook::Reset) => member.faults.push(EvictReason::ResetFailed),
            _ => member.faults.push(EvictReason::HookFailed),
        }
        Ok(())
    }

    fn dispose(&mut self, id: u64) -> Result<(), String> {
        let mut candidates = self.idle.iter().chain(&self.returning);
        let Some(member) = candidates.find(|member| member.id == id).cloned() else {
            return Err("a connection is disposed that is in use, or gone".into());
        };
        let reasons = self.reasons(&member);
        if reasons.is_empty() {
            return Err("a connection is disposed without a reason".into());
        }
        self.idle.retain(|member| member.id != id);
        self.returning = self.returning.take().filter(|member| member.id != id);
        self.round.evicted.push(reasons);
        self.totals.disposed += 1;
        Ok(())
    }
}
