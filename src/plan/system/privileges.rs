//! Who may do what: access privileges in PostgreSQL's aclitem text form, the defaults where none are stored, membership
//! in roles.

use std::collections::BTreeSet;

use tidemill_catalog::Oid;
use tidemill_catalog::record::{Body, Object};

use super::names::quote_ident;
use super::objects::{self, Kind, Namespace, Rel};
use crate::error::{Error, Result, SqlState};
use crate::plan::Scope;

/// What a privilege is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    /// Tables and views.
    Relation,
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

/// Privileges by their letter in an aclitem and their word.
const WORDS: [(char, &str); 13] = [
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

impl On {
    /// All privileges that there are on such an object.
    pub(crate) fn letters(self) -> &'static str {
        match self {
            Self::Relation => "arwdDxt",
            Self::Sequence => "rwU",
            Self::Schema => "UC",
            Self::Database => "CTc",
            Self::Function => "X",
            Self::Usage => "U",
        }
    }

    /// What everybody has where nothing is stored.
    fn public(self) -> &'static str {
        match self {
            Self::Relation | Self::Sequence | Self::Schema => "",
            Self::Database => "Tc",
            Self::Function => "X",
            Self::Usage => "U",
        }
    }
}

/// One grant: to whom (`None`: everybody), by whom, which privileges, each with its grant option.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Grant {
    pub(crate) grantee: Option<Oid>,
    pub(crate) grantor: Oid,
    pub(crate) privileges: Vec<(char, bool)>,
}

/// An object as far as privileges are concerned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) on: On,
    pub(crate) owner: Oid,
    pub(crate) acl: &'a [String],
    /// PostgreSQL's own: everybody may read and use it.
    pub(crate) system: bool,
}

impl<'a> Target<'a> {
    /// A relation.
    pub(crate) fn relation(rel: &Rel<'a>) -> Self {
        let acl = rel.object.map_or(&[][..], |object| &object.acl);
        let on = if matches!(rel.kind, Kind::Sequence(_)) { On::Sequence } else { On::Relation };
        Self { on, owner: rel.owner, acl, system: !rel.is_user() }
    }

    /// A schema.
    pub(crate) fn schema(schema: &Namespace<'a>) -> Self {
        let acl = schema.object.map_or(&[][..], |object| &object.acl);
        Self { on: On::Schema, owner: schema.owner, acl, system: schema.object.is_none() }
    }

    /// A database.
    pub(crate) fn database(object: &'a Object) -> Self {
        Self { on: On::Database, owner: object.owner, acl: &object.acl, system: false }
    }

    /// A function, type or language: PostgreSQL's own, all of them.
    pub(crate) fn builtin(scope: &Scope, on: On) -> Self {
        Self { on, owner: objects::bootstrap_role(scope), acl: &[], system: true }
    }

    /// The grants in force: the stored ones, else the default.
    pub(crate) fn grants(&self, scope: &Scope) -> Vec<Grant> {
        if !self.acl.is_empty() {
            return self.acl.iter().filter_map(|item| parse(scope, item)).collect();
        }
        let all = self.on.letters().chars().map(|letter| (letter, true)).collect();
        let mut grants = vec![Grant { grantee: Some(self.owner), grantor: self.owner, privileges: all }];
        let public = match (self.system, self.on) {
            (true, On::Relation) => "r",
            (true, On::Schema) => "U",
            (_, on) => on.public(),
        };
        if !public.is_empty() {
            let privileges = public.chars().map(|letter| (letter, false)).collect();
            grants.push(Grant { grantee: None, grantor: self.owner, privileges });
        }
        grants
    }

    /// True if the role has the privilege (with its grant option, if asked), itself or by membership.
    pub(crate) fn allows(&self, scope: &Scope, role: Oid, letter: char, grant_option: bool) -> bool {
        if is_superuser(scope, role) {
            return true;
        }
        let roles = memberships(scope, role, true);
        if roles.contains(&self.owner) && self.on.letters().contains(letter) {
            return true;
        }
        self.grants(scope).iter().any(|grant| {
            grant.grantee.is_none_or(|grantee| roles.contains(&grantee))
                && grant.privileges.iter().any(|(has, option)| *has == letter && (*option || !grant_option))
        })
    }

