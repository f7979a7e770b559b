//! The syntax trees of statements that are ours: everything but queries, INSERT, UPDATE, DELETE and MERGE.

use datafusion::sql::sqlparser::ast;

use super::grant::syntax::{AlterDefaults, Grant, GrantRole};
use super::parse::Parsed;
use super::trees::{
    AlterType, CreateDomain, CreateIndex, CreateSequence, ForeignKeySyntax, IdentitySyntax, LikeSyntax, RelationKind,
    SequenceOptions, TypeName, UniqueSyntax,
};
use crate::error::SqlState;

/// A possibly qualified name, parts folded as PostgreSQL folds them, and where it stands in the text (bytes).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// `[database.][schema.]name`
    pub parts: Vec<String>,
    /// Byte offset of its first part.
    pub offset: usize,
}

impl Name {
    /// The last part.
    pub fn last(&self) -> &str {
        self.parts.last().map_or("", String::as_str)
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.parts.join("."))
    }
}

/// An expression with its text, which is what gets stored.
#[derive(Debug, Clone)]
pub struct Expression {
    /// The syntax tree.
    pub ast: ast::Expr,
    /// The text it came from.
    pub text: String,
    /// Byte offset of the text.
    pub offset: usize,
}

/// A block of DO.
#[derive(Debug, Clone)]
pub struct Block {
    /// What it does, in order.
    pub steps: Vec<Located>,
    /// What it does where that fails.
    pub handlers: Vec<Handler>,
}

/// `WHEN condition OR … THEN …`
#[derive(Debug, Clone)]
pub struct Handler {
    /// The conditions; `None`: OTHERS.
    pub states: Vec<Option<SqlState>>,
    /// What it does.
    pub steps: Vec<Located>,
}

/// A statement of a block with its line of the body, from 1.
#[derive(Debug, Clone)]
pub struct Located {
    /// The line.
    pub line: u64,
    /// The statement.
    pub step: Step,
}

/// A statement of a block.
#[derive(Debug, Clone)]
pub enum Step {
    /// NULL
    Null,
    /// A block within.
    Block(Block),
    /// A statement of SQL.
    Sql(Box<Parsed>),
    /// PERFORM: what follows SELECT.
    Perform(String),
    /// EXECUTE: an expression that gives the statement.
    Execute(String),
    /// IF
    If {
        /// Conditions, and what is done for the first that holds.
        branches: Vec<(String, Vec<Located>)>,
        /// ELSE
        otherwise: Vec<Located>,
    },
    /// RAISE
    Raise(Raise),
}

/// RAISE of something; alone it raises again what the handler caught.
#[derive(Debug, Clone)]
pub struct Raise {
    /// How.
    pub level: Level,
    /// What.
    pub raised: Raised,
    /// USING: expressions.
    pub options: Vec<(RaiseOption, String)>,
}

/// What RAISE names in front of USING.
#[derive(Debug, Clone)]
pub enum Raised {
    /// Nothing.
    Nothing,
    /// A text with `%` for each of the expressions.
    Format(String, Vec<String>),
    /// A condition with the name that the statement gives it.
    Condition(SqlState, String),
}

/// An option of RAISE … USING.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are the words")]
pub enum RaiseOption {
    Errcode,
    Message,
    Detail,
    Hint,
    Column,
    Constraint,
    Datatype,
    Table,
    Schema,
}

impl RaiseOption {
    /// All of them with their words.
    pub const ALL: [(&str, Self); 9] = [
        ("ERRCODE", Self::Errcode),
        ("MESSAGE", Self::Message),
        ("DETAIL", Self::Detail),
        ("HINT", Self::Hint),
        ("COLUMN", Self::Column),
        ("CONSTRAINT", Self::Constraint),
        ("DATATYPE", Self::Datatype),
        ("TABLE", Self::Table),
        ("SCHEMA", Self::Schema),
    ];
}

/// A level of RAISE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// A notice of that severity.
    Notice(&'static str),
    /// An error.
    Exception,
}

