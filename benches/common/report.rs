//! The table that a bench prints, and writes as JSON.

use std::time::Duration;

/// Rows of the table: name, value, unit, and the aim where there is one.
#[derive(Default)]
pub struct Report(Vec<(String, f64, &'static str, &'static str)>);

impl Report {
    pub fn row(&mut self, name: impl Into<String>, value: f64, unit: &'static str, aim: &'static str) {
        let name = name.into();
        println!("{name:<58} {value:>10.2} {unit:<6} {aim}");
        self.0.push((name, value, unit, aim));
    }

    pub fn json(&self) -> serde_json::Value {
        let rows = self.0.iter().map(|(name, value, unit, aim)| {
            serde_json::json!({"name": name, "value": value, "unit": unit, "aim": aim})
        });
        serde_json::Value::Array(rows.collect())
    }
}

#[allow(clippy::cast_precision_loss, reason = "milliseconds for people")]
pub fn ms(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e6
}

/// The value below which `share` of the sorted samples lie.
pub fn percentile(samples: &mut [Duration], share: usize) -> Duration {
    samples.sort_unstable();
    samples[(samples.len() - 1) * share / 100]
}
