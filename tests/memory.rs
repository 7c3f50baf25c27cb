//! The allocations of the pool: none on the warm path, little for an idle slot. One test in a process of its
//! own, because the counting allocator counts every thread.

use conpool::{ConnectionManager, Pool};
use std::convert::Infallible;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

struct Nothing;

impl ConnectionManager for Nothing {
    type Connection = u64;
    type Error = Infallible;
    fn create(&self) -> Result<u64, Infallible> {
        Ok(7)
    }
    fn check_aliveness(&self, _: &mut u64) -> Result<(), Infallible> {
        Ok(())
    }
}

#[test]
fn a_warm_cycle_allocates_nothing_and_an_idle_slot_takes_less_than_256_bytes() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let pool = Pool::builder()
        .max_size(2000)
        .background_collector(false)
        .build(Nothing)
        .unwrap();

    let guards: Vec<_> = (0..1000).map(|_| pool.get().unwrap()).collect();
    drop(guards);
    let before = dhat::HeapStats::get();
    let guards: Vec<_> = (0..2000).map(|_| pool.get().unwrap()).collect();
    drop(guards);
    let after = dhat::HeapStats::get();
    // A thousand more connections are open now, all idle.
    let connection = std::mem::size_of::<u64>();
    let per_slot = (after.curr_bytes - before.curr_bytes) / 1000 - connection;
    println!("{per_slot} bytes per idle slot beyond the connection");
    assert!(per_slot < 256, "{per_slot} bytes per idle slot");

    let pool = Pool::builder().max_size(10).build(Nothing).unwrap();
    let cycle = || *pool.get().unwrap();
    cycle();
    // The minimum over several rounds: the pool's own threads may allocate meanwhile, a cycle may not.
    let rounds = (0..5).map(|_| {
        let before = dhat::HeapStats::get();
        let sum: u64 = (0..10_000).map(|_| cycle()).sum();
        let after = dhat::HeapStats::get();
        assert_eq!(sum, 70_000);
        after.total_blocks - before.total_blocks
    });
    let allocated = rounds.min();
    assert_eq!(allocated, Some(0), "blocks allocated by 10,000 warm cycles");
}
