//! Rows that are kept after their batch was read, and found again by their place.
//!
//! ```text
//! batches   0: ........   1: ........   2: ........        gather [(0,3), (2,1), none]  -> columns of three rows
//!               ^                ^ ^                       compact                      -> 0: ... with the live rows only
//!               live             live
//! ```

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, RecordBatch, RecordBatchOptions, StringViewArray, UInt32Array,
    make_array, new_null_array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::{interleave, take};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion_common::{Result, internal_datafusion_err};

/// Where a kept row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) batch: u32,
    pub(crate) row: u32,
}

impl Place {
    /// No row: NULL in every column.
    pub(crate) const NONE: Self = Self { batch: u32::MAX, row: 0 };

    pub(crate) fn is_none(self) -> bool {
        self.batch == u32::MAX
    }
}

/// The kept rows.
#[derive(Debug)]
pub(crate) struct KeptRows {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    rows: usize,
    bytes: usize,
    /// For each batch its number among the batches of the running `gather`. In between, `UNUSED` for all.
    slots: Vec<u32>,
}

const UNUSED: u32 = u32::MAX;

impl KeptRows {
    pub(crate) fn new(schema: SchemaRef) -> Self {
        Self { schema, batches: vec![], rows: 0, bytes: 0, slots: vec![] }
    }

    /// How many rows are kept, live or not.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// What the kept rows weigh. Buffers of which only a slice is kept count with that slice.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps a batch and returns its number. Rows without columns need not be kept.
    pub(crate) fn push(&mut self, batch: RecordBatch) -> Result<u32> {
        if batch.num_columns() == 0 {
            return Ok(0);
        }
        self.rows += batch.num_rows();
        for column in batch.columns() {
            self.bytes += weigh(column)?;
        }
        self.batches.push(batch);
        self.slots.push(UNUSED);
        u32::try_from(self.batches.len() - 1).map_err(|_| internal_datafusion_err!("too many batches are kept"))
    }

    /// The rows at the places, in that order, column by column.
    pub(crate) fn gather(&mut self, places: &[Place]) -> Result<Vec<ArrayRef>> {
        if self.schema.fields().is_empty() {
            return Ok(vec![]);
        }
        let mut used: Vec<u32> = vec![];
        let mut missing = 0;
        for place in places {
            match self.slots.get_mut(place.batch as usize) {
                Some(slot) if *slot == UNUSED => {
                    *slot = used.len() as u32;
                    used.push(place.batch);
                }
                Some(_) => {}
                None => missing += 1,
            }
        }
        let columns = match used.as_slice() {
            [] => self.schema.fields().iter().map(|field| new_null_array(field.data_type(), places.len())).collect(),
            [only] => gather_from(&self.batches[*only as usize], places, missing > 0)?,
            _ => self.interleave(places, &used, missing > 0)?,
        };
        for batch in used {
            self.slots[batch as usize] = UNUSED;
        }
        Ok(columns)
    }

    fn interleave(&self, places: &[Place], used: &[u32], missing: bool) -> Result<Vec<ArrayRef>> {
        let none = (used.len(), 0);
        let index = |place: &Place| match self.slots.get(place.batch as usize) {
            Some(slot) => (*slot as usize, place.row as usize),
            None => none,
        };
        let indices: Vec<(usize, usize)> = places.iter().map(index).collect();
        let column = |(at, field): (usize, &Arc<arrow::datatypes::Field>)| {
            let null = missing.then(|| new_null_array(field.data_type(), 1));
            let batches = used.iter().map(|batch| self.batches[*batch as usize].column(at).as_ref());
            let arrays: Vec<&dyn Array> = batches.chain(null.as_deref()).collect();
            Ok(interleave(&arrays, &indices)?)
        };
        self.schema.fields().iter().enumerate().map(column).collect()
    }

    /// Forgets all rows but those at the `live` places, which are rewritten, and those of the batches from number `from` on.
    /// Two live places may be the same.
    pub(crate) fn compact<'a>(&mut self, from: u32, live: impl Iterator<Item = &'a mut Place>) -> Result<()> {
        if self.schema.fields().is_empty() {
            return Ok(());
        }
        let mut old = vec![];
        for place in live.filter(|place| !place.is_none()) {
            if place.batch >= from {
                place.batch = place.batch - from + 1;
            } else {
                old.push(*place);
                *place = Place { batch: 0, row: (old.len() - 1) as u32 };
            }
        }
        let columns = self.gather(&old)?.iter().map(shrink).collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(old.len()));
        let compacted = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        let rest = self.batches.split_off(self.batches.len().min(from as usize));
        *self = Self::new(Arc::clone(&self.schema));
        self.push(compacted)?;
        rest.into_iter().try_for_each(|batch| self.push(batch).map(drop))
    }
}

fn gather_from(batch: &RecordBatch, places: &[Place], missing: bool) -> Result<Vec<ArrayRef>> {
    let rows: Vec<u32> = places.iter().map(|place| place.row).collect();
    let nulls = missing.then(|| NullBuffer::from_iter(places.iter().map(|place| !place.is_none())));
    let rows = UInt32Array::new(rows.into(), nulls);
    batch.columns().iter().map(|column| Ok(take(column, &rows, None)?)).collect()
}

/// Views keep all the text alive that they were cut from: a few rows must not hold many batches.
fn shrink(array: &ArrayRef) -> Result<ArrayRef> {
    Ok(match array.data_type() {
        DataType::Utf8View => Arc::new(array.as_string_view().gc()),
        DataType::BinaryView => Arc::new(array.as_binary_view().gc()),
        data_type if data_type.is_nested() => {
            let data = array.to_data();
            let children = data.child_data().iter().map(|child| Ok(shrink(&make_array(child.clone()))?.to_data()));
            let children = children.collect::<Result<Vec<_>>>()?;
            make_array(data.into_builder().child_data(children).build()?)
        }
        _ => Arc::clone(array),
    })
}

/// The bytes of an array, without what its slice does not show.
fn weigh(array: &ArrayRef) -> Result<usize> {
    let text = match array.data_type() {
        DataType::Utf8View => array.as_any().downcast_ref().map_or(0, StringViewArray::total_buffer_bytes_used),
        DataType::BinaryView => array.as_any().downcast_ref().map_or(0, BinaryViewArray::total_buffer_bytes_used),
        _ => 0,
    };
    Ok(text + array.to_data().get_slice_memory_size()?)
}
