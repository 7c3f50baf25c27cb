//! What can happen to an engine, in random order. A number picks one of those there are.

use proptest::prelude::*;

#[derive(Debug, Clone, Copy)]
pub(super) enum Op {
    /// The clock moves on by so many steps, or is read by a thread that looked before.
    Pass(i8),
    Pause(Option<u8>),

    Take,
    /// The way of a guard: one swap if nothing speaks against it.
    CheckIn(u8),
    Give(u8, bool),
    Retire(u8),
    Release(u8),
    Adopt,

    Reserve,
    StartCreate {
        which: u8,
        deadline: Option<u8>,
        wanted: bool,
    },
    Install(u8),
    FailCreate(u8),
    DropPermit(u8),

    BeginCheck(u8),
    TakeToCheck(u8),
    StartCheck(u8, Option<u8>),
    EndCheck(u8, End),

    StartDispose(u8, Option<u8>),
    FinishDispose(u8),
    EndStray(u8),

    GiveUp,
    LosePatience,
    Settle,

    /// With a new ticket, or with one that has stood in line before.
    Join(u8, bool),
    /// The same with an unproven entry in hand, which is checked meanwhile.
    JoinToCheck(u8, u8),
    Look(u8),
    Leave(u8),
    Open(u8),
    FailHead,

    /// With the surplus retired at once, or not yet.
    Resize(u8, bool),
    DrainSurplus,
    Suspend(bool),
    NextGeneration,
    Drain,
    Close,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    Well,
    Badly,
    /// It was only looked at.
    Looked,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) max_size: usize,
    pub(super) max_creating: usize,
    /// In steps of the clock.
    pub(super) bound: Option<u32>,
    pub(super) inline: bool,
}

pub(super) fn settings() -> impl Strategy<Value = Settings> {
    let bound = prop_oneof![Just(Some(0)), Just(Some(3)), Just(None)];
    (1_usize..=5, 1_usize..=3, bound, any::<bool>()).prop_map(
        |(max_size, max_creating, bound, inline)| Settings {
            max_size,
            max_creating,
            bound,
            inline,
        },
    )
}

pub(super) fn operations() -> impl Strategy<Value = Vec<Op>> {
    // Two kinds of histories: busy ones, where hardly anything befalls the whole pool, and others.
    let busy = prop::collection::vec(prop_oneof![20 => moves(), 1 => pool()], 1..=60);
    let stirred = prop::collection::vec(prop_oneof![3 => moves(), 1 => pool()], 1..=60);
    prop_oneof![2 => busy, 1 => stirred]
}

fn moves() -> impl Strategy<Value = Op> {
    prop_oneof![6 => lending(), 6 => waiting(), 5 => creates(), 5 => ends()]
}

fn lending() -> impl Strategy<Value = Op> {
    let which = any::<u8>;
    prop_oneof![
        4 => Just(Op::Take),
        5 => which().prop_map(Op::CheckIn),
        2 => (which(), any::<bool>()).prop_map(|(which, fresh)| Op::Give(which, fresh)),
        1 => which().prop_map(Op::Retire),
        1 => which().prop_map(Op::Release),
        3 => Just(Op::Adopt),
    ]
}

fn waiting() -> impl Strategy<Value = Op> {
    let which = any::<u8>;
    prop_oneof![
        5 => (which(), any::<bool>()).prop_map(|(which, anew)| Op::Join(which, anew)),
        2 => (which(), which()).prop_map(|(caller, hand)| Op::JoinToCheck(caller, hand)),
        3 => which().prop_map(Op::Look),
        2 => which().prop_map(Op::Leave),
        3 => which().prop_map(Op::Open),
        3 => (-1_i8..=4).prop_map(Op::Pass),
    ]
}

fn creates() -> impl Strategy<Value = Op> {
    let which = any::<u8>;
    let start =
        (which(), limit(), prop::bool::weighted(0.7)).prop_map(|(which, deadline, wanted)| {
            Op::StartCreate {
                which,
                deadline,
                wanted,
            }
        });
    prop_oneof![
        2 => Just(Op::Reserve),
        5 => start,
        4 => which().prop_map(Op::Install),
        2 => which().prop_map(Op::FailCreate),
        1 => which().prop_map(Op::DropPermit),
    ]
}

/// Checks, disposes, and giving up on them.
fn ends() -> impl Strategy<Value = Op> {
    let which = any::<u8>;
    let end = prop_oneof![Just(End::Well), Just(End::Badly), Just(End::Looked)];
    prop_oneof![
        2 => which().prop_map(Op::BeginCheck),
        2 => which().prop_map(Op::TakeToCheck),
        4 => (which(), limit()).prop_map(|(which, deadline)| Op::StartCheck(which, deadline)),
        2 => (which(), end).prop_map(|(which, end)| Op::EndCheck(which, end)),
        2 => (which(), limit()).prop_map(|(which, deadline)| Op::StartDispose(which, deadline)),
        2 => which().prop_map(Op::FinishDispose),
        1 => which().prop_map(Op::EndStray),
        3 => Just(Op::GiveUp),
        1 => Just(Op::LosePatience),
        1 => Just(Op::Settle),
    ]
}

fn pool() -> impl Strategy<Value = Op> {
    prop_oneof![
        7 => (1_u8..=5, any::<bool>()).prop_map(|(max_size, drain)| Op::Resize(max_size, drain)),
        2 => Just(Op::DrainSurplus),
        4 => any::<bool>().prop_map(Op::Suspend),
        2 => Just(Op::NextGeneration),
        4 => Just(Op::Drain),
        2 => limit().prop_map(Op::Pause),
        1 => Just(Op::FailHead),
        1 => Just(Op::Close),
    ]
}

/// In steps of the clock from now, or never.
fn limit() -> impl Strategy<Value = Option<u8>> {
    prop_oneof![2 => (0_u8..3).prop_map(Some), 1 => Just(None)]
}
