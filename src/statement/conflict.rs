//! INSERT … ON CONFLICT.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, BooleanArray, RecordBatch, UInt32Array};
use datafusion::arrow::compute::{concat_batches, filter_record_batch, interleave_record_batch, take_record_batch};
use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::physical_plan::PhysicalExpr;
use futures::TryStreamExt;
use tidemill_catalog::record::Change;
use tokio_util::sync::CancellationToken;

use super::insert::{Late, Returned};
use super::keys::{Arbiters, UniqueKeys};
use super::modify::{is_among, rewrite_units};
use super::sink::RowSink;
use super::table;
use crate::error::SqlState;
use crate::plan::{InsertPlan, OnConflict};
use crate::session::{Outcome, Session};
use crate::{Error, Result};

/// Bytes of rows whose keys are looked for at once.
const GROUP_BYTES: usize = 32 << 20;
/// Bytes that the place of a row to be replaced takes.
const PLACE_BYTES: usize = 16;

/// What becomes of rows in conflict.
enum Action {
    /// They stay out.
    Nothing(Arbiters),
    /// The others are changed.
    Update(Box<UniqueKeys>, Update),
}

/// DO UPDATE, ready to evaluate over the columns of the row that is there and then those of the one that was to come.
struct Update {
    /// Columns, and what they become.
    assigned: Vec<(usize, Arc<dyn PhysicalExpr>)>,
    /// Only rows where this is true are changed.
    condition: Option<Arc<dyn PhysicalExpr>>,
}

/// Where a row of the outcome is from.
#[derive(Clone, Copy)]
enum Fate {
    /// Inserted: its number among the group's rows.
    Insert(usize),
    /// In conflict: its number among the group's rows, and where the other is.
    Conflict(usize, usize, usize),
}

pub(crate) async fn execute(
    session: &mut Session,
    plan: &InsertPlan,
    on_conflict: &OnConflict,
    values: &[ScalarValue],
    cancel: &CancellationToken,
) -> Result<Outcome> {
    session.require_writable("INSERT")?;
    let scope = session.scope_for(cancel, Some(plan.table));
    let planner = Arc::clone(&session.planner);
    let state = table::state(session, plan.table)?;
    let mut action = match on_conflict {
        OnConflict::Nothing(keys) => {
            let keys = keys.iter().map(|key| UniqueKeys::new(session, plan.table, &state, key));
            Action::Nothing(Arbiters::new(keys.collect::<Result<_>>()?))
        }
        OnConflict::Update { key, places, plan: update } => {
            let (expressions, schema) = planner.bound_projection(&scope, update, values)?;
            let mut expressions = expressions
                .into_iter()
                .map(|expression| planner.physical_expression(&scope, &schema, expression))
                .collect::<Result<Vec<_>>>()?;
            let condition = (expressions.len() > places.len()).then(|| expressions.pop()).flatten();
            let update = Update { assigned: places.iter().copied().zip(expressions).collect(), condition };
            Action::Update(Box::new(UniqueKeys::new(session, plan.table, &state, key)?), update)
        }
    };
    let physical = planner.physical(&scope, &plan.source, values).await?;
    let mut stream = planner.run(&scope, physical)?;
    let mut sink = RowSink::new(session, plan.table, &scope)?;
    let late = Late::new(session, &scope, plan)?;
    // The keys that the clause is about decide what becomes of a row; the others must be free.
    let mut others = sink.take_keys();
    others.retain(|keys| on_conflict.arbiters().iter().all(|arbiter| keys.index() != arbiter.index));
    let mut returned = match &plan.returning {
        Some(returning) => Some(Returned::new(session, &scope, plan.table, returning)?),
        None => None,
    };
    let memory = MemoryConsumer::new("ON CONFLICT").register(&session.instance.runtime.memory_pool);
    let mut places: HashMap<i32, BTreeSet<u64>> = HashMap::new();
    let mut rows = 0;
    let mut group: Vec<RecordBatch> = vec![];
    let mut is_done = false;
    while !is_done {
        match stream.try_next().await? {
            Some(batch) => {
                group.push(sink.renamed(late.fill(batch)?)?);
                if group.iter().map(RecordBatch::get_array_memory_size).sum::<usize>() < GROUP_BYTES {
                    continue;
                }
            }
            None => is_done = true,
        }
        let Some(first) = group.first() else { continue };
        let batch = concat_batches(&first.schema(), &group).map_err(DataFusionError::from)?;
        group.clear();
        // A row must be right even if it does not come in.
        sink.check(&batch)?;
        let written = match &mut action {
            Action::Nothing(keys) => {
                let refusals = keys.refusals(&batch).await?;
                let is_free: BooleanArray = refusals.iter().map(|refusal| Some(refusal.is_none())).collect();
                filter_record_batch(&batch, &is_free).map_err(DataFusionError::from)?
            }
            Action::Update(keys, update) => resolve(keys, update, &batch, &mut places).await?,
        };
        memory.try_resize(places.values().map(BTreeSet::len).sum::<usize>() * PLACE_BYTES)?;
        if written.num_rows() > 0 {
            rows += written.num_rows();
            if let Some(returned) = &mut returned {
                returned.add(&written)?;
            }
            others.iter_mut().try_for_each(|keys| keys.add_unique(&written))?;
            sink.write(written).await?;
        }
    }
    let mut write = sink.finish().await?;
    if state.def.version_column().is_none() {
        write.keys.extend(match &action {
            Action::Nothing(keys) => keys.written(),
            Action::Update(keys, _) => vec![keys.written()],
        });
    }
    for keys in others {
        write.keys.push(keys.require_free(|place| is_among(&places, place)).await?);
    }
    rewrite_units(session, &scope, &state, places, &mut write).await?;
    session.apply(vec![Change::Write(write)])?;
    let tag = format!("INSERT 0 {rows}");
    Ok(match returned {
        Some(returned) => returned.outcome(tag),
        None => Outcome::Command(tag),
    })
}

