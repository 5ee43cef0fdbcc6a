//! Percentiles of latencies.

/// The value below which `share` of the sorted values lie; 0 without values.
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    if sorted.is_empty() {
        return 0.0;
    }
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}
