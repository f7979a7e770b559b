//! Queries over one state of a table that is no snapshot's: rows converted, keys that repeat, conditions that fail.

use std::sync::Arc;

use datafusion::common::{Column as PlanColumn, TableReference};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Projection};
use datafusion::sql::sqlparser::ast;
use tidemill_catalog::record::TableDef;
use tidemill_catalog::snapshot::TableState;
use tidemill_udfs::types::SqlType;

use super::dml::{labelled, sql_type};
use super::typing::Typing;
use super::{Conversion, Plan, Planner, Scope};
use crate::Result;
use crate::error::{Error, SqlState};

/// A scan of one state of a table.
fn scan_of(scope: &Arc<Scope>, name: &str, state: &Arc<TableState>) -> Result<LogicalPlan> {
    let provider = tidemill_catalog::table::scan::SnapshotTable {
        store: (state.oid < super::TEMP_SCHEMA).then(|| Arc::clone(&scope.instance.store)),
        state: Arc::clone(state),
        locators: false,
    };
    let source = datafusion::datasource::provider_as_source(Arc::new(provider));
    Ok(LogicalPlanBuilder::scan(TableReference::bare(name), source, None)?.build()?)
}

/// See [`Planner::converted_rows`].
pub(super) fn converted_rows(
    planner: &Planner,
    scope: &Arc<Scope>,
    table: &str,
    state: &Arc<TableState>,
    conversions: &[Conversion<'_>],
) -> Result<Plan> {
    let scan = scan_of(scope, table, state)?;
    let schema = Arc::clone(scan.schema());
    let mut typing = Typing::new(scope, &[]);
    let mut exprs = vec![];
    for (place, column) in state.def.columns.iter().enumerate() {
        let (relation, field) = schema.qualified_field(place);
        let own = super::typing::column(PlanColumn::from((relation, field)), field);
        let Some(conversion) = conversions.iter().find(|conversion| conversion.at == place) else {
            exprs.push(labelled(own, column, &sql_type(column)?));
            continue;
        };
        let to = &conversion.to;
        let refused = |what: String, hint: String| {
            let message = format!("{what} cannot be cast automatically to type {}", to.plain_name());
            Error::new(SqlState::DATATYPE_MISMATCH, message).hint(hint)
        };
        let value = match conversion.using {
            None if !super::types::assignable(&own.sql_type, to) => {
                let hint = format!("You might need to specify \"USING {}::{}\".", column.name, to.name());
                return Err(refused(format!("column \"{}\"", column.name), hint));
            }
            None => own,
            Some(using) => {
                let value = planner.typed_expression(scope, &schema, using, &mut typing)?;
                if value.sql_type != SqlType::Unknown && !super::types::assignable(&value.sql_type, to) {
                    let hint = "You might need to add an explicit cast.".to_owned();
                    return Err(refused(format!("result of USING clause for column \"{}\"", column.name), hint));
                }
                value
            }
        };
        let value = typing.assign(value, to, to.data_type(), &column.name)?;
        exprs.push(labelled(value, column, to));
    }
    let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(scan))?);
    planner.finished(scope, plan, vec![], vec![], vec![])
}

/// See [`Planner::repeated_key`].
pub(super) async fn repeated_key(
    planner: &Planner,
    scope: &Arc<Scope>,
    table: &str,
    state: &Arc<TableState>,
    def: &TableDef,
) -> Result<Option<Vec<String>>> {
    use datafusion::functions_aggregate::expr_fn::count;
    use datafusion::logical_expr::lit;
    use futures::TryStreamExt;
    let keys: Vec<Expr> = (def.primary_key.iter())
        .map(|name| Expr::Column(PlanColumn::new(Some(TableReference::bare(table)), name)))
        .collect();
    // A key with a NULL in it is like no other.
    let present = keys.iter().cloned().map(Expr::is_not_null).reduce(Expr::and).unwrap_or_else(|| lit(true));
    let plan = LogicalPlanBuilder::from(scan_of(scope, table, state)?)
        .filter(present)?
        .aggregate(keys, vec![count(lit(1_i64)).alias("\u{2}count")])?
        .filter(Expr::Column(PlanColumn::new_unqualified("\u{2}count")).gt(lit(1_i64)))?
        .limit(0, Some(1))?
        .build()?;
    let plan = planner.finished(scope, plan, vec![], vec![], vec![])?;
    let physical = planner.physical(scope, &plan, &[]).await?;
    let mut stream = planner.run(scope, physical)?;
    while let Some(batch) = stream.try_next().await? {
        if batch.num_rows() == 0 {
            continue;
        }
        let text = |(array, key): (&datafusion::arrow::array::ArrayRef, usize)| {
            let field = sql_type(&def.columns[key])?.field("", true);
            let settings = tidemill_udfs::types::TextSettings::default();
            let text = tidemill_udfs::types::array_to_text(&array.slice(0, 1), &field, &settings)?;
            Ok(text.value(0).to_owned())
        };
        return batch.columns().iter().zip(def.key_columns()).map(text).collect::<Result<_>>().map(Some);
    }
    Ok(None)
}

/// See [`Planner::any_row_violates`].
pub(super) async fn any_row_violates(
    planner: &Planner,
    scope: &Arc<Scope>,
    state: &Arc<TableState>,
    condition: &ast::Expr,
) -> Result<bool> {
    use futures::TryStreamExt;
    let scan = scan_of(scope, "t", state)?;
    let schema = Arc::clone(scan.schema());
    let mut typing = Typing::new(scope, &[]);
    let value = planner.typed_expression(scope, &schema, condition, &mut typing)?;
    let condition = typing.condition(value, "CHECK")?;
    let plan = LogicalPlanBuilder::from(scan).filter(Expr::IsFalse(Box::new(condition)))?.limit(0, Some(1))?.build()?;
    let plan = planner.finished(scope, plan, vec![], vec![], vec![])?;
    let physical = planner.physical(scope, &plan, &[]).await?;
    let mut stream = planner.run(scope, physical)?;
    while let Some(batch) = stream.try_next().await? {
        if batch.num_rows() > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}
