//! table_privileges and kin: who granted what to whom.

use super::{table_names, visible_relations, yes_no};
use crate::plan::Scope;
use crate::plan::system::batch::Batch;
use crate::plan::system::objects::{self, Rel};
use crate::plan::system::privileges::{self, Target};

/// One privilege on one relation.
struct Row<'r, 'a> {
    rel: &'r Rel<'a>,
    grantor: String,
    grantee: String,
    letter: char,
    grantable: bool,
}

/// The grants that concern the current role; those to everybody only if `public`.
fn rows<'r, 'a>(scope: &'a Scope, relations: &'r [Rel<'a>], public: bool) -> Vec<Row<'r, 'a>> {
    let mine = privileges::memberships(scope, scope.role, false);
    let superuser = privileges::is_superuser(scope, scope.role);
    let name = |oid| objects::role_name(scope, oid).into_owned();
    let mut all = Vec::new();
    for rel in relations {
        let target = Target::relation(rel);
        for grant in target.grants(scope) {
            let concerns =
                superuser || mine.contains(&grant.grantor) || grant.grantee.is_some_and(|g| mine.contains(&g));
            let shown = if grant.grantee.is_none() { public } else { concerns };
            if !shown {
                continue;
            }
            all.extend(grant.privileges.iter().map(|(letter, option)| Row {
                rel,
                grantor: name(grant.grantor),
                grantee: grant.grantee.map_or_else(|| "PUBLIC".to_owned(), name),
                letter: *letter,
                grantable: *option || grant.grantee == Some(target.owner),
            }));
        }
    }
    all
}

fn common(scope: &Scope, batch: &mut Batch<'_>, all: &[&Row<'_, '_>]) {
    batch.column("grantor", all.iter().map(|row| &row.grantor));
    batch.column("grantee", all.iter().map(|row| &row.grantee));
    table_names(scope, batch, all.iter().map(|row| row.rel));
    batch.column("privilege_type", all.iter().map(|row| privileges::word(row.letter)));
    batch.column("is_grantable", all.iter().map(|row| yes_no(row.grantable)));
}

pub(super) fn table_privileges(scope: &Scope, batch: &mut Batch<'_>, public: bool) {
    let relations = visible_relations(scope);
    let all = rows(scope, &relations, public);
    let all: Vec<_> = all.iter().collect();
    batch.rows(all.len());
    common(scope, batch, &all);
    batch.column("with_hierarchy", all.iter().map(|row| yes_no(row.letter == 'r')));
}

pub(super) fn column_privileges(scope: &Scope, batch: &mut Batch<'_>, public: bool) {
    let relations = visible_relations(scope);
    let grants = rows(scope, &relations, public);
    // Privileges that exist on columns.
    let mut all = Vec::new();
    for row in grants.iter().filter(|row| "arwx".contains(row.letter)) {
        match row.rel.kind {
            objects::Kind::System(system) => all.extend(system.columns.iter().map(|column| (row, column.name))),
            _ => all.extend(row.rel.columns().iter().map(|column| (row, column.name.as_str()))),
        }
    }
    batch.rows(all.len());
    let rows: Vec<_> = all.iter().map(|(row, _)| *row).collect();
    common(scope, batch, &rows);
    batch.column("column_name", all.iter().map(|(_, column)| *column));
}
