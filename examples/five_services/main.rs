//! Five services, five pools in one registry, 150 threads. One service is killed and restarted, and the other
//! four must not be affected.
//!
//! ```text
//! cargo run --release --example five_services             the service "orders" is killed
//! cargo run --release --example five_services -- SERVICE  or another: search, chat, bus, cache
//! ```
//!
//! It takes six seconds, or as many as `CONPOOL_FIVE_SECS` says, and longer on a machine so slow that there
//! are too few calls to judge by. The backends are emulations in this process: two servers that speak a
//! little HTTP/1.1 and one that speaks a little WebSocket, on TCP ports of this machine, an emulated bus
//! bridge, and a store in memory. Exit code: 0 when every promise held, 1 when one broke.

mod http;
mod line;
mod machine;
mod server;
mod services;
#[path = "../../tests/support/mod.rs"]
mod support;
mod table;
mod tally;
mod user;
mod verdict;
#[path = "../soak/waits.rs"]
mod waits;
mod ws;

use conpool::PoolRegistry;
use machine::{Machine, WakeupProbe};
use services::Service;
use std::{
    env,
    error::Error,
    process::ExitCode,
    sync::LazyLock,
    thread,
    time::{Duration, Instant},
};
use tally::Phase;
use user::Users;
use verdict::Verdict;

/// The pools of this process by name.
static POOLS: LazyLock<PoolRegistry> = LazyLock::new(PoolRegistry::new);

const USERS_PER_SERVICE: u32 = 30;

/// The interval between two looks at the health of the pools.
const TICK: Duration = Duration::from_millis(10);
const SECOND: Duration = Duration::from_secs(1);
/// The extra time on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let length: u32 = match env::var("CONPOOL_FIVE_SECS") {
        Ok(secs) => secs.parse::<u32>()?.clamp(4, 86_400),
        Err(_) => 6,
    };
    let target = env::args().nth(1).unwrap_or_else(|| "orders".into());

    let before = Machine::look();
    let services = services::all()?;
    let Some(target) = services.iter().find(|service| service.name == target) else {
        let names: Vec<_> = services.iter().map(|service| service.name).collect();
        return Err(format!("no service {target:?}; there are {}", names.join(", ")).into());
    };
    println!(
        "{} threads share {} pools; {:?} will be killed\n",
        USERS_PER_SERVICE * services.len() as u32,
        POOLS.names().len(),
        target.name
    );

    let wakeup_probe = WakeupProbe::start();
    let users = Users::start(&services);
    let timeline = Timeline::run(&services, target, length, &wakeup_probe)?;
    let mut verdict = Verdict::default();
    if !users.stop() {
        verdict.must(false, "every user came home");
        return Ok(verdict.print());
    }
    wakeup_probe.stop();

    verdict.on_service(&services, target, &timeline, &wakeup_probe);
    verdict.on_health(target);
    verdict.on_close(&services);
    for service in &services {
        service.backend.kill();
    }
    drop(services);
    verdict.on_machine(before);
    Ok(verdict.print())
}

/// The times of the events that the verdict needs.
struct Timeline {
    /// How long the killed service was down.
    outage: Duration,
    /// The time from its restart to its first answer.
    recovered: Option<Duration>,
    /// Services whose pools were once unhealthy.
    unhealthy: Vec<&'static str>,
}

impl Timeline {
    /// Runs the users, and kills and restarts a service meanwhile.
    fn run(
        services: &[Service],
        target: &Service,
        length: u32,
        wakeup_probe: &WakeupProbe,
    ) -> Result<Self, Box<dyn Error>> {
        let kill_at = length / 3;
        let restart_at = kill_at + (length / 6).max(1);
        let mut phase = Phase::Before;
        let (mut killed, mut back, mut served) = (None, None, 0);
        let mut timeline = Self {
            outage: Duration::ZERO,
            recovered: None,
            unhealthy: Vec::new(),
        };
        let start = Instant::now();
        for second in 1.. {
            timeline.wait_until(start + SECOND * second, services, target, back, served);
            table::draw(second, phase, services);
            for tally in services.iter().map(|service| &service.tally) {
                tally.turn(phase);
            }
            wakeup_probe.turn(phase);

            let now = Instant::now();
            if second >= kill_at && killed.is_none() {
                target.backend.kill();
                killed = Some(now);
                phase = Phase::Outage;
                println!("  --> {:?} is killed\n", target.name);
            } else if let (Some(killed), None, true) = (killed, back, second >= restart_at) {
                served = target.tally.served();
                target.backend.revive()?;
                back = Some(Instant::now());
                timeline.outage = killed.elapsed();
                phase = Phase::After;
                println!("  --> {:?} is back\n", target.name);
            }
            let enough =
                timeline.recovered.is_some() && services.iter().all(Service::can_be_judged);
            if second >= length && (enough || start.elapsed() >= SECOND * length + PATIENCE) {
                break;
            }
        }
        Ok(timeline)
    }

    /// Waits, and records unhealthy pools and the killed service's first answer.
    fn wait_until(
        &mut self,
        end: Instant,
        services: &[Service],
        target: &Service,
        back: Option<Instant>,
        served: u64,
    ) {
        while Instant::now() < end {
            thread::sleep(TICK);
            for service in services {
                if !service.is_healthy() && !self.unhealthy.contains(&service.name) {
                    self.unhealthy.push(service.name);
                }
            }
            if let (Some(back), None) = (back, self.recovered) {
                self.recovered = (target.tally.served() > served).then(|| back.elapsed());
            }
        }
    }
}
