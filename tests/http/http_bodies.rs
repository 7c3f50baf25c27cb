//! The bodies of responses: the same bytes with every framing, and an error where bytes are missing.

use crate::common;
use crate::http;

use common::{Rng, assert_at, ms, secs, timed};
use conpool::{HttpError, HttpPhase, http_types::Request};
use http::{OK, Server, body, build, chain, fetch, fetch_ok, inner, leave, pool};
use std::{
    error::Error,
    io::{self, Read},
};

/// Bytes without a pattern, so that a shift shows.
fn noise_bytes(length: usize) -> Vec<u8> {
    let mut rng = Rng::new(length as u64);
    (0..length).map(|_| rng.below(256) as u8).collect()
}

fn in_chunks(content: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in content.chunks(size) {
        out.extend(format!("{:X}\r\n", piece.len()).as_bytes());
        out.extend(piece);
        out.extend(b"\r\n");
    }
    out.extend(b"0\r\n\r\n");
    out
}

fn with_head(head: &str, content: &[u8]) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n").into_bytes();
    out.extend(content);
    out
}

#[test]
fn a_response_that_comes_byte_by_byte_is_the_same_response() {
    let content = b"hello, world";
    for response in [
        with_head("content-length: 12", content),
        with_head("transfer-encoding: chunked", &in_chunks(content, 5)),
    ] {
        let again = response.clone();
        let server = Server::start(move |number, mut peer| {
            if number == 0 {
                peer.request();
                peer.send_in(b"HTTP/1.1 100 Continue\r\n\r\n", 1, ms(0));
                peer.send_in(&again, 1, ms(0));
            }
            peer.answer(OK);
        });
        let http = build("bytewise");
        assert_eq!(fetch(&http, &server).unwrap().1, content);
        fetch_ok(&http, &server);
        assert_eq!(server.connections(), 1);
        leave(&http);
    }
}

#[test]
fn large_bodies_are_byte_exact_in_reads_of_any_size() {
    let content = noise_bytes(200_001);
    for response in [
        with_head("content-length: 200001", &content),
        with_head("transfer-encoding: chunked", &in_chunks(&content, 7)),
        with_head("transfer-encoding: chunked", &in_chunks(&content, 30_011)),
    ] {
        let server = Server::start(move |_, mut peer| peer.answer(&response));
        let http = build("large");
        for step in [1, 977, 8192, 1_000_000] {
            let mut body = http.get(server.url("/")).unwrap().into_body();
            let (mut got, mut piece) = (Vec::<u8>::new(), vec![0; step]);
            loop {
                match body.read(&mut piece).unwrap() {
                    0 => break,
                    bytes => got.extend(&piece[..bytes]),
                }
            }
            assert!(got == content, "{} bytes in reads of {step}", got.len());
        }
        assert_eq!(server.connections(), 1);
        leave(&http);
    }
}

#[test]
fn the_body_can_be_read_while_it_is_still_being_sent() {
    let (told, tell) = (common::Gate::default(), common::Gate::default());
    let (wait, say) = (told.clone(), tell.clone());
    let server = Server::start(move |_, mut peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n");
        wait.pass();
        peer.send("6\r\nsecond\r\n0\r\n\r\n");
        say.open();
        peer.end();
    });
    let http = build("streams");
    let mut body = http.get(server.url("/")).unwrap().into_body();
    let mut piece = [0; 100];
    assert_eq!(body.read(&mut piece).unwrap(), 5);
    assert_eq!(body.remaining(), None);
    told.open();
    assert_eq!(io::read_to_string(body).unwrap(), "second");
    tell.pass();
    assert_eq!(http.stats().idle, 1);
    leave(&http);
}

#[test]
fn what_was_compressed_comes_as_it_came() {
    let content = b"\x1f\x8b\x08\0\0\0\0\0\0\x03nonsense";
    let response = with_head("content-encoding: gzip\r\ncontent-length: 18", content);
    let server = Server::first(response);
    let http = build("gzip");
    let response = http.get(server.url("/")).unwrap();
    assert_eq!(response.headers()["content-encoding"], "gzip");
    assert_eq!(body(response).unwrap(), content);
    leave(&http);
}

#[test]
fn the_head_is_handed_on_as_it_came() {
    let server = Server::first(
        b"HTTP/1.1 418 I'm a teapot\r\nSet-Cookie: a\r\nset-cookie: b\r\nX-Odd: \xe9\r\n\
         content-length: 0\r\n\r\n",
    );
    let http = build("head");
    let response = http.get(server.url("/")).unwrap();
    assert_eq!(response.status(), 418);
    let cookies = response.headers().get_all("set-cookie");
    assert_eq!(cookies.iter().collect::<Vec<_>>(), ["a", "b"]);
    assert!(response.headers().contains_key("x-odd"));
    leave(&http);
}

