//! What a plan needs of its relations' privileges, and whether a role has it.
//!
//! Found when names are resolved and before anything is rewritten: each column that an expression of the statement names is
//! followed down to the relation it comes from. What stands inside a view is needed of the view's owner. Checked when the
//! statement runs, since a prepared one may run after a REVOKE.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{Distinct, EmptyRelation, Expr, LogicalPlan, SubqueryAlias, TableScan};
use tidemill_catalog::Oid;
use tidemill_catalog::acl::Privileges;
use tidemill_catalog::record::{Body, Object};
use tidemill_catalog::snapshot::Catalog;

use super::context::{Place, Relation};
use super::rights::{self, Target};
use super::{TEMP_SCHEMA, system};
use crate::Result;

/// Before a view's oid: the alias of its plan.
const VIEW: &str = "\u{4}view ";
/// The alias of columns that only got other names.
pub(super) const RENAMED: &str = "\u{4}renamed";

/// The alias under which a view's plan stands in another.
pub(super) fn view_alias(view: Oid) -> String {
    format!("{VIEW}{view}")
}

/// What is needed of one relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The relation; a system one by its oid in pg_class.
    pub relation: Oid,
    /// The view whose owner needs it; `None`: who runs the statement.
    pub view: Option<Oid>,
    /// On the relation, or where it has columns, on each of them.
    pub needed: Privileges,
    /// Columns that are read, assigned in new rows, assigned in old rows: by `attnum`. Needed of none, the privilege on any
    /// column will do.
    pub selected: BTreeSet<i32>,
    /// See `selected`.
    pub inserted: BTreeSet<i32>,
    /// See `selected`.
    pub updated: BTreeSet<i32>,
}

/// What a statement needs, an entry for each relation and view it is in.
#[derive(Debug, Clone, Default)]
pub struct Accesses(Vec<Access>);

impl Accesses {
    /// True if nothing is needed.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The entry of a relation within a view, or of the statement itself.
    pub(super) fn entry(&mut self, relation: Oid, view: Option<Oid>) -> &mut Access {
        let found = self.0.iter().position(|access| access.relation == relation && access.view == view);
        let at = found.unwrap_or_else(|| {
            let columns = BTreeSet::new;
            self.0.push(Access {
                relation,
                view,
                needed: Privileges::NONE,
                selected: columns(),
                inserted: columns(),
                updated: columns(),
            });
            self.0.len() - 1
        });
        &mut self.0[at]
    }

    /// A relation of which such columns are read.
    pub(crate) fn select(&mut self, relation: Oid, view: Option<Oid>, columns: impl IntoIterator<Item = i32>) {
        let entry = self.entry(relation, view);
        entry.needed = entry.needed | Privileges::SELECT;
        entry.selected.extend(columns);
    }

    /// A relation that rows with such columns are put into.
    pub(crate) fn insert(&mut self, relation: Oid, columns: impl IntoIterator<Item = i32>) {
        let entry = self.entry(relation, None);
        entry.needed = entry.needed | Privileges::INSERT;
        entry.inserted.extend(columns);
    }

    /// A relation of which such columns are assigned.
    pub(super) fn update(&mut self, relation: Oid, columns: impl IntoIterator<Item = i32>) {
        let entry = self.entry(relation, None);
        entry.needed = entry.needed | Privileges::UPDATE;
        entry.updated.extend(columns);
    }

    /// A relation that needs privileges as a whole.
    pub(super) fn need(&mut self, relation: Oid, privileges: Privileges) {
        let entry = self.entry(relation, None);
        entry.needed = entry.needed | privileges;
    }

    /// Adds what others need.
    pub(crate) fn extend(&mut self, others: Self) {
        for other in others.0 {
            let entry = self.entry(other.relation, other.view);
            entry.needed = entry.needed | other.needed;
            entry.selected.extend(other.selected);
            entry.inserted.extend(other.inserted);
            entry.updated.extend(other.updated);
        }
    }

    /// What a statement reads of the relation it changes: nothing, if it names no column of it.
    pub(super) fn read_only_if_named(&mut self, relation: Oid) {
        let entry = self.entry(relation, None);
        if entry.selected.is_empty() {
            entry.needed = entry.needed & !Privileges::SELECT;
        }
    }

    /// Adds what a plan with resolved names reads. `is_own`: which of the topmost projection's expressions are the
    /// statement's, not the server's.
    pub(super) fn of_plan(&mut self, plan: &LogicalPlan, is_own: &dyn Fn(usize) -> bool) {
        let mut free = vec![];
        let root = match plan {
            LogicalPlan::Projection(_) => Some(is_own),
            _ => None,
        };
        Finder { found: self, free: &mut free }.plan(plan, None, &[], root);
    }

