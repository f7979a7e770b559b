//! A schema as nodes that point at each other by number: names are resolved once, and a schema may contain itself.

use std::collections::HashMap;
use std::sync::Arc;

use apache_avro::Schema;
use apache_avro::schema::{FixedSchema, Name, Namespace};
use serde_json::Value;
use tidemill_udfs::types::SqlType;

use crate::error::SqlState;
use crate::{Error, Result};

/// Under which name a fixed type keeps its logical type: apache-avro forgets name and size of `uuid` and `duration`, and then
/// takes what refers to it for unknown and a UUID of 16 bytes for a string.
const LOGICAL: &str = "tidemill.logical";
/// Digits of numeric; decimals of more are text.
const NUMERIC_DIGITS_MAX: usize = 38;
/// Records within each other whose fields announce types: those that may be columns are few levels deep.
const TYPES_DEPTH_MAX: usize = 8;

/// What is at a place of a datum. Types within are numbers of nodes; names are JSON strings already.
#[derive(Debug, PartialEq)]
pub(super) enum Node {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed(usize),
    Enum(Vec<String>),
    Array(usize),
    Map(usize),
    Union(Vec<usize>),
    Record(Vec<(String, usize)>),
    /// Of so many bytes; `None`: the length is in the datum.
    Decimal {
        precision: usize,
        scale: usize,
        bytes: Option<usize>,
    },
    BigDecimal,
    UuidText,
    UuidBytes,
    Date,
    TimeMillis,
    TimeMicros,
    /// Digits of the fraction of a second; with a zone.
    Timestamp {
        digits: u32,
        zoned: bool,
    },
    Duration,
}

/// A schema.
#[derive(Debug)]
pub(super) struct Nodes {
    all: Vec<Node>,
    pub(super) root: usize,
}

fn invalid(detail: &str) -> Error {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, "option \"schema\" is not an Avro schema of documents")
        .detail(format!("{}.", detail.trim_end_matches('.')))
}

