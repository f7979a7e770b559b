//! Filters evaluated by the scan itself, before the columns that only the result needs are decoded.

use std::borrow::Cow;
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
use crate::table::cache::blocks;
use crate::table::reader::Bounds;

/// Conjuncts over the columns they need.
#[derive(Debug, Clone)]
pub(super) struct Filter {
    /// Indices into the table's schema.
    pub(super) columns: Vec<usize>,
    schema: SchemaRef,
    conjuncts: Vec<Conjunct>,
    /// The conjuncts over the table's schema.
    conditions: Vec<Arc<dyn PhysicalExpr>>,
    /// What text columns must have.
    pub(super) texts: Vec<Texts>,
}

/// A column that must have one of some texts.
#[derive(Debug, Clone)]
pub(super) struct Texts {
    /// Its index in the table's schema.
    pub(super) column: usize,
    /// Their hashes.
    pub(super) hashes: Vec<u64>,
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
        let conditions: Vec<_> = conditions.iter().flat_map(split_conjunction).map(Arc::clone).collect();
        let mut columns: Vec<usize> =
            conditions.iter().flat_map(collect_columns).map(|column| column.index()).collect();
        columns.sort_unstable();
        columns.dedup();
        let schema = Arc::new(table.project(&columns)?);
        let conjunct = |condition| {
            let condition_here = remap(condition, |index| columns.binary_search(&index).ok())?;
            Ok(Conjunct { condition: condition_here, total: is_total(condition) })
        };
        let conjuncts = conditions.iter().map(conjunct).collect::<Result<_>>()?;
        let texts = conditions.iter().filter_map(texts).collect();
        Ok(Some(Self { columns, schema, conjuncts, conditions, texts }))
    }

    /// What is left to evaluate on rows whose columns have these bounds: `None` if all of them pass.
    pub(super) fn within(&self, table: &Schema, bounds: impl Fn(usize) -> Bounds) -> Result<Option<Cow<'_, Self>>> {
        let open = |condition: &&Arc<dyn PhysicalExpr>| !is_surely_true(condition, &bounds);
        let left: Vec<_> = self.conditions.iter().filter(open).map(Arc::clone).collect();
        if left.len() == self.conditions.len() {
            return Ok(Some(Cow::Borrowed(self)));
        }
        Ok(Self::new(&left, table)?.map(Cow::Owned))
    }

    /// Evaluates the conjuncts in the order in which they were written, each only where the ones before are true unless
    /// it cannot fail, and on the rows of `mask` only.
    pub(super) fn evaluate(
        &self,
        arrays: Vec<ArrayRef>,
        rows: usize,
        mut mask: Option<BooleanArray>,
    ) -> Result<Selected> {
        let batch = batch_of(Arc::clone(&self.schema), arrays, rows)?;
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

/// What `column = 'text'` and `column IN ('text', …)` say.
fn texts(condition: &Arc<dyn PhysicalExpr>) -> Option<Texts> {
    let (column, values) = match (condition.downcast_ref::<BinaryExpr>(), condition.downcast_ref::<InListExpr>()) {
        (Some(comparison), _) if comparison.op() == &Operator::Eq => (comparison.left(), vec![comparison.right()]),
        (_, Some(list)) if !list.negated() => (list.expr(), list.list().iter().collect()),
        _ => return None,
    };
    let column = column.downcast_ref::<Column>()?.index();
    let hash = |value: &Arc<dyn PhysicalExpr>| blocks::hash(value.downcast_ref::<Literal>()?.value());
    Some(Texts { column, hashes: values.into_iter().map(hash).collect::<Option<_>>()? })
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

/// True if a comparison of a column with a constant is true for every value within the column's bounds.
fn is_surely_true(condition: &Arc<dyn PhysicalExpr>, bounds: impl Fn(usize) -> Bounds) -> bool {
    let Some(comparison) = condition.downcast_ref::<BinaryExpr>() else { return false };
    let (column, constant) = (comparison.left().downcast_ref::<Column>(), comparison.right().downcast_ref::<Literal>());
    let (Some(column), Some(constant)) = (column, constant) else { return false };
    let constant = constant.value();
    // NaN is outside the bounds of floating-point columns.
    if constant.is_null() || constant.data_type().is_floating() {
        return false;
    }
    let Bounds { min: Some(min), max: Some(max), nulls: Some(0) } = bounds(column.index()) else { return false };
    if min.data_type() != constant.data_type() {
        return false;
    }
    match comparison.op() {
        Operator::Lt => max < *constant,
        Operator::LtEq => max <= *constant,
        Operator::Gt => min > *constant,
        Operator::GtEq => min >= *constant,
        Operator::Eq => min == *constant && max == *constant,
        Operator::NotEq => max < *constant || min > *constant,
        _ => false,
    }
}
