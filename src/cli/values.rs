//! Values that people write with units: `20m`, `2.5M`.

use std::time::Duration;

use vfetch::engine::LONGEST_WAIT;

/// Reads a duration: seconds as a plain number, or with units (`90s`, `20m`, `1h 30m`). What is longer than
/// [`LONGEST_WAIT`] is as long as that.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let duration = if let Ok(seconds) = text.parse::<f64>() {
        Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
    } else {
        humantime::parse_duration(text).map_err(|error| format!("{error}; write for example 90s, 20m or 1h"))
    };
    duration.map(|duration| duration.min(LONGEST_WAIT))
}

/// The same where no time at all would let nothing happen.
pub(crate) fn some_time(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("nothing happens in no time; for as long as it takes write 100y".into()),
        some => Ok(some),
    }
}

/// Reads a number of bytes: plain, or with a unit of 1,024 (`800k`, `2.5M`, `1GiB`).
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let unit = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit);
    let power = match unit {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return Err("write a number of bytes, for example 800k, 2.5M or 1G".into()),
    };
    let number: f64 = number.parse().map_err(|_| "write a number of bytes, for example 800k or 2.5M")?;
    let bytes = number * 1024_f64.powi(power);
    if !(0.0..=9e18).contains(&bytes) {
        return Err("that is more than any disk holds".into());
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked just above")]
    Ok(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_or_are_seconds() {
        let table = [("0", 0), ("90", 90_000), ("1.5", 1_500), ("20m", 1_200_000), ("1h 30m", 5_400_000)];
        for (text, milliseconds) in table {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for long in ["1e19", "1.8e19", "300000000000y", "101y"] {
            assert_eq!(duration(long), Ok(LONGEST_WAIT), "{long}");
        }
        for bad in ["", "-1", "soon", "inf", "nan", "10 parsecs"] {
            assert!(duration(bad).is_err() && some_time(bad).is_err(), "{bad}");
        }
        assert!(some_time("0s").is_err());
        assert_eq!(some_time("0.1"), Ok(Duration::from_millis(100)));
    }

    #[test]
    fn bytes_have_units_of_1024() {
        let table = [
            ("0", 0),
            ("123", 123),
            ("1k", 1 << 10),
            ("2.5M", 5 << 19),
            ("1GiB", 1 << 30),
            ("3 tb", 3 << 40),
        ];
        for (text, want) in table {
            assert_eq!(bytes(text), Ok(want), "{text}");
        }
        for bad in ["", "k", "-1", "1x", "1.2.3", "9999999999T", "1kk"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }
}
