//! The first row of each group in an order: what `DISTINCT ON` asks for. One pass over the keys finds the winning rows of a
//! batch; only those are copied, so wide rows cost no more than narrow ones.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, StructArray, UInt32Array, new_null_array,
};
use arrow::compute::{SortOptions, interleave, take};
use arrow::datatypes::{
    DataType, Date32Type, Field, FieldRef, Fields, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow::row::{RowConverter, SortField};
use datafusion_common::{Result, ScalarValue, internal_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::{Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility};

/// Stored rows that no group shows any more are dropped when there are so many times as many rows as groups.
const STORED_PER_GROUP: usize = 4;
/// Nor are fewer than these worth it.
const STORED_MIN: usize = 65_536;

/// `first_row(values…, keys…)`: a struct `{c0, c1, …}` of the values of the row whose keys come first.
#[derive(Debug, Clone)]
pub struct FirstRow {
    values: usize,
    order: Vec<SortOptions>,
    signature: Signature,
}

impl FirstRow {
    /// Of `values` values, followed by one key for each of `order`. Without keys any row is the first.
    pub fn new(values: usize, order: Vec<SortOptions>) -> Self {
        Self { values, order, signature: Signature::variadic_any(Volatility::Immutable) }
    }

    /// Which argument decides first, and how.
    pub(super) fn first_key(&self) -> Option<(usize, SortOptions)> {
        self.order.first().map(|options| (self.values, *options))
    }

    /// How many values a row has.
    pub fn values(&self) -> usize {
        self.values
    }

    /// The same of fewer values.
    pub fn of(&self, values: usize) -> Self {
        Self::new(values, self.order.clone())
    }

    fn groups(&self, types: &[DataType]) -> Result<FirstRows> {
        FirstRows::new(types, self.values, &self.order)
    }
}

impl PartialEq for FirstRow {
    fn eq(&self, other: &Self) -> bool {
        self.values == other.values && self.order == other.order
    }
}

impl Eq for FirstRow {}

impl Hash for FirstRow {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.values.hash(state);
        for options in &self.order {
            (options.descending, options.nulls_first).hash(state);
        }
    }
}

fn fields_of(types: &[DataType]) -> Fields {
    types.iter().enumerate().map(|(at, data_type)| Field::new(format!("c{at}"), data_type.clone(), true)).collect()
}

/// True for keys that are whole numbers inside.
fn is_whole(data_type: &DataType) -> bool {
    use arrow::datatypes::TimeUnit::Microsecond;
    matches!(
        data_type,
        DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::Date32 | DataType::Timestamp(Microsecond, _)
    )
}

impl AggregateUDFImpl for FirstRow {
    fn name(&self) -> &str {
        "first_row"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types.get(..self.values) {
            Some(values) => Ok(DataType::Struct(fields_of(values))),
            None => internal_err!("first_row has fewer arguments than values"),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(One(self.groups(&types_of(args.expr_fields))?)))
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(self.groups(&types_of(args.expr_fields))?))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field = |name: String, data_type: &DataType| Arc::new(Field::new(name, data_type.clone(), true));
        let arguments = args.input_fields.iter().enumerate();
        let mut fields: Vec<FieldRef> =
            arguments.map(|(at, argument)| field(format!("{}[{at}]", args.name), argument.data_type())).collect();
        fields.push(field(format!("{}[is set]", args.name), &DataType::Boolean));
        Ok(fields)
    }
}

fn types_of(fields: &[FieldRef]) -> Vec<DataType> {
    fields.iter().map(|field| field.data_type().clone()).collect()
}

/// The best keys so far, by group.
enum Best {
    Any,
    /// One key of whole numbers, turned so that the smallest is the first.
    Whole(SortOptions, Vec<i128>),
    Rows(Box<RowConverter>, Vec<Box<[u8]>>),
}

/// Where a group's row is: which of the stored batches, which row in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    batch: u32,
    row: u32,
}

/// No row yet.
const NOWHERE: Place = Place { batch: u32::MAX, row: u32::MAX };

/// The state of all groups.
pub(super) struct FirstRows {
    values: Fields,
    /// Of all arguments: values, then keys.
    types: Vec<DataType>,
    best: Best,
    places: Vec<Place>,
    /// Winning rows, all arguments; some have been beaten since.
    stored: Vec<Vec<ArrayRef>>,
    rows: usize,
}

