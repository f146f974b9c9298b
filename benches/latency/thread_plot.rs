//! Records per second over threads, as an SVG.

use std::path::Path;

use plotters::prelude::*;

/// Points are threads and records per second.
pub(super) fn draw(path: &Path, points: &[(usize, f64)]) -> anyhow::Result<()> {
    let failed = |error: &dyn std::fmt::Display| anyhow::anyhow!("{error}");
    let points: Vec<_> = points.iter().map(|(threads, rate)| (*threads as f64, *rate)).collect();
    let threads_max = points.iter().map(|point| point.0).fold(2.0, f64::max);
    let rate_max = points.iter().map(|point| point.1).fold(1.0, f64::max);
    let root = SVGBackend::new(path, (900, 540)).into_drawing_area();
    root.fill(&WHITE).map_err(|error| failed(&error))?;
    let mut chart = ChartBuilder::on(&root)
        .margin(16)
        .caption("durable append, records per second over threads", ("sans-serif", 20))
        .x_label_area_size(48)
        .y_label_area_size(72)
        .build_cartesian_2d((1.0..threads_max).log_scale(), 0.0..rate_max * 1.1)
        .map_err(|error| failed(&error))?;
    chart
        .configure_mesh()
        .x_desc("threads")
        .y_desc("records per second")
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.0}"))
        .draw()
        .map_err(|error| failed(&error))?;
    let line = LineSeries::new(points.iter().copied(), BLUE.stroke_width(2)).point_size(4);
    chart.draw_series(line).map_err(|error| failed(&error))?;
    root.present().map_err(|error| failed(&error))
}
