//! INSERT: rows with the table's columns, what OVERRIDING and ON CONFLICT say.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::Field;
use datafusion::common::{Column as PlanColumn, DFSchema, TableReference};
use datafusion::logical_expr::{EmptyRelation, LogicalPlan, LogicalPlanBuilder, Projection, Values};
use datafusion::sql::sqlparser::ast::{self, ObjectName, ObjectNamePart, Query, SetExpr, TableObject};
use tidemill_catalog::record::{ColumnDef, SequenceRule, UniqueKey};
use tidemill_udfs::types::SqlType;

use super::{
    Target, assign, assigned, column_index, default_value, folded, generated, is_default, labelled, null_value,
    returning, sql_type, target,
};
use crate::Result;
use crate::error::{Error, SqlState};
use crate::plan::access::Accesses;
use crate::plan::typing::{self, Typed, Typing, output_types, type_metadata};
use crate::plan::{InsertPlan, OnConflict, Planner, RowProgram, Scope, locate};
use crate::statement::parse;

/// Plans INSERT.
pub(in crate::plan) fn insert(
    planner: &Planner,
    scope: &Arc<Scope>,
    insert: &ast::Insert,
    types: &[SqlType],
) -> Result<InsertPlan> {
    let TableObject::TableName(name) = &insert.table else {
        return Err(Error::unsupported("INSERT into what is not a table is not supported"));
    };
    let alias = insert.table_alias.as_ref().map(|alias| &alias.alias);
    let target = target(scope, name, alias)?;
    let (overriding, names) = Overriding::of(&insert.columns);
    let places = insert_columns(&target, names)?;
    let explicit = !names.is_empty();
    let given = Given { target: &target, places: &places, explicit, overriding };
    let mut late = vec![];
    // How many columns are given.
    let mut width = 0;
    let mut typing = Typing::new(scope, types);
    let plan = match &insert.source {
        None => {
            let row = target
                .def
                .columns
                .iter()
                .map(|column| default_value(planner, scope, column, &mut typing))
                .collect::<Result<Vec<_>>>()?;
            values_plan(&target, vec![row])?
        }
        Some(source) => match source.body.as_ref() {
            SetExpr::Values(values) if is_plain(source) => {
                width = values.rows.first().map_or(0, |row| row.content.len());
                insert_values(planner, scope, &given, values, &mut typing)?
            }
            _ => {
                let rows = insert_query(planner, scope, &given, source, &mut typing)?;
                (late, width) = (rows.late, rows.width);
                rows.plan
            }
        },
    };
    let mut access = Accesses::default();
    access.insert(target.oid, places.iter().take(width).map(|place| target.def.columns[*place].id));
    access.extend(std::mem::take(&mut typing.access));
    let returning = insert
        .returning
        .as_ref()
        .map(|items| returning(planner, scope, &target, items, vec![], &mut typing))
        .transpose()?;
    if let Some(returning) = &returning {
        target.read(&mut access, &returning.expressions, &mut typing);
    }
    let on_conflict = match &insert.on {
        None => None,
        Some(ast::OnInsert::OnConflict(clause)) => {
            on_conflict(planner, scope, &target, clause, &mut typing, &mut access)?
        }
        Some(_) => {
            return Err(Error::new(SqlState::SYNTAX_ERROR, "syntax error at or near \"ON DUPLICATE KEY\"")
                .hint("Use ON CONFLICT … DO UPDATE."));
        }
    };
    let columns = crate::plan::columns(&plan);
    let mut source = planner.finished(scope, plan, columns, typing.parameters.clone(), vec![target.oid])?;
    source.access = Arc::new(access);
    let program = match &on_conflict {
        None => RowProgram::new(scope, &source.logical, &source.parameters, &target.def.schema()),
        Some(_) => None,
    };
    Ok(InsertPlan { table: target.oid, source, late, program: program.map(Arc::new), returning, on_conflict })
}

