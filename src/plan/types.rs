//! SQL type names as the parser has them, to [`SqlType`]s; which types are alike, and which cast to which by themselves.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::DataFusionError;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, CharacterLength, DataType as AstType, ExactNumberInfo, Ident, ObjectName, TimezoneInfo,
};
use tidemill_udfs::types::{NUMERIC_PRECISION_MAX, SqlType};

use super::{Scope, user_types};
use crate::Result;
use crate::error::{Error, SqlState};

/// Plans type names in casts.
pub(super) struct Types(pub(super) Arc<Scope>);

impl std::fmt::Debug for Types {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Types")
    }
}

impl TypePlanner for Types {
    fn plan_type_field(&self, sql_type: &AstType) -> datafusion::common::Result<Option<FieldRef>> {
        let sql_type = sql_type_of(Some(&self.0), sql_type).map_err(DataFusionError::from)?;
        Ok(Some(target_field(&sql_type)))
    }
}

/// The field that stands for a cast's target: its metadata always says the type.
pub(super) fn target_field(sql_type: &SqlType) -> FieldRef {
    Arc::new(super::typing::named_field("", sql_type, true))
}

/// The type a type name in SQL means; without a scope one of the server's.
///
/// # Errors
/// 42704 for an unknown name, 22023 for a bad modifier.
pub(super) fn sql_type_of(scope: Option<&Scope>, name: &AstType) -> Result<SqlType> {
    Ok(match name {
        AstType::Boolean | AstType::Bool => SqlType::Bool,
        AstType::SmallInt(_) | AstType::Int2(_) => SqlType::Int2,
        AstType::Int(_) | AstType::Integer(_) | AstType::Int4(_) => SqlType::Int4,
        AstType::BigInt(_) | AstType::Int8(_) => SqlType::Int8,
        AstType::Real | AstType::Float4 => SqlType::Float4,
        AstType::Double(_) | AstType::DoublePrecision | AstType::Float8 => SqlType::Float8,
        AstType::Float(info) => match info {
            ExactNumberInfo::Precision(bits) if *bits <= 24 => SqlType::Float4,
            _ => SqlType::Float8,
        },
        AstType::Numeric(info) | AstType::Decimal(info) | AstType::Dec(info) => numeric(info)?,
        AstType::Text | AstType::String(_) => SqlType::Text,
        AstType::Varchar(length) | AstType::CharacterVarying(length) | AstType::CharVarying(length) => {
            SqlType::Varchar(character_length(length.as_ref(), "varchar")?)
        }
        AstType::Char(length) | AstType::Character(length) => {
            SqlType::Char(character_length(length.as_ref(), "char")?.unwrap_or(1))
        }
        AstType::Bytea => SqlType::Bytea,
        AstType::Date => SqlType::Date,
        AstType::Time(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => SqlType::Time,
        AstType::Time(..) => {
            return Err(Error::unsupported("type time with time zone is not supported"));
        }
        AstType::Timestamp(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => SqlType::Timestamp,
        AstType::Timestamp(..) => SqlType::TimestampTz,
        AstType::Interval { .. } => SqlType::Interval,
        AstType::Uuid => SqlType::Uuid,
        AstType::JSON => SqlType::Json,
        AstType::JSONB => SqlType::Jsonb,
        AstType::Regclass => SqlType::RegClass,
        AstType::Array(ArrayElemTypeDef::SquareBracket(item, _) | ArrayElemTypeDef::AngleBracket(item)) => {
            let item = sql_type_of(scope, item)?;
            // PostgreSQL's arrays have no declared number of dimensions.
            if matches!(item, SqlType::Array(_)) { item } else { SqlType::Array(Arc::new(item)) }
        }
        AstType::Custom(name, modifiers) => custom(scope, name, modifiers)?,
        other => named(&other.to_string().to_lowercase())?,
    })
}

fn custom(scope: Option<&Scope>, name: &ObjectName, modifiers: &[String]) -> Result<SqlType> {
    let Some(ident) = name.0.last().and_then(|part| part.as_ident()) else {
        return named(&name.to_string());
    };
    if ident.quote_style.is_some() && ident.value == "char" {
        return Ok(SqlType::CharByte);
    }
    let folded = folded_ident(ident);
    let schema = match name.0.as_slice() {
        [schema, _] => schema.as_ident().map(folded_ident),
        _ => None,
    };
    let system = schema.as_ref().is_none_or(|schema| schema == "pg_catalog");
    let found = match (system, modifiers) {
        (false, _) => Err(user_types::undefined(&format!("{}.{folded}", schema.as_deref().unwrap_or_default()))),
        (true, []) => named(&folded),
        (true, modifiers) => named(&format!("{folded}({})", modifiers.join(","))),
    };
    match (found, scope) {
        (Err(error), Some(scope)) if *error.code() == SqlState::UNDEFINED_OBJECT => {
            let Some(object) = scope.user_type(schema.as_deref(), &folded) else {
                return Err(error.located(ident.span.start.line, ident.span.start.column));
            };
            if !modifiers.is_empty() {
                let message = format!("type modifier is not allowed for type \"{folded}\"");
                return Err(Error::new(SqlState::SYNTAX_ERROR, message));
            }
            user_types::sql_type(object)
        }
        (found, _) => found,
    }
}

fn folded_ident(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

fn named(name: &str) -> Result<SqlType> {
    Ok(SqlType::parse(name)?)
}

fn numeric(info: &ExactNumberInfo) -> Result<SqlType> {
    let (precision, scale) = match info {
        ExactNumberInfo::None => return Ok(SqlType::Numeric(None)),
        ExactNumberInfo::Precision(precision) => (*precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (*precision, *scale),
    };
    if !(1..=1000).contains(&precision) {
        return Err(Error::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("NUMERIC precision {precision} must be between 1 and 1000"),
        ));
    }
    // A cast to more digits than a value has here, as clients write it to lose none: what does not fit is 22003.
    let precision = u8::try_from(precision).unwrap_or(u8::MAX).min(NUMERIC_PRECISION_MAX);
    match i8::try_from(scale) {
        Ok(scale) if (0..=precision.cast_signed()).contains(&scale) => Ok(SqlType::Numeric(Some((precision, scale)))),
        _ => Err(Error::unsupported(format!("a scale of {scale} is not supported here")).detail(format!(
            "Values have at most {NUMERIC_PRECISION_MAX} digits, and a scale between 0 and the precision."
        ))),
    }
}

fn character_length(length: Option<&CharacterLength>, type_name: &str) -> Result<Option<u32>> {
    let Some(CharacterLength::IntegerLength { length, .. }) = length else { return Ok(None) };
    match u32::try_from(*length) {
        Ok(0) => Err(Error::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("length for type {type_name} must be at least 1"),
        )),
        Ok(length) if length <= 10_485_760 => Ok(Some(length)),
        _ => Err(Error::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("length for type {type_name} cannot exceed 10485760"),
        )),
    }
}

/// PostgreSQL's type categories, as far as implicit casts need them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Category {
    Bool,
    Number,
    Text,
    Time,
    Interval,
    Array,
    Other,
    Unknown,
}