    /// True if the role has any privilege at all: information_schema shows no other objects.
    pub(crate) fn allows_any(&self, scope: &Scope, role: Oid) -> bool {
        self.on.letters().chars().any(|letter| self.allows(scope, role, letter, false))
    }
}

/// True for a superuser.
pub(crate) fn is_superuser(scope: &Scope, role: Oid) -> bool {
    objects::role(scope, role).is_some_and(|(_, role)| role.superuser)
}

/// The role and all that it is a member of; with `inherited`, only those whose privileges it has without SET ROLE.
pub(crate) fn memberships(scope: &Scope, role: Oid, inherited: bool) -> BTreeSet<Oid> {
    let mut all = BTreeSet::new();
    let mut todo = vec![role];
    while let Some(next) = todo.pop() {
        if all.insert(next)
            && let Some((_, role)) = objects::role(scope, next)
            && (role.inherit || !inherited)
        {
            todo.extend(&role.member_of);
        }
    }
    all
}

/// An aclitem: `grantee=privileges/grantor`, the grantee empty for everybody, a `*` after a privilege with grant option.
pub(crate) fn parse(scope: &Scope, item: &str) -> Option<Grant> {
    let (who, grantor) = item.rsplit_once('/')?;
    let (grantee, letters) = who.rsplit_once('=')?;
    let role = |name: &str| {
        let name = match name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) {
            Some(quoted) => quoted.replace("\"\"", "\""),
            None => name.to_owned(),
        };
        objects::role_named(scope, &name).map(|role| role.oid)
    };
    let grantee = if grantee.is_empty() { None } else { Some(role(grantee)?) };
    let mut privileges: Vec<(char, bool)> = Vec::new();
    for letter in letters.chars() {
        match (letter, privileges.last_mut()) {
            ('*', Some(last)) => last.1 = true,
            ('*', None) => {}
            _ => privileges.push((letter, false)),
        }
    }
    Some(Grant { grantee, grantor: role(grantor).unwrap_or_default(), privileges })
}

/// The default privileges of an object as aclitems: acldefault().
pub(crate) fn default_acl(scope: &Scope, kind: &str, owner: Oid) -> Option<Vec<String>> {
    let on = match kind {
        "r" => On::Relation,
        "s" => On::Sequence,
        "n" => On::Schema,
        "d" => On::Database,
        "f" => On::Function,
        "T" | "l" => On::Usage,
        _ => return None,
    };
    let owner_name = objects::role_name(scope, owner);
    let owner_name = quote_ident(&owner_name);
    let public = Some(on.public()).filter(|letters| !letters.is_empty());
    let public = public.map(|letters| format!("={letters}/{owner_name}"));
    Some(public.into_iter().chain([format!("{owner_name}={}/{owner_name}", on.letters())]).collect())
}

/// The word of a letter.
pub(crate) fn word(letter: char) -> &'static str {
    WORDS.iter().find(|(other, _)| *other == letter).map_or("", |(_, word)| word)
}

/// The privileges that a text asks for: any of a comma-separated list, each perhaps `WITH GRANT OPTION`.
///
/// # Errors
/// 22023 for an unknown one, or one that such objects do not have.
pub(crate) fn parse_words(on: On, text: &str) -> Result<Vec<(char, bool)>> {
    let one = |part: &str| {
        let upper = part.trim().to_uppercase();
        let (name, grant_option) = match upper.strip_suffix(" WITH GRANT OPTION") {
            Some(name) => (name.trim(), true),
            None => (upper.as_str(), false),
        };
        let letter = WORDS.iter().find(|(letter, word)| *word == name && on.letters().contains(*letter));
        let unknown = || {
            let message = format!("unrecognized privilege type: \"{}\"", part.trim());
            Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
        };
        letter.map(|(letter, _)| (*letter, grant_option)).ok_or_else(unknown)
    };
    text.split(',').map(one).collect()
}

/// The object's kind as privileges know it.
pub(crate) fn target_of(object: &Object) -> Option<Target<'_>> {
    let on = match &object.body {
        Body::Database {} => On::Database,
        Body::Schema {} => On::Schema,
        Body::Table(_) | Body::View(_) => On::Relation,
        Body::Sequence(_) => On::Sequence,
        Body::Role(_) | Body::Source(_) | Body::Type(_) => return None,
    };
    Some(Target { on, owner: object.owner, acl: &object.acl, system: false })
}
