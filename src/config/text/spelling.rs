//! Compares names of settings across styles of spelling and with typing errors.

/// Converts a name to snake case: `maxSize`, `max-size`, `max.size` and `MAX_SIZE` become `max_size`.
pub(super) fn normalised(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    let mut after_small = false;
    for c in name.chars() {
        if c.is_uppercase() && after_small {
            snake.push('_');
        }
        after_small = c.is_lowercase() || c.is_numeric();
        match c {
            '-' | '.' => snake.push('_'),
            c => snake.extend(c.to_lowercase()),
        }
    }
    snake
}

/// Counts the typing errors between `known` and `name`. Returns `None` if another name is meant.
///
/// Another name is meant with more than two errors, or with more than one error in every three letters of a
/// word: `write_timeout` is not `wait_timeout`, and `dbname` is not `name`.
pub(super) fn slips(known: &str, name: &str) -> Option<usize> {
    let few = |slips: usize, a: &str, b: &str| {
        // One error may be a missing letter in a word of three.
        slips <= 2 && slips * 3 <= a.chars().count().min(b.chars().count()).max(3)
    };
    let words = |name: &str| name.split('_').map(str::to_owned).collect::<Vec<_>>();
    let (known_words, name_words) = (words(known), words(name));
    let slips = distance(known, name);
    let same = match known_words.len() == name_words.len() {
        true => known_words
            .iter()
            .zip(&name_words)
            .all(|(a, b)| few(distance(a, b), a, b)),
        // An underscore is missing or superfluous.
        false => few(slips, known, name),
    };
    (same && slips <= 2).then_some(slips)
}

/// Counts the letters that are changed, added, dropped or swapped with their neighbour.
fn distance(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().collect();
    let to: Vec<char> = to.chars().collect();
    let mut rows = vec![vec![0; to.len() + 1]; from.len() + 1];
    for i in 0..=from.len() {
        for j in 0..=to.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let differs = usize::from(from[i - 1] != to[j - 1]);
                let swapped =
                    i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1];
                let mut least = (rows[i - 1][j - 1] + differs)
                    .min(rows[i - 1][j] + 1)
                    .min(rows[i][j - 1] + 1);
                if swapped {
                    least = least.min(rows[i - 2][j - 2] + 1);
                }
                least
            };
        }
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_style_of_spelling_is_the_same_name() {
        for name in [
            "max_size", "maxSize", "MaxSize", "max-size", "max.size", "MAX_SIZE", "Max-Size",
        ] {
            assert_eq!(normalised(name), "max_size", "{name}");
        }
        assert_eq!(normalised("maximumPoolSize"), "maximum_pool_size");
        assert_eq!(normalised("backoff.maxDelay"), "backoff_max_delay");
    }

    #[test]
    fn the_distance_counts_single_slips() {
        for (from, to, slips) in [
            ("size", "size", 0),
            ("size", "sise", 1),
            ("size", "siz", 1),
            ("size", "sizes", 1),
            ("size", "szie", 1),
            ("size", "", 4),
            ("", "size", 4),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(from, to), slips, "{from} {to}");
        }
    }
}
