//! Filters evaluated by the scan itself, before the columns that only the result needs are decoded.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::compute::{and, prep_null_mask_filter};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion_common::Result;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_expr::Operator;
use datafusion_physical_expr::expressions::{
    BinaryExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr, Literal, NotExpr,
};
use datafusion_physical_expr::utils::collect_columns;
use datafusion_physical_expr::{PhysicalExpr, split_conjunction};

use crate::table::adapt::batch_of;

/// Conjuncts over the columns they need.
#[derive(Debug, Clone)]
pub(super) struct Filter {
    /// Indices into the table's schema.
    pub(super) columns: Vec<usize>,
    schema: SchemaRef,
    conjuncts: Vec<Conjunct>,
}

#[derive(Debug, Clone)]
struct Conjunct {
    /// Over `Filter::columns`.
    condition: Arc<dyn PhysicalExpr>,
    /// It cannot fail, so it may also be evaluated on rows that an earlier conjunct excludes.
    total: bool,
}

/// Which rows of a block pass.
#[derive(Debug, Clone)]
pub(super) enum Selected {
    /// No row.
    None,
    /// Every row.
    All,
    /// Those where this is true; it has no NULLs.
    Some(BooleanArray),
}

impl Filter {
    /// The filter of `conditions` over the table's schema; `None` without conditions.
    pub(super) fn new(conditions: &[Arc<dyn PhysicalExpr>], table: &Schema) -> Result<Option<Self>> {
        if conditions.is_empty() {
            return Ok(None);
        }
        let mut columns: Vec<usize> =
            conditions.iter().flat_map(collect_columns).map(|column| column.index()).collect();
        columns.sort_unstable();
        columns.dedup();
        let schema = Arc::new(table.project(&columns)?);
        let conjuncts = conditions.iter().flat_map(split_conjunction).map(|condition| {
            Ok(Conjunct {
                condition: remap(condition, |index| columns.binary_search(&index).ok())?,
                total: is_total(condition),
            })
        });
        let conjuncts = conjuncts.collect::<Result<_>>()?;
        Ok(Some(Self { columns, schema, conjuncts }))
    }

    /// Evaluates the conjuncts in the order in which they were written, each only where the ones before are true unless
    /// it cannot fail.
    pub(super) fn evaluate(&self, arrays: Vec<ArrayRef>, rows: usize) -> Result<Selected> {
        let batch = batch_of(Arc::clone(&self.schema), arrays, rows)?;
        let mut mask: Option<BooleanArray> = None;
        for conjunct in &self.conjuncts {
            let value = match &mask {
                Some(mask) if !conjunct.total => conjunct.condition.evaluate_selection(&batch, mask)?,
                _ => conjunct.condition.evaluate(&batch)?,
            };
            let value = value.into_array(rows)?;
            let value = value.as_boolean();
            let value = if value.null_count() > 0 { prep_null_mask_filter(value) } else { value.clone() };
            let both = match &mask {
                Some(mask) => and(mask, &value)?,
                None => value,
            };
            if !both.has_true() {
                return Ok(Selected::None);
            }
            mask = Some(both);
        }
        Ok(match mask {
            Some(mask) if mask.true_count() < rows => Selected::Some(mask),
            _ => Selected::All,
        })
    }
}

/// An expression over other positions of the same columns.
pub(super) fn remap(
    expression: &Arc<dyn PhysicalExpr>,
    position: impl Fn(usize) -> Option<usize>,
) -> Result<Arc<dyn PhysicalExpr>> {
    let moved = Arc::clone(expression).transform_down(|node| {
        let Some(column) = node.downcast_ref::<Column>() else { return Ok(Transformed::no(node)) };
        let index = position(column.index()).ok_or_else(|| {
            datafusion_common::DataFusionError::Internal(format!("column {column} is not in the scan"))
        })?;
        Ok(Transformed::yes(Arc::new(Column::new(column.name(), index)) as Arc<dyn PhysicalExpr>))
    })?;
    Ok(moved.data)
}

/// True for comparisons of columns and constants: they have a value, or NULL, for every row.
fn is_total(expression: &Arc<dyn PhysicalExpr>) -> bool {
    let node = match expression.downcast_ref::<BinaryExpr>() {
        Some(binary) => matches!(
            binary.op(),
            Operator::Eq
                | Operator::NotEq
                | Operator::Lt
                | Operator::LtEq
                | Operator::Gt
                | Operator::GtEq
                | Operator::IsDistinctFrom
                | Operator::IsNotDistinctFrom
                | Operator::And
                | Operator::Or
        ),
        None => {
            expression.is::<Column>()
                || expression.is::<Literal>()
                || expression.is::<NotExpr>()
                || expression.is::<IsNullExpr>()
                || expression.is::<IsNotNullExpr>()
                || expression.is::<InListExpr>()
                || expression.is::<LikeExpr>()
        }
    };
    node && expression.children().into_iter().all(is_total)
}
