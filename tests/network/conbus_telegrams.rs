//! The codec of the emulator and its client: checksums, forms and framing.

use crate::support;

use support::telegram::{self, FrameBuffer, Telegram};

#[test]
fn the_known_telegrams_have_the_right_checksum_and_are_understood() {
    assert_eq!(&telegram::checksum(b""), b"AA");
    assert_eq!(&telegram::checksum(b"A"), b"EB");
    assert_eq!(&telegram::checksum(b"ABC"), b"EA");
    for text in [
        "<E14L00I02MAK>",
        "<S0020012521F02D18FN>",
        "<R0020012521F02D18+26,0§CIL>",
        "<O06L00I07MAG>",
        "<O06L00I07BAJ>",
        "<E13L12I02BAB>",
        "<R0020044966F02D02XP24_V0.34.03GI>",
        "<R0020044966F02D1500:000[%],01:000[%],02:000[%],03:000[%]HB>",
        "<R0020044966F02D18+28,5§CIM>",
        "<S0012345008F27D03ABFN>",
    ] {
        let frame = telegram::latin1(text);
        let telegram = telegram::parse(&frame).unwrap_or_else(|error| panic!("{text}: {error}"));
        let again = match telegram {
            Telegram::Request(m) => telegram::request(m.serial, m.function, &m.data),
            Telegram::Reply(m) => telegram::reply(m.serial, m.function, &m.data),
            Telegram::Event(event) => event.to_frame(),
        };
        assert_eq!(telegram::from_latin1(&again), text);
    }
}

#[test]
fn a_wrong_checksum_and_a_wrong_form_are_told_apart() {
    use telegram::BadTelegram::{Checksum, Form};
    for (text, error) in [
        ("<R0012345011F01DFM>", Checksum),
        ("<S0020012521F02D18FM>", Checksum),
        ("<>", Form),
        ("<AA>", Form),
        ("<S002001252F02D18FN>", Form),
        ("<S00200125x1F02D18FN>", Form),
        ("<S0020012521F02D1FN>", Form),
        ("<E14L00I02XAK>", Form),
        ("<E140L00I02MAK>", Form),
        ("<EL00I02MAK>", Form),
        ("<R0020012521F02>", Form),
        ("S0020012521F02D18FN", Form),
    ] {
        assert_eq!(
            telegram::parse(&telegram::latin1(text)),
            Err(error),
            "{text}"
        );
    }
}

#[test]
fn frames_are_found_whatever_lies_between_them_and_however_they_are_cut() {
    let stream = b"noise<E14L00I02MAK>\n\n><O06L00I07MAG><E13L12I02BAB";
    for cut in 1..stream.len() {
        let mut buffer = FrameBuffer::default();
        let mut found = Vec::new();
        for piece in stream.chunks(cut) {
            buffer.push(piece);
            found.extend(std::iter::from_fn(|| buffer.next_frame()));
        }
        assert_eq!(
            found,
            [b"<E14L00I02MAK>".to_vec(), b"<O06L00I07MAG>".to_vec()]
        );
        buffer.push(b">");
        assert_eq!(buffer.next_frame().unwrap(), b"<E13L12I02BAB>");
    }
}