/// Plans ON CONFLICT. None for a table without a key, where no row can be in conflict.
fn on_conflict(
    planner: &Planner,
    scope: &Arc<Scope>,
    target: &Target,
    clause: &ast::OnConflict,
    typing: &mut Typing,
    access: &mut Accesses,
) -> Result<Option<OnConflict>> {
    let def = &target.def;
    let keys = def.unique_keys();
    let key = match &clause.conflict_target {
        None if matches!(clause.action, ast::OnConflictAction::DoNothing) => {
            return Ok((!keys.is_empty()).then_some(OnConflict::Nothing(keys)));
        }
        None => {
            return Err(Error::new(
                SqlState::SYNTAX_ERROR,
                "ON CONFLICT DO UPDATE requires inference specification or constraint name",
            )
            .hint("For example, ON CONFLICT (column_name)."));
        }
        Some(ast::ConflictTarget::Columns(columns)) => {
            let mut places = vec![];
            for ident in columns {
                let name = folded(ident);
                let known = def.columns.iter().position(|column| column.name == name);
                places.push(known.ok_or_else(|| {
                    let error = Error::new(SqlState::UNDEFINED_COLUMN, format!("column \"{name}\" does not exist"));
                    error.located(ident.span.start.line, ident.span.start.column)
                })?);
            }
            access.select(target.oid, None, places.iter().map(|place| def.columns[*place].id));
            places.sort_unstable();
            places.dedup();
            let found = keys.into_iter().find(|key| {
                let mut columns = key.columns.clone();
                columns.sort_unstable();
                columns == places
            });
            found.ok_or_else(|| {
                Error::new(
                    SqlState::INVALID_COLUMN_REFERENCE,
                    "there is no unique or exclusion constraint matching the ON CONFLICT specification",
                )
            })?
        }
        Some(ast::ConflictTarget::OnConstraint(name)) => {
            let name = name.0.last().and_then(ObjectNamePart::as_ident).map(folded).unwrap_or_default();
            let named = |key: &UniqueKey| match def.indexes.iter().find(|index| index.oid == key.index) {
                Some(index) => index.is_constraint && index.name == name,
                None => def.key_name(&target.name).is_some_and(|own| own == name),
            };
            let key = keys.into_iter().find(named).ok_or_else(|| {
                Error::new(
                    SqlState::UNDEFINED_OBJECT,
                    format!("constraint \"{name}\" for table \"{}\" does not exist", target.name),
                )
            })?;
            access.select(target.oid, None, key.columns.iter().map(|place| def.columns[*place].id));
            key
        }
    };
    let update = match &clause.action {
        ast::OnConflictAction::DoNothing => return Ok(Some(OnConflict::Nothing(vec![key]))),
        ast::OnConflictAction::DoUpdate(update) => update,
    };
    let assigned = assigned(target, &update.assignments)?;
    let changes = |at: &usize| assigned[*at].as_ref().is_some_and(|value| !keeps_key(value, &def.columns[*at].name));
    if key.columns.iter().any(changes) {
        return Err(Error::unsupported("ON CONFLICT DO UPDATE cannot change the columns of its target"));
    }
    let of = |name: &str| DFSchema::try_from_qualified_schema(TableReference::bare(name), &def.schema());
    let schema = of(&target.shown)?.join(&of("excluded")?)?;
    let mut exprs = vec![];
    let mut places = vec![];
    for (place, (column, value)) in def.columns.iter().zip(&assigned).enumerate() {
        let Some(expr) = value else { continue };
        let value = if is_default(expr) {
            default_value(planner, scope, column, typing)?
        } else {
            let value = planner.typed_expression(scope, &schema, expr, typing)?;
            assign(typing, value, column).map_err(|error| locate::in_expression(error, expr))?
        };
        exprs.push(value.expr.unalias().alias(format!("\u{2}{place}")));
        places.push(place);
    }
    if let Some(selection) = &update.selection {
        let value = planner.typed_expression(scope, &schema, selection, typing)?;
        exprs.push(typing.condition(value, "WHERE")?.unalias().alias("\u{2}where"));
    }
    if exprs.iter().any(crate::plan::extension::has_subquery) {
        return Err(Error::unsupported("a subquery in ON CONFLICT DO UPDATE is not supported"));
    }
    access.update(target.oid, places.iter().map(|place| def.columns[*place].id));
    target.read(access, &exprs, typing);
    let nothing = EmptyRelation { produce_one_row: false, schema: Arc::new(schema) };
    let plan = Projection::try_new(exprs, Arc::new(LogicalPlan::EmptyRelation(nothing)))?;
    let plan =
        planner.finished(scope, LogicalPlan::Projection(plan), vec![], typing.parameters.clone(), vec![target.oid])?;
    Ok(Some(OnConflict::Update { key, places, plan }))
}

