//! PostgreSQL's own rows: what `data/*.tsv` holds, parsed once, at first use.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use arrow::datatypes::DataType;
use tidemill_catalog::Oid;

use super::batch::{Batch, Value};

/// One of the files: a line of column names, then rows in COPY's text format.
pub(crate) struct Table {
    names: Vec<&'static str>,
    rows: Vec<Vec<&'static str>>,
}

impl Table {
    fn parse(text: &'static str) -> Self {
        let mut lines = text.lines();
        let names = lines.next().unwrap_or_default().split('\t').collect();
        Self { names, rows: lines.map(|line| line.split('\t').collect()).collect() }
    }

    /// The number of rows.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// A column's place.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|other| *other == name)
    }

    /// The cell as it is written; `None` for NULL.
    pub(crate) fn text(&self, row: usize, column: usize) -> Option<&'static str> {
        self.rows.get(row)?.get(column).copied().filter(|text| *text != "\\N")
    }

    /// The cell of a column known to hold a number; 0 for NULL.
    pub(crate) fn oid(&self, row: usize, column: usize) -> Oid {
        self.text(row, column).and_then(|text| text.parse().ok()).unwrap_or_default()
    }

    /// Fills all columns that the file and the relation share with the given rows.
    pub(crate) fn fill(&self, rows: &[usize], relation: &super::registry::Relation, batch: &mut Batch<'_>) {
        batch.rows(rows.len());
        for (position, name) in self.names.iter().enumerate() {
            let Some(index) = relation.position(name) else { continue };
            let data_type = relation.schema.field(index).data_type();
            batch.column(name, rows.iter().map(|row| value(data_type, self.text(*row, position))));
        }
    }

    /// As [`Self::fill`], with every row.
    pub(crate) fn fill_all(&self, relation: &super::registry::Relation, batch: &mut Batch<'_>) {
        self.fill(&(0..self.len()).collect::<Vec<_>>(), relation, batch);
    }
}

/// A cell of COPY's text format as a value of a column of that type.
pub(crate) fn value(data_type: &DataType, text: Option<&'static str>) -> Value<'static> {
    let Some(text) = text else { return Value::Null };
    match data_type {
        DataType::Boolean => Value::Bool(text == "t"),
        DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::UInt32 => {
            text.parse::<i64>().map_or(Value::Null, Value::Int)
        }
        DataType::Float32 | DataType::Float64 => text.parse::<f64>().map_or(Value::Null, Value::Float),
        DataType::List(item) => {
            let items = match text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                Some(items) => items.split(','),
                None => text.split(' '),
            };
            let unquote = |item: &'static str| item.trim_matches('"');
            let items = items.filter(|item| !item.is_empty());
            Value::List(items.map(|text| value(item.data_type(), Some(unquote(text)))).collect())
        }
        _ => Value::Text(unescape(text)),
    }
}

/// The elements of an array's text form, as far as they need no escapes.
pub(crate) fn list_texts(text: &str) -> Vec<Value<'_>> {
    let items = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(text).split(',');
    items.map(|item| item.trim_matches('"')).filter(|item| !item.is_empty()).map(Value::from).collect()
}

fn unescape(text: &'static str) -> Cow<'static, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut result = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, character == '\\') {
            (_, true) => match characters.next() {
                Some('n') => result.push('\n'),
                Some('t') => result.push('\t'),
                Some('r') => result.push('\r'),
                Some(other) => result.push(other),
                None => {}
            },
            (other, false) => result.push(other),
        }
    }
    Cow::Owned(result)
}

macro_rules! tables {
    ($($function:ident $static_name:ident $file:literal $what:literal;)*) => {
        $(
            static $static_name: LazyLock<Table> = LazyLock::new(|| Table::parse(include_str!(concat!("data/", $file))));
            #[doc = $what]
            pub(crate) fn $function() -> &'static Table {
                &$static_name
            }
        )*
    };
}

