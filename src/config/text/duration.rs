//! Parses and formats durations such as `500ms`, `1h30m` and `1.5 s`.
//!
//! Both directions are exact to the nanosecond. A text that has no exact duration is refused.

use super::value::Rule;
use std::time::Duration;

/// The units with their nanoseconds, from large to small.
const UNITS: [(&str, u128); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// The number of digits after the point that can matter. A day is 2^16 times an odd number of nanoseconds, so
/// a longer fraction of any unit is never a whole number of nanoseconds.
const FRACTION_DIGITS: usize = 16;

const FORM: &str = r#"must be a duration, such as "30s" or "1h30m""#;
const TOO_LONG: &str = r#"is longer than a duration can be; "unlimited" stands for no limit"#;
const TOO_FINE: &str = "is finer than a nanosecond";

pub(super) fn parse(text: &str) -> Result<Duration, Rule> {
    let mut rest = text.trim();
    if rest.starts_with('-') {
        return Err("must not be negative".into());
    }
    if rest.is_empty() {
        return Err(FORM.into());
    }
    if rest.bytes().all(|digit| digit == b'0') {
        return Ok(Duration::ZERO);
    }
    let mut nanos = 0u128;
    let mut units = UNITS.iter();
    while !rest.is_empty() {
        let (number, behind) = split(rest, |c| c.is_ascii_digit() || c == '.');
        let (name, behind) = split(behind.trim_start(), char::is_alphabetic);
        let Some((whole, fraction)) = digits(number) else {
            return Err(FORM.into());
        };
        if name.is_empty() {
            let another = behind.starts_with(|c: char| c.is_ascii_digit());
            return Err(match behind.is_empty() || another {
                true => needs_unit(number),
                false => FORM.into(),
            });
        }
        let name = match name {
            "min" => "m",
            // Both the micro sign and the Greek letter mu are in use.
            "\u{b5}s" | "\u{3bc}s" => "us",
            name => name,
        };
        if UNITS.iter().all(|(unit, _)| *unit != name) {
            return Err(
                format!("has no unit {name:?}: there are ns, us, ms, s, m, h and d").into(),
            );
        }
        // The iterator has passed the units before the one found, so an earlier unit is refused.
        let Some((_, unit)) = units.find(|(unit, _)| *unit == name) else {
            return Err(
                r#"must name its units from large to small, each once, as in "1h30m""#.into(),
            );
        };
        let part = amount(whole, fraction, *unit)?;
        nanos = nanos.checked_add(part).ok_or(TOO_LONG)?;
        rest = behind.trim_start();
    }
    let second = 1_000_000_000;
    let seconds = u64::try_from(nanos / second).map_err(|_| TOO_LONG)?;
    Ok(Duration::new(seconds, (nanos % second) as u32))
}

/// Returns the rule that a number without a unit breaks.
pub(super) fn needs_unit(number: impl std::fmt::Display) -> Rule {
    format!(r#"a duration needs a unit, such as "{number}s""#).into()
}

/// Formats a duration by its units, as in `1h30m` and `1s500ms`. [`parse`] returns the same duration.
pub(super) fn format(duration: Duration) -> String {
    let mut rest = duration.as_nanos();
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (name, unit) in UNITS {
        if rest >= unit {
            text += &(rest / unit).to_string();
            text += name;
            rest %= unit;
        }
    }
    text
}

/// Splits off the longest prefix of `text` whose characters all satisfy `belongs`.
fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !belongs(c)).unwrap_or(text.len());
    text.split_at(end)
}

/// Splits a number at its point. A point must be followed by digits.
fn digits(number: &str) -> Option<(&str, &str)> {
    let (whole, fraction) = match number.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (number, ""),
    };
    (!whole.is_empty() && !fraction.contains('.')).then_some((whole, fraction))
}

