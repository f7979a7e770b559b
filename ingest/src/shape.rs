//! What a decoder knows of the table it decodes for: columns, how they may change, and limits.

use tidemill_udfs::types::SqlType;

/// The name of the catch-all column.
pub const REST: &str = "_rest";

/// A table as ingest sees it. A decoder keeps its own copy and changes it with every column it adds or widens.
#[derive(Debug, Clone, PartialEq)]
pub struct TableShape {
    /// Its name, for messages.
    pub name: String,
    /// Its columns, in order.
    pub columns: Vec<ShapeColumn>,
    /// What may be changed to make values fit.
    pub evolve: Evolve,
    /// What becomes of nested objects that have no column of their own.
    pub nested: Nested,
    /// Fields that cannot become columns go to the jsonb column `_rest`, which is added when it is first needed. Without
    /// it their rows are dead letters. A jsonb column `_rest` that exists is used in any case.
    pub rest: bool,
    /// Limits.
    pub limits: Limits,
}

/// A column.
#[derive(Debug, Clone, PartialEq)]
pub struct ShapeColumn {
    /// Its name.
    pub name: String,
    /// Its type; values are built as [`SqlType::data_type`].
    pub sql_type: SqlType,
    /// May hold NULL.
    pub nullable: bool,
    /// Rows that do not mention it get its default: see [`crate::Decoded::defaults`].
    pub has_default: bool,
    /// The field it was added for ([`crate::SchemaChange::AddColumn`]), if that is kept: it finds this column before names
    /// are compared, which keeps fields apart whose names collide.
    pub field: Option<String>,
}

impl ShapeColumn {
    /// A column that may hold NULL and has no default.
    pub fn new(name: impl Into<String>, sql_type: SqlType) -> Self {
        Self { name: name.into(), sql_type, nullable: true, has_default: false, field: None }
    }
}

/// `tidemill.evolve`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Evolve {
    /// Nothing: fields without a column go to `_rest`, or make their row a dead letter (42703).
    #[default]
    Off,
    /// New fields become columns.
    AddColumns,
    /// And columns get a wider type where that loses nothing: int2 → int4 → int8 → numeric, float4 → float8, date →
    /// timestamptz.
    Widen,
    /// New fields become columns, and a column takes only what it gives back as it was: a string is no number, however it is
    /// spelled. Other values make their document a dead letter (42804) that says which type they have
    /// ([`crate::DeadLetter::value_type`]); who asks for this decodes again with a wider one.
    Lossless,
}

/// `tidemill.nested`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Nested {
    /// An object is one jsonb value.
    #[default]
    Jsonb,
    /// The members of an object are columns: `{"a": {"b": 1}}` is `a_b`. Objects below `depth` others are jsonb.
    Flatten {
        /// How many objects are taken apart within each other; 0 is as `Jsonb`.
        depth: usize,
    },
}

/// Limits of what a decoder takes and makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Columns of the table; further fields go to `_rest`.
    pub columns_max: usize,
    /// Bytes of a column's name; fields with longer ones go to `_rest`.
    pub name_bytes_max: usize,
    /// Arrays and objects within each other, the document itself included; deeper ones are dead letters (54001).
    pub depth_max: usize,
    /// Bytes of a document; longer ones are dead letters (54000) that keep so many bytes of it.
    pub row_bytes_max: usize,
    /// Rows of a batch.
    pub batch_rows: usize,
    /// Bytes of documents after which a batch ends even if its rows are few.
    pub batch_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // PostgreSQL's MaxHeapAttributeNumber.
            columns_max: 1_600,
            // NAMEDATALEN - 1
            name_bytes_max: 63,
            // Far above what people write; jsonb takes 1,000.
            depth_max: 100,
            // Four times the 10 MB strings that are known to occur.
            row_bytes_max: 64 * 1024 * 1024,
            // As COPY's.
            batch_rows: 32 * 1024,
            batch_bytes: 16 * 1024 * 1024,
        }
    }
}
