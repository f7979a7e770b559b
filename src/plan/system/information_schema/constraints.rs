//! CHECK, NOT NULL and declared primary keys, and what views are made of.

use std::borrow::Cow;

use super::{catalog, table_names, visible_relations};
use crate::plan::Scope;
use crate::plan::system::batch::Batch;
use crate::plan::system::objects::{self, Rel};
use crate::plan::system::relations::{Constraint, constraints_of};

/// A row of table_constraints.
struct Row<'r, 'a> {
    table: &'r Rel<'a>,
    name: Cow<'r, str>,
    kind: &'static str,
    clause: Option<String>,
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
                let kind = if constraint.check.is_some() { "CHECK" } else { "PRIMARY KEY" };
                let clause = constraint.check.map(|check| format!("({})", check.condition));
                rows.push(Row { table, name: Cow::Borrowed(&constraint.name), kind, clause });
            }
            for column in table.columns().iter().filter(|column| !column.nullable) {
                let name = format!("{}_{}_{}_not_null", table.namespace, table.oid, column.id);
                let clause = Some(format!("{} IS NOT NULL", column.name));
                rows.push(Row { table, name: Cow::Owned(name), kind: "CHECK", clause });
            }
        }
        rows
    }

    /// Constraints with the columns they are about.
    fn usage(&self) -> Vec<(&Rel<'a>, &Constraint<'a>, &str)> {
        let all = self.tables.iter().flat_map(|(table, constraints)| constraints.iter().map(move |c| (table, c)));
        all.flat_map(|(table, c)| c.columns().into_iter().map(move |column| (table, c, column))).collect()
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
    batch.constant("is_deferrable", "NO");
    batch.constant("initially_deferred", "NO");
    batch.constant("enforced", "YES");
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
        .filter(|(_, constraint)| constraint.check.is_none())
        .flat_map(|(table, constraint)| {
            (1..).zip(constraint.columns()).map(move |(n, column)| (table, constraint, n, column))
        })
        .collect();
    batch.rows(all.len());
    catalog(scope, batch, &["constraint_catalog"]);
    batch.column("constraint_schema", all.iter().map(|row| row.0.schema));
    batch.column("constraint_name", all.iter().map(|row| row.1.name.as_ref()));
    table_names(scope, batch, all.iter().map(|row| row.0));
    batch.column("ordinal_position", all.iter().map(|row| row.2));
    batch.column("column_name", all.iter().map(|row| row.3));
}

pub(super) fn constraint_column_usage(scope: &Scope, batch: &mut Batch<'_>) {
    let constraints = Constraints::of(scope);
    let all = constraints.usage();
    batch.rows(all.len());
    table_names(scope, batch, all.iter().map(|row| row.0));
    batch.column("column_name", all.iter().map(|row| row.2));
    catalog(scope, batch, &["constraint_catalog"]);
    batch.column("constraint_schema", all.iter().map(|row| row.0.schema));
    batch.column("constraint_name", all.iter().map(|row| row.1.name.as_ref()));
}

pub(super) fn constraint_table_usage(scope: &Scope, batch: &mut Batch<'_>) {
    let constraints = Constraints::of(scope);
    let all: Vec<_> = constraints
        .tables
        .iter()
        .flat_map(|(table, all)| all.iter().map(move |constraint| (table, constraint)))
        .filter(|(_, constraint)| constraint.check.is_none())
        .collect();
    batch.rows(all.len());
    table_names(scope, batch, all.iter().map(|row| row.0));
    catalog(scope, batch, &["constraint_catalog"]);
    batch.column("constraint_schema", all.iter().map(|row| row.0.schema));
    batch.column("constraint_name", all.iter().map(|row| row.1.name.as_ref()));
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
