//! The promises, one line each: held or broken.

use crate::{
    POOLS, Story,
    board::Short,
    machine::{Machine, Metronome},
    services::Service,
    tally::Phase,
};
use conpool::HealthState;
use std::{fmt::Write as _, process::ExitCode, time::Duration};

/// More of all checkouts than this must find a connection that was used before.
const REUSE: f64 = 0.99;
/// How long closing everything may take.
const CLOSE: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(crate) struct Verdict {
    broken: u32,
}

impl Verdict {
    pub(crate) fn must(&mut self, held: bool, promise: impl AsRef<str>) {
        let word = if held { "held  " } else { "BROKEN" };
        println!("{word}  {}", promise.as_ref());
        self.broken += u32::from(!held);
    }

    pub(crate) fn pronounce(&self) -> ExitCode {
        match self.broken {
            0 => {
                println!("\nevery promise held");
                ExitCode::SUCCESS
            }
            broken => {
                println!("\n{broken} promises broke");
                ExitCode::FAILURE
            }
        }
    }

    /// While the users were there.
    pub(crate) fn on_service(
        &mut self,
        services: &[Service],
        victim: &Service,
        story: &Story,
        metronome: &Metronome,
    ) {
        let (mut checkouts, mut reused) = (0.0, 0.0);
        for service in services {
            let stats = service.pool.stats();
            let served = stats.gets as f64 * (1.0 - stats.error_rate());
            checkouts += served;
            reused += served * stats.reuse_rate();
            let (served, wrong) = (service.tally.served(), service.tally.wrong());
            self.must(
                wrong == 0 && served > 0,
                format!(
                    "{}: {served} answers belong to their questions, {wrong} do not",
                    service.name
                ),
            );
        }
        for service in services.iter().filter(|one| one.name != victim.name) {
            self.on_bystander(service, story, metronome);
        }
        self.on_victim(victim, story);
        let overall = reused / checkouts;
        self.must(
            overall > REUSE,
            format!("all together: {:.2} % reused", overall * 100.0),
        );
    }

    fn on_bystander(&mut self, service: &Service, story: &Story, metronome: &Metronome) {
        let (name, stats) = (service.name, service.pool.stats());
        self.must(
            stats.reuse_rate() > REUSE,
            format!("{name}: {:.2} % reused", stats.reuse_rate() * 100.0),
        );
        let errors = service.tally.failed() + stats.create_errors + stats.check_failures;
        let first = service.tally.first_failure();
        self.must(
            errors == 0,
            match first {
                None => format!("{name}: {errors} errors"),
                Some(first) => format!("{name}: {errors} errors; the first: {first}"),
            },
        );
        self.must(
            !story.unwell.contains(&name),
            format!("{name}: its health was never in doubt"),
        );

        let tally = &service.tally;
        let [before, outage, after] =
            [Phase::Before, Phase::Outage, Phase::After].map(|phase| tally.waits(phase));
        let late = metronome.late(Phase::Outage).max();
        let (p99, usual) = (outage.percentile(0.99), before.percentile(0.99));
        let most = usual * 4 + Duration::from_millis(20) + late * 4;
        self.must(
            outage.count() > 0 && p99 <= most,
            format!(
                "{name}: {} p99 wait in the outage, {} before (at most {}; the machine was up to {} \
                 late)",
                Short(p99),
                Short(usual),
                Short(most),
                Short(late)
            ),
        );
        // Somebody who was held up by the dead service would have waited until it was back.
        let (longest, late) = (
            outage.max().max(after.max()),
            late.max(metronome.late(Phase::After).max()),
        );
        let most = story.outage / 2 + late * 4;
        self.must(
            longest <= most,
            format!(
                "{name}: {} the longest wait since the kill (at most {})",
                Short(longest),
                Short(most)
            ),
        );
    }

    fn on_victim(&mut self, victim: &Service, story: &Story) {
        let (name, stats) = (victim.name, victim.pool.stats());
        // Where callers wait for the recovery, none of them need fail.
        self.must(
            stats.create_errors > 0,
            format!(
                "{name}: its death was felt: {} calls and {} creates failed; the first call: {}",
                victim.tally.failed(),
                stats.create_errors,
                victim.tally.first_failure().as_deref().unwrap_or("-")
            ),
        );
        self.must(
            story.recovered.is_some(),
            match story.recovered {
                Some(after) => format!(
                    "{name}: dead for {}, served again {} after",
                    Short(story.outage),
                    Short(after)
                ),
                None => format!("{name}: it served again"),
            },
        );
        self.must(
            stats.health == HealthState::Healthy,
            format!("{name}: {} in the end", stats.health),
        );
    }

    /// After the users have left: every idle connection is asked whether it is alive.
    pub(crate) fn on_health(&mut self, victim: &Service) {
        let mut answers = POOLS.check_health();
        // Connections that died with the service, and that nobody has taken since, are found and
        // evicted by the first look.
        if let (Some(first), Some(again)) = (
            answers.get_mut(victim.name),
            POOLS.check_health().remove(victim.name),
        ) {
            *first = again;
        }
        for (name, health) in answers {
            self.must(
                health.is_healthy() && health.checked() > 0,
                format!("{name}: {health}"),
            );
        }
    }

    pub(crate) fn on_close(&mut self, services: &[Service]) {
        for service in services {
            let (holders, (suspected, resolved)) = (service.pool.holders(), service.leaks.count());
            let mut text = format!(
                "{}: {} connections held by somebody; {suspected} were held for long, {resolved} of \
                 them came back",
                service.name,
                holders.len()
            );
            for holder in &holders {
                let _ = write!(text, "\n        {holder}");
            }
            self.must(holders.is_empty() && suspected == resolved, text);
        }
        let closed = POOLS.close_all(CLOSE);
        self.must(
            closed.is_ok(),
            match closed {
                Ok(()) => "all pools closed".to_owned(),
                Err(error) => error.to_string(),
            },
        );
        for (name, stats) in POOLS.stats() {
            let (created, disposed) = (stats.created, stats.disposed);
            self.must(
                created == disposed && stats.size + stats.disposing + stats.abandoned == 0,
                format!("{name}: {created} connections created, {disposed} disposed"),
            );
        }
    }

    /// After everything has ended.
    pub(crate) fn on_machine(&mut self, before: Machine) {
        let now = Machine::settle(before);
        for (what, before, now) in [
            ("threads", before.threads, now.threads),
            ("descriptors", before.descriptors, now.descriptors),
        ] {
            match (before, now) {
                (Some(before), Some(now)) => {
                    self.must(before == now, format!("{before} {what} before, {now} now"));
                }
                _ => println!("        this system does not tell how many {what} there are"),
            }
        }
    }
}