tables! {
    types TYPES "pg_type.tsv" "Base, array, range and pseudo types.";
    procs PROCS "pg_proc.tsv" "Functions on the types we have, and every type's input and output functions.";
    operators OPERATORS "pg_operator.tsv" "Operators on the types we have.";
    casts CASTS "pg_cast.tsv" "Casts between the types we have.";
    aggregates AGGREGATES "pg_aggregate.tsv" "Aggregate functions.";
    opclasses OPCLASSES "pg_opclass.tsv" "Operator classes of btree and hash.";
    opfamilies OPFAMILIES "pg_opfamily.tsv" "Operator families of btree and hash.";
    access_methods ACCESS_METHODS "pg_am.tsv" "Access methods.";
    languages LANGUAGES "pg_language.tsv" "Languages.";
    collations COLLATIONS "pg_collation.tsv" "Collations.";
    ranges RANGES "pg_range.tsv" "Range types.";
    tablespaces TABLESPACES "pg_tablespace.tsv" "Tablespaces.";
    keywords KEYWORDS "pg_get_keywords.tsv" "Key words.";
}

/// What is often asked about a type.
#[derive(Debug, Clone)]
pub(crate) struct TypeRow {
    /// pg_type.oid
    pub(crate) oid: Oid,
    /// pg_type.typname
    pub(crate) name: &'static str,
    /// pg_type.typlen
    pub(crate) length: i64,
    /// pg_type.typbyval
    pub(crate) by_value: bool,
    /// pg_type.typalign
    pub(crate) align: &'static str,
    /// pg_type.typstorage
    pub(crate) storage: &'static str,
    /// pg_type.typcollation
    pub(crate) collation: Oid,
    /// pg_type.typelem
    pub(crate) element: Oid,
    /// pg_type.typcategory
    pub(crate) category: &'static str,
    /// pg_type.typarray
    pub(crate) array: Oid,
    /// pg_type.typoutput
    pub(crate) output: Oid,
    /// pg_type.typsend
    pub(crate) send: Oid,
}

static TYPE_ROWS: LazyLock<HashMap<Oid, TypeRow>> = LazyLock::new(|| {
    let table = types();
    let column = |name| table.position(name).unwrap_or_default();
    let (oid, name, length, by_value) = (column("oid"), column("typname"), column("typlen"), column("typbyval"));
    let (align, storage, collation) = (column("typalign"), column("typstorage"), column("typcollation"));
    let (element, category, array) = (column("typelem"), column("typcategory"), column("typarray"));
    let (output, send) = (column("typoutput"), column("typsend"));
    let text = |row, column| table.text(row, column).unwrap_or_default();
    let row = |row| TypeRow {
        oid: table.oid(row, oid),
        name: text(row, name),
        length: text(row, length).parse().unwrap_or(-1),
        by_value: text(row, by_value) == "t",
        align: text(row, align),
        storage: text(row, storage),
        collation: table.oid(row, collation),
        element: table.oid(row, element),
        category: text(row, category),
        array: table.oid(row, array),
        output: table.oid(row, output),
        send: table.oid(row, send),
    };
    (0..table.len()).map(row).map(|row| (row.oid, row)).collect()
});

static TYPES_BY_NAME: LazyLock<HashMap<&str, Oid>> =
    LazyLock::new(|| TYPE_ROWS.values().map(|row| (row.name, row.oid)).collect());

/// A type of PostgreSQL's own.
pub(crate) fn type_row(oid: Oid) -> Option<&'static TypeRow> {
    TYPE_ROWS.get(&oid)
}

/// A type of PostgreSQL's own by pg_type.typname.
pub(crate) fn type_named(name: &str) -> Option<&'static TypeRow> {
    type_row(*TYPES_BY_NAME.get(name)?)
}

static RESERVED: LazyLock<HashSet<&str>> = LazyLock::new(|| {
    let table = keywords();
    let column = |name| table.position(name).unwrap_or_default();
    let (word, category) = (column("word"), column("catcode"));
    let reserved = (0..table.len()).filter(|row| table.text(*row, category) != Some("U"));
    reserved.filter_map(|row| table.text(row, word)).collect()
});

/// True for the key words that quote_ident quotes: all but the unreserved ones.
pub(crate) fn is_reserved(word: &str) -> bool {
    RESERVED.contains(word)
}
