//! A statement that is not ours, planned: its kind, parameters and columns.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast;
use tidemill_udfs::types::SqlType;

use super::Column;
use super::portal::PlanKind;
use crate::plan::{MergePlan, ModifyPlan, Planner, Scope};
use crate::{Error, Result};

/// What a plan is made of: its kind, the types of its parameters, the columns of its result.
pub(super) type Made = (PlanKind, Vec<SqlType>, Option<Vec<Column>>);

/// Plans a statement that is not ours and has no WITH that changes data.
pub(super) fn plan_sql(planner: &Planner, scope: &Arc<Scope>, sql: &ast::Statement, types: &[SqlType]) -> Result<Made> {
    Ok(match sql {
        ast::Statement::Query(query) if changes_data(query) => match query.body.as_ref() {
            ast::SetExpr::Update(ast::Statement::Update(update)) => {
                modify(planner.update(scope, update, query.with.as_ref(), types)?, "UPDATE")
            }
            ast::SetExpr::Delete(ast::Statement::Delete(delete)) => {
                modify(planner.delete(scope, delete, query.with.as_ref(), types)?, "DELETE")
            }
            ast::SetExpr::Merge(ast::Statement::Merge(merge)) => {
                merged(planner.merge(scope, merge, query.with.as_ref(), types)?)
            }
            _ => return Err(Error::unsupported("this statement is not supported")),
        },
        ast::Statement::Query(query) => {
            let plan = planner.query(scope, query, types)?;
            let columns = plan.columns.clone();
            let parameters = plan.parameters.clone();
            (PlanKind::Query(plan), parameters, Some(columns))
        }
        ast::Statement::Insert(insert) => {
            let plan = planner.insert(scope, insert, types)?;
            let columns = plan.returning.as_ref().map(|returning| returning.columns.clone());
            let parameters = plan.source.parameters.clone();
            (PlanKind::Insert(Arc::new(plan)), parameters, columns)
        }
        ast::Statement::Update(update) => {
            let plan = planner.update(scope, update, None, types)?;
            modify(plan, "UPDATE")
        }
        ast::Statement::Delete(delete) => {
            let plan = planner.delete(scope, delete, None, types)?;
            modify(plan, "DELETE")
        }
        ast::Statement::Merge(merge) => merged(planner.merge(scope, merge, None, types)?),
        _ => return Err(Error::unsupported("this statement is not supported")),
    })
}

/// True for a statement under WITH that is not a query.
pub(crate) fn changes_data(query: &ast::Query) -> bool {
    use ast::SetExpr as S;
    matches!(query.body.as_ref(), S::Insert(_) | S::Update(_) | S::Delete(_) | S::Merge(_))
}

fn modify(plan: ModifyPlan, command: &'static str) -> Made {
    let columns = plan.returning.as_ref().map(|returning| returning.columns.clone());
    let parameters = plan.locate.parameters.clone();
    (PlanKind::Modify(Arc::new(plan), command), parameters, columns)
}

fn merged(plan: MergePlan) -> Made {
    let parameters = plan.rows.parameters.clone();
    (PlanKind::Merge(Arc::new(plan)), parameters, None)
}