    /// Adds what subqueries in an expression read. The columns outside of them that they name.
    pub(super) fn of_expression(&mut self, expr: &Expr) -> Vec<Column> {
        let mut free = vec![];
        let nothing =
            LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: false, schema: Arc::new(DFSchema::empty()) });
        Finder { found: self, free: &mut free }.expression(expr, &nothing, None, &[]);
        free
    }

    /// Checks all of it for a role.
    ///
    /// # Errors
    /// 42501 `permission denied for table t`.
    pub(crate) fn check(&self, catalog: &Catalog, temp: &Catalog, role: Oid) -> Result<()> {
        self.0.iter().try_for_each(|access| access.check(catalog, temp, role))
    }
}

impl Access {
    fn check(&self, catalog: &Catalog, temp: &Catalog, role: Oid) -> Result<()> {
        // Temporary relations are the session's own, whatever role it takes on; their views have no rights of an owner's.
        if self.relation >= TEMP_SCHEMA {
            return Ok(());
        }
        let role = match self.view.and_then(|view| catalog.get(view)) {
            Some(view) => view.owner,
            None if self.view.is_some_and(|view| temp.get(view).is_none()) => return Ok(()),
            None => role,
        };
        if rights::is_superuser(catalog, role) {
            return Ok(());
        }
        match catalog.get(self.relation) {
            Some(object) => self.check_object(catalog, object, role),
            None => system::check_readable(self.relation),
        }
    }

    fn check_object(&self, catalog: &Catalog, object: &Object, role: Oid) -> Result<()> {
        let Some(target) = Target::of(object) else { return Ok(()) };
        let missing = self.needed & !target.held(catalog, role);
        if missing.is_empty() {
            return Ok(());
        }
        let of_columns = [
            (Privileges::SELECT, &self.selected),
            (Privileges::INSERT, &self.inserted),
            (Privileges::UPDATE, &self.updated),
        ];
        let has = |privilege: Privileges, column: i32| {
            target.held_on_column(catalog, role, column, false).contains(privilege)
        };
        let mut left = missing;
        for (privilege, columns) in of_columns {
            if !missing.contains(privilege) {
                continue;
            }
            let allowed = if columns.is_empty() {
                column_ids(object).any(|column| has(privilege, column))
            } else {
                columns.iter().all(|column| has(privilege, *column))
            };
            if allowed {
                left = left & !privilege;
            }
        }
        if left.is_empty() { Ok(()) } else { Err(rights::denied(object)) }
    }
}

/// The numbers of a relation's columns.
pub(crate) fn column_ids(object: &Object) -> impl Iterator<Item = i32> {
    let columns = match &object.body {
        Body::Table(def) => def.columns.as_slice(),
        Body::View(view) => view.columns.as_slice(),
        _ => &[],
    };
    columns.iter().map(|column| column.id)
}

/// A plan whose columns an expression may name, and the view it stands in.
type Input<'p> = (&'p LogicalPlan, Option<Oid>);

/// Which of a projection's expressions count; all, if there is no such thing.
type Own<'o> = Option<&'o dyn Fn(usize) -> bool>;

struct Finder<'f> {
    found: &'f mut Accesses,
    /// Columns of outer queries that are not there.
    free: &'f mut Vec<Column>,
}

