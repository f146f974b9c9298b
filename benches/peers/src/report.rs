//! The tables, as markdown for people and JSON for programs.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::measure::Load;
use crate::rounds::Series;
use crate::run::Run;

/// One table.
pub(crate) struct Section {
    title: String,
    threads: usize,
    payload: usize,
    /// The most records that one flush can cover under this load; zero where there is no such bound.
    records_per_flush_max: usize,
    series: Vec<Series>,
}

impl Section {
    pub(crate) fn appends(load: &Load, series: Vec<Series>) -> Self {
        let (threads, batch, payload) = (load.threads, load.batch, load.payloads.length());
        let s = if threads == 1 { "" } else { "s" };
        let title = match batch {
            1 => format!("{threads} thread{s}, {payload} B, every append waited for"),
            _ => format!("{threads} thread{s}, {payload} B, {batch} records a call"),
        };
        Self { title, threads, payload, records_per_flush_max: threads * batch, series }
    }

    pub(crate) fn submits(payload: usize, series: Vec<Series>) -> Self {
        let title = format!("one thread, {payload} B, waiting as late as possible");
        Self { title, threads: 1, payload, records_per_flush_max: 0, series }
    }

    /// The lowest median of a bare durable write under the same load.
    fn floor_us(&self) -> f64 {
        let bare = self.series.iter().filter(|series| series.is_floor);
        bare.map(|series| series.latency(|latency| latency.p50_us)).fold(f64::NAN, f64::min)
    }

    /// Fewer flushes than its acknowledgements allow: each thread has one call waiting, so a flush cannot cover more.
    fn is_comparable(&self, series: &Series) -> bool {
        let flushes = series.of(|figures| figures.flushes_per_record);
        if self.records_per_flush_max == 0 {
            flushes > 0.0
        } else {
            flushes * self.records_per_flush_max as f64 > 0.9
        }
    }

    fn as_json(&self) -> Value {
        json!({
            "title": self.title,
            "threads": self.threads,
            "payload_bytes": self.payload,
            "floor_p50_us": self.floor_us(),
            "series": self.series.iter().map(Series::as_json).collect::<Vec<_>>(),
        })
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "### {}\n", self.title)?;
        writeln!(
            text,
            "| | records/s | p50 us | p99 us | p99.9 us | p50/floor | CPU us/rec | flushes/rec | device flushes/rec | device bytes/byte | |"
        )?;
        writeln!(text, "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|")?;
        let mut sorted: Vec<_> = self.series.iter().collect();
        sorted.sort_by(|a, b| b.of(|f| f.per_second).total_cmp(&a.of(|f| f.per_second)));
        for series in sorted {
            let p50 = series.latency(|latency| latency.p50_us);
            let mut notes: Vec<_> =
                Some(series.note.clone()).filter(|note| !note.is_empty()).into_iter().collect();
            if !self.is_comparable(series) {
                notes.push("**not comparable: too few flushes**".into());
            }
            writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                if series.is_floor { format!("*{}*", series.name) } else { series.name.into() },
                thousands(series.of(|figures| figures.per_second)),
                number(p50, 0),
                number(series.latency(|latency| latency.p99_us), 0),
                number(series.latency(|latency| latency.p999_us), 0),
                number(p50 / self.floor_us(), 2),
                number(series.of(|figures| figures.cpu_us_per_record), 1),
                number(series.of(|figures| figures.flushes_per_record), 3),
                number(series.of(|figures| figures.device_flushes_per_record.unwrap_or(f64::NAN)), 3),
                number(series.of(|figures| figures.device_bytes_per_byte.unwrap_or(f64::NAN)), 1),
                notes.join(", "),
            )?;
        }
        writeln!(text)
    }
}

fn number(value: f64, digits: usize) -> String {
    if value.is_nan() { "-".into() } else { format!("{value:.digits$}") }
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Where and when this was measured.
pub(crate) struct Machine {
    facts: Vec<(&'static str, String)>,
}

impl Machine {
    pub(crate) fn of(place: &Path) -> Self {
        let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
        let cpus = std::thread::available_parallelism().map_or(0, usize::from);
        let file_system =
            output("findmnt", &["-n", "-o", "FSTYPE,OPTIONS,SOURCE", "-T", &place.to_string_lossy()]);
        let command: Vec<_> = std::env::args().skip(1).collect();
        let facts = vec![
            ("machine", format!("{cpus} x {}", model.trim_start_matches(['\t', ' ', ':']))),
            ("kernel", output("uname", &["-sr"])),
            ("file system", file_system.split_whitespace().collect::<Vec<_>>().join(" ")),
            ("compiler", output("rustc", &["--version"])),
            ("command", format!("ringwal-peers {}", command.join(" "))),
            ("date", output("date", &["-u", "+%Y-%m-%d %H:%M UTC"])),
        ];
        Self { facts }
    }
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output =
        Command::new(program).args(arguments).output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}

/// Everything, for people.
pub(crate) fn markdown(machine: &Machine, run: &Run, sections: &[Section]) -> String {
    let mut text = String::new();
    for (name, fact) in &machine.facts {
        let _ = writeln!(text, "- {name}: {fact}");
    }
    let _ = writeln!(
        text,
        "- medians of {} rounds of {:.2} s each, contenders in turn, all in one process\n",
        run.rounds,
        run.duration.as_secs_f64()
    );
    for section in sections {
        // Writing into a string does not fail.
        let _ = section.write(&mut text);
    }
    if let Some(section) = sections.first() {
        for series in &section.series {
            let _ = writeln!(text, "- `{}`: {}", series.name, series.what);
        }
    }
    text
}

/// Everything, for programs.
pub(crate) fn as_json(machine: &Machine, run: &Run, sections: &[Section]) -> Value {
    let facts = machine.facts.iter().map(|(name, fact)| ((*name).to_owned(), json!(fact)));
    json!({
        "machine": Value::Object(facts.collect()),
        "rounds": run.rounds,
        "seconds": run.duration.as_secs_f64(),
        "sections": sections.iter().map(Section::as_json).collect::<Vec<_>>(),
    })
}
