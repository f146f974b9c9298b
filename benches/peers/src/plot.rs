//! Plots as SVG, from what `--json` wrote: records a second over threads, and latency by percentile.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use serde_json::Value;

use crate::rounds::median;

/// Reads all files, as if they came from one run, and writes two plots for each size of payload.
pub(crate) fn draw(files: &[PathBuf], directory: &Path) -> Result<()> {
    let mut loads = BTreeMap::<u64, BTreeMap<u64, Vec<Value>>>::new();
    for path in files {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let json: Value = serde_json::from_str(&text)?;
        let sections = json["sections"].as_array().context("a file that --json wrote")?;
        for section in sections.iter().filter(|section| section["records_a_call"] == 1) {
            let number = |name: &str| section[name].as_u64().with_context(|| format!("no {name}"));
            let series = section["series"].as_array().context("series")?;
            let load = loads.entry(number("payload_bytes")?).or_default().entry(number("threads")?);
            load.or_default().extend(series.iter().cloned());
        }
    }
    ensure!(!loads.is_empty(), "no appends are in these files");
    for (payload, by_threads) in &loads {
        rates(&directory.join(format!("records-per-second-{payload}.svg")), *payload, by_threads)?;
        let typical = by_threads.get_key_value(&TYPICAL_THREADS).or(by_threads.last_key_value());
        let (threads, series) = typical.context("no threads")?;
        latencies(&directory.join(format!("latency-{payload}.svg")), *payload, *threads, series)?;
    }
    Ok(())
}

/// For which latency is drawn, where it was measured.
const TYPICAL_THREADS: u64 = 16;
const PERCENTILES: [(&str, &str); 5] =
    [("p50_us", "50"), ("p90_us", "90"), ("p99_us", "99"), ("p999_us", "99.9"), ("max_us", "100")];

/// What one contender reached.
struct Curve {
    name: String,
    points: Vec<(f64, f64)>,
}

fn figure(series: &Value, name: &str) -> f64 {
    let rounds = series["rounds"].as_array().into_iter().flatten();
    median(rounds.filter_map(|round| round[name].as_f64()).collect())
}

fn rates(path: &Path, payload: u64, by_threads: &BTreeMap<u64, Vec<Value>>) -> Result<()> {
    let mut curves = Vec::<Curve>::new();
    for (threads, series) in by_threads {
        for one in series {
            let name = one["contender"].as_str().unwrap_or_default();
            let point = (*threads as f64, figure(one, "records_per_second"));
            match curves.iter_mut().find(|curve| curve.name == name) {
                Some(curve) => curve.points.push(point),
                None => curves.push(Curve { name: name.to_owned(), points: vec![point] }),
            }
        }
    }
    let most = by_threads.keys().last().copied().unwrap_or(2).max(2) as f64;
    let caption = format!("durable appends of {payload} B: records per second over threads");
    let labels = |x: &f64| format!("{x:.0}");
    chart(
        path,
        &caption,
        ("threads", "records per second"),
        (1.0..most).log_scale().base(2.0),
        labels,
        &curves,
    )
}

fn latencies(path: &Path, payload: u64, threads: u64, series: &[Value]) -> Result<()> {
    let curve = |one: &Value| Curve {
        name: one["contender"].as_str().unwrap_or_default().to_owned(),
        points: (0..)
            .zip(PERCENTILES)
            .map(|(place, (name, _))| (f64::from(place), figure(one, name)))
            .collect(),
    };
    let curves: Vec<_> = series.iter().map(curve).collect();
    let caption = format!("durable appends of {payload} B, {threads} threads: latency by percentile");
    let labels = |x: &f64| PERCENTILES.get(x.round() as usize).map_or(String::new(), |one| one.1.into());
    let axis = 0.0..(PERCENTILES.len() - 1) as f64;
    chart(path, &caption, ("percentile", "microseconds"), axis, labels, &curves)
}

const SIZE: (u32, u32) = (960, 560);
/// Room for names beside the curves' ends.
const NAMES_WIDTH: u32 = 170;
const LINE_HEIGHT: i32 = 17;
/// Told apart also by those who do not see all colours; on white, whatever surrounds the picture.
const COLOURS: [RGBColor; 10] = [
    RGBColor(0, 90, 181),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(148, 103, 24),
    RGBColor(120, 60, 160),
    RGBColor(200, 30, 60),
    RGBColor(90, 90, 90),
    RGBColor(150, 150, 150),
];

fn chart<X>(
    path: &Path,
    caption: &str,
    descriptions: (&str, &str),
    axis: X,
    x_label: impl Fn(&f64) -> String,
    curves: &[Curve],
) -> Result<()>
where
    X: AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64>,
{
    let values = curves.iter().flat_map(|curve| &curve.points).map(|point| point.1);
    let (least, most) =
        values.fold((f64::MAX, 1.0), |(least, most): (f64, f64), value| (least.min(value), most.max(value)));
    let failed = |error: &dyn std::fmt::Display| anyhow!("drawing {}: {error}", path.display());
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE).map_err(|error| failed(&error))?;
    let mut chart = ChartBuilder::on(&root)
        .margin(14)
        .margin_right(NAMES_WIDTH)
        .caption(caption, ("sans-serif", 19))
        .x_label_area_size(46)
        .y_label_area_size(84)
        .build_cartesian_2d(axis, (beginning(least)..most * 1.2).log_scale())
        .map_err(|error| failed(&error))?;
    chart
        .configure_mesh()
        .x_desc(descriptions.0)
        .y_desc(descriptions.1)
        .x_labels(7)
        .label_style(("sans-serif", 14))
        .x_label_formatter(&x_label)
        .y_label_formatter(&|y| crate::table::thousands(*y))
        .draw()
        .map_err(|error| failed(&error))?;
    let mut names = Vec::new();
    for (curve, colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        let width = if curve.name.starts_with("ringwal") { 4 } else { 2 };
        let line = LineSeries::new(curve.points.iter().copied(), colour.stroke_width(width)).point_size(3);
        chart.draw_series(line).map_err(|error| failed(&error))?;
        let end = curve.points.last().context("a curve without points")?;
        names.push((chart.backend_coord(end), &curve.name, colour));
    }
    // A name stands at its curve's end, or as little below it as the others leave room.
    names.sort_by_key(|(position, ..)| position.1);
    let mut next = i32::MIN;
    for ((x, y), name, colour) in names {
        let y = next.max(y - LINE_HEIGHT / 2);
        next = y + LINE_HEIGHT;
        let style = ("sans-serif", 14).into_font().color(colour);
        root.draw(&Text::new(name.as_str(), (x + 10, y), style)).map_err(|error| failed(&error))?;
    }
    root.present().map_err(|error| failed(&error))
}

/// Where a logarithmic axis begins. Its labels begin at a power of ten: there, if that is not far below.
fn beginning(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    if least < 4.0 * power { power } else { least * 0.8 }
}
