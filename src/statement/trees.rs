//! The syntax trees of objects beside tables and views: sequences and what columns have of them, constraints, indexes.

use tidemill_catalog::record::Body;
use tidemill_udfs::types::SqlType;

use super::control::{CheckSyntax, Expression, Name};

/// What a statement about relations is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelationKind {
    /// TABLE
    Table,
    /// VIEW
    View,
    /// SEQUENCE
    Sequence,
    /// INDEX
    Index,
}

impl RelationKind {
    /// What a stored relation is.
    pub fn of(body: &Body) -> Option<Self> {
        match body {
            Body::Table(_) => Some(Self::Table),
            Body::View(_) => Some(Self::View),
            Body::Sequence(_) => Some(Self::Sequence),
            _ => None,
        }
    }

    /// Its word in a command.
    pub fn word(self) -> &'static str {
        match self {
            Self::Table => "TABLE",
            Self::View => "VIEW",
            Self::Sequence => "SEQUENCE",
            Self::Index => "INDEX",
        }
    }

    /// Its word in a message.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::View => "view",
            Self::Sequence => "sequence",
            Self::Index => "index",
        }
    }
}

/// A type as a statement names it.
#[derive(Debug, Clone)]
pub enum TypeName {
    /// One that the server has, with the digits of a second that a type of time keeps.
    Known(SqlType, Option<u8>),
    /// One that users made, or nobody.
    User {
        /// Its name.
        name: Name,
        /// The array of it.
        is_array: bool,
    },
}

/// ALTER TYPE and ALTER DOMAIN.
#[derive(Debug, Clone)]
pub enum AlterType {
    /// ADD VALUE
    AddValue {
        /// The new label.
        label: String,
        /// IF NOT EXISTS
        if_not_exists: bool,
        /// BEFORE (false) or AFTER (true) another label.
        beside: Option<(bool, String)>,
    },
    /// RENAME VALUE … TO …
    RenameValue(String, String),
    /// RENAME TO
    Rename(String),
    /// OWNER TO
    Owner(String),
    /// SET SCHEMA
    SetSchema(String),
    /// What only domains have.
    Domain(Box<AlterDomain>),
}

/// CREATE DOMAIN.
#[derive(Debug, Clone)]
pub struct CreateDomain {
    /// Its name.
    pub name: Name,
    /// The type below it.
    pub base: TypeName,
    /// DEFAULT
    pub default: Option<Expression>,
    /// NOT NULL
    pub not_null: bool,
    /// CHECK
    pub checks: Vec<CheckSyntax>,
}

/// ALTER DOMAIN, but for what all types have.
#[derive(Debug, Clone)]
pub enum AlterDomain {
    /// SET DEFAULT; `None`: DROP DEFAULT
    Default(Option<Expression>),
    /// SET NOT NULL, DROP NOT NULL
    NotNull(bool),
    /// ADD CHECK
    AddCheck {
        /// The constraint.
        check: CheckSyntax,
        /// NOT VALID
        not_valid: bool,
    },
    /// DROP CONSTRAINT
    DropConstraint {
        /// Its name.
        name: String,
        /// IF EXISTS
        if_exists: bool,
    },
    /// RENAME CONSTRAINT
    RenameConstraint {
        /// Its name.
        from: String,
        /// Its new name.
        to: String,
    },
    /// VALIDATE CONSTRAINT
    ValidateConstraint(String),
}

/// CREATE SEQUENCE.
#[derive(Debug, Clone)]
pub struct CreateSequence {
    /// Its name.
    pub name: Name,
    /// TEMPORARY
    pub temporary: bool,
    /// IF NOT EXISTS
    pub if_not_exists: bool,
    /// Its options.
    pub options: SequenceOptions,
}