impl FirstRows {
    /// Of arguments of these types: `values` values, then a key for each of `order`.
    pub(super) fn new(types: &[DataType], values: usize, order: &[SortOptions]) -> Result<Self> {
        let Some((values, keys)) = types.split_at_checked(values) else {
            return internal_err!("first_row has fewer arguments than values");
        };
        let best = match (keys, order) {
            ([], _) => Best::Any,
            ([key], [options]) if is_whole(key) => Best::Whole(*options, vec![]),
            _ => {
                let fields = keys.iter().zip(order);
                let fields = fields.map(|(key, options)| SortField::new_with_options(key.clone(), *options)).collect();
                Best::Rows(Box::new(RowConverter::new(fields)?), vec![])
            }
        };
        Ok(Self { values: fields_of(values), types: types.to_vec(), best, places: vec![], stored: vec![], rows: 0 })
    }

    /// Adds the rows that count; of equal keys the row that came first stays.
    pub(super) fn add(
        &mut self,
        arguments: &[ArrayRef],
        groups: &[usize],
        counts: impl Fn(usize) -> bool,
        total: usize,
    ) -> Result<()> {
        self.places.resize(total, NOWHERE);
        let winners = self.winners(arguments, groups, counts, total)?;
        if winners.is_empty() {
            return Ok(());
        }
        let batch = u32::try_from(self.stored.len()).unwrap_or(u32::MAX);
        let taken: UInt32Array = winners.iter().map(|(_, row)| *row).collect();
        for (row, (group, _)) in (0..).zip(&winners) {
            self.places[*group] = Place { batch, row };
        }
        self.rows += winners.len();
        self.stored.push(arguments.iter().map(|array| take(array, &taken, None)).collect::<Result<_, _>>()?);
        if self.rows > STORED_MIN.max(STORED_PER_GROUP * total) {
            self.compact()?;
        }
        Ok(())
    }

    /// The groups whose first row is in this batch, and which row it is.
    fn winners(
        &mut self,
        arguments: &[ArrayRef],
        groups: &[usize],
        counts: impl Fn(usize) -> bool,
        total: usize,
    ) -> Result<Vec<(usize, u32)>> {
        // The winner of each group in this batch, and the groups that have one.
        let mut winner = vec![u32::MAX; total];
        let mut touched = vec![];
        let mut won = |group: usize, row: u32| {
            if winner[group] == u32::MAX {
                touched.push(group);
            }
            winner[group] = row;
        };
        let keys = &arguments[self.values.len()..];
        let rows = (0_u32..).zip(groups).filter(|(row, _)| counts(*row as usize));
        match &mut self.best {
            Best::Any => {
                for (row, &group) in rows {
                    if self.places[group] == NOWHERE {
                        self.places[group] = Place { batch: 0, row: 0 };
                        won(group, row);
                    }
                }
            }
            Best::Whole(options, best) => {
                best.resize(total, i128::MAX);
                let keys = whole_keys(&keys[0], *options)?;
                for (row, &group) in rows {
                    let key = keys[row as usize];
                    // A key that is last of all still makes a row where there is none.
                    if key < best[group] || (self.places[group] == NOWHERE && best[group] == i128::MAX) {
                        best[group] = key;
                        won(group, row);
                    }
                }
            }
            Best::Rows(converter, best) => {
                best.resize_with(total, Box::default);
                let keys = converter.convert_columns(keys)?;
                for (row, &group) in rows {
                    let key = keys.row(row as usize);
                    if best[group].is_empty() || key.data().cmp(&best[group]) == Ordering::Less {
                        best[group] = key.data().into();
                        won(group, row);
                    }
                }
            }
        }
        Ok(touched.into_iter().map(|group| (group, winner[group])).collect())
    }

    /// The rows at these places; NULLs where there is none.
    fn rows_at(&self, places: &[Place]) -> Result<Vec<ArrayRef>> {
        let nowhere = self.stored.len();
        let indices: Vec<(usize, usize)> = places
            .iter()
            .map(|place| if *place == NOWHERE { (nowhere, 0) } else { (place.batch as usize, place.row as usize) })
            .collect();
        let column = |(at, data_type): (usize, &DataType)| {
            let null = new_null_array(data_type, 1);
            let arrays: Vec<&dyn Array> =
                self.stored.iter().map(|batch| batch[at].as_ref()).chain([null.as_ref()]).collect();
            Ok(interleave(&arrays, &indices)?)
        };
        self.types.iter().enumerate().map(column).collect()
    }

