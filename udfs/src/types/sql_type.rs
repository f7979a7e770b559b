//! Names, oids, modifiers and Arrow types of [`SqlType`]: all spellings of PostgreSQL's grammar in, `format_type`'s out.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, IntervalUnit, TimeUnit};

use super::quotient::QUOTIENT_PRECISION;
use super::{EnumType, SQL_TYPE_KEY, SqlType, ValueError};

/// The most digits a Decimal128 holds.
pub const NUMERIC_PRECISION_MAX: u8 = 38;

/// Fraction digits kept for `numeric` without a declared precision.
pub const NUMERIC_DEFAULT_SCALE: i8 = 16;

/// One row per type without modifier: type, oid, oid of its array, pg_type.typlen, pg_type.typname, format_type's name.
struct Base {
    sql_type: SqlType,
    oid: u32,
    array_oid: u32,
    length: i16,
    typname: &'static str,
    name: &'static str,
}

const fn base(
    sql_type: SqlType,
    oid: u32,
    array_oid: u32,
    length: i16,
    typname: &'static str,
    name: &'static str,
) -> Base {
    Base { sql_type, oid, array_oid, length, typname, name }
}

/// Facts of pg_type.
static BASES: [Base; 35] = [
    base(SqlType::Bool, 16, 1000, 1, "bool", "boolean"),
    base(SqlType::Int2, 21, 1005, 2, "int2", "smallint"),
    base(SqlType::Int4, 23, 1007, 4, "int4", "integer"),
    base(SqlType::Int8, 20, 1016, 8, "int8", "bigint"),
    base(SqlType::Float4, 700, 1021, 4, "float4", "real"),
    base(SqlType::Float8, 701, 1022, 8, "float8", "double precision"),
    base(SqlType::Numeric(None), 1700, 1231, -1, "numeric", "numeric"),
    base(SqlType::Text, 25, 1009, -1, "text", "text"),
    base(SqlType::Varchar(None), 1043, 1015, -1, "varchar", "character varying"),
    base(SqlType::Char(0), 1042, 1014, -1, "bpchar", "bpchar"),
    base(SqlType::CharByte, 18, 1002, 1, "char", "\"char\""),
    base(SqlType::Name, 19, 1003, 64, "name", "name"),
    base(SqlType::Bytea, 17, 1001, -1, "bytea", "bytea"),
    base(SqlType::Date, 1082, 1182, 4, "date", "date"),
    base(SqlType::Time, 1083, 1183, 8, "time", "time without time zone"),
    base(SqlType::Timestamp, 1114, 1115, 8, "timestamp", "timestamp without time zone"),
    base(SqlType::TimestampTz, 1184, 1185, 8, "timestamptz", "timestamp with time zone"),
    base(SqlType::Interval, 1186, 1187, 16, "interval", "interval"),
    base(SqlType::Uuid, 2950, 2951, 16, "uuid", "uuid"),
    base(SqlType::Json, 114, 199, -1, "json", "json"),
    base(SqlType::Jsonb, 3802, 3807, -1, "jsonb", "jsonb"),
    base(SqlType::Oid, 26, 1028, 4, "oid", "oid"),
    base(SqlType::RegClass, 2205, 2210, 4, "regclass", "regclass"),
    base(SqlType::RegType, 2206, 2211, 4, "regtype", "regtype"),
    base(SqlType::RegProc, 24, 1008, 4, "regproc", "regproc"),
    base(SqlType::RegProcedure, 2202, 2207, 4, "regprocedure", "regprocedure"),
    base(SqlType::RegOperator, 2204, 2209, 4, "regoperator", "regoperator"),
    base(SqlType::RegNamespace, 4089, 4090, 4, "regnamespace", "regnamespace"),
    base(SqlType::RegRole, 4096, 4097, 4, "regrole", "regrole"),
    base(SqlType::Xid, 28, 1011, 4, "xid", "xid"),
    base(SqlType::Int2Vector, 22, 1006, -1, "int2vector", "int2vector"),
    base(SqlType::OidVector, 30, 1013, -1, "oidvector", "oidvector"),
    base(SqlType::Record, 2249, 2287, -1, "record", "record"),
    base(SqlType::Void, 2278, 0, 4, "void", "void"),
    base(SqlType::Unknown, 705, 0, -2, "unknown", "unknown"),
];

