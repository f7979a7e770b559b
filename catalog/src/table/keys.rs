//! Keys of rows as numbers of 128 bits, and a table of them.
//!
//! A single integer is its own number. All else is hashed twice with SipHash under keys drawn at start: that two keys of a table
//! have one number is less likely than that the memory errs, and nobody can prepare such keys.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, UInt32Type,
};
use arrow::row::{RowConverter, SortField};

use crate::{Error, Result};

/// The number of a key.
pub type Digest = u128;

static SEEDS: LazyLock<[RandomState; 2]> = LazyLock::new(|| [RandomState::new(), RandomState::new()]);

/// Makes digests of the rows' keys.
#[derive(Debug)]
pub struct Digester {
    /// None for a single integer.
    converter: Option<RowConverter>,
}

impl Digester {
    /// Of key columns of these types.
    ///
    /// # Errors
    /// `Arrow` for a type whose values cannot be compared.
    pub fn new(types: &[DataType]) -> Result<Self> {
        if let [DataType::Int16 | DataType::Int32 | DataType::Int64] = types {
            return Ok(Self { converter: None });
        }
        let fields = types.iter().map(|data_type| SortField::new(data_type.clone())).collect();
        Ok(Self { converter: Some(RowConverter::new(fields)?) })
    }

    /// The digests of all rows. Equal keys have equal ones, as `=` has it: 0.0 and -0.0, and all NaNs.
    ///
    /// # Errors
    /// `Arrow` for columns of other types.
    pub fn digest(&self, columns: &[ArrayRef]) -> Result<Vec<Digest>> {
        let Some(converter) = &self.converter else {
            return match columns[0].data_type() {
                DataType::Int16 => Ok(integers::<Int16Type>(&columns[0])),
                DataType::Int32 => Ok(integers::<Int32Type>(&columns[0])),
                _ => Ok(integers::<Int64Type>(&columns[0])),
            };
        };
        let columns: Vec<ArrayRef> = columns.iter().map(normal).collect();
        let rows = converter.convert_columns(&columns)?;
        let [low, high] = &*SEEDS;
        let digest = |row: arrow::row::Row<'_>| {
            Digest::from(low.hash_one(row.data())) | Digest::from(high.hash_one(row.data())) << 64
        };
        Ok(rows.iter().map(digest).collect())
    }
}

fn integers<T: ArrowPrimitiveType<Native: Into<i64>>>(column: &ArrayRef) -> Vec<Digest> {
    column.as_primitive::<T>().values().iter().map(|value| Digest::from(Into::<i64>::into(*value) as u64)).collect()
}

/// One form for floating-point values that are equal.
fn normal(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Float32 => {
            let values: PrimitiveArray<Float32Type> =
                column.as_primitive::<Float32Type>().unary(|value| if value.is_nan() { f32::NAN } else { value + 0.0 });
            Arc::new(values)
        }
        DataType::Float64 => {
            let values: PrimitiveArray<Float64Type> =
                column.as_primitive::<Float64Type>().unary(|value| if value.is_nan() { f64::NAN } else { value + 0.0 });
            Arc::new(values)
        }
        _ => Arc::clone(column),
    }
}

/// True for types whose values [`versions`] orders.
pub fn is_version(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::UInt32
            | DataType::Float32
            | DataType::Float64
            | DataType::Decimal128(_, _)
            | DataType::Date32
            | DataType::Time64(TimeUnit::Microsecond)
            | DataType::Timestamp(TimeUnit::Microsecond, _)
    )
}

/// Numbers in the order of the values; NULL is before all, NaN after all.
///
/// # Errors
/// `Invalid` for a type that is not [`is_version`].
pub fn versions(column: &ArrayRef) -> Result<Vec<i128>> {
    fn of<T: ArrowPrimitiveType>(column: &ArrayRef, number: impl Fn(T::Native) -> i128) -> Vec<i128> {
        let array = column.as_primitive::<T>();
        match array.nulls().filter(|nulls| nulls.null_count() > 0) {
            None => array.values().iter().map(|value| number(*value)).collect(),
            Some(_) => array.iter().map(|value| value.map_or(i128::MIN, &number)).collect(),
        }
    }
    /// The order of IEEE's total order, with one zero and one NaN.
    fn float(value: f64) -> i128 {
        let bits = if value.is_nan() { f64::NAN.to_bits() } else { (value + 0.0).to_bits() };
        let bits = bits.cast_signed();
        i128::from(bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed())
    }
    Ok(match column.data_type() {
        DataType::Int16 => of::<Int16Type>(column, i128::from),
        DataType::Int32 => of::<Int32Type>(column, i128::from),
        DataType::Int64 => of::<Int64Type>(column, i128::from),
        DataType::UInt32 => of::<UInt32Type>(column, i128::from),
        DataType::Float32 => of::<Float32Type>(column, |value| float(f64::from(value))),
        DataType::Float64 => of::<Float64Type>(column, float),
        DataType::Decimal128(_, _) => of::<Decimal128Type>(column, |value| value),
        DataType::Date32 => of::<Date32Type>(column, i128::from),
        DataType::Time64(TimeUnit::Microsecond) => of::<Time64MicrosecondType>(column, i128::from),
        DataType::Timestamp(TimeUnit::Microsecond, _) => of::<TimestampMicrosecondType>(column, i128::from),
        other => return Err(Error::Invalid(format!("{other} orders no versions"))),
    })
}