    /// Drops the rows that no group shows any more.
    pub(super) fn compact(&mut self) -> Result<()> {
        if self.stored.len() == 1 && self.rows == self.places.len() {
            return Ok(());
        }
        let stored = self.rows_at(&self.places)?;
        self.rows = self.places.len();
        self.stored = vec![stored];
        for (row, place) in (0..).zip(&mut self.places) {
            if *place != NOWHERE {
                *place = Place { batch: 0, row };
            }
        }
        Ok(())
    }

    /// The rows of all groups, and which of them have one.
    pub(super) fn show(&self) -> Result<(Vec<ArrayRef>, BooleanArray)> {
        // Without any row yet there is still one group.
        let places = if self.places.is_empty() { &[NOWHERE] } else { self.places.as_slice() };
        Ok((self.rows_at(places)?, is_set(places)))
    }

    /// Gives up groups: their rows, and which of them have one.
    pub(super) fn emit(&mut self, emit_to: EmitTo) -> Result<(Vec<ArrayRef>, BooleanArray)> {
        let places = emit_to.take_needed(&mut self.places);
        match &mut self.best {
            Best::Any => {}
            Best::Whole(_, best) => drop(emit_to.take_needed(best)),
            Best::Rows(_, best) => drop(emit_to.take_needed(best)),
        }
        let rows = self.rows_at(&places)?;
        if self.places.is_empty() {
            self.stored.clear();
            self.rows = 0;
        }
        Ok((rows, is_set(&places)))
    }
}

fn is_set(places: &[Place]) -> BooleanArray {
    places.iter().map(|place| Some(*place != NOWHERE)).collect()
}

/// Whole numbers, turned so that the smallest is the first in the order.
fn whole_keys(array: &ArrayRef, options: SortOptions) -> Result<Vec<i128>> {
    fn turned<T: ArrowPrimitiveType>(array: &ArrayRef, options: SortOptions) -> Vec<i128>
    where
        T::Native: Into<i128>,
    {
        let array = array.as_primitive::<T>();
        let turn = |value: T::Native| if options.descending { -value.into() } else { value.into() };
        if array.null_count() == 0 {
            return array.values().iter().map(|value| turn(*value)).collect();
        }
        let null = if options.nulls_first { i128::MIN } else { i128::MAX };
        array.iter().map(|value| value.map_or(null, turn)).collect()
    }
    Ok(match array.data_type() {
        DataType::Int16 => turned::<Int16Type>(array, options),
        DataType::Int32 => turned::<Int32Type>(array, options),
        DataType::Int64 => turned::<Int64Type>(array, options),
        DataType::Date32 => turned::<Date32Type>(array, options),
        DataType::Timestamp(..) => turned::<TimestampMicrosecondType>(array, options),
        other => return internal_err!("{other} is no whole number"),
    })
}

impl GroupsAccumulator for FirstRows {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        match opt_filter {
            None => self.add(values, group_indices, |_| true, total_num_groups),
            Some(filter) => {
                let counts = |row: usize| filter.is_valid(row) && filter.value(row);
                self.add(values, group_indices, counts, total_num_groups)
            }
        }
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let (mut rows, _) = self.emit(emit_to)?;
        let length = rows.first().map_or(0, |array| array.len());
        rows.truncate(self.values.len());
        Ok(Arc::new(StructArray::try_new_with_length(self.values.clone(), rows, None, length)?))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let (mut rows, is_set) = self.emit(emit_to)?;
        rows.push(Arc::new(is_set));
        Ok(rows)
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        let Some((is_set, arguments)) = values.split_last() else { return internal_err!("first_row without a state") };
        let is_set = is_set.as_boolean();
        self.add(arguments, group_indices, |row| is_set.value(row), total_num_groups)
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let rows = values.first().map_or(0, |array| array.len());
        let is_set = |row| Some(opt_filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row)));
        let is_set: BooleanArray = (0..rows).map(is_set).collect();
        Ok(values.iter().map(Arc::clone).chain([Arc::new(is_set) as ArrayRef]).collect())
    }

    fn size(&self) -> usize {
        let best = match &self.best {
            Best::Any => 0,
            Best::Whole(_, best) => best.capacity() * size_of::<i128>(),
            Best::Rows(_, best) => {
                best.capacity() * size_of::<Box<[u8]>>() + best.iter().map(|key| key.len()).sum::<usize>()
            }
        };
        let stored: usize = self.stored.iter().flatten().map(|array| array.get_array_memory_size()).sum();
        best + stored + self.places.capacity() * size_of::<Place>()
    }
}