impl Finder<'_> {
    /// A plan with all that is below it. `outer`: what its outer references may mean, the nearest last.
    fn plan<'p>(&mut self, plan: &'p LogicalPlan, view: Option<Oid>, outer: &[Input<'p>], own: Own<'_>) {
        match plan {
            LogicalPlan::TableScan(scan) => return self.scan(scan, view, None),
            LogicalPlan::SubqueryAlias(alias) => {
                if let Some(oid) = view_of(alias) {
                    self.found.select(oid, view, []);
                    return self.plan(&alias.input, Some(oid), &[], None);
                }
                if let Some(renamed) = renamed(alias) {
                    return self.plan(renamed, view, outer, None);
                }
            }
            _ => {}
        }
        if let LogicalPlan::Join(join) = plan {
            self.plan(&join.left, view, outer, None);
            // LATERAL
            let outer: Vec<_> = outer.iter().copied().chain([(join.left.as_ref(), view)]).collect();
            self.plan(&join.right, view, &outer, None);
        } else {
            for input in plan.inputs() {
                self.plan(input, view, outer, None);
            }
        }
        let mut at = 0;
        let _ = plan.apply_expressions(|expr| {
            if own.is_none_or(|own| own(at)) {
                self.expression(expr, plan, view, outer);
            }
            at += 1;
            Ok(TreeNodeRecursion::Continue)
        });
    }

    /// An expression of a node.
    fn expression<'p>(&mut self, expr: &Expr, node: &'p LogicalPlan, view: Option<Oid>, outer: &[Input<'p>]) {
        let _ = expr.apply(|expr| {
            match expr {
                Expr::Column(column) => {
                    self.column(column, node, view);
                }
                Expr::OuterReferenceColumn(_, column) => {
                    let known = outer.iter().rev().find_map(|(plan, view)| {
                        plan.schema().maybe_index_of_column(column).map(|index| (*plan, index, *view))
                    });
                    match known {
                        Some((plan, index, view)) => self.mark(plan, index, view),
                        None => self.free.push(column.clone()),
                    }
                }
                Expr::ScalarSubquery(subquery) => self.subquery(&subquery.subquery, node, view, outer),
                Expr::Exists(exists) => self.subquery(&exists.subquery.subquery, node, view, outer),
                Expr::InSubquery(within) => self.subquery(&within.subquery.subquery, node, view, outer),
                Expr::SetComparison(set) => self.subquery(&set.subquery.subquery, node, view, outer),
                _ => {}
            }
            Ok(TreeNodeRecursion::Continue)
        });
    }

    fn subquery(&mut self, plan: &LogicalPlan, node: &LogicalPlan, view: Option<Oid>, outer: &[Input<'_>]) {
        let outer: Vec<_> = outer.iter().copied().chain(node.inputs().into_iter().map(|input| (input, view))).collect();
        self.plan(plan, view, &outer, None);
    }

    /// A column that an expression of the node names.
    fn column(&mut self, column: &Column, node: &LogicalPlan, view: Option<Oid>) {
        let known = node
            .inputs()
            .into_iter()
            .find_map(|input| input.schema().maybe_index_of_column(column).map(|index| (input, index)));
        if let Some((input, index)) = known {
            self.mark(input, index, view);
        }
    }

    /// The relation that an output column of a plan comes from unchanged.
    fn mark(&mut self, plan: &LogicalPlan, index: usize, view: Option<Oid>) {
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan, view, Some(index)),
            LogicalPlan::SubqueryAlias(alias) => {
                if let Some(oid) = view_of(alias) {
                    // Columns of a view are numbered as they stand.
                    self.found.select(oid, view, i32::try_from(index + 1));
                } else if let (Some(_), LogicalPlan::Projection(projection)) = (renamed(alias), alias.input.as_ref()) {
                    if let Some(Expr::Column(column)) = projection.expr.get(index).cloned().map(Expr::unalias) {
                        self.column(&column, &alias.input, view);
                    }
                } else {
                    self.mark(&alias.input, index, view);
                }
            }
            LogicalPlan::Filter(filter) => self.mark(&filter.input, index, view),
            LogicalPlan::Sort(sort) => self.mark(&sort.input, index, view),
            LogicalPlan::Limit(limit) => self.mark(&limit.input, index, view),
            LogicalPlan::Subquery(subquery) => self.mark(&subquery.subquery, index, view),
            LogicalPlan::Distinct(Distinct::All(input)) => self.mark(input, index, view),
            LogicalPlan::Join(join) => {
                let width = join.left.schema().fields().len();
                if index < width {
                    self.mark(&join.left, index, view);
                } else {
                    self.mark(&join.right, index - width, view);
                }
            }
            // Their own expressions say what they read.
            LogicalPlan::Projection(_)
            | LogicalPlan::Aggregate(_)
            | LogicalPlan::Distinct(_)
            | LogicalPlan::Union(_)
            | LogicalPlan::RecursiveQuery(_)
            | LogicalPlan::Values(_)
            | LogicalPlan::EmptyRelation(_) => {}
            other => {
                let (relation, field) = other.schema().qualified_field(index);
                self.column(&Column::new(relation.cloned(), field.name()), other, view);
            }
        }
    }

    /// A relation, and perhaps one of its columns.
    fn scan(&mut self, scan: &TableScan, view: Option<Oid>, index: Option<usize>) {
        let Ok(provider) = source_as_provider(&scan.source) else { return };
        let Some(relation) = Relation::of(provider.as_ref()) else { return };
        match &relation.place {
            Place::Table(oid) => {
                let name = index.map(|index| scan.projected_schema.field(index).name());
                let column = name.and_then(|name| relation.state()?.def.column(name));
                self.found.select(*oid, view, column.map(|column| column.id));
            }
            Place::Sequence(oid) => self.found.select(*oid, view, []),
            Place::System(schema, name) => {
                if let Some(oid) = system::relation_oid(schema, name) {
                    self.found.select(oid, view, []);
                }
            }
        }
    }
}

/// The view whose plan it is.
fn view_of(alias: &SubqueryAlias) -> Option<Oid> {
    alias.alias.table().strip_prefix(VIEW)?.parse().ok()
}

/// What is below a projection that only gives other names.
fn renamed(alias: &SubqueryAlias) -> Option<&LogicalPlan> {
    match alias.input.as_ref() {
        LogicalPlan::Projection(projection) if alias.alias.table() == RENAMED => Some(&projection.input),
        _ => None,
    }
}
