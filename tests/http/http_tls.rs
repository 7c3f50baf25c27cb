//! The client over TLS: how a connection opens, ends and is slow.

use crate::common;
use crate::http;

use common::{Gate, assert_at, ms, secs, timed};
use conpool::{
    EvictReason, GetError, HttpError, HttpPhase, HttpPool, HttpRequestBody, TlsError,
    TransportError, http_types::Request,
};
use http::{
    OK, Server,
    authority::Authority,
    body, chain, fetch_ok, inner, leave, pool, timed_out,
    tls::{TlsServer, answer, end, head, sealed},
};
use std::{
    error::Error,
    io::{self, Read, Write},
    net::TcpListener,
    thread,
};

fn client(server: &TlsServer) -> HttpPool {
    pool("tls").tls(server.authority.trusted()).build().unwrap()
}

#[track_caller]
fn get_ok(http: &HttpPool, server: &TlsServer) {
    let response = http.get(server.url("/")).unwrap();
    assert_eq!(body(response).unwrap(), b"ok");
}

#[test]
fn a_connection_with_tls_is_used_again_although_the_server_sends_tickets() {
    let server = TlsServer::start(|_, mut peer| answer(&mut peer, OK));
    let http = client(&server);
    for _ in 0..20 {
        get_ok(&http, &server);
    }
    assert_eq!(server.connections(), 1);
    leave(&http);
}

#[test]
fn http_and_https_are_two_origins_and_one_pool_serves_both() {
    let (plain, server) = (
        Server::plain(),
        TlsServer::start(|_, mut peer| answer(&mut peer, OK)),
    );
    let http = client(&server);
    for _ in 0..2 {
        get_ok(&http, &server);
        fetch_ok(&http, &plain);
    }
    assert_eq!((server.connections(), plain.connections()), (1, 1));
    assert_eq!(
        http.origins()
            .iter()
            .filter(|origin| origin.is_secure())
            .count(),
        1
    );
    leave(&http);
}

#[test]
fn a_server_that_is_not_trusted_is_an_error_at_once_and_nothing_is_sent() {
    let server = TlsServer::start(|_, mut peer| assert!(!head(&mut peer)));
    let http = pool("distrust")
        .tls(Authority::new().trusted())
        .build()
        .unwrap();
    let (error, took) = timed(|| http.get(server.url("/")).unwrap_err());
    assert_at(took, ms(0));
    let HttpError::Pool(GetError::Create { error: cause, .. }) = &error else {
        panic!("{error:?}");
    };
    assert!(
        matches!(&**cause, TransportError::Tls(TlsError::Handshake { .. })),
        "{cause:?}"
    );
    assert!(chain(&error).contains("certificate"), "{}", chain(&error));
    leave(&http);
}

#[test]
fn a_handshake_is_bounded_by_the_connect_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let limit = ms(80);
    let http = pool("no-hello")
        .tls(Authority::new().trusted())
        .connect_timeout(limit);
    let http = http.build().unwrap();
    let (error, took) = timed(|| http.get(url).unwrap_err());
    assert_at(took, limit);
    assert!(error.is_timeout(), "{error:?}");
    leave(&http);
}

