//! MERGE: the plan says what becomes of each row; all of it is one change.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::Int32Type;
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::MemoryConsumer;
use futures::TryStreamExt;

use super::modify::{PLACE_BYTES, note, replace_rows};
use super::sink::RowSink;
use super::table;
use crate::error::SqlState;
use crate::plan::{MergeAction, MergePlan, Scope};
use crate::session::{Outcome, Session};
use crate::{Error, Result};

pub(crate) async fn execute(
    session: &mut Session,
    scope: &Arc<Scope>,
    plan: &MergePlan,
    values: &[ScalarValue],
) -> Result<Outcome> {
    session.require_writable("MERGE")?;
    let planner = Arc::clone(&session.planner);
    let state = table::state(session, plan.table)?;
    let physical = planner.physical(scope, &plan.rows, values).await?;
    let mut stream = planner.run(scope, physical)?;
    let mut sink = RowSink::new(session, plan.table, scope)?;
    let mut keys = sink.take_keys();
    keys.retain(|keys| keys.is_about(&plan.assigned));
    let mut places: HashMap<i32, BTreeSet<u64>> = HashMap::new();
    let memory = MemoryConsumer::new("MERGE").register(&session.instance.runtime.memory_pool);
    let mut rows = 0;
    while let Some(batch) = stream.try_next().await? {
        memory.try_grow(batch.num_rows() * PLACE_BYTES)?;
        rows += batch.num_rows();
        let actions = batch.column(2).as_primitive_opt::<Int32Type>();
        let actions = actions.ok_or_else(|| Error::internal("rows without their action"))?.clone();
        let of = |wanted: &[MergeAction]| -> BooleanArray {
            let is = |number: Option<i32>| {
                let at = number.and_then(|number| usize::try_from(number - 1).ok());
                at.and_then(|at| plan.actions.get(at)).is_some_and(|action| wanted.contains(action))
            };
            actions.iter().map(|number| Some(is(number))).collect()
        };
        let chosen = |mask: &BooleanArray| -> Result<RecordBatch> {
            Ok(filter_record_batch(&batch, mask).map_err(DataFusionError::from)?)
        };
        let changed = chosen(&of(&[MergeAction::Update, MergeAction::Delete]))?;
        if note(&mut places, &changed)?.true_count() < changed.num_rows() {
            return Err(Error::new(SqlState::CARDINALITY_VIOLATION, "MERGE command cannot affect row a second time")
                .hint("Ensure that not more than one source row matches any one target row."));
        }
        let written = chosen(&of(&[MergeAction::Update, MergeAction::Insert]))?;
        if written.num_rows() == 0 {
            continue;
        }
        let columns: Vec<usize> = (3..written.num_columns()).collect();
        let row = sink.renamed(written.project(&columns).map_err(DataFusionError::from)?)?;
        keys.iter_mut().try_for_each(|keys| keys.add_unique(&row))?;
        sink.write_exact(row).await?;
    }
    replace_rows(session, scope, &state, places, sink, keys).await?;
    Ok(Outcome::Command(format!("MERGE {rows}")))
}
