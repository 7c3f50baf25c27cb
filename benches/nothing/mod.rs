//! The connection of every pool here: a number. Making it is free, so the result is the cost of the pool
//! alone.

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

    // The check runs on the calling thread, as in the other pools.
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
