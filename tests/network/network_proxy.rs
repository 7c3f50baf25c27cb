//! The proxy of the network tests applies its toxics, and changes nothing else.

use crate::common;
use crate::support;

use common::{SOON, assert_at, ms, noise, now, timed};
use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    time::Duration,
};
use support::{
    emulator::Ending,
    proxy::{
        Direction::{Downstream, Upstream},
        Proxy, Toxic,
    },
    sockets::listener,
};

/// A proxy and the two ends of a link through it.
struct Link {
    proxy: Proxy,
    near: TcpStream,
    far: TcpStream,
}

fn link() -> Link {
    // Starts the latency monitor.
    noise();
    let listener = listener();
    let proxy = Proxy::start(listener.local_addr().unwrap()).unwrap();
    let (near, far) = through(&proxy, &listener);
    Link { proxy, near, far }
}

fn through(proxy: &Proxy, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let near = TcpStream::connect(proxy.addr()).unwrap();
    let far = listener.accept().unwrap().0;
    for stream in [&near, &far] {
        stream.set_read_timeout(Some(SOON)).unwrap();
    }
    (near, far)
}

fn receive(mut from: &TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes).expect("all of it");
    bytes
}

/// Asserts that nothing comes for a while.
fn silent(mut from: &TcpStream) {
    from.set_read_timeout(Some(ms(30))).unwrap();
    let error = from.read(&mut [0]).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        "{error}"
    );
    from.set_read_timeout(Some(SOON)).unwrap();
}

#[test]
fn without_toxics_bytes_and_ends_pass_as_they_are() {
    let mut link = link();
    let long: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
    let sender = {
        let (mut near, long) = (link.near.try_clone().unwrap(), long.clone());
        common::spawn(move || near.write_all(&long).unwrap())
    };
    assert_eq!(receive(&link.far, long.len()), long);
    sender.join_soon();
    // A half close is passed on as a half close.
    link.near.shutdown(Shutdown::Write).unwrap();
    assert_eq!(link.far.read(&mut [0]).unwrap(), 0);
    link.far.write_all(b"still here").unwrap();
    assert_eq!(receive(&link.near, 10), b"still here");
    drop(link.far);
    assert_eq!(link.near.read(&mut [0]).unwrap(), 0);
    let ended = |seen: &support::proxy::Counters| seen.open == 0;
    assert!(link.proxy.wait_for(ended, SOON));
    let seen = link.proxy.counters();
    assert_eq!(
        (seen.accepted, seen.reset, seen.upstream, seen.downstream),
        (1, 0, 200_000, 10)
    );
}

#[test]
fn latency_delays_one_direction_within_its_jitter_and_keeps_the_order() {
    let mut link = link();
    let (delay, jitter) = (ms(60), ms(20));
    link.proxy.add(Downstream, Toxic::Latency { delay, jitter });
    let start = now();
    for letter in b"abc" {
        link.far.write_all(&[*letter]).unwrap();
    }
    assert_eq!(receive(&link.near, 3), b"abc");
    let took = start.elapsed();
    // All three are under way at the same time.
    assert!(took >= delay - jitter, "{took:?}");
    assert!(took <= delay + jitter + noise(), "{took:?}");
    let ((), took) = timed(|| {
        link.near.write_all(b"x").unwrap();
        assert_eq!(receive(&link.far, 1), b"x");
    });
    assert!(took < ms(40) + noise(), "{took:?}");
}

