//! Privileges as the system catalogs and functions tell them: aclitems in text, words, targets that are not stored.
//! What they decide is in `plan/rights.rs`.

use std::borrow::Cow;

use tidemill_catalog::Oid;
use tidemill_catalog::acl::{self, AclItem, PUBLIC, Privileges};

use super::names::quote_ident;
use super::objects::{self, Namespace, Rel};
use super::registry;
use crate::error::{Error, Result, SqlState};
use crate::plan::Scope;
use crate::plan::rights;
pub(crate) use crate::plan::rights::{On, Target, WORDS};

impl<'a> Target<'a> {
    /// A relation.
    pub(crate) fn relation(scope: &Scope, rel: &Rel<'a>) -> Self {
        match rel.object.and_then(|object| Target::of(object)) {
            Some(target) => target,
            None => {
                let hidden = super::is_hidden(rel.oid);
                let everybody = if hidden { Privileges::NONE } else { Privileges::SELECT };
                Self { on: On::Relation, owner: objects::bootstrap_role(scope), acl: &[], everybody }
            }
        }
    }

    /// A schema.
    pub(crate) fn schema(schema: &Namespace<'a>) -> Self {
        match schema.object.and_then(|object| Target::of(object)) {
            Some(target) => target,
            None => {
                let is_toast = schema.oid == registry::TOAST.1;
                let everybody = if is_toast { Privileges::NONE } else { Privileges::USAGE };
                Self { on: On::Schema, owner: schema.owner, acl: &[], everybody }
            }
        }
    }

    /// A function, type or language: PostgreSQL's own, all of them.
    pub(crate) fn builtin(scope: &Scope, on: On) -> Self {
        Self { on, owner: objects::bootstrap_role(scope), acl: &[], everybody: on.of_everybody() }
    }

    /// True if the role has one of the privileges (with its grant option, if asked), itself or by membership.
    pub(crate) fn allows(&self, scope: &Scope, role: Oid, privilege: Privileges, grant_option: bool) -> bool {
        let catalog = &scope.snapshot.catalog;
        let has = if grant_option { self.grantable(catalog, role) } else { self.held(catalog, role) };
        has.contains(privilege)
    }

    /// As [`Self::allows`], of a column: by the relation's privileges or its own.
    pub(crate) fn allows_column(
        &self,
        scope: &Scope,
        role: Oid,
        column: i32,
        privilege: Privileges,
        option: bool,
    ) -> bool {
        self.allows(scope, role, privilege, option)
            || self.held_on_column(&scope.snapshot.catalog, role, column, option).contains(privilege)
    }

    /// True if the role has any privilege at all, if only on a column: information_schema shows no other objects.
    pub(crate) fn allows_any(&self, scope: &Scope, role: Oid) -> bool {
        let catalog = &scope.snapshot.catalog;
        if rights::has_privileges_of(catalog, role, self.owner) || !self.held(catalog, role).is_empty() {
            return true;
        }
        let roles = rights::memberships(catalog, role, true);
        let of_columns: Vec<AclItem> = self.acl.iter().filter(|item| item.column != 0).copied().collect();
        !acl::held(&of_columns, &roles, false).is_empty()
    }
}

/// True for a superuser.
pub(crate) fn is_superuser(scope: &Scope, role: Oid) -> bool {
    rights::is_superuser(&scope.snapshot.catalog, role)
}

/// An aclitem: `grantee=privileges/grantor`, the grantee empty for everybody, a `*` after a privilege with grant option.
pub(crate) fn print(scope: &Scope, item: &AclItem) -> String {
    let grantee = if item.grantee == PUBLIC { Cow::default() } else { shown_role(scope, item.grantee) };
    format!("{grantee}={}/{}", item.spelled(), shown_role(scope, item.grantor))
}

fn shown_role(scope: &Scope, role: Oid) -> Cow<'static, str> {
    match objects::role(scope, role) {
        Some((object, _)) => Cow::Owned(quote_ident(&object.name).into_owned()),
        None => Cow::Owned(role.to_string()),
    }
}

/// The items of a list about an object (0) or one of its columns, in text; `None`: the default ones.
pub(crate) fn printed(scope: &Scope, acl: &[AclItem], column: i32) -> Option<Vec<String>> {
    let items = acl::items(acl, column)?;
    Some(items.iter().map(|item| print(scope, item)).collect())
}

/// The aclitem that a text spells; `None` if it spells none or names no role.
pub(crate) fn parse(scope: &Scope, item: &str) -> Option<AclItem> {
    let (who, grantor) = item.rsplit_once('/')?;
    let (grantee, letters) = who.rsplit_once('=')?;
    let role = |name: &str| {
        let name = match name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) {
            Some(quoted) => quoted.replace("\"\"", "\""),
            None => name.to_owned(),
        };
        let oid = objects::role_named(scope, &name).map(|role| role.oid);
        oid.or_else(|| name.parse().ok())
    };
    let grantee = if grantee.is_empty() { PUBLIC } else { role(grantee)? };
    let (privileges, options) = AclItem::parse_letters(letters)?;
    Some(AclItem { column: 0, grantee, grantor: role(grantor)?, privileges, options })
}

/// The default privileges of an object as aclitems: acldefault().
pub(crate) fn default_acl(scope: &Scope, kind: &str, owner: Oid) -> Result<Option<Vec<String>>> {
    let on = match kind {
        "r" => On::Relation,
        "c" => On::Column,
        "s" => On::Sequence,
        "n" => On::Schema,
        "d" => On::Database,
        "f" => On::Function,
        "T" | "l" => On::Usage,
        // Foreign data wrappers, servers, large objects, tablespaces, parameters: of which there are none.
        "F" | "S" | "L" | "t" | "p" => return Ok(None),
        _ => {
            let message = format!("unrecognized object type abbreviation: {kind}");
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
        }
    };
    Ok(Some(on.default_items(owner).iter().map(|item| print(scope, item)).collect()))
}

/// The word of a letter.
pub(crate) fn word(letter: char) -> &'static str {
    WORDS.iter().find(|(other, _)| *other == letter).map_or("", |(_, word)| word)
}

/// The privileges that a text asks for: any of a comma-separated list, each perhaps `WITH GRANT OPTION`.
///
/// # Errors
/// 22023 for an unknown one, or one that such objects do not have.
pub(crate) fn parse_words(on: On, text: &str) -> Result<Vec<(Privileges, bool)>> {
    let one = |part: &str| {
        let upper = part.trim().to_uppercase();
        let (name, grant_option) = match upper.strip_suffix(" WITH GRANT OPTION") {
            Some(name) => (name.trim(), true),
            None => (upper.as_str(), false),
        };
        let unknown = || {
            let message = format!("unrecognized privilege type: \"{}\"", part.trim());
            Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
        };
        on.privilege(name).map(|privilege| (privilege, grant_option)).ok_or_else(unknown)
    };
    text.split(',').map(one).collect()
}