/// Statements that are not sqlparser's.
#[derive(Debug, Clone)]
pub enum Control {
    /// BEGIN, START TRANSACTION; the command tag
    Begin(TransactionModes, &'static str),
    /// COMMIT, END
    Commit {
        /// AND CHAIN
        chain: bool,
    },
    /// ROLLBACK, ABORT
    Rollback {
        /// AND CHAIN
        chain: bool,
    },
    /// SAVEPOINT
    Savepoint(String),
    /// RELEASE
    Release(String),
    /// ROLLBACK TO
    RollbackTo(String),
    /// SET TRANSACTION; SET SESSION CHARACTERISTICS AS TRANSACTION
    SetTransaction {
        /// The modes.
        modes: TransactionModes,
        /// For the session's later transactions.
        session: bool,
    },
    /// SET
    Set {
        /// Setting, lower case.
        name: String,
        /// `None`: DEFAULT.
        value: Option<String>,
        /// SET LOCAL
        local: bool,
    },
    /// SHOW
    Show(String),
    /// SHOW ALL
    ShowAll,
    /// RESET
    Reset(String),
    /// RESET ALL
    ResetAll,
    /// DISCARD
    Discard(Discard),
    /// PREPARE
    Prepare {
        /// Its name.
        name: String,
        /// Declared parameter types.
        types: Vec<TypeName>,
        /// The statement.
        statement: Box<Parsed>,
    },
    /// EXECUTE
    Execute {
        /// Its name.
        name: String,
        /// The arguments.
        arguments: Vec<ast::Expr>,
    },
    /// DEALLOCATE; `None`: ALL
    Deallocate(Option<String>),
    /// DECLARE CURSOR
    Declare {
        /// Its name.
        name: String,
        /// BINARY
        binary: bool,
        /// WITH HOLD
        hold: bool,
        /// `Some(false)`: NO SCROLL
        scroll: Option<bool>,
        /// The query.
        query: Box<Parsed>,
    },
    /// FETCH and MOVE
    Fetch {
        /// The cursor.
        name: String,
        /// Which rows.
        direction: Direction,
        /// MOVE: no rows are returned.
        only_move: bool,
    },
    /// CLOSE; `None`: ALL
    Close(Option<String>),
    /// EXPLAIN
    Explain(Explain),
    /// COPY
    Copy(Box<Copy>),
    /// CREATE TABLE
    CreateTable(Box<CreateTable>),
    /// CREATE VIEW
    CreateView(Box<CreateView>),
    /// ALTER TABLE, ALTER VIEW, ALTER SEQUENCE but for its options
    AlterTable {
        /// The relation.
        name: Name,
        /// IF EXISTS
        if_exists: bool,
        /// What the statement says it is.
        kind: RelationKind,
        /// What to do.
        actions: Vec<AlterTable>,
    },
    /// CREATE INDEX
    CreateIndex(Box<CreateIndex>),
    /// REINDEX
    Reindex {
        /// INDEX or TABLE; `None`: everything.
        kind: Option<RelationKind>,
        /// Which; `None`: all.
        name: Option<Name>,
    },
    /// CREATE SEQUENCE
    CreateSequence(Box<CreateSequence>),
    /// ALTER SEQUENCE … options
    AlterSequence {
        /// The sequence.
        name: Name,
        /// IF EXISTS
        if_exists: bool,
        /// The options.
        options: Box<SequenceOptions>,
    },
    /// CREATE TYPE … AS ENUM
    CreateEnum {
        /// Its name.
        name: Name,
        /// Its labels.
        labels: Vec<String>,
    },
    /// CREATE DOMAIN
    CreateDomain(Box<CreateDomain>),
    /// ALTER TYPE, ALTER DOMAIN
    AlterType {
        /// Which word the statement has.
        word: &'static str,
        /// The type.
        name: Name,
        /// What to do.
        action: Box<AlterType>,
    },
    /// DROP TYPE, DROP DOMAIN
    DropType {
        /// Which word the statement has.
        word: &'static str,
        /// The types.
        names: Vec<Name>,
        /// IF EXISTS
        if_exists: bool,
        /// CASCADE
        cascade: bool,
    },
    /// DROP TABLE, VIEW, SEQUENCE
    DropRelation {
        /// What the statement says they are.
        kind: RelationKind,
        /// The relations.
        names: Vec<Name>,
        /// IF EXISTS
        if_exists: bool,
        /// CASCADE
        cascade: bool,
    },
    /// TRUNCATE
    Truncate {
        /// The tables.
        names: Vec<Name>,
        /// RESTART IDENTITY
        restart: bool,
    },
    /// CREATE SCHEMA
    CreateSchema {
        /// Its name.
        name: Name,
        /// IF NOT EXISTS
        if_not_exists: bool,
        /// AUTHORIZATION
        owner: Option<String>,
    },
    /// DROP SCHEMA
    DropSchema {
        /// The schemas.
        names: Vec<Name>,
        /// IF EXISTS
        if_exists: bool,
        /// CASCADE
        cascade: bool,
    },
    /// ALTER SCHEMA … RENAME TO / OWNER TO
    AlterSchema {
        /// Its name.
        name: Name,
        /// What to do.
        action: AlterObject,
    },
    /// CREATE DATABASE
    CreateDatabase {
        /// Its name.
        name: Name,
        /// OWNER
        owner: Option<String>,
    },
    /// DROP DATABASE
    DropDatabase {
        /// Its name.
        name: Name,
        /// IF EXISTS
        if_exists: bool,
    },
    /// ALTER DATABASE … RENAME TO / OWNER TO
    AlterDatabase {
        /// Its name.
        name: Name,
        /// What to do.
        action: AlterObject,
    },
    /// COMMENT ON
    Comment {
        /// On what.
        target: CommentTarget,
        /// `None`: IS NULL
        comment: Option<String>,
    },
    /// CREATE ROLE, USER, GROUP
    CreateRole {
        /// Its name.
        name: String,
        /// Its options.
        options: Vec<RoleOption>,
        /// IF NOT EXISTS
        if_not_exists: bool,
    },
    /// ALTER ROLE, USER
    AlterRole {
        /// Its name.
        name: String,
        /// What to do.
        action: AlterRole,
    },
    /// DROP ROLE
    DropRole {
        /// Their names.
        names: Vec<String>,
        /// IF EXISTS
        if_exists: bool,
    },
    /// LOCK TABLE: checked and accepted, writers of the same rows conflict at commit instead.
    Lock {
        /// The tables.
        names: Vec<Name>,
        /// How.
        mode: LockMode,
    },
    /// GRANT, REVOKE on objects.
    Grant(Box<Grant>),
    /// GRANT, REVOKE of roles.
    GrantRole(Box<GrantRole>),
    /// ALTER DEFAULT PRIVILEGES
    AlterDefaults(Box<AlterDefaults>),
    /// DROP OWNED
    DropOwned {
        /// Whose objects.
        roles: Vec<String>,
        /// CASCADE
        cascade: bool,
    },
    /// REASSIGN OWNED
    ReassignOwned {
        /// Whose objects.
        roles: Vec<String>,
        /// Who gets them.
        to: String,
    },
    /// VACUUM, ANALYZE, CHECKPOINT, REINDEX, CLUSTER: the command and its tables.
    Maintain {
        /// Upper case.
        command: &'static str,
        /// Rewrites all files in the table's order: CLUSTER, VACUUM FULL.
        full: bool,
        /// Named tables; empty: all.
        tables: Vec<Name>,
    },
    /// DO
    Do(Box<Block>),
    /// CALL
    Call {
        /// The procedure.
        name: Name,
        /// Its arguments.
        arguments: Vec<CallArgument>,
    },
    /// INSERT INTO … FORMAT
    InsertDocuments(Box<InsertDocuments>),
    /// CREATE SOURCE
    CreateSource(Box<CreateSource>),
    /// ALTER SOURCE
    AlterSource {
        /// Its name.
        name: Name,
        /// IF EXISTS
        if_exists: bool,
        /// What to do.
        action: AlterSource,
    },
    /// DROP SOURCE
    DropSource {
        /// The sources.
        names: Vec<Name>,
        /// IF EXISTS
        if_exists: bool,
        /// CASCADE
        cascade: bool,
    },
    /// LISTEN
    Listen(String),
    /// UNLISTEN; `None`: all
    Unlisten(Option<String>),
    /// NOTIFY
    Notify {
        /// The channel.
        channel: String,
        /// Empty: none.
        payload: String,
    },
    /// SET CONSTRAINTS of these names; none: ALL.
    SetConstraints(Vec<Name>),
    /// CREATE EXTENSION
    CreateExtension {
        /// Its name.
        name: String,
        /// IF NOT EXISTS
        if_not_exists: bool,
    },
    /// DROP EXTENSION
    DropExtension {
        /// Their names.
        names: Vec<String>,
        /// IF EXISTS
        if_exists: bool,
    },
    /// DO, REFRESH … : known, refused by name.
    Refused {
        /// What to call it in the message.
        what: String,
    },
}

/// INSERT INTO … FORMAT …: documents instead of rows.
#[derive(Debug, Clone)]
pub struct InsertDocuments {
    /// The table.
    pub table: Name,
    /// `json`, `ndjson`, `csv`; where it stands.
    pub format: (String, usize),
    /// Texts of documents.
    pub documents: Vec<ast::Expr>,
}

/// An argument of CALL.
#[derive(Debug, Clone)]
pub struct CallArgument {
    /// `name =>`
    pub name: Option<String>,
    /// Its value.
    pub value: ast::Expr,
}

/// Modes of a transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TransactionModes {
    /// `serializable`, `repeatable read`, `read committed`, `read uncommitted`
    pub isolation: Option<&'static str>,
    /// READ ONLY, READ WRITE
    pub read_only: Option<bool>,
    /// [NOT] DEFERRABLE
    pub deferrable: Option<bool>,
}

