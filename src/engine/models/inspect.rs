//! The inspection that every execution of a model ends with.

use super::super::{CLOSED, SHARED, SUSPENDED, Stamp};
use super::house::{House, TICK};
use crate::sync::Ordering::Relaxed;

impl House {
    /// To be called when all threads of the model have ended and nothing is lent out: every entry is
    /// in exactly one place, the counts say so, and nobody is in line. Returns how many are idle.
    pub(super) fn inspect(&self) -> usize {
        let core = self.lock();
        assert_eq!(core.queue.len(), 0, "somebody is still in line");
        assert_eq!(core.jobs().count(), 0, "a job has not ended");
        let jobs = core.creating + core.checking + core.disposing + core.covering();
        assert_eq!(jobs + core.abandoned, 0, "a count of jobs has drifted");
        let open = core.created + core.added - core.disposed - core.detached;
        assert_eq!(core.open as u64, open, "conservation");
        assert!(core.taken() <= core.max_size, "more than there may be");
        let slots = || self.engine.table.all();
        let idle = slots().filter(|slot| matches!(slot.stamp(), Stamp::Idle(_)));
        assert_eq!(idle.count(), core.open, "an entry is lost");
        let ready = self.engine.table.seems_idle(usize::MAX);
        assert_eq!(ready, core.open, "an idle entry has lost its ready bit");
        let mut gate = if core.closed { CLOSED } else { 0 };
        gate |= if core.suspended { SUSPENDED } else { 0 };
        let told = self.engine.gate.load(Relaxed) & !SHARED;
        assert_eq!(told, gate, "the gate does not tell the truth");
        let (open, generation, closed) = (core.open, core.generation, core.closed);
        drop(core);
        assert_eq!(self.alive.load(Relaxed), open, "an entry was dropped");
        let idle: Vec<_> = slots().filter_map(|slot| slot.take(TICK)).collect();
        assert_eq!(idle.len(), open, "a slot says it is idle and is empty");
        for lent in &idle {
            lent.entry.touch();
            assert_eq!(
                lent.entry.generation, generation,
                "cleared, and still there"
            );
        }
        assert!(!closed || open == 0, "closed, and not empty");
        idle.len()
    }
}
