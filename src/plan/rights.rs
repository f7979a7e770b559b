//! Who may do what: the privileges a role has on an object, itself or by the roles it is a member of, as PostgreSQL decides.
//!
//! Here is only the decision, over one catalog; `access.rs` says what a plan needs, `statement/grant` changes what is stored.

use std::collections::BTreeSet;

use tidemill_catalog::Oid;
use tidemill_catalog::acl::{self, AclItem, PUBLIC, Privileges};
use tidemill_catalog::record::{Body, Object, RoleDef};
use tidemill_catalog::snapshot::{Catalog, NameClass};

use crate::Result;
use crate::error::{Error, SqlState};

/// The schema that everybody may use in a database that was made before privileges were stored.
const PUBLIC_SCHEMA: &str = "public";

/// What a privilege is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    /// Tables and views.
    Relation,
    /// Columns of tables and views.
    Column,
    /// Sequences.
    Sequence,
    /// Schemas.
    Schema,
    /// Databases.
    Database,
    /// Functions: everybody may call them.
    Function,
    /// Types and languages: everybody may use them.
    Usage,
}

impl On {
    /// All privileges that there are on such an object.
    pub(crate) const fn all(self) -> Privileges {
        Privileges::of(match self {
            Self::Relation => "arwdDxt",
            Self::Column => "arwx",
            Self::Sequence => "rwU",
            Self::Schema => "UC",
            Self::Database => "CTc",
            Self::Function => "X",
            Self::Usage => "U",
        })
    }

    /// What everybody has where nothing is stored.
    pub(crate) const fn of_everybody(self) -> Privileges {
        Privileges::of(match self {
            Self::Relation | Self::Column | Self::Sequence | Self::Schema => "",
            Self::Database => "Tc",
            Self::Function => "X",
            Self::Usage => "U",
        })
    }

    /// The default privileges of such an object: PostgreSQL's acldefault().
    pub(crate) fn default_items(self, owner: Oid) -> Vec<AclItem> {
        if self == Self::Column {
            return vec![];
        }
        let everybody = AclItem::new(PUBLIC, owner, self.of_everybody());
        let everybody = Some(everybody).filter(|item| !item.privileges.is_empty());
        everybody.into_iter().chain([AclItem::new(owner, owner, self.all())]).collect()
    }

    /// What `ALL PRIVILEGES` and a word of GRANT may mean; `None` for a word that such objects do not have.
    pub(crate) fn privilege(self, word: &str) -> Option<Privileges> {
        let (letter, _) = WORDS.iter().find(|(_, known)| known.eq_ignore_ascii_case(word))?;
        let privilege = Privileges::of_letter(*letter);
        self.all().contains(privilege).then_some(privilege)
    }
}

/// Privileges by their letter in an aclitem and their word.
pub(crate) const WORDS: [(char, &str); 13] = [
    ('a', "INSERT"),
    ('r', "SELECT"),
    ('w', "UPDATE"),
    ('d', "DELETE"),
    ('D', "TRUNCATE"),
    ('x', "REFERENCES"),
    ('t', "TRIGGER"),
    ('X', "EXECUTE"),
    ('U', "USAGE"),
    ('C', "CREATE"),
    ('c', "CONNECT"),
    ('T', "TEMPORARY"),
    ('T', "TEMP"),
];

/// An object as far as privileges are concerned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) on: On,
    pub(crate) owner: Oid,
    pub(crate) acl: &'a [AclItem],
    /// What everybody has where nothing is stored.
    pub(crate) everybody: Privileges,
}

impl<'a> Target<'a> {
    /// A stored object; `None` for kinds that have no privileges.
    pub(crate) fn of(object: &'a Object) -> Option<Self> {
        let on = match &object.body {
            Body::Database {} => On::Database,
            Body::Schema {} => On::Schema,
            Body::Table(_) | Body::View(_) => On::Relation,
            Body::Sequence(_) => On::Sequence,
            Body::Type(_) => On::Usage,
            Body::Role(_) | Body::Source(_) => return None,
        };
        let everybody = match on {
            On::Schema if object.name == PUBLIC_SCHEMA || is_system_schema(&object.name) => Privileges::USAGE,
            _ => on.of_everybody(),
        };
        Some(Self { on, owner: object.owner, acl: &object.acl, everybody })
    }

    /// The grants in force on the object itself: the stored ones, else the default.
    pub(crate) fn items(&self) -> Vec<AclItem> {
        acl::items(self.acl, 0).unwrap_or_else(|| {
            let everybody = Some(AclItem::new(PUBLIC, self.owner, self.everybody));
            let everybody = everybody.filter(|item| !item.privileges.is_empty());
            everybody.into_iter().chain([AclItem::new(self.owner, self.owner, self.on.all())]).collect()
        })
    }

    /// The grants on a column alone.
    pub(crate) fn column_items(&self, column: i32) -> Vec<AclItem> {
        acl::items(self.acl, column).unwrap_or_default()
    }

    /// What the role may do with the object.
    pub(crate) fn held(&self, catalog: &Catalog, role: Oid) -> Privileges {
        if is_superuser(catalog, role) {
            return self.on.all();
        }
        acl::held(&self.items(), &memberships(catalog, role, true), false) & self.on.all()
    }

