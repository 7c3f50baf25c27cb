//! Holders: who holds which connection, since when and from where, read from the slots.

use super::Shared;
use super::pooled::span;
use crate::engine::HeldCheckout;
use crate::info::NAMED_HOLDERS;
use crate::{ConnectionManager, Holder};

impl<M: ConnectionManager> Shared<M> {
    /// Returns every holder, the longest first.
    pub(crate) fn holders(&self) -> Vec<Holder> {
        let out = self.engine.checkouts(&self.engine.lock());
        self.name_holders(out, usize::MAX)
    }

    /// Returns the few longest holders of these checkouts and the number of the others.
    pub(super) fn longest_holders(&self, out: Vec<HeldCheckout>) -> (Vec<Holder>, usize) {
        let more = out.len().saturating_sub(NAMED_HOLDERS);
        (self.name_holders(out, NAMED_HOLDERS), more)
    }

    /// Returns the longest holders of these checkouts, the longest first. Takes no lock of the pool.
    fn name_holders(&self, mut out: Vec<HeldCheckout>, most: usize) -> Vec<Holder> {
        out.sort_by_key(|checkout| (checkout.since, checkout.slot));
        let now = self.ticker.tick();
        let named = out.iter().take(most);
        named.map(|checkout| self.holder(checkout, now)).collect()
    }

    /// Looks up the names that belong to a checkout.
    pub(super) fn holder(&self, checkout: &HeldCheckout, now: u64) -> Holder {
        let site = checkout.caller.call_site();
        let thread = checkout.caller.thread_name();
        Holder {
            connection_id: checkout.connection,
            file: site.map_or("(unknown)", |site| site.file()),
            line: site.map_or(0, |site| site.line()),
            thread: thread.unwrap_or_else(|| "(ended)".to_owned()),
            since: self.ticker.instant(checkout.since),
            held: span(checkout.since, now),
        }
    }
}
