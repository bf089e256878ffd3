//! Durations as people write them.

use std::time::Duration;

/// Reads `45s`, `90m`, `2h` or `1h30m`.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("expected a time such as 45s, 90m, 2h or 1h30m, found {text:?}");
    let (mut seconds, mut rest) = (0u64, text);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..end].parse().map_err(|_| wrong())?;
        let mut letters = rest[end..].chars();
        let unit = match letters.next() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            _ => return Err(wrong()),
        };
        seconds =
            number.checked_mul(unit).and_then(|n| seconds.checked_add(n)).ok_or_else(wrong)?;
        rest = letters.as_str();
    }
    // A year is no budget; beyond it sums of durations might overflow.
    match seconds {
        1..=31_536_000 => Ok(Duration::from_secs(seconds)),
        _ => Err(wrong()),
    }
}

/// `12 s`, `34 min`, `5 h 6 min`.
pub(crate) fn shown(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    match seconds {
        0..100 => format!("{seconds} s"),
        100..6000 => format!("{} min", (seconds + 30) / 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(parse("1h30m").unwrap(), Duration::from_secs(5400));
        assert_eq!(parse("45s").unwrap(), Duration::from_secs(45));
        for wrong in
            ["", "2", "h", "0s", "-1h", "1.5h", "2d", "99999999999999999999h", "9999999h", "2hé"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        let show = |seconds| shown(Duration::from_secs(seconds));
        assert_eq!([show(99), show(150), show(7260)], ["99 s", "3 min", "2 h 1 min"]);
    }
}
