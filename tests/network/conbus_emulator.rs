//! The emulator's protocol: every row of its table, and its faults.

#![allow(
    clippy::disallowed_methods,
    reason = "a test of real sockets measures real time"
)]

use crate::common;
use crate::support;

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    time::{Duration, Instant},
};

use common::{SOON, noise, now};
use support::{
    client::{self, ClientError},
    emulator::{Emulator, EmulatorBuilder, Ending},
    telegram::{self, Event},
};

const XP24: u64 = 1_302_410_003;
const XP33LR: u64 = 1_520_331_005;

/// A client that writes and compares bytes.
struct Client(TcpStream);

impl Client {
    fn to(emulator: &Emulator) -> Self {
        let stream = TcpStream::connect(emulator.addr()).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        Self(stream)
    }

    fn say(&mut self, text: &str) {
        self.0.write_all(&telegram::latin1(text)).unwrap();
    }

    /// Asserts that exactly these bytes come next.
    fn expect(&mut self, expected: &str) {
        let mut bytes = vec![0; telegram::latin1(expected).len()];
        let result = self.0.read_exact(&mut bytes);
        assert_eq!(telegram::from_latin1(&bytes), expected, "{result:?}");
    }

    fn ask(&mut self, request: &str, reply: &str) {
        self.say(request);
        self.expect(reply);
    }

    /// Asserts that nothing comes before the reply to a request that is always answered.
    fn expect_silence(&mut self) {
        self.ask("<S1302410003F02D00FF>", "<R1302410003F02D00XP24FK>\n");
    }

    /// Returns how the connection ends, and skips a bounded number of bytes before.
    fn end(&mut self) -> Result<(), ErrorKind> {
        let mut rest = Vec::new();
        self.0
            .read_to_end(&mut rest)
            .map(drop)
            .map_err(|e| e.kind())
    }
}

fn running(builder: EmulatorBuilder) -> (Emulator, Client) {
    let emulator = builder.start().unwrap();
    let client = Client::to(&emulator);
    (emulator, client)
}

fn inside(emulator: &Emulator, open: usize) {
    assert!(
        emulator.wait_for(|counters| counters.open == open, SOON),
        "{:?}",
        emulator.counters()
    );
}

#[test]
fn everybody_answers_a_discovery() {
    let (_emulator, mut client) = running(Emulator::builder());
    client.ask(
        "<S0000000000F01D00FA>",
        "<R1013010000F01DFD>\n<R1123010001F01DFA>\n<R1202010002F01DFD>\n<R1302410003F01DFH>\n\
         <R1420330004F01DFC>\n<R1520331005F01DFD>\n<R1620332006F01DFA>\n<R1702033007F01DFC>\n",
    );
}

#[test]
fn a_device_reads_out_its_datapoints() {
    let (_emulator, mut client) = running(Emulator::builder());
    for (request, reply) in [
        ("<S1302410003F02D18FM>", "<R1302410003F02D18+23,5§CIK>"),
        ("<S1302410003F02D20FH>", "<R1302410003F02D20+12,5§VJG>"),
        ("<S1302410003F02D00FF>", "<R1302410003F02D00XP24FK>"),
        ("<S1302410003F02D07FC>", "<R1302410003F02D0707FE>"),
        ("<S1302410003F02D09FM>", "<R1302410003F02D09OFFBC>"),
        ("<S1302410003F02D10FE>", "<R1302410003F02D1000FF>"),
        ("<S1302410003F02D12FG>", "<R1302410003F02D12xxxx0000FH>"),
        (
            "<S1302410003F02D16FC>",
            "<R1302410003F02D1600:000[H],01:000[H],02:000[H],03:000[H]HP>",
        ),
        (
            "<S1520331005F02D15FF>",
            "<R1520331005F02D1500:000[%],01:000[%],02:000[%]HO>",
        ),
    ] {
        client.ask(request, &format!("{reply}\n"));
    }
}

#[test]
fn an_output_switches_once_and_says_so() {
    let (_emulator, mut client) = running(Emulator::builder());
    client.ask(
        "<S1302410003F27D00ABFB>",
        "<R1302410003F18DFP><E07L01I00MAL>\n",
    );
    client.ask("<S1302410003F27D00ABFB>", "<R1302410003F18DFP>\n");
    client.ask("<S1302410003F02D12FG>", "<R1302410003F02D12xxxx1000FG>\n");
    client.ask(
        "<S1302410003F27D00AAFC>",
        "<R1302410003F18DFP><E07L01I00BAE>\n",
    );
    client.ask("<S1302410003F02D12FG>", "<R1302410003F02D12xxxx0000FH>\n");
}

