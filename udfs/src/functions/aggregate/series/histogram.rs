//! `histogram(value, min, max, nbuckets)`: how many values are below min, in each bucket of equal width, and from max
//! on.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, ListArray, NullBufferBuilder};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Float64Type, Int32Type};
use datafusion_common::{Result, exec_err};

use super::super::super::call::{Value, fail};
use super::super::super::math::float::bucket;
use super::groups::{About, Group, Series, as_float};
use crate::types::SqlType;

/// More than anybody can look at, and less than makes a group's memory a danger: 4 MiB.
const BUCKETS_MAX: i32 = 1 << 20;

/// The function.
pub(crate) fn function() -> Series {
    let about = About {
        name: "histogram",
        signatures: &["histogram(float8, float8, float8, int4) → int4[]"],
        description: "How many values are below min, in each of n buckets of equal width, and from max on.",
        example: "histogram(price, 0, 100, 5)",
    };
    Series::new::<Counts>(about, |types: &[DataType]| match types {
        [value, min, max, count] if as_float(count).is_some() => {
            Some(vec![as_float(value)?, as_float(min)?, as_float(max)?, DataType::Int32])
        }
        _ => None,
    })
    .returns(SqlType::Array(Arc::new(SqlType::Int4)))
    .counts_repeats()
}

/// The buckets of one group; none before the first value.
#[derive(Debug, Default)]
struct Counts(Vec<i32>);

impl Counts {
    /// Makes room for that many buckets and the two outer ones.
    fn open(&mut self, count: usize) -> Value<usize> {
        if self.0.is_empty() {
            self.0 = vec![0; count];
            return Ok(self.heap_bytes());
        }
        if self.0.len() != count {
            return fail("22023", "number of buckets must not change between calls");
        }
        Ok(0)
    }

    fn count(&mut self, bucket: usize, more: i32) -> Value<()> {
        match self.0[bucket].checked_add(more) {
            Some(count) => {
                self.0[bucket] = count;
                Ok(())
            }
            None => fail("22003", "integer out of range"),
        }
    }

    fn add(&mut self, value: f64, min: f64, max: f64, count: i32) -> Value<usize> {
        if min > max {
            return fail("22023", "lower bound cannot exceed upper bound");
        }
        if count > BUCKETS_MAX {
            return fail("22023", format!("number of buckets must not exceed {BUCKETS_MAX}"));
        }
        // Checks the rest, a number of buckets that is not positive too.
        let bucket = bucket(value, min, max, count)?;
        let index = |n: i32| usize::try_from(n).expect("buckets have numbers from 0");
        let bytes = self.open(index(count) + 2)?;
        self.count(index(bucket), 1)?;
        Ok(bytes)
    }
}

impl Group for Counts {
    fn update(
        groups: &mut [Self],
        arguments: &[ArrayRef],
        rows: impl Iterator<Item = (usize, usize)>,
    ) -> Result<usize> {
        let float = |index: usize| arguments[index].as_primitive_opt::<Float64Type>();
        let (Some(values), Some(min), Some(max), Some(counts)) =
            (float(0), float(1), float(2), arguments[3].as_primitive_opt::<Int32Type>())
        else {
            return exec_err!("histogram takes double precision and a number of buckets");
        };
        let mut bytes = 0;
        for (row, group) in rows.filter(|(row, _)| values.is_valid(*row)) {
            if min.is_null(row) || max.is_null(row) || counts.is_null(row) {
                return Ok(fail("22023", "bounds and number of buckets of a histogram must not be null")?);
            }
            bytes += groups[group].add(values.value(row), min.value(row), max.value(row), counts.value(row))?;
        }
        Ok(bytes)
    }

    fn merge(&mut self, partial: &[u8]) -> Value<()> {
        // Counts, four bytes each: no state that anybody sees.
        let (counts, _) = partial.as_chunks::<4>();
        self.open(counts.len())?;
        for (bucket, count) in counts.iter().enumerate() {
            self.count(bucket, i32::from_le_bytes(*count))?;
        }
        Ok(())
    }

    fn partial(&mut self) -> Value<Option<Vec<u8>>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.0.iter().flat_map(|count| count.to_le_bytes()).collect()))
    }

    fn results(groups: &mut [Self]) -> Result<ArrayRef> {
        let DataType::List(item) = SqlType::Array(Arc::new(SqlType::Int4)).data_type() else {
            return exec_err!("an array is a list");
        };
        let mut nulls = NullBufferBuilder::new(groups.len());
        groups.iter().for_each(|group| nulls.append(!group.0.is_empty()));
        let offsets = OffsetBuffer::from_lengths(groups.iter().map(|group| group.0.len()));
        let counts = Int32Array::from_iter_values(groups.iter().flat_map(|group| group.0.iter().copied()));
        Ok(Arc::new(ListArray::try_new(item, offsets, Arc::new(counts), nulls.finish())?))
    }

    fn heap_bytes(&self) -> usize {
        self.0.len() * size_of::<i32>()
    }
}
