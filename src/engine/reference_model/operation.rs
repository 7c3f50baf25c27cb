//! The operations on an engine, in random order. A number in an operation picks one of the present items.

use proptest::prelude::*;

#[derive(Debug, Clone, Copy)]
pub(super) enum Op {
    /// The clock moves by this many steps. A negative number stands for a thread that read the clock earlier.
    Advance(i8),
    Pause(Option<u8>),

    Take,
    /// A check-in as a guard does it: one swap if the fast path is open.
    CheckIn(u8),
    Return(u8, bool),
    Evict(u8),
    Detach(u8),
    Add,

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
    /// An entry comes back and must be reset.
    BeginReset(u8),
    StartCheck(u8, Option<u8>),
    EndCheck(u8, End),

    StartDispose(u8, Option<u8>),
    FinishDispose(u8),
    EndAbandoned(u8),

    AbandonOverdue,
    ExpireSoftDeadlines,
    Settle,

    /// A caller queues, with a new waiter (true) or with the waiter of an earlier wait (false).
    Enqueue(u8, bool),
    /// A task queues, with a deadline.
    EnqueueTask(u8, Option<u8>),
    /// A caller queues with an unproven entry in hand, which is checked meanwhile.
    EnqueueAndCheck(u8, u8),
    Search(u8),
    TimeOut(u8),
    TakeOutcome(u8),
    FailHead,

    /// The excess entries are evicted at once (true) or later (false).
    Resize(u8, bool),
    EvictExcess,
    /// The limit on idle entries changes, and those beyond it are evicted.
    SetMaxIdle(Option<u8>),
    Suspend(bool),
    /// Suspends the pool and fails everybody who waits.
    SuspendAndFail,
    NextGeneration,
    Drain,
    Close,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    Well,
    Badly,
    /// The check was only an inspection.
    Looked,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) max_size: usize,
    pub(super) max_creating: usize,
    /// The fairness bound, in steps of the clock.
    pub(super) bound: Option<u32>,
    pub(super) inline: bool,
    /// The entry that became idle first is taken first.
    pub(super) fifo: bool,
}

pub(super) fn settings() -> impl Strategy<Value = Settings> {
    let bound = prop_oneof![Just(Some(0)), Just(Some(3)), Just(None)];
    let kind = (any::<bool>(), any::<bool>());
    (1_usize..=5, 1_usize..=3, bound, kind).prop_map(
        |(max_size, max_creating, bound, (inline, fifo))| Settings {
            max_size,
            max_creating,
            bound,
            inline,
            fifo,
        },
    )
}

pub(super) fn operations() -> impl Strategy<Value = Vec<Op>> {
    // Two kinds of histories: busy ones with few operations on the whole pool, and others with many.
    let busy = prop::collection::vec(prop_oneof![20 => moves(), 1 => pool()], 1..=60);
    let disturbed = prop::collection::vec(prop_oneof![3 => moves(), 1 => pool()], 1..=60);
    prop_oneof![2 => busy, 1 => disturbed]
}

fn moves() -> impl Strategy<Value = Op> {
    prop_oneof![6 => checkouts(), 6 => waiting(), 5 => creates(), 5 => ends()]
}

fn checkouts() -> impl Strategy<Value = Op> {
    let which = any::<u8>;
    prop_oneof![
        4 => Just(Op::Take),
        5 => which().prop_map(Op::CheckIn),
        2 => (which(), any::<bool>()).prop_map(|(which, fresh)| Op::Return(which, fresh)),
        1 => which().prop_map(Op::Evict),
        1 => which().prop_map(Op::Detach),
        3 => Just(Op::Add),
    ]
}

fn waiting() -> impl Strategy<Value = Op> {
    let which = any::<u8>;
    prop_oneof![
        5 => (which(), any::<bool>()).prop_map(|(which, new)| Op::Enqueue(which, new)),
        3 => (which(), limit()).prop_map(|(which, deadline)| Op::EnqueueTask(which, deadline)),
        2 => (which(), which()).prop_map(|(caller, hand)| Op::EnqueueAndCheck(caller, hand)),
        3 => which().prop_map(Op::Search),
        2 => which().prop_map(Op::TimeOut),
        3 => which().prop_map(Op::TakeOutcome),
        3 => (-1_i8..=4).prop_map(Op::Advance),
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

/// Checks and disposes begin, end and are abandoned.
fn ends() -> impl Strategy<Value = Op> {
    let which = any::<u8>;
    let end = prop_oneof![Just(End::Well), Just(End::Badly), Just(End::Looked)];
    prop_oneof![
        2 => which().prop_map(Op::BeginCheck),
        2 => which().prop_map(Op::TakeToCheck),
        2 => which().prop_map(Op::BeginReset),
        4 => (which(), limit()).prop_map(|(which, deadline)| Op::StartCheck(which, deadline)),
        2 => (which(), end).prop_map(|(which, end)| Op::EndCheck(which, end)),
        2 => (which(), limit()).prop_map(|(which, deadline)| Op::StartDispose(which, deadline)),
        2 => which().prop_map(Op::FinishDispose),
        1 => which().prop_map(Op::EndAbandoned),
        3 => Just(Op::AbandonOverdue),
        1 => Just(Op::ExpireSoftDeadlines),
        1 => Just(Op::Settle),
    ]
}

fn pool() -> impl Strategy<Value = Op> {
    prop_oneof![
        7 => (1_u8..=5, any::<bool>()).prop_map(|(max_size, drain)| Op::Resize(max_size, drain)),
        2 => Just(Op::EvictExcess),
        4 => proptest::option::of(0_u8..=2).prop_map(Op::SetMaxIdle),
        4 => any::<bool>().prop_map(Op::Suspend),
        1 => Just(Op::SuspendAndFail),
        2 => Just(Op::NextGeneration),
        4 => Just(Op::Drain),
        2 => limit().prop_map(Op::Pause),
        1 => Just(Op::FailHead),
        1 => Just(Op::Close),
    ]
}

/// A deadline, in steps of the clock from now, or none.
fn limit() -> impl Strategy<Value = Option<u8>> {
    prop_oneof![2 => (0_u8..3).prop_map(Some), 1 => Just(None)]
}