impl SqlType {
    /// The type of that name, as PostgreSQL's grammar and `format_type` spell it: `int4`, `character varying(10)[]`,
    /// `_text`, `pg_catalog.int4`, `"char"`.
    ///
    /// The precision of `timestamp(3)`, `time(3)` and `interval(3)` is no part of the type ([`Self::parse_precise`] gives it);
    /// the fields of `interval year to month` are accepted and not kept.
    ///
    /// # Errors
    /// 42704 for an unknown name, 42601 for bad syntax, 22023 for a bad modifier, 0A000 for what PostgreSQL has and we not.
    pub fn parse(name: &str) -> Result<Self, ValueError> {
        Self::parse_precise(name).map(|(parsed, _)| parsed)
    }

    /// As [`Self::parse`], with the digits of a second, 0 to 6, that a type of time keeps; `None`: all.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_precise(name: &str) -> Result<(Self, Option<u8>), ValueError> {
        let mut words = Words::new(name)?;
        let element = words.element()?;
        let dimensions = words.dimensions()?;
        match words.peek() {
            None => Ok(((0..dimensions).fold(element, |inner, _| Self::Array(Arc::new(inner))), words.precision)),
            Some(_) => Err(words.syntax_error()),
        }
    }

    /// The digits of a second that a stored spelling has.
    pub fn stored_precision(text: &str) -> Option<u8> {
        // Of most columns nothing needs to be parsed.
        let may_be = text.contains('(') && (text.starts_with("time") || text.starts_with("interval"));
        if may_be { Self::parse_precise(text).ok()?.1 } else { None }
    }

    /// How metadata and definitions of columns spell it: as [`Self::name`], but an enum with all that it is.
    pub fn stored(&self) -> String {
        match self {
            Self::Enum(of) => of.stored(),
            Self::Array(element) => format!("{}[]", element.stored()),
            other => other.name(),
        }
    }

    /// As [`Self::stored`], of a type of time that keeps that many digits of a second.
    pub fn stored_with(&self, precision: Option<u8>) -> String {
        let name = self.stored();
        match (self.innermost(), precision) {
            (Self::Timestamp | Self::TimestampTz | Self::Time | Self::Interval, Some(digits)) => {
                let (word, rest) = name.split_at(name.find([' ', '[']).unwrap_or(name.len()));
                format!("{word}({digits}){rest}")
            }
            _ => name,
        }
    }

    /// The type of a stored spelling.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn of_stored(text: &str) -> Result<Self, ValueError> {
        let Some((of, mut rest)) = EnumType::of_stored(text) else { return Self::parse(text) };
        let mut found = Self::Enum(Arc::new(of));
        while let Some(after) = rest.strip_prefix("[]") {
            found = Self::Array(Arc::new(found));
            rest = after;
        }
        if rest.is_empty() { Ok(found) } else { Err(syntax_error(text)) }
    }

    /// Its name with modifier, as `format_type` prints it; further dimensions of an array are told (`integer[][]`).
    pub fn name(&self) -> String {
        match self {
            Self::Numeric(Some((precision, scale))) => format!("numeric({precision},{scale})"),
            Self::Varchar(Some(n)) => format!("character varying({n})"),
            Self::Char(0) => "bpchar".into(),
            Self::Char(n) => format!("character({n})"),
            Self::Enum(of) => of.to_string(),
            Self::Array(element) => format!("{}[]", element.name()),
            other => other.base().name.to_owned(),
        }
    }

    /// Its name without modifier, as PostgreSQL's messages about values spell it.
    pub fn plain_name(&self) -> String {
        match self {
            Self::Numeric(_) => "numeric".into(),
            Self::Varchar(_) => "character varying".into(),
            Self::Char(_) => "character".into(),
            Self::Array(element) => format!("{}[]", element.plain_name()),
            other => other.name(),
        }
    }

    /// pg_type.typname: `int4`, `_int4`.
    pub fn typname(&self) -> String {
        match self {
            Self::Array(_) => format!("_{}", self.innermost().typname()),
            Self::Enum(of) => of.name.clone(),
            other => other.base().typname.to_owned(),
        }
    }

    /// pg_type.oid
    pub fn oid(&self) -> u32 {
        match self {
            Self::Array(_) => match self.innermost() {
                Self::Enum(of) => of.array_oid,
                element => element.base().array_oid,
            },
            Self::Enum(of) => of.oid,
            other => other.base().oid,
        }
    }

    /// The type with that oid and modifier.
    pub fn from_oid(oid: u32, typmod: i32) -> Option<Self> {
        if oid == 0 {
            return None;
        }
        let found = BASES.iter().find(|base| base.oid == oid || base.array_oid == oid)?;
        let element = found.sql_type.with_typmod(typmod);
        Some(if found.oid == oid { element } else { Self::Array(Arc::new(element)) })
    }

    /// atttypmod; -1: none.
    pub fn typmod(&self) -> i32 {
        let length = |n: u32| i32::try_from(n).map_or(-1, |n| n + 4);
        match self {
            Self::Numeric(Some((precision, scale))) => {
                ((i32::from(*precision) << 16) | (i32::from(*scale) & 0x7ff)) + 4
            }
            Self::Varchar(Some(n)) => length(*n),
            Self::Char(n) if *n > 0 => length(*n),
            Self::Array(_) => self.innermost().typmod(),
            _ => -1,
        }
    }

    /// As [`Self::typmod`], of a type of time that keeps that many digits of a second.
    pub fn typmod_with(&self, precision: Option<u8>) -> i32 {
        match (self.innermost(), precision) {
            // All fields of an interval, then its digits.
            (Self::Interval, Some(digits)) => 0x7fff_0000 | i32::from(digits),
            (Self::Timestamp | Self::TimestampTz | Self::Time, Some(digits)) => i32::from(digits),
            _ => self.typmod(),
        }
    }

    /// An array's dimensions as its type has them; 0: no array.
    pub fn dimensions(&self) -> usize {
        match self {
            Self::Array(element) => 1 + element.dimensions(),
            _ => 0,
        }
    }

    /// The array type with at least so many dimensions: in PostgreSQL values of one type may have any number of them.
    pub fn with_dimensions(&self, dimensions: usize) -> Self {
        let missing = dimensions.saturating_sub(self.dimensions());
        (0..missing).fold(self.clone(), |element, _| Self::Array(Arc::new(element)))
    }

    /// The type as functions return it, which know no modifiers. A `character(n)` keeps its own: values are padded by it.
    pub fn without_typmod(&self) -> Self {
        match self {
            Self::Numeric(_) => Self::Numeric(None),
            Self::Varchar(_) => Self::Varchar(None),
            Self::Array(element) => Self::Array(Arc::new(element.without_typmod())),
            other => other.clone(),
        }
    }

    /// pg_type.typlen; negative: variable.
    pub fn length(&self) -> i16 {
        match self {
            Self::Array(_) => -1,
            // An oid, in PostgreSQL.
            Self::Enum(_) => 4,
            other => other.base().length,
        }
    }

    /// The element type of an array, or of a vector.
    pub fn element(&self) -> Option<Self> {
        match self {
            Self::Array(element) => Some(element.as_ref().clone()),
            Self::Int2Vector => Some(Self::Int2),
            Self::OidVector => Some(Self::Oid),
            _ => None,
        }
    }

    /// The element below all dimensions; of what is no array, the type itself.
    pub fn innermost(&self) -> &Self {
        match self {
            Self::Array(element) => element.innermost(),
            other => other,
        }
    }

    /// True for text, varchar, char(n), name, "char" and unknown: values that are their own text.
    pub fn is_string(&self) -> bool {
        matches!(self, Self::Text | Self::Varchar(_) | Self::Char(_) | Self::Name | Self::CharByte | Self::Unknown)
    }

    /// True for oid and the types that are an oid under another name.
    pub fn is_oid(&self) -> bool {
        use SqlType::{Oid, RegClass, RegNamespace, RegOperator, RegProc, RegProcedure, RegRole, RegType, Xid};
        matches!(self, Oid | RegClass | RegType | RegProc | RegProcedure | RegOperator | RegNamespace | RegRole | Xid)
    }

    /// The Arrow type of its values in the engine.
    pub fn data_type(&self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int2 => DataType::Int16,
            Self::Int4 => DataType::Int32,
            Self::Int8 => DataType::Int64,
            Self::Float4 => DataType::Float32,
            Self::Float8 => DataType::Float64,
            Self::Numeric(None) => DataType::Decimal128(NUMERIC_PRECISION_MAX, NUMERIC_DEFAULT_SCALE),
            Self::Numeric(Some((precision, scale))) if *precision > NUMERIC_PRECISION_MAX => {
                DataType::Decimal256(*precision, *scale)
            }
            Self::Numeric(Some((precision, scale))) => DataType::Decimal128(*precision, *scale),
            Self::Bytea => DataType::BinaryView,
            Self::Date => DataType::Date32,
            Self::Time => DataType::Time64(TimeUnit::Microsecond),
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::TimestampTz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
            // What an enum is changes; the type of arrays must not.
            Self::Array(element) if matches!(element.innermost(), Self::Enum(_)) => {
                DataType::new_list(element.data_type(), true)
            }
            Self::Array(element) => DataType::List(Arc::new(element.field(Field::LIST_FIELD_DEFAULT_NAME, true))),
            Self::Int2Vector => DataType::new_list(DataType::Int16, true),
            Self::OidVector => DataType::new_list(DataType::UInt32, true),
            Self::Record => DataType::Struct(Fields::empty()),
            other if other.is_oid() => DataType::UInt32,
            Self::Text
            | Self::Varchar(_)
            | Self::Char(_)
            | Self::CharByte
            | Self::Name
            | Self::Uuid
            | Self::Json
            | Self::Jsonb
            | Self::Enum(_)
            | Self::Void
            | Self::Unknown => DataType::Utf8View,
            Self::Oid
            | Self::RegClass
            | Self::RegType
            | Self::RegProc
            | Self::RegProcedure
            | Self::RegOperator
            | Self::RegNamespace
            | Self::RegRole
            | Self::Xid => DataType::UInt32,
        }
    }

    /// A field of this type; metadata tells the type where Arrow alone does not.
    pub fn field(&self, name: &str, nullable: bool) -> Field {
        Field::new(name, self.data_type(), nullable).with_metadata(self.metadata())
    }

    /// The metadata of a field of this type: empty where the Arrow type tells it.
    pub fn metadata(&self) -> HashMap<String, String> {
        let implied = match self {
            Self::Numeric(None) => false,
            Self::Array(_) => !matches!(self.innermost(), Self::Enum(_)),
            Self::Record => true,
            other => Self::of_data_type(&other.data_type()) == *other,
        };
        if implied { HashMap::new() } else { HashMap::from([(SQL_TYPE_KEY.to_owned(), self.stored())]) }
    }

    /// The SQL type of a field: its metadata if it fits the Arrow type, else what the Arrow type stands for (UInt64 and
    /// other types only DataFusion makes map to the nearest one that holds them).
    pub fn of_field(field: &Field) -> Self {
        if let Some(declared) = field.metadata().get(SQL_TYPE_KEY).and_then(|name| Self::of_stored(name).ok())
            && declared.fits(field.data_type())
        {
            return declared;
        }
        Self::of_data_type(field.data_type())
    }

    /// As [`Self::of_field`], from the Arrow type alone.
    pub fn of_data_type(data_type: &DataType) -> Self {
        match data_type {
            DataType::Boolean => Self::Bool,
            DataType::Int8 | DataType::UInt8 | DataType::Int16 => Self::Int2,
            DataType::UInt16 | DataType::Int32 => Self::Int4,
            DataType::Int64 | DataType::UInt64 => Self::Int8,
            DataType::UInt32 => Self::Oid,
            DataType::Float16 | DataType::Float32 => Self::Float4,
            DataType::Float64 => Self::Float8,
            DataType::Decimal32(p, s)
            | DataType::Decimal64(p, s)
            | DataType::Decimal128(p, s)
            | DataType::Decimal256(p, s)
                if *p != QUOTIENT_PRECISION =>
            {
                Self::Numeric(Some((*p, *s)))
            }
            DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => {
                Self::Numeric(None)
            }
            DataType::Null | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::Text,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
                Self::Bytea
            }
            DataType::Date32 => Self::Date,
            DataType::Date64 | DataType::Timestamp(_, None) => Self::Timestamp,
            DataType::Timestamp(_, Some(_)) => Self::TimestampTz,
            DataType::Time32(_) | DataType::Time64(_) => Self::Time,
            DataType::Duration(_) | DataType::Interval(_) => Self::Interval,
            DataType::List(element)
            | DataType::LargeList(element)
            | DataType::ListView(element)
            | DataType::LargeListView(element)
            | DataType::FixedSizeList(element, _) => Self::Array(Arc::new(Self::of_field(element))),
            DataType::Dictionary(_, value) => Self::of_data_type(value),
            DataType::RunEndEncoded(_, values) => Self::of_field(values),
            DataType::Struct(_) | DataType::Map(..) | DataType::Union(..) => Self::Record,
        }
    }

    /// True if values of that Arrow type can be of this SQL type without a conversion of their meaning.
    fn fits(&self, data_type: &DataType) -> bool {
        let plain = Self::of_data_type(data_type);
        match self {
            Self::Numeric(_) => matches!(plain, Self::Numeric(_)),
            Self::Uuid | Self::Json | Self::Jsonb | Self::Enum(_) | Self::Void => plain == Self::Text,
            Self::Int2Vector => plain.element() == Some(Self::Int2),
            Self::OidVector => plain.element() == Some(Self::Oid),
            Self::Array(element) => plain.element().is_some_and(|plain| element.fits(&plain.data_type())),
            other if other.is_string() => plain == Self::Text,
            other if other.is_oid() => plain == Self::Oid,
            other => plain == *other,
        }
    }

    fn base(&self) -> &'static Base {
        let key = match self {
            Self::Numeric(_) => &Self::Numeric(None),
            Self::Varchar(_) => &Self::Varchar(None),
            Self::Char(_) => &Self::Char(0),
            other => other,
        };
        BASES.iter().find(|base| base.sql_type == *key).expect("every type but arrays is in the table")
    }

    fn with_typmod(&self, typmod: i32) -> Self {
        let length = || u32::try_from(typmod - 4).ok().filter(|n| *n > 0);
        match self {
            Self::Varchar(_) => Self::Varchar(if typmod < 0 { None } else { length() }),
            Self::Char(_) => Self::Char(if typmod < 0 { 0 } else { length().unwrap_or(0) }),
            Self::Numeric(_) if typmod >= 4 => {
                let packed = typmod - 4;
                // The scale has 11 bits, sign included.
                let scale = ((packed & 0x7ff) ^ 1024) - 1024;
                match (u8::try_from((packed >> 16) & 0xffff), i8::try_from(scale)) {
                    (Ok(precision), Ok(scale)) => Self::Numeric(Some((precision, scale))),
                    _ => Self::Numeric(None),
                }
            }
            other => other.clone(),
        }
    }
}

