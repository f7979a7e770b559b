//! One column of the output batch being built.

use std::sync::Arc;

use arrow::array::types::{Date32Type, Int16Type, Int32Type};
use arrow::array::{ArrayRef, Int64Array, PrimitiveArray, TimestampMicrosecondArray, new_null_array};
use arrow::datatypes::{ArrowPrimitiveType, DataType, TimeUnit};
use arrow::record_batch::RecordBatch;
use datafusion_common::{Result, ScalarValue, exec_datafusion_err, internal_err};
use datafusion_physical_expr::PhysicalExpr;

use super::Fill;
use super::assemble::Pieces;
use super::interpolate::Interpolate;
use super::repeat::Repeat;
use super::window::{Held, Place};

#[derive(Debug)]
pub(super) struct Column {
    index: usize,
    data_type: DataType,
    pieces: Pieces,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Time,
    Null,
    Value(ScalarValue),
    Row(Arc<dyn PhysicalExpr>),
    Repeat(Repeat),
    Interpolate(Box<Interpolate>),
}

impl Column {
    pub(super) fn new(index: usize, data_type: &DataType, fill: &Fill) -> Result<Self> {
        let kind = match fill {
            Fill::Time => Kind::Time,
            Fill::Null => Kind::Null,
            Fill::Value(value) => Kind::Value(constant(value)?),
            Fill::Row(expression) => Kind::Row(Arc::clone(expression)),
            Fill::Series => Kind::Repeat(Repeat::series()),
            Fill::Locf { treat_null_as_missing, prev } => {
                Kind::Repeat(Repeat::locf(*treat_null_as_missing, prev.clone()))
            }
            Fill::Interpolate { treat_null_as_missing, prev, next, at } => Kind::Interpolate(Box::new(
                Interpolate::new(data_type.clone(), *treat_null_as_missing, prev.clone(), next.clone(), *at),
            )),
        };
        Ok(Self { index, data_type: data_type.clone(), pieces: Pieces::default(), kind })
    }

    pub(super) fn begin_series(&mut self) {
        match &mut self.kind {
            Kind::Repeat(repeat) => repeat.begin_series(),
            Kind::Interpolate(interpolate) => interpolate.begin_series(),
            Kind::Time | Kind::Null | Kind::Value(_) | Kind::Row(_) => {}
        }
    }

    /// Takes over `len` present rows from `at` on, `inside` the range or not.
    pub(super) fn rows(&mut self, held: &Held, at: Place, len: usize, inside: bool) -> Result<()> {
        match &mut self.kind {
            Kind::Repeat(repeat) => repeat.rows(&mut self.pieces, held, self.index, at, len, inside),
            Kind::Interpolate(line) => line.rows(&mut self.pieces, held, self.index, at, len, inside)?,
            Kind::Time | Kind::Null | Kind::Value(_) | Kind::Row(_) => self.pieces.rows(at.0, at.1, len),
        }
        Ok(())
    }

    /// Makes rows for buckets with these starts, before the row `next` of the same series if there is one.
    pub(super) fn gap(&mut self, times: &[i64], next: Option<Place>) -> Result<()> {
        match &mut self.kind {
            Kind::Repeat(repeat) => repeat.gap(&mut self.pieces, times.len(), next, &self.data_type),
            Kind::Interpolate(line) => line.gap(&mut self.pieces, times)?,
            Kind::Time | Kind::Null | Kind::Value(_) | Kind::Row(_) => self.pieces.made(times.len()),
        }
        Ok(())
    }

    /// The column of the output batch; `times` are the starts of the buckets it makes. Expressions over the row are NULL
    /// still. The first `released` batches will not be seen again.
    pub(super) fn finish(&mut self, batches: &[ArrayRef], times: &[i64], released: usize) -> Result<ArrayRef> {
        let (pieces, data_type) = (&self.pieces, &self.data_type);
        let made = pieces.made_rows();
        let array = match &mut self.kind {
            Kind::Time => pieces.assemble(batches, || time_array(times, data_type))?,
            Kind::Null | Kind::Row(_) => pieces.assemble(batches, || Ok(new_null_array(data_type, made)))?,
            Kind::Value(value) => pieces.assemble(batches, || value.to_array_of_size(made))?,
            Kind::Repeat(repeat) => {
                let array = pieces.assemble(batches, || repeat.finish(batches))?;
                repeat.release(batches, released)?;
                array
            }
            Kind::Interpolate(line) => {
                let array = pieces.assemble(batches, || line.finish())?;
                line.release(released);
                array
            }
        };
        if !matches!(self.kind, Kind::Row(_)) {
            self.pieces.clear();
        }
        Ok(array)
    }

    /// The column of an expression over the rows, given those with NULL in its place.
    pub(super) fn evaluate(&mut self, batches: &[ArrayRef], rows: &RecordBatch) -> Result<Option<ArrayRef>> {
        let Kind::Row(expression) = &self.kind else { return Ok(None) };
        let array = self.pieces.assemble(batches, || {
            let made = arrow::compute::take_record_batch(rows, &self.pieces.made_places())?;
            expression.evaluate(&made)?.into_array(made.num_rows())
        })?;
        self.pieces.clear();
        Ok(Some(array))
    }
}

/// The value of an expression without columns.
pub(super) fn constant(expression: &Arc<dyn PhysicalExpr>) -> Result<ScalarValue> {
    let nothing = RecordBatch::new_empty(Arc::new(arrow::datatypes::Schema::empty()));
    let options = arrow::record_batch::RecordBatchOptions::new().with_row_count(Some(1));
    let one_row = RecordBatch::try_new_with_options(nothing.schema(), vec![], &options)?;
    ScalarValue::try_from_array(&expression.evaluate(&one_row)?.into_array(1)?, 0)
}

pub(crate) fn time_array(times: &[i64], data_type: &DataType) -> Result<ArrayRef> {
    Ok(match data_type {
        DataType::Int64 => Arc::new(Int64Array::from(times.to_vec())),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            Arc::new(TimestampMicrosecondArray::from(times.to_vec()).with_timezone_opt(zone.clone()))
        }
        DataType::Int16 => narrow::<Int16Type>(times)?,
        DataType::Int32 => narrow::<Int32Type>(times)?,
        DataType::Date32 => narrow::<Date32Type>(times)?,
        other => return internal_err!("{other} is not a type of time"),
    })
}

fn narrow<T: ArrowPrimitiveType<Native: TryFrom<i64>>>(times: &[i64]) -> Result<ArrayRef> {
    let times: Option<Vec<T::Native>> = times.iter().map(|&time| T::Native::try_from(time).ok()).collect();
    // The range was cut to the type's.
    let times = times.ok_or_else(|| exec_datafusion_err!("bucket out of range"))?;
    Ok(Arc::new(PrimitiveArray::<T>::new(times.into(), None)))
}
