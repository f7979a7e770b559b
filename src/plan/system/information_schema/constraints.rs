//! CHECK, NOT NULL, keys and foreign keys, and what views are made of.

use std::borrow::Cow;

use tidemill_catalog::record::ForeignKeyDef;

use super::{catalog, table_names, visible_relations, yes_no};
use crate::plan::Scope;
use crate::plan::system::batch::Batch;
use crate::plan::system::objects::{self, Rel};
use crate::plan::system::relations::{Constraint, ConstraintKind, column_names, constraints_of, referred_index};

/// A row of table_constraints.
struct Row<'r, 'a> {
    table: &'r Rel<'a>,
    name: Cow<'r, str>,
    kind: &'static str,
    clause: Option<String>,
    deferrable: bool,
    deferred: bool,
    enforced: bool,
}

/// Tables that the current role may see, with their constraints.
struct Constraints<'a> {
    tables: Vec<(Rel<'a>, Vec<Constraint<'a>>)>,
}

impl<'a> Constraints<'a> {
    fn of(scope: &'a Scope) -> Self {
        let tables = visible_relations(scope).into_iter().filter(|rel| rel.table().is_some());
        let with = |rel: Rel<'a>| {
            let constraints = constraints_of(&rel);
            (rel, constraints)
        };
        Self { tables: tables.map(with).collect() }
    }

    /// With NOT NULL as the checks that they are to the standard.
    fn rows(&self) -> Vec<Row<'_, 'a>> {
        let mut rows = Vec::new();
        for (table, constraints) in &self.tables {
            for constraint in constraints {
                let clause = match constraint.kind {
                    ConstraintKind::Check(check) => Some(format!("({})", check.condition)),
                    _ => None,
                };
                let foreign = constraint.foreign();
                let (deferrable, deferred) = foreign.map_or((false, false), |key| (key.deferrable, key.deferred));
                let name = Cow::Borrowed(constraint.name.as_ref());
                let kind = constraint.kind.words();
                rows.push(Row { table, name, kind, clause, deferrable, deferred, enforced: foreign.is_none() });
            }
            for column in table.columns().iter().filter(|column| !column.nullable) {
                let name = format!("{}_{}_{}_not_null", table.namespace, table.oid, column.id);
                let clause = Some(format!("{} IS NOT NULL", column.name));
                let name = Cow::Owned(name);
                let (deferrable, deferred, enforced) = (false, false, true);
                rows.push(Row { table, name, kind: "CHECK", clause, deferrable, deferred, enforced });
            }
        }
        rows
    }

    fn all(&self) -> impl Iterator<Item = &Constraint<'a>> {
        self.tables.iter().flat_map(|(_, constraints)| constraints)
    }
}

pub(super) fn table_constraints(scope: &Scope, batch: &mut Batch<'_>) {
    let constraints = Constraints::of(scope);
    let all = constraints.rows();
    batch.rows(all.len());
    catalog(scope, batch, &["constraint_catalog"]);
    batch.column("constraint_schema", all.iter().map(|row| row.table.schema));
    batch.column("constraint_name", all.iter().map(|row| row.name.as_ref()));
    table_names(scope, batch, all.iter().map(|row| row.table));
    batch.column("constraint_type", all.iter().map(|row| row.kind));
    batch.column("is_deferrable", all.iter().map(|row| yes_no(row.deferrable)));
    batch.column("initially_deferred", all.iter().map(|row| yes_no(row.deferred)));
    batch.column("enforced", all.iter().map(|row| yes_no(row.enforced)));
    batch.column("nulls_distinct", all.iter().map(|row| (row.kind == "UNIQUE").then_some("YES")));
}

pub(super) fn check_constraints(scope: &Scope, batch: &mut Batch<'_>) {
    let constraints = Constraints::of(scope);
    let all: Vec<_> = constraints.rows().into_iter().filter(|row| row.kind == "CHECK").collect();
    batch.rows(all.len());
    catalog(scope, batch, &["constraint_catalog"]);
    batch.column("constraint_schema", all.iter().map(|row| row.table.schema));
    batch.column("constraint_name", all.iter().map(|row| row.name.as_ref()));
    batch.column("check_clause", all.iter().map(|row| row.clause.as_ref()));
}

pub(super) fn key_column_usage(scope: &Scope, batch: &mut Batch<'_>) {
    let constraints = Constraints::of(scope);
    let keys = constraints.tables.iter().flat_map(|(table, all)| all.iter().map(move |c| (table, c)));
    let all: Vec<_> = keys
        .filter(|(_, constraint)| !matches!(constraint.kind, ConstraintKind::Check(_)))
        .flat_map(|(table, constraint)| {
            (1..).zip(constraint.columns()).map(move |(n, column)| (table, constraint, n, column))
        })
        .collect();
    // Which column of the referred key each is.
    let in_key = |constraint: &Constraint<'_>, n: i32| {
        let id = constraint.foreign()?.key.get(usize::try_from(n - 1).ok()?)?;
        referred(scope, constraint)?.iter().position(|other| other == id).and_then(|at| i32::try_from(at + 1).ok())
    };
    let positions: Vec<_> = all.iter().map(|row| in_key(row.1, row.2)).collect();
    batch.rows(all.len());
    catalog(scope, batch, &["constraint_catalog"]);
    batch.column("constraint_schema", all.iter().map(|row| row.0.schema));
    batch.column("constraint_name", all.iter().map(|row| row.1.name.as_ref()));
    table_names(scope, batch, all.iter().map(|row| row.0));
    batch.column("ordinal_position", all.iter().map(|row| row.2));
    batch.column("position_in_unique_constraint", positions);
    batch.column("column_name", all.iter().map(|row| row.3));
}

