//! Leaks: the holder of a connection, since when, and from where.

use crate::common;

use common::{Log, eventually, quick, secs, stays, take};
use conpool::{ManualClock, MemoryManager};

#[test]
fn a_checkout_held_too_long_is_reported_once_and_once_more_when_it_comes_back() {
    let (clock, log) = (ManualClock::new(), Log::default());
    let pool = quick("leak")
        .clock(clock.clone())
        .observer(log.clone())
        .leak_threshold(secs(10))
        .build(MemoryManager::new())
        .unwrap();
    let line = line!() + 1;
    let held = pool.get().unwrap();
    clock.advance(secs(9));
    stays(|| log.count("LeakSuspected") == 0);
    clock.advance(secs(2));
    eventually(|| log.count("LeakSuspected") == 1);
    clock.advance(secs(60));
    stays(|| log.count("LeakSuspected") == 1);
    let event = log.find("LeakSuspected").unwrap();
    assert!(
        event.contains("leaks.rs") && event.contains(&line.to_string()),
        "{event}"
    );
    drop(held);
    eventually(|| log.count("LeakResolved") == 1);
    assert!(log.find("LeakResolved").unwrap().contains("leaks.rs"));
}

#[test]
fn a_checkout_returned_in_time_is_never_reported() {
    let (clock, log) = (ManualClock::new(), Log::default());
    let pool = quick("noleak")
        .clock(clock.clone())
        .observer(log.clone())
        .leak_threshold(secs(10))
        .build(MemoryManager::new())
        .unwrap();
    for _ in 0..5 {
        let held = pool.get().unwrap();
        clock.advance(secs(4));
        drop(held);
        clock.advance(secs(4));
    }
    pool.sweep();
    assert_eq!(log.count("Leak"), 0, "{:?}", log.lines());
}

#[test]
fn holders_name_the_call_site_and_thread_of_every_checkout() {
    let pool = quick("holders")
        .leak_threshold(secs(60))
        .build(MemoryManager::new())
        .unwrap();
    assert!(pool.holders().is_empty());
    let line = line!() + 1;
    let held = pool.get().unwrap();
    let _more = take(&pool, 2);
    let holders = pool.holders();
    assert_eq!(holders.len(), 3);
    let texts: Vec<_> = holders.iter().map(|holder| format!("{holder:?}")).collect();
    let here =
        |text: &&String| text.contains("leaks.rs") && text.contains(&format!("line: {line}"));
    assert_eq!(texts.iter().filter(here).count(), 1, "{texts:?}");
    let me = std::thread::current();
    assert!(
        texts.iter().all(|text| text.contains(me.name().unwrap())),
        "{texts:?}"
    );
    drop(held);
    assert_eq!(pool.holders().len(), 2);
}

#[test]
fn without_a_threshold_nothing_is_kept_about_holders() {
    let pool = quick("unwatched").build(MemoryManager::new()).unwrap();
    let _held = pool.get().unwrap();
    assert!(pool.holders().is_empty());
}

#[test]
fn what_still_holds_is_told_by_close_timeout() {
    let pool = quick("closeholds")
        .leak_threshold(secs(60))
        .build(MemoryManager::new())
        .unwrap();
    let held = pool.get().unwrap();
    let left = pool.close_timeout(common::ms(20)).unwrap_err();
    assert_eq!((left.in_use, left.holders.len()), (1, 1));
    assert!(format!("{:?}", left.holders[0]).contains("leaks.rs"));
    drop(held);
}
