//! A curve for each pool, from its median wait to its longest.

use std::path::Path;

use super::{
    paint::{Axis, BOTTOM, Drawn, FAINT, INK, LEFT, Sheet, Side, TOP, color},
    units::nanos,
};

/// The x coordinate of the names.
const RIGHT: i32 = 545;
/// The line height of the names.
const LINE: i32 = 17;

/// The curve's waits in nanoseconds, one for each label.
pub(crate) struct Curve {
    pub(crate) name: &'static str,
    pub(crate) waits: Vec<f64>,
}

pub(crate) fn draw(
    file: &Path,
    title: &str,
    below: &str,
    labels: &[&str],
    curves: &[Curve],
) -> Drawn {
    let sheet = Sheet::new(file, title, below)?;
    let axis = Axis::over(curves.iter().flat_map(|curve| curve.waits.iter().copied()));
    axis.draw(&sheet, RIGHT, tick)?;
    let room = (RIGHT - LEFT - 60) / (labels.len() as i32 - 1);
    let columns: Vec<i32> = (LEFT + 30..)
        .step_by(room as usize)
        .take(labels.len())
        .collect();
    for (label, &x) in labels.iter().zip(&columns) {
        sheet.line(vec![(x, TOP), (x, BOTTOM)], FAINT, 1)?;
        sheet.text(label, (x, BOTTOM + 16), INK, Side::Middle)?;
    }
    for curve in curves {
        let heights = curve.waits.iter().map(|&wait| axis.y(wait));
        let points: Vec<_> = columns.iter().copied().zip(heights).collect();
        for &point in &points {
            sheet.dot(point, color(curve.name))?;
        }
        sheet.line(points, color(curve.name), 3)?;
    }
    names(&sheet, &axis, curves)?;
    sheet.finish()
}

/// Places each name at the end of its curve, or as near as the other names allow.
fn names(sheet: &Sheet<'_>, axis: &Axis, curves: &[Curve]) -> Drawn {
    let last = |curve: &Curve| curve.waits.last().copied().unwrap_or_default();
    let mut highest: Vec<&Curve> = curves.iter().collect();
    highest.sort_by(|one, other| last(other).total_cmp(&last(one)));
    let mut free = TOP;
    for (index, curve) in highest.iter().enumerate() {
        let still = (highest.len() - index - 1) as i32;
        let y = axis.y(last(curve)).max(free).min(BOTTOM - still * LINE);
        let name = format!("{}, {}", curve.name, nanos(last(curve)));
        sheet.text(&name, (RIGHT - 18, y), color(curve.name), Side::Right)?;
        free = y + LINE;
    }
    Ok(())
}

fn tick(wait: f64) -> String {
    match wait {
        w if w < 1e3 => format!("{w} ns"),
        w if w < 1e6 => format!("{} us", w / 1e3),
        w if w < 1e9 => format!("{} ms", w / 1e6),
        w => format!("{} s", w / 1e9),
    }
}
