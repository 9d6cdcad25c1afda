//! Times for people: UTC, without a library, because that is all we need.

/// `2026-11-28 19:34:20 UTC`, of seconds since 1970.
#[must_use]
pub fn show(secs: u64) -> String {
    let (days, rest) = (secs / 86_400, secs % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// `2026-11-28`, of seconds since 1970.
#[must_use]
pub fn show_date(secs: u64) -> String {
    let (year, month, day) = date(secs / 86_400);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Seconds since 1970 of the beginning of a day, written as [`show_date`] does.
#[must_use]
pub fn read_date(text: &str) -> Option<u64> {
    // A day of the year that is searched for, because there is only one way to write it.
    let mut parts = text.split('-');
    let year: u64 = parts.next()?.parse().ok().filter(|year| (1970..10_000).contains(year))?;
    let first = (year - 1970) * 365 + (year - 1969) / 4 - (year - 1901) / 100 + (year - 1601) / 400;
    (first..first + 366).map(|day| day * 86_400).find(|secs| show_date(*secs) == text)
}

/// The time of 32 bits that is nearest to `now`, in full (RFC 4034 section 3.1.5).
#[must_use]
pub fn widen(time: u32, now: u64) -> u64 {
    let low = u32::try_from(now & u64::from(u32::MAX)).unwrap_or_default();
    let ahead = time.wrapping_sub(low);
    if ahead < 1 << 31 {
        now.saturating_add(ahead.into())
    } else {
        now.saturating_sub(low.wrapping_sub(time).into())
    }
}

/// Year, month and day of a day since 1970-01-01 (H. Hinnant, *chrono-compatible low-level date
/// algorithms*, `civil_from_days`).
fn date(days: u64) -> (u64, u64, u64) {
    let days = days.saturating_add(719_468);
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        // By `date -u -d @N`.
        assert_eq!(show(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(show(951_782_399), "2000-02-28 23:59:59 UTC");
        assert_eq!(show(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(show(1_801_123_200), "2027-01-28 08:00:00 UTC");
        for day in (0..60_000).step_by(7) {
            assert_eq!(read_date(&show_date(day * 86_400)), Some(day * 86_400));
        }
        for wrong in ["2026-02-30", "2026-1-1", "1969-12-31", "", "2026-11-28x", "x"] {
            assert_eq!(read_date(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn times_of_32_bits_are_near_now() {
        let now = (1 << 32) + 1_000;
        assert_eq!(widen(1_000, now), now);
        assert_eq!(widen(u32::MAX, now), (1 << 32) - 1);
        assert_eq!(widen(5_000, now), now + 4_000);
    }
}
