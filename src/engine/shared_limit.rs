//! The slots that several engines share: a keyed pool has one engine per key, and one total.
//!
//! Every slot that an engine takes is a token of the total, from the create that is to fill it to the
//! end of the dispose that empties it, so the total holds at every instant, across all engines. Each
//! engine keeps its lock; the total has one of its own, taken inside of at most one of theirs.
//!
//! # Who gets a slot that comes free
//!
//! While there are free tokens an engine takes one and asks nobody. When there are none, the engine
//! says since when its first waiter that nothing else can serve has waited, and joins the **line**
//! here. A token that comes free is granted to the longest waiting, before anybody else can take it;
//! whoever freed it settles that engine once its own lock is free. A grant that is not needed any
//! more (its waiter gave up) goes on to the next.
//!
//! # Making room
//!
//! While somebody is in line the total is **hungry**. Then every check-in of every engine goes through
//! its lock, and a connection for which no older waiter of its own is there is retired. What is idle
//! already is searched for when somebody joins the line ([`SharedLimit::evict_for_waiters`]), the longest idle first.
//! The first such search also watches every slot in use, which catches the check-in that read "not
//! hungry" before and stores its connection after: the two meet in the slot's cell, as a waiter's search
//! and a check-in do (see [`slot`](super::slot)).
//!
//! What is on its way out will come free by itself, so for each of those one less is retired. But one
//! whose dispose takes longer than [`DISPOSE_SOFT_LIMIT`] is not counted on: a hook that hangs costs other keys no
//! more than the slot it holds.

use super::{Engine, Evicted, Now, Stamp};
use crate::sync::{AtomicU32, Mutex, Ordering};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

const DISPOSE_SOFT_LIMIT: Duration = Duration::from_millis(100);

pub(crate) struct SharedLimit<T: Send + 'static, F: Send + 'static> {
    /// Whether somebody is in line. Read by every check-in.
    has_waiters: AtomicU32,
    state: Mutex<State<T, F>>,
}

struct State<T: Send + 'static, F: Send + 'static> {
    max: usize,
    /// Tokens that members hold or were granted.
    taken: usize,
    last_id: u64,
    members: BTreeMap<u64, MemberState<T, F>>,
    /// Since when, who, and for how many slots.
    waiting: BTreeMap<(Instant, u64), usize>,
    /// Members whose spare create found no token.
    refill_wanted: BTreeSet<u64>,
    /// What is on its way out, by member and job, and since when.
    disposing: BTreeMap<(u64, u64), Instant>,
    /// Every slot in use has been watched since the line was last empty.
    marked: bool,
}

struct MemberState<T: Send + 'static, F: Send + 'static> {
    engine: Weak<Engine<T, F>>,
    held: usize,
    granted: usize,
    waiting_since: Option<Instant>,
}

/// One engine's part in a total.
pub(crate) struct Member<T: Send + 'static, F: Send + 'static> {
    total: Arc<SharedLimit<T, F>>,
    id: u64,
}

/// Who has to look, now that there is a slot to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Followup {
    /// A waiter of this member was granted one.
    Waiter(u64),
    /// One is free, and this member could use a spare connection.
    Refill(u64),
}

/// What came of telling the total what an engine lacks.
pub(super) struct ReportResult {
    /// There is a token after all.
    pub(super) retry: bool,
    /// More waiters are in line than slots are about to come free.
    pub(super) lacks_room: bool,
}

impl<T: Send + 'static, F: Send + 'static> State<T, F> {
    fn member(&mut self, id: u64) -> &mut MemberState<T, F> {
        self.members.get_mut(&id).expect("bug: no such member")
    }

    /// Slots that come free by themselves before long.
    fn coming(&self, now: Instant) -> usize {
        let young = |since: &&Instant| now.saturating_duration_since(**since) < DISPOSE_SOFT_LIMIT;
        self.disposing.values().filter(young).count()
    }

    /// The longest waiting for whom nothing comes free by itself: since when, and who.
    fn first_without_slot(&self, now: Instant) -> Option<(Instant, u64)> {
        if self.waiting.is_empty() {
            return None;
        }
        let mut coming = self.coming(now);
        self.waiting.iter().find_map(|(first, slots)| {
            let needy = *slots > coming;
            coming = coming.saturating_sub(*slots);
            needy.then_some(*first)
        })
    }