/// A word or sign of a type name.
#[derive(Debug, Clone, PartialEq)]
enum Word {
    /// Folded to lower case.
    Name(String),
    /// In double quotes.
    Quoted(String),
    Number(i64),
    Sign(char),
}

/// The words of a type name, read from left to right.
struct Words<'a> {
    text: &'a str,
    words: Vec<Word>,
    next: usize,
    /// Digits of a second that a type of time was given.
    precision: Option<u8>,
}

impl<'a> Words<'a> {
    fn new(text: &'a str) -> Result<Self, ValueError> {
        let mut words = vec![];
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if first.is_whitespace() {
                rest = &rest[first.len_utf8()..];
            } else if first == '"' {
                let (name, after) = quoted(&rest[1..]).ok_or_else(|| syntax_error(rest))?;
                words.push(Word::Quoted(name));
                rest = after;
            } else if first.is_alphanumeric() || first == '_' || !first.is_ascii() {
                let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii();
                let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
                let word = &rest[..end];
                words.push(match word.parse::<i64>() {
                    Ok(number) => Word::Number(number),
                    Err(_) => Word::Name(word.to_lowercase()),
                });
                rest = &rest[end..];
            } else {
                words.push(Word::Sign(first));
                rest = &rest[first.len_utf8()..];
            }
        }
        Ok(Self { text, words, next: 0, precision: None })
    }

    fn peek(&self) -> Option<&Word> {
        self.words.get(self.next)
    }

    fn sign(&mut self, sign: char) -> bool {
        let found = self.peek() == Some(&Word::Sign(sign));
        self.next += usize::from(found);
        found
    }

    fn name(&mut self, name: &str) -> bool {
        let found = matches!(self.peek(), Some(Word::Name(word)) if word == name);
        self.next += usize::from(found);
        found
    }

    fn names(&mut self, names: &[&str]) -> bool {
        let start = self.next;
        let found = names.iter().all(|name| self.name(name));
        if !found {
            self.next = start;
        }
        found
    }

    fn syntax_error(&self) -> ValueError {
        syntax_error(self.text)
    }

    fn unknown(&self) -> ValueError {
        ValueError::new("42704", format!("type \"{}\" does not exist", self.text.trim()))
    }

    fn dimensions(&mut self) -> Result<usize, ValueError> {
        let mut dimensions = 0;
        if self.name("array") {
            dimensions = 1;
            if self.sign('[') {
                self.next += usize::from(matches!(self.peek(), Some(Word::Number(_))));
                if !self.sign(']') {
                    return Err(self.syntax_error());
                }
            }
            return Ok(dimensions);
        }
        while self.sign('[') {
            self.next += usize::from(matches!(self.peek(), Some(Word::Number(_))));
            if !self.sign(']') {
                return Err(self.syntax_error());
            }
            dimensions += 1;
        }
        // PostgreSQL's limit (MAXDIM).
        if dimensions > 6 {
            let message = format!("number of array dimensions ({dimensions}) exceeds the maximum allowed (6)");
            return Err(ValueError::new("54000", message));
        }
        Ok(dimensions)
    }

    fn element(&mut self) -> Result<SqlType, ValueError> {
        let first = match self.peek() {
            Some(Word::Name(name)) => name.clone(),
            Some(Word::Quoted(name)) => {
                let name = name.clone();
                self.next += 1;
                return self.catalog_type(&name);
            }
            _ => return Err(self.syntax_error()),
        };
        self.next += 1;
        if first == "setof" {
            return Err(self.syntax_error());
        }
        if self.sign('.') {
            let name = match self.peek() {
                Some(Word::Name(name) | Word::Quoted(name)) if first == "pg_catalog" => name.clone(),
                _ => return Err(self.unknown()),
            };
            self.next += 1;
            return self.catalog_type(&name);
        }
        match first.as_str() {
            "national" if self.name("character") || self.name("char") => self.character(),
            "character" | "char" | "nchar" => self.character(),
            "double" if self.name("precision") => Ok(SqlType::Float8),
            "float" => self.float(),
            "int" | "integer" => Ok(SqlType::Int4),
            "smallint" => Ok(SqlType::Int2),
            "bigint" => Ok(SqlType::Int8),
            "real" => Ok(SqlType::Float4),
            "boolean" => Ok(SqlType::Bool),
            "dec" | "decimal" => self.catalog_type("numeric"),
            "time" | "timestamp" => self.time(&first),
            "interval" => self.interval(),
            other => self.catalog_type(other),
        }
    }

    /// A type by pg_type.typname, with modifier.
    fn catalog_type(&mut self, name: &str) -> Result<SqlType, ValueError> {
        if let Some(element) = name.strip_prefix('_')
            && let Some(base) = BASES.iter().find(|base| base.typname == element && base.array_oid != 0)
        {
            return Ok(SqlType::Array(Arc::new(base.sql_type.clone())));
        }
        let Some(base) = BASES.iter().find(|base| base.typname == name) else {
            if matches!(name, "timetz" | "bit" | "varbit" | "money" | "xml" | "inet" | "cidr" | "macaddr") {
                return Err(ValueError::new("0A000", format!("type {name} is not supported")));
            }
            return Err(self.unknown());
        };
        match base.sql_type {
            SqlType::Numeric(_) => self.numeric(),
            SqlType::Varchar(_) => Ok(SqlType::Varchar(self.length("varchar")?)),
            SqlType::Char(_) => Ok(SqlType::Char(self.length("char")?.unwrap_or(0))),
            SqlType::Timestamp | SqlType::TimestampTz | SqlType::Time => {
                self.precision(&name.to_uppercase())?;
                Ok(base.sql_type.clone())
            }
            SqlType::Interval => self.interval(),
            _ if self.peek() == Some(&Word::Sign('(')) => {
                Err(ValueError::new("42601", format!("type modifier is not allowed for type \"{name}\"")))
            }
            _ => Ok(base.sql_type.clone()),
        }
    }

    fn modifiers(&mut self) -> Result<Vec<i64>, ValueError> {
        let mut modifiers = vec![];
        if self.sign('(') {
            loop {
                let negative = self.sign('-');
                match self.peek() {
                    Some(Word::Number(n)) => modifiers.push(if negative { -n } else { *n }),
                    _ => return Err(self.syntax_error()),
                }
                self.next += 1;
                if self.sign(')') {
                    break;
                }
                if !self.sign(',') {
                    return Err(self.syntax_error());
                }
            }
        }
        Ok(modifiers)
    }

    fn character(&mut self) -> Result<SqlType, ValueError> {
        if self.name("varying") {
            Ok(SqlType::Varchar(self.length("varchar")?))
        } else {
            Ok(SqlType::Char(self.length("char")?.unwrap_or(1)))
        }
    }

    fn length(&mut self, name: &str) -> Result<Option<u32>, ValueError> {
        const LENGTH_MAX: i64 = 10 * 1024 * 1024;
        match self.modifiers()?[..] {
            [] => Ok(None),
            [n] if n < 1 => Err(ValueError::new("22023", format!("length for type {name} must be at least 1"))),
            [n] if n > LENGTH_MAX => {
                Err(ValueError::new("22023", format!("length for type {name} cannot exceed {LENGTH_MAX}")))
            }
            [n] => Ok(u32::try_from(n).ok()),
            _ => Err(ValueError::new("22023", "invalid type modifier")),
        }
    }

    fn float(&mut self) -> Result<SqlType, ValueError> {
        match self.modifiers()?[..] {
            [] => Ok(SqlType::Float8),
            [n] if n < 1 => Err(ValueError::new("22023", "precision for type float must be at least 1 bit")),
            [n] if n <= 24 => Ok(SqlType::Float4),
            [n] if n <= 53 => Ok(SqlType::Float8),
            [_] => Err(ValueError::new("22023", "precision for type float must be less than 54 bits")),
            _ => Err(self.syntax_error()),
        }
    }

    fn numeric(&mut self) -> Result<SqlType, ValueError> {
        let (precision, scale) = match self.modifiers()?[..] {
            [] => return Ok(SqlType::Numeric(None)),
            [precision] => (precision, 0),
            [precision, scale] => (precision, scale),
            _ => return Err(ValueError::new("22023", "invalid NUMERIC type modifier")),
        };
        if !(1..=1000).contains(&precision) {
            let message = format!("NUMERIC precision {precision} must be between 1 and 1000");
            return Err(ValueError::new("22023", message));
        }
        if !(-1000..=1000).contains(&scale) {
            let message = format!("NUMERIC scale {scale} must be between -1000 and 1000");
            return Err(ValueError::new("22023", message));
        }
        if precision > i64::from(NUMERIC_PRECISION_MAX) || !(0..=precision).contains(&scale) {
            let mut error = ValueError::new("0A000", format!("type numeric({precision},{scale}) is not supported"));
            error.detail = Some("Values have at most 38 digits, and a scale between 0 and the precision.".into());
            return Err(error);
        }
        Ok(SqlType::Numeric(u8::try_from(precision).ok().zip(i8::try_from(scale).ok())))
    }

    fn time(&mut self, name: &str) -> Result<SqlType, ValueError> {
        self.precision(&name.to_uppercase())?;
        let zoned = self.names(&["with", "time", "zone"]);
        if !zoned {
            self.names(&["without", "time", "zone"]);
        }
        match (name, zoned) {
            ("timestamp", true) => Ok(SqlType::TimestampTz),
            ("timestamp", false) => Ok(SqlType::Timestamp),
            (_, false) => Ok(SqlType::Time),
            (_, true) => Err(ValueError::new("0A000", "type time with time zone is not supported")),
        }
    }

    fn interval(&mut self) -> Result<SqlType, ValueError> {
        const FIELDS: [&str; 6] = ["year", "month", "day", "hour", "minute", "second"];
        self.precision("INTERVAL")?;
        if FIELDS.iter().any(|field| self.name(field)) {
            self.precision("INTERVAL")?;
            if self.name("to") && !FIELDS.iter().any(|field| self.name(field)) {
                return Err(self.syntax_error());
            }
            self.precision("INTERVAL")?;
        }
        Ok(SqlType::Interval)
    }

    /// `(3)`: more digits than six are six, as in PostgreSQL.
    fn precision(&mut self, name: &str) -> Result<(), ValueError> {
        match self.modifiers()?[..] {
            [] => Ok(()),
            [digits] if digits < 0 => {
                let message = format!("{name}({digits}) precision must not be negative");
                Err(ValueError::new("22023", message))
            }
            [digits] => {
                self.precision = Some(u8::try_from(digits.min(6)).unwrap_or(6));
                Ok(())
            }
            _ => Err(ValueError::new("22023", "invalid type modifier")),
        }
    }
}