/// Digests, numbered in the order in which they come: an open hash table.
#[derive(Debug)]
pub struct DigestTable {
    /// Numbers, or `EMPTY`. At most half of them are taken, and their count is a power of two.
    slots: Vec<u32>,
    digests: Vec<Digest>,
    seeds: [u64; 2],
}

const EMPTY: u32 = u32::MAX;

impl Default for DigestTable {
    fn default() -> Self {
        let [low, high] = &*SEEDS;
        Self { slots: vec![EMPTY; 64], digests: vec![], seeds: [low.hash_one(1), high.hash_one(2)] }
    }
}

impl DigestTable {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.digests.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }

    /// All of them, by their numbers.
    pub fn digests(&self) -> &[Digest] {
        &self.digests
    }

    /// Memory it takes, bytes.
    pub fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<u32>() + self.digests.capacity() * size_of::<Digest>()
    }

    /// The number of a digest; true if it is new.
    ///
    /// # Errors
    /// `OutOfResources` beyond four billion keys.
    pub fn insert(&mut self, digest: Digest) -> Result<(usize, bool)> {
        if self.digests.len() * 2 >= self.slots.len() {
            self.grow();
        }
        let slot = self.slot(digest);
        match self.slots[slot] {
            EMPTY => {
                let number = u32::try_from(self.digests.len())
                    .ok()
                    .filter(|number| *number != EMPTY)
                    .ok_or_else(|| Error::OutOfResources("too many keys at once".to_owned()))?;
                self.slots[slot] = number;
                self.digests.push(digest);
                Ok((number as usize, true))
            }
            number => Ok((number as usize, false)),
        }
    }

    /// The number of a digest that is here.
    #[inline]
    pub fn get(&self, digest: Digest) -> Option<usize> {
        match self.slots[self.slot(digest)] {
            EMPTY => None,
            number => Some(number as usize),
        }
    }

    /// The digest's slot, or the empty one it would get.
    #[inline]
    fn slot(&self, digest: Digest) -> usize {
        // The 128 bits of a product, folded: all bits of the digest count for the low ones.
        let product = u128::from(digest as u64 ^ self.seeds[0]) * u128::from((digest >> 64) as u64 ^ self.seeds[1]);
        let mask = self.slots.len() - 1;
        let mut slot = (product as u64 ^ (product >> 64) as u64) as usize & mask;
        loop {
            let number = self.slots[slot];
            if number == EMPTY || self.digests[number as usize] == digest {
                return slot;
            }
            slot = (slot + 1) & mask;
        }
    }

    fn grow(&mut self) {
        self.slots = vec![EMPTY; self.slots.len() * 4];
        for (number, digest) in std::mem::take(&mut self.digests).into_iter().enumerate() {
            let slot = self.slot(digest);
            self.slots[slot] = number as u32;
            self.digests.push(digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, Int64Array, StringViewArray};
    use rand::Rng;

    use super::*;
    use crate::table::testing::rng;

    #[test]
    fn digests_are_equal_where_keys_are() {
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![0.0, -0.0, f64::NAN, -f64::NAN, 1.0]));
        let texts: ArrayRef = Arc::new(StringViewArray::from(vec!["a", "a", "b", "b", ""]));
        let digests = |columns: &[ArrayRef]| {
            let types: Vec<_> = columns.iter().map(|column| column.data_type().clone()).collect();
            Digester::new(&types).unwrap().digest(columns).unwrap()
        };
        let of = digests(&[Arc::clone(&floats)]);
        assert!(of[0] == of[1] && of[2] == of[3] && of[0] != of[2] && of[0] != of[4]);
        let of = digests(&[texts, floats]);
        assert!(of[0] == of[1] && of[2] == of[3] && of[0] != of[2]);
        let of = digests(&[Arc::new(Int64Array::from(vec![-1, 1, -1]))]);
        assert!(of[0] == of[2] && of[0] != of[1]);
    }

    #[test]
    fn versions_have_the_order_of_values() {
        let sorted = [f64::NEG_INFINITY, -1.5, -0.0, 1e-300, 2.0, f64::INFINITY, f64::NAN];
        let column: ArrayRef = Arc::new(Float64Array::from_iter(std::iter::once(None).chain(sorted.map(Some))));
        assert!(versions(&column).unwrap().is_sorted_by(|a, b| a < b));
        let zeros: ArrayRef = Arc::new(Float64Array::from(vec![0.0, -0.0]));
        let of = versions(&zeros).unwrap();
        assert_eq!(of[0], of[1]);
    }

    #[test]
    fn a_table_numbers_what_it_sees() {
        let mut rng = rng();
        let mut table = DigestTable::default();
        let mut naive = std::collections::HashMap::new();
        for _ in 0..20_000 {
            let digest = Digest::from(rng.random_range(0..5_000_u32)) << rng.random_range(0..100);
            let next = naive.len();
            let known = naive.contains_key(&digest);
            let number = *naive.entry(digest).or_insert(next);
            assert_eq!(table.insert(digest).unwrap(), (number, !known));
        }
        assert_eq!(table.len(), naive.len());
        assert!(naive.iter().all(|(digest, number)| table.get(*digest) == Some(*number)));
        assert_eq!(table.get(Digest::MAX), None);
    }
}