/// The category of a type.
pub(super) fn category(sql_type: &SqlType) -> Category {
    use SqlType as T;
    match sql_type {
        T::Bool => Category::Bool,
        T::Int2 | T::Int4 | T::Int8 | T::Float4 | T::Float8 | T::Numeric(_) => Category::Number,
        T::Oid
        | T::RegClass
        | T::RegType
        | T::RegProc
        | T::RegProcedure
        | T::RegOperator
        | T::RegNamespace
        | T::RegRole
        | T::Xid => Category::Number,
        T::Text | T::Varchar(_) | T::Char(_) | T::Name | T::CharByte => Category::Text,
        T::Date | T::Timestamp | T::TimestampTz => Category::Time,
        T::Interval => Category::Interval,
        T::Array(_) | T::Int2Vector | T::OidVector => Category::Array,
        T::Unknown => Category::Unknown,
        T::Time | T::Bytea | T::Uuid | T::Json | T::Jsonb | T::Enum(_) | T::Record | T::Void => Category::Other,
    }
}

/// True for types whose values are object identifiers.
pub(super) fn is_oid(sql_type: &SqlType) -> bool {
    sql_type.is_oid()
}

/// True for int2, int4, int8.
pub(super) fn is_integer(sql_type: &SqlType) -> bool {
    matches!(sql_type, SqlType::Int2 | SqlType::Int4 | SqlType::Int8)
}

/// True for types that hold text and compare as text.
pub(super) fn is_text(sql_type: &SqlType) -> bool {
    category(sql_type) == Category::Text
}

/// Where a number stands in PostgreSQL's order of implicit casts.
fn number_rank(sql_type: &SqlType) -> Option<u8> {
    use SqlType as T;
    Some(match sql_type {
        T::Int2 => 0,
        T::Int4 => 1,
        T::Int8 => 2,
        T::Numeric(_) => 3,
        T::Float4 => 4,
        T::Float8 => 5,
        _ => return None,
    })
}

fn time_rank(sql_type: &SqlType) -> Option<u8> {
    use SqlType as T;
    Some(match sql_type {
        T::Date => 0,
        T::Timestamp => 1,
        T::TimestampTz => 2,
        _ => return None,
    })
}

