//! The broken promises.

use parking_lot::Mutex;

/// The texts of the first few breaches, and the number of all.
#[derive(Debug, Default)]
pub(crate) struct Verdict(Mutex<(u64, Vec<String>)>);

impl Verdict {
    const KEPT: usize = 10;

    pub(crate) fn breach(&self, what: impl Into<String>) {
        let mut breaches = self.0.lock();
        breaches.0 += 1;
        if breaches.1.len() < Self::KEPT {
            breaches.1.push(what.into());
        }
    }

    /// Records a breach unless `holds`.
    pub(crate) fn must(&self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.breach(what());
        }
    }

    pub(crate) fn breaches(&self) -> u64 {
        self.0.lock().0
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        self.0.lock().1.clone()
    }
}
