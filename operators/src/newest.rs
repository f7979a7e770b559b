//! Passes only rows that may be the last (or first) of their key: what `DISTINCT ON (key) … ORDER BY key, time DESC`,
//! `last(value, time)` and `max(time)` look for.
//!
//! ```text
//!  input, the newest pieces first    a 12:00   b 12:00   a 11:58   c 11:57   b 11:59
//!  output                            a 12:00   b 12:00             c 11:57
//! ```
//! What was seen is shared by the partitions and can be asked by whoever makes the input ([`Newest::is_settled`]): it need not
//! read what is worse than a row that was seen of every key. Input in another order only passes more rows. Rows without a
//! time pass: what they mean is left to the aggregation.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::DataType;
use datafusion_common::tree_node::TreeNodeRecursion;
use datafusion_common::{Result, plan_err};
use datafusion_execution::{SendableRecordBatchStream, TaskContext};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_plan::execution_plan::CardinalityEffect;
use datafusion_physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet, RecordOutput};
use datafusion_physical_plan::stream::RecordBatchStreamAdapter;
use datafusion_physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
    validate_child_count,
};
use futures::TryStreamExt;
use parking_lot::Mutex;

use crate::gapfill::window::{is_time, times_or_any};
use crate::keys::Keys;

/// After so many rows it is looked whether there are few keys.
const PROBE_ROWS: usize = 65_536;
/// So many rows for each key are worth it.
const ROWS_PER_KEY: usize = 8;

/// The best time seen of each key.
pub struct Newest {
    descending: bool,
    seen: Mutex<Seen>,
}

struct Seen {
    keys: Keys,
    numbers: Vec<usize>,
    /// By key; NULL is the first.
    best: Vec<Option<i64>>,
    rows: usize,
    /// There are too many keys to gain anything: everything passes.
    given_up: bool,
}

impl fmt::Debug for Newest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Newest").field("descending", &self.descending).finish_non_exhaustive()
    }
}

impl Newest {
    /// Of keys of a type: the greatest times, if `descending`, or the least.
    ///
    /// # Errors
    /// If the type is none of keys.
    pub fn new(key: &DataType, descending: bool) -> Result<Self> {
        let seen = Seen {
            keys: Keys::new(std::slice::from_ref(key))?,
            numbers: vec![],
            best: vec![],
            rows: 0,
            given_up: false,
        };
        Ok(Self { descending, seen: Mutex::new(seen) })
    }

    fn is_better(&self, time: i64, than: i64) -> bool {
        if self.descending { time > than } else { time < than }
    }

    /// Whether a row better than `bound` was seen of each of these keys.
    ///
    /// # Errors
    /// If the keys are of another type than these here.
    pub fn is_settled(&self, keys: &ArrayRef, bound: i64) -> Result<bool> {
        let mut seen = self.seen.lock();
        if seen.given_up || seen.rows == 0 {
            return Ok(false);
        }
        seen.number(keys)?;
        let is_settled = |key: &usize| seen.best[*key].is_some_and(|best| self.is_better(best, bound));
        Ok(seen.numbers.iter().all(is_settled))
    }

    /// The rows that may be the best of their key; `None`: all.
    fn pass(&self, keys: &ArrayRef, time: &ArrayRef) -> Result<Option<BooleanArray>> {
        let mut seen = self.seen.lock();
        let seen = &mut *seen;
        if seen.given_up {
            return Ok(None);
        }
        seen.number(keys)?;
        seen.rows += keys.len();
        seen.given_up = seen.rows > PROBE_ROWS && seen.best.len() * ROWS_PER_KEY > seen.rows;
        let (times, nulls) = (times_or_any(time)?, time.nulls());
        let mut passed = 0;
        let mask: Vec<bool> = seen
            .numbers
            .iter()
            .enumerate()
            .map(|(row, key)| {
                let time = times[row];
                let best = &mut seen.best[*key];
                let passes = if nulls.is_some_and(|nulls| nulls.is_null(row)) {
                    true
                } else if best.is_some_and(|best| self.is_better(best, time)) {
                    false
                } else {
                    *best = Some(time);
                    true
                };
                passed += usize::from(passes);
                passes
            })
            .collect();
        Ok((passed < mask.len()).then(|| mask.into()))
    }
}

impl Seen {
    fn number(&mut self, keys: &ArrayRef) -> Result<()> {
        self.keys.intern_nulls(std::slice::from_ref(keys), keys.len(), &mut self.numbers)?;
        self.best.resize(self.keys.len() + 1, None);
        Ok(())
    }
}

/// The filter as a node of a physical plan; see [the module](self).
#[derive(Debug)]
pub struct NewestRowsExec {
    input: Arc<dyn ExecutionPlan>,
    key: usize,
    time: usize,
    newest: Arc<Newest>,
    metrics: ExecutionPlanMetricsSet,
}

