//! Opening a WebSocket, and the errors when it fails.

#![allow(
    clippy::disallowed_methods,
    reason = "a test of real sockets measures real time"
)]

use crate::common;
use crate::support;
use crate::websocket;

use common::SOON;
use conpool::{
    ConnectionManager, WebSocketError, WebSocketManager,
    managers::websocket::{
        Message,
        tungstenite::{
            accept_hdr,
            handshake::server::{ErrorResponse, Request, Response},
        },
    },
};
use std::{
    error::Error,
    io::{Read, Write},
    sync::mpsc,
    thread,
    time::Duration,
};
use support::sockets::ClosedPort;
use websocket::{Server, echo, fails, frame, request, welcome};

#[test]
fn a_url_that_cannot_be_used_is_permanent_and_says_which_and_why() {
    let cases = [
        ("", "it is not a URI"),
        ("nonsense", "the scheme must be ws or wss"),
        ("http://a/", "the scheme must be ws or wss"),
        ("ws://", "it is not a URI"),
        ("ws:///path", "it is not a URI"),
        ("ws://a b/", "it is not a URI"),
        ("ws://a:70000/", "the port is no number up to 65535"),
        ("ws://a:/", "the port is no number up to 65535"),
        ("ws://a/#part", "a WebSocket has no fragment"),
    ];
    for (url, rule) in cases {
        let manager = WebSocketManager::new(url);
        // Repeated: the answer is the same each time.
        for _ in 0..2 {
            let error = fails(&manager);
            assert!(!error.is_transient());
            let WebSocketError::Url {
                url: named,
                rule: why,
            } = &error
            else {
                panic!("{url:?}: {error}");
            };
            assert_eq!(*why, rule, "{url:?}");
            assert!(url.starts_with(named.as_str()), "{error}");
        }
    }
}

#[test]
fn wss_without_a_tls_configuration_is_permanent() {
    let error = fails(&WebSocketManager::new("wss://127.0.0.1:1/"));
    assert!(matches!(error, WebSocketError::Url { .. }), "{error}");
    assert!(!error.is_transient() && error.to_string().contains("wss needs"));
}

#[test]
fn no_secret_is_shown() {
    let manager = WebSocketManager::builder("ws://127.0.0.1:1/feed?token=verysecret")
        .header("Authorization", "Bearer verysecret")
        .build();
    let shown = format!("{manager:?}");
    assert!(!shown.contains("verysecret"), "{shown}");
    assert!(shown.contains("127.0.0.1:1/feed") && shown.contains("Authorization"));

    for url in ["ws://user:verysecret@a/", "ws://a/?token=verysecret#x"] {
        let manager = WebSocketManager::new(url);
        let error = fails(&manager);
        let shown = format!("{error} {error:?} {manager:?}");
        assert!(!shown.contains("verysecret"), "{shown}");
    }
    let manager = WebSocketManager::builder("ws://a/")
        .header("Cookie", "verysecret\n")
        .build();
    let shown = format!("{:?}", fails(&manager));
    assert!(!shown.contains("verysecret"), "{shown}");
}

#[test]
fn a_setting_that_makes_no_sense_is_permanent_and_named() {
    let zero = Duration::ZERO;
    let builder = || WebSocketManager::builder("ws://127.0.0.1:1/");
    let cases = [
        ("connect_timeout", builder().connect_timeout(zero)),
        ("handshake_timeout", builder().handshake_timeout(zero)),
        ("ping_timeout", builder().ping_timeout(zero)),
        ("ping_interval", builder().ping_interval(zero)),
        ("read_timeout", builder().read_timeout(zero)),
        ("write_timeout", builder().write_timeout(zero)),
        ("header", builder().header("not a name", "x")),
        ("header", builder().header("X-Bad", "line\nbreak")),
        ("header", builder().header("Upgrade", "h2c")),
        (
            "header",
            builder().header("Sec-WebSocket-Extensions", "permessage-deflate"),
        ),
        ("subprotocol", builder().subprotocol("two words")),
        ("subprotocol", builder().subprotocol("")),
    ];
    for (name, builder) in cases {
        let error = fails(&builder.build());
        assert!(
            matches!(&error, WebSocketError::Setting { setting, .. } if *setting == name),
            "{name}: {error}"
        );
        assert!(!error.is_transient());
        assert!(error.to_string().starts_with(name), "{error}");
    }
}

#[test]
fn no_limit_is_a_limit_that_is_never_met() {
    let server = Server::echo();
    let manager = WebSocketManager::builder(server.url())
        .connect_timeout(Duration::MAX)
        .handshake_timeout(Duration::MAX)
        .ping_timeout(Duration::MAX)
        .read_timeout(Duration::MAX)
        .write_timeout(Duration::MAX)
        .close_timeout(Duration::MAX)
        .max_message_size(None)
        .max_frame_size(None)
        .build();
    let mut near = manager.create().unwrap();
    near.send("a".into()).unwrap();
    assert_eq!(near.read().unwrap(), Message::text("a"));
    manager.check_aliveness(&mut near).unwrap();
    manager.dispose(near);
}

