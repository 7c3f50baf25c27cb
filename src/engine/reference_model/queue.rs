//! The wait queue of the reference model: who is due, who is served, and which creates the waiters need.

use super::super::JobKind;
use super::model::{ExpectedOutcome, Model, Place};
use super::waiter::{Kind, Waiter};
use std::time::Instant;

impl Model {
    /// Whether the head has been found to be due.
    pub(super) fn is_due(&self) -> bool {
        let head = self.queue.first();
        head.is_some_and(|head| head.is_task() || head.number == self.due)
    }

    /// Whether the head has waited as long as the fairness bound.
    pub(super) fn is_late(&self) -> bool {
        let head = self.queue.first().zip(self.bound);
        head.is_some_and(|(head, bound)| self.now.saturating_duration_since(head.since) >= bound)
    }

    pub(super) fn may_barge(&self) -> bool {
        !self.closed && !self.suspended && !self.is_due()
    }

    /// Recomputes which waiters are due, as the engine does at each reading of the clock.
    ///
    /// A late head makes all queued waiters due when they are the head, and half as many of the waiters that
    /// queue later, until the queue is empty.
    pub(super) fn update_due(&mut self) {
        let Some(head) = self.queue.first() else {
            self.forced_fifo_until = 0;
            return;
        };
        if head.is_task() {
            return;
        }
        let head = head.number;
        let late = self.is_late();
        if self.due == head || !late && head > self.forced_fifo_until {
            return;
        }
        self.due = head;
        if late && head > self.forced_fifo_until {
            self.forced_fifo_until = self.numbers + self.queue.len() as u64 / 2;
        }
    }

    /// Adds a waiter: at the end, or at its former place if `number` is not 0. Returns the number.
    pub(super) fn enqueue(
        &mut self,
        caller: usize,
        number: u64,
        since: Instant,
        kind: Kind,
    ) -> u64 {
        let number = if number == 0 {
            self.numbers += 1;
            self.numbers
        } else {
            number
        };
        self.queue.push(Waiter {
            caller,
            number,
            since,
            kind,
        });
        self.queue.sort_by_key(|waiter| waiter.number);
        self.update_due();
        number
    }

    pub(super) fn dequeue(&mut self, caller: usize) {
        self.queue.retain(|waiter| waiter.caller != caller);
        self.settle();
    }

    pub(super) fn is_head(&self, caller: usize) -> bool {
        self.queue.first().is_some_and(|head| head.caller == caller)
    }

    pub(super) fn hand_off(&mut self, outcome: ExpectedOutcome) {
        let head = self.queue.remove(0);
        self.served.push((head.caller, outcome));
    }

    /// Ends the waits of tasks whose deadline has passed.
    pub(super) fn time_out_tasks(&mut self) {
        let now = self.now;
        let is_over =
            |waiter: &Waiter| matches!(waiter.kind, Kind::Task(Some(deadline)) if deadline <= now);
        let (over, others) = self.queue.drain(..).partition(is_over);
        self.queue = others;
        let over: Vec<Waiter> = over;
        let ends = over
            .iter()
            .map(|waiter| (waiter.caller, ExpectedOutcome::TimedOut));
        self.served.extend(ends);
    }

    /// Hands the idle entry whose turn it is, or that in the lowest slot, to the task at the head, after the engine has done so.
    pub(super) fn serve_task(&mut self, caller: usize, id: u64) {
        let idle = self.entries.iter();
        let idle = idle.filter(|entry| matches!(entry.place, Place::Idle(_)));
        let first = match self.fifo {
            true => idle.min_by_key(|entry| entry.turn),
            false => idle.min_by_key(|entry| entry.slot),
        };
        assert_eq!(
            first.map(|entry| entry.id),
            Some(id),
            "the idle entry for the task"
        );
        assert!(self.is_head(caller), "a task is served out of turn");
        self.take(id);
        self.hand_off(ExpectedOutcome::Entry(id));
        self.release_jobs();
        self.update_due();
    }

    /// Releases jobs whose waiter has gone, and begins the necessary creates.
    pub(super) fn settle(&mut self) {
        self.release_jobs();
        self.update_due();
        while !self.suspended
            && !self.closed
            && self.queue.len() > self.jobs_with_waiter() + self.idle()
            && self.assign_check()
        {}
        while self.queue.len() > self.jobs_with_waiter() + self.idle() && self.may_create() {
            let number = self.begin(JobKind::Create, None, !self.inline);
            if self.inline {
                self.hand_off(ExpectedOutcome::Permit(number));
                self.update_due();
            } else {
                self.to_start.push(number);
            }
        }
    }

    fn release_jobs(&mut self) {
        while self.jobs_with_waiter() > self.queue.len() {
            let mut counted = self.jobs.iter_mut().filter(|job| job.has_waiter);
            // A job that has not started need not start. Among started jobs, release the oldest.
            let planned = counted.by_ref().filter(|job| !job.started).last();
            match planned {
                Some(job) => job.has_waiter = false,
                None => {
                    let oldest = self.jobs.iter_mut().find(|job| job.has_waiter);
                    oldest.expect("some job has a waiter").has_waiter = false;
                }
            }
        }
    }
}
