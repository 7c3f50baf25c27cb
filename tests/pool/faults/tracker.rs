//! The backend's own count of the connections it has made.

use super::cell::{Fault, MAX_ABANDONED, MAX_SIZE};
use conpool::Hook;
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

#[derive(Debug)]
pub(crate) struct Tracker {
    /// By number: every connection that is being created, is open, or is being disposed.
    places: HashMap<u64, Place>,
    last: u64,
    /// A hook that takes longer may have been abandoned by the pool.
    patience: Duration,
    /// The highest number of connections at once.
    pub(crate) peak: usize,
    /// The same without those that the pool may have abandoned.
    pub(crate) peak_counted: usize,
    pub(crate) created: u64,
    pub(crate) disposed: u64,
    /// Connections dropped without a dispose.
    pub(crate) lost: u64,
    pub(crate) running: usize,
    pub(crate) panics: u64,
    /// The number of occurrences of each fault.
    fault_counts: Vec<((Hook, Fault), u64)>,
}

#[derive(Debug)]
struct Place {
    in_hook_since: Option<Instant>,
    /// Was in a hook for too long, and may come back to be disposed only.
    abandoned_late: bool,
}

impl Tracker {
    pub(crate) fn new(patience: Duration) -> Self {
        Self {
            places: HashMap::new(),
            last: 0,
            patience,
            peak: 0,
            peak_counted: 0,
            created: 0,
            disposed: 0,
            lost: 0,
            running: 0,
            panics: 0,
            fault_counts: Vec::new(),
        }
    }

    /// Records the begin of a create: from here on its connection counts.
    pub(crate) fn open(&mut self, now: Instant) -> u64 {
        self.last += 1;
        self.running += 1;
        let place = Place {
            in_hook_since: Some(now),
            abandoned_late: false,
        };
        self.places.insert(self.last, place);
        let counted = self.places.values();
        let counted = counted.filter(|place| !place.may_be_abandoned(now, self.patience));
        self.peak_counted = self.peak_counted.max(counted.count());
        self.peak = self.peak.max(self.places.len());
        self.last
    }

    /// Records the begin of another hook.
    pub(crate) fn enter(&mut self, number: u64, now: Instant) {
        self.running += 1;
        if let Some(place) = self.places.get_mut(&number) {
            place.in_hook_since = Some(now);
        }
    }

    /// Records the end of a hook whose connection stays open.
    pub(crate) fn leave(&mut self, number: u64, now: Instant) {
        self.running -= 1;
        let patience = self.patience;
        if let Some(place) = self.places.get_mut(&number) {
            place.abandoned_late = place.may_be_abandoned(now, patience);
            place.in_hook_since = None;
        }
    }

    /// Records the end of a hook whose connection is gone.
    pub(crate) fn close(&mut self, number: u64) {
        self.running -= 1;
        self.places.remove(&number);
    }

    pub(crate) fn record_fault(&mut self, hook: Hook, fault: Fault) {
        let what = (hook, fault);
        match self
            .fault_counts
            .iter_mut()
            .find(|(known, _)| *known == what)
        {
            Some((_, count)) => *count += 1,
            None => self.fault_counts.push((what, 1)),
        }
    }

    pub(crate) fn has_occurred(&self, what: (Hook, Fault)) -> bool {
        self.fault_counts.iter().any(|(known, _)| *known == what)
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Returns a violation of the invariants, which hold for all faults and schedules.
    pub(crate) fn violation(&self) -> Option<String> {
        let most = MAX_SIZE + MAX_ABANDONED;
        if self.peak > most {
            let peak = self.peak;
            return Some(format!(
                "{peak} connections where even with hangs {most} may be"
            ));
        }
        let lost = self.lost;
        if lost > 0 {
            return Some(format!("{lost} connections dropped undisposed"));
        }
        self.over_limit().filter(|_| self.patience == Duration::MAX)
    }

    /// Returns a violation of the limit on connections, as far as this tracker can tell.
    pub(crate) fn over_limit(&self) -> Option<String> {
        let over_limit = self.peak_counted;
        (over_limit > MAX_SIZE).then(|| format!("{over_limit} connections at once"))
    }
}

impl Place {
    fn may_be_abandoned(&self, now: Instant, patience: Duration) -> bool {
        self.abandoned_late
            || self
                .in_hook_since
                .is_some_and(|since| now.saturating_duration_since(since) > patience)
    }
}