/// True for `excluded.key`, as many mappers set all columns: the row is in conflict because its key is the same.
fn keeps_key(value: &ast::Expr, key: &str) -> bool {
    match value {
        ast::Expr::CompoundIdentifier(parts) => {
            matches!(&parts[..], [relation, column] if folded(relation) == "excluded" && folded(column) == key)
        }
        ast::Expr::Nested(inner) => keeps_key(inner, key),
        _ => false,
    }
}

fn is_plain(query: &Query) -> bool {
    query.with.is_none() && query.order_by.is_none() && query.limit_clause.is_none() && query.fetch.is_none()
}

/// Positions in the table of the columns values are given for.
pub(in crate::plan) fn insert_columns(target: &Target, names: &[ObjectName]) -> Result<Vec<usize>> {
    if names.is_empty() {
        return Ok((0..target.def.columns.len()).collect());
    }
    let mut places = Vec::with_capacity(names.len());
    for name in names {
        let place = column_index(target, name)?;
        if places.contains(&place) {
            return Err(Error::new(
                SqlState::DUPLICATE_COLUMN,
                format!("column \"{}\" specified more than once", target.def.columns[place].name),
            ));
        }
        places.push(place);
    }
    Ok(places)
}

/// What INSERT gives values for.
#[derive(Clone, Copy)]
struct Given<'a> {
    target: &'a Target,
    /// Positions in the table of the columns.
    places: &'a [usize],
    /// The statement names them.
    explicit: bool,
    overriding: Overriding,
}

/// OVERRIDING: what becomes of values given for identity columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::plan) enum Overriding {
    Nothing,
    System,
    User,
}

impl Overriding {
    /// What the list of columns says, and the list without that.
    pub(in crate::plan) fn of(columns: &[ObjectName]) -> (Self, &[ObjectName]) {
        let mark = columns.first().and_then(|name| name.0.first()).and_then(ObjectNamePart::as_ident);
        match mark.map(|ident| ident.value.as_str()) {
            Some(parse::OVERRIDING_SYSTEM) => (Self::System, &columns[1..]),
            Some(parse::OVERRIDING_USER) => (Self::User, &columns[1..]),
            _ => (Self::Nothing, columns),
        }
    }

    /// True if a value given for the column counts, and not the sequence's.
    pub(in crate::plan) fn takes(self, column: &ColumnDef) -> Result<bool> {
        match (column.sequence.map(|sequence| sequence.rule), self) {
            (Some(SequenceRule::Always), Self::Nothing) => {
                Err(generated(column, format!("cannot insert a non-DEFAULT value into column \"{}\"", column.name))
                    .hint("Use OVERRIDING SYSTEM VALUE to override."))
            }
            (Some(SequenceRule::Always | SequenceRule::ByDefault), Self::User) => Ok(false),
            _ => Ok(true),
        }
    }
}

pub(in crate::plan) fn check_width(values: usize, places: usize, explicit: bool) -> Result<()> {
    if values > places {
        return Err(Error::new(SqlState::SYNTAX_ERROR, "INSERT has more expressions than target columns"));
    }
    if values < places && explicit {
        return Err(Error::new(SqlState::SYNTAX_ERROR, "INSERT has more target columns than expressions"));
    }
    Ok(())
}

fn insert_values(
    planner: &Planner,
    scope: &Arc<Scope>,
    given: &Given<'_>,
    values: &ast::Values,
    typing: &mut Typing,
) -> Result<LogicalPlan> {
    let Given { target, places, explicit, overriding } = *given;
    let width = values.rows.first().map_or(0, |row| row.content.len());
    if values.rows.iter().any(|row| row.content.len() != width) {
        return Err(Error::new(SqlState::SYNTAX_ERROR, "VALUES lists must all be the same length"));
    }
    check_width(width, places.len(), explicit)?;
    let empty = DFSchema::empty();
    let mut defaults: HashMap<usize, Typed> = HashMap::new();
    let mut rows = Vec::with_capacity(values.rows.len());
    for row in &values.rows {
        let mut given: Vec<Option<Typed>> = vec![None; target.def.columns.len()];
        for (place, expr) in places.iter().zip(&row.content) {
            let column = &target.def.columns[*place];
            if is_default(expr) {
                continue;
            }
            let value = planner.typed_expression(scope, &empty, expr, typing)?;
            let value = assign(typing, value, column).map_err(|error| locate::in_expression(error, expr))?;
            if overriding.takes(column)? {
                given[*place] = Some(value);
            }
        }
        let row = given
            .into_iter()
            .enumerate()
            .map(|(place, value)| match value {
                Some(value) => Ok(value),
                None => match defaults.get(&place) {
                    Some(default) => Ok(default.clone()),
                    None => {
                        let default = default_value(planner, scope, &target.def.columns[place], typing)?;
                        defaults.insert(place, default.clone());
                        Ok(default)
                    }
                },
            })
            .collect::<Result<Vec<_>>>()?;
        rows.push(row);
    }
    values_plan(target, rows)
}

