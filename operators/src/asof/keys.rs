//! Keys as small integers, the same ones on both sides.
//!
//! ```text
//! (EUR, 1) -> 0    (USD, 1) -> 1    (EUR, 2) -> 2    (EUR, NULL) -> NO_KEY
//! ```

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion_common::Result;
use datafusion_physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion_physical_plan::aggregates::order::GroupOrdering;

/// The key of a row that matches nothing: beyond every table of keys.
pub(super) const NO_KEY: usize = usize::MAX;

/// The keys seen so far.
pub(super) struct Keys {
    /// None without key columns: all rows have the same key.
    groups: Option<Box<dyn GroupValues>>,
}

impl Keys {
    pub(super) fn new(types: &[DataType]) -> Result<Self> {
        let field = |(at, data_type): (usize, &DataType)| Field::new(at.to_string(), data_type.clone(), true);
        let fields: Vec<Field> = types.iter().enumerate().map(field).collect();
        let groups = match fields.is_empty() {
            true => None,
            false => Some(new_group_values(Arc::new(Schema::new(fields)), &GroupOrdering::None)?),
        };
        Ok(Self { groups })
    }

    /// One more than the greatest number.
    pub(super) fn len(&self) -> usize {
        self.groups.as_ref().map_or(1, |groups| groups.len())
    }

    /// Memory held by the keys.
    pub(super) fn bytes(&self) -> usize {
        self.groups.as_ref().map_or(0, |groups| groups.size())
    }

    /// Numbers the keys of a batch. Rows that are not valid get `NO_KEY`.
    pub(super) fn intern(
        &mut self,
        columns: &[ArrayRef],
        rows: usize,
        valid: Option<&NullBuffer>,
        numbers: &mut Vec<usize>,
    ) -> Result<()> {
        match &mut self.groups {
            Some(groups) => groups.intern(columns, numbers)?,
            None => {
                numbers.clear();
                numbers.resize(rows, 0);
            }
        }
        if let Some(valid) = valid.filter(|valid| valid.null_count() > 0) {
            for (number, valid) in numbers.iter_mut().zip(valid) {
                if !valid {
                    *number = NO_KEY;
                }
            }
        }
        Ok(())
    }
}
