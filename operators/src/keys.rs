//! Keys as small integers.
//!
//! ```text
//! (EUR, 1) -> 0    (USD, 1) -> 1    (EUR, 2) -> 2    (EUR, NULL) -> NO_KEY
//! ```
//! A single column of integers or of short texts, which is what most joins have, takes a table made for values of at most
//! sixteen bytes. All else takes DataFusion's tables of groups, which cost twice as much per row.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, UInt32Array};
use arrow::buffer::NullBuffer;
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Int16Type, Int32Type, Int64Type, Schema};
use datafusion_common::Result;
use datafusion_physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion_physical_plan::aggregates::order::GroupOrdering;

/// The key of a row that matches nothing: beyond every table of keys.
pub(crate) const NO_KEY: usize = usize::MAX;

/// The keys seen so far.
pub(crate) enum Keys {
    /// Without key columns all rows have the same key.
    One,
    Integers(SmallKeys),
    Texts(TextKeys),
    Any(Box<dyn GroupValues>),
}

impl Keys {
    pub(crate) fn new(types: &[DataType]) -> Result<Self> {
        Ok(match types {
            [] => Self::One,
            [DataType::Int16 | DataType::Int32 | DataType::Int64] => Self::Integers(SmallKeys::new()),
            [DataType::Utf8View] => Self::Texts(TextKeys::new()?),
            _ => Self::Any(groups(types)?),
        })
    }