#[test]
fn a_response_that_trickles_below_tls_is_bounded_by_the_total_timeout() {
    let server = TlsServer::start(|_, mut peer| {
        head(&mut peer);
        peer.write_all(OK).unwrap();
        peer.flush().unwrap();
        head(&mut peer);
        let wire = sealed(&mut peer, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        // One record, which is useless before its last byte has come.
        for byte in wire {
            if peer.sock.write_all(&[byte]).is_err() {
                return;
            }
            thread::sleep(ms(40));
        }
    });
    let http = client(&server);
    get_ok(&http, &server);
    let request = Request::get(server.url("/")).body(()).unwrap();
    let limit = ms(500);
    let (error, took) = timed(|| http.send_timeout(request, limit).unwrap_err());
    timed_out(&error, HttpPhase::Waiting);
    assert_at(took, limit);
    leave(&http);
}

#[test]
fn a_body_until_the_end_is_whole_only_where_tls_says_so() {
    for goodbye in [true, false] {
        let server = TlsServer::start(move |_, mut peer| {
            head(&mut peer);
            peer.write_all(b"HTTP/1.1 200 OK\r\n\r\nall of it").unwrap();
            if goodbye {
                peer.conn.send_close_notify();
            }
            while peer.conn.wants_write() {
                peer.conn.write_tls(&mut peer.sock).unwrap();
            }
        });
        let http = client(&server);
        let result = body(http.get(server.url("/")).unwrap());
        if goodbye {
            assert_eq!(result.unwrap(), b"all of it");
        } else {
            let error = result.unwrap_err();
            let cut = matches!(&error, HttpError::Io { source, .. } if source.kind() == io::ErrorKind::UnexpectedEof);
            assert!(cut, "{error:?}");
        }
        leave(&http);
    }
}

#[test]
fn a_goodbye_while_idle_is_seen_before_the_next_request() {
    let said = Gate::default();
    let done = said.clone();
    let server = TlsServer::start(move |number, mut peer| {
        if number > 0 {
            return answer(&mut peer, OK);
        }
        head(&mut peer);
        peer.write_all(OK).unwrap();
        peer.conn.send_close_notify();
        peer.flush().unwrap();
        while peer.conn.wants_write() {
            peer.conn.write_tls(&mut peer.sock).unwrap();
        }
        done.open();
        end(&mut peer);
    });
    let http = client(&server);
    get_ok(&http, &server);
    said.pass();
    // A POST, which would not be sent twice.
    let request = Request::post(server.url("/")).body(()).unwrap();
    assert_eq!(body(http.send(request).unwrap()).unwrap(), b"ok");
    assert_eq!(server.connections(), 2);
    leave(&http);
}

#[test]
fn data_that_comes_while_idle_costs_the_connection() {
    let said = Gate::default();
    let done = said.clone();
    let server = TlsServer::start(move |number, mut peer| {
        if number == 0 {
            head(&mut peer);
            // The second response may be in the same record or in its own.
            peer.write_all(OK).unwrap();
            peer.flush().unwrap();
            peer.write_all(OK).unwrap();
            peer.flush().unwrap();
            done.open();
        }
        answer(&mut peer, OK);
    });
    let http = client(&server);
    get_ok(&http, &server);
    said.pass();
    get_ok(&http, &server);
    assert_eq!(server.connections(), 2);
    let stats = http.stats();
    let evicted = stats.evicted(EvictReason::HookFailed) + stats.evicted(EvictReason::Broken);
    assert_eq!(evicted, 1, "{stats}");
    leave(&http);
}

#[test]
fn a_connection_that_dies_with_a_request_is_replaced_once() {
    let server = TlsServer::start(|number, mut peer| {
        head(&mut peer);
        peer.write_all(OK).unwrap();
        peer.flush().unwrap();
        if number > 0 {
            return answer(&mut peer, OK);
        }
        head(&mut peer);
    });
    let http = client(&server);
    get_ok(&http, &server);
    get_ok(&http, &server);
    assert_eq!(server.connections(), 2);
    leave(&http);
}

#[test]
fn large_bodies_go_both_ways_byte_exact() {
    let server = TlsServer::start(|_, mut peer| {
        while head(&mut peer) {
            let mut content = vec![0; 3_000_000];
            peer.read_exact(&mut content).unwrap();
            peer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3000000\r\n\r\n")
                .unwrap();
            peer.write_all(&content).unwrap();
            peer.flush().unwrap();
        }
    });
    let http = client(&server);
    let mut rng = common::Rng::new(3);
    let content: Vec<u8> = (0..3_000_000).map(|_| rng.below(256) as u8).collect();
    for _ in 0..2 {
        let request = Request::put(server.url("/")).body(&content).unwrap();
        assert!(body(http.send(request).unwrap()).unwrap() == content);
    }
    assert_eq!(server.connections(), 1);
    leave(&http);
}

#[test]
fn an_upload_that_nobody_reads_hears_the_answer_or_ends_in_time() {
    for answers in [true, false] {
        let over = Gate::default();
        let gate = over.clone();
        let server = TlsServer::start(move |_, mut peer| {
            head(&mut peer);
            peer.write_all(OK).unwrap();
            peer.flush().unwrap();
            head(&mut peer);
            // Lets the client block.
            thread::sleep(ms(50));
            if answers {
                let told = b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno";
                let wire = sealed(&mut peer, told);
                peer.sock.write_all(&wire).unwrap();
            }
            gate.pass();
        });
        let http = client(&server);
        get_ok(&http, &server);
        let content = HttpRequestBody::sized(io::repeat(b'x'), 1 << 40);
        let request = Request::put(server.url("/")).body(content).unwrap();
        let limit = if answers { secs(30) } else { ms(500) };
        let (result, took) = timed(|| http.send_timeout(request, limit));
        if answers {
            let response = result.unwrap();
            assert_eq!(response.status(), 413);
            assert_eq!(body(response).unwrap(), b"no");
        } else {
            let error = result.unwrap_err();
            timed_out(&error, HttpPhase::Sending);
            assert_at(took, limit);
        }
        leave(&http);
        over.open();
    }
}

#[test]
fn what_is_no_tls_in_the_middle_of_a_response_is_an_error() {
    let server = TlsServer::start(|_, mut peer| {
        head(&mut peer);
        let wire = sealed(
            &mut peer,
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
        );
        peer.sock.write_all(&wire).unwrap();
        peer.sock
            .write_all(b"this is no record of TLS at all")
            .unwrap();
        end(&mut peer);
    });
    let http = client(&server);
    let mut content = Vec::new();
    let mut body = match http.get(server.url("/")) {
        Ok(response) => response.into_body(),
        // Both came with one read.
        Err(HttpError::Io { .. }) => return leave(&http),
        Err(error) => panic!("{error:?}"),
    };
    let error = inner(body.read_to_end(&mut content).unwrap_err());
    assert!(
        matches!(&error, HttpError::Io { .. }) && error.source().is_some(),
        "{error:?}"
    );
    leave(&http);
}

#[test]
fn the_host_of_the_uri_must_be_in_the_certificate() {
    let server = TlsServer::start(|_, mut peer| answer(&mut peer, OK));
    let http = client(&server);
    // The certificate names the address and localhost; another name is not in it.
    let by_address = format!("https://{}/", server.addr());
    assert_eq!(body(http.get(by_address).unwrap()).unwrap(), b"ok");
    let other = format!("https://127.0.0.2:{}/", server.addr().port());
    assert!(http.get(other).unwrap_err().is_connect());
    leave(&http);
}
