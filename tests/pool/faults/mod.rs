//! The parts of the fault product: the cells, a manager with their faults, the load on one cell with its
//! invariants, and the run over all cells of a pair of hooks.

pub(crate) mod cell;
pub(crate) mod gauge;
pub(crate) mod hammer;
pub(crate) mod manager;
pub(crate) mod product;
pub(crate) mod tracker;