/// What DISCARD discards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discard {
    /// Everything.
    All,
    /// Plans.
    Plans,
    /// Sequences' cached values.
    Sequences,
    /// Temporary tables.
    Temp,
}

/// How LOCK TABLE locks, as far as it decides about privileges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// ACCESS SHARE
    AccessShare,
    /// ROW EXCLUSIVE
    RowExclusive,
    /// All others.
    Exclusive,
}

/// Which rows FETCH and MOVE mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// n rows forward (0: the current row again); negative: backward.
    Forward(i64),
    /// The rest.
    All,
    /// All before, backward.
    BackwardAll,
    /// FIRST
    First,
    /// LAST
    Last,
    /// ABSOLUTE n
    Absolute(i64),
    /// RELATIVE n
    Relative(i64),
}

/// EXPLAIN.
#[derive(Debug, Clone)]
pub struct Explain {
    /// Run it.
    pub analyze: bool,
    /// VERBOSE
    pub verbose: bool,
    /// COSTS
    pub costs: bool,
    /// FORMAT JSON
    pub json: bool,
    /// The statement.
    pub statement: Box<Parsed>,
}

/// COPY.
#[derive(Debug, Clone)]
pub struct Copy {
    /// What is copied.
    pub source: CopySource,
    /// FROM: into the table.
    pub from: bool,
    /// STDIN/STDOUT or a server file.
    pub target: CopyTarget,
    /// Options as key and value.
    pub options: Vec<(String, CopyValue)>,
    /// WHERE
    pub filter: Option<Expression>,
}

