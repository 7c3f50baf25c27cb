//! The promises, one line each: held or broken.

use crate::{
    POOLS, Timeline,
    machine::{Machine, WakeupProbe},
    services::Service,
    table::Short,
    tally::Phase,
};
use conpool::HealthState;
use std::{fmt::Write as _, process::ExitCode, time::Duration};

/// The lowest allowed share of checkouts that find a used connection.
const REUSE: f64 = 0.99;
/// The time in which everything must close.
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

    pub(crate) fn print(&self) -> ExitCode {
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

    /// Checks a service while the users run.
    pub(crate) fn on_service(
        &mut self,
        services: &[Service],
        target: &Service,
        timeline: &Timeline,
        wakeup_probe: &WakeupProbe,
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
        for service in services.iter().filter(|one| one.name != target.name) {
            self.on_unaffected(service, timeline, wakeup_probe);
        }
        self.on_killed(target, timeline);
        let overall = reused / checkouts;
        self.must(
            overall > REUSE,
            format!("all together: {:.2} % reused", overall * 100.0),
        );
    }

    fn on_unaffected(
        &mut self,
        service: &Service,
        timeline: &Timeline,
        wakeup_probe: &WakeupProbe,
    ) {
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
            !timeline.unhealthy.contains(&name),
            format!("{name}: its health was never in doubt"),
        );

        let tally = &service.tally;
        let [before, outage, after] =
            [Phase::Before, Phase::Outage, Phase::After].map(|phase| tally.waits(phase));
        let late = wakeup_probe.late(Phase::Outage).max();
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
        // A caller blocked by the dead service would have waited until its restart.
        let (longest, late) = (
            outage.max().max(after.max()),
            late.max(wakeup_probe.late(Phase::After).max()),
        );
        let most = timeline.outage / 2 + late * 4;
        self.must(
            longest <= most,
            format!(
                "{name}: {} the longest wait since the kill (at most {})",
                Short(longest),
                Short(most)
            ),
        );
    }

    fn on_killed(&mut self, target: &Service, timeline: &Timeline) {
        let (name, stats) = (target.name, target.pool.stats());
        // Callers that wait for the recovery need not fail.
        self.must(
            stats.create_errors > 0,
            format!(
                "{name}: its death was felt: {} calls and {} creates failed; the first call: {}",
                target.tally.failed(),
                stats.create_errors,
                target.tally.first_failure().as_deref().unwrap_or("-")
            ),
        );
        self.must(
            timeline.recovered.is_some(),
            match timeline.recovered {
                Some(after) => format!(
                    "{name}: dead for {}, served again {} after",
                    Short(timeline.outage),
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

    /// Checks the health after the users have ended: every idle connection is checked.
    pub(crate) fn on_health(&mut self, target: &Service) {
        let mut answers = POOLS.check_health();
        // The first check finds and evicts the connections that died with the service and were not taken
        // since.
        if let (Some(first), Some(again)) = (
            answers.get_mut(target.name),
            POOLS.check_health().remove(target.name),
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

    /// Checks the process after everything has ended.
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
