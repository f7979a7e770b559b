//! The input batches that rows are still to be taken from: usually one, more while a column looks ahead for its next value.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::types::{Date32Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::array::{Array, ArrayRef, AsArray, make_array};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::compute::{concat, partition};
use arrow::datatypes::{DataType, TimeUnit};
use arrow::record_batch::RecordBatch;
use datafusion_common::{Result, exec_err, internal_err};
use datafusion_execution::memory_pool::MemoryReservation;
use datafusion_physical_plan::spill::get_record_batch_memory_size;

use super::assemble::one_row;

/// A row: the index of its batch in the window, and its own in that.
pub(crate) type Place = (usize, usize);

/// A batch, and what is asked of it row by row.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) batch: RecordBatch,
    pub(crate) times: ScalarBuffer<i64>,
    /// Where runs of rows of one series end, in order; never empty.
    pub(crate) ends: Vec<usize>,
    /// Whether the first row is of the last series of the batch before.
    pub(crate) continues: bool,
    /// NULLs of the columns that are filled with values of other rows.
    pub(crate) nulls: Vec<Option<NullBuffer>>,
    reserved: usize,
}

impl Held {
    pub(crate) fn rows(&self) -> usize {
        self.batch.num_rows()
    }

    pub(crate) fn is_valid(&self, column: usize, row: usize) -> bool {
        self.nulls[column].as_ref().is_none_or(|nulls| nulls.is_valid(row))
    }
}

#[derive(Debug)]
pub(crate) struct Window {
    time: usize,
    series: Vec<usize>,
    /// Whether a column's NULLs matter.
    looked_at: Vec<bool>,
    held: VecDeque<Held>,
    /// The series of the last row of all, to compare the next batch's first with.
    last: Option<Vec<ArrayRef>>,
    reservation: MemoryReservation,
}

impl Window {
    pub(crate) fn new(time: usize, series: Vec<usize>, looked_at: Vec<bool>, reservation: MemoryReservation) -> Self {
        Self { time, series, looked_at, held: VecDeque::new(), last: None, reservation }
    }

    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    pub(crate) fn get(&self, batch: usize) -> Option<&Held> {
        self.held.get(batch)
    }

    /// A column's arrays in the first `batches`.
    pub(crate) fn arrays(&self, column: usize, batches: usize) -> Vec<ArrayRef> {
        self.held.iter().take(batches).map(|held| Arc::clone(held.batch.column(column))).collect()
    }

    /// Appends a batch that is not empty. One that is read `ahead` of the row to be given counts against the memory limit.
    pub(crate) fn push(&mut self, batch: RecordBatch, ahead: bool) -> Result<()> {
        let times = times(batch.column(self.time))?;
        let keys: Vec<ArrayRef> = self.series.iter().map(|&column| Arc::clone(batch.column(column))).collect();
        let rows = batch.num_rows();
        let ends = match keys.as_slice() {
            [] => vec![rows],
            keys => partition(keys)?.ranges().into_iter().map(|range| range.end).collect(),
        };
        let continues = self.last.as_ref().map_or(Ok(false), |last| is_same(last, &keys))?;
        let nulls = batch.columns().iter().zip(&self.looked_at);
        let nulls =
            nulls.map(
                |(column, &looked_at)| {
                    if looked_at { column.logical_nulls().filter(|nulls| nulls.null_count() > 0) } else { None }
                },
            );
        let nulls = nulls.collect();
        let reserved = if ahead { get_record_batch_memory_size(&batch) } else { 0 };
        self.reservation.try_grow(reserved)?;
        self.last = Some(keys.iter().map(|key| one_row(key, rows - 1)).collect::<Result<_>>()?);
        self.held.push_back(Held { batch, times, ends, continues, nulls, reserved });
        Ok(())
    }

    /// Forgets the first `batches`.
    pub(crate) fn release(&mut self, batches: usize) {
        let freed: usize = self.held.drain(..batches).map(|held| held.reserved).sum();
        self.reservation.shrink(freed);
    }
}

fn is_same(last: &[ArrayRef], keys: &[ArrayRef]) -> Result<bool> {
    for (last, key) in last.iter().zip(keys) {
        let both = concat(&[last.as_ref(), key.slice(0, 1).as_ref()])?;
        if partition(&[both])?.len() > 1 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether buckets of this type can be filled.
pub(crate) fn is_time(data_type: &DataType) -> bool {
    use DataType::{Date32, Int16, Int32, Int64, Timestamp};
    matches!(data_type, Int16 | Int32 | Int64 | Date32 | Timestamp(TimeUnit::Microsecond, _))
}

/// The least and the greatest time of a type.
pub(crate) fn time_bounds(data_type: &DataType) -> (i64, i64) {
    match data_type {
        DataType::Int16 => (i16::MIN.into(), i16::MAX.into()),
        DataType::Int32 | DataType::Date32 => (i32::MIN.into(), i32::MAX.into()),
        _ => (i64::MIN, i64::MAX),
    }
}

/// The values of a column of time.
pub(crate) fn times(array: &ArrayRef) -> Result<ScalarBuffer<i64>> {
    if array.null_count() > 0 {
        return exec_err!("invalid time_bucket_gapfill argument: ts cannot be NULL");
    }
    Ok(match array.data_type() {
        DataType::Int64 => array.as_primitive::<Int64Type>().values().clone(),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            array.as_primitive::<TimestampMicrosecondType>().values().clone()
        }
        DataType::Int16 => array.as_primitive::<Int16Type>().values().iter().map(|&time| time.into()).collect(),
        DataType::Int32 => array.as_primitive::<Int32Type>().values().iter().map(|&time| time.into()).collect(),
        DataType::Date32 => array.as_primitive::<Date32Type>().values().iter().map(|&time| time.into()).collect(),
        other => return internal_err!("{other} is not a type of time"),
    })
}

/// As [`times`], with whatever stands where it is NULL.
pub(crate) fn times_or_any(array: &ArrayRef) -> Result<ScalarBuffer<i64>> {
    let data = array.to_data().into_builder().nulls(None).null_count(0).build()?;
    times(&make_array(data))
}

/// One value of a column of time that is not NULL.
pub(crate) fn time(array: &dyn Array, row: usize) -> Result<i64> {
    Ok(match array.data_type() {
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row),
        DataType::Timestamp(TimeUnit::Microsecond, _) => array.as_primitive::<TimestampMicrosecondType>().value(row),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::Date32 => array.as_primitive::<Date32Type>().value(row).into(),
        other => return internal_err!("{other} is not a type of time"),
    })
}