#[test]
fn what_latency_holds_back_goes_on_when_it_is_taken_away() {
    let mut link = link();
    link.proxy.add_both(Toxic::Latency {
        delay: Duration::MAX,
        jitter: Duration::ZERO,
    });
    link.near.write_all(b"up").unwrap();
    link.near.shutdown(Shutdown::Write).unwrap();
    silent(&link.far);
    link.proxy.heal();
    assert_eq!(receive(&link.far, 2), b"up");
    assert_eq!(link.far.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_timeout_swallows_bytes_for_good_and_an_end_until_it_is_taken_away() {
    let mut link = link();
    link.proxy
        .add(Upstream, Toxic::Timeout { close_after: None });
    link.near.write_all(b"lost").unwrap();
    link.near.shutdown(Shutdown::Write).unwrap();
    silent(&link.far);
    // The other direction is not affected.
    link.far.write_all(b"down").unwrap();
    assert_eq!(receive(&link.near, 4), b"down");
    link.proxy.heal();
    assert_eq!(link.far.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_timeout_may_close_the_link_in_order() {
    let mut link = link();
    let (after, start) = (ms(40), now());
    let close_after = Some(after);
    link.proxy.add(Upstream, Toxic::Timeout { close_after });
    assert_eq!(link.near.read(&mut [0]).unwrap(), 0);
    assert_eq!(link.far.read(&mut [0]).unwrap(), 0);
    assert_at(start.elapsed(), after);
}

#[test]
fn bandwidth_makes_bytes_trickle_and_the_sender_wait() {
    let mut link = link();
    link.proxy.add(
        Upstream,
        Toxic::Bandwidth {
            bytes_per_second: 2000,
        },
    );
    let (bytes, took) = timed(|| {
        link.near.write_all(&[7; 200]).unwrap();
        receive(&link.far, 200)
    });
    assert_eq!(bytes, [7; 200]);
    // The last piece arrives before its own pause is over.
    assert_at(took, ms(80));
    link.near.set_write_timeout(Some(ms(20))).unwrap();
    let error = loop {
        if let Err(error) = link.near.write_all(&[7; 10_000]) {
            break error;
        }
    };
    assert!(
        matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        "{error}"
    );
}

#[test]
fn a_slicer_cuts_into_pieces_with_pauses() {
    let mut link = link();
    let slicer = Toxic::Slicer {
        size: 4,
        variation: 2,
        pause: ms(2),
    };
    link.proxy.add(Upstream, slicer);
    let (bytes, took) = timed(|| {
        link.near
            .write_all(b"0123456789012345678901234567")
            .unwrap();
        receive(&link.far, 28)
    });
    assert_eq!(bytes, b"0123456789012345678901234567");
    // 28 bytes in pieces of at most six are five pieces, with four pauses between them.
    assert_at(took, ms(8));
}

#[test]
fn a_limit_closes_the_link_behind_so_many_bytes() {
    for limit in [0, 3, 5] {
        let mut link = link();
        link.far.write_all(b"before").unwrap();
        assert_eq!(receive(&link.near, 6), b"before");
        link.proxy
            .add(Downstream, Toxic::LimitData { bytes: limit });
        link.far.write_all(b"12345").unwrap();
        let mut seen = Vec::new();
        link.near.read_to_end(&mut seen).unwrap();
        assert_eq!(seen, b"12345"[..limit as usize]);
        assert_eq!(link.far.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn reset_peer_resets_both_ends_in_its_time() {
    let mut link = link();
    let (after, start) = (ms(40), now());
    link.proxy.add(Downstream, Toxic::ResetPeer { after });
    for end in [&mut link.near, &mut link.far] {
        let error = end.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    }
    assert_at(start.elapsed(), after);
    assert_eq!(link.proxy.counters().reset, 1);
}

#[test]
fn a_reset_of_one_end_is_passed_on_to_the_other() {
    let Link { proxy, near, far } = link();
    support::sockets::reset(near);
    let mut far = far;
    let error = far.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    assert!(proxy.wait_for(|seen| (seen.open, seen.reset) == (0, 1), SOON));
}

#[test]
fn slow_close_delays_the_end_and_not_the_bytes_before_it() {
    let mut link = link();
    let delay = Duration::MAX;
    link.proxy.add(Downstream, Toxic::SlowClose { delay });
    link.far.write_all(b"bye").unwrap();
    drop(link.far);
    assert_eq!(receive(&link.near, 3), b"bye");
    silent(&link.near);
    link.proxy.heal();
    assert_eq!(link.near.read(&mut [0]).unwrap(), 0);

    let mut link = self::link();
    let delay = ms(40);
    link.proxy.add(Downstream, Toxic::SlowClose { delay });
    let start = now();
    drop(link.far);
    assert_eq!(link.near.read(&mut [0]).unwrap(), 0);
    assert_at(start.elapsed(), delay);
}

#[test]
fn its_port_refuses_when_down_does_not_answer_as_a_hole_and_is_the_same_when_up() {
    let listener = listener();
    let proxy = Proxy::start(listener.local_addr().unwrap()).unwrap();
    for _ in 0..2 {
        let (mut near, mut far) = through(&proxy, &listener);
        proxy.down().unwrap();
        assert_eq!(near.read(&mut [0]).unwrap(), 0);
        assert_eq!(far.read(&mut [0]).unwrap(), 0);
        let refused = TcpStream::connect(proxy.addr()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        proxy.black_hole().unwrap();
        let unanswered = TcpStream::connect_timeout(&proxy.addr(), ms(30)).unwrap_err();
        assert_eq!(unanswered.kind(), ErrorKind::TimedOut);
        proxy.up().unwrap();
        let (near, mut far) = through(&proxy, &listener);
        assert_eq!(proxy.cut(Ending::Rst), 1);
        let error = (&near).read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert_eq!(
            far.read(&mut [0]).unwrap_err().kind(),
            ErrorKind::ConnectionReset
        );
    }
    // The clients that filled the queue are not counted.
    let seen = proxy.counters();
    assert_eq!((seen.accepted, seen.open, seen.unreached), (4, 0, 0));
}

#[test]
fn a_client_is_closed_when_the_server_behind_cannot_be_reached() {
    let closed = support::sockets::ClosedPort::new().unwrap();
    let proxy = Proxy::start(closed.addr()).unwrap();
    let mut near = TcpStream::connect(proxy.addr()).unwrap();
    near.set_read_timeout(Some(SOON)).unwrap();
    assert_eq!(near.read(&mut [0]).unwrap(), 0);
    assert!(proxy.wait_for(|seen| (seen.unreached, seen.open) == (1, 0), SOON));
}

#[test]
fn it_ends_at_once_though_links_hold_bytes_that_nobody_reads() {
    let Link { proxy, near, far } = link();
    near.set_write_timeout(Some(ms(20))).unwrap();
    while (&near).write_all(&[7; 10_000]).is_ok() {}
    proxy.add(Downstream, Toxic::Timeout { close_after: None });
    let ((), took) = timed(|| drop(proxy));
    assert!(took < ms(100) + noise(), "{took:?}");
    drop(far);
}
