//! Grouped bars of the ratio to r2d2.

use std::path::Path;

use crate::common::paint::{Axis, BOTTOM, Drawn, INK, LEFT, Sheet, Side, color};

const RIGHT: i32 = 690;
/// Narrower bars have no space for a number on each.
const WIDE: i32 = 21;

/// A label, and each pool's ratio.
pub(crate) struct Group {
    pub(crate) label: String,
    pub(crate) ratios: Vec<f64>,
}

pub(crate) fn draw(
    file: &Path,
    title: &str,
    below: &str,
    pools: &[&str],
    groups: &[Group],
) -> Drawn {
    let sheet = Sheet::new(file, title, below)?;
    legend(&sheet, pools)?;
    let ratios = groups.iter().flat_map(|group| group.ratios.iter().copied());
    let axis = Axis::over(ratios.chain([1.0]));
    axis.draw(&sheet, RIGHT, times)?;

    let room = (RIGHT - LEFT) / groups.len() as i32;
    let width = (room - 12) / pools.len() as i32;
    for (group, start) in groups.iter().zip((LEFT..).step_by(room as usize)) {
        let first = start + (room - width * pools.len() as i32) / 2;
        let lefts = (first..).step_by(width as usize);
        for (index, (&ratio, left)) in group.ratios.iter().zip(lefts).enumerate() {
            let color = color(pools[index]);
            let end = axis.y(ratio);
            sheet.rectangle((left + 1, axis.y(1.0)), (left + width - 1, end), color)?;
            if width >= WIDE || index == 0 {
                let beyond = if ratio < 1.0 { 9 } else { -9 };
                let middle = left + width / 2;
                sheet.text(&short(ratio), (middle, end + beyond), INK, Side::Middle)?;
            }
        }
        let middle = start + room / 2;
        sheet.text(&group.label, (middle, BOTTOM + 16), INK, Side::Middle)?;
    }
    let one = axis.y(1.0);
    sheet.line(vec![(LEFT, one), (RIGHT, one)], INK, 1)?;
    let middle = LEFT + (RIGHT - LEFT) / 2;
    let label = "threads on connections";
    sheet.text(label, (middle, BOTTOM + 37), INK, Side::Middle)?;
    sheet.finish()
}

fn legend(sheet: &Sheet<'_>, pools: &[&str]) -> Drawn {
    let mut left = LEFT;
    for pool in pools {
        sheet.rectangle((left, 62), (left + 12, 74), color(pool))?;
        sheet.text(pool, (left + 18, 68), INK, Side::Right)?;
        left += 44 + 7 * pool.len() as i32;
    }
    sheet.text("line at 1: r2d2", (left, 68), INK, Side::Right)
}

fn short(ratio: f64) -> String {
    match ratio {
        r if r < 0.195 => format!("{r:.2}"),
        r if r < 9.95 => format!("{r:.1}"),
        r => format!("{r:.0}"),
    }
}

fn times(tick: f64) -> String {
    format!("{tick}x")
}
