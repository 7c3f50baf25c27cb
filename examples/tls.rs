//! A pool of TLS connections: a private authority, a resumed handshake, and a certificate that is refused
//! before the connection is used.
//!
//! ```text
//! cargo run --release --features tls --example tls
//! ```

use std::{
    error::Error,
    io::{Read, Write},
    net::TcpListener,
    process::ExitCode,
    sync::Arc,
    thread,
    time::Instant,
};

use conpool::{Pool, PooledConnection, TlsConfig, TlsSocketManager};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::{
    HandshakeKind, ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;
type Authority = CertifiedIssuer<'static, KeyPair>;

const THREADS: u8 = 8;
const TURNS: u8 = 50;

fn authority() -> Outcome<Authority> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

/// Starts an echo server with a certificate that is valid until this year. Returns its address.
fn serve(authority: &Authority, until: i32) -> Outcome<String> {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
    params.not_after = date_time_ymd(until, 1, 1);
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, authority)?.der().clone();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let Ok(session) = ServerConnection::new(Arc::clone(&config)) else {
                return;
            };
            let mut stream = StreamOwned::new(session, stream);
            thread::spawn(move || {
                let mut buffer = [0; 1024];
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..count]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    Ok(address)
}

/// Sends a question and checks that the answer belongs to it.
fn ask(pool: &Pool<TlsSocketManager>, question: &[u8]) -> Outcome<()> {
    let mut line = pool.get()?;
    let mut answer = vec![0; question.len()];
    let exchange = line
        .write_all(question)
        .and_then(|()| line.read_exact(&mut answer));
    if let Err(error) = exchange {
        // The answer may still come. The next user must not get it.
        PooledConnection::discard(line);
        return Err(error.into());
    }
    if answer != question {
        return Err("an answer to another question".into());
    }
    Ok(())
}

fn run() -> Outcome<()> {
    let authority = authority()?;
    let trusted = TlsConfig::pem(authority.pem().as_bytes())?;
    let manager = |address: String| {
        TlsSocketManager::builder(address, trusted.clone())
            .server_name("localhost")
            .build()
    };

    let address = serve(&authority, 2999)?;
    let pool = Pool::builder().name("secured").max_size(3);
    let pool = pool.build(manager(address))?;
    let start = Instant::now();
    let users: Vec<_> = (0..THREADS)
        .map(|n| {
            let pool = pool.clone();
            thread::spawn(move || (0..TURNS).try_for_each(|turn| ask(&pool, &[n, turn])))
        })
        .collect();
    for user in users {
        user.join().map_err(|_| "a user has panicked")??;
    }
    let stats = pool.stats();
    println!(
        "{} answers in {:.0?} over {} handshakes",
        u32::from(THREADS) * u32::from(TURNS),
        start.elapsed(),
        stats.created
    );
    if stats.created > 3 {
        return Err("more than three connections were opened".into());
    }

    // One connection is discarded; its successor resumes the session.
    PooledConnection::discard(pool.get()?);
    let all: Vec<_> = (0..3).map(|_| pool.get()).collect::<Result<_, _>>()?;
    let resumed = all
        .iter()
        .filter(|line| line.conn.handshake_kind() == Some(HandshakeKind::Resumed))
        .count();
    println!("{resumed} of the 3 open connections resumed a session");
    if resumed == 0 {
        return Err("no session was resumed".into());
    }
    drop(all);
    pool.close();

    let expired = serve(&authority, 2001)?;
    let Err(error) = Pool::new(manager(expired)) else {
        return Err("an expired certificate was taken".into());
    };
    print!("refused, as it should be: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        print!(": {error}");
        cause = error.source();
    }
    println!();
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
