//! Primary keys and UNIQUE: which rows of a table have the keys of new ones. A key with a NULL is like no other.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt64Array};
use arrow::buffer::NullBuffer;
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use datafusion_execution::TaskContext;
use datafusion_expr::Operator;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{BinaryExpr, Column, Literal};
use datafusion_physical_plan::ExecutionPlan;
use futures::TryStreamExt;

use crate::record::TableDef;
use crate::table::keys::{Digest, DigestTable, Digester};
use crate::table::scan::SnapshotTable;
use crate::table::value::has_order;
use crate::table::writer::ColumnSummary;
use crate::{Error, Result};

/// The keys of rows that want to come into a table.
#[derive(Debug)]
pub struct NewKeys {
    columns: Vec<usize>,
    digester: Digester,
    table: DigestTable,
    bounds: Vec<ColumnSummary>,
}

/// Rows of a table that have the keys of new ones.
#[derive(Debug)]
pub struct Existing {
    /// The rows: the columns that were asked for.
    pub rows: RecordBatch,
    /// Where each is: index of the unit, row in it.
    pub places: Vec<(i32, i64)>,
    /// The number of each one's key.
    pub keys: Vec<usize>,
}

impl NewKeys {
    /// No keys yet of a table with a primary key.
    ///
    /// # Errors
    /// `Arrow` for key columns whose values cannot be compared.
    pub fn new(def: &TableDef) -> Result<Self> {
        let columns = def.key_columns();
        let types: Vec<DataType> = columns.iter().map(|&key| def.columns[key].data_type.clone()).collect();
        let bounds = vec![ColumnSummary::default(); columns.len()];
        Ok(Self { digester: Digester::new(&types)?, table: DigestTable::default(), columns, bounds })
    }

    /// Takes rows with the table's columns. For each the number of its key, [`NO_KEY`] for one with a NULL, and whether that
    /// is new.
    ///
    /// # Errors
    /// `Arrow` for columns of other types, `OutOfResources` beyond four billion keys.
    pub fn add(&mut self, columns: &[ArrayRef]) -> Result<Vec<(usize, bool)>> {
        let keys: Vec<ArrayRef> = self.columns.iter().map(|&key| Arc::clone(&columns[key])).collect();
        for (bounds, key) in self.bounds.iter_mut().zip(&keys) {
            bounds.add(key)?;
        }
        let nulls = nulls(&keys);
        let number = |(row, digest)| match &nulls {
            Some(nulls) if nulls.is_null(row) => Ok((NO_KEY, true)),
            _ => self.table.insert(digest),
        };
        self.digester.digest(&keys)?.into_iter().enumerate().map(number).collect()
    }

    /// How many different keys there are.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Memory they take, bytes.
    pub fn bytes(&self) -> usize {
        self.table.bytes()
    }

    /// All of them.
    pub fn digests(&self) -> &[Digest] {
        self.table.digests()
    }

    /// Rows of a table that have one of these keys: the columns `projection` of each.
    ///
    /// # Errors
    /// Those of reading files.
    pub async fn existing(&self, table: &SnapshotTable, projection: &[usize]) -> Result<Vec<Existing>> {
        if self.is_empty() || (table.state.chunks.is_empty() && table.state.files.files.is_empty()) {
            return Ok(vec![]);
        }
        let def = &table.state.def;
        let filters = within(def, &self.columns, &self.bounds);
        let width = def.columns.len();
        let wanted: Vec<usize> = self.columns.iter().chain(projection).copied().chain([width, width + 1]).collect();
        let scan = table.latest_scan().await?;
        let scan = Arc::new(scan).plan(&wanted, &filters, None, 1)?;
        let mut stream = scan.execute(0, Arc::new(TaskContext::default()))?;
        let mut found = vec![];
        while let Some(batch) = stream.try_next().await? {
            let columns = &batch.columns()[..self.columns.len()];
            let (digests, nulls) = (self.digester.digest(columns)?, nulls(columns));
            let (mut rows, mut keys) = (vec![], vec![]);
            for (row, digest) in digests.into_iter().enumerate() {
                if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                    continue;
                }
                if let Some(key) = self.table.get(digest) {
                    rows.push(row as u64);
                    keys.push(key);
                }
            }
            if rows.is_empty() {
                continue;
            }
            let batch = take_record_batch(&batch, &UInt64Array::from(rows))?;
            let (Some(units), Some(numbers)) = (
                batch.column(batch.num_columns() - 2).as_primitive_opt::<Int32Type>(),
                batch.column(batch.num_columns() - 1).as_primitive_opt::<Int64Type>(),
            ) else {
                return Err(Error::Invalid("a scan without its columns".to_owned()));
            };
            let places = units.values().iter().copied().zip(numbers.values().iter().copied()).collect();
            let own: Vec<usize> = (self.columns.len()..batch.num_columns() - 2).collect();
            found.push(Existing { rows: batch.project(&own)?, places, keys });
        }
        Ok(found)
    }
}

/// The number of the key of a row that has a NULL in it.
pub const NO_KEY: usize = usize::MAX;

/// The rows in which one of the columns is NULL; `None` if there is none.
pub(crate) fn nulls(columns: &[ArrayRef]) -> Option<NullBuffer> {
    columns.iter().fold(None, |all, column| NullBuffer::union(all.as_ref(), column.nulls()))
}

/// Conditions that rows with keys within these bounds meet: they rule out files and row groups.
pub(crate) fn within(def: &TableDef, columns: &[usize], bounds: &[ColumnSummary]) -> Vec<Arc<dyn PhysicalExpr>> {
    let mut conditions: Vec<Arc<dyn PhysicalExpr>> = vec![];
    for (&at, bounds) in columns.iter().zip(bounds) {
        let column = &def.columns[at];
        if !has_order(&column.data_type) || column.data_type.is_floating() {
            continue;
        }
        let mut add = |op, bound: &datafusion_common::ScalarValue| {
            let column = Arc::new(Column::new(&column.name, at));
            conditions.push(Arc::new(BinaryExpr::new(column, op, Arc::new(Literal::new(bound.clone())))));
        };
        match (&bounds.min, &bounds.max) {
            (Some(min), Some(max)) if min == max => add(Operator::Eq, min),
            (min, max) => {
                min.iter().for_each(|min| add(Operator::GtEq, min));
                max.iter().for_each(|max| add(Operator::LtEq, max));
            }
        }
    }
    conditions
}
