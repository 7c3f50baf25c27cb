//! A limit on the slots that several engines share. A keyed pool has one engine per key and one shared limit.
//!
//! An engine holds one slot permit for every slot that it takes, from the create that fills the slot to the
//! end of the dispose that empties the slot. So the limit holds at every instant, across all engines. Each
//! engine keeps its own lock. The shared limit has one lock, taken inside of at most one engine's lock.
//!
//! # Which engine gets a slot that comes free
//!
//! While slot permits are free, an engine takes one without regard to the other engines. When none is free,
//! the engine reports since when its first waiter without any other prospect has waited, and joins the wait
//! queue of the shared limit. A slot permit that comes free is granted to the longest waiting member before
//! another engine can take it. The thread that freed the slot permit settles the granted engine after it
//! releases its own engine's lock. A grant that is no longer needed (its waiter gave up) goes on to the next
//! member.
//!
//! # Eviction for a waiter of another engine
//!
//! While the wait queue has members, [`SharedLimit::has_waiters`] is true. Then every check-in of every
//! engine goes through the engine's lock and evicts its connection, unless an older waiter of its own engine
//! wants the connection. When a member joins the wait queue, [`SharedLimit::evict_for_waiters`] evicts idle
//! connections, the longest idle first. The first such search also marks every slot in use RETURN_SLOW. The
//! mark catches a check-in that read "no waiters" before and stores its connection after: search and check-in
//! meet in the slot's cell, as a waiter's search and a check-in do (see [`slot`](super::slot)).
//!
//! The slot of a connection being disposed will come free by itself, so each such slot saves one eviction. A
//! dispose that takes longer than [`DISPOSE_SOFT_LIMIT`] no longer counts as such a slot: a hook that hangs
//! costs other keys no more than the slot it holds.

mod member;

pub(crate) use member::Member;

use super::{Engine, Evicted, Now, Stamp};
use crate::sync::{AtomicU32, Mutex, Ordering};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// How long waiters rely on a dispose to free its slot.
const DISPOSE_SOFT_LIMIT: Duration = Duration::from_millis(100);

pub(crate) struct SharedLimit<T: Send + 'static, F: Send + 'static> {
    /// Whether a member waits for a slot. Every check-in reads this.
    has_waiters: AtomicU32,
    state: Mutex<State<T, F>>,
}

struct State<T: Send + 'static, F: Send + 'static> {
    max: usize,
    /// Slot permits that members hold or were granted.
    taken: usize,
    last_id: u64,
    members: BTreeMap<u64, MemberState<T, F>>,
    /// The wait queue: since when, which member, and for how many slots.
    waiting: BTreeMap<(Instant, u64), usize>,
    /// Members whose spare create found no free slot permit.
    refill_wanted: BTreeSet<u64>,
    /// Disposes under way, by member and job, and since when.
    disposing: BTreeMap<(u64, u64), Instant>,
    /// Evictions for a waiter that an engine has decided on and not begun yet.
    claims: usize,
    /// True if every slot in use was marked RETURN_SLOW since the wait queue was last empty.
    marked: bool,
}

struct MemberState<T: Send + 'static, F: Send + 'static> {
    engine: Weak<Engine<T, F>>,
    held: usize,
    granted: usize,
    waiting_since: Option<Instant>,
}

/// A member that must act because a slot is available.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Followup {
    /// The member was granted a slot for a waiter and must settle.
    Waiter(u64),
    /// A slot is free, and the member wants a spare connection.
    Refill(u64),
}

impl<T: Send + 'static, F: Send + 'static> State<T, F> {
    fn member(&mut self, id: u64) -> &mut MemberState<T, F> {
        self.members.get_mut(&id).expect("bug: no such member")
    }

    /// Counts the slots that disposes under way will free soon.
    fn soon_free(&self, now: Instant) -> usize {
        let young = |since: &&Instant| now.saturating_duration_since(**since) < DISPOSE_SOFT_LIMIT;
        self.disposing.values().filter(young).count() + self.claims
    }

    /// Returns the longest waiting member that no dispose under way will serve, and since when it has waited.
    fn first_without_slot(&self, now: Instant) -> Option<(Instant, u64)> {
        if self.waiting.is_empty() {
            return None;
        }
        let mut soon_free = self.soon_free(now);
        self.waiting.iter().find_map(|(first, slots)| {
            let lacks_slot = *slots > soon_free;
            soon_free = soon_free.saturating_sub(*slots);
            lacks_slot.then_some(*first)
        })
    }

    fn stop_waiting(&mut self, id: u64) {
        if let Some(since) = self.member(id).waiting_since.take() {
            self.waiting.remove(&(since, id));
        }
    }

    /// Passes on a slot permit that has come free.
    fn grant_next(&mut self) -> Option<Followup> {
        if let Some((_, id)) = self.waiting.first_key_value().map(|(first, _)| *first) {
            // A member that waits for more slots reports again after it took this one.
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
                claims: 0,
                marked: false,
            }),
        })
    }

    /// Whether a member waits for a slot.
    #[inline]
    pub(crate) fn has_waiters(&self) -> bool {
        self.has_waiters.load(Ordering::Acquire) != 0
    }

    fn update_has_waiters(&self, state: &mut State<T, F>) {
        let has_waiters = !state.waiting.is_empty();
        state.marked &= has_waiters;
        self.has_waiters
            .swap(u32::from(has_waiters), Ordering::AcqRel);
    }

    /// Returns the engines that hold slots, except that of member `except`. Ids begin with 1, so 0 excludes
    /// none.
    fn holders(state: &State<T, F>, except: u64) -> Vec<Arc<Engine<T, F>>> {
        let members = state.members.iter();
        let holders = members.filter(|(id, member)| **id != except && member.held > 0);
        holders
            .filter_map(|(_, member)| member.engine.upgrade())
            .collect()
    }

    /// Evicts idle connections, the longest idle first, while a member waits that no dispose under way will
    /// serve. The caller must hold no engine's lock, and must dispose the evicted connections.
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
            evicted.extend(engine.evict_on_return_for_peer(now));
        }
        evicted
    }

    /// Evicts connections that seem to be idle: the first half of
    /// [`evict_for_waiters`](Self::evict_for_waiters).
    pub(super) fn evict_idle(&self, now: Now) -> Vec<Evicted<T, F>> {
        let mut evicted = Vec::new();
        let first_waiter = || self.state.lock().first_without_slot(now.real);
        let Some((_, id)) = first_waiter() else {
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
            if first_waiter().is_none() {
                return evicted;
            }
            evicted.extend(engine.evict_for_peer(slot, now));
        }
        evicted
    }

    /// Counts the connections of all engines that this thread checked out and has not returned.
    pub(crate) fn held_by(&self, thread: u32) -> usize {
        let engines = Self::holders(&self.state.lock(), 0);
        engines.iter().map(|engine| engine.held_by(thread)).sum()
    }

    /// Returns when the next dispose under way passes its soft limit, and which member should settle then.
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
