//! A white sheet of 700 pixels with a title, lines, boxes and words, and a logarithmic axis.

use std::{error::Error, path::Path};

use plotters::backend::SVGBackend;
use plotters::{
    coord::Shift,
    drawing::{DrawingArea, IntoDrawingArea},
    element::{Circle, PathElement, Rectangle, Text},
    style::{
        Color, FontStyle, IntoFont, RGBColor, WHITE,
        text_anchor::{HPos, Pos, VPos},
    },
};

pub(crate) const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
pub(crate) const FAINT: RGBColor = RGBColor(0xDD, 0xDD, 0xDD);
const WIDTH: i32 = 700;
const HEIGHT: i32 = 400;
/// The edges of the plot on the sheet.
pub(crate) const LEFT: i32 = 70;
pub(crate) const TOP: i32 = 92;
pub(crate) const BOTTOM: i32 = 350;

pub(crate) type Drawn = Result<(), Box<dyn Error>>;

/// A color for each pool. Color-blind readers can tell them apart.
pub(crate) fn color(name: &str) -> RGBColor {
    match name {
        "conpool" => RGBColor(0x00, 0x5A, 0x9C),
        "conpool checked" => RGBColor(0x56, 0xB4, 0xE9),
        "deadpool" => RGBColor(0xE6, 0x8A, 0x00),
        "bb8" => RGBColor(0x00, 0x8F, 0x6B),
        _ => RGBColor(0x55, 0x55, 0x55),
    }
}

/// The anchor of a text.
#[derive(Clone, Copy)]
pub(crate) enum Side {
    Left,
    Right,
    Middle,
}

pub(crate) struct Sheet<'a>(DrawingArea<SVGBackend<'a>, Shift>);

impl<'a> Sheet<'a> {
    pub(crate) fn new(file: &'a Path, title: &str, below: &str) -> Result<Self, Box<dyn Error>> {
        let size = (WIDTH as u32, HEIGHT as u32);
        let sheet = Self(SVGBackend::new(file, size).into_drawing_area());
        sheet.0.fill(&WHITE)?;
        sheet.words(title, (16, 22), 18, INK, Side::Right, FontStyle::Bold)?;
        sheet.text(below, (16, 44), INK, Side::Right)?;
        Ok(sheet)
    }

    pub(crate) fn text(&self, text: &str, at: (i32, i32), color: RGBColor, side: Side) -> Drawn {
        self.words(text, at, 13, color, side, FontStyle::Normal)
    }

    fn words(
        &self,
        text: &str,
        at: (i32, i32),
        pixels: i32,
        color: RGBColor,
        side: Side,
        style: FontStyle,
    ) -> Drawn {
        let anchor = match side {
            Side::Left => HPos::Right,
            Side::Right => HPos::Left,
            Side::Middle => HPos::Center,
        };
        // The plotting backend shrinks fonts by this factor.
        let scaled = f64::from(pixels) * 1.24;
        let font = ("sans-serif", scaled).into_font().style(style);
        let style = font.color(&color).pos(Pos::new(anchor, VPos::Center));
        Ok(self.0.draw(&Text::new(text, at, style))?)
    }

    pub(crate) fn line(&self, points: Vec<(i32, i32)>, color: RGBColor, width: u32) -> Drawn {
        let style = color.stroke_width(width);
        Ok(self.0.draw(&PathElement::new(points, style))?)
    }

    pub(crate) fn rectangle(
        &self,
        corner: (i32, i32),
        other: (i32, i32),
        color: RGBColor,
    ) -> Drawn {
        let upper = (corner.0.min(other.0), corner.1.min(other.1));
        let lower = (corner.0.max(other.0), corner.1.max(other.1));
        let rectangle = Rectangle::new([upper, lower], color.filled());
        Ok(self.0.draw(&rectangle)?)
    }

    pub(crate) fn dot(&self, at: (i32, i32), color: RGBColor) -> Drawn {
        Ok(self.0.draw(&Circle::new(at, 4, color.filled()))?)
    }

    pub(crate) fn finish(self) -> Drawn {
        Ok(self.0.present()?)
    }
}

/// The vertical axis, logarithmic.
pub(crate) struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    /// An axis from a little below the lowest value to a little above the highest.
    pub(crate) fn over(values: impl Iterator<Item = f64> + Clone) -> Self {
        let low = values.clone().fold(f64::INFINITY, f64::min);
        let high = values.fold(f64::MIN_POSITIVE, f64::max);
        Self {
            low: low / 1.5,
            high: high * 1.7,
        }
    }

    pub(crate) fn y(&self, value: f64) -> i32 {
        let share = (value / self.low).ln() / (self.high / self.low).ln();
        BOTTOM - (share * f64::from(BOTTOM - TOP)).round() as i32
    }

    /// Powers of ten, and intermediate values when there are few of them.
    fn ticks(&self) -> Vec<f64> {
        let few = self.high / self.low < 200.0;
        let steps: &[f64] = if few { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let decades = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
        decades
            .flat_map(|decade| steps.iter().map(move |step| step * 10f64.powi(decade)))
            .filter(|tick| (self.low..=self.high).contains(tick))
            .collect()
    }

    pub(crate) fn draw(&self, sheet: &Sheet<'_>, right: i32, write: fn(f64) -> String) -> Drawn {
        for tick in self.ticks() {
            let y = self.y(tick);
            sheet.line(vec![(LEFT, y), (right, y)], FAINT, 1)?;
            sheet.text(&write(tick), (LEFT - 8, y), INK, Side::Left)?;
        }
        Ok(())
    }
}