    /// One more than the greatest number.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::One => 1,
            Self::Integers(keys) => keys.values.len(),
            Self::Texts(keys) => keys.short.values.len(),
            Self::Any(groups) => groups.len(),
        }
    }

    /// Memory held by the keys.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::One => 0,
            Self::Integers(keys) => keys.bytes(),
            Self::Texts(keys) => {
                keys.short.bytes() + keys.long.size() + keys.long_numbers.capacity() * size_of::<usize>()
            }
            Self::Any(groups) => groups.size(),
        }
    }

    /// Numbers the keys of a batch. Rows that are not valid get `NO_KEY`.
    pub(crate) fn intern(
        &mut self,
        columns: &[ArrayRef],
        rows: usize,
        valid: Option<&NullBuffer>,
        numbers: &mut Vec<usize>,
    ) -> Result<()> {
        numbers.clear();
        match self {
            Self::One => numbers.resize(rows, 0),
            Self::Integers(keys) => keys.intern(&columns[0], numbers),
            Self::Texts(keys) => keys.intern(&columns[0], numbers)?,
            Self::Any(groups) => groups.intern(columns, numbers)?,
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

impl Keys {
    /// As [`Self::intern`], where NULL is a key like others: its number is 0, and all others are one more.
    pub(crate) fn intern_nulls(&mut self, columns: &[ArrayRef], rows: usize, numbers: &mut Vec<usize>) -> Result<()> {
        // A single column's table takes no NULL; the others do.
        let valid = match columns {
            [column] => column.logical_nulls().filter(|nulls| nulls.null_count() > 0),
            _ => None,
        };
        self.intern(columns, rows, valid.as_ref(), numbers)?;
        for number in numbers {
            *number = if *number == NO_KEY { 0 } else { *number + 1 };
        }
        Ok(())
    }
}

fn groups(types: &[DataType]) -> Result<Box<dyn GroupValues>> {
    let field = |(at, data_type): (usize, &DataType)| Field::new(at.to_string(), data_type.clone(), true);
    let fields: Vec<Field> = types.iter().enumerate().map(field).collect();
    new_group_values(Arc::new(Schema::new(fields)), &GroupOrdering::None)
}

/// An open hash table of values of sixteen bytes.
pub(crate) struct SmallKeys {
    /// Numbers, or `EMPTY`. At most half of them are taken, and their count is a power of two.
    slots: Vec<u32>,
    /// By number.
    values: Vec<u128>,
    /// Drawn for each table, so that nobody can prepare values that collide.
    seeds: [u64; 2],
}

const EMPTY: u32 = u32::MAX;

impl SmallKeys {
    fn new() -> Self {
        let seed = || RandomState::new().hash_one(0);
        Self { slots: vec![EMPTY; 1024], values: vec![], seeds: [seed(), seed()] }
    }

    fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<u32>() + self.values.capacity() * size_of::<u128>()
    }

    fn intern(&mut self, column: &ArrayRef, numbers: &mut Vec<usize>) {
        match column.data_type() {
            DataType::Int16 => self.integers(column.as_primitive::<Int16Type>().values(), numbers),
            DataType::Int32 => self.integers(column.as_primitive::<Int32Type>().values(), numbers),
            _ => self.integers(column.as_primitive::<Int64Type>().values(), numbers),
        }
    }

    fn integers<T: Copy + Into<i64>>(&mut self, values: &[T], numbers: &mut Vec<usize>) {
        numbers.extend(values.iter().map(|value| self.number(u128::from((*value).into() as u64))));
    }

    /// Folds the 128 bits of a product, so that all bits of the value count for the low ones.
    #[inline]
    fn slot(&self, value: u128) -> usize {
        let [low, high] = [value as u64 ^ self.seeds[0], (value >> 64) as u64 ^ self.seeds[1]];
        let product = u128::from(low) * u128::from(high);
        (product as u64 ^ (product >> 64) as u64) as usize & (self.slots.len() - 1)
    }

    #[inline]
    fn number(&mut self, value: u128) -> usize {
        let mut slot = self.slot(value);
        loop {
            match self.slots[slot] {
                EMPTY => return self.add(value, slot),
                number if self.values[number as usize] == value => return number as usize,
                _ => slot = (slot + 1) & (self.slots.len() - 1),
            }
        }
    }

    #[cold]
    fn add(&mut self, value: u128, slot: usize) -> usize {
        let number = self.add_elsewhere(value);
        self.slots[slot] = number as u32;
        if self.values.len() * 2 > self.slots.len() {
            self.grow();
        }
        number
    }

    /// A number for a value that is not looked up here.
    fn add_elsewhere(&mut self, value: u128) -> usize {
        assert!(self.values.len() < EMPTY as usize, "four billion keys do not fit into memory");
        self.values.push(value);
        self.values.len() - 1
    }

    fn grow(&mut self) {
        let taken = std::mem::take(&mut self.slots);
        self.slots = vec![EMPTY; taken.len() * 4];
        for number in taken.into_iter().filter(|number| *number != EMPTY) {
            let mut slot = self.slot(self.values[number as usize]);
            while self.slots[slot] != EMPTY {
                slot = (slot + 1) & (self.slots.len() - 1);
            }
            self.slots[slot] = number;
        }
    }
}

/// Texts: short ones by the views that hold them, long ones as groups.
pub(crate) struct TextKeys {
    short: SmallKeys,
    long: Box<dyn GroupValues>,
    /// The numbers of the groups.
    long_numbers: Vec<usize>,
}

/// The longest text that is in its view.
const SHORT_BYTES: u32 = 12;

impl TextKeys {
    fn new() -> Result<Self> {
        Ok(Self { short: SmallKeys::new(), long: groups(&[DataType::Utf8View])?, long_numbers: vec![] })
    }

    fn intern(&mut self, column: &ArrayRef, numbers: &mut Vec<usize>) -> Result<()> {
        let mut long_rows: Vec<u32> = vec![];
        for (row, view) in (0..).zip(column.as_string_view().views()) {
            if *view as u32 <= SHORT_BYTES {
                numbers.push(self.short.number(*view));
            } else {
                long_rows.push(row);
                numbers.push(NO_KEY);
            }
        }
        if long_rows.is_empty() {
            return Ok(());
        }
        let rows = UInt32Array::from(long_rows);
        let mut long_groups = vec![];
        self.long.intern(&[take(column, &rows, None)?], &mut long_groups)?;
        for (row, group) in rows.values().iter().zip(long_groups) {
            if group == self.long_numbers.len() {
                self.long_numbers.push(self.short.add_elsewhere(0));
            }
            numbers[*row as usize] = self.long_numbers[group];
        }
        Ok(())
    }
}