/// The ids of the columns of the key that a foreign key refers to, in its order.
fn referred(scope: &Scope, constraint: &Constraint<'_>) -> Option<Vec<i32>> {
    let key = constraint.foreign()?;
    let table = objects::find_relation(scope, key.table)?;
    let def = table.table()?;
    let index = def.indexes.iter().find(|index| index.oid == key.index);
    Some(match index {
        Some(index) => index.columns()?,
        None => def.primary_key.iter().filter_map(|name| def.column(name)).map(|column| column.id).collect(),
    })
}

/// The table and the columns that a constraint uses: of a foreign key, those it refers to.
fn used<'a>(scope: &'a Scope, constraint: &Constraint<'a>) -> Option<(Rel<'a>, Vec<&'a str>)> {
    match constraint.foreign() {
        None => Some((constraint.table.clone(), constraint.columns())),
        Some(key) => {
            let table = objects::find_relation(scope, key.table)?;
            let columns = column_names(table.table()?, &key.key);
            Some((table, columns))
        }
    }
}

pub(super) fn constraint_column_usage(scope: &Scope, batch: &mut Batch<'_>) {
    let constraints = Constraints::of(scope);
    let all: Vec<(Rel<'_>, &Constraint<'_>, &str)> = constraints
        .all()
        .filter_map(|constraint| Some((constraint, used(scope, constraint)?)))
        .flat_map(|(constraint, (table, columns))| {
            columns.into_iter().map(move |column| (table.clone(), constraint, column))
        })
        .collect();
    batch.rows(all.len());
    table_names(scope, batch, all.iter().map(|row| &row.0));
    batch.column("column_name", all.iter().map(|row| row.2));
    catalog(scope, batch, &["constraint_catalog"]);
    batch.column("constraint_schema", all.iter().map(|row| row.1.table.schema));
    batch.column("constraint_name", all.iter().map(|row| row.1.name.as_ref()));
}

pub(super) fn constraint_table_usage(scope: &Scope, batch: &mut Batch<'_>) {
    let constraints = Constraints::of(scope);
    let all: Vec<(Rel<'_>, &Constraint<'_>)> = constraints
        .all()
        .filter(|constraint| !matches!(constraint.kind, ConstraintKind::Check(_)))
        .filter_map(|constraint| Some((used(scope, constraint)?.0, constraint)))
        .collect();
    batch.rows(all.len());
    table_names(scope, batch, all.iter().map(|row| &row.0));
    catalog(scope, batch, &["constraint_catalog"]);
    batch.column("constraint_schema", all.iter().map(|row| row.1.table.schema));
    batch.column("constraint_name", all.iter().map(|row| row.1.name.as_ref()));
}

pub(super) fn referential_constraints(scope: &Scope, batch: &mut Batch<'_>) {
    let constraints = Constraints::of(scope);
    let all: Vec<(&Constraint<'_>, &ForeignKeyDef)> =
        constraints.all().filter_map(|constraint| Some((constraint, constraint.foreign()?))).collect();
    let unique: Vec<_> = all.iter().map(|(_, key)| objects::find_relation(scope, referred_index(key))).collect();
    let rule = |action: char| match action {
        'r' => "RESTRICT",
        'c' => "CASCADE",
        'n' => "SET NULL",
        'd' => "SET DEFAULT",
        _ => "NO ACTION",
    };
    batch.rows(all.len());
    catalog(scope, batch, &["constraint_catalog", "unique_constraint_catalog"]);
    batch.column("constraint_schema", all.iter().map(|(constraint, _)| constraint.table.schema));
    batch.column("constraint_name", all.iter().map(|(constraint, _)| constraint.name.as_ref()));
    batch.column("unique_constraint_schema", unique.iter().map(|index| index.as_ref().map(|index| index.schema)));
    batch.column("unique_constraint_name", unique.iter().map(|index| index.as_ref().map(|index| index.name.as_ref())));
    batch.column("match_option", all.iter().map(|(_, key)| if key.match_full { "FULL" } else { "NONE" }));
    batch.column("update_rule", all.iter().map(|(_, key)| rule(key.on_update)));
    batch.column("delete_rule", all.iter().map(|(_, key)| rule(key.on_delete)));
}

pub(super) fn view_table_usage(scope: &Scope, batch: &mut Batch<'_>) {
    let views = objects::user_relations(scope);
    let on = |view: &Rel<'_>| view.object.map_or_else(Vec::new, |object| object.depends_on.clone());
    let all: Vec<(&Rel<'_>, Rel<'_>)> = views
        .iter()
        .filter(|rel| rel.relkind() == "v")
        .flat_map(|view| on(view).into_iter().filter_map(move |oid| Some((view, objects::find_relation(scope, oid)?))))
        .collect();
    batch.rows(all.len());
    catalog(scope, batch, &["view_catalog"]);
    batch.column("view_schema", all.iter().map(|(view, _)| view.schema));
    batch.column("view_name", all.iter().map(|(view, _)| view.name.as_ref()));
    table_names(scope, batch, all.iter().map(|(_, table)| table));
}