impl Nodes {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut json: Value = serde_json::from_str(text).map_err(|error| invalid(&error.to_string()))?;
        keep_logical_types(&mut json);
        let schema = Schema::parse(&json).map_err(|error| invalid(&error.to_string()))?;
        let mut nodes = Self { all: vec![], root: 0 };
        nodes.root = nodes.add(&schema, &None, &mut HashMap::new())?;
        if !nodes.is_document(nodes.root) {
            return Err(invalid("It must be a record or a map, or a union of such and null"));
        }
        Ok(nodes)
    }

    pub(super) fn get(&self, at: usize) -> &Node {
        &self.all[at]
    }

    fn is_document(&self, at: usize) -> bool {
        match self.get(at) {
            Node::Record(_) | Node::Map(_) => true,
            Node::Union(branches) => {
                let is_null = |at: usize| *self.get(at) == Node::Null;
                branches.iter().any(|at| !is_null(*at))
                    && branches.iter().all(|at| is_null(*at) || self.is_document(*at))
            }
            _ => false,
        }
    }

    fn add(&mut self, schema: &Schema, enclosing: &Namespace, names: &mut HashMap<Name, usize>) -> Result<usize> {
        // Its number is known before what is in it, which may refer to it.
        let at = self.all.len();
        let mut named = |name: &Name| {
            let full = name.fully_qualified_name(enclosing);
            names.insert(full.clone(), at);
            full.namespace
        };
        let timestamp = |digits, zoned| Node::Timestamp { digits, zoned };
        let node = match schema {
            Schema::Ref { name } => {
                let full = name.fully_qualified_name(enclosing);
                return names.get(&full).copied().ok_or_else(|| invalid(&format!("Type \"{full}\" is not defined")));
            }
            Schema::Record(record) => {
                let namespace = named(&record.name);
                self.all.push(Node::Null);
                let mut fields = vec![];
                for field in &record.fields {
                    fields.push((quoted(&field.name)?, self.add(&field.schema, &namespace, names)?));
                }
                self.all[at] = Node::Record(fields);
                return Ok(at);
            }
            Schema::Array(array) => {
                self.all.push(Node::Null);
                self.all[at] = Node::Array(self.add(&array.items, enclosing, names)?);
                return Ok(at);
            }
            Schema::Map(map) => {
                self.all.push(Node::Null);
                self.all[at] = Node::Map(self.add(&map.types, enclosing, names)?);
                return Ok(at);
            }
            Schema::Union(union) => {
                self.all.push(Node::Null);
                let branches = union.variants().iter().map(|branch| self.add(branch, enclosing, names));
                self.all[at] = Node::Union(branches.collect::<Result<_>>()?);
                return Ok(at);
            }
            Schema::Enum(symbols) => {
                named(&symbols.name);
                Node::Enum(symbols.symbols.iter().map(|symbol| quoted(symbol)).collect::<Result<_>>()?)
            }
            Schema::Fixed(FixedSchema { name, size, attributes, .. }) => {
                named(name);
                match attributes.get(LOGICAL).and_then(Value::as_str) {
                    Some("uuid") => Node::UuidBytes,
                    Some("duration") => Node::Duration,
                    _ => Node::Fixed(*size),
                }
            }
            Schema::Decimal(decimal) => {
                let bytes = match &*decimal.inner {
                    Schema::Fixed(fixed) => {
                        named(&fixed.name);
                        Some(fixed.size)
                    }
                    _ => None,
                };
                Node::Decimal { precision: decimal.precision, scale: decimal.scale, bytes }
            }
            Schema::Null => Node::Null,
            Schema::Boolean => Node::Boolean,
            Schema::Int => Node::Int,
            Schema::Long => Node::Long,
            Schema::Float => Node::Float,
            Schema::Double => Node::Double,
            Schema::Bytes => Node::Bytes,
            Schema::String => Node::String,
            Schema::BigDecimal => Node::BigDecimal,
            Schema::Uuid => Node::UuidText,
            Schema::Date => Node::Date,
            Schema::TimeMillis => Node::TimeMillis,
            Schema::TimeMicros => Node::TimeMicros,
            Schema::TimestampMillis => timestamp(3, true),
            Schema::TimestampMicros => timestamp(6, true),
            Schema::TimestampNanos => timestamp(9, true),
            Schema::LocalTimestampMillis => timestamp(3, false),
            Schema::LocalTimestampMicros => timestamp(6, false),
            Schema::LocalTimestampNanos => timestamp(9, false),
            Schema::Duration => return Err(Error::internal("a duration that was not kept")),
        };
        self.all.push(node);
        Ok(at)
    }

    /// The types that columns for its fields have, by the field's path.
    pub(super) fn types(&self) -> HashMap<String, SqlType> {
        let mut types = HashMap::new();
        self.announce(self.root, "", 0, &mut types);
        types
    }

    fn announce(&self, at: usize, path: &str, depth: usize, types: &mut HashMap<String, SqlType>) {
        let at = self.not_null(at);
        if let Node::Record(fields) = self.get(at) {
            for (name, field) in fields.iter().filter(|_| depth < TYPES_DEPTH_MAX) {
                let name = name.trim_matches('"');
                let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
                self.announce(*field, &path, depth + 1, types);
            }
        } else if let Some(sql_type) = self.sql_type(at) {
            types.insert(path.to_owned(), sql_type);
        }
    }

    /// Of a union with null, what else there is; itself otherwise.
    fn not_null(&self, at: usize) -> usize {
        let Node::Union(branches) = self.get(at) else { return at };
        let mut others = branches.iter().filter(|branch| *self.get(**branch) != Node::Null);
        match (others.next(), others.next()) {
            (Some(one), None) => *one,
            _ => at,
        }
    }

    /// The type that holds all values of a node as they are; `None`: what the values themselves say.
    fn sql_type(&self, at: usize) -> Option<SqlType> {
        Some(match self.get(at) {
            Node::Boolean => SqlType::Bool,
            Node::Int => SqlType::Int4,
            Node::Long => SqlType::Int8,
            Node::Float => SqlType::Float4,
            Node::Double => SqlType::Float8,
            Node::Bytes | Node::Fixed(_) => SqlType::Bytea,
            // The types end at microseconds.
            Node::String | Node::Enum(_) | Node::Timestamp { digits: 7.., .. } => SqlType::Text,
            Node::UuidText | Node::UuidBytes => SqlType::Uuid,
            Node::Date => SqlType::Date,
            Node::TimeMillis | Node::TimeMicros => SqlType::Time,
            Node::Timestamp { zoned: true, .. } => SqlType::TimestampTz,
            Node::Timestamp { zoned: false, .. } => SqlType::Timestamp,
            Node::Duration => SqlType::Interval,
            Node::Decimal { precision, scale, .. } if *precision <= NUMERIC_DIGITS_MAX => {
                SqlType::Numeric(u8::try_from(*precision).ok().zip(i8::try_from(*scale).ok()))
            }
            Node::Array(items) => match self.sql_type(self.not_null(*items))? {
                SqlType::Array(_) => return None,
                element => SqlType::Array(Arc::new(element)),
            },
            Node::Null | Node::Map(_) | Node::Union(_) | Node::Record(_) | Node::Decimal { .. } | Node::BigDecimal => {
                return None;
            }
        })
    }
}

/// A name as JSON writes it.
fn quoted(name: &str) -> Result<String> {
    serde_json::to_string(name).map_err(|error| Error::internal(error.to_string()))
}

/// Fixed types of a logical type keep it under a name that apache-avro does not know; one that does not fit the size means nothing.
fn keep_logical_types(schema: &mut Value) {
    match schema {
        Value::Array(branches) => branches.iter_mut().for_each(keep_logical_types),
        Value::Object(members) => {
            let of = |name: &str| members.get(name).and_then(Value::as_str);
            let logical = of("logicalType").filter(|logical| matches!(*logical, "uuid" | "duration"));
            if let (Some("fixed"), Some(logical)) = (of("type"), logical.map(str::to_owned)) {
                let size = if logical == "uuid" { 16 } else { 12 };
                members.remove("logicalType");
                if members.get("size").and_then(Value::as_u64) == Some(size) {
                    members.insert(LOGICAL.to_owned(), logical.into());
                }
            }
            for (name, member) in members.iter_mut() {
                // Not the values of defaults, which look like schemas by accident only.
                if matches!(name.as_str(), "type" | "items" | "values" | "fields") {
                    keep_logical_types(member);
                }
            }
        }
        _ => {}
    }
}
