//! One cell of the grid: the number of threads, the size of the pool, and the hold time.

use std::{
    fmt,
    hint::{black_box, spin_loop},
    thread,
    time::{Duration, Instant},
};

use Hold::{Nothing, Sleep, Spin};

const MICRO: Duration = Duration::from_micros(1);
const HUNDRED: Duration = Duration::from_micros(100);

/// The work of a thread while it holds a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    Nothing,
    /// Spins for 1 µs.
    Spin,
    /// Sleeps for 100 µs, plus the system's wake-up latency.
    Sleep,
}

impl Hold {
    pub(crate) fn micros(self) -> u64 {
        match self {
            Nothing => 0,
            Spin => 1,
            Sleep => 100,
        }
    }

    /// Simulates a user: touches the connection and holds it for a while.
    #[inline]
    pub(crate) fn work(self, connection: &mut u64) {
        *connection = black_box(connection.wrapping_add(1));
        if self != Nothing {
            self.pass();
        }
    }

    // Kept out of line: the code measured at hold 0 stays small.
    #[inline(never)]
    fn pass(self) {
        match self {
            Nothing => {}
            Spin => {
                let start = Instant::now();
                while start.elapsed() < MICRO {
                    spin_loop();
                }
            }
            Sleep => thread::sleep(HUNDRED),
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Nothing => "0",
            Spin => "1us",
            Sleep => "100us",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) threads: usize,
    pub(crate) size: usize,
    pub(crate) hold: Hold,
}

impl Cell {
    pub(crate) const fn new(threads: usize, size: usize, hold: Hold) -> Self {
        Self {
            threads,
            size,
            hold,
        }
    }

    /// Whether each thread is pinned to a core. With more threads than cores the scheduler decides.
    pub(crate) fn is_pinned(self) -> bool {
        self.threads <= 2
    }

    /// Whether the pool has a connection for every thread.
    pub(crate) fn has_plenty(self) -> bool {
        self.threads <= self.size
    }

    pub(crate) fn shape(self) -> String {
        format!("{}x{}", self.threads, self.size)
    }

    /// Whether `name` is the cell's shape, its hold, or both.
    pub(crate) fn is_called(self, name: &str) -> bool {
        let (shape, hold) = (self.shape(), self.hold.to_string());
        name == shape || name == hold || name == format!("{shape}@{hold}")
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.threads == 1 { "" } else { "s" };
        write!(f, "{} thread{plural} on {}", self.threads, self.size)?;
        match self.hold {
            Nothing => Ok(()),
            hold => write!(f, ", held {hold}"),
        }
    }
}

/// The cells in which pools differ most.
pub(crate) fn subset() -> Vec<Cell> {
    vec![
        Cell::new(1, 10, Nothing),
        Cell::new(2, 10, Nothing),
        Cell::new(4, 10, Nothing),
        Cell::new(64, 64, Nothing),
        Cell::new(16, 4, Nothing),
        Cell::new(64, 10, Nothing),
        Cell::new(2, 1, Spin),
        Cell::new(16, 4, Spin),
        Cell::new(64, 10, Spin),
        Cell::new(16, 4, Sleep),
        Cell::new(64, 10, Sleep),
    ]
}

pub(crate) fn grid() -> Vec<Cell> {
    let mut cells = Vec::new();
    for hold in [Nothing, Spin, Sleep] {
        for threads in [1, 2, 4, 8, 16, 64] {
            for size in [1, 2, 4, 10, 64, 1000] {
                cells.push(Cell::new(threads, size, hold));
            }
        }
    }
    cells
}

/// The grid that other pools publish.
pub(crate) fn public() -> Vec<Cell> {
    let shapes = [(8, [2, 4, 8]), (16, [4, 8, 16]), (32, [8, 16, 32])];
    let cells = shapes.into_iter().flat_map(|(threads, sizes)| {
        let cell = move |size| Cell::new(threads, size, Nothing);
        sizes.into_iter().map(cell)
    });
    cells.collect()
}
