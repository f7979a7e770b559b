//! INSERT (`insert.rs`), UPDATE, DELETE: which rows, cast as by assignment, defaults filled in; RETURNING over the table's
//! columns.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::{Column as PlanColumn, DFSchema};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection};
use datafusion::sql::sqlparser::ast::{
    self, AssignmentTarget, FromTable, Ident, ObjectName, ObjectNamePart, SelectItem, SetExpr, TableFactor,
    TableWithJoins, UpdateTableFromKind,
};
use tidemill_catalog::Oid;
use tidemill_catalog::acl::Privileges;
use tidemill_catalog::record::{Body, ColumnDef, SequenceRule, TableDef};
use tidemill_catalog::table::scan::{ROW_COLUMN, UNIT_COLUMN};
use tidemill_udfs::types::{SQL_TYPE_KEY, SqlType};

use super::access::Accesses;
use super::context::Resolved;
use super::typing::{self, Typed, Typing, output_types, type_metadata};
use super::{ModifyPlan, Planner, Returning, Scope, locate, prepare};
use crate::Result;
use crate::error::{Error, SqlState};
use crate::session::Column;
use crate::statement::parse;

mod insert;
pub(super) use insert::{Overriding, check_width, insert, insert_columns};

/// The table a statement changes.
pub(super) struct Target {
    pub(super) oid: Oid,
    /// Its name in messages.
    name: String,
    /// How the statement calls it: its alias or name.
    pub(super) shown: String,
    pub(super) def: Arc<TableDef>,
}

impl Target {
    /// Adds the columns that expressions over its rows read, and what subqueries in them do.
    fn read(&self, access: &mut Accesses, expressions: &[Expr], typing: &mut Typing) {
        let outer = std::mem::take(&mut typing.outer_columns);
        let named = expressions.iter().flat_map(Expr::column_refs).map(|column| column.name.as_str());
        let all: Vec<&str> = named.chain(outer.iter().map(|column| column.name.as_str())).collect();
        let ids: Vec<i32> = self
            .def
            .columns
            .iter()
            .filter(|column| all.contains(&column.name.as_str()))
            .map(|column| column.id)
            .collect();
        if !ids.is_empty() {
            access.select(self.oid, None, ids);
        }
        access.extend(std::mem::take(&mut typing.access));
    }
}

