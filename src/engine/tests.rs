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
    let moment = || Moment {
        tick: 1,
        real: real_now(),
    };
    let lent = {
        let mut core = engine.lock();
        let lent = engine.adopt(&mut core, Box::new(7), moment(), u64::MAX);
        lent.unwrap_or_else(|_| unreachable!("there is room"))
    };
    let (older, younger) = (Ticket::new(real_now()), Ticket::new(real_now()));
    {
        let mut core = engine.lock();
        engine.join(&mut core, &older, real_now());
        engine.join(&mut core, &younger, real_now());
        // The older one is busy with something that will fail.
        assert!(engine.leave(&mut core, &older, real_now()).is_some());
    }
    // A check-in tells the younger one, but before it can look the older one is back at its place.
    let give = |lent| {
        let effects = engine.give(lent, 1, 0, false, real_now());
        effects.map_or_else(
            |_| unreachable!("it is wanted"),
            |mut effects| effects.wake(),
        );
    };
    give(lent);
    engine.join(&mut engine.lock(), &older, real_now());
    let lent = engine.take_any(1).expect("the connection rests");
    let (done, served) = mpsc::channel();
    let waiter = thread::spawn({
        let engine = Arc::clone(&engine);
        move || {
            let waited = engine.wait(&younger, None, moment, |mut effects| effects.wake());
            done.send(waited).unwrap();
        }
    });
    // It has been awake, is not the head, and sleeps again.
    assert!(served.recv_timeout(Duration::from_millis(50)).is_err());
    {
        let mut core = engine.lock();
        let effects = engine.leave(&mut core, &older, real_now());
        drop(core);
        effects.into_iter().for_each(|mut effects| effects.wake());
    }
    give(lent);
    let Ok(Waited::Found(found)) = served.recv_timeout(Duration::from_secs(5)) else {
        panic!("the younger one sleeps beside an idle connection");
    };
    waiter.join().unwrap();
    // A slot that stays in use is left alone by the end of its table, which is a leak.
    let (_entry, mut effects) = engine.release(found, real_now());
    effects.wake();
}