/// What COPY copies.
#[derive(Debug, Clone)]
pub enum CopySource {
    /// A table's columns; empty: all.
    Table {
        /// The table.
        name: Name,
        /// Its columns.
        columns: Vec<String>,
    },
    /// A query's rows.
    Query(Box<Parsed>),
}

/// Where COPY's data is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyTarget {
    /// STDIN, STDOUT
    Client,
    /// A file of the server.
    File(String),
    /// PROGRAM
    Program,
}

/// A COPY option's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyValue {
    /// No value: true.
    Absent,
    /// A word, number or string.
    Text(String),
    /// `*`
    Star,
    /// A list of columns.
    Columns(Vec<String>),
}

/// CREATE TABLE.
#[derive(Debug, Clone)]
pub struct CreateTable {
    /// Its name.
    pub name: Name,
    /// TEMPORARY
    pub temporary: bool,
    /// IF NOT EXISTS
    pub if_not_exists: bool,
    /// Its columns; for CREATE TABLE AS only names.
    pub columns: Vec<ColumnSyntax>,
    /// Table constraints.
    pub checks: Vec<CheckSyntax>,
    /// PRIMARY KEY (…)
    pub primary_key: Vec<String>,
    /// CONSTRAINT name of it.
    pub key_name: Option<String>,
    /// UNIQUE (…)
    pub unique: Vec<UniqueSyntax>,
    /// FOREIGN KEY (…)
    pub foreign_keys: Vec<ForeignKeySyntax>,
    /// LIKE
    pub like: Vec<LikeSyntax>,
    /// WITH (…), keys lower case.
    pub options: Vec<(String, String)>,
    /// ON COMMIT DROP (`Some(true)`), DELETE ROWS (`Some(false)`).
    pub on_commit_drop: Option<bool>,
    /// AS query
    pub query: Option<Box<Parsed>>,
    /// WITH NO DATA
    pub no_data: bool,
}