/// The type both sides of a comparison, or all branches of CASE and UNION, are brought to; `None`: there is none.
/// `Unknown` yields to the other side.
pub(super) fn common_type(left: &SqlType, right: &SqlType) -> Option<SqlType> {
    use SqlType as T;
    if left == right {
        return Some(left.clone());
    }
    match (left, right) {
        // A text without a type has what length it has.
        (T::Unknown, T::Varchar(_)) | (T::Varchar(_), T::Unknown | T::Varchar(_)) => return Some(T::Varchar(None)),
        (T::Unknown, other) | (other, T::Unknown) => return Some(other.clone()),
        (T::Numeric(Some((p1, s1))), T::Numeric(Some((p2, s2)))) => {
            let scale = *s1.max(s2);
            let digits = (*p1 as i16 - i16::from(*s1)).max(*p2 as i16 - i16::from(*s2));
            return u8::try_from(digits + i16::from(scale))
                .ok()
                .filter(|precision| *precision <= 38)
                .map_or(Some(T::Numeric(None)), |precision| Some(T::Numeric(Some((precision, scale)))));
        }
        (T::Numeric(_), T::Numeric(_)) => return Some(T::Numeric(None)),
        (T::Array(left), T::Array(right)) => {
            return common_type(left, right).map(|item| T::Array(Arc::new(item)));
        }
        // The vectors are arrays of int2 and oid in all but name.
        (T::Int2Vector, T::Array(_)) | (T::Array(_), T::Int2Vector) => return Some(T::Array(Arc::new(T::Int2))),
        (T::OidVector, T::Array(_)) | (T::Array(_), T::OidVector) => return Some(T::Array(Arc::new(T::Oid))),
        _ => {}
    }
    if is_oid(left) || is_oid(right) {
        return match (is_oid(left), is_oid(right)) {
            (true, true) => Some(T::Oid),
            (true, false) if is_integer(right) => Some(T::Int8),
            (false, true) if is_integer(left) => Some(T::Int8),
            _ => None,
        };
    }
    if let (Some(l), Some(r)) = (number_rank(left), number_rank(right)) {
        let (low, high) = if l <= r { (left, right) } else { (right, left) };
        return Some(match high {
            // An integer beside numeric(p,s) needs room for its own digits.
            T::Numeric(Some((precision, scale))) if is_integer(low) => integer_beside(low, *precision, *scale),
            // real beside numeric compares as double precision
            T::Float4 if matches!(low, T::Numeric(_) | T::Int4 | T::Int8) => T::Float8,
            _ => high.clone(),
        });
    }
    if let (Some(l), Some(r)) = (time_rank(left), time_rank(right)) {
        return Some(if l >= r { left.clone() } else { right.clone() });
    }
    if is_text(left) && is_text(right) {
        return Some(T::Text);
    }
    None
}

fn integer_beside(integer: &SqlType, precision: u8, scale: i8) -> SqlType {
    let own: i16 = match integer {
        SqlType::Int2 => 5,
        SqlType::Int4 => 10,
        _ => 19,
    };
    let digits = own.max(i16::from(precision) - i16::from(scale));
    match u8::try_from(digits + i16::from(scale)) {
        Ok(precision) if precision <= 38 => SqlType::Numeric(Some((precision, scale))),
        _ => SqlType::Numeric(None),
    }
}

/// True if a value of type `from` becomes one of type `to` by itself in an assignment (INSERT, UPDATE).
pub(super) fn assignable(from: &SqlType, to: &SqlType) -> bool {
    use SqlType as T;
    if from == to || *from == T::Unknown {
        return true;
    }
    let (from_category, to_category) = (category(from), category(to));
    match (from, to) {
        (T::Array(from), T::Array(to)) => return assignable(from, to),
        (T::Json, T::Jsonb) | (T::Jsonb, T::Json) => return true,
        (T::Time, T::Interval) | (T::Interval, T::Time) => return true,
        (T::Timestamp | T::TimestampTz, T::Time) => return true,
        _ => {}
    }
    match (from_category, to_category) {
        // Everything has a text form, and text accepts it on assignment.
        (_, Category::Text) => true,
        (Category::Number, Category::Number) => true,
        (Category::Time, Category::Time) => true,
        _ => false,
    }
}

/// True if Arrow's own cast between these types does what PostgreSQL's does, also for values that do not fit.
pub(super) fn arrow_casts(from: &SqlType, to: &SqlType) -> bool {
    use SqlType as T;
    match (from, to) {
        _ if from.data_type() == to.data_type() && is_text(from) && matches!(to, T::Text | T::Varchar(None)) => true,
        (T::Int2, T::Int4 | T::Int8 | T::Float4 | T::Float8) => true,
        (T::Int4, T::Int8 | T::Float8 | T::Float4) => true,
        (T::Int8, T::Float8 | T::Float4) => true,
        (T::Float4, T::Float8) => true,
        (from, T::Int8) if is_oid(from) => true,
        (from, to) if is_oid(from) && is_oid(to) => true,
        _ => false,
    }
}

/// The Arrow types that columns of results have; others (which only DataFusion makes) are cast to these.
pub(super) fn is_canonical(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) => is_canonical(item.data_type()),
        // Rows have the fields they have.
        DataType::Struct(_) => true,
        DataType::Decimal128(..) | DataType::Decimal256(..) => true,
        other => SqlType::of_data_type(other).data_type() == *other,
    }
}