    fn stop_waiting(&mut self, id: u64) {
        if let Some(since) = self.member(id).waiting_since.take() {
            self.waiting.remove(&(since, id));
        }
    }

    /// A token has come free.
    fn grant_next(&mut self) -> Option<Followup> {
        if let Some((_, id)) = self.waiting.first_key_value().map(|(first, _)| *first) {
            // If it waits for more, it says so when it has got this one.
            self.stop_waiting(id);
            self.member(id).granted += 1;
            return Some(Followup::Waiter(id));
        }
        self.taken -= 1;
        self.refill_wanted.pop_first().map(Followup::Refill)
    }
}

impl<T: Send + 'static, F: Send + 'static> SharedLimit<T, F> {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            has_waiters: AtomicU32::new(0),
            state: Mutex::new(State {
                max,
                taken: 0,
                last_id: 0,
                members: BTreeMap::new(),
                waiting: BTreeMap::new(),
                refill_wanted: BTreeSet::new(),
                disposing: BTreeMap::new(),
                marked: false,
            }),
        })
    }

    /// A part for an engine that is about to be made.
    pub(super) fn join(self: &Arc<Self>) -> Member<T, F> {
        let mut state = self.state.lock();
        state.last_id += 1;
        let id = state.last_id;
        let member = MemberState {
            engine: Weak::new(),
            held: 0,
            granted: 0,
            waiting_since: None,
        };
        state.members.insert(id, member);
        Member {
            total: Arc::clone(self),
            id,
        }
    }

    /// Somebody waits for a slot.
    #[inline]
    pub(crate) fn has_waiters(&self) -> bool {
        self.has_waiters.load(Ordering::Acquire) != 0
    }

    fn update_has_waiters(&self, state: &mut State<T, F>) {
        let hungry = !state.waiting.is_empty();
        state.marked &= hungry;
        self.has_waiters.swap(u32::from(hungry), Ordering::AcqRel);
    }

    /// Members that hold slots, apart from this one; their numbers begin with 1.
    fn holders(state: &State<T, F>, but: u64) -> Vec<Arc<Engine<T, F>>> {
        let members = state.members.iter();
        let holders = members.filter(|(id, member)| **id != but && member.held > 0);
        holders
            .filter_map(|(_, member)| member.engine.upgrade())
            .collect()
    }

    /// Retires idle connections, the longest idle first, as long as somebody waits for whom nothing
    /// comes free by itself. They are still to be disposed. Call without any engine's lock.
    pub(crate) fn evict_for_waiters(&self, now: Now) -> Vec<Evicted<T, F>> {
        let mut evicted = self.evict_idle(now);
        let holders = {
            let mut state = self.state.lock();
            match state.first_without_slot(now.real) {
                Some((_, id)) if !std::mem::replace(&mut state.marked, true) => {
                    Self::holders(&state, id)
                }
                _ => return evicted,
            }
        };
        for engine in &holders {
            let in_need = || self.state.lock().first_without_slot(now.real);
            evicted.extend(engine.evict_on_return_for_peer(now, in_need));
        }
        evicted
    }

    /// The first half: what seems to be idle.
    pub(super) fn evict_idle(&self, now: Now) -> Vec<Evicted<T, F>> {
        let mut evicted = Vec::new();
        let in_need = || self.state.lock().first_without_slot(now.real);
        let Some((_, id)) = in_need() else {
            return evicted;
        };
        let holders = Self::holders(&self.state.lock(), id);
        let mut idle: Vec<_> = holders
            .iter()
            .flat_map(|engine| {
                let slots = engine.table.all();
                slots.filter_map(move |slot| match slot.stamp() {
                    Stamp::Idle(since) => Some((since, engine, slot)),
                    _ => None,
                })
            })
            .collect();
        idle.sort_by_key(|(since, ..)| *since);
        for (_, engine, slot) in idle {
            let Some((since, _)) = in_need() else {
                return evicted;
            };
            evicted.extend(engine.evict_for_peer(slot, since, now));
        }
        evicted
    }

    /// How many connections of all engines this thread has checked out and not given back.
    pub(crate) fn held_by(&self, thread: u64) -> usize {
        let engines = Self::holders(&self.state.lock(), 0);
        engines.iter().map(|engine| engine.held_by(thread)).sum()
    }

    /// When something on its way out has taken too long to be counted on, and who should look then.
    pub(crate) fn next_soft_deadline(&self, now: Instant) -> Option<(Instant, u64)> {
        let state = self.state.lock();
        let ((_, first), _) = state.waiting.first_key_value()?;
        let ends = state
            .disposing
            .values()
            .map(|since| *since + DISPOSE_SOFT_LIMIT);
        let end = ends.filter(|end| *end > now).min();
        end.map(|end| (end, *first))
    }
}