/// A column as CREATE TABLE and ADD COLUMN spell it.
#[derive(Debug, Clone)]
pub struct ColumnSyntax {
    /// Its name.
    pub name: String,
    /// Its type; `None` in CREATE TABLE AS.
    pub sql_type: Option<TypeName>,
    /// NOT NULL
    pub not_null: bool,
    /// DEFAULT
    pub default: Option<Expression>,
    /// `serial` and its kin: NOT NULL, and a sequence of its own.
    pub serial: bool,
    /// GENERATED … AS IDENTITY
    pub identity: Option<Box<IdentitySyntax>>,
    /// CHECKs
    pub checks: Vec<CheckSyntax>,
    /// UNIQUE
    pub unique: Vec<UniqueSyntax>,
    /// REFERENCES
    pub foreign_keys: Vec<ForeignKeySyntax>,
    /// PRIMARY KEY
    pub primary_key: bool,
    /// CONSTRAINT name of it.
    pub key_name: Option<String>,
    /// Byte offset of its name.
    pub offset: usize,
}

/// CHECK.
#[derive(Debug, Clone)]
pub struct CheckSyntax {
    /// CONSTRAINT name
    pub name: Option<String>,
    /// The condition.
    pub condition: Expression,
}

/// CREATE VIEW.
#[derive(Debug, Clone)]
pub struct CreateView {
    /// Its name.
    pub name: Name,
    /// OR REPLACE
    pub or_replace: bool,
    /// TEMPORARY
    pub temporary: bool,
    /// IF NOT EXISTS
    pub if_not_exists: bool,
    /// Column names.
    pub columns: Vec<String>,
    /// The query.
    pub query: Box<Parsed>,
    /// Its text.
    pub query_text: String,
}

/// CREATE SOURCE.
#[derive(Debug, Clone)]
pub struct CreateSource {
    /// Its name.
    pub name: Name,
    /// IF NOT EXISTS
    pub if_not_exists: bool,
    /// FROM KAFKA, FROM FILES
    pub kind: SourceKind,
    /// The folder or pattern of FILES, and where it stands in the text.
    pub location: Option<(String, usize)>,
    /// Its options, keys lower case, and where each stands in the text.
    pub options: Vec<(String, String, usize)>,
    /// INTO
    pub table: Name,
}

/// What a source reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// A topic of Kafka.
    Kafka,
    /// Files of a folder.
    Files,
}

/// ALTER SOURCE.
#[derive(Debug, Clone)]
pub enum AlterSource {
    /// PAUSE
    Pause,
    /// RESUME
    Resume,
    /// RENAME TO, OWNER TO
    Object(AlterObject),
}

