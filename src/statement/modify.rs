//! UPDATE and DELETE: find the rows, rewrite what holds them.
//!
//! The plan gives the place of every row that goes (`_tm_unit`, `_tm_row`) and, for UPDATE, the row it becomes. Each file or
//! chunk that lost rows is read once and written again without them; one change removes the old and adds the new.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{Int32Type, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::MemoryConsumer;
use futures::TryStreamExt;
use tidemill_catalog::record::{Change, Write};
use tidemill_catalog::snapshot::TableState;
use tidemill_catalog::table::rewrite;
use tidemill_catalog::table::scan::{SnapshotTable, Unit};
use tokio::sync::mpsc;

use super::insert::Returned;
use super::keys::UniqueKeys;
use super::sink::RowSink;
use super::table;
use crate::plan::{ModifyPlan, Scope};
use crate::session::transaction::is_temporary;
use crate::session::{Outcome, Session};
use crate::{Error, Result};

/// Bytes a row's place takes while it is remembered.
pub(super) const PLACE_BYTES: usize = 16;

pub(crate) async fn execute(
    session: &mut Session,
    scope: &Arc<Scope>,
    plan: &ModifyPlan,
    command: &'static str,
    values: &[ScalarValue],
) -> Result<Outcome> {
    session.require_writable(command)?;
    let update = command == "UPDATE";
    let planner = Arc::clone(&session.planner);
    let state = table::state(session, plan.table)?;
    let physical = planner.physical(scope, &plan.locate, values).await?;
    let mut stream = planner.run(scope, physical)?;
    let mut sink = RowSink::new(session, plan.table, scope)?;
    let mut keys = sink.take_keys();
    keys.retain(|keys| keys.is_about(&plan.assigned));
    let mut returned = match &plan.returning {
        Some(returning) => Some(Returned::new(session, scope, plan.table, returning)?),
        None => None,
    };
    // Unit → rows that go. A row found twice (FROM, USING) counts once, by its first match.
    let mut places: HashMap<i32, std::collections::BTreeSet<u64>> = HashMap::new();
    let memory = MemoryConsumer::new(command).register(&session.instance.runtime.memory_pool);
    let mut rows = 0u64;
    while let Some(batch) = stream.try_next().await? {
        memory.try_grow(batch.num_rows() * PLACE_BYTES)?;
        let fresh = note(&mut places, &batch)?;
        rows += fresh.true_count() as u64;
        if plan.has_rows && fresh.true_count() > 0 {
            let batch = if fresh.true_count() == batch.num_rows() {
                batch
            } else {
                filter_record_batch(&batch, &fresh).map_err(DataFusionError::from)?
            };
            let row = batch.project(&(2..batch.num_columns()).collect::<Vec<_>>()).map_err(DataFusionError::from)?;
            if let Some(returned) = &mut returned {
                returned.add(&row)?;
            }
            if update {
                let row = row.project(&(0..state.def.columns.len()).collect::<Vec<_>>());
                let row = sink.renamed(row.map_err(DataFusionError::from)?)?;
                keys.iter_mut().try_for_each(|keys| keys.add_unique(&row))?;
                sink.write_exact(row).await?;
            }
        }
    }
    replace_rows(session, scope, &state, places, sink, keys).await?;
    let tag = format!("{command} {rows}");
    Ok(match returned {
        Some(returned) => returned.outcome(tag),
        None => Outcome::Command(tag),
    })
}

/// The change of a statement: rows go from these places, those in the sink come, if their keys are free then.
///
/// # Errors
/// 23505.
pub(super) async fn replace_rows(
    session: &mut Session,
    scope: &Arc<Scope>,
    state: &Arc<TableState>,
    places: HashMap<i32, std::collections::BTreeSet<u64>>,
    sink: RowSink,
    keys: Vec<UniqueKeys>,
) -> Result<()> {
    let mut write = sink.finish().await?;
    for keys in keys {
        write.keys.push(keys.require_free(|place| is_among(&places, place)).await?);
    }
    rewrite_units(session, scope, state, places, &mut write).await?;
    session.apply(vec![Change::Write(write)])
}

