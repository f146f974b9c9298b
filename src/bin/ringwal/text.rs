//! Small things that several commands say the same way.

use std::time::Duration;

use ringwal::{BackendReport, Head, RecoveryReport, Verdict};
use serde_json::{Value, json};

/// `1.5 ms`, `230 us`.
pub(crate) fn duration(duration: Duration) -> String {
    match duration.as_nanos() {
        nanos @ ..10_000 => format!("{:.1} us", nanos as f64 / 1e3),
        nanos @ ..10_000_000 => format!("{} us", nanos / 1_000),
        nanos @ ..10_000_000_000 => format!("{} ms", nanos / 1_000_000),
        nanos => format!("{} s", nanos / 1_000_000_000),
    }
}

/// The end of a chain, as a line.
pub(crate) fn head(head: &Head) -> String {
    format!("offset {}, commit {}, chain {}", head.offset, head.commit_number, head.chain)
}

/// The end of a chain, as `audit verify --anchor` takes it.
pub(crate) fn head_json(head: &Head) -> Value {
    json!({ "offset": head.offset.get(), "commit_number": head.commit_number, "chain": head.chain.to_string() })
}

/// `12.3 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `2026-01-31T12:00:00Z` of nanoseconds since the Unix epoch.
pub(crate) fn time(nanos: u64) -> String {
    let seconds = nanos / 1_000_000_000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Civil date of a day number, by eras of 400 years (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// What carries the writes, in a line.
pub(crate) fn backend(report: &BackendReport) -> String {
    let timings: Vec<String> = report
        .timings
        .iter()
        .map(|timing| format!("{} {}", timing.method, duration(timing.median)))
        .collect();
    let direct = if report.direct { "past the page cache" } else { "through the page cache" };
    let measured =
        if timings.is_empty() { String::new() } else { format!(" (measured: {})", timings.join(", ")) };
    format!("{}, {}, flush by {}{measured}; {}", report.backend, direct, report.flush, report.reason)
}

pub(crate) fn backend_json(report: &BackendReport) -> Value {
    let timing = |timing: &ringwal::FlushTiming| {
        json!({
            "method": timing.method.to_string(),
            "median_us": timing.median.as_nanos() as f64 / 1e3,
            "rounds": timing.rounds,
        })
    };
    json!({
        "backend": report.backend.to_string(),
        "reason": report.reason,
        "flush": report.flush.to_string(),
        "timings": report.timings.iter().map(timing).collect::<Vec<_>>(),
        "direct": report.direct,
        "registered_buffer": report.registered_buffer,
        "ring_setup": report.ring_setup,
    })
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Clean => "clean",
        Verdict::CutTorn => "torn end cut",
        Verdict::CutCorrupt => "damage given up",
        _ => "other",
    }
}

/// What recovery found and did, in lines.
pub(crate) fn recovery(report: &RecoveryReport) -> String {
    let mut lines = vec![format!(
        "{}{}; {} records ({}) scanned and kept, {} cut, end at offset {}, in {}",
        verdict(report.verdict),
        if report.clean_shutdown { ", closed in order" } else { "" },
        report.records_kept,
        bytes(report.bytes_kept),
        bytes(report.bytes_cut),
        report.end,
        duration(report.duration),
    )];
    if report.ambiguous {
        lines.push("  every sector of the cut commit had arrived: damage to it would look the same".into());
    }
    lines.extend(report.evidence.iter().map(|evidence| format!("  evidence: {evidence}")));
    lines.extend(report.cut_files.iter().map(|path| format!("  cut bytes kept in {}", path.display())));
    lines.join("\n")
}

pub(crate) fn recovery_json(report: &RecoveryReport) -> Value {
    json!({
        "verdict": verdict(report.verdict),
        "clean_shutdown": report.clean_shutdown,
        "created": report.created,
        "records_kept": report.records_kept,
        "bytes_kept": report.bytes_kept,
        "bytes_cut": report.bytes_cut,
        "cut_files": report.cut_files,
        "end": report.end.get(),
        "ambiguous": report.ambiguous,
        "evidence": report.evidence.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "duration_us": report.duration.as_nanos() as f64 / 1e3,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_civil_dates() {
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(951_782_400_000_000_000), "2000-02-29T00:00:00Z");
        assert_eq!(time(1_769_860_799_000_000_000), "2026-01-31T11:59:59Z");
    }

    #[test]
    fn sizes_and_durations_have_units() {
        assert_eq!([bytes(1023), bytes(1536), bytes(5 << 30)], ["1023 B", "1.5 KiB", "5.0 GiB"]);
        assert_eq!(duration(Duration::from_micros(230)), "230 us");
        assert_eq!(duration(Duration::from_nanos(1500)), "1.5 us");
    }
}