/// DO UPDATE: the rows of a group that are written, in its order. Notes the places of those they replace.
async fn resolve(
    keys: &mut UniqueKeys,
    update: &Update,
    batch: &RecordBatch,
    places: &mut HashMap<i32, BTreeSet<u64>>,
) -> Result<RecordBatch> {
    let fresh = keys.add(batch)?;
    let (numbers, existing) = keys.existing_of(batch).await?;
    // The key's number → where the row is.
    let mut there: HashMap<usize, (usize, usize)> = HashMap::new();
    for (part, existing) in existing.iter().enumerate() {
        there.extend(existing.keys.iter().enumerate().map(|(row, key)| (*key, (part, row))));
    }
    let mut fates = vec![];
    for (row, ((number, _), (_, is_new))) in numbers.iter().zip(&fresh).enumerate() {
        match (there.get(number), is_new) {
            (_, false) => {
                return Err(Error::new(
                    SqlState::CARDINALITY_VIOLATION,
                    "ON CONFLICT DO UPDATE command cannot affect row a second time",
                )
                .hint(
                    "Ensure that no rows proposed for insertion within the same command have duplicate constrained \
                     values.",
                ));
            }
            (None, true) => fates.push(Fate::Insert(row)),
            (Some((part, at)), true) => fates.push(Fate::Conflict(row, *part, *at)),
        }
    }
    let conflicts: Vec<(usize, usize, usize)> = fates
        .iter()
        .filter_map(|fate| if let Fate::Conflict(row, part, at) = *fate { Some((row, part, at)) } else { None })
        .collect();
    let (changed, is_changed) = update.rows(batch, &existing, &conflicts)?;
    let mut chosen = vec![];
    let mut conflict = 0;
    for fate in fates {
        match fate {
            Fate::Insert(row) => chosen.push((0, row)),
            Fate::Conflict(_, part, at) => {
                if is_changed[conflict] {
                    chosen.push((1, conflict));
                    let (unit, row) = existing[part].places[at];
                    let row = u64::try_from(row).map_err(|_| Error::internal("a negative row number"))?;
                    places.entry(unit).or_default().insert(row);
                }
                conflict += 1;
            }
        }
    }
    if chosen.is_empty() {
        return Ok(batch.slice(0, 0));
    }
    Ok(interleave_record_batch(&[batch, &changed], &chosen).map_err(DataFusionError::from)?)
}

impl Update {
    /// What rows become that are in conflict, and whether they are changed at all. `conflicts`: the row that was to come, and
    /// which part and row of `existing` is there.
    fn rows(
        &self,
        batch: &RecordBatch,
        existing: &[tidemill_catalog::table::unique::Existing],
        conflicts: &[(usize, usize, usize)],
    ) -> Result<(RecordBatch, Vec<bool>)> {
        if conflicts.is_empty() {
            return Ok((batch.slice(0, 0), vec![]));
        }
        let parts: Vec<&RecordBatch> = existing.iter().map(|existing| &existing.rows).collect();
        let old: Vec<(usize, usize)> = conflicts.iter().map(|(_, part, at)| (*part, *at)).collect();
        let old = interleave_record_batch(&parts, &old).map_err(DataFusionError::from)?;
        let new = UInt32Array::from_iter_values(conflicts.iter().map(|(row, _, _)| *row as u32));
        let new = take_record_batch(batch, &new).map_err(DataFusionError::from)?;
        let fields: Vec<Field> =
            old.schema().fields().iter().chain(new.schema().fields()).map(|field| field.as_ref().clone()).collect();
        let fields: Vec<Field> = fields.into_iter().map(|field| field.with_nullable(true)).collect();
        let columns = old.columns().iter().chain(new.columns()).map(Arc::clone).collect();
        let both = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(DataFusionError::from)?;
        let is_changed = match &self.condition {
            None => vec![true; both.num_rows()],
            Some(condition) => {
                let value = condition.evaluate(&both)?.into_array(both.num_rows())?;
                let value = value.as_boolean();
                (0..value.len()).map(|row| value.is_valid(row) && value.value(row)).collect()
            }
        };
        // An expression may fail on a row that is not to be changed.
        let chosen = UInt32Array::from_iter_values((0..).zip(&is_changed).filter(|(_, is)| **is).map(|(row, _)| row));
        let some = take_record_batch(&both, &chosen).map_err(DataFusionError::from)?;
        let mut columns = some.columns()[..batch.num_columns()].to_vec();
        for (place, expression) in &self.assigned {
            columns[*place] = expression.evaluate(&some)?.into_array(some.num_rows())?;
        }
        let some = RecordBatch::try_new(batch.schema(), columns).map_err(DataFusionError::from)?;
        // Back to one row for each conflict: of those that stay any will do.
        let mut next = 0;
        let spread = is_changed.iter().map(|is| {
            let at = next;
            next += u32::from(*is);
            is.then_some(at)
        });
        let spread = UInt32Array::from_iter(spread);
        Ok((take_record_batch(&some, &spread).map_err(DataFusionError::from)?, is_changed))
    }
}
