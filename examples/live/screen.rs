//! Rows in place on a terminal, and lines once a second elsewhere.

use crate::load::Row;
use crate::window::Reading;
use conpool::{EvictReason, PoolStats};
use std::{
    env,
    fmt::Write as _,
    io::{self, IsTerminal, Write as _},
    time::{Duration, Instant},
};

const NORMAL: &str = "\x1b[0m";
const BOLD: &str = "\x1b[1m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const BLUE: &str = "\x1b[34m";
const RED: &str = "\x1b[31m";
const GREY: &str = "\x1b[90m";

/// The state of the run.
pub(crate) struct Headline {
    pub(crate) passed: Duration,
    pub(crate) length: Duration,
    /// How long the server has been down.
    pub(crate) down_for: Option<Duration>,
    /// The time from the restart until the pool served again.
    pub(crate) recovered: Option<Duration>,
}

pub(crate) struct Screen {
    terminal: bool,
    colours: bool,
    /// The number of lines drawn last time.
    drawn: usize,
    /// The next print where lines do not stay in place.
    due: Duration,
}

impl Screen {
    pub(crate) fn new() -> Self {
        let terminal = io::stdout().is_terminal();
        // An empty value does not count as set.
        let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if terminal {
            // Hides the cursor and switches off line wrap.
            print!("\x1b[?25l\x1b[?7l");
        }
        Self {
            terminal,
            colours: terminal && !plain,
            drawn: 0,
            due: Duration::ZERO,
        }
    }

    pub(crate) fn draw(&mut self, headline: &Headline, rows: &[Row]) {
        if !self.terminal {
            if headline.passed < self.due {
                return;
            }
            self.due += Duration::from_secs(1);
        }
        let mut lines = vec![self.headline(headline)];
        lines.push(self.legend());
        lines.extend(rows.iter().map(|row| self.row(row)));
        let mut text = String::new();
        if self.terminal && self.drawn > 0 {
            let _ = write!(text, "\x1b[{}A", self.drawn);
        }
        let end = if self.terminal { "\x1b[K\n" } else { "\n" };
        for line in &lines {
            text.push_str(line);
            text.push_str(end);
        }
        self.drawn = lines.len();
        let mut out = io::stdout().lock();
        // An output error does not end the program.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        match self.colours && !text.is_empty() {
            true => format!("{colour}{text}{NORMAL}"),
            false => text.to_owned(),
        }
    }

    fn headline(&self, headline: &Headline) -> String {
        let time = format!(
            "{:>4.1} s of {:.0} s",
            headline.passed.as_secs_f64(),
            headline.length.as_secs_f64()
        );
        let state = match (headline.down_for, headline.recovered) {
            (Some(down), _) => {
                let text = format!("server north is DOWN for {:.1} s", down.as_secs_f64());
                self.paint(RED, &text)
            }
            (None, Some(after)) => self.paint(
                GREEN,
                &format!("server north is back; served again after {after:.0?}"),
            ),
            (None, None) => self.paint(GREEN, "both servers are up"),
        };
        format!("{}  {state}", self.paint(BOLD, &time))
    }

    fn legend(&self) -> String {
        let text = format!(
            "{:<8}{:<15}{:>7}{:>9}{:>10}{:>8}{:>10}  {:<34}last error",
            "pool",
            "█use ░idle +new",
            "size",
            "waiters",
            "p99 wait",
            "gets/s",
            "timeouts",
            "evicted"
        );
        self.paint(GREY, &text)
    }

    fn row(&self, row: &Row) -> String {
        let (stats, seen) = ((row.stats)(), row.seen.look());
        let Reading {
            calls,
            p99,
            last_error,
        } = seen;
        let slots = format!("{}/{}", stats.size, stats.max_size);
        let waiters = self.highlight(stats.waiters > 0, YELLOW, format!("{:>9}", stats.waiters));
        let p99 = p99.map_or_else(|| "-".to_owned(), short);
        let timeouts = self.highlight(stats.timeouts > 0, RED, format!("{:>10}", stats.timeouts));
        format!(
            "{:<8}{}{slots:>7}{waiters}{p99:>10}{calls:>8}{timeouts}  {:<34}{}",
            row.name,
            self.bar(&stats),
            evictions(&stats),
            self.paint(RED, &last_error.map_or_else(String::new, ago)),
        )
    }

    fn highlight(&self, on: bool, colour: &str, text: String) -> String {
        match on {
            true => self.paint(colour, &text),
            false => text,
        }
    }

    /// Draws a cell for each possible connection.
    fn bar(&self, stats: &PoolStats) -> String {
        const WIDTH: usize = 15;
        let parts = [
            (stats.in_use, '█', GREEN),
            (stats.idle, '░', BLUE),
            (stats.creating, '+', YELLOW),
            (stats.disposing, '-', RED),
        ];
        let (mut bar, mut left) = (String::new(), WIDTH);
        let taken: usize = parts.iter().map(|(count, ..)| count).sum();
        let free = (stats.max_size.saturating_sub(taken), '·', GREY);
        for (count, cell, colour) in parts.into_iter().chain([free]) {
            let count = count.min(left);
            left -= count;
            bar += &self.paint(colour, &cell.to_string().repeat(count));
        }
        bar + &" ".repeat(left)
    }
}

impl Drop for Screen {
    /// Restores the terminal.
    fn drop(&mut self) {
        if self.terminal {
            print!("{NORMAL}\x1b[?7h\x1b[?25h");
            let _ = io::stdout().flush();
        }
    }
}

/// The evictions by reason, most frequent first.
fn evictions(stats: &PoolStats) -> String {
    let counts = EvictReason::ALL
        .iter()
        .map(|&reason| (stats.evicted(reason), reason));
    let mut counts: Vec<_> = counts.filter(|(count, _)| *count > 0).collect();
    counts.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    let texts: Vec<_> = counts
        .iter()
        .take(2)
        .map(|(count, reason)| format!("{count} {reason}"))
        .collect();
    let more = if counts.len() > 2 { ", ..." } else { "" };
    texts.join(", ") + more
}

fn ago((at, text): (Instant, String)) -> String {
    format!("{:.0} s ago: {text}", at.elapsed().as_secs_f64())
}

/// Formats a time in three or four characters, for a narrow column.
fn short(time: Duration) -> String {
    match time.as_micros() {
        0..=999 => format!("{} µs", time.as_micros()),
        1_000..=9_999 => format!("{:.1} ms", time.as_secs_f64() * 1e3),
        10_000..=999_999 => format!("{} ms", time.as_millis()),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}
