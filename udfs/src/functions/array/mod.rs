//! Arrays: sizes, searching, changing, comparing. Elements equal as with IS NOT DISTINCT FROM where one is looked for.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, DynComparator, ListArray, NullBufferBuilder, make_comparator};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{SortOptions, interleave};
use arrow::datatypes::DataType;
use datafusion_common::{Result, exec_err};

use super::call::{Call, Value, error, fail};
use super::define::{Function, def};
use crate::types::SqlType;

/// The elements of one argument.
struct Lists<'a> {
    list: &'a ListArray,
    constant: bool,
}

impl<'a> Lists<'a> {
    fn open(call: &'a Call<'_>, index: usize) -> Result<Self> {
        match call.args[index].array.as_list_opt::<i32>() {
            Some(list) => Ok(Self { list, constant: call.args[index].constant }),
            None => exec_err!("an array was expected, not {}", call.args[index].array.data_type()),
        }
    }

    /// Where the row's elements are in the values; `None` for a null array.
    fn range(&self, row: usize) -> Option<std::ops::Range<usize>> {
        let index = if self.constant { 0 } else { row };
        if self.list.is_null(index) {
            return None;
        }
        let offset = |at: usize| usize::try_from(self.list.value_offsets()[at]).unwrap_or(0);
        Some(offset(index)..offset(index + 1))
    }

    /// Says whether an element equals a value of another array.
    fn comparator(&self, other: &ArrayRef) -> Result<DynComparator> {
        Ok(make_comparator(self.list.values(), other, SortOptions::default())?)
    }
}

/// Where a result's element comes from: the number of a source array, and the index there.
type Origin = (usize, usize);

/// Makes lists of elements taken from other arrays.
fn gather(
    call: &Call<'_>,
    sources: &[&dyn Array],
    mut row: impl FnMut(usize) -> Value<Option<Vec<Origin>>>,
) -> Result<ArrayRef> {
    let DataType::List(field) = call.returns.data_type() else {
        return exec_err!("an array is returned, not {}", call.returns.data_type());
    };
    let (mut origins, mut lengths) = (vec![], Vec::with_capacity(call.rows));
    let mut nulls = NullBufferBuilder::new(call.rows);
    for index in 0..call.rows {
        let elements = row(index)?;
        nulls.append(elements.is_some());
        let elements = elements.unwrap_or_default();
        lengths.push(elements.len());
        origins.extend(elements);
    }
    let values = if origins.is_empty() { sources[0].slice(0, 0) } else { interleave(sources, &origins)? };
    let list = ListArray::try_new(Arc::clone(field), OffsetBuffer::from_lengths(lengths), values, nulls.finish())?;
    Ok(Arc::new(list))
}

/// The lengths of a list's dimensions, the outermost first; none if it is empty.
fn dimensions(list: &ListArray, index: usize) -> Vec<usize> {
    let mut lengths = vec![];
    let (mut list, mut index) = (list, index);
    loop {
        let from = usize::try_from(list.value_offsets()[index]).unwrap_or(0);
        let to = usize::try_from(list.value_offsets()[index + 1]).unwrap_or(0);
        if from == to {
            return vec![];
        }
        lengths.push(to - from);
        match list.values().as_list_opt::<i32>() {
            Some(inner) if inner.is_valid(from) => (list, index) = (inner, from),
            _ => return lengths,
        }
    }
}