fn amount(whole: &str, fraction: &str, unit: u128) -> Result<u128, Rule> {
    // `whole` consists of digits, so parsing fails only if the number is too large.
    let whole: u128 = whole.parse().map_err(|_| TOO_LONG)?;
    let nanos = whole.checked_mul(unit).ok_or(TOO_LONG)?;
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() {
        return Ok(nanos);
    }
    if fraction.len() > FRACTION_DIGITS {
        return Err(TOO_FINE.into());
    }
    let parts: u128 = fraction.parse().map_err(|_| TOO_FINE)?;
    let scale = 10u128.pow(fraction.len() as u32);
    // The product fits: 10^16 times the nanoseconds of a day leave room for nine more digits.
    let product = parts * unit;
    if product % scale != 0 {
        return Err(TOO_FINE.into());
    }
    nanos.checked_add(product / scale).ok_or(TOO_LONG.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u128 = 1_000_000_000;

    fn refusal(text: &str) -> String {
        parse(text).unwrap_err().into_owned()
    }

    #[test]
    fn every_unit_has_its_length() {
        for (text, nanos) in [
            ("7ns", 7),
            ("7us", 7_000),
            ("7\u{b5}s", 7_000),
            ("7\u{3bc}s", 7_000),
            ("7ms", 7_000_000),
            ("7s", 7 * SECOND),
            ("7m", 420 * SECOND),
            ("7min", 420 * SECOND),
            ("7h", 25_200 * SECOND),
            ("7d", 604_800 * SECOND),
        ] {
            assert_eq!(parse(text).unwrap().as_nanos(), nanos, "{text}");
        }
    }

    #[test]
    fn sums_fractions_and_blanks_are_understood() {
        for (text, nanos) in [
            ("1h30m", 5_400 * SECOND),
            ("1 h 30 min", 5_400 * SECOND),
            ("  1h\t30 m ", 5_400 * SECOND),
            ("1.5s", 1_500_000_000),
            ("0.25h", 900 * SECOND),
            ("1.50m0.5s", 90_500_000_000),
            ("0.0000152587890625d", 1_318_359_375),
            ("007s", 7 * SECOND),
            ("1.000000000000000000000000s", SECOND),
        ] {
            assert_eq!(parse(text).unwrap().as_nanos(), nanos, "{text}");
        }
    }

    #[test]
    fn zero_needs_no_unit_and_every_other_number_does() {
        for zero in ["0", "000", " 0 ", "0s", "0h 0ms", "0.0s"] {
            assert_eq!(parse(zero), Ok(Duration::ZERO), "{zero}");
        }
        assert_eq!(refusal("600"), r#"a duration needs a unit, such as "600s""#);
        assert_eq!(refusal("1h30"), r#"a duration needs a unit, such as "30s""#);
        assert_eq!(refusal("1 30s"), r#"a duration needs a unit, such as "1s""#);
        assert_eq!(refusal("1.5"), r#"a duration needs a unit, such as "1.5s""#);
    }

    #[test]
    fn what_is_no_duration_is_told_the_form() {
        let bad = [
            "",
            " ",
            "soon",
            "s",
            "s5",
            "PT30S",
            "+5s",
            ".5s",
            "5.s",
            "1.2.3s",
            "1_000s",
            "1,5s",
            "5s,",
            "5s and 3ms",
            "\u{664}s",
            "1h-30m",
        ];
        for text in bad {
            assert_eq!(refusal(text), FORM, "{text:?}");
        }
        assert_eq!(refusal("-5s"), "must not be negative");
        assert_eq!(
            refusal("5 fortnights"),
            r#"has no unit "fortnights": there are ns, us, ms, s, m, h and d"#
        );
        assert!(refusal("5S").starts_with(r#"has no unit "S""#));
        assert!(refusal("5M").starts_with(r#"has no unit "M""#));
    }

    #[test]
    fn units_out_of_order_are_taken_for_a_slip() {
        for text in ["30m 1h", "5m 10m", "1s 1min", "1us1\u{b5}s"] {
            let rule = refusal(text);
            assert!(rule.starts_with("must name its units from large"), "{rule}");
        }
    }

    #[test]
    fn nothing_is_rounded() {
        for text in ["0.5ns", "1.0000000001s", "0.00000000000000001d", "0.3ns"] {
            assert_eq!(refusal(text), TOO_FINE, "{text}");
        }
        assert_eq!(parse("0.000000001s"), Ok(Duration::from_nanos(1)));
    }

    #[test]
    fn what_no_duration_can_hold_is_refused() {
        let max = "18446744073709551615s 999999999ns";
        assert_eq!(parse(max), Ok(Duration::MAX));
        let nines = "9".repeat(40);
        for text in [
            "18446744073709551616s",
            "18446744073709551615s 1000000000ns",
            "213503982334602d",
            "340282366920938463463374607431768211455d",
            "340282366920938463463374607431768211455ns",
            "3000000000000000000000000h 300000000000000000000000000000000000000ns",
            &format!("{nines}s"),
            &format!("{nines}.5s"),
        ] {
            assert_eq!(refusal(text), TOO_LONG, "{text}");
        }
    }

    #[test]
    fn the_text_is_made_of_the_largest_units() {
        for (nanos, text) in [
            (0, "0s"),
            (500_000, "500us"),
            (1_500_000_000, "1s500ms"),
            (600 * SECOND, "10m"),
            (5_400 * SECOND, "1h30m"),
            (21_600 * SECOND, "6h"),
            (90_061 * SECOND + 1, "1d1h1m1s1ns"),
        ] {
            let duration = Duration::new((nanos / SECOND) as u64, (nanos % SECOND) as u32);
            assert_eq!(format(duration), text);
        }
    }

    proptest! {
        #[test]
        fn what_was_written_reads_the_same(
            seconds in prop_oneof![any::<u64>(), 0..100_000u64, Just(u64::MAX)],
            nanos in prop_oneof![0..SECOND as u32, Just(0), Just(999_999_999)],
        ) {
            let duration = Duration::new(seconds, nanos);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }

        #[test]
        fn a_fraction_of_a_second_is_exact(seconds in any::<u64>(), nanos in 0..SECOND as u32) {
            let text = format!("{seconds}.{nanos:09}s");
            prop_assert_eq!(parse(&text), Ok(Duration::new(seconds, nanos)));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[0-9.dhmnsu\u{b5} +-]{0,60}|\\PC{0,20}") {
            let _: Result<_, _> = parse(&text);
        }
    }
}
