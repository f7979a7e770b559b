//! table_privileges and kin: who granted what to whom.

use std::collections::{BTreeMap, BTreeSet};

use tidemill_catalog::Oid;
use tidemill_catalog::acl::{AclItem, PUBLIC, Privileges};

use super::{catalog, table_names, visible_relations, yes_no};
use crate::plan::Scope;
use crate::plan::rights;
use crate::plan::system::batch::Batch;
use crate::plan::system::objects::{self, Kind, Rel};
use crate::plan::system::privileges::{self, On, Target};

/// Whose grants the current role may see: its own and those of roles whose privileges it has.
struct Viewer {
    /// Sees all.
    superuser: bool,
    roles: BTreeSet<Oid>,
    /// Those to everybody too.
    public: bool,
}

impl Viewer {
    fn new(scope: &Scope, public: bool) -> Self {
        let catalog = &scope.snapshot.catalog;
        let superuser = rights::is_superuser(catalog, scope.role);
        Self { superuser, roles: rights::memberships(catalog, scope.role, true), public }
    }

    fn sees(&self, item: &AclItem) -> bool {
        let own = |role| self.superuser || self.roles.contains(&role);
        own(item.grantor) || if item.grantee == PUBLIC { self.public } else { own(item.grantee) }
    }
}

/// One privilege on one relation, or on one of its columns.
struct Row<'r, 'a> {
    rel: &'r Rel<'a>,
    column: &'r str,
    grantor: String,
    grantee: String,
    letter: char,
    grantable: bool,
}

/// The rows of some items about one relation or column.
fn rows<'r, 'a>(
    scope: &Scope,
    viewer: &Viewer,
    (rel, column): (&'r Rel<'a>, &'r str),
    owner: Oid,
    items: &[AclItem],
) -> Vec<Row<'r, 'a>> {
    let name = |oid: Oid| objects::role_name(scope, oid).into_owned();
    let mut all = vec![];
    for item in items.iter().filter(|item| viewer.sees(item)) {
        let may_grant = rights::has_privileges_of(&scope.snapshot.catalog, item.grantee, owner);
        all.extend(item.privileges.letters().map(|letter| Row {
            rel,
            column,
            grantor: name(item.grantor),
            grantee: if item.grantee == PUBLIC { "PUBLIC".to_owned() } else { name(item.grantee) },
            letter,
            grantable: may_grant || item.options.contains(Privileges::of_letter(letter)),
        }));
    }
    all
}

fn common(scope: &Scope, batch: &mut Batch<'_>, all: &[Row<'_, '_>]) {
    batch.rows(all.len());
    batch.column("grantor", all.iter().map(|row| &row.grantor));
    batch.column("grantee", all.iter().map(|row| &row.grantee));
    table_names(scope, batch, all.iter().map(|row| row.rel));
    batch.column("privilege_type", all.iter().map(|row| privileges::word(row.letter)));
    batch.column("is_grantable", all.iter().map(|row| yes_no(row.grantable)));
}

pub(super) fn table_privileges(scope: &Scope, batch: &mut Batch<'_>, public: bool) {
    let relations = visible_relations(scope);
    let viewer = Viewer::new(scope, public);
    let of = |rel| {
        let target = Target::relation(scope, rel);
        rows(scope, &viewer, (rel, ""), target.owner, &target.items())
    };
    let all: Vec<_> = relations.iter().flat_map(of).collect();
    common(scope, batch, &all);
    batch.column("with_hierarchy", all.iter().map(|row| yes_no(row.letter == 'r')));
}

/// A privilege on a table is one on each of its columns.
pub(super) fn column_privileges(scope: &Scope, batch: &mut Batch<'_>, public: bool) {
    let relations = visible_relations(scope);
    let viewer = Viewer::new(scope, public);
    let mut all = vec![];
    for rel in &relations {
        let target = Target::relation(scope, rel);
        let whole: Vec<AclItem> = (target.items().into_iter())
            .map(|item| AclItem { privileges: item.privileges & On::Column.all(), ..item })
            .collect();
        let columns: Vec<(&str, i32)> = match rel.kind {
            Kind::System(system) => system.columns.iter().map(|column| (column.name, 0)).collect(),
            _ => rel.columns().iter().map(|column| (column.name.as_str(), column.id)).collect(),
        };
        for (name, id) in columns {
            let own = if id == 0 { vec![] } else { target.column_items(id) };
            all.extend(rows(scope, &viewer, (rel, name), target.owner, &united(&whole, &own)));
        }
    }
    common(scope, batch, &all);
    batch.column("column_name", all.iter().map(|row| row.column));
}

/// Items about a table and about one of its columns, each pair of roles once.
fn united(whole: &[AclItem], own: &[AclItem]) -> Vec<AclItem> {
    let mut all: BTreeMap<(Oid, Oid), AclItem> = BTreeMap::new();
    for item in whole.iter().chain(own) {
        let known = all.entry((item.grantee, item.grantor)).or_insert(*item);
        known.privileges = known.privileges | item.privileges;
        known.options = known.options | item.options;
    }
    all.into_values().collect()
}

/// USAGE of collations, which everybody has. (PostgreSQL lists sequences and domains here too: there are none.)
pub(super) fn usage_privileges(scope: &Scope, batch: &mut Batch<'_>, public: bool) {
    let table = crate::plan::system::data::collations();
    let name = table.position("collname").unwrap_or_default();
    let rows = if public { table.len() } else { 0 };
    let owner = objects::role_name(scope, objects::bootstrap_role(scope));
    batch.rows(rows);
    batch.constant("grantor", owner.as_ref());
    batch.constant("grantee", "PUBLIC");
    catalog(scope, batch, &["object_catalog"]);
    batch.constant("object_schema", "pg_catalog");
    batch.column("object_name", (0..rows).map(|row| table.text(row, name)));
    batch.constant("object_type", "COLLATION");
    batch.constant("privilege_type", "USAGE");
    batch.constant("is_grantable", "NO");
}
