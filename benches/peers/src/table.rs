//! A table of figures: a row a contender, a column each figure, medians over the rounds.

use serde_json::{Value, json};

use crate::rounds::median;

/// What one contender reached, in all rounds.
pub(crate) struct Row {
    name: String,
    rounds: Vec<Vec<f64>>,
}

impl Row {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), rounds: Vec::new() }
    }

    /// The figures of one more round, one for each column.
    pub(crate) fn add(&mut self, figures: impl Into<Vec<f64>>) {
        self.rounds.push(figures.into());
    }

    fn medians(&self) -> Vec<f64> {
        let columns = self.rounds.first().map_or(0, Vec::len);
        (0..columns).map(|column| median(self.rounds.iter().map(|round| round[column]).collect())).collect()
    }
}

/// In which order rows are told; it goes by the first column.
#[derive(Clone, Copy)]
pub(crate) enum Order {
    HighestFirst,
    LowestFirst,
    AsMeasured,
}

pub(crate) struct Table {
    columns: Vec<&'static str>,
    rows: Vec<Row>,
    order: Order,
}

impl Table {
    /// Rows without figures are left out.
    pub(crate) fn new(columns: impl Into<Vec<&'static str>>, mut rows: Vec<Row>, order: Order) -> Self {
        rows.retain(|row| !row.rounds.is_empty());
        Self { columns: columns.into(), rows, order }
    }

    pub(crate) fn as_json(&self) -> (Value, Value) {
        let rows = self
            .rows
            .iter()
            .map(|row| json!({ "contender": row.name, "medians": row.medians(), "rounds": row.rounds }));
        (json!(self.columns), rows.collect())
    }

    pub(crate) fn markdown(&self) -> String {
        let mut sorted: Vec<_> = self.rows.iter().map(|row| (&row.name, row.medians())).collect();
        match self.order {
            Order::HighestFirst => sorted.sort_by(|a, b| b.1[0].total_cmp(&a.1[0])),
            Order::LowestFirst => sorted.sort_by(|a, b| a.1[0].total_cmp(&b.1[0])),
            Order::AsMeasured => (),
        }
        let rule = "--:|".repeat(self.columns.len());
        let mut text = format!("| | {} |\n|---|{rule}\n", self.columns.join(" | "));
        for (name, medians) in sorted {
            let cells: Vec<_> = medians.into_iter().map(figure).collect();
            text += &format!("| {name} | {} |\n", cells.join(" | "));
        }
        text
    }
}

fn figure(value: f64) -> String {
    if value < 1000.0 { number(value, 2) } else { thousands(value) }
}

pub(crate) fn number(value: f64, digits: usize) -> String {
    if value.is_nan() { "-".into() } else { format!("{value:.digits$}") }
}

pub(crate) fn thousands(value: f64) -> String {
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
