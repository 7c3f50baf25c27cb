//! What the backend counts of the connections it has made, whatever the pool says.

use super::cell::{Fault, MAX_ABANDONED, MAX_SIZE};
use conpool::Hook;
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

#[derive(Debug)]
pub(crate) struct Book {
    /// By number: every connection that is being created, lives, or is being disposed.
    places: HashMap<u64, Place>,
    last: u64,
    /// A hook that takes longer may be one that the pool has given up on.
    patience: Duration,
    /// The most that were there at once.
    pub(crate) peak: usize,
    /// The same without those that the pool may have given up on.
    pub(crate) peak_counted: usize,
    pub(crate) created: u64,
    pub(crate) disposed: u64,
    /// Connections dropped by somebody who did not dispose them.
    pub(crate) lost: u64,
    pub(crate) running: usize,
    pub(crate) panics: u64,
    /// How often each fault came.
    struck: Vec<((Hook, Fault), u64)>,
}

#[derive(Debug)]
struct Place {
    in_hook_since: Option<Instant>,
    /// Was in a hook too long, and may come back to be disposed only.
    aside: bool,
}

impl Book {
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
            struck: Vec::new(),
        }
    }

    /// A create begins: from here on its connection counts.
    pub(crate) fn open(&mut self, now: Instant) -> u64 {
        self.last += 1;
        self.running += 1;
        let place = Place {
            in_hook_since: Some(now),
            aside: false,
        };
        self.places.insert(self.last, place);
        let counted = self.places.values();
        let counted = counted.filter(|place| !place.is_aside(now, self.patience));
        self.peak_counted = self.peak_counted.max(counted.count());
        self.peak = self.peak.max(self.places.len());
        self.last
    }

    /// Another hook begins.
    pub(crate) fn enter(&mut self, number: u64, now: Instant) {
        self.running += 1;
        if let Some(place) = self.places.get_mut(&number) {
            place.in_hook_since = Some(now);
        }
    }

    /// A hook ends, and the connection lives on.
    pub(crate) fn leave(&mut self, number: u64, now: Instant) {
        self.running -= 1;
        let patience = self.patience;
        if let Some(place) = self.places.get_mut(&number) {
            place.aside = place.is_aside(now, patience);
            place.in_hook_since = None;
        }
    }

    /// A hook ends, and there is no connection any more.
    pub(crate) fn close(&mut self, number: u64) {
        self.running -= 1;
        self.places.remove(&number);
    }

    pub(crate) fn strike(&mut self, hook: Hook, fault: Fault) {
        let what = (hook, fault);
        match self.struck.iter_mut().find(|(known, _)| *known == what) {
            Some((_, count)) => *count += 1,
            None => self.struck.push((what, 1)),
        }
    }

    pub(crate) fn has_struck(&self, what: (Hook, Fault)) -> bool {
        self.struck.iter().any(|(known, _)| *known == what)
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// What cannot be, however the faults fell and the threads ran.
    pub(crate) fn complaint(&self) -> Option<String> {
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
        self.crowd().filter(|_| self.patience == Duration::MAX)
    }

    /// More connections at once than there may be, as far as this book can tell.
    pub(crate) fn crowd(&self) -> Option<String> {
        let crowd = self.peak_counted;
        (crowd > MAX_SIZE).then(|| format!("{crowd} connections at once"))
    }
}

impl Place {
    fn is_aside(&self, now: Instant, patience: Duration) -> bool {
        self.aside
            || self
                .in_hook_since
                .is_some_and(|since| now.saturating_duration_since(since) > patience)
    }
}