impl NewestRowsExec {
    /// Passes the rows of `input` that `newest` may look for, by its columns `key` and `time`.
    ///
    /// # Errors
    /// If `time` is no column of a time or whole number.
    pub fn try_new(input: Arc<dyn ExecutionPlan>, key: usize, time: usize, newest: Arc<Newest>) -> Result<Self> {
        let schema = input.schema();
        if !is_time(schema.field(time).data_type()) {
            return plan_err!("{} is not a type of time", schema.field(time).data_type());
        }
        Ok(Self { input, key, time, newest, metrics: ExecutionPlanMetricsSet::new() })
    }
}

impl DisplayAs for NewestRowsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let schema = self.input.schema();
        let (key, time) = (schema.field(self.key).name(), schema.field(self.time).name());
        let direction = if self.newest.descending { "DESC" } else { "ASC" };
        write!(f, "NewestRowsExec: key={key}, time={time} {direction}")
    }
}

impl ExecutionPlan for NewestRowsExec {
    fn name(&self) -> &'static str {
        "NewestRowsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        validate_child_count!(self, children);
        Ok(Arc::new(Self::try_new(children.swap_remove(0), self.key, self.time, Arc::clone(&self.newest))?))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let schema = self.schema();
        let (key, time, newest) = (self.key, self.time, Arc::clone(&self.newest));
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let filtered = input.try_filter_map(move |batch| {
            let timer = metrics.elapsed_compute().timer();
            let passed = newest.pass(batch.column(key), batch.column(time)).and_then(|mask| match mask {
                Some(mask) => Ok(filter_record_batch(&batch, &mask)?),
                None => Ok(batch),
            });
            timer.done();
            let passed = passed.map(|batch: RecordBatch| (batch.num_rows() > 0).then(|| batch.record_output(&metrics)));
            std::future::ready(passed)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, filtered)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::LowerEqual
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use arrow::array::{AsArray, Int64Array, StringViewArray};
    use arrow::datatypes::Int64Type;
    use rand::Rng;

    use super::*;

    #[test]
    fn the_best_row_of_each_key_passes_and_settled_keys_have_no_better_one() {
        let random = &mut rand::rng();
        for round in 0..300 {
            let descending = round % 2 == 0;
            let newest = Newest::new(&DataType::Utf8View, descending).unwrap();
            let mut best: HashMap<Option<String>, i64> = HashMap::new();
            let mut passed: HashMap<Option<String>, i64> = HashMap::new();
            let better = |old: i64, new: i64| if descending { old.max(new) } else { old.min(new) };
            for _ in 0..random.random_range(1..6) {
                let rows = random.random_range(0..20);
                let key = |random: &mut rand::rngs::ThreadRng| {
                    random.random_bool(0.9).then(|| format!("{:>1$}", random.random_range(0..4), round % 20))
                };
                let keys: Vec<_> = (0..rows).map(|_| key(random)).collect();
                let times: Vec<Option<i64>> =
                    (0..rows).map(|_| random.random_bool(0.9).then(|| random.random_range(-9..9))).collect();
                for (key, time) in keys.iter().zip(&times) {
                    let Some(time) = *time else { continue };
                    best.entry(key.clone()).and_modify(|old| *old = better(*old, time)).or_insert(time);
                }
                let keys: ArrayRef = Arc::new(StringViewArray::from_iter(keys));
                let times: ArrayRef = Arc::new(Int64Array::from(times));
                let mask = newest.pass(&keys, &times).unwrap();
                for row in 0..keys.len() {
                    let passes = mask.as_ref().is_none_or(|mask| mask.value(row));
                    assert!(passes || times.is_valid(row));
                    if passes && times.is_valid(row) {
                        let key = keys.as_string_view();
                        let key = key.is_valid(row).then(|| key.value(row).to_owned());
                        let time = times.as_primitive::<Int64Type>().value(row);
                        passed.entry(key).and_modify(|old| *old = better(*old, time)).or_insert(time);
                    }
                }
                assert_eq!(passed, best);
                let bound = random.random_range(-9..9);
                if !keys.is_empty() && newest.is_settled(&keys, bound).unwrap() {
                    for key in keys.as_string_view() {
                        let best = best[&key.map(str::to_owned)];
                        assert!(if descending { best > bound } else { best < bound });
                    }
                }
            }
        }
    }

    #[test]
    fn many_keys_are_not_filtered() {
        let newest = Newest::new(&DataType::Int64, true).unwrap();
        for start in [0, 60_000] {
            let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(start..start + 60_000));
            newest.pass(&keys, &keys).unwrap();
        }
        let again: ArrayRef = Arc::new(Int64Array::from(vec![5, 5]));
        let older: ArrayRef = Arc::new(Int64Array::from(vec![1, 0]));
        assert_eq!(newest.pass(&again, &older).unwrap(), None);
        assert!(!newest.is_settled(&again, -1).unwrap());
    }
}
