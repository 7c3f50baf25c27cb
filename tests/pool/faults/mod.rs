//! What the fault product is made of: the cells, a manager that carries out their faults, the threads
//! that hammer one cell and what must be true of it, and the run over all cells of a pair of hooks.

pub(crate) mod book;
pub(crate) mod cell;
pub(crate) mod gauge;
pub(crate) mod hammer;
pub(crate) mod manager;
pub(crate) mod product;