/// Options of a sequence; `None`: not given.
#[derive(Debug, Clone, Default)]
pub struct SequenceOptions {
    /// AS
    pub sql_type: Option<SqlType>,
    /// INCREMENT BY
    pub increment: Option<i64>,
    /// MINVALUE; `Some(None)`: NO MINVALUE
    pub min: Option<Option<i64>>,
    /// MAXVALUE; `Some(None)`: NO MAXVALUE
    pub max: Option<Option<i64>>,
    /// START WITH
    pub start: Option<i64>,
    /// RESTART; `Some(None)`: at its start.
    pub restart: Option<Option<i64>>,
    /// CACHE
    pub cache: Option<i64>,
    /// CYCLE, NO CYCLE
    pub cycle: Option<bool>,
    /// OWNED BY
    pub owner: Option<OwnedBy>,
    /// SEQUENCE NAME, of an identity column.
    pub name: Option<Name>,
}

/// OWNED BY.
#[derive(Debug, Clone)]
pub enum OwnedBy {
    /// NONE
    Nothing,
    /// A column of a table.
    Column(Name, String),
}

/// GENERATED … AS IDENTITY.
#[derive(Debug, Clone)]
pub struct IdentitySyntax {
    /// ALWAYS, not BY DEFAULT.
    pub always: bool,
    /// Options of its sequence.
    pub options: SequenceOptions,
}

/// LIKE in CREATE TABLE.
#[derive(Debug, Clone)]
pub struct LikeSyntax {
    /// The table.
    pub name: Name,
    /// How many columns stand before it.
    pub at: usize,
    /// What of it comes besides columns, their types and NOT NULL.
    pub including: Including,
}

/// INCLUDING.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "they are PostgreSQL's options")]
pub struct Including {
    /// COMMENTS
    pub comments: bool,
    /// CONSTRAINTS: CHECKs.
    pub constraints: bool,
    /// DEFAULTS
    pub defaults: bool,
    /// IDENTITY
    pub identity: bool,
    /// INDEXES: the primary key.
    pub indexes: bool,
}

/// UNIQUE.
#[derive(Debug, Clone)]
pub struct UniqueSyntax {
    /// CONSTRAINT name
    pub name: Option<String>,
    /// Its columns.
    pub columns: Vec<String>,
    /// INCLUDE
    pub include: Vec<String>,
    /// Byte offset of it.
    pub offset: usize,
}

/// FOREIGN KEY, REFERENCES.
#[derive(Debug, Clone)]
pub struct ForeignKeySyntax {
    /// CONSTRAINT name
    pub name: Option<String>,
    /// Its columns.
    pub columns: Vec<String>,
    /// The table they refer to.
    pub table: Name,
    /// Its columns; empty: the primary key.
    pub key: Vec<String>,
    /// ON UPDATE, as pg_constraint has it.
    pub on_update: char,
    /// ON DELETE, likewise.
    pub on_delete: char,
    /// MATCH FULL
    pub match_full: bool,
    /// DEFERRABLE
    pub deferrable: bool,
    /// INITIALLY DEFERRED
    pub deferred: bool,
}

/// CREATE INDEX.
#[derive(Debug, Clone)]
pub struct CreateIndex {
    /// Its name, if given.
    pub name: Option<String>,
    /// The table.
    pub table: Name,
    /// UNIQUE
    pub unique: bool,
    /// IF NOT EXISTS
    pub if_not_exists: bool,
    /// USING
    pub method: String,
    /// What it is about.
    pub keys: Vec<IndexKeySyntax>,
    /// INCLUDE
    pub include: Vec<String>,
    /// WITH
    pub parameters: Vec<(String, String)>,
    /// WHERE
    pub predicate: Option<Expression>,
}

/// A column or expression of an index.
#[derive(Debug, Clone)]
pub struct IndexKeySyntax {
    /// The column.
    pub column: Option<String>,
    /// Or the expression.
    pub expression: Option<Expression>,
    /// The operator class.
    pub class: Option<String>,
    /// DESC
    pub descending: bool,
    /// NULLS FIRST, as said or as it follows.
    pub nulls_first: bool,
    /// Byte offset of it.
    pub offset: usize,
}
