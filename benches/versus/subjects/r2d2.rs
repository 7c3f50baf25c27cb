//! r2d2, without its check and with it, which is its default.

use std::{convert::Infallible, hint::black_box};

use r2d2::{ManageConnection, Pool};

use super::Subject;

struct Nothing;

impl ManageConnection for Nothing {
    type Connection = u64;
    type Error = Infallible;

    fn connect(&self) -> Result<u64, Infallible> {
        Ok(0)
    }

    fn is_valid(&self, connection: &mut u64) -> Result<(), Infallible> {
        black_box(connection);
        Ok(())
    }

    fn has_broken(&self, _: &mut u64) -> bool {
        false
    }
}

/// Its build waits until all connections are open.
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
