//! One table: what contenders reached under one load.

use serde_json::{Value, json};

use crate::measure::Load;
use crate::rounds::Series;
use crate::table::{Order, Row, Table, number, thousands};

/// A table.
pub(crate) struct Section {
    title: String,
    body: Body,
}

enum Body {
    Appends(Appends),
    Table(Table),
}

/// Appends, with their latencies and costs.
struct Appends {
    /// Zero where records are submitted.
    records_a_call: usize,
    threads: usize,
    payload: usize,
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
        let records_a_call = batch;
        Self { title, body: Body::Appends(Appends { records_a_call, threads, payload, series }) }
    }

    pub(crate) fn submits(payload: usize, series: Vec<Series>) -> Self {
        let title = format!("one thread, {payload} B, waiting as late as possible");
        Self { title, body: Body::Appends(Appends { records_a_call: 0, threads: 1, payload, series }) }
    }

    /// Contenders with a figure or several each.
    pub(crate) fn table(title: String, table: Table) -> Self {
        Self { title, body: Body::Table(table) }
    }

    /// Contenders with one figure each, of which more is better.
    pub(crate) fn rates(title: String, unit: &'static str, rows: Vec<Row>) -> Self {
        Self::table(title, Table::new([unit], rows, Order::HighestFirst))
    }

    /// Contenders with one figure each, of which less is better.
    pub(crate) fn times(title: String, unit: &'static str, rows: Vec<Row>) -> Self {
        Self::table(title, Table::new([unit], rows, Order::LowestFirst))
    }

    pub(crate) fn as_json(&self) -> Value {
        match &self.body {
            Body::Appends(appends) => json!({
                "title": self.title,
                "threads": appends.threads,
                "payload_bytes": appends.payload,
                "records_a_call": appends.records_a_call,
                "floor_p50_us": appends.floor_us(),
                "series": appends.series.iter().map(Series::as_json).collect::<Vec<_>>(),
            }),
            Body::Table(table) => {
                let (columns, rows) = table.as_json();
                json!({ "title": self.title, "columns": columns, "series": rows })
            }
        }
    }

    pub(crate) fn markdown(&self) -> String {
        let body = match &self.body {
            Body::Appends(appends) => appends.markdown(),
            Body::Table(table) => table.markdown(),
        };
        format!("### {}\n\n{body}\n", self.title)
    }
}

impl Appends {
    /// The lowest median of a bare durable write under the same load.
    fn floor_us(&self) -> f64 {
        let bare = self.series.iter().filter(|series| series.is_floor);
        bare.map(|series| series.latency(|latency| latency.p50_us)).fold(f64::NAN, f64::min)
    }

    /// Whether it asked for as many flushes as its acknowledgements need: of each thread one call waits, so a flush
    /// cannot cover more than one call of each.
    fn is_comparable(&self, series: &Series) -> bool {
        let flushes = series.of(|figures| figures.flushes_per_record);
        if self.is_submits() {
            flushes > 0.0
        } else {
            flushes * (self.threads * self.records_a_call) as f64 > 0.9
        }
    }

    fn is_submits(&self) -> bool {
        self.records_a_call == 0
    }

    fn markdown(&self) -> String {
        let costs = "CPU us/rec | flushes/rec | device flushes/rec | device bytes/byte | |";
        let mut text = match self.is_submits() {
            true => {
                format!("| | records/s | of the bare writer's | {costs}\n|---|{}---|\n", "--:|".repeat(6))
            }
            false => format!(
                "| | records/s | p50 us | p99 us | p99.9 us | p50/floor | {costs}\n|---|{}---|\n",
                "--:|".repeat(9)
            ),
        };
        let mut sorted: Vec<_> = self.series.iter().collect();
        sorted.sort_by(|a, b| b.of(|f| f.per_second).total_cmp(&a.of(|f| f.per_second)));
        for series in sorted {
            text += &self.line(series);
        }
        text
    }

    /// The most records a second that bare writes made durable.
    fn bare_per_second(&self) -> f64 {
        let bare = self.series.iter().filter(|series| series.is_floor);
        bare.map(|series| series.of(|figures| figures.per_second)).fold(f64::NAN, f64::max)
    }

    fn line(&self, series: &Series) -> String {
        let note = match self.is_comparable(series) {
            true => series.note.clone(),
            false => "**not comparable: too few flushes**".into(),
        };
        let per_second = series.of(|figures| figures.per_second);
        let p50 = series.latency(|latency| latency.p50_us);
        let mut cells = vec![
            if series.is_floor { format!("*{}*", series.name) } else { series.name.clone() },
            thousands(per_second),
        ];
        match self.is_submits() {
            true => cells.push(number(per_second / self.bare_per_second(), 2)),
            false => cells.extend([
                number(p50, 0),
                number(series.latency(|latency| latency.p99_us), 0),
                number(series.latency(|latency| latency.p999_us), 0),
                number(p50 / self.floor_us(), 2),
            ]),
        }
        // A flush covers thousands of records that were submitted.
        let digits = if self.is_submits() { 5 } else { 3 };
        cells.extend([
            number(series.of(|figures| figures.cpu_us_per_record), 1),
            number(series.of(|figures| figures.flushes_per_record), digits),
            number(series.of(|figures| figures.device_flushes_per_record.unwrap_or(f64::NAN)), digits),
            number(series.of(|figures| figures.device_bytes_per_byte.unwrap_or(f64::NAN)), 1),
            note,
        ]);
        format!("| {} |\n", cells.join(" | "))
    }
}