/// True for the place of a row that goes.
pub(super) fn is_among(places: &HashMap<i32, std::collections::BTreeSet<u64>>, (unit, row): (i32, i64)) -> bool {
    places.get(&unit).is_some_and(|gone| u64::try_from(row).is_ok_and(|row| gone.contains(&row)))
}

/// Remembers the places of a batch; true where a row is met for the first time.
pub(super) fn note(
    places: &mut HashMap<i32, std::collections::BTreeSet<u64>>,
    batch: &RecordBatch,
) -> Result<BooleanArray> {
    let units = batch.column(0).as_primitive_opt::<Int32Type>();
    let rows = batch.column(1).as_primitive_opt::<Int64Type>();
    let (Some(units), Some(rows)) = (units, rows) else { return Err(Error::internal("rows without their places")) };
    (0..batch.num_rows())
        .map(|at| {
            if units.is_null(at) {
                return Ok(Some(false)); // the nullable side of an outer join: no row of the target
            }
            let row = u64::try_from(rows.value(at)).map_err(|_| Error::internal("a negative row number"))?;
            Ok(Some(places.entry(units.value(at)).or_default().insert(row)))
        })
        .collect()
}

/// Writes the touched units again without the rows that go.
pub(super) async fn rewrite_units(
    session: &mut Session,
    scope: &Arc<Scope>,
    state: &Arc<tidemill_catalog::snapshot::TableState>,
    mut places: HashMap<i32, std::collections::BTreeSet<u64>>,
    write: &mut Write,
) -> Result<()> {
    let store = (!is_temporary(state.oid)).then(|| Arc::clone(&session.instance.store));
    let table = Arc::new(SnapshotTable { store, state: Arc::clone(state), locators: true });
    let units = table.units();
    if let (false, Some(replaced)) = (places.is_empty(), table.replaced().await?) {
        // Without the row that counts an older one of its key would count again.
        for (at, unit) in (0..).zip(&units) {
            if let Some(mask) = replaced.of_unit(unit) {
                places.entry(at).or_default().extend(mask.set_indices().map(|row| row as u64));
            }
        }
    }
    let mut places: Vec<_> = places.into_iter().collect();
    places.sort_by_key(|(unit, _)| *unit);
    let mut keep = RowSink::unchecked(session, state.oid, scope)?;
    for (unit, gone) in places {
        let unit = usize::try_from(unit).ok().and_then(|at| units.get(at)).cloned();
        let Some(unit) = unit else { return Err(Error::internal("a row in a unit that is not there")) };
        let all = match &unit {
            Unit::File(file) => {
                write.remove_files.push(file.path.clone());
                file.rows
            }
            Unit::Chunk(chunk) => {
                write.remove_chunks.extend(chunk.ids.iter().copied());
                chunk.batch.num_rows() as u64
            }
        };
        if gone.len() as u64 == all {
            continue; // nothing stays: nothing to read
        }
        let gone: Vec<u64> = gone.into_iter().collect();
        let (sender, mut received) = mpsc::channel::<RecordBatch>(2);
        let files = Arc::clone(session.instance.store.files());
        let dir = session.instance.store.table_dir(state.oid);
        let def = Arc::clone(&state.def);
        let reader = tokio::task::spawn_blocking(move || -> Result<()> {
            let batches = rewrite::read_unit(&files, &dir, &def, &unit)?;
            for batch in rewrite::remaining_rows(batches, gone) {
                if sender.blocking_send(batch?).is_err() {
                    break;
                }
            }
            Ok(())
        });
        while let Some(batch) = received.recv().await {
            keep.write(batch).await?;
        }
        reader.await.map_err(|error| Error::internal(format!("a reader thread panicked: {error}")))??;
    }
    let kept = keep.finish().await?;
    write.add_chunks.extend(kept.add_chunks);
    write.add_files.extend(kept.add_files);
    Ok(())
}