fn int(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// A function of an array's dimensions.
fn of_dimensions<R: super::call::IntoResult>(call: &Call<'_>, f: impl Fn(&[usize]) -> Option<R>) -> Result<ArrayRef> {
    let lists = Lists::open(call, 0)?;
    call.collect(|row| {
        let index = call.args[0].at(row);
        Ok(if lists.list.is_null(index) { None } else { f(&dimensions(lists.list, index)) })
    })
}

/// A function of an array's dimension.
/// Where indexes begin: at 1, but at 0 of int2vector and oidvector.
fn first_index(call: &Call<'_>) -> i32 {
    i32::from(!matches!(call.sql_type(0), SqlType::Int2Vector | SqlType::OidVector))
}

fn of_dimension(call: &Call<'_>, f: impl Fn(usize) -> i32) -> Result<ArrayRef> {
    let lists = Lists::open(call, 0)?;
    let numbers = call.column::<i32>(1)?;
    call.collect(|row| {
        let index = call.args[0].at(row);
        let Some(number) = numbers.get(row).filter(|_| lists.list.is_valid(index)) else { return Ok(None) };
        let dimensions = dimensions(lists.list, index);
        let length = usize::try_from(number).ok().and_then(|n| n.checked_sub(1)).and_then(|n| dimensions.get(n));
        Ok(length.map(|length| f(*length)))
    })
}

/// The first to the last index of a dimension, or back; a dimension that is not there has none.
fn subscripts(call: &Call<'_>) -> Result<ArrayRef> {
    let first = first_index(call);
    let lists = Lists::open(call, 0)?;
    let numbers = call.column::<i32>(1)?;
    let reverse = if call.args.len() > 2 { Some(call.column::<bool>(2)?) } else { None };
    call.collect(|row| {
        let index = call.args[0].at(row);
        let reversed = reverse.as_ref().map_or(Some(false), |flags| flags.get(row));
        let (Some(number), Some(reversed)) = (numbers.get(row), reversed) else { return Ok(None) };
        if lists.list.is_null(index) {
            return Ok(None);
        }
        let dimensions = dimensions(lists.list, index);
        let length = usize::try_from(number).ok().and_then(|n| n.checked_sub(1)).and_then(|n| dimensions.get(n));
        let mut indexes: Vec<Option<i32>> =
            (0..length.map_or(0, |length| int(*length))).map(|at| Some(first + at)).collect();
        if reversed {
            indexes.reverse();
        }
        Ok(Some(super::call::Many(indexes)))
    })
}

fn positions(call: &Call<'_>, mut found: impl FnMut(usize, &mut dyn Iterator<Item = usize>)) -> Result<()> {
    let lists = Lists::open(call, 0)?;
    let needle = &call.args[1];
    let compare = lists.comparator(&needle.array)?;
    for row in 0..call.rows {
        let Some(range) = lists.range(row) else {
            found(row, &mut std::iter::empty());
            continue;
        };
        let at = needle.at(row);
        let start = range.start;
        found(row, &mut range.filter(|index| compare(*index, at) == Ordering::Equal).map(|index| index - start + 1));
    }
    Ok(())
}

fn array_position(call: &Call<'_>) -> Result<ArrayRef> {
    let starts = if call.args.len() > 2 { Some(call.column::<i32>(2)?) } else { None };
    let mut results = Vec::with_capacity(call.rows);
    let mut null_start = false;
    positions(call, |row, found| {
        let start = match &starts {
            Some(starts) => starts.get(row).unwrap_or_else(|| {
                null_start = true;
                1
            }),
            None => 1,
        };
        results.push(found.map(int).find(|at| *at >= start));
    })?;
    if null_start {
        return Err(error("22004", "initial position must not be null"));
    }
    call.collect(|row| Ok(results[row]))
}

fn array_positions(call: &Call<'_>) -> Result<ArrayRef> {
    let lists = Lists::open(call, 0)?;
    let mut results = Vec::with_capacity(call.rows);
    positions(call, |row, found| {
        let found: Vec<Option<i32>> = found.map(|at| Some(int(at))).collect();
        results.push(lists.range(row).map(|_| super::call::Many(found)));
    })?;
    let mut results = results.into_iter();
    call.collect(|_| Ok(results.next().flatten()))
}

fn array_remove(call: &Call<'_>) -> Result<ArrayRef> {
    let lists = Lists::open(call, 0)?;
    let compare = lists.comparator(&call.args[1].array)?;
    gather(call, &[lists.list.values().as_ref()], |row| {
        let at = call.args[1].at(row);
        Ok(lists.range(row).map(|range| {
            range.filter(|index| compare(*index, at) != Ordering::Equal).map(|index| (0, index)).collect()
        }))
    })
}

fn array_replace(call: &Call<'_>) -> Result<ArrayRef> {
    let lists = Lists::open(call, 0)?;
    let compare = lists.comparator(&call.args[1].array)?;
    gather(call, &[lists.list.values().as_ref(), call.args[2].array.as_ref()], |row| {
        let (old, new) = (call.args[1].at(row), call.args[2].at(row));
        Ok(lists.range(row).map(|range| {
            range.map(|index| if compare(index, old) == Ordering::Equal { (1, new) } else { (0, index) }).collect()
        }))
    })
}

/// array_append and array_prepend; a null array counts as an empty one.
fn array_add(call: &Call<'_>, array: usize, element: usize) -> Result<ArrayRef> {
    let lists = Lists::open(call, array)?;
    gather(call, &[lists.list.values().as_ref(), call.args[element].array.as_ref()], |row| {
        let mut origins: Vec<Origin> = lists.range(row).unwrap_or_default().map(|index| (0, index)).collect();
        let added = (1, call.args[element].at(row));
        if array == 0 {
            origins.push(added);
        } else {
            origins.insert(0, added);
        }
        Ok(Some(origins))
    })
}

/// Both arrays' elements; a null array adds nothing.
fn array_cat(call: &Call<'_>) -> Result<ArrayRef> {
    let (a, b) = (Lists::open(call, 0)?, Lists::open(call, 1)?);
    gather(call, &[a.list.values().as_ref(), b.list.values().as_ref()], |row| {
        let (first, second) = (a.range(row), b.range(row));
        if first.is_none() && second.is_none() {
            return Ok(None);
        }
        let first = first.unwrap_or_default().map(|index| (0, index));
        Ok(Some(first.chain(second.unwrap_or_default().map(|index| (1, index))).collect()))
    })
}

fn array_fill(call: &Call<'_>) -> Result<ArrayRef> {
    /// The most elements an array has.
    const ELEMENTS_MAX: i32 = 134_217_727;
    let lengths = call.column::<super::call::Ints>(1)?;
    gather(call, &[call.args[0].array.as_ref()], |row| {
        let Some(lengths) = lengths.get(row) else {
            return fail("22004", "dimension array or low bound array cannot be null");
        };
        let lengths = lengths.0;
        match lengths.as_slice() {
            [] => Ok(Some(vec![])),
            [Some(length @ 0..=ELEMENTS_MAX)] => {
                Ok(Some(vec![(0, call.args[0].at(row)); usize::try_from(*length).unwrap_or(0)]))
            }
            [Some(length)] => {
                fail("54000", format!("array size exceeds the maximum allowed ({ELEMENTS_MAX}): {length}"))
            }
            [None] => fail("22004", "dimension values cannot be null"),
            _ => fail("0A000", "array_fill with more than one dimension is not supported"),
        }
    })
}

fn trim_array(call: &Call<'_>) -> Result<ArrayRef> {
    let lists = Lists::open(call, 0)?;
    let counts = call.column::<i32>(1)?;
    gather(call, &[lists.list.values().as_ref()], |row| {
        let (Some(range), Some(count)) = (lists.range(row), counts.get(row)) else { return Ok(None) };
        match usize::try_from(count).ok().and_then(|count| range.len().checked_sub(count)) {
            Some(keep) => Ok(Some(range.take(keep).map(|index| (0, index)).collect())),
            None => fail("2202E", format!("number of elements to trim must be between 0 and {}", range.len())),
        }
    })
}

/// Compares two arrays' elements; nulls equal nothing.
fn compare_arrays(call: &Call<'_>, all: bool) -> Result<ArrayRef> {
    let (a, b) = (Lists::open(call, 0)?, Lists::open(call, 1)?);
    let compare = a.comparator(b.list.values())?;
    let (mine, theirs) = (a.list.values(), b.list.values());
    call.collect(|row| {
        let (Some(first), Some(second)) = (a.range(row), b.range(row)) else { return Ok(None) };
        let mut second = second;
        let has = |wanted: usize| {
            theirs.is_valid(wanted)
                && first.clone().any(|index| mine.is_valid(index) && compare(index, wanted) == Ordering::Equal)
        };
        Ok(Some(if all { second.all(has) } else { second.any(has) }))
    })
}

/// Every function of this family.
pub(crate) fn all() -> Vec<Function> {
    let mut all = sizes();
    all.extend(changes());
    all
}

fn sizes() -> Vec<Function> {
    vec![
        def("array_length", "The length of a dimension.", "array_length(array[1, 2, 3], 1)")
            .alias(&["list_length"])
            .on("anyarray, int4 -> int4", |c| of_dimension(c, int)),
        def("array_upper", "The last index of a dimension.", "array_upper(array[1, 2, 3], 1)").on(
            "anyarray, int4 -> int4",
            |c| {
                let first = first_index(c);
                of_dimension(c, |length| first + int(length) - 1)
            },
        ),
        def("array_lower", "The first index of a dimension: 1.", "array_lower(array[1, 2, 3], 1)").on(
            "anyarray, int4 -> int4",
            |c| {
                let first = first_index(c);
                of_dimension(c, |_| first)
            },
        ),
        def("array_ndims", "The number of dimensions.", "array_ndims(array[1, 2])")
            .alias(&["list_ndims"])
            .on("anyarray -> int4", |c| of_dimensions(c, |d| if d.is_empty() { None } else { Some(int(d.len())) })),
        def("array_dims", "The dimensions as text.", "array_dims(array[1, 2])").alias(&["list_dims"]).on(
            "anyarray -> text",
            |c| {
                of_dimensions(c, |d| {
                    if d.is_empty() { None } else { Some(d.iter().map(|n| format!("[1:{n}]")).collect::<String>()) }
                })
            },
        ),
        def("cardinality", "The number of elements in all dimensions.", "cardinality(array[1, 2])")
            .on("anyarray -> int4", |c| {
                of_dimensions(c, |d| Some(if d.is_empty() { 0 } else { int(d.iter().product()) }))
            }),
        def(
            "array_position",
            "The index of the first element equal to that, from a start on.",
            "array_position(array['a', 'b'], 'b')",
        )
        .alias(&["list_position", "array_indexof", "list_indexof"])
        .on("anyarray, anyelement [, int4] -> int4", array_position),
        def("array_positions", "The indexes of all elements equal to that.", "array_positions(array[1, 2, 1], 1)")
            .alias(&["list_positions"])
            .on("anyarray, anyelement -> int4[]", array_positions),
        def(
            "generate_subscripts",
            "The indexes of a dimension, as an array.",
            "generate_subscripts(array['a', 'b'], 1)",
        )
        .on("anyarray, int4 -> int4[]", subscripts)
        .on("anyarray, int4, bool -> int4[]", subscripts),
        def(
            "pg_array_contains",
            "Has the first array all elements of the second? The operator @>.",
            "array[1, 2, 3] @> array[2]",
        )
        .on("anyarray, anyarray -> bool", |c| compare_arrays(c, true)),
        def(
            "pg_array_overlap",
            "Have both arrays an element in common? The operator &&.",
            "array[1, 2] && array[2, 3]",
        )
        .on("anyarray, anyarray -> bool", |c| compare_arrays(c, false)),
    ]
}

fn changes() -> Vec<Function> {
    vec![
        def("array_append", "With an element at the end.", "array_append(array[1], 2)")
            .alias(&["list_append", "array_push_back", "list_push_back"])
            .on("anyarray, anyelement -> anyarray", |c| array_add(c, 0, 1)),
        def("array_prepend", "With an element at the start.", "array_prepend(1, array[2])")
            .alias(&["list_prepend", "array_push_front", "list_push_front"])
            .on("anyelement, anyarray -> anyarray", |c| array_add(c, 1, 0)),
        def("array_cat", "Both arrays' elements.", "array_cat(array[1], array[2])")
            .alias(&["array_concat", "list_concat", "list_cat"])
            .on("anyarray, anyarray -> anyarray", array_cat),
        def("array_remove", "Without the elements equal to that.", "array_remove(array[1, 2, 1], 1)")
            .on("anyarray, anyelement -> anyarray", array_remove),
        def("array_replace", "With the elements equal to one replaced by another.", "array_replace(array[1, 2], 2, 3)")
            .on("anyarray, anyelement, anyelement -> anyarray", array_replace),
        def("array_fill", "That many times an element.", "array_fill(7, array[3])")
            .on("anyelement, int4[] -> anyarray", array_fill),
        def("trim_array", "Without the last n elements.", "trim_array(array[1, 2, 3], 1)")
            .on("anyarray, int4 -> anyarray", trim_array),
    ]
}
