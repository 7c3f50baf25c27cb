//! A web service over SQLite: axum in front, a synchronous driver behind, `interact` in between. 2 000 clients
//! load it, some of them hang up, and the folder of its database is taken away and brought back.
//!
//! ```text
//! cargo run --release --manifest-path examples/web/Cargo.toml
//! ```
//!
//! It takes about six seconds, a port of this machine, and a temporary folder, which it removes. Exit code: 0 when every
//! promise held, 1 when one broke.

mod client;
mod folder;
mod machine;
#[path = "../../soak/rng.rs"]
#[allow(dead_code, reason = "the soak uses more of it")]
mod rng;
mod service;
mod table;
mod tally;
mod verdict;
#[path = "../../soak/waits.rs"]
#[allow(dead_code, reason = "the soak uses more of it")]
mod waits;

use client::{Client, Load};
use conpool::{HealthCheck, Pool, SqliteManager, Synchronous, rusqlite};
use folder::Folder;
use machine::Peak;
use rng::Rng;
use service::Service;
use std::{
    error::Error,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};
use tally::{Phase, Tally};
use tokio::{net::TcpSocket, sync::oneshot, time::sleep};
use verdict::Verdict;

const CLIENTS: usize = 2_000;
const CONNECTIONS: usize = 8;
/// The notes that are there from the start.
const NOTES: i64 = 1_000;
/// The time in which anything that does not hang must end.
const SOON: Duration = Duration::from_secs(30);

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<ExitCode, Failure> {
    let clients = machine::room_for(CLIENTS);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let folder = Folder::new()?;
    // The threads of the runtime and of this measurement exist now.
    let peak = Peak::start();
    let pool = Pool::builder()
        .name("notes")
        .max_size(CONNECTIONS)
        .get_timeout(Duration::from_secs(10))
        // A connection to a file that has gone still works, so only a check finds that out.
        .health_check(HealthCheck::OnCheckout)
        .build(manager(&folder))?;
    println!(
        "{clients} clients of a service over {CONNECTIONS} connections to {}\n",
        folder.database().display()
    );

    let service = Service::new(pool.clone());
    let run = runtime.block_on(run(&service, &folder, clients))?;
    let mut verdict = Verdict::default();
    verdict.on_rest(&pool);
    let notes = notes(&pool)?;
    // The tasks of the runtime hold handles of the pool.
    drop(runtime);
    let closed = pool.close_timeout(SOON);
    let threads = peak.stop();

    table::print(&run, &service, threads, &pool.stats());
    verdict.on_requests(&run, &service);
    verdict.on_outage(&run);
    verdict.on_notes(&run, notes);
    verdict.on_threads(threads);
    verdict.on_close(closed, &pool.stats());
    Ok(verdict.print())
}

fn manager(folder: &Folder) -> SqliteManager {
    SqliteManager::file(folder.database())
        .synchronous(Synchronous::Normal)
        .init(|connection| {
            connection.execute_batch(&format!(
                "CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL);
                 INSERT OR IGNORE INTO notes
                     WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < {NOTES})
                     SELECT id, 'note ' || id FROM n WHERE NOT EXISTS (SELECT 1 FROM notes)"
            ))
        })
}

fn notes(pool: &Pool<SqliteManager>) -> Result<i64, Failure> {
    let count = |connection: &mut conpool::SqliteConnection| {
        connection.query_row("SELECT count(*) FROM notes", [], |row| row.get(0))
    };
    Ok(pool.with(count)?.map_err(Box::<rusqlite::Error>::new)?)
}

/// What the verdict needs to know of a run.
struct Run {
    clients: usize,
    tally: Tally,
    took: Duration,
    /// The time from the return of the folder to the next answer, if there was one.
    answered_after: Option<Duration>,
}

/// Serves and loads the service, and takes the folder away meanwhile.
async fn run(service: &Service, folder: &Folder, clients: usize) -> Result<Run, Failure> {
    let socket = TcpSocket::new_v4()?;
    socket.bind("127.0.0.1:0".parse()?)?;
    let listener = socket.listen(CLIENTS as u32)?;
    let address = listener.local_addr()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let server = axum::serve(listener, service.routes()).with_graceful_shutdown(async {
        let _ = stopped.await;
    });
    let server = tokio::spawn(server.into_future());

    let load = Arc::new(Load::new(address));
    let mut random = Rng::new(21);
    let start = Instant::now();
    let tasks: Vec<_> = (0..clients)
        .map(|_| tokio::spawn(Client::new(&load, random.fork()).live()))
        .collect();

    sleep(Duration::from_secs(2)).await;
    folder.take_away()?;
    load.set(Phase::Away);
    sleep(Duration::from_secs(1)).await;
    folder.bring_back()?;
    let back = Instant::now();
    load.set(Phase::Back);
    let answered = Client::new(&load, random.fork())
        .wait_for_answer(SOON)
        .await;
    let answered_after = answered.then(|| back.elapsed());
    sleep(Duration::from_secs(2)).await;
    load.end();

    let mut tally = Tally::default();
    for task in tasks {
        tally.absorb(task.await?);
    }
    let took = start.elapsed();
    drop(stop);
    tokio::time::timeout(SOON, server).await???;
    Ok(Run {
        clients,
        tally,
        took,
        answered_after,
    })
}