#[test]
fn an_action_that_makes_no_sense_is_refused() {
    let (_emulator, mut client) = running(Emulator::builder());
    client.ask("<S1302410003F27D04ABFF>", "<R1302410003F19DFO>\n");
    let bad_state = telegram::from_latin1(&telegram::request(XP24, 27, "00ZZ"));
    client.ask(&bad_state, "<R1302410003F19DFO>\n");
}

#[test]
fn a_dimmer_takes_a_level() {
    let (_emulator, mut client) = running(Emulator::builder());
    client.ask(
        "<S1520331005F27D00:050FJ>",
        "<R1520331005F18DFL><E30L04I00MAK>\n",
    );
    client.ask(
        "<S1520331005F02D15FF>",
        "<R1520331005F02D1500:050[%],01:000[%],02:000[%]HL>\n",
    );
    for level in ["00:101", "00:5", "00:+50", "03:050"] {
        client
            .0
            .write_all(&telegram::request(XP33LR, 27, level))
            .unwrap();
        client.expect(&telegram::from_latin1(&telegram::reply(XP33LR, 19, "")));
        client.expect("\n");
    }
}

#[test]
fn a_broadcast_read_is_answered_by_every_device() {
    let (_emulator, mut client) = running(Emulator::builder());
    client.say("<S0000000000F02D18FK>");
    for serial in [
        1_013_010_000,
        1_123_010_001,
        1_202_010_002,
        XP24,
        1_420_330_004,
        XP33LR,
        1_620_332_006,
        1_702_033_007,
    ] {
        let reply = telegram::from_latin1(&telegram::reply(serial, 2, "18+23,5§C"));
        client.expect(&format!("{reply}\n"));
    }
}

#[test]
fn an_action_table_comes_in_two_steps() {
    let (_emulator, mut client) = running(Emulator::builder());
    client.ask(
        "<S1302410003F13D00FF>",
        "<R1302410003F18DFP><R1302410003F17DAAAAAAAAAAAAAAAAAAAAAM\
         AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAFM>\n",
    );
    client.ask("<S1302410003F18D00FO>", "<R1302410003F16DFB>\n");
}

#[test]
fn what_concerns_nobody_is_not_answered() {
    let (emulator, mut client) = running(Emulator::builder());
    for (serial, function, data) in [
        (9_999_999_999, 2, "18"),
        (XP24, 99, "00"),
        (XP24, 4, "00"),
        (XP24, 5, "00"),
        (XP24, 6, "00"),
        (XP24, 18, "00"),
        (0, 27, "00AB"),
    ] {
        client
            .0
            .write_all(&telegram::request(serial, function, data))
            .unwrap();
    }
    client.say("<E14L00I02MAK><O06L00I07MAG><R0020012521F02D18+26,0§CIL>noise");
    client.expect_silence();
    assert_eq!(emulator.counters().requests, 8);
}

#[test]
fn a_storm_blows_until_the_error_is_read() {
    let period = Duration::from_millis(5);
    let (emulator, mut client) = running(Emulator::builder().storm_period(period));
    let levels = "<R1520331005F02D1500:000[%],01:000[%],02:000[%]HO>\n";
    client.ask("<S1520331005F02D15FF>", levels);
    client.say("<S1520331005F02D99FB>");
    for _ in 0..3 {
        client.expect(levels);
    }
    // Some more may precede the answer.
    let value = client::read_datapoint(&mut client.0, XP33LR, 10, SOON).unwrap();
    assert_eq!(value, "FE");
    assert_eq!(
        telegram::reply(XP33LR, 2, "10FE"),
        b"<R1520331005F02D10FEFC>"
    );
    let pushed = emulator.counters().pushed;
    let value = client::read_datapoint(&mut client.0, XP33LR, 10, SOON).unwrap();
    assert_eq!(value, "00");
    std::thread::sleep(period * 4);
    assert_eq!(emulator.counters().pushed, pushed);
}

#[test]
fn a_storm_is_over_after_its_copies_and_needs_a_reply_to_repeat() {
    let builder = Emulator::builder()
        .storm_period(Duration::from_millis(1))
        .storm_copies(7);
    let (emulator, mut client) = running(builder);
    assert!(!emulator.storm(XP24));
    client.expect_silence();
    assert!(emulator.storm(XP24));
    for _ in 0..7 {
        client.expect("<R1302410003F02D00XP24FK>\n");
    }
    client.expect_silence();
    assert_eq!(emulator.counters().pushed, 7);
}