#[test]
fn a_body_that_ends_too_early_is_an_error_and_never_a_shorter_body() {
    for (response, missing) in [
        ("content-length: 5\r\n\r\n", Some(5)),
        ("content-length: 5\r\n\r\nhell", Some(1)),
        ("transfer-encoding: chunked\r\n\r\n", None),
        ("transfer-encoding: chunked\r\n\r\n5", None),
        ("transfer-encoding: chunked\r\n\r\n5\r\nhel", None),
        ("transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", None),
        (
            "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
            None,
        ),
    ] {
        let server = Server::start(move |number, mut peer| {
            if number > 0 {
                return peer.answer(OK);
            }
            peer.request();
            peer.send(format!("HTTP/1.1 200 OK\r\n{response}"));
        });
        let http = build("short");
        let error = fetch(&http, &server).unwrap_err();
        match &error {
            HttpError::BodyTooShort { missing: told, .. } => assert_eq!(*told, missing),
            other => panic!("{response:?}: {other:?}"),
        }
        fetch_ok(&http, &server);
        assert_eq!(server.connections(), 2);
        leave(&http);
    }
}

#[test]
fn a_reset_in_a_body_is_an_error_even_where_an_end_would_be_none() {
    for head in ["", "content-length: 9\r\n"] {
        let read = common::Gate::default();
        let when_read = read.clone();
        let server = Server::start(move |_, mut peer| {
            peer.request();
            peer.send(format!("HTTP/1.1 200 OK\r\n{head}\r\nhello"));
            when_read.pass();
            peer.rst();
        });
        let http = build("reset");
        let mut body = http.get(server.url("/")).unwrap().into_body();
        let mut piece = [0; 5];
        body.read_exact(&mut piece).unwrap();
        assert_eq!(&piece, b"hello");
        read.open();
        let error = body.read(&mut piece).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let error = inner(error);
        assert!(
            matches!(
                error,
                HttpError::Io {
                    phase: HttpPhase::Receiving,
                    ..
                }
            ),
            "{error:?}"
        );
        assert!(error.source().is_some());
        leave(&http);
    }
}

#[test]
fn a_read_after_an_error_fails_again_and_does_not_look_like_the_end() {
    let server = Server::start(|_, mut peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel");
    });
    let http = build("again");
    let mut body = http.get(server.url("/")).unwrap().into_body();
    let error = io::read_to_string(&mut body).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    assert!(matches!(inner(error), HttpError::BodyTooShort { .. }));
    // The connection of this body is gone already.
    assert_eq!((http.stats().in_use, body.holds_connection()), (0, false));
    for _ in 0..2 {
        let error = body.read(&mut [0]).unwrap_err();
        assert!(matches!(inner(error), HttpError::BodyFailed));
    }
    leave(&http);
}

#[test]
fn bytes_before_a_broken_chunk_are_delivered_and_the_error_comes_after_them() {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let server = Server::first(format!("{head}5\r\nhello\r\nworld\r\n"));
    let http = build("then-broken");
    let mut body = http.get(server.url("/")).unwrap().into_body();
    let mut piece = [0; 100];
    assert_eq!(body.read(&mut piece).unwrap(), 5);
    let error = inner(body.read(&mut piece).unwrap_err());
    assert!(
        chain(&error).contains("\"world\" is no size"),
        "{}",
        chain(&error)
    );
    leave(&http);
}

#[test]
fn the_time_of_a_request_lasts_until_the_last_byte_of_its_body() {
    let server = Server::start(|_, mut peer| {
        peer.request();
        peer.send(OK);
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n");
        // Byte after byte, for longer than any timeout.
        peer.send_in(&[b'.'; 2000], 1, ms(5));
    });
    let http = build("trickle");
    fetch_ok(&http, &server);
    let limit = ms(500);
    let request = Request::get(server.url("/")).body(()).unwrap();
    let (error, took) = timed(|| {
        let response = http.send_timeout(request, limit).unwrap();
        body(response).unwrap_err()
    });
    let HttpError::Timeout {
        phase, limit: told, ..
    } = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!((*phase, *told), (HttpPhase::Receiving, limit));
    assert!(error.is_timeout());
    assert_at(took, limit);
    leave(&http);
}

#[test]
fn a_body_may_take_longer_where_its_request_says_so() {
    let server = Server::start(|_, mut peer| {
        while peer.request().is_some() {
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n");
            peer.send_in(b"........", 1, ms(15));
        }
    });
    let http = pool("longer").total_timeout(ms(60)).build().unwrap();
    for timeout in [secs(30), std::time::Duration::MAX] {
        let request = Request::get(server.url("/")).body(()).unwrap();
        let response = http.send_timeout(request, timeout).unwrap();
        assert_eq!(body(response).unwrap(), b"........");
    }
    assert!(fetch(&http, &server).unwrap_err().is_timeout());
    leave(&http);
}

#[test]
fn an_error_of_a_read_carries_its_kind_and_its_cause() {
    let server = Server::first("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n");
    let http = build("kinds");
    let response = http.get(server.url("/")).unwrap();
    let error = io::read_to_string(response.into_body()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    let inner = error.get_ref().unwrap();
    assert!(inner.downcast_ref::<HttpError>().is_some());
    assert!(inner.source().is_none() && !inner.to_string().contains('\n'));
    leave(&http);
}