    /// What of it the role may grant.
    pub(crate) fn grantable(&self, catalog: &Catalog, role: Oid) -> Privileges {
        if is_superuser(catalog, role) {
            return self.on.all();
        }
        let roles = memberships(catalog, role, true);
        if roles.contains(&self.owner) { self.on.all() } else { acl::held(&self.items(), &roles, true) }
    }

    /// What the role may do with a column, by grants on it alone.
    pub(crate) fn held_on_column(&self, catalog: &Catalog, role: Oid, column: i32, options: bool) -> Privileges {
        let roles = memberships(catalog, role, true);
        if is_superuser(catalog, role) || options && roles.contains(&self.owner) {
            return On::Column.all();
        }
        acl::held(&self.column_items(column), &roles, options)
    }
}

/// A schema of the server itself, whose tables anyone may look for.
fn is_system_schema(name: &str) -> bool {
    super::system::schemas().iter().any(|(schema, _)| *schema == name)
}

/// The role's definition.
pub(crate) fn role(catalog: &Catalog, role: Oid) -> Option<&RoleDef> {
    match &catalog.get(role)?.body {
        Body::Role(def) => Some(def),
        _ => None,
    }
}

/// True for a superuser.
pub(crate) fn is_superuser(catalog: &Catalog, oid: Oid) -> bool {
    role(catalog, oid).is_some_and(|role| role.superuser)
}

/// The role and all that it is a member of; with `inherited`, only those whose privileges it has without SET ROLE.
pub(crate) fn memberships(catalog: &Catalog, oid: Oid, inherited: bool) -> BTreeSet<Oid> {
    let mut all = BTreeSet::new();
    let mut todo = vec![oid];
    while let Some(next) = todo.pop() {
        if all.insert(next)
            && let Some(role) = role(catalog, next)
            && (role.inherit || !inherited)
        {
            todo.extend(&role.member_of);
        }
    }
    all
}

/// True if the role may become the other by SET ROLE: is it, is a member of it, or is a superuser.
pub(crate) fn is_member(catalog: &Catalog, role: Oid, of: Oid) -> bool {
    role == of || is_superuser(catalog, role) || memberships(catalog, role, false).contains(&of)
}

/// True if the role has the other's privileges as they are: owns what it owns.
pub(crate) fn has_privileges_of(catalog: &Catalog, role: Oid, of: Oid) -> bool {
    role == of || is_superuser(catalog, role) || memberships(catalog, role, true).contains(&of)
}

/// True if the role may make others members of `of`.
pub(crate) fn is_admin_of(catalog: &Catalog, oid: Oid, of: Oid) -> bool {
    is_superuser(catalog, oid)
        || memberships(catalog, oid, false)
            .iter()
            .any(|group| role(catalog, *group).is_some_and(|group| group.admin_of.contains(&of)))
}

/// Whether a session may take on a role or another login: `setting` is `role` or `session_authorization`, any other one may be
/// set. `login`: who logged in; `session`: who the session is for now.
///
/// # Errors
/// 22023 for an unknown role, 42501.
pub(crate) fn check_identity(catalog: &Catalog, setting: &str, value: &str, login: Oid, session: Oid) -> Result<()> {
    let is_role = setting.eq_ignore_ascii_case("role");
    if !is_role && !setting.eq_ignore_ascii_case("session_authorization") || is_role && value == "none" {
        return Ok(());
    }
    let role = catalog
        .find(0, NameClass::Role, value)
        .ok_or_else(|| Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("role \"{value}\" does not exist")))?;
    if is_role && !is_member(catalog, session, role.oid) {
        let message = format!("permission denied to set role \"{value}\"");
        return Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message));
    }
    if !is_role && role.oid != login && !is_superuser(catalog, login) {
        return Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, "permission denied to set session authorization"));
    }
    Ok(())
}

/// True if the role has all of these privileges on a stored object.
pub(crate) fn may(catalog: &Catalog, role: Oid, object: &Object, privileges: Privileges) -> bool {
    Target::of(object).is_some_and(|target| target.held(catalog, role).contains(privileges))
}

/// `permission denied for table t`: what kind of object, and its name.
pub(crate) fn denied(object: &Object) -> Error {
    let kind = match &object.body {
        Body::Table(_) => "table",
        Body::View(_) => "view",
        other => other.kind(),
    };
    denied_for(kind, &object.name)
}

/// As [`denied`], for what is not stored.
pub(crate) fn denied_for(kind: &str, name: &str) -> Error {
    Error::new(SqlState::INSUFFICIENT_PRIVILEGE, format!("permission denied for {kind} {name}"))
}

/// In whose name a role grants or revokes, and what it may: the owner's if it may act as the owner, else that of the role among
/// its own with most of the grant options wanted.
pub(crate) fn best_grantor(
    catalog: &Catalog,
    role: Oid,
    owner: Oid,
    items: &[AclItem],
    wanted: Privileges,
) -> (Oid, Privileges) {
    if has_privileges_of(catalog, role, owner) {
        return (owner, wanted);
    }
    let mut best = (role, Privileges::NONE);
    let roles = memberships(catalog, role, true);
    for candidate in std::iter::once(role).chain(roles.into_iter().filter(|other| *other != role)) {
        let options = acl::held(items, &BTreeSet::from([candidate]), true) & wanted;
        if options.count() > best.1.count() {
            best = (candidate, options);
        }
    }
    best
}