#[test]
fn requests_may_come_in_pieces_or_joined() {
    let (_emulator, mut client) = running(Emulator::builder());
    for piece in ["<S13024", "10003F02", "D18F", "M>"] {
        client.say(piece);
        std::thread::sleep(Duration::from_millis(5));
    }
    client.expect("<R1302410003F02D18+23,5§CIK>\n");
    client.say("<S1302410003F02D18FM>\n<S1302410003F02D20FH><S1302410003F02D07FC>");
    client.expect(
        "<R1302410003F02D18+23,5§CIK>\n<R1302410003F02D20+12,5§VJG>\n<R1302410003F02D0707FE>\n",
    );
}

#[test]
fn replies_may_come_in_pieces() {
    let (_emulator, mut client) = running(Emulator::builder().split_writes(3));
    let start = Instant::now();
    client.ask("<S1302410003F02D18FM>", "<R1302410003F02D18+23,5§CIK>\n");
    // Ten pieces, a millisecond apart.
    assert!(start.elapsed() >= Duration::from_millis(9));
    let celsius = client::read_temperature(&mut client.0, XP24, SOON).unwrap();
    assert!((celsius - 23.5).abs() < 1e-9);
}

#[test]
fn checksums_matter_only_when_asked_to() {
    let (_emulator, mut client) = running(Emulator::builder());
    client.ask("<S1302410003F02D18AA>", "<R1302410003F02D18+23,5§CIK>\n");
    let (_strict, mut client) = running(Emulator::builder().strict_checksum(true));
    client.say("<S1302410003F02D18AA>");
    client.expect_silence();
}

#[test]
fn replies_and_events_go_to_every_client() {
    let (emulator, mut first) = running(Emulator::builder());
    let mut second = Client::to(&emulator);
    inside(&emulator, 2);
    first.ask("<S1302410003F02D18FM>", "<R1302410003F02D18+23,5§CIK>\n");
    // In front of its own reply, which the client must recognize by its content.
    second.ask(
        "<S1302410003F02D20FH>",
        "<R1302410003F02D18+23,5§CIK>\n<R1302410003F02D20+12,5§VJG>\n",
    );
    first.expect("<R1302410003F02D20+12,5§VJG>\n");
    emulator.push_event(Event {
        origin: 'E',
        module_type: 14,
        link: 0,
        input: 2,
        make: true,
    });
    first.expect("<E14L00I02MAK>\n");
    second.expect("<E14L00I02MAK>\n");
}

#[test]
fn without_broadcast_a_reply_goes_to_who_asked() {
    let (emulator, mut first) = running(Emulator::builder().broadcast(false));
    let mut second = Client::to(&emulator);
    inside(&emulator, 2);
    first.ask("<S1302410003F02D18FM>", "<R1302410003F02D18+23,5§CIK>\n");
    second.expect_silence();
}

#[test]
fn with_room_for_one_the_second_client_is_turned_away_until_the_first_has_left() {
    for rst in [false, true] {
        let builder = Emulator::builder().max_clients(1).rst_instead_of_fin(rst);
        let (emulator, mut first) = running(builder);
        inside(&emulator, 1);
        let expected = if rst {
            Err(ErrorKind::ConnectionReset)
        } else {
            Ok(())
        };
        assert_eq!(Client::to(&emulator).end(), expected);
        first.expect_silence();
        // The end of the first client is answered when its place is free.
        first.0.shutdown(Shutdown::Write).unwrap();
        assert_eq!(first.end(), Ok(()));
        Client::to(&emulator).expect_silence();
        let counters = emulator.counters();
        assert_eq!(
            (counters.accepted, counters.refused, counters.peak_open),
            (2, 1, 1)
        );
    }
}

#[test]
fn a_silent_client_is_closed_and_a_talking_one_is_not() {
    // Much longer than the pauses, which a busy machine prolongs.
    let patience = Duration::from_millis(500);
    let (emulator, mut client) = running(Emulator::builder().idle_close(patience));
    let (start, mut spoke) = (Instant::now(), Instant::now());
    while start.elapsed() < patience + Duration::from_millis(50) {
        std::thread::sleep(Duration::from_millis(30));
        if spoke.elapsed() > patience - Duration::from_millis(50) {
            eprintln!("skipped: the machine slept for longer than a silent client may");
            return;
        }
        client.expect_silence();
        spoke = Instant::now();
    }
    let silent_since = Instant::now();
    assert_eq!(client.end(), Ok(()));
    assert!(silent_since.elapsed() > patience - Duration::from_millis(20));
    let counters = emulator.counters();
    assert_eq!((counters.idle_closed, counters.open), (1, 0));
}