pub(super) fn folded(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

pub(super) fn target(scope: &Arc<Scope>, name: &ObjectName, alias: Option<&Ident>) -> Result<Target> {
    let parts: Vec<String> = name.0.iter().filter_map(ObjectNamePart::as_ident).map(folded).collect();
    let (database, schema, table) = match parts.as_slice() {
        [table] => (None, None, table),
        [schema, table] => (None, Some(schema.as_str()), table),
        [database, schema, table] => (Some(database.as_str()), Some(schema.as_str()), table),
        _ => return Err(Error::new(SqlState::SYNTAX_ERROR, format!("improper qualified name: {name}"))),
    };
    let located = |error: Error| match name.0.first().and_then(ObjectNamePart::as_ident) {
        Some(ident) if ident.span.start.line > 0 => error.located(ident.span.start.line, ident.span.start.column),
        _ => error,
    };
    let resolved = scope.resolve(database, schema, table).map_err(located)?;
    match resolved {
        Resolved::Object(object, _) => match &object.body {
            Body::Table(def) => Ok(Target {
                oid: object.oid,
                name: table.clone(),
                shown: alias.map_or_else(|| table.clone(), folded),
                def: Arc::clone(def),
            }),
            Body::Sequence(_) => {
                Err(Error::new(SqlState::WRONG_OBJECT_TYPE, format!("cannot change sequence \"{table}\"")))
            }
            _ => Err(Error::new(SqlState::WRONG_OBJECT_TYPE, format!("cannot change view \"{table}\""))
                .detail("Views are not automatically updatable.")),
        },
        Resolved::System(..) => Err(Error::new(
            SqlState::INSUFFICIENT_PRIVILEGE,
            format!("permission denied: \"{table}\" is a system catalog"),
        )),
    }
}

pub(super) fn sql_type(column: &ColumnDef) -> Result<SqlType> {
    Ok(SqlType::of_stored(&column.sql_type)?)
}

/// A value as one of a column, to as many digits of a second as it keeps.
pub(crate) fn assign(typing: &mut Typing<'_>, value: Typed, column: &ColumnDef) -> Result<Typed> {
    let value = typing.assign(value, &sql_type(column)?, column.data_type.clone(), &column.name)?;
    Ok(match SqlType::stored_precision(&column.sql_type) {
        Some(digits) => typing::to_precision(value, digits),
        None => value,
    })
}

fn undefined_column(target: &Target, name: &str, ident: &Ident) -> Error {
    let error = Error::new(
        SqlState::UNDEFINED_COLUMN,
        format!("column \"{name}\" of relation \"{}\" does not exist", target.name),
    );
    if ident.span.start.line > 0 { error.located(ident.span.start.line, ident.span.start.column) } else { error }
}

/// The position of a column in the table, by its name in a column list or SET.
fn column_index(target: &Target, name: &ObjectName) -> Result<usize> {
    let ident = match name.0.as_slice() {
        [part] => part.as_ident(),
        // SET t.a = 1 is an error in PostgreSQL too, but one of a composite column: say the same of the first name.
        parts => parts.first().and_then(ObjectNamePart::as_ident),
    }
    .ok_or_else(|| Error::new(SqlState::SYNTAX_ERROR, format!("bad column name {name}")))?;
    let folded = folded(ident);
    target
        .def
        .columns
        .iter()
        .position(|column| column.name == folded)
        .ok_or_else(|| undefined_column(target, &folded, ident))
}

/// The default of a column as a value of its type; NULL where it has none.
pub(super) fn default_value(
    planner: &Planner,
    scope: &Arc<Scope>,
    column: &ColumnDef,
    typing: &mut Typing,
) -> Result<Typed> {
    if let Some(sequence) = &column.sequence {
        let oid = Typed::literal(datafusion::common::ScalarValue::UInt32(Some(sequence.oid)), SqlType::RegClass);
        let call = ScalarFunction::new_udf(super::system::nextval(scope, sequence.rule), vec![oid.expr]);
        let value = Typed::of(Expr::ScalarFunction(call), SqlType::Int8);
        return assign(typing, value, column);
    }
    let of_domain = || scope.domain(column.user_type?).and_then(|(_, domain)| domain.default.clone());
    let Some(text) = column.default.clone().or_else(of_domain) else { return null_value(column, typing) };
    let expr = parse::parse_expression(&text).map_err(|error| {
        Error::internal(format!("the default of column \"{}\" does not parse: {error}", column.name))
    })?;
    let value = planner.typed_expression(scope, &DFSchema::empty(), &expr, typing).map_err(Error::without_location)?;
    assign(typing, value, column)
}

/// NULL as a column's value.
fn null_value(column: &ColumnDef, typing: &mut Typing) -> Result<Typed> {
    let null = Typed::new(Expr::Literal(datafusion::common::ScalarValue::Null, None), SqlType::Unknown, DataType::Null);
    typing.assign(null, &sql_type(column)?, column.data_type.clone(), &column.name)
}

/// What SET assigns to each column.
pub(super) fn assigned(target: &Target, assignments: &[ast::Assignment]) -> Result<Vec<Option<ast::Expr>>> {
    let mut assigned: Vec<Option<ast::Expr>> = vec![None; target.def.columns.len()];
    let mut set = |name: &ObjectName, value: ast::Expr| -> Result<()> {
        let place = column_index(target, name)?;
        if assigned[place].is_some() {
            return Err(Error::new(
                SqlState::SYNTAX_ERROR,
                format!("multiple assignments to same column \"{}\"", target.def.columns[place].name),
            ));
        }
        assigned[place] = Some(value);
        Ok(())
    };
    for assignment in assignments {
        match &assignment.target {
            AssignmentTarget::ColumnName(name) => set(name, assignment.value.clone())?,
            AssignmentTarget::Tuple(names) => {
                for (name, value) in names.iter().zip(tuple_values(&assignment.value, names.len())?) {
                    set(name, value)?;
                }
            }
        }
    }
    for (column, value) in target.def.columns.iter().zip(&assigned) {
        let always = column.sequence.is_some_and(|sequence| sequence.rule == SequenceRule::Always);
        if always && value.as_ref().is_some_and(|value| !is_default(value)) {
            return Err(generated(column, format!("column \"{}\" can only be updated to DEFAULT", column.name)));
        }
    }
    Ok(assigned)
}

/// 428C9 of a column GENERATED ALWAYS.
fn generated(column: &ColumnDef, message: String) -> Error {
    let detail = format!("Column \"{}\" is an identity column defined as GENERATED ALWAYS.", column.name);
    Error::new(SqlState::GENERATED_ALWAYS, message).detail(detail)
}

pub(super) fn is_default(expr: &ast::Expr) -> bool {
    matches!(expr, ast::Expr::Identifier(ident) if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default"))
}

pub(super) fn labelled(value: Typed, column: &ColumnDef, to: &SqlType) -> Expr {
    let stored = to.stored_with(SqlType::stored_precision(&column.sql_type));
    let metadata = HashMap::from([(SQL_TYPE_KEY.to_owned(), stored)]);
    let metadata = datafusion::common::metadata::FieldMetadata::from(metadata);
    value.expr.unalias().alias_with_metadata(&column.name, Some(metadata))
}

/// Columns of the tables beside the target (FROM, USING) that RETURNING names.
#[derive(Default)]
pub(super) struct Beside {
    /// (table, column) of all of them.
    all: Vec<(Option<String>, String)>,
    /// Those named so far, as the query that finds the rows selects them.
    named: Vec<ast::Expr>,
}

impl Beside {
    pub(super) fn new(
        planner: &Planner,
        scope: &Arc<Scope>,
        with: Option<&ast::With>,
        tables: &[TableWithJoins],
    ) -> Result<Self> {
        if tables.is_empty() {
            return Ok(Self::default());
        }
        let mut query = prepare::empty_query();
        query.with = with.cloned();
        let SetExpr::Select(select) = query.body.as_mut() else { return Ok(Self::default()) };
        select.projection = vec![SelectItem::Wildcard(ast::WildcardAdditionalOptions::default())];
        select.from = tables.to_vec();
        let named = planner.named(scope, query.clone(), None).map_err(|error| locate::in_query(error, &query))?;
        let all = named
            .plan
            .schema()
            .iter()
            .map(|(relation, field)| {
                (relation.map(|relation| relation.table().to_owned()), prepare::shown(field.name()).to_owned())
            })
            .collect();
        Ok(Self { all, named: vec![] })
    }

    /// True if one of the tables has a column of that name.
    pub(super) fn has_column(&self, name: &str) -> bool {
        self.all.iter().any(|(_, column)| column == name)
    }

    /// The name under which RETURNING's rows have such a column.
    fn column(&mut self, expr: ast::Expr) -> ast::Expr {
        let at = self.named.iter().position(|known| *known == expr).unwrap_or_else(|| {
            self.named.push(expr);
            self.named.len() - 1
        });
        ast::Expr::Identifier(Ident::with_quote('"', beside_name(at)))
    }

    /// The expression with columns of other tables under those names.
    fn rewritten(&mut self, target: &Target, expr: &ast::Expr) -> ast::Expr {
        let mut expr = expr.clone();
        let _ = ast::visit_expressions_mut(&mut expr, |expr| {
            let known = match &*expr {
                ast::Expr::Identifier(ident) => {
                    let name = folded(ident);
                    !target.def.columns.iter().any(|column| column.name == name)
                        && self.all.iter().any(|(_, column)| *column == name)
                }
                ast::Expr::CompoundIdentifier(idents) => match idents.as_slice() {
                    [table, column] => {
                        let (table, column) = (folded(table), folded(column));
                        table != target.shown
                            && self.all.iter().any(|(own, name)| own.as_ref() == Some(&table) && *name == column)
                    }
                    _ => false,
                },
                _ => false,
            };
            if known {
                *expr = self.column(expr.clone());
            }
            std::ops::ControlFlow::<()>::Continue(())
        });
        expr
    }

    /// RETURNING's items with what they name of other tables under names of its own; `*` has all of them.
    fn items(&mut self, target: &Target, items: &[SelectItem]) -> Vec<SelectItem> {
        let mut result = vec![];
        for item in items {
            match item {
                SelectItem::UnnamedExpr(expr) => result.push(SelectItem::ExprWithAlias {
                    alias: Ident::with_quote('"', prepare::column_name(expr)),
                    expr: self.rewritten(target, expr),
                }),
                SelectItem::ExprWithAlias { expr, alias } => {
                    result.push(SelectItem::ExprWithAlias { expr: self.rewritten(target, expr), alias: alias.clone() })
                }
                SelectItem::Wildcard(_) => {
                    result.push(item.clone());
                    for (table, column) in self.all.clone() {
                        let name = Ident::with_quote('"', &column);
                        let expr = match table {
                            Some(table) => ast::Expr::CompoundIdentifier(vec![Ident::with_quote('"', table), name]),
                            None => ast::Expr::Identifier(name),
                        };
                        let alias = Ident::with_quote('"', column);
                        result.push(SelectItem::ExprWithAlias { expr: self.column(expr), alias });
                    }
                }
                other => result.push(other.clone()),
            }
        }
        result
    }
}

fn beside_name(at: usize) -> String {
    format!("\u{3}{at}")
}

/// RETURNING's items over the table's columns and those `beside` it: fields of the plan that finds the rows.
fn returning(
    planner: &Planner,
    scope: &Arc<Scope>,
    target: &Target,
    items: &[SelectItem],
    beside: Vec<Arc<Field>>,
    typing: &mut Typing,
) -> Result<Returning> {
    let mut schema = DFSchema::try_from_qualified_schema(target.shown.as_str(), &target.def.schema())?;
    if !beside.is_empty() {
        schema.merge(&DFSchema::from_unqualified_fields(beside.clone().into(), HashMap::new())?);
    }
    let mut expressions = vec![];
    let mut columns = vec![];
    for item in items {
        let (expr, name) = match item {
            SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => {
                for column in &target.def.columns {
                    expressions.push(Expr::Column(PlanColumn::new_unqualified(&column.name)));
                    columns.push(returned(target, &column.name, sql_type(column)?, Some(column)));
                }
                continue;
            }
            SelectItem::UnnamedExpr(expr) => (expr, None),
            SelectItem::ExprWithAlias { expr, alias } => (expr, Some(folded(alias))),
            SelectItem::ExprWithAliases { .. } => {
                return Err(Error::new(SqlState::SYNTAX_ERROR, "a RETURNING item has one name"));
            }
        };
        let value = planner.typed_expression(scope, &schema, expr, typing)?;
        let value = typing.settled(value)?;
        let name = name.unwrap_or_else(|| prepare::column_name(expr));
        let origin = match &value.expr {
            Expr::Column(column) => target.def.column(&column.name),
            _ => None,
        };
        columns.push(returned(target, &name, value.sql_type.clone(), origin));
        expressions.push(unqualified(value.expr)?);
    }
    Ok(Returning { expressions, columns, beside })
}

/// The columns beside the table's own in a plan of located rows.
fn beside_fields(target: &Target, plan: &LogicalPlan) -> Vec<Arc<Field>> {
    plan.schema().fields().iter().skip(2 + target.def.columns.len()).map(Arc::clone).collect()
}

fn returned(target: &Target, name: &str, sql_type: SqlType, origin: Option<&ColumnDef>) -> Column {
    Column {
        name: name.to_owned(),
        sql_type,
        precision: origin.and_then(|column| SqlType::stored_precision(&column.sql_type)),
        table_oid: origin.map_or(0, |_| target.oid),
        attribute: origin.and_then(|column| i16::try_from(column.id).ok()).unwrap_or(0),
    }
}

/// Columns without the table's alias: the rows RETURNING sees are the table's, whatever the statement called it.
fn unqualified(expr: Expr) -> Result<Expr> {
    use datafusion::common::tree_node::{Transformed, TreeNode};
    let expr = expr.transform(|expr| match expr {
        Expr::Column(column) => Ok(Transformed::yes(Expr::Column(PlanColumn::new_unqualified(column.name)))),
        other => Ok(Transformed::no(other)),
    })?;
    Ok(expr.data)
}

/// The target as UPDATE and DELETE write it.
fn modified_table<'a>(table: &'a TableWithJoins, command: &str) -> Result<(&'a ObjectName, Option<&'a Ident>)> {
    match &table.relation {
        TableFactor::Table { name, alias, args: None, .. } if table.joins.is_empty() => {
            Ok((name, alias.as_ref().map(|alias| &alias.name)))
        }
        _ => Err(Error::new(SqlState::SYNTAX_ERROR, format!("{command} needs one table"))),
    }
}

/// `SELECT locators, items FROM target, others WHERE selection`, and its output types as they are. `is_own`: which of the
/// items are the statement's.
#[expect(clippy::too_many_arguments, reason = "they are the clauses of the statement")]
fn locating(
    planner: &Planner,
    scope: &Arc<Scope>,
    target: &Target,
    table: TableWithJoins,
    others: &[TableWithJoins],
    items: Vec<SelectItem>,
    selection: Option<ast::Expr>,
    with: Option<&ast::With>,
    is_own: &dyn Fn(usize) -> bool,
    typing: &mut Typing,
) -> Result<LogicalPlan> {
    let scope = scope.with_locators(Some(target.oid));
    let mut query = prepare::empty_query();
    query.with = with.cloned();
    let SetExpr::Select(select) = query.body.as_mut() else { return Err(Error::internal("a query that is no SELECT")) };
    let column = |name: &str| {
        SelectItem::UnnamedExpr(ast::Expr::CompoundIdentifier(vec![
            Ident::with_quote('"', &target.shown),
            Ident::with_quote('"', name),
        ]))
    };
    select.projection = vec![column(UNIT_COLUMN), column(ROW_COLUMN)];
    select.projection.extend(items);
    select.from = vec![table];
    select.from.extend(others.iter().cloned());
    select.selection = selection;
    let is_own = |at: usize| at >= 2 && is_own(at - 2);
    let named = planner.named(&scope, query.clone(), Some(&is_own)).map_err(|error| locate::in_query(error, &query))?;
    typing.access.extend(named.access);
    typing.access.read_only_if_named(target.oid);
    let mut inner = Typing::new(&scope, &typing.parameters);
    let plan = inner.plan(named.plan, &[], true).map_err(|error| locate::in_query(error, &query))?;
    typing.parameters = inner.parameters;
    Ok(plan)
}

/// What UPDATE or DELETE needs, now that RETURNING is known.
fn modify_access(target: &Target, returning: Option<&Returning>, typing: &mut Typing) -> Accesses {
    let mut access = std::mem::take(&mut typing.access);
    if let Some(returning) = returning {
        target.read(&mut access, &returning.expressions, typing);
    }
    access
}

/// Plans UPDATE.
pub(super) fn update(
    planner: &Planner,
    scope: &Arc<Scope>,
    update: &ast::Update,
    with: Option<&ast::With>,
    types: &[SqlType],
) -> Result<ModifyPlan> {
    let (name, alias) = modified_table(&update.table, "UPDATE")?;
    let target = target(scope, name, alias)?;
    let assigned = assigned(&target, &update.assignments)?;
    let places = (0..assigned.len()).filter(|place| assigned[*place].is_some()).collect();
    let mut typing = Typing::new(scope, types);
    let mut items = Vec::with_capacity(assigned.len());
    let mut defaults = vec![];
    for (place, (column, value)) in target.def.columns.iter().zip(&assigned).enumerate() {
        let own = ast::Expr::CompoundIdentifier(vec![
            Ident::with_quote('"', &target.shown),
            Ident::with_quote('"', &column.name),
        ]);
        let expr = match value {
            Some(value) if is_default(value) => {
                defaults.push(place);
                own
            }
            Some(value) => value.clone(),
            None => own,
        };
        items.push(SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', format!("\u{2}{place}")) });
    }
    let others: &[TableWithJoins] = match &update.from {
        Some(UpdateTableFromKind::AfterSet(from) | UpdateTableFromKind::BeforeSet(from)) => from,
        None => &[],
    };
    let (returned, beside) = returned_items(planner, scope, &target, with, others, update.returning.as_deref())?;
    items.extend(beside);
    let table = update.table.clone();
    let assigns = |place: usize| assigned.get(place).is_none_or(Option::is_some) && !defaults.contains(&place);
    typing.access.update(
        target.oid,
        (0..assigned.len()).filter(|place| assigned[*place].is_some()).map(|place| target.def.columns[place].id),
    );
    let selection = update.selection.clone();
    let plan = locating(planner, scope, &target, table, others, items, selection, with, &assigns, &mut typing)?;
    let plan = assigned_rows(planner, scope, &target, plan, &defaults, &mut typing)?;
    let beside = beside_fields(&target, &plan);
    let returning =
        returned.map(|items| returning(planner, scope, &target, &items, beside, &mut typing)).transpose()?;
    let columns = super::columns(&plan);
    let access = modify_access(&target, returning.as_ref(), &mut typing);
    let mut locate = planner.finished(scope, plan, columns, typing.parameters, vec![target.oid])?;
    locate.access = Arc::new(access);
    Ok(ModifyPlan { table: target.oid, locate, has_rows: true, assigned: places, returning })
}

/// RETURNING's items, and what of other tables the query that finds the rows must select for them.
fn returned_items(
    planner: &Planner,
    scope: &Arc<Scope>,
    target: &Target,
    with: Option<&ast::With>,
    others: &[TableWithJoins],
    items: Option<&[SelectItem]>,
) -> Result<(Option<Vec<SelectItem>>, Vec<SelectItem>)> {
    let Some(items) = items else { return Ok((None, vec![])) };
    if others.is_empty() {
        return Ok((Some(items.to_vec()), vec![]));
    }
    let mut beside = Beside::new(planner, scope, with, others)?;
    let items = beside.items(target, items);
    let selected = beside
        .named
        .into_iter()
        .enumerate()
        .map(|(at, expr)| SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', beside_name(at)) })
        .collect();
    Ok((Some(items), selected))
}

fn tuple_values(value: &ast::Expr, width: usize) -> Result<Vec<ast::Expr>> {
    let mut value = value;
    while let ast::Expr::Nested(inner) = value {
        value = inner;
    }
    let values = match value {
        ast::Expr::Tuple(values) => values.clone(),
        ast::Expr::Subquery(query) => {
            // Each column reads the subquery again; all see the same snapshot.
            let SetExpr::Select(select) = query.body.as_ref() else {
                return Err(Error::unsupported("this subquery in SET is not supported"));
            };
            (0..select.projection.len())
                .map(|index| {
                    let mut one = query.as_ref().clone();
                    if let SetExpr::Select(select) = one.body.as_mut() {
                        select.projection = vec![select.projection[index].clone()];
                    }
                    ast::Expr::Subquery(Box::new(one))
                })
                .collect()
        }
        ast::Expr::Function(function) if function.name.to_string().eq_ignore_ascii_case("row") => {
            match &function.args {
                ast::FunctionArguments::List(list) => list
                    .args
                    .iter()
                    .filter_map(|arg| match arg {
                        ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
                        _ => None,
                    })
                    .collect(),
                _ => vec![],
            }
        }
        other => vec![other.clone()],
    };
    if values.len() != width {
        return Err(Error::new(SqlState::SYNTAX_ERROR, "number of columns does not match number of values"));
    }
    Ok(values)
}

/// The located rows with every column assigned its new value.
fn assigned_rows(
    planner: &Planner,
    scope: &Arc<Scope>,
    target: &Target,
    plan: LogicalPlan,
    defaults: &[usize],
    typing: &mut Typing,
) -> Result<LogicalPlan> {
    let have = output_types(&plan);
    let mut wanted = have.clone();
    for (place, column) in target.def.columns.iter().enumerate() {
        if wanted[place + 2].0 == SqlType::Unknown {
            wanted[place + 2] = (sql_type(column)?, column.data_type.clone());
        }
    }
    let plan = typing.coerce_output(plan, &wanted)?;
    let schema = Arc::clone(plan.schema());
    let mut exprs: Vec<Expr> = (0..2)
        .map(|index| {
            let (relation, field) = schema.qualified_field(index);
            Expr::Column(PlanColumn::from((relation, field))).alias(field.name())
        })
        .collect();
    for (place, column) in target.def.columns.iter().enumerate() {
        let to = sql_type(column)?;
        let value = if defaults.contains(&place) {
            default_value(planner, scope, column, typing)?
        } else {
            let (relation, field) = schema.qualified_field(place + 2);
            let value = super::typing::column(PlanColumn::from((relation, field)), field);
            assign(typing, value, column)?
        };
        exprs.push(labelled(value, column, &to));
    }
    for index in 2 + target.def.columns.len()..schema.fields().len() {
        let (relation, field) = schema.qualified_field(index);
        let value = typing.settled(super::typing::column(PlanColumn::from((relation, field)), field))?;
        let metadata = datafusion::common::metadata::FieldMetadata::from(type_metadata(&value.sql_type));
        exprs.push(value.expr.unalias().alias_with_metadata(field.name(), Some(metadata)));
    }
    Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?))
}

/// Plans DELETE.
pub(super) fn delete(
    planner: &Planner,
    scope: &Arc<Scope>,
    delete: &ast::Delete,
    with: Option<&ast::With>,
    types: &[SqlType],
) -> Result<ModifyPlan> {
    let (FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables)) = &delete.from;
    let [table] = tables.as_slice() else {
        return Err(Error::new(SqlState::SYNTAX_ERROR, "DELETE needs one table"));
    };
    let (name, alias) = modified_table(table, "DELETE")?;
    let target = target(scope, name, alias)?;
    let mut typing = Typing::new(scope, types);
    let has_rows = delete.returning.is_some();
    let mut items: Vec<SelectItem> = if has_rows {
        target
            .def
            .columns
            .iter()
            .enumerate()
            .map(|(place, column)| SelectItem::ExprWithAlias {
                expr: ast::Expr::CompoundIdentifier(vec![
                    Ident::with_quote('"', &target.shown),
                    Ident::with_quote('"', &column.name),
                ]),
                alias: Ident::with_quote('"', format!("\u{2}{place}")),
            })
            .collect()
    } else {
        vec![]
    };
    let others = delete.using.as_deref().unwrap_or_default();
    let (returned, beside) = returned_items(planner, scope, &target, with, others, delete.returning.as_deref())?;
    items.extend(beside);
    let (table, selection) = (table.clone(), delete.selection.clone());
    typing.access.need(target.oid, Privileges::DELETE);
    let others_only = |place: usize| place >= target.def.columns.len();
    let plan = locating(planner, scope, &target, table, others, items, selection, with, &others_only, &mut typing)?;
    let plan = if has_rows { assigned_rows(planner, scope, &target, plan, &[], &mut typing)? } else { plan };
    let beside = if has_rows { beside_fields(&target, &plan) } else { vec![] };
    let returning =
        returned.map(|items| returning(planner, scope, &target, &items, beside, &mut typing)).transpose()?;
    let columns = super::columns(&plan);
    let access = modify_access(&target, returning.as_ref(), &mut typing);
    let mut locate = planner.finished(scope, plan, columns, typing.parameters, vec![target.oid])?;
    locate.access = Arc::new(access);
    Ok(ModifyPlan { table: target.oid, locate, has_rows, assigned: vec![], returning })
}
