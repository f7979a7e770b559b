//! MERGE: one query finds the rows of the source with those of the target they match, chooses an action for each, and gives
//! the row that comes of it.
//!
//! ```text
//! Projection  _tm_unit, _tm_row, action, columns of the target (CASE action WHEN 1 THEN … END)
//!   Filter      action > 0
//!     Projection  everything below, and the action: the number of the first clause that applies
//!       source LEFT JOIN target ON condition
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::{Column as PlanColumn, DFSchemaRef, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Projection, lit, when};
use datafusion::sql::sqlparser::ast::{self, Ident, ObjectNamePart, SelectItem, SetExpr, TableFactor};
use tidemill_catalog::acl::Privileges;
use tidemill_catalog::record::ColumnDef;
use tidemill_catalog::table::scan::{ROW_COLUMN, UNIT_COLUMN};
use tidemill_udfs::types::SqlType;

use super::dml::{self, Beside, Overriding, Target, labelled, sql_type};
use super::typing::{Typed, Typing, output_types};
use super::{MergeAction, MergePlan, Planner, Scope, locate, prepare};
use crate::Result;
use crate::error::{Error, SqlState};
use crate::statement::parse::{DEFAULTS, NOTHING};

/// The column that tells the action.
const ACTION: &str = "\u{2}action";

/// One WHEN.
struct Clause<'m> {
    matched: bool,
    condition: Option<&'m ast::Expr>,
    action: MergeAction,
    /// What each column of the target becomes: `None` its default, for rows that have values at all.
    values: Vec<Option<ast::Expr>>,
    /// The columns that the statement itself gives values.
    given: BTreeSet<usize>,
}

pub(super) fn merge(
    planner: &Planner,
    scope: &Arc<Scope>,
    merge: &ast::Merge,
    with: Option<&ast::With>,
    types: &[SqlType],
) -> Result<MergePlan> {
    if merge.clauses.is_empty() {
        return Err(Error::new(SqlState::SYNTAX_ERROR, "syntax error at end of input"));
    }
    if merge.output.is_some() {
        return Err(Error::unsupported("MERGE … RETURNING is not supported"));
    }
    let (name, alias) = match &merge.table {
        TableFactor::Table { name, alias, args: None, .. } => (name, alias.as_ref().map(|alias| &alias.name)),
        _ => return Err(Error::new(SqlState::SYNTAX_ERROR, "MERGE needs one table")),
    };
    let target = dml::target(scope, name, alias)?;
    let clauses = merge.clauses.iter().map(|clause| Clause::of(&target, clause)).collect::<Result<Vec<_>>>()?;
    check_reachable(&clauses)?;
    let source = ast::TableWithJoins { relation: merge.source.clone(), joins: vec![] };
    let seen = Beside::new(planner, scope, with, std::slice::from_ref(&source))?;
    for clause in clauses.iter().filter(|clause| !clause.matched) {
        clause.check_names(&target, &seen)?;
    }
    let mut typing = Typing::new(scope, types);
    let (plan, places) = found(planner, scope, &target, merge, with, &clauses, &mut typing)?;
    let plan = chosen(planner, scope, &target, plan, &clauses, &places, &mut typing)?;
    let mut access = std::mem::take(&mut typing.access);
    for clause in &clauses {
        let ids = clause.given.iter().map(|place| target.def.columns[*place].id);
        match clause.action {
            MergeAction::Nothing => {}
            MergeAction::Delete => access.need(target.oid, Privileges::DELETE),
            MergeAction::Update => access.update(target.oid, ids),
            MergeAction::Insert => access.insert(target.oid, ids),
        }
    }
    let mut assigned = BTreeSet::new();
    for clause in &clauses {
        match clause.action {
            MergeAction::Insert => assigned.extend(0..target.def.columns.len()),
            MergeAction::Update => assigned.extend(&clause.given),
            MergeAction::Nothing | MergeAction::Delete => {}
        }
    }
    let columns = super::columns(&plan);
    let mut rows = planner.finished(scope, plan, columns, typing.parameters, vec![target.oid])?;
    rows.access = Arc::new(access);
    let actions = clauses.iter().map(|clause| clause.action).collect();
    Ok(MergePlan { table: target.oid, rows, actions, assigned: assigned.into_iter().collect() })
}