#[test]
fn connections_end_on_demand_in_order_or_by_reset() {
    let (emulator, mut first) = running(Emulator::builder());
    let mut second = Client::to(&emulator);
    inside(&emulator, 2);
    assert_eq!(emulator.close_all_clients(Ending::Fin), 2);
    assert_eq!(emulator.counters().open, 0);
    assert_eq!((first.end(), second.end()), (Ok(()), Ok(())));
    let mut third = Client::to(&emulator);
    inside(&emulator, 1);
    assert_eq!(emulator.close_all_clients(Ending::Rst), 1);
    assert_eq!(third.end(), Err(ErrorKind::ConnectionReset));
}

#[test]
fn a_client_is_dropped_instead_of_answered_after_so_many_requests() {
    for rst in [false, true] {
        let builder = Emulator::builder().drop_after_n(2).rst_instead_of_fin(rst);
        let (emulator, mut client) = running(builder);
        client.expect_silence();
        client.expect_silence();
        let error = client::read_temperature(&mut client.0, XP24, SOON).unwrap_err();
        assert!(error.is_broken());
        match error {
            ClientError::Closed => assert!(!rst),
            ClientError::Io(error) => {
                assert!(rst);
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            }
            other => panic!("{other}"),
        }
        assert_eq!(emulator.counters().dropped, 1);
        Client::to(&emulator).expect_silence();
    }
}

#[test]
fn a_delayed_reply_is_missed_and_still_comes() {
    let delay = Duration::from_millis(500);
    let (emulator, mut client) = running(Emulator::builder().reply_delay(delay));
    let start = Instant::now();
    let short = Duration::from_millis(20);
    let error = client::read_temperature(&mut client.0, XP24, short).unwrap_err();
    assert!(matches!(error, ClientError::TimedOut(after) if after == short));
    assert!(error.is_broken());
    client.0.set_read_timeout(Some(SOON)).unwrap();
    client.expect("<R1302410003F02D18+23,5§CIK>\n");
    assert!(start.elapsed() >= delay);
    emulator.set_reply_delay(Duration::ZERO);
    client.expect_silence();
}

#[test]
fn it_restarts_on_the_same_port_and_remembers() {
    let (emulator, mut client) = running(Emulator::builder());
    client::switch(&mut client.0, XP24, 3, true, SOON).unwrap();
    emulator.stop();
    assert_eq!(client.end(), Ok(()));
    assert_eq!(
        TcpStream::connect(emulator.addr()).unwrap_err().kind(),
        ErrorKind::ConnectionRefused
    );
    let address = emulator.addr();
    emulator.restart().unwrap();
    assert_eq!(emulator.addr(), address);
    let mut client = Client::to(&emulator);
    client.ask("<S1302410003F02D12FG>", "<R1302410003F02D12xxxx0001FG>\n");
    emulator.restart().unwrap();
    assert_eq!(emulator.counters().accepted, 2);
}

#[test]
fn dropping_it_ends_everything_at_once_even_a_client_that_does_not_read() {
    let (emulator, mut client) = running(Emulator::builder().reply_delay(Duration::from_secs(60)));
    let deaf = Client::to(&emulator);
    inside(&emulator, 2);
    client.say("<S1302410003F02D18FM>");
    assert!(emulator.wait_for(|counters| counters.requests == 1, SOON));
    emulator.push_raw(&vec![b' '; 32 << 20]);
    let start = now();
    drop(emulator);
    assert!(
        start.elapsed() < Duration::from_millis(300) + noise(),
        "{:?}",
        start.elapsed()
    );
    drop(deaf);
}

#[test]
fn the_client_finds_its_reply_among_others() {
    let (emulator, mut client) = running(Emulator::builder());
    assert!(emulator.set_temperature(XP24, -75));
    assert!(!emulator.set_temperature(1, 0));
    emulator.push_raw(&telegram::reply(XP33LR, 2, "18+99,9§C"));
    emulator.push_raw(&telegram::reply(XP24, 2, "20+99,9§C"));
    emulator.push_raw(b"<R1302410003F02D18+99,9\xa7CAA>");
    let celsius = client::read_temperature(&mut client.0, XP24, SOON).unwrap();
    assert!((celsius - -7.5).abs() < 1e-9);
    let error = client::switch(&mut client.0, XP24, 4, true, SOON).unwrap_err();
    assert!(matches!(error, ClientError::Refused) && !error.is_broken());
    let quiet = Duration::from_millis(50);
    let serials = client::discover(&mut client.0, quiet, SOON).unwrap();
    assert_eq!(serials.len(), 8);
    assert!(serials.contains(&XP33LR));
}
