//! The operations on a pool.

use crate::common::HOOKS;
use conpool::Hook;
use proptest::prelude::*;

/// A `usize` picks a guard (or, to kill, a connection) by its index, modulo their number; without any the
/// operation has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// The state after the build: always the first, never drawn.
    Built,
    /// With a long timeout if the reference expects a connection, with a millisecond if not.
    Get,
    /// The same by a task. Without a collector a thread gets the connection, because a task could not wait.
    GetAsync,
    /// With a zero timeout.
    GetNow,
    TryGet,
    GiveBack(usize),
    Discard(usize),
    Detach(usize),
    /// The guard is dropped by a panic.
    Unwind(usize),
    /// Runs a command, after which a killed connection is known to be broken.
    Use(usize),
    Kill(usize),
    /// Interrupts the connection of a guard.
    Interrupt(usize),
    Fail(Hook, u64),
    FailTransient(Hook, u64),
    Panic(Hook, u64),
    Clear,
    /// Keeps the connections whose number is even (or odd).
    RetainEven(bool),
    CheckHealth,
    Add,
    SetMaxSize(usize),
    SetMinIdle(usize),
    SetMaxIdle(Option<usize>),
    Suspend,
    Resume,
    /// By this many seconds and a millisecond, so that an age never equals a limit.
    Advance(u64),
    Sweep,
    Close,
    /// The last one closes the pool.
    DropHandle,
}

impl Op {
    /// Returns the operation whose rules this one follows.
    pub(crate) fn rules(self) -> Self {
        match self {
            Self::GetAsync => Self::Get,
            other => other,
        }
    }

    /// Whether this operation evicts a connection because of its number.
    pub(crate) fn rejects(self, id: u64) -> bool {
        matches!(self, Self::RetainEven(even) if even != (id % 2 == 0))
    }
}

pub(crate) fn operations(longest: usize) -> impl Strategy<Value = Vec<Op>> {
    proptest::collection::vec(operation(), 1..=longest)
}

fn operation() -> impl Strategy<Value = Op> {
    let place = || 0..8_usize;
    let hook = || proptest::sample::select(&HOOKS[..]);
    let fault = prop_oneof![
        (hook(), 1..=3_u64).prop_map(|(hook, n)| Op::Fail(hook, n)),
        (hook(), 1..=3_u64).prop_map(|(hook, n)| Op::FailTransient(hook, n)),
        (hook(), 1..=2_u64).prop_map(|(hook, n)| Op::Panic(hook, n)),
    ];
    let resize = prop_oneof![
        (0..=5_usize).prop_map(Op::SetMaxSize),
        (0..=4_usize).prop_map(Op::SetMinIdle),
        proptest::option::weighted(0.7, 0..=3_usize).prop_map(Op::SetMaxIdle),
    ];
    prop_oneof![
        8 => Just(Op::Get),
        5 => Just(Op::GetAsync),
        3 => Just(Op::GetNow),
        3 => Just(Op::TryGet),
        10 => place().prop_map(Op::GiveBack),
        2 => place().prop_map(Op::Discard),
        2 => place().prop_map(Op::Detach),
        1 => place().prop_map(Op::Unwind),
        2 => place().prop_map(Op::Use),
        4 => place().prop_map(Op::Kill),
        2 => place().prop_map(Op::Interrupt),
        7 => fault,
        2 => Just(Op::Clear),
        2 => any::<bool>().prop_map(Op::RetainEven),
        2 => Just(Op::CheckHealth),
        2 => Just(Op::Add),
        6 => resize,
        2 => Just(Op::Suspend),
        3 => Just(Op::Resume),
        9 => proptest::sample::select(vec![10, 20, 30, 50, 100]).prop_map(Op::Advance),
        5 => Just(Op::Sweep),
        1 => prop_oneof![Just(Op::Close), Just(Op::DropHandle)],
    ]
}
