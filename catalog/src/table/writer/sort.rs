//! The order of rows: ascending, NULLs last, several columns.

use std::cmp::Ordering;

use arrow::array::{Array, ArrayRef, UInt32Array, make_comparator};
use arrow::compute::{SortColumn, SortOptions, lexsort_to_indices, take};

use crate::Result;
use crate::table::physical::as_i64;

/// The sort columns of some rows.
pub(crate) type SortKey = Vec<ArrayRef>;

const ASCENDING: SortOptions = SortOptions { descending: false, nulls_first: false };

/// True if the rows are in order.
pub(crate) fn is_sorted(key: &SortKey) -> Result<bool> {
    if let [column] = key.as_slice()
        && column.null_count() == 0
        && let Some(values) = as_i64(column)
    {
        return Ok(values.values().is_sorted());
    }
    let rows = key.first().map_or(0, |column| column.len());
    let comparators =
        key.iter().map(|column| make_comparator(column, column, ASCENDING)).collect::<Result<Vec<_>, _>>()?;
    let order = |a, b| comparators.iter().map(|compare| compare(a, b)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal);
    Ok((1..rows).all(|row| order(row - 1, row).is_le()))
}

/// True if the last row of `before` is not after the first of `after`; also if one has no rows.
pub(crate) fn not_after(before: &SortKey, after: &SortKey) -> Result<bool> {
    for (before, after) in before.iter().zip(after) {
        if before.is_empty() || after.is_empty() {
            return Ok(true);
        }
        match make_comparator(before, after, ASCENDING)?(before.len() - 1, 0) {
            Ordering::Less => return Ok(true),
            Ordering::Equal => {}
            Ordering::Greater => return Ok(false),
        }
    }
    Ok(true)
}

/// `rows`, in the order of the key's values. Rows that compare equal keep their order if the key is one timestamp.
pub(crate) fn sort_indices(key: &SortKey, rows: UInt32Array) -> Result<UInt32Array> {
    if key.is_empty() {
        return Ok(rows);
    }
    let chosen = key.iter().map(|column| take(column, &rows, None)).collect::<Result<SortKey, _>>()?;
    if is_sorted(&chosen)? {
        return Ok(rows);
    }
    if let [column] = chosen.as_slice()
        && column.null_count() == 0
        && let Some(values) = as_i64(column)
    {
        // The standard sort is fast where its input is a few sorted runs, as the rows of several clients are.
        let mut pairs: Vec<(i64, u32)> = values.values().iter().copied().zip(rows.values().iter().copied()).collect();
        pairs.sort_by_key(|pair| pair.0);
        return Ok(pairs.into_iter().map(|pair| pair.1).collect());
    }
    let columns: Vec<SortColumn> =
        chosen.into_iter().map(|values| SortColumn { values, options: Some(ASCENDING) }).collect();
    let order = lexsort_to_indices(&columns, None)?;
    let sorted = take(&rows, &order, None)?;
    Ok(sorted.as_any().downcast_ref::<UInt32Array>().expect("take keeps the type").clone())
}
