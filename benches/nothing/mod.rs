//! What every pool holds here: a number that costs nothing to make, so that a
//! figure is that of the pool alone.

use std::{convert::Infallible, hint::black_box};

#[derive(Debug)]
pub(crate) struct Nothing;

impl conpool::ConnectionManager for Nothing {
    type Connection = u64;
    type Error = Infallible;

    fn create(&self) -> Result<u64, Infallible> {
        Ok(0)
    }

    fn check_aliveness(&self, connection: &mut u64) -> Result<(), Infallible> {
        black_box(connection);
        Ok(())
    }

    // As in the other pools, where the check runs on the thread that asks.
    fn check_may_block(&self) -> bool {
        false
    }
}

impl r2d2::ManageConnection for Nothing {
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
