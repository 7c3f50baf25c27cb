//! r2d2, without its check and with it, which is its default.

use r2d2::Pool;

use super::Subject;
use crate::nothing::Nothing;

/// Builds a pool. The build of r2d2 waits until all connections are open.
fn open(size: usize, test_on_check_out: bool) -> Pool<Nothing> {
    Pool::builder()
        .max_size(u32::try_from(size).expect("a small pool"))
        .test_on_check_out(test_on_check_out)
        .build(Nothing)
        .expect("nothing can fail")
}

#[inline]
fn cycle(pool: &Pool<Nothing>, work: impl FnOnce(&mut u64)) {
    let mut connection = pool.get().expect("nothing can fail");
    work(&mut connection);
}

pub(super) struct Unchecked(Pool<Nothing>);

impl Unchecked {
    pub(super) fn new(size: usize) -> Self {
        Self(open(size, false))
    }
}

impl Subject for Unchecked {
    const NAME: &'static str = "r2d2";

    #[inline]
    fn with(&self, _: usize, work: impl FnOnce(&mut u64)) {
        cycle(&self.0, work);
    }
}

pub(super) struct Checked(Pool<Nothing>);

impl Checked {
    pub(super) fn new(size: usize) -> Self {
        Self(open(size, true))
    }
}

impl Subject for Checked {
    const NAME: &'static str = "r2d2 checked";

    #[inline]
    fn with(&self, _: usize, work: impl FnOnce(&mut u64)) {
        cycle(&self.0, work);
    }
}
