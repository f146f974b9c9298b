//! Latency by percentile as an SVG: the axis grows with the number of nines.

use std::path::Path;

use hdrhistogram::Histogram;
use plotters::prelude::*;

/// One line a series; histograms in nanoseconds.
pub(super) fn percentiles(path: &Path, series: &[(String, Histogram<u64>)]) -> anyhow::Result<()> {
    let highest = series.iter().map(|(_, histogram)| histogram.max()).max().unwrap_or(1) as f64 / 1e3;
    let lowest = series.iter().map(|(_, histogram)| histogram.min()).min().unwrap_or(1) as f64 / 1e3;
    let count = series.iter().map(|(_, histogram)| histogram.len()).max().unwrap_or(1) as f64;
    let failed = |error: &dyn std::fmt::Display| anyhow::anyhow!("drawing {}: {error}", path.display());
    let root = SVGBackend::new(path, (900, 540)).into_drawing_area();
    root.fill(&WHITE).map_err(|error| failed(&error))?;
    let mut chart = ChartBuilder::on(&root)
        .margin(16)
        .caption("durable append, latency by percentile", ("sans-serif", 20))
        .x_label_area_size(48)
        .y_label_area_size(72)
        .build_cartesian_2d((1.0..count.max(10.0)).log_scale(), (lowest * 0.8..highest * 1.2).log_scale())
        .map_err(|error| failed(&error))?;
    let percentile = |x: &f64| format!("{}%", 100.0 * (1.0 - 1.0 / x));
    chart
        .configure_mesh()
        .x_desc("percentile")
        .y_desc("microseconds")
        .x_label_formatter(&percentile)
        .draw()
        .map_err(|error| failed(&error))?;
    for (index, (name, histogram)) in series.iter().enumerate() {
        let colour = Palette99::pick(index).to_rgba();
        let points = histogram
            .iter_quantiles(10)
            .filter(|step| step.quantile() < 1.0)
            .map(|step| (1.0 / (1.0 - step.quantile()), step.value_iterated_to() as f64 / 1e3));
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))
            .map_err(|error| failed(&error))?
            .label(name)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 20, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .border_style(BLACK)
        .background_style(WHITE)
        .position(SeriesLabelPosition::UpperLeft)
        .draw()
        .map_err(|error| failed(&error))?;
    root.present().map_err(|error| failed(&error))
}
