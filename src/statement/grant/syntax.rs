//! The syntax trees of GRANT, REVOKE, ALTER DEFAULT PRIVILEGES, DROP OWNED and REASSIGN OWNED.

use crate::statement::control::Name;

/// GRANT and REVOKE of privileges on objects.
#[derive(Debug, Clone)]
pub struct Grant {
    /// REVOKE
    pub revoke: bool,
    /// WITH GRANT OPTION; GRANT OPTION FOR
    pub option: bool,
    /// What; ALL is one without a word.
    pub privileges: Vec<Privilege>,
    /// On what.
    pub target: Target,
    /// To or from whom; `None`: PUBLIC.
    pub roles: Vec<Option<String>>,
    /// GRANTED BY
    pub granted_by: Option<String>,
    /// CASCADE
    pub cascade: bool,
}

/// A privilege as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Privilege {
    /// Its word, folded; `None`: ALL.
    pub word: Option<String>,
    /// `(column, …)`; none: the whole object.
    pub columns: Vec<String>,
}

/// What kind of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Tables and views.
    Table,
    /// Sequences.
    Sequence,
    /// Schemas.
    Schema,
    /// Databases.
    Database,
    /// Functions and procedures.
    Function,
    /// Types and domains.
    Type,
    /// Languages.
    Language,
}

/// What is granted on.
#[derive(Debug, Clone)]
pub enum Target {
    /// Objects by name.
    Named(Kind, Vec<Name>),
    /// ALL … IN SCHEMA
    AllIn(Kind, Vec<Name>),
}

/// GRANT and REVOKE of membership in roles.
#[derive(Debug, Clone)]
pub struct GrantRole {
    /// REVOKE
    pub revoke: bool,
    /// WITH ADMIN OPTION; ADMIN OPTION FOR
    pub admin: bool,
    /// Which roles.
    pub roles: Vec<String>,
    /// Who becomes a member.
    pub members: Vec<String>,
    /// GRANTED BY
    pub granted_by: Option<String>,
}

/// ALTER DEFAULT PRIVILEGES.
#[derive(Debug, Clone)]
pub struct AlterDefaults {
    /// FOR ROLE; none: the current one.
    pub for_roles: Vec<String>,
    /// IN SCHEMA; none: everywhere.
    pub schemas: Vec<Name>,
    /// On what kind of future objects.
    pub kind: Kind,
    /// The rest; its target counts for nothing.
    pub grant: Grant,
}