/// The text up to the closing quote (doubled quotes undone), and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c != '"' {
            name.push(c);
        } else if chars.next_if(|(_, next)| *next == '"').is_some() {
            name.push('"');
        } else {
            return Some((name, &text[at + 1..]));
        }
    }
    None
}

fn syntax_error(text: &str) -> ValueError {
    ValueError::new("42601", format!("invalid type name \"{text}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        // (spelling, name, oid, typmod): as PostgreSQL's format_type, regtype and atttypmod tell.
        let cases: &[(&str, &str, u32, i32)] = &[
            ("int", "integer", 23, -1),
            ("INT4", "integer", 23, -1),
            ("integer", "integer", 23, -1),
            ("pg_catalog.int4", "integer", 23, -1),
            ("pg_catalog . \"int4\"", "integer", 23, -1),
            ("int2", "smallint", 21, -1),
            ("bigint", "bigint", 20, -1),
            ("bool", "boolean", 16, -1),
            ("real", "real", 700, -1),
            ("float(24)", "real", 700, -1),
            ("float", "double precision", 701, -1),
            ("float(25)", "double precision", 701, -1),
            ("double  precision", "double precision", 701, -1),
            ("character varying(10)", "character varying(10)", 1043, 14),
            ("varchar", "character varying", 1043, -1),
            ("varchar(3)[]", "character varying(3)[]", 1015, 7),
            ("character(5)", "character(5)", 1042, 9),
            ("char", "character(1)", 1042, 5),
            ("bpchar", "bpchar", 1042, -1),
            ("bpchar(4)", "character(4)", 1042, 8),
            ("national character varying(2)", "character varying(2)", 1043, 6),
            ("\"char\"", "\"char\"", 18, -1),
            ("name", "name", 19, -1),
            ("numeric", "numeric", 1700, -1),
            ("dec(10)", "numeric(10,0)", 1700, 655364),
            ("numeric(10,2)", "numeric(10,2)", 1700, 655366),
            ("numeric(10, 2)[]", "numeric(10,2)[]", 1231, 655366),
            ("timestamp(3) with time zone", "timestamp with time zone", 1184, -1),
            ("timestamp", "timestamp without time zone", 1114, -1),
            ("timestamp without time zone", "timestamp without time zone", 1114, -1),
            ("timestamptz(6)", "timestamp with time zone", 1184, -1),
            ("time", "time without time zone", 1083, -1),
            ("interval day to second(3)", "interval", 1186, -1),
            ("interval year", "interval", 1186, -1),
            ("_text", "text[]", 1009, -1),
            ("text[3]", "text[]", 1009, -1),
            ("int array", "integer[]", 1007, -1),
            ("int array[4]", "integer[]", 1007, -1),
            ("int[][]", "integer[][]", 1007, -1),
            ("jsonb", "jsonb", 3802, -1),
            ("uuid[]", "uuid[]", 2951, -1),
            ("oid", "oid", 26, -1),
            ("regclass", "regclass", 2205, -1),
            ("int2vector", "int2vector", 22, -1),
            ("void", "void", 2278, -1),
            ("unknown", "unknown", 705, -1),
        ];
        for (spelling, name, oid, typmod) in cases {
            let parsed = SqlType::parse(spelling).unwrap_or_else(|error| panic!("{spelling}: {error}"));
            assert_eq!((parsed.name().as_str(), parsed.oid(), parsed.typmod()), (*name, *oid, *typmod), "{spelling}");
            assert_eq!(SqlType::parse(&parsed.name()).unwrap(), parsed, "{spelling}");
            assert_eq!(
                SqlType::of_field(&parsed.field("x", true)),
                if *oid == 2249 { SqlType::Record } else { parsed }
            );
        }
    }

    #[test]
    fn refused() {
        let cases = [
            ("foo", "42704", "type \"foo\" does not exist"),
            ("pg_catalog.integer", "42704", "type \"pg_catalog.integer\" does not exist"),
            ("varchar(0)", "22023", "length for type varchar must be at least 1"),
            ("char(20000000)", "22023", "length for type char cannot exceed 10485760"),
            ("numeric(0)", "22023", "NUMERIC precision 0 must be between 1 and 1000"),
            ("numeric(40)", "0A000", "type numeric(40,0) is not supported"),
            ("float(60)", "22023", "precision for type float must be less than 54 bits"),
            ("int(4)", "42601", "invalid type name \"int(4)\""),
            ("int[", "42601", "invalid type name \"int[\""),
            ("\"int", "42601", "invalid type name \"\"int\""),
            ("", "42601", "invalid type name \"\""),
            ("timetz", "0A000", "type timetz is not supported"),
        ];
        for (name, code, message) in cases {
            let error = SqlType::parse(name).expect_err(name);
            assert_eq!((error.code, error.message.as_str()), (code, message), "{name}");
        }
    }

    #[test]
    fn from_oid_and_back() {
        for base in &BASES {
            let found = SqlType::from_oid(base.oid, -1).unwrap();
            assert_eq!(found, base.sql_type);
            if base.array_oid != 0 {
                assert_eq!(SqlType::from_oid(base.array_oid, -1).unwrap().oid(), base.array_oid);
            }
        }
        assert_eq!(SqlType::from_oid(1700, 655_366), Some(SqlType::Numeric(Some((10, 2)))));
        assert_eq!(SqlType::from_oid(1015, 7).unwrap().name(), "character varying(3)[]");
        assert_eq!(SqlType::from_oid(0, -1), None);
        assert_eq!(SqlType::from_oid(99_999, -1), None);
    }

    #[test]
    fn of_arrow() {
        let cases = [
            (DataType::UInt32, SqlType::Oid),
            (DataType::UInt64, SqlType::Int8),
            (DataType::UInt16, SqlType::Int4),
            (DataType::Int8, SqlType::Int2),
            (DataType::Float16, SqlType::Float4),
            (DataType::Null, SqlType::Text),
            (DataType::Duration(TimeUnit::Second), SqlType::Interval),
            (DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8)), SqlType::Text),
            (DataType::Timestamp(TimeUnit::Nanosecond, Some("Asia/Tokyo".into())), SqlType::TimestampTz),
            (DataType::Decimal256(60, 4), SqlType::Numeric(Some((60, 4)))),
        ];
        for (data_type, expected) in cases {
            assert_eq!(SqlType::of_data_type(&data_type), expected, "{data_type}");
        }
        // Metadata that does not fit is ignored.
        let field = Field::new("x", DataType::Int32, true)
            .with_metadata(HashMap::from([(SQL_TYPE_KEY.to_owned(), "uuid".to_owned())]));
        assert_eq!(SqlType::of_field(&field), SqlType::Int4);
    }
}
