//! The service's own clock, which a test can put wrong, and the two ways of writing a date.

use std::time::{SystemTime, UNIX_EPOCH};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

/// Unix seconds now, put wrong by `offset` seconds.
pub fn now(offset: i64) -> i64 {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    i64::try_from(seconds)
        .unwrap_or(i64::MAX)
        .saturating_add(offset)
}

/// The Unix seconds of an RFC 2822 date, if it is one and its weekday is right.
pub fn parse_rfc2822(text: &str) -> Option<i64> {
    let date = OffsetDateTime::parse(text, &Rfc2822).ok()?;
    let weekday = date.weekday().to_string();
    let named = text.split_once(',').map_or("", |(name, _)| name);
    (named.is_empty() || weekday.starts_with(named)).then(|| date.unix_timestamp())
}

/// `Tue, 21 Aug 2012 17:29:18 +0000`.
pub fn rfc2822(unix: i64) -> String {
    OffsetDateTime::from_unix_timestamp(unix)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
        .format(&Rfc2822)
        .unwrap_or_default()
}

/// `Tue, 21 Aug 2012 17:29:18 GMT`.
pub fn http_date(unix: i64) -> String {
    rfc2822(unix).replace("+0000", "GMT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_and_written() {
        assert_eq!(
            parse_rfc2822("Tue, 21 Aug 2012 17:29:18 -0000"),
            Some(1_345_570_158)
        );
        assert_eq!(parse_rfc2822("Mon, 21 Aug 2012 17:29:18 -0000"), None);
        assert_eq!(parse_rfc2822("2012-08-21T17:29:18Z"), None);
        assert_eq!(rfc2822(1_345_570_158), "Tue, 21 Aug 2012 17:29:18 +0000");
        assert_eq!(http_date(1_345_570_158), "Tue, 21 Aug 2012 17:29:18 GMT");
        assert_eq!(http_date(1), "Thu, 01 Jan 1970 00:00:01 GMT");
    }
}