/// One action of ALTER TABLE.
#[derive(Debug, Clone)]
pub enum AlterTable {
    /// ADD PRIMARY KEY
    AddPrimaryKey {
        /// CONSTRAINT
        name: Option<String>,
        /// Its columns.
        columns: Vec<String>,
    },
    /// ALTER COLUMN … TYPE
    Type {
        /// The column.
        column: String,
        /// Its type from now on.
        sql_type: TypeName,
        /// USING
        using: Option<Expression>,
    },
    /// ADD COLUMN
    AddColumn {
        /// The column.
        column: Box<ColumnSyntax>,
        /// IF NOT EXISTS
        if_not_exists: bool,
    },
    /// DROP COLUMN
    DropColumn {
        /// The column.
        name: String,
        /// IF EXISTS
        if_exists: bool,
        /// CASCADE
        cascade: bool,
    },
    /// RENAME COLUMN
    RenameColumn {
        /// Its name.
        from: String,
        /// Its new name.
        to: String,
    },
    /// RENAME TO
    Rename(String),
    /// SET SCHEMA
    SetSchema(String),
    /// OWNER TO
    Owner(String),
    /// SET (…)
    SetOptions(Vec<(String, String)>),
    /// RESET (…)
    ResetOptions(Vec<String>),
    /// ALTER COLUMN … SET DEFAULT / DROP DEFAULT
    Default {
        /// The column.
        column: String,
        /// `None`: DROP
        default: Option<Expression>,
    },
    /// ALTER COLUMN … ADD GENERATED … AS IDENTITY
    AddIdentity {
        /// The column.
        column: String,
        /// What it becomes.
        identity: Box<IdentitySyntax>,
    },
    /// ALTER COLUMN … SET GENERATED, SET of options of its sequence, RESTART
    SetIdentity {
        /// The column.
        column: String,
        /// ALWAYS
        always: Option<bool>,
        /// The options.
        options: Box<SequenceOptions>,
    },
    /// ALTER COLUMN … DROP IDENTITY
    DropIdentity {
        /// The column.
        column: String,
        /// IF EXISTS
        if_exists: bool,
    },
    /// ALTER COLUMN … SET NOT NULL / DROP NOT NULL
    NotNull {
        /// The column.
        column: String,
        /// SET
        not_null: bool,
    },
    /// ADD [CONSTRAINT …] CHECK
    AddCheck(CheckSyntax),
    /// ADD [CONSTRAINT …] UNIQUE
    AddUnique(UniqueSyntax),
    /// ADD [CONSTRAINT …] FOREIGN KEY
    AddForeignKey(Box<ForeignKeySyntax>),
    /// RENAME CONSTRAINT
    RenameConstraint {
        /// Its name.
        from: String,
        /// Its new name.
        to: String,
    },
    /// DROP CONSTRAINT
    DropConstraint {
        /// Its name.
        name: String,
        /// IF EXISTS
        if_exists: bool,
        /// CASCADE
        cascade: bool,
    },
}

/// ALTER SCHEMA, ALTER DATABASE.
#[derive(Debug, Clone)]
pub enum AlterObject {
    /// RENAME TO
    Rename(String),
    /// OWNER TO
    Owner(String),
}

/// ALTER ROLE.
#[derive(Debug, Clone)]
pub enum AlterRole {
    /// Options.
    Options(Vec<RoleOption>),
    /// RENAME TO
    Rename(String),
    /// SET name = value; `None`: DEFAULT
    Set(String, Option<String>),
    /// RESET name
    Reset(String),
    /// RESET ALL
    ResetAll,
}

/// An option of CREATE ROLE and ALTER ROLE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoleOption {
    /// [NO]SUPERUSER
    Superuser(bool),
    /// [NO]CREATEDB
    CreateDb(bool),
    /// [NO]CREATEROLE
    CreateRole(bool),
    /// [NO]INHERIT
    Inherit(bool),
    /// [NO]LOGIN
    Login(bool),
    /// PASSWORD; `None`: NULL
    Password(Option<String>),
    /// CONNECTION LIMIT
    ConnectionLimit(i32),
    /// IN ROLE
    InRole(Vec<String>),
    /// ROLE: who becomes a member of it.
    Members(Vec<String>),
    /// ADMIN: who does, and may make others.
    Admins(Vec<String>),
    /// Accepted without effect: VALID UNTIL, [NO]REPLICATION, [NO]BYPASSRLS, SYSID.
    Ignored,
}

/// What COMMENT ON describes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommentTarget {
    /// TABLE, VIEW
    Relation(Name),
    /// COLUMN relation.column
    Column(Name, String),
    /// SCHEMA
    Schema(Name),
    /// DATABASE
    Database(Name),
    /// ROLE
    Role(String),
    /// SOURCE
    Source(Name),
    /// TYPE, DOMAIN
    Type(Name),
}