impl<'m> Clause<'m> {
    fn of(target: &Target, clause: &'m ast::MergeClause) -> Result<Self> {
        let matched = match clause.clause_kind {
            ast::MergeClauseKind::Matched => true,
            ast::MergeClauseKind::NotMatched => false,
            _ => return Err(Error::new(SqlState::SYNTAX_ERROR, "syntax error at or near \"BY\"")),
        };
        let condition = clause.predicate.as_ref();
        let nothing = Self { matched, condition, action: MergeAction::Nothing, values: vec![], given: BTreeSet::new() };
        match &clause.action {
            ast::MergeAction::Delete { .. } => Ok(Self { action: MergeAction::Delete, ..nothing }),
            ast::MergeAction::Update(update) => {
                if is_marked(update.assignments.first().map(|assignment| &assignment.target), NOTHING) {
                    return Ok(nothing);
                }
                let assigned = dml::assigned(target, &update.assignments)?;
                let given = (0..assigned.len()).filter(|place| assigned[*place].is_some()).collect();
                let values = assigned.into_iter().zip(&target.def.columns).map(|(value, column)| match value {
                    Some(value) => Some(value).filter(|value| !dml::is_default(value)),
                    None => Some(own(target, column)),
                });
                Ok(Self { action: MergeAction::Update, values: values.collect(), given, ..nothing })
            }
            ast::MergeAction::Insert(insert) => Self::insert(target, insert, nothing),
        }
    }

    fn insert(target: &Target, insert: &ast::MergeInsertExpr, nothing: Self) -> Result<Self> {
        let first = insert.columns.first().and_then(|name| name.0.first()).and_then(ObjectNamePart::as_ident);
        match first.map(|ident| ident.value.as_str()) {
            Some(NOTHING) => return Ok(nothing),
            Some(DEFAULTS) => {
                let values = vec![None; target.def.columns.len()];
                return Ok(Self { action: MergeAction::Insert, values, ..nothing });
            }
            _ => {}
        }
        let ast::MergeInsertKind::Values(rows) = &insert.kind else {
            return Err(Error::new(SqlState::SYNTAX_ERROR, "syntax error at or near \"ROW\""));
        };
        let [row] = rows.rows.as_slice() else {
            return Err(Error::new(SqlState::SYNTAX_ERROR, "MERGE inserts one row of VALUES"));
        };
        let (overriding, names) = Overriding::of(&insert.columns);
        let places = dml::insert_columns(target, names)?;
        dml::check_width(row.content.len(), places.len(), !names.is_empty())?;
        let mut values = vec![None; target.def.columns.len()];
        let mut given = BTreeSet::new();
        for (place, value) in places.into_iter().zip(&row.content) {
            given.insert(place);
            if !dml::is_default(value) && overriding.takes(&target.def.columns[place])? {
                values[place] = Some(value.clone());
            }
        }
        Ok(Self { action: MergeAction::Insert, values, given, ..nothing })
    }

    /// In WHEN NOT MATCHED there is no row of the target to name.
    fn check_names(&self, target: &Target, source: &Beside) -> Result<()> {
        let values = self.values.iter().flatten();
        for expr in self.condition.into_iter().chain(values) {
            let found = ast::visit_expressions(expr, |expr| match expr {
                ast::Expr::CompoundIdentifier(idents)
                    if idents.len() == 2 && dml::folded(&idents[0]) == target.shown =>
                {
                    let message = format!("invalid reference to FROM-clause entry for table \"{}\"", target.shown);
                    let hint = format!(
                        "There is an entry for table \"{}\", but it cannot be referenced from this part of the query.",
                        target.shown
                    );
                    std::ops::ControlFlow::Break(
                        Error::new(SqlState::UNDEFINED_TABLE, message)
                            .hint(hint)
                            .located(idents[0].span.start.line, idents[0].span.start.column),
                    )
                }
                ast::Expr::Identifier(ident)
                    if !source.has_column(&dml::folded(ident)) && target.def.column(&dml::folded(ident)).is_some() =>
                {
                    let name = dml::folded(ident);
                    let hint = format!(
                        "There is a column named \"{name}\" in table \"{}\", but it cannot be referenced from this part of \
                         the query.",
                        target.shown
                    );
                    let message = format!("column \"{name}\" does not exist");
                    std::ops::ControlFlow::Break(
                        Error::new(SqlState::UNDEFINED_COLUMN, message)
                            .hint(hint)
                            .located(ident.span.start.line, ident.span.start.column),
                    )
                }
                _ => std::ops::ControlFlow::Continue(()),
            });
            if let std::ops::ControlFlow::Break(error) = found {
                return Err(error);
            }
        }
        Ok(())
    }
}

