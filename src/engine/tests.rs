//! Orders of events that the public face cannot force.

use super::*;
use std::sync::mpsc;
use std::thread;

fn real_now() -> Instant {
    Instant::now()
}

#[test]
fn a_waiter_told_while_an_older_one_takes_the_head_is_told_again() {
    let engine = Engine::<u64, ()>::new(
        1,
        1,
        Some(Duration::from_secs(60)),
        true,
        Instant::now(),
        None,
    );
    let moment = || Now {
        tick: 1,
        real: real_now(),
    };
    let lent = {
        let mut state = engine.lock();
        let lent = engine.add(&mut state, Box::new(7), moment(), u64::MAX);
        lent.unwrap_or_else(|_| unreachable!("there is room"))
    };
    let (older, younger) = (Waiter::new(real_now()), Waiter::new(real_now()));
    {
        let mut state = engine.lock();
        engine.enqueue(&mut state, &older, real_now());
        engine.enqueue(&mut state, &younger, real_now());
        // The older one is busy with something that will fail.
        assert!(engine.dequeue(&mut state, &older, real_now()).is_some());
    }
    // A check-in tells the younger one, but before it can look the older one is back at its place.
    let give = |lent| {
        let actions = engine.return_entry(lent, 1, 0, false, real_now());
        actions.map_or_else(
            |_| unreachable!("it is wanted"),
            |mut actions| actions.wake(),
        );
    };
    give(lent);
    engine.enqueue(&mut engine.lock(), &older, real_now());
    let lent = engine.take_idle(1).expect("the connection rests");
    let (done, served) = mpsc::channel();
    let waiter = thread::spawn({
        let engine = Arc::clone(&engine);
        move || {
            let waited = engine.wait(&younger, None, moment, |mut actions| actions.wake());
            done.send(matches!(waited, WaitResult::Found(_))).unwrap();
        }
    });
    // It has been awake, is not the head, and sleeps again.
    assert!(served.recv_timeout(Duration::from_millis(50)).is_err());
    {
        let mut state = engine.lock();
        let actions = engine.dequeue(&mut state, &older, real_now());
        drop(state);
        actions.into_iter().for_each(|mut actions| actions.wake());
    }
    give(lent);
    let found = served.recv_timeout(Duration::from_secs(5));
    assert_eq!(
        found,
        Ok(true),
        "the younger one sleeps beside an idle connection"
    );
    waiter.join().unwrap();
}
