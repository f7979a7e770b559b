//! What is known of the output: its schema, and which orders and partitionings of the input survive. As when gaps are filled,
//! only in another arrangement of the columns.
//!
//! ```text
//!  input    ts  room  device  v          resampled by device    device  ts  v  filled
//! ```

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_common::{Result, plan_err};
use datafusion_physical_expr::equivalence::ProjectionMapping;
use datafusion_physical_expr::{EquivalenceProperties, Partitioning};
use datafusion_physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use super::Resample;
use crate::gapfill::{Fill, filled_schema, properties};

/// The columns of the output: those of the series, the time, the values, and whether one of them was not measured.
///
/// # Errors
/// A plan error if a column is not one of the input or occurs twice.
pub fn resampled_schema(input: &Schema, resample: &Resample) -> Result<SchemaRef> {
    let columns = columns(resample);
    for (at, &index) in columns.iter().enumerate() {
        if index >= input.fields().len() {
            return plan_err!("there is no column {index} to be resampled");
        }
        if columns[..at].contains(&index) {
            return plan_err!("column \"{}\" has two roles when resampled", input.field(index).name());
        }
    }
    let series = resample.series.iter().map(|&index| Arc::clone(&input.fields()[index]));
    let with_nulls = |index: usize, nullable: bool| Arc::new(input.field(index).clone().with_nullable(nullable));
    let values = resample.values.iter().map(|&(index, _)| with_nulls(index, true));
    let mut fields: Vec<Arc<Field>> = series.chain([with_nulls(resample.time, false)]).chain(values).collect();
    if fields.iter().any(|field| *field.name() == resample.filled) {
        return plan_err!("column name \"{}\" is already used", resample.filled);
    }
    fields.push(Arc::new(Field::new(&resample.filled, DataType::Boolean, false)));
    Ok(Arc::new(Schema::new_with_metadata(fields, input.metadata().clone())))
}

/// The columns of the input in the order of the output.
fn columns(resample: &Resample) -> Vec<usize> {
    let values = resample.values.iter().map(|(index, _)| *index);
    resample.series.iter().copied().chain([resample.time]).chain(values).collect()
}

/// What holds for the output, of what holds for the input.
pub(super) fn survivors(
    input: &Arc<dyn ExecutionPlan>,
    schema: &SchemaRef,
    resample: &Resample,
) -> Result<(EquivalenceProperties, Partitioning)> {
    let Resample { time, series, .. } = resample;
    let mut fills = vec![Fill::Null; input.schema().fields().len()];
    fills[*time] = Fill::Time;
    series.iter().for_each(|&index| fills[index] = Fill::Series);
    let filled = filled_schema(&input.schema(), series, &fills)?;
    let equivalences = properties::equivalences(&filled, input.equivalence_properties(), *time, series, &fills)?;
    let partitioning = properties::partitioning(input.output_partitioning(), &fills);
    let mapping = ProjectionMapping::from_indices(&columns(resample), &filled)?;
    let partitioning = partitioning.project(&mapping, &equivalences);
    Ok((equivalences.project(&mapping, Arc::clone(schema)), partitioning))
}
