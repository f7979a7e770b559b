//! What a scan counts, for EXPLAIN ANALYZE.

use datafusion_physical_plan::metrics::{BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder};

/// A partition's counters.
#[derive(Debug, Clone)]
pub(super) struct ScanMetrics {
    /// Rows out and time.
    pub(super) baseline: BaselineMetrics,
    /// Files, row groups and hot chunks ruled out by statistics.
    pub(super) pruned: Count,
    /// Row groups and hot chunks read.
    pub(super) read: Count,
    /// Blocks of them that surely have no row that passes.
    pub(super) skipped: Count,
    /// Column chunks found in the cache.
    pub(super) cached: Count,
    /// Column chunks decoded.
    pub(super) decoded: Count,
    /// Compressed bytes read.
    pub(super) bytes: Count,
}

impl ScanMetrics {
    pub(super) fn new(set: &ExecutionPlanMetricsSet, partition: usize) -> Self {
        let count = |name| MetricBuilder::new(set).counter(name, partition);
        Self {
            baseline: BaselineMetrics::new(set, partition),
            pruned: count("units_pruned"),
            read: count("units_read"),
            skipped: count("blocks_skipped"),
            cached: count("columns_cached"),
            decoded: count("columns_decoded"),
            bytes: count("bytes_read"),
        }
    }
}
