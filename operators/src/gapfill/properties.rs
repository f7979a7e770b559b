//! What is known of the output: its schema, and which orders and partitionings of the input survive.
//!
//! ```text
//!  rows are made    a a a | b b b        of a series, between its rows: orders of its columns stay, and then comes time;
//!                   1 2 3 | 1 2 3        an order of the input by time alone does not
//! ```

use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion_common::{Result, plan_err};
use datafusion_physical_expr::expressions::Column;
use datafusion_physical_expr::utils::collect_columns;
use datafusion_physical_expr::{
    ConstExpr, EquivalenceProperties, OrderingRequirements, Partitioning, PhysicalExpr, PhysicalSortExpr,
    PhysicalSortRequirement,
};
use datafusion_physical_expr_common::sort_expr::LexRequirement;

use super::Fill;

/// Time within a series.
const ASCENDING: SortOptions = SortOptions { descending: false, nulls_first: false };

/// The schema of the output: the input's, in which columns that a filled row may leave NULL are nullable.
///
/// # Errors
/// If there is not one fill for each column, or a constant is none.
pub fn filled_schema(input: &Schema, series: &[usize], columns: &[Fill]) -> Result<SchemaRef> {
    if columns.len() != input.fields().len() {
        return plan_err!("{} columns to be filled, {} in the input", columns.len(), input.fields().len());
    }
    let fill = |(field, fill): (&Arc<Field>, &Fill)| {
        let nullable = match fill {
            Fill::Time => false,
            // Without columns there is a series without rows.
            Fill::Series => series.is_empty(),
            Fill::Value(value) if !collect_columns(value).is_empty() => {
                return plan_err!("column \"{}\" cannot be filled with {value}, which is not constant", field.name());
            }
            Fill::Value(value) => value.nullable(&Schema::empty())?,
            Fill::Row(row) => row.nullable(&nullable(input))?,
            Fill::Null | Fill::Locf { .. } | Fill::Interpolate { .. } => true,
        };
        let nullable = nullable || field.is_nullable();
        Ok(if nullable == field.is_nullable() {
            Arc::clone(field)
        } else {
            Arc::new(field.as_ref().clone().with_nullable(nullable))
        })
    };
    let fields: Result<Vec<_>> = input.fields().iter().zip(columns).map(fill).collect();
    Ok(Arc::new(Schema::new_with_metadata(fields?, input.metadata().clone())))
}

/// The schema with every column nullable.
pub(crate) fn nullable(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone()))
}

pub(crate) fn column(schema: &Schema, index: usize) -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new(schema.field(index).name(), index))
}

/// The order of the input: series in any direction, time ascending.
pub(crate) fn required_order(schema: &Schema, time: usize, series: &[usize]) -> Option<OrderingRequirements> {
    let series = series.iter().map(|&index| PhysicalSortRequirement::new(column(schema, index), None));
    let time = PhysicalSortRequirement::new(column(schema, time), Some(ASCENDING));
    LexRequirement::new(series.chain([time])).map(OrderingRequirements::new)
}

/// What holds for the output, of what holds for the input.
pub(crate) fn equivalences(
    schema: &SchemaRef,
    input: &EquivalenceProperties,
    time: usize,
    series: &[usize],
    columns: &[Fill],
) -> Result<EquivalenceProperties> {
    let repeated = |expression: &Arc<dyn PhysicalExpr>| {
        let index = expression.downcast_ref::<Column>().map(Column::index)?;
        // Without columns of the series nothing may be repeated: there may be no row.
        (!series.is_empty() && matches!(columns.get(index), Some(Fill::Series))).then_some(index)
    };
    let mut output = EquivalenceProperties::new(Arc::clone(schema));
    for class in input.eq_group().iter() {
        let members: Vec<_> = class.iter().filter(|member| repeated(member).is_some()).cloned().collect();
        for pair in members.windows(2) {
            output.add_equal_conditions(Arc::clone(&pair[0]), Arc::clone(&pair[1]))?;
        }
        for member in members {
            if let Some(constant) = input.is_expr_constant(&member) {
                output.add_constants([ConstExpr::new(member, constant)])?;
            }
        }
    }
    let given: Vec<Vec<PhysicalSortExpr>> =
        input.oeq_class().iter().map(|order| order.iter().cloned().collect()).collect();
    for order in given.into_iter().chain([vec![]]) {
        let mut kept: Vec<PhysicalSortExpr> = order.into_iter().take_while(|by| repeated(&by.expr).is_some()).collect();
        let is_fixed = |index: &usize| {
            let column = column(schema, *index);
            let is_same = |by: &PhysicalSortExpr| {
                let class = output.eq_group().get_equivalence_class(&column);
                by.expr.eq(&column) || class.is_some_and(|class| class.contains(&by.expr))
            };
            output.is_expr_constant(&column).is_some() || kept.iter().any(is_same)
        };
        if series.iter().all(is_fixed) {
            kept.push(PhysicalSortExpr::new(column(schema, time), ASCENDING));
        }
        output.add_ordering(kept);
    }
    Ok(output)
}

/// The partitioning of the output: the input's if that is by columns of the series.
pub(crate) fn partitioning(input: &Partitioning, columns: &[Fill]) -> Partitioning {
    let is_repeated = |expression: &Arc<dyn PhysicalExpr>| {
        let used = collect_columns(expression);
        used.iter().all(|column| matches!(columns.get(column.index()), Some(Fill::Series)))
    };
    match input {
        Partitioning::Hash(by, count) if by.iter().all(is_repeated) => Partitioning::Hash(by.clone(), *count),
        other => Partitioning::UnknownPartitioning(other.partition_count()),
    }
}