/// Rows of exactly the table's columns.
fn values_plan(target: &Target, rows: Vec<Vec<Typed>>) -> Result<LogicalPlan> {
    let fields = target
        .def
        .columns
        .iter()
        .map(|column| {
            let sql_type = sql_type(column)?;
            Ok(Field::new(&column.name, column.data_type.clone(), true).with_metadata(type_metadata(&sql_type)))
        })
        .collect::<Result<Vec<_>>>()?;
    // A single row is computed as SELECT without FROM: it needs no optimizer.
    if let [row] = rows.as_slice() {
        let input = LogicalPlanBuilder::empty(true).build()?;
        let exprs = row
            .iter()
            .zip(&fields)
            .map(|(value, field)| {
                let metadata = datafusion::common::metadata::FieldMetadata::from(field.metadata().clone());
                value.expr.clone().unalias().alias_with_metadata(field.name(), Some(metadata))
            })
            .collect();
        return Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input))?));
    }
    let schema = DFSchema::from_unqualified_fields(fields.into(), HashMap::new())?;
    let values = rows.into_iter().map(|row| row.into_iter().map(|value| value.expr).collect()).collect();
    Ok(LogicalPlan::Values(Values { schema: Arc::new(schema), values }))
}

/// The rows of INSERT … SELECT.
struct QueryRows {
    plan: LogicalPlan,
    /// Positions of columns whose defaults are computed after the query.
    late: Vec<usize>,
    /// How many columns the query gives.
    width: usize,
}

fn insert_query(
    planner: &Planner,
    scope: &Arc<Scope>,
    given: &Given<'_>,
    source: &Query,
    typing: &mut Typing,
) -> Result<QueryRows> {
    let Given { target, places, explicit, overriding } = *given;
    let named = planner.named(scope, source.clone(), None).map_err(|error| locate::in_query(error, source))?;
    typing.access.extend(named.access);
    let plan = typing.plan(named.plan, &[], true).map_err(|error| locate::in_query(error, source))?;
    let width = plan.schema().fields().len();
    check_width(width, places.len(), explicit)?;
    // Literals of unknown type take the column's type where they stand.
    let have = output_types(&plan);
    let wanted = have
        .iter()
        .zip(places)
        .map(|((have_type, have_data), place)| {
            if *have_type != SqlType::Unknown {
                return Ok((have_type.clone(), have_data.clone()));
            }
            let column = &target.def.columns[*place];
            Ok((sql_type(column)?, column.data_type.clone()))
        })
        .collect::<Result<Vec<_>>>()?;
    let plan = typing.coerce_output(plan, &wanted)?;
    let schema = Arc::clone(plan.schema());
    let mut exprs = Vec::with_capacity(target.def.columns.len());
    let mut late = vec![];
    for (place, column) in target.def.columns.iter().enumerate() {
        let to = sql_type(column)?;
        let mut value = None;
        if let Some(index) = places.iter().position(|given| *given == place).filter(|index| *index < width) {
            let (relation, field) = schema.qualified_field(index);
            let given = typing::column(PlanColumn::from((relation, field)), field);
            let given = assign(typing, given, column)?;
            value = overriding.takes(column)?.then_some(given);
        }
        let value = match value {
            Some(value) => value,
            None => {
                let default = default_value(planner, scope, column, typing)?;
                if default.expr.is_volatile() {
                    late.push(place);
                    null_value(column, typing)?
                } else {
                    default
                }
            }
        };
        exprs.push(labelled(value, column, &to));
    }
    let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?);
    Ok(QueryRows { plan, late, width })
}
