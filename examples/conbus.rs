//! A small client for a Conbus bridge, over a pool of one connection.
//!
//! ```text
//! cargo run --example conbus                                      a demonstration on an emulator
//! cargo run --example conbus -- HOST[:PORT] discover
//! cargo run --example conbus -- HOST[:PORT] read SERIAL DATAPOINT
//! cargo run --example conbus -- HOST[:PORT] switch SERIAL OUTPUT on|off
//! ```
//!
//! The port is 10001 unless given.

#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    error::Error,
    net::{IpAddr, SocketAddr, TcpStream},
    process::ExitCode,
    time::Duration,
};

use conpool::{ConbusSocketManager, Pool, PoolBuilder, PooledConnection};
use support::{
    client::{self, ClientError},
    emulator::{Emulator, Ending},
};

const PORT: u16 = 10001;
/// The reply timeout. The slowest device of a busy bus needs some 300 ms.
const TIMEOUT: Duration = Duration::from_secs(3);
/// A discovery ends after this much silence.
const QUIET: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        [] => demonstration(),
        [bridge, ref words @ ..] => single(bridge, words),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("error: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprint!(": {error}");
                cause = error.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

fn single(bridge: &str, words: &[&str]) -> Result<(), Box<dyn Error>> {
    let command = Command::parse(words)?;
    let pool = open(bridge)?;
    let result = command.run(&pool, QUIET);
    // A bridge accepts one client: end the connection completely, not half.
    let closed = pool.close_timeout(TIMEOUT);
    result.and(closed.map_err(Box::from))
}

fn open(bridge: &str) -> Result<Pool<ConbusSocketManager>, Box<dyn Error>> {
    let manager = ConbusSocketManager::builder(with_port(bridge))
        .connect_timeout(TIMEOUT)
        .write_timeout(TIMEOUT)
        .keepalive(Duration::from_secs(60))
        .single_client()
        .build();
    let pool = PoolBuilder::from(ConbusSocketManager::pool_config())
        .get_timeout(2 * TIMEOUT)
        .build(manager)?;
    Ok(pool)
}

fn with_port(bridge: &str) -> String {
    match bridge.parse::<IpAddr>() {
        Ok(address) => SocketAddr::new(address, PORT).to_string(),
        Err(_) if bridge.contains(':') => bridge.to_owned(),
        Err(_) => format!("{bridge}:{PORT}"),
    }
}

/// The command for the bridge.
enum Command {
    Discover,
    Read { serial: u64, datapoint: u8 },
    Switch { serial: u64, output: u8, on: bool },
}

impl Command {
    fn parse(words: &[&str]) -> Result<Self, Box<dyn Error>> {
        Ok(match *words {
            ["discover"] => Self::Discover,
            ["read", serial, datapoint] => Self::Read {
                serial: serial.parse()?,
                datapoint: datapoint.parse()?,
            },
            ["switch", serial, output, state @ ("on" | "off")] => Self::Switch {
                serial: serial.parse()?,
                output: output.parse()?,
                on: state == "on",
            },
            _ => {
                return Err("expected HOST[:PORT] and one of: discover, \
                            read SERIAL DATAPOINT, switch SERIAL OUTPUT on|off"
                    .into());
            }
        })
    }

    fn run(&self, pool: &Pool<ConbusSocketManager>, quiet: Duration) -> Result<(), Box<dyn Error>> {
        match *self {
            Self::Discover => {
                for serial in ask(pool, |line| client::discover(line, quiet, TIMEOUT))? {
                    println!("{serial:010}");
                }
            }
            Self::Read { serial, datapoint } => {
                let value = ask(pool, |line| {
                    client::read_datapoint(line, serial, datapoint, TIMEOUT)
                })?;
                println!("{value}");
            }
            Self::Switch { serial, output, on } => {
                ask(pool, |line| {
                    client::switch(line, serial, output, on, TIMEOUT)
                })?;
                println!("output {output} is {}", if on { "on" } else { "off" });
            }
        }
        Ok(())
    }
}

/// Makes one request on a pooled connection. The connection goes back only if its exchange finished.
fn ask<T>(
    pool: &Pool<ConbusSocketManager>,
    question: impl FnOnce(&mut TcpStream) -> Result<T, ClientError>,
) -> Result<T, Box<dyn Error>> {
    let mut connection = pool.get()?;
    let answer = question(&mut connection);
    if answer.as_ref().is_err_and(ClientError::is_broken) {
        PooledConnection::discard(connection);
    }
    Ok(answer?)
}

fn demonstration() -> Result<(), Box<dyn Error>> {
    let bridge = Emulator::builder().max_clients(1).start()?;
    println!(
        "an emulated bridge with room for one client listens on {}",
        bridge.addr()
    );
    let pool = open(&bridge.addr().to_string())?;
    for command in [
        "discover",
        "read 1302410003 18",
        "read 1302410003 12",
        "switch 1302410003 0 on",
        "read 1302410003 12",
    ] {
        println!("\n$ conbus {} {command}", bridge.addr());
        let words: Vec<&str> = command.split(' ').collect();
        Command::parse(&words)?.run(&pool, Duration::from_millis(50))?;
    }
    println!("\nthe bridge resets the connection; the next read gets a new one");
    bridge.close_all_clients(Ending::Rst);
    Command::parse(&["read", "1302410003", "20"])?.run(&pool, QUIET)?;
    pool.close_timeout(TIMEOUT)?;
    let counters = bridge.counters();
    println!(
        "\n{} requests over {} connections, never more than {} at a time, {} turned away",
        counters.requests, counters.accepted, counters.peak_open, counters.refused
    );
    println!("{}", pool.stats());
    Ok(())
}
