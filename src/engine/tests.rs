//! Orders of events that the public API cannot force.

use super::*;
use std::sync::mpsc;
use std::thread;

fn real_now() -> Instant {
    Instant::now()
}

#[test]
fn a_waiter_notified_while_an_older_one_becomes_the_head_is_notified_again() {
    let engine = Engine::<u64, ()>::new(
        1,
        1,
        Some(Duration::from_secs(60)),
        true,
        Instant::now(),
        None,
    );
    let clock = || Now {
        tick: 1,
        real: real_now(),
    };
    let checkout = {
        let mut state = engine.lock();
        let checkout = engine.add(&mut state, Box::new(7), clock(), u64::MAX);
        checkout.unwrap_or_else(|_| unreachable!("there is room"))
    };
    let (older, younger) = (Waiter::new(real_now()), Waiter::new(real_now()));
    {
        let mut state = engine.lock();
        engine.enqueue(&mut state, &older, real_now());
        engine.enqueue(&mut state, &younger, real_now());
        // The older waiter leaves the queue for an attempt that will fail.
        assert!(engine.dequeue(&mut state, &older, real_now()).is_some());
    }
    // A check-in notifies the younger waiter. The older waiter takes its place again before the younger one
    // can search.
    let return_entry = |checkout| {
        let actions = engine.return_entry(checkout, 1, 0, false, real_now());
        actions.map_or_else(
            |_| unreachable!("the entry is accepted"),
            |mut actions| actions.wake(),
        );
    };
    return_entry(checkout);
    engine.enqueue(&mut engine.lock(), &older, real_now());
    let checkout = engine.take_idle(1).expect("the connection is idle");
    let (done, served) = mpsc::channel();
    let waiter = thread::spawn({
        let engine = Arc::clone(&engine);
        move || {
            let waited = engine.wait(&younger, None, clock, |mut actions| actions.wake());
            done.send(waited).unwrap();
        }
    });
    // The younger waiter woke, was not the head, and sleeps again.
    assert!(served.recv_timeout(Duration::from_millis(50)).is_err());
    {
        let mut state = engine.lock();
        let actions = engine.dequeue(&mut state, &older, real_now());
        drop(state);
        actions.into_iter().for_each(|mut actions| actions.wake());
    }
    return_entry(checkout);
    let Ok(Outcome::Found(found)) = served.recv_timeout(Duration::from_secs(5)) else {
        panic!("the younger waiter sleeps although a connection is idle");
    };
    waiter.join().unwrap();
    // The end of a table leaks a slot that is still in use.
    let (_entry, mut actions) = engine.detach(found, real_now());
    actions.wake();
}

fn engine(max_size: usize) -> Arc<Engine<u64, ()>> {
    Engine::new(max_size, 1, None, true, Instant::now(), None)
}

#[test]
fn a_create_permit_that_is_dropped_frees_its_slot() {
    let engine = engine(1);
    let reserve = || {
        let mut state = engine.lock();
        engine.reserve_create(&mut state, CreateReason::Spare, real_now())
    };
    let permit = reserve().expect("there is room");
    assert!(reserve().is_none(), "the slot is taken");
    drop(permit);
    assert!(engine.lock().is_drained());
    assert!(reserve().is_some());
}

#[test]
fn a_dispose_permit_that_is_dropped_frees_its_slot_and_counts_the_dispose() {
    let engine = engine(1);
    let now = Now {
        tick: 1,
        real: real_now(),
    };
    let checkout = engine.add(&mut engine.lock(), Box::new(7), now, u64::MAX);
    let checkout = checkout.unwrap_or_else(|_| unreachable!("there is room"));
    let evicted = engine.begin_dispose(checkout, real_now());
    let full = engine.add(&mut engine.lock(), Box::new(8), now, u64::MAX);
    assert!(full.is_err(), "a connection under disposal takes its slot");
    drop(evicted);
    let state = engine.lock();
    assert!(state.is_drained());
    assert_eq!(state.disposed, 1);
}
