//! Five services, five pools in one registry, 150 threads; one service is killed and comes back, and
//! the other four must not notice.
//!
//! ```text
//! cargo run --release --example five_services             the service "orders" is killed
//! cargo run --release --example five_services -- SERVICE  or another: search, chat, bus, cache
//! ```
//!
//! It takes six seconds, or as many as `CONPOOL_FIVE_SECS` says, and longer on a machine so slow that
//! there are too few calls to judge by. The backends are emulations in this process: two servers that
//! speak a little HTTP/1.1 and one that speaks a little WebSocket, on TCP ports of this machine, an
//! emulated bus bridge, and a store in memory. Exit code: 0 when every promise held, 1 when one broke.

mod board;
mod http;
mod line;
mod machine;
mod server;
mod services;
#[path = "../../tests/support/mod.rs"]
mod support;
mod tally;
mod user;
mod verdict;
#[path = "../soak/waits.rs"]
mod waits;
mod ws;

use conpool::PoolRegistry;
use machine::{Machine, Metronome};
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

/// The pools of this process, for whoever knows a name.
static POOLS: LazyLock<PoolRegistry> = LazyLock::new(PoolRegistry::new);

const USERS_PER_SERVICE: u32 = 30;

/// Between two looks at who is well.
const TICK: Duration = Duration::from_millis(10);
const SECOND: Duration = Duration::from_secs(1);
/// So much longer it may take where the machine is slow.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let length: u32 = match env::var("CONPOOL_FIVE_SECS") {
        Ok(secs) => secs.parse::<u32>()?.clamp(4, 86_400),
        Err(_) => 6,
    };
    let victim = env::args().nth(1).unwrap_or_else(|| "orders".into());

    let before = Machine::look();
    let services = services::all()?;
    let Some(victim) = services.iter().find(|service| service.name == victim) else {
        let names: Vec<_> = services.iter().map(|service| service.name).collect();
        return Err(format!("no service {victim:?}; there are {}", names.join(", ")).into());
    };
    println!(
        "{} threads share {} pools; {:?} will be killed\n",
        USERS_PER_SERVICE * services.len() as u32,
        POOLS.names().len(),
        victim.name
    );

    let metronome = Metronome::start();
    let users = Users::start(&services);
    let story = Story::run(&services, victim, length, &metronome)?;
    let mut verdict = Verdict::default();
    if !users.stop() {
        verdict.must(false, "every user came home");
        return Ok(verdict.pronounce());
    }
    metronome.stop();

    verdict.on_service(&services, victim, &story, &metronome);
    verdict.on_health(victim);
    verdict.on_close(&services);
    for service in &services {
        service.backend.kill();
    }
    drop(services);
    verdict.on_machine(before);
    Ok(verdict.pronounce())
}

/// What happened when, as far as the verdict needs it.
struct Story {
    /// The killed service was dead for so long.
    outage: Duration,
    /// So long after its return it served again.
    recovered: Option<Duration>,
    /// Services whose pools were once seen in bad health.
    unwell: Vec<&'static str>,
}

impl Story {
    /// Lets the users work, and kills and revives a service meanwhile.
    fn run(
        services: &[Service],
        victim: &Service,
        length: u32,
        metronome: &Metronome,
    ) -> Result<Self, Box<dyn Error>> {
        let death = length / 3;
        let return_ = death + (length / 6).max(1);
        let mut phase = Phase::Before;
        let (mut killed, mut back, mut served) = (None, None, 0);
        let mut story = Self {
            outage: Duration::ZERO,
            recovered: None,
            unwell: Vec::new(),
        };
        let start = Instant::now();
        for second in 1.. {
            story.wait_until(start + SECOND * second, services, victim, back, served);
            board::draw(second, phase, services);
            for tally in services.iter().map(|service| &service.tally) {
                tally.turn(phase);
            }
            metronome.turn(phase);

            let now = Instant::now();
            if second >= death && killed.is_none() {
                victim.backend.kill();
                killed = Some(now);
                phase = Phase::Outage;
                println!("  --> {:?} is killed\n", victim.name);
            } else if let (Some(killed), None, true) = (killed, back, second >= return_) {
                served = victim.tally.served();
                victim.backend.revive()?;
                back = Some(Instant::now());
                story.outage = killed.elapsed();
                phase = Phase::After;
                println!("  --> {:?} is back\n", victim.name);
            }
            let enough = story.recovered.is_some() && services.iter().all(Service::can_be_judged);
            if second >= length && (enough || start.elapsed() >= SECOND * length + PATIENCE) {
                break;
            }
        }
        Ok(story)
    }

    /// Waits, and watches who is unwell, and when the killed service serves again.
    fn wait_until(
        &mut self,
        end: Instant,
        services: &[Service],
        victim: &Service,
        back: Option<Instant>,
        served: u64,
    ) {
        while Instant::now() < end {
            thread::sleep(TICK);
            for service in services {
                if !service.is_well() && !self.unwell.contains(&service.name) {
                    self.unwell.push(service.name);
                }
            }
            if let (Some(back), None) = (back, self.recovered) {
                self.recovered = (victim.tally.served() > served).then(|| back.elapsed());
            }
        }
    }
}
