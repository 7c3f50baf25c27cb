//! This pool, without a check and with one at every checkout.

use conpool::{HealthCheck, Pool};

use super::Subject;
use crate::nothing::Nothing;

fn open(size: usize, health_check: HealthCheck) -> Pool<Nothing> {
    let pool = Pool::builder()
        .max_size(size)
        .health_check(health_check)
        .build(Nothing)
        .expect("nothing can fail");
    let all: Vec<_> = (0..size).map(|_| pool.get()).collect();
    assert!(all.iter().all(Result::is_ok));
    drop(all);
    pool
}

#[inline]
fn cycle(pool: &Pool<Nothing>, work: impl FnOnce(&mut u64)) {
    let mut connection = pool.get().expect("nothing can fail");
    work(&mut connection);
}

pub(super) struct Unchecked(Pool<Nothing>);

impl Unchecked {
    pub(super) fn new(size: usize) -> Self {
        Self(open(size, HealthCheck::Never))
    }
}

impl Subject for Unchecked {
    const NAME: &'static str = "conpool";

    #[inline]
    fn with(&self, _: usize, work: impl FnOnce(&mut u64)) {
        cycle(&self.0, work);
    }
}

pub(super) struct Checked(Pool<Nothing>);

impl Checked {
    pub(super) fn new(size: usize) -> Self {
        Self(open(size, HealthCheck::OnCheckout))
    }
}

impl Subject for Checked {
    const NAME: &'static str = "conpool checked";

    #[inline]
    fn with(&self, _: usize, work: impl FnOnce(&mut u64)) {
        cycle(&self.0, work);
    }
}
