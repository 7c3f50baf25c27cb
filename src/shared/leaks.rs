//! Leak detection: records the thread, the time and the call site of each checkout, if `leak_threshold` is
//! set.

use super::pooled::span;
use super::{PoolCheckout, Shared};
use crate::clock::{Ticker, ticks};
use crate::sync::outer::Mutex;
use crate::{ConnectionManager, Holder, PoolEvent};
use std::collections::BTreeMap;
use std::panic::Location;
use std::thread;
use std::time::Duration;

pub(super) struct Leaks {
    threshold: u64,
    /// The present checkouts, by slot.
    records: Mutex<BTreeMap<u32, Record>>,
}

#[derive(Clone)]
pub(super) struct Record {
    id: u64,
    at: &'static Location<'static>,
    thread: String,
    /// The tick of the checkout.
    since: u64,
    reported: bool,
}

impl Record {
    /// Returns this record in the form of the API.
    fn holder(&self, ticker: &Ticker, now: u64) -> Holder {
        Holder {
            connection_id: self.id,
            file: self.at.file(),
            line: self.at.line(),
            thread: self.thread.clone(),
            since: ticker.instant(self.since),
            held: span(self.since, now),
        }
    }
}

impl Leaks {
    pub(super) fn new(threshold: Duration) -> Self {
        Self {
            threshold: ticks(threshold),
            records: Mutex::default(),
        }
    }

    /// Records a checkout.
    pub(super) fn note<M: ConnectionManager>(
        &self,
        checkout: &PoolCheckout<M>,
        at: &'static Location<'static>,
        now: u64,
    ) {
        let thread = thread::current();
        let thread = match thread.name() {
            Some(name) => name.to_owned(),
            None => format!("{:?}", thread.id()),
        };
        let record = Record {
            id: checkout.entry.id,
            at,
            thread,
            since: now,
            reported: false,
        };
        self.records.lock().insert(checkout.slot.index(), record);
    }

    /// Removes the record of a checkout that has ended. Returns the record if it was reported.
    pub(super) fn forget(&self, slot: u32) -> Option<Record> {
        let record = self.records.lock().remove(&slot);
        record.filter(|record| record.reported)
    }

    /// Returns the records to report now, each once, and the tick at which the next one may be due.
    pub(super) fn overdue(&self, now: u64) -> (Vec<Record>, Option<u64>) {
        let mut records = self.records.lock();
        let mut overdue = Vec::new();
        let mut next = None::<u64>;
        for record in records.values_mut().filter(|record| !record.reported) {
            let due = record.since.saturating_add(self.threshold);
            if due <= now {
                record.reported = true;
                overdue.push(record.clone());
            } else {
                next = Some(next.map_or(due, |next| next.min(due)));
            }
        }
        (overdue, next)
    }

    /// Returns the tick at which a checkout made now exceeds the threshold.
    pub(super) fn due(&self, now: u64) -> u64 {
        now.saturating_add(self.threshold)
    }
}

impl<M: ConnectionManager> Shared<M> {
    pub(crate) fn holders(&self) -> Vec<Holder> {
        let Some(leaks) = &self.leaks else {
            return Vec::new();
        };
        let now = self.ticker.tick();
        let records = leaks.records.lock();
        let holder = |record: &Record| record.holder(&self.ticker, now);
        records.values().map(holder).collect()
    }

    /// Reports a checkout that exceeds the threshold, or the end of a checkout that was reported.
    pub(super) fn emit_leak(&self, record: &Record, now: u64, over: bool) {
        let Holder {
            connection_id: id,
            file,
            line,
            thread,
            since,
            held,
        } = record.holder(&self.ticker, now);
        self.emit(|pool| match over {
            false => PoolEvent::LeakSuspected {
                pool,
                id,
                file,
                line,
                thread,
                since,
                held,
            },
            true => PoolEvent::LeakResolved {
                pool,
                id,
                file,
                line,
                thread,
                since,
                held,
            },
        });
    }
}