/// One group.
struct One(FirstRows);

impl std::fmt::Debug for One {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("first_row")
    }
}

impl One {
    fn add(&mut self, arguments: &[ArrayRef], counts: impl Fn(usize) -> bool) -> Result<()> {
        let rows = arguments.first().map_or(0, |array| array.len());
        self.0.add(arguments, &vec![0; rows], counts, 1)
    }
}

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(values, |_| true)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.0.places.resize(1, NOWHERE);
        ScalarValue::try_from_array(&GroupsAccumulator::evaluate(&mut self.0, EmitTo::All)?, 0)
    }

    fn size(&self) -> usize {
        GroupsAccumulator::size(&self.0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.0.places.resize(1, NOWHERE);
        let state = GroupsAccumulator::state(&mut self.0, EmitTo::All)?;
        state.iter().map(|array| ScalarValue::try_from_array(array, 0)).collect()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let Some((is_set, arguments)) = states.split_last() else { return internal_err!("first_row without a state") };
        let is_set = is_set.as_boolean().clone();
        self.add(arguments, |row| is_set.value(row))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, AsArray, Int64Array, StringViewArray};
    use arrow::compute::SortOptions;
    use arrow::datatypes::{DataType, Int64Type};
    use datafusion_expr::{EmitTo, GroupsAccumulator};

    use super::FirstRow;

    /// Against a scan by hand: the same row wins whatever the batches, keys of both kinds.
    #[test]
    fn the_first_row_wins() {
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        for descending in [false, true] {
            for (nulls_first, text_key) in [(false, false), (true, false), (false, true), (true, true)] {
                let options = SortOptions { descending, nulls_first };
                let types = [DataType::Int64, if text_key { DataType::Utf8View } else { DataType::Int64 }];
                let function = FirstRow::new(1, vec![options]);
                let (mut first, mut second) = (function.groups(&types).unwrap(), function.groups(&types).unwrap());
                // (rank of the key, id): the least of each group is to win. Keys are distinct, but NULL.
                let mut wanted: Vec<Option<(i64, i64)>> = vec![None; 50];
                for batch in 0..40 {
                    let mut rows: Vec<(usize, Option<i64>, i64)> = vec![];
                    for row in 0..100 {
                        let id = batch * 100 + row;
                        let key = (next(10) != 0).then(|| i64::try_from(next(1 << 40)).unwrap() * 4096 + id);
                        rows.push((usize::try_from(next(50)).unwrap(), key, id));
                    }
                    for (group, key, id) in &rows {
                        let null = if nulls_first { i64::MIN } else { i64::MAX };
                        let rank = key.map_or(null, |key| if descending { -key } else { key });
                        if wanted[*group].is_none_or(|(best, _)| rank < best) {
                            wanted[*group] = Some((rank, *id));
                        }
                    }
                    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.2)));
                    let keys: ArrayRef = if text_key {
                        let text = rows.iter().map(|row| row.1.map(|key| format!("{key:020}")));
                        Arc::new(text.collect::<StringViewArray>())
                    } else {
                        Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>())
                    };
                    let groups: Vec<usize> = rows.iter().map(|row| row.0).collect();
                    let side = if batch % 2 == 0 { &mut first } else { &mut second };
                    side.update_batch(&[ids, keys], &groups, None, 50).unwrap();
                }
                second.compact().unwrap();
                let state = second.state(EmitTo::All).unwrap();
                first.merge_batch(&state, &(0..50).collect::<Vec<_>>(), 50).unwrap();
                let head = first.evaluate(EmitTo::First(20)).unwrap();
                let tail = first.evaluate(EmitTo::All).unwrap();
                let ids = |array: &ArrayRef| array.as_struct().column(0).as_primitive::<Int64Type>().values().to_vec();
                let got = [ids(&head), ids(&tail)].concat();
                for (group, (got, wanted)) in got.iter().zip(&wanted).enumerate() {
                    let (rank, id) = wanted.unwrap();
                    // Among NULLs any row may win.
                    if rank != i64::MIN && rank != i64::MAX {
                        assert_eq!(*got, id, "group {group}, {options:?}, text {text_key}");
                    }
                }
            }
        }
    }
}
