//! The fault product: every pair of hooks in every combination of their faults, each cell a pool of
//! three connections under eight threads.
//!
//! In every cell, whatever the two hooks do: the backend never sees more than `max_size` connections,
//! abandoned hooks apart, and never more than their cap allows; no get comes back later than 50 ms
//! after its deadline, or before it; nobody is handed a connection that a hook has turned down; no
//! error comes that the faults do not explain. When the faults end, under load, everybody in line is
//! served, the same pool lends `max_size` connections at once, and closing leaves no connection
//! undisposed and no thread.
//!
//! A fault strikes one call in three in one half of the cells and every call in the other, and checks
//! run on the pool's threads, on the caller's, or, where they are not in question, not at all.
//! `CONPOOL_FAULT_ROUNDS` plays everything so many times, `CONPOOL_FAULT_SEED` repeats the dice of a
//! cell that failed.

use crate::faults;

use conpool::Hook;
use faults::{cell::Cell, product::every_cell};
use std::collections::HashSet;

const HOOKS: [Hook; 6] = [
    Hook::Create,
    Hook::Check,
    Hook::Dispose,
    Hook::HasBroken,
    Hook::Checkout,
    Hook::Checkin,
];

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
    assert_eq!(combinations.len(), 373);
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
