//! The fault product: every pair of hooks in every combination of their faults, each cell a pool of three
//! connections under eight threads.
//!
//! In every cell, for all faults of the two hooks: the backend never sees more than `max_size` connections,
//! besides those of abandoned hooks, and never more of those than their cap; a get returns at its deadline at
//! the earliest and 50 ms after it at the latest; callers never get a connection that a hook has rejected;
//! every error is explained by the faults. When the faults end, under load, all waiters are served, the same
//! pool lends `max_size` connections at once, and closing disposes every connection and ends every thread.
//!
//! A fault occurs at one call in three in one half of the cells and at every call in the other. Checks run on
//! the pool's threads, on the caller's, or, where the cell does not test them, not at all.
//! `CONPOOL_FAULT_ROUNDS` sets the number of repetitions, `CONPOOL_FAULT_SEED` repeats the random numbers of
//! a cell that failed.

use crate::common::HOOKS;
use crate::faults;

use conpool::Hook;
use faults::{cell::Cell, product::every_cell};
use std::collections::HashSet;

#[test]
fn the_product_has_every_combination_of_two_faults() {
    let mut combinations = HashSet::new();
    for (number, first) in HOOKS.into_iter().enumerate() {
        for &second in &HOOKS[number + 1..] {
            let cells = Cell::all(first, second, 0);
            combinations.extend(
                cells
                    .iter()
                    .map(|cell| format!("{:?} {:?}", cell.first, cell.second)),
            );
        }
    }
    assert_eq!(combinations.len(), 553);
}

#[test]
fn a_pool_outlives_every_fault_of_create_and_check_aliveness() {
    every_cell(Hook::Create, Hook::Check);
}

#[test]
fn a_pool_outlives_every_fault_of_create_and_dispose() {
    every_cell(Hook::Create, Hook::Dispose);
}

#[test]
fn a_pool_outlives_every_fault_of_create_and_has_broken() {
    every_cell(Hook::Create, Hook::HasBroken);
}

#[test]
fn a_pool_outlives_every_fault_of_create_and_on_checkout() {
    every_cell(Hook::Create, Hook::Checkout);
}

#[test]
fn a_pool_outlives_every_fault_of_create_and_on_checkin() {
    every_cell(Hook::Create, Hook::Checkin);
}

#[test]
fn a_pool_outlives_every_fault_of_check_aliveness_and_dispose() {
    every_cell(Hook::Check, Hook::Dispose);
}

#[test]
fn a_pool_outlives_every_fault_of_check_aliveness_and_has_broken() {
    every_cell(Hook::Check, Hook::HasBroken);
}

#[test]
fn a_pool_outlives_every_fault_of_check_aliveness_and_on_checkout() {
    every_cell(Hook::Check, Hook::Checkout);
}

#[test]
fn a_pool_outlives_every_fault_of_check_aliveness_and_on_checkin() {
    every_cell(Hook::Check, Hook::Checkin);
}

#[test]
fn a_pool_outlives_every_fault_of_dispose_and_has_broken() {
    every_cell(Hook::Dispose, Hook::HasBroken);
}

#[test]
fn a_pool_outlives_every_fault_of_dispose_and_on_checkout() {
    every_cell(Hook::Dispose, Hook::Checkout);
}

#[test]
fn a_pool_outlives_every_fault_of_dispose_and_on_checkin() {
    every_cell(Hook::Dispose, Hook::Checkin);
}

#[test]
fn a_pool_outlives_every_fault_of_has_broken_and_on_checkout() {
    every_cell(Hook::HasBroken, Hook::Checkout);
}

#[test]
fn a_pool_outlives_every_fault_of_has_broken_and_on_checkin() {
    every_cell(Hook::HasBroken, Hook::Checkin);
}

#[test]
fn a_pool_outlives_every_fault_of_on_checkout_and_on_checkin() {
    every_cell(Hook::Checkout, Hook::Checkin);
}

#[test]
fn a_pool_outlives_every_fault_of_create_and_reset() {
    every_cell(Hook::Create, Hook::Reset);
}

#[test]
fn a_pool_outlives_every_fault_of_check_aliveness_and_reset() {
    every_cell(Hook::Check, Hook::Reset);
}

#[test]
fn a_pool_outlives_every_fault_of_dispose_and_reset() {
    every_cell(Hook::Dispose, Hook::Reset);
}

#[test]
fn a_pool_outlives_every_fault_of_has_broken_and_reset() {
    every_cell(Hook::HasBroken, Hook::Reset);
}

#[test]
fn a_pool_outlives_every_fault_of_on_checkout_and_reset() {
    every_cell(Hook::Checkout, Hook::Reset);
}

#[test]
fn a_pool_outlives_every_fault_of_on_checkin_and_reset() {
    every_cell(Hook::Checkin, Hook::Reset);
}