fn is_marked(target: Option<&ast::AssignmentTarget>, mark: &str) -> bool {
    matches!(target, Some(ast::AssignmentTarget::ColumnName(name))
        if name.0.first().and_then(ObjectNamePart::as_ident).is_some_and(|ident| ident.value == mark))
}

fn own(target: &Target, column: &ColumnDef) -> ast::Expr {
    let ident = |name: &str| Ident::with_quote('"', name);
    ast::Expr::CompoundIdentifier(vec![ident(&target.shown), ident(&column.name)])
}

/// A clause after one of its kind without a condition would never apply.
fn check_reachable(clauses: &[Clause<'_>]) -> Result<()> {
    for matched in [true, false] {
        let mut of_kind = clauses.iter().filter(|clause| clause.matched == matched);
        if of_kind.any(|clause| clause.condition.is_none()) && of_kind.next().is_some() {
            return Err(Error::new(
                SqlState::SYNTAX_ERROR,
                "unreachable WHEN clause specified after unconditional WHEN clause",
            ));
        }
    }
    Ok(())
}

/// Where in the query's result a clause's condition and its values are, the values by the target's columns.
struct Places {
    condition: Option<usize>,
    values: Vec<Option<usize>>,
}

/// `SELECT locators, conditions, values FROM source LEFT JOIN target ON …`, output types as they are.
fn found(
    planner: &Planner,
    scope: &Arc<Scope>,
    target: &Target,
    merge: &ast::Merge,
    with: Option<&ast::With>,
    clauses: &[Clause<'_>],
    typing: &mut Typing,
) -> Result<(LogicalPlan, Vec<Places>)> {
    let ident = |name: &str| Ident::with_quote('"', name);
    let locator = |name| {
        let expr = ast::Expr::CompoundIdentifier(vec![ident(&target.shown), ident(name)]);
        SelectItem::ExprWithAlias { expr, alias: ident(&format!("\u{2}{name}")) }
    };
    let mut items = vec![locator(UNIT_COLUMN), locator(ROW_COLUMN)];
    let mut of_statement = vec![false, false];
    let mut add = |expr: ast::Expr, is_own: bool| {
        let alias = ident(&format!("\u{2}{}", items.len()));
        items.push(SelectItem::ExprWithAlias { expr, alias });
        of_statement.push(is_own);
        items.len() - 1
    };
    let mut places = vec![];
    for clause in clauses {
        let condition = clause.condition.map(|condition| add(condition.clone(), true));
        let values = clause.values.iter().enumerate();
        let values = values.map(|(at, value)| Some(add(value.clone()?, clause.given.contains(&at)))).collect();
        places.push(Places { condition, values });
    }
    let mut query = prepare::empty_query();
    query.with = with.cloned();
    let SetExpr::Select(select) = query.body.as_mut() else { return Err(Error::internal("a query that is no SELECT")) };
    select.projection = items;
    // Without WHEN NOT MATCHED the other rows of the source are of no use.
    let on = ast::JoinConstraint::On((*merge.on).clone());
    let join_operator = match clauses.iter().any(|clause| !clause.matched && clause.action != MergeAction::Nothing) {
        true => ast::JoinOperator::LeftOuter(on),
        false => ast::JoinOperator::Inner(on),
    };
    let join = ast::Join { relation: merge.table.clone(), global: false, join_operator };
    select.from = vec![ast::TableWithJoins { relation: merge.source.clone(), joins: vec![join] }];
    let scope = scope.with_locators(Some(target.oid));
    let is_own = |at: usize| of_statement.get(at).copied().unwrap_or(true);
    let named = planner.named(&scope, query.clone(), Some(&is_own)).map_err(|error| locate::in_query(error, &query))?;
    typing.access.extend(named.access);
    typing.access.read_only_if_named(target.oid);
    let mut inner = Typing::new(&scope, &typing.parameters);
    let plan = inner.plan(named.plan, &[], true).map_err(|error| locate::in_query(error, &query))?;
    typing.parameters = inner.parameters;
    Ok((plan, places))
}

/// The rows with the action that is taken, and what becomes of them.
fn chosen(
    planner: &Planner,
    scope: &Arc<Scope>,
    target: &Target,
    plan: LogicalPlan,
    clauses: &[Clause<'_>],
    places: &[Places],
    typing: &mut Typing,
) -> Result<LogicalPlan> {
    let types = output_types(&plan);
    let LogicalPlan::Projection(Projection { expr, input, .. }) = plan else {
        return Err(Error::internal("MERGE without a projection"));
    };
    let found: Vec<Expr> = expr.into_iter().map(Expr::unalias).collect();
    let typed = |at: usize| Typed::new(found[at].clone(), types[at].0.clone(), types[at].1.clone());
    let mut choices = [vec![], vec![]];
    for (number, (clause, places)) in (1_i32..).zip(clauses.iter().zip(places)) {
        // Doing nothing is an action too: the clauses after it do not apply.
        let number = if clause.action == MergeAction::Nothing { 0 } else { number };
        let condition = match places.condition {
            Some(at) => typing.condition(typed(at), "WHEN")?,
            None => lit(true),
        };
        choices[usize::from(clause.matched)].push((condition, lit(number)));
    }
    let [unmatched, matched] = choices.map(first_true);
    let action = when(found[0].clone().is_null(), unmatched?).otherwise(matched?)?;
    let mut below = columns_of(input.schema());
    below.push(action.alias(ACTION));
    let action = || Expr::Column(PlanColumn::new_unqualified(ACTION));
    let plan = LogicalPlanBuilder::from(input.as_ref().clone()).project(below)?;
    let plan = plan.filter(action().gt(lit(0_i32)))?.build()?;
    let mut exprs =
        vec![found[0].clone().alias(UNIT_COLUMN), found[1].clone().alias(ROW_COLUMN), action().alias(ACTION)];
    for (at, column) in target.def.columns.iter().enumerate() {
        let to = sql_type(column)?;
        let mut cases = vec![];
        for (number, (clause, places)) in (1_i32..).zip(clauses.iter().zip(places)) {
            let Some(place) = places.values.get(at) else { continue };
            let value = match place {
                Some(place) => dml::assign(typing, typed(*place), column)?,
                None => dml::default_value(planner, scope, column, typing)?,
            };
            debug_assert!(matches!(clause.action, MergeAction::Insert | MergeAction::Update));
            cases.push((action().eq(lit(number)), value.expr.unalias()));
        }
        let nothing = Expr::Literal(ScalarValue::try_from(&column.data_type)?, None);
        let mut cases = cases.into_iter();
        let value = match cases.next() {
            None => nothing,
            Some((condition, value)) => {
                let mut case = when(condition, value);
                for (condition, value) in cases {
                    case = case.when(condition, value);
                }
                case.otherwise(nothing)?
            }
        };
        exprs.push(labelled(Typed::new(value, to.clone(), column.data_type.clone()), column, &to));
    }
    Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?))
}

/// The number of the first condition that holds; 0: none.
fn first_true(choices: Vec<(Expr, Expr)>) -> Result<Expr> {
    let mut choices = choices.into_iter();
    let Some((condition, number)) = choices.next() else { return Ok(lit(0_i32)) };
    let mut case = when(condition, number);
    for (condition, number) in choices {
        case = case.when(condition, number);
    }
    Ok(case.otherwise(lit(0_i32))?)
}

fn columns_of(schema: &DFSchemaRef) -> Vec<Expr> {
    schema.iter().map(|(relation, field)| Expr::Column(PlanColumn::from((relation, field)))).collect()
}