impl<T: Send + 'static, F: Send + 'static> Member<T, F> {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn limit(&self) -> &Arc<SharedLimit<T, F>> {
        &self.total
    }

    /// The engine is made.
    pub(super) fn attach(&self, engine: &Arc<Engine<T, F>>) {
        let mut state = self.total.state.lock();
        state.member(self.id).engine = Arc::downgrade(engine);
    }

    /// Takes a token: a granted one for somebody who waits, else a free one.
    pub(super) fn take(&self, waits: bool) -> bool {
        let mut state = self.total.state.lock();
        let free = state.taken < state.max;
        let member = state.member(self.id);
        if waits && member.granted > 0 {
            member.granted -= 1;
            member.held += 1;
        } else if free {
            member.held += 1;
            state.taken += 1;
        } else {
            if !waits {
                state.refill_wanted.insert(self.id);
            }
            return false;
        }
        true
    }

    /// The most slots of all engines.
    pub(crate) fn max(&self) -> usize {
        self.total.state.lock().max
    }

    /// There is a free token.
    pub(crate) fn has_room(&self) -> bool {
        let state = self.total.state.lock();
        state.taken < state.max
    }

    /// A slot is free, and this engine does not want it: somebody else may.
    pub(crate) fn next_refill(&self) -> Option<Followup> {
        let mut state = self.total.state.lock();
        let free = state.taken < state.max;
        let next = if free {
            state.refill_wanted.pop_first()
        } else {
            None
        };
        next.map(Followup::Refill)
    }

    /// A slot is free; `job`: what emptied it. The engine itself settles in any case.
    pub(super) fn release(&self, job: u64) -> Option<Followup> {
        let mut state = self.total.state.lock();
        state.disposing.remove(&(self.id, job));
        state.member(self.id).held -= 1;
        let next = state.grant_next();
        self.total.update_has_waiters(&mut state);
        next.filter(|next| *next != Followup::Waiter(self.id))
    }

    /// This job will end with a free slot.
    pub(super) fn note_leaving(&self, job: u64, since: Instant) {
        let mut state = self.total.state.lock();
        state.disposing.insert((self.id, job), since);
    }

    /// Tells how many slots the engine's waiters lack, and since when the first of them has waited.
    /// Grants that it did not use go to the next in line.
    pub(super) fn report(
        &self,
        missing: usize,
        since: Option<Instant>,
        now: Instant,
        elsewhere: &mut Vec<Followup>,
    ) -> ReportResult {
        let mut report = ReportResult {
            retry: false,
            lacks_room: false,
        };
        let mut state = self.total.state.lock();
        state.stop_waiting(self.id);
        let granted = state.member(self.id).granted;
        match since.filter(|_| missing > 0) {
            None => {
                state.member(self.id).granted = 0;
                elsewhere.extend((0..granted).filter_map(|_| state.grant_next()));
            }
            Some(_) if granted > 0 || state.taken < state.max => report.retry = true,
            Some(since) => {
                state.member(self.id).waiting_since = Some(since);
                state.waiting.insert((since, self.id), missing);
                report.lacks_room = state.first_without_slot(now).is_some();
            }
        }
        self.total.update_has_waiters(&mut state);
        report
    }

    /// Whether a connection of this engine should make room for a waiter of another, who has waited
    /// longer than its own head (`own`), if there is one.
    pub(super) fn is_claimed(&self, own: Option<Instant>, now: Instant) -> bool {
        let first = self.total.state.lock().first_without_slot(now);
        first.is_some_and(|(since, id)| id != self.id && own.is_none_or(|own| since < own))
    }
}

impl<T: Send + 'static, F: Send + 'static> Drop for Member<T, F> {
    fn drop(&mut self) {
        let mut state = self.total.state.lock();
        state.stop_waiting(self.id);
        state.refill_wanted.remove(&self.id);
        if let Some(member) = state.members.remove(&self.id) {
            debug_assert_eq!(member.held + member.granted, 0, "bug: slots lost");
            state.taken -= member.held + member.granted;
        }
        self.total.update_has_waiters(&mut state);
    }
}