#[test]
fn the_request_says_what_was_asked_for_and_the_server_may_choose() {
    let (sender, seen) = mpsc::channel();
    let server = Server::start(move |client| {
        let sender = sender.clone();
        #[allow(clippy::result_large_err, reason = "the codec asks for this type")]
        let look = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
            let text = |name: &str| {
                let values = request.headers().get_all(name);
                let values = values
                    .iter()
                    .map(|value| value.to_str().unwrap().to_owned());
                values.collect::<Vec<_>>().join("|")
            };
            let headers = ["Host", "Cookie", "Sec-WebSocket-Protocol"].map(text);
            let _ = sender.send((request.uri().to_string(), headers));
            let chosen = "second".parse().unwrap();
            response
                .headers_mut()
                .insert("Sec-WebSocket-Protocol", chosen);
            Ok(response)
        };
        let mut far = accept_hdr(client, look).unwrap();
        let _ = websocket::echo_all(&mut far);
    });
    let manager = WebSocketManager::builder(format!("{}a/b?c=d", server.url()))
        .header("Cookie", "one")
        .header("Cookie", "two")
        .header("Host", "virtual.example")
        .subprotocol("first")
        .subprotocol("second")
        .build();
    let near = manager.create().unwrap();
    assert_eq!(near.subprotocol(), Some("second"));
    assert_eq!(near.tcp().peer_addr().unwrap(), server.address());
    let (path, headers) = seen.recv_timeout(SOON).unwrap();
    assert_eq!(path, "/a/b?c=d");
    assert_eq!(headers, ["virtual.example", "one|two", "first, second"]);
    manager.dispose(near);

    // A subprotocol that was not requested violates the rules.
    let error = fails(&server.manager().build());
    assert!(matches!(error, WebSocketError::Handshake { .. }), "{error}");
    assert!(error.source().is_some() && !error.is_transient());
}

#[test]
fn another_address_is_tried_when_the_first_refuses() {
    let closed = ClosedPort::new().unwrap();
    let server = Server::echo();
    let other = server.address().to_string();
    let manager = WebSocketManager::builder(format!("ws://{}/", closed.addr()))
        .tcp(|tcp| tcp.address(other))
        .build();
    let near = manager.create().unwrap();
    assert_eq!(near.tcp().peer_addr().unwrap(), server.address());
    manager.dispose(near);
}

#[test]
fn an_answer_that_comes_byte_by_byte_within_the_time_is_as_good_as_any() {
    let server = Server::start(|mut client| {
        let _ = client.set_nodelay(true);
        let mut answer = welcome(&request(&client));
        answer.extend(frame(0x81, b"first"));
        for byte in answer {
            client.write_all(&[byte]).unwrap();
            thread::sleep(Duration::from_micros(300));
        }
        let _ = client.read(&mut [0]);
    });
    let manager = server.manager().build();
    let mut near = manager.create().unwrap();
    assert_eq!(near.read().unwrap(), Message::text("first"));
}

#[test]
fn messages_that_come_with_the_answer_to_the_upgrade_are_not_lost() {
    // So many that they do not fit into one read.
    let count = 2_000;
    let server = Server::start(move |mut client| {
        let mut answer = welcome(&request(&client));
        for number in 0..count {
            answer.extend(frame(0x81, format!("{number}").as_bytes()));
        }
        client.write_all(&answer).unwrap();
        let _ = client.read(&mut [0]);
    });
    let mut near = server.manager().build().create().unwrap();
    for number in 0..count {
        assert_eq!(near.read().unwrap(), Message::text(number.to_string()));
    }
}

#[test]
fn ipv6_and_names_work() {
    let server = Server::echo();
    let port = server.address().port();
    let manager = WebSocketManager::new(format!("ws://localhost:{port}"));
    let near = manager.create().unwrap();
    manager.dispose(near);

    let Ok(listener) = std::net::TcpListener::bind("[::1]:0") else {
        println!("IPv6 skipped: ::1 cannot be used here");
        return;
    };
    let address = listener.local_addr().unwrap();
    let far = thread::spawn(move || echo(listener.accept().unwrap().0));
    let manager = WebSocketManager::new(format!("ws://{address}/"));
    let mut near = manager.create().unwrap();
    near.send("six".into()).unwrap();
    assert_eq!(near.read().unwrap(), Message::text("six"));
    manager.dispose(near);
    far.join().unwrap();
}
