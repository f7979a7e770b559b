//! Types: the plan that DataFusion's SQL planner made of names is given PostgreSQL's types. Literals and parameters take
//! the type their surroundings ask for, operators and functions are chosen by their arguments' types, casts are made
//! visible, and every output column's field says its SQL type.
//!
//! IN: a logical plan with stand-ins ([`super::pending`]). OUT: one in which DataFusion's own coercion finds nothing to do.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::metadata::FieldMetadata;
use datafusion::common::{Column, DFSchema, DFSchemaRef, ScalarValue};
use datafusion::logical_expr::expr::{Alias, Cast, Placeholder, ScalarFunction};
use datafusion::logical_expr::{Expr, ExprSchemable};
use tidemill_udfs::types::{DIMENSIONS_MAX, QUOTIENT_PRECISION, SQL_TYPE_KEY, SqlType, text_dimensions};

use super::access::Accesses;
use super::types::{arrow_casts, category, common_type, is_canonical, is_integer, is_oid, is_text};
use super::{Scope, cast, types};
use crate::Result;
use crate::error::{Error, SqlState};

mod expression;
mod functions;
mod operators;
mod plan;

pub(super) use functions::undefined as undefined_function;
pub(super) use plan::output_types;

/// An expression with its type.
#[derive(Debug, Clone)]
pub(super) struct Typed {
    pub(super) expr: Expr,
    /// `Unknown`: a string literal, NULL or a parameter that nothing has given a type yet.
    pub(super) sql_type: SqlType,
    /// The Arrow type; a `numeric` may have any precision and scale.
    pub(super) data_type: DataType,
}

/// Gives types to one statement.
pub(super) struct Typing<'a> {
    pub(super) scope: &'a Arc<Scope>,
    /// Types of `$1…$n`; `Unknown` where nothing says yet.
    pub(super) parameters: Vec<SqlType>,
    /// What subqueries of single expressions need of privileges.
    pub(super) access: Accesses,
    /// Columns around them that they name.
    pub(super) outer_columns: Vec<Column>,
}

/// What columns are in sight.
pub(super) struct Sight<'a> {
    pub(super) schema: &'a DFSchema,
    /// Schemas of the queries around this one, innermost last.
    pub(super) outer: &'a [DFSchemaRef],
}

/// A field whose metadata always tells the SQL type.
pub(super) fn named_field(name: &str, sql_type: &SqlType, nullable: bool) -> Field {
    Field::new(name, sql_type.data_type(), nullable).with_metadata(type_metadata(sql_type))
}

pub(super) fn type_metadata(sql_type: &SqlType) -> HashMap<String, String> {
    HashMap::from([(SQL_TYPE_KEY.to_owned(), sql_type.stored())])
}

pub(super) fn field_metadata(sql_type: &SqlType) -> FieldMetadata {
    FieldMetadata::from(type_metadata(sql_type))
}

impl Typed {
    pub(super) fn new(expr: Expr, sql_type: SqlType, data_type: DataType) -> Self {
        Self { expr, sql_type, data_type }
    }

    pub(super) fn of(expr: Expr, sql_type: SqlType) -> Self {
        let data_type = sql_type.data_type();
        Self { expr, sql_type, data_type }
    }

    pub(super) fn bool(expr: Expr) -> Self {
        Self::of(expr, SqlType::Bool)
    }

    pub(super) fn is_unknown(&self) -> bool {
        self.sql_type == SqlType::Unknown
    }

    /// A constant of that type.
    pub(super) fn literal(value: ScalarValue, sql_type: SqlType) -> Self {
        let data_type = value.data_type();
        Self { expr: Expr::Literal(value, Some(field_metadata(&sql_type))), sql_type, data_type }
    }

    fn field(&self) -> Arc<Field> {
        let metadata = if self.is_unknown() { HashMap::new() } else { type_metadata(&self.sql_type) };
        Arc::new(Field::new("", self.data_type.clone(), true).with_metadata(metadata))
    }
}

/// The index of `$n`, from 0.
pub(super) fn parameter_index(id: &str) -> Result<usize> {
    id.strip_prefix('$')
        .and_then(|number| number.parse::<usize>().ok())
        .filter(|number| (1..=65535).contains(number))
        .map(|number| number - 1)
        .ok_or_else(|| Error::new(SqlState::UNDEFINED_PARAMETER, format!("there is no parameter {id}")))
}

impl<'a> Typing<'a> {
    pub(super) fn new(scope: &'a Arc<Scope>, parameters: &[SqlType]) -> Self {
        Self { scope, parameters: parameters.to_vec(), access: Accesses::default(), outer_columns: vec![] }
    }

    /// The expression as a value of that type, where PostgreSQL casts by itself. `word`: what the error is about.
    pub(super) fn implicitly(&mut self, value: Typed, to: &SqlType) -> Result<Typed> {
        if value.is_unknown() {
            return self.decide(value, to);
        }
        self.convert(value, to)
    }

    /// Gives a literal, NULL or parameter its type.
    pub(super) fn decide(&mut self, value: Typed, to: &SqlType) -> Result<Typed> {
        if !value.is_unknown() || *to == SqlType::Unknown {
            return Ok(value);
        }
        match value.expr {
            Expr::Literal(text, _) => {
                let text = match text {
                    ScalarValue::Utf8(text) | ScalarValue::Utf8View(text) | ScalarValue::LargeUtf8(text) => text,
                    _ => None,
                };
                cast::literal(self.scope, text.as_deref(), to)
            }
            Expr::Placeholder(Placeholder { id, .. }) => {
                let index = parameter_index(&id)?;
                if self.parameters.len() <= index {
                    self.parameters.resize(index + 1, SqlType::Unknown);
                }
                // A parameter has the modifier-free type of what it meets.
                let plain = without_modifier(to);
                self.parameters[index] = plain.clone();
                let typed = self.placeholder(id, &plain);
                self.convert(typed, to)
            }
            Expr::Alias(alias) => {
                let inner = Typed { expr: *alias.expr, sql_type: SqlType::Unknown, data_type: value.data_type };
                let typed = self.decide(inner, to)?;
                Ok(Typed { expr: typed.expr.alias_qualified(alias.relation, alias.name), ..typed })
            }
            // A subquery or CASE of which every branch is unknown.
            expr => {
                let typed = Typed { expr, sql_type: SqlType::Text, data_type: value.data_type };
                self.convert(typed, to)
            }
        }
    }

    fn placeholder(&self, id: String, sql_type: &SqlType) -> Typed {
        let field = Arc::new(named_field("", sql_type, true));
        Typed::of(Expr::Placeholder(Placeholder::new_with_field(id, Some(field))), sql_type.clone())
    }

    /// A cast, by Arrow where it does what PostgreSQL does.
    pub(super) fn convert(&mut self, value: Typed, to: &SqlType) -> Result<Typed> {
        let data_type = match (&value.sql_type, to) {
            // Any decimal is a numeric without modifier.
            (SqlType::Numeric(_), SqlType::Numeric(None)) => {
                return Ok(Typed { sql_type: SqlType::Numeric(None), ..value });
            }
            (from, SqlType::Numeric(None)) if is_integer(from) => integer_decimal(from),
            _ => to.data_type(),
        };
        self.convert_to(value, to, data_type)
    }

    /// As [`Self::convert`], with the Arrow type given (numeric without modifier may have several).
    pub(super) fn convert_to(&mut self, value: Typed, to: &SqlType, data_type: DataType) -> Result<Typed> {
        if value.is_unknown() {
            return self.decide(value, to);
        }
        if value.sql_type == *to && value.data_type == data_type {
            return Ok(value);
        }
        if let Some(expr) = cast::in_place(&value, to, &data_type) {
            return Ok(Typed::new(expr, to.clone(), data_type));
        }
        if let Some(literal) = cast::float_literal(&value.expr, to) {
            return Ok(literal);
        }
        let plain =
            arrow_casts(&value.sql_type, to) || is_integer(&value.sql_type) && matches!(to, SqlType::Numeric(None));
        let expr = if plain {
            let field = Field::new("", data_type.clone(), true).with_metadata(type_metadata(to));
            Expr::Cast(Cast::new_from_field(Box::new(value.expr), Arc::new(field)))
        } else {
            cast::call(self.scope, value.expr, &value.sql_type, to, &data_type, cast::Mode::Implicit)?
        };
        Ok(Typed::new(expr, to.clone(), data_type))
    }

    /// `CAST(value AS to)`.
    pub(super) fn explicit_cast(&mut self, value: Typed, to: &SqlType) -> Result<Typed> {
        let own;
        let to = match to {
            SqlType::Array(_) => {
                own = limited(dimensioned(&value, to))?;
                &own
            }
            other => other,
        };
        if value.is_unknown() {
            // `'…'::varchar(2)` cuts, an assignment would not.
            let plain = without_modifier(to);
            let typed = self.decide(value, &plain)?;
            return if plain == *to { Ok(typed) } else { self.explicit_cast(typed, to) };
        }
        if value.sql_type == *to && value.data_type == to.data_type() {
            return Ok(value);
        }
        if !cast::exists(&value.sql_type, to) {
            return Err(Error::new(
                SqlState::CANNOT_COERCE,
                format!("cannot cast type {} to {}", value.sql_type.plain_name(), to.plain_name()),
            ));
        }
        if matches!(to, SqlType::Numeric(None)) && matches!(value.sql_type, SqlType::Numeric(_)) {
            return Ok(Typed { sql_type: SqlType::Numeric(None), ..value });
        }
        let data_type = match to {
            SqlType::Numeric(None) if is_integer(&value.sql_type) => integer_decimal(&value.sql_type),
            _ => to.data_type(),
        };
        if let Some(expr) = cast::in_place(&value, to, &data_type) {
            return Ok(Typed::new(expr, to.clone(), data_type));
        }
        if let Some(literal) = cast::float_literal(&value.expr, to) {
            return Ok(literal);
        }
        let plain =
            arrow_casts(&value.sql_type, to) || is_integer(&value.sql_type) && matches!(to, SqlType::Numeric(None));
        let expr = if plain {
            let field = Field::new("", data_type.clone(), true).with_metadata(type_metadata(to));
            Expr::Cast(Cast::new_from_field(Box::new(value.expr), Arc::new(field)))
        } else {
            cast::call(self.scope, value.expr, &value.sql_type, to, &data_type, cast::Mode::Explicit)?
        };
        Ok(Typed::new(expr, to.clone(), data_type))
    }

    /// A value for a column, as INSERT and UPDATE assign it.
    pub(super) fn assign(&mut self, value: Typed, to: &SqlType, data_type: DataType, column: &str) -> Result<Typed> {
        if !types::assignable(&value.sql_type, to) {
            return Err(Error::new(
                SqlState::DATATYPE_MISMATCH,
                format!(
                    "column \"{column}\" is of type {} but expression is of type {}",
                    to.plain_name(),
                    value.sql_type.plain_name()
                ),
            )
            .hint("You will need to rewrite or cast the expression."));
        }
        let value = self.decide(value, to)?;
        if value.sql_type == *to && value.data_type == data_type {
            return Ok(value);
        }
        if let (SqlType::Numeric(_), SqlType::Numeric(_)) = (&value.sql_type, to) {
            if value.data_type == data_type {
                return Ok(Typed { sql_type: to.clone(), ..value });
            }
            let expr = cast::call(self.scope, value.expr, &value.sql_type, to, &data_type, cast::Mode::Implicit)?;
            return Ok(Typed::new(expr, to.clone(), data_type));
        }
        if let (from, SqlType::Numeric(_)) = (&value.sql_type, to)
            && is_integer(from)
        {
            let expr = cast::call(self.scope, value.expr, from, to, &data_type, cast::Mode::Implicit)?;
            return Ok(Typed::new(expr, to.clone(), data_type));
        }
        self.convert_to(value, to, data_type)
    }

    /// A value of a condition: WHERE, ON, CASE WHEN, AND.
    pub(super) fn condition(&mut self, value: Typed, word: &str) -> Result<Expr> {
        if value.sql_type == SqlType::Bool {
            return Ok(value.expr);
        }
        if value.is_unknown() {
            return Ok(self.decide(value, &SqlType::Bool)?.expr);
        }
        Err(Error::new(
            SqlState::DATATYPE_MISMATCH,
            format!("argument of {word} must be type boolean, not type {}", value.sql_type.plain_name()),
        ))
    }

    /// Brings values to one type, as CASE, COALESCE, VALUES and UNION do. `word` names the construct in the error.
    pub(super) fn unify(&mut self, values: Vec<Typed>, word: &str) -> Result<(Vec<Typed>, SqlType, DataType)> {
        let (sql_type, data_type) = common(values.iter().map(|value| (&value.sql_type, &value.data_type)), word)?;
        let values = values
            .into_iter()
            .map(|value| self.convert_to(value, &sql_type, data_type.clone()))
            .collect::<Result<Vec<_>>>()?;
        Ok((values, sql_type, data_type))
    }

    /// An unknown that nothing gave a type is text.
    pub(super) fn settled(&mut self, value: Typed) -> Result<Typed> {
        if value.is_unknown() { self.decide(value, &SqlType::Text) } else { Ok(value) }
    }
}

/// A time with that many digits of a second.
pub(super) fn to_precision(value: Typed, digits: u8) -> Typed {
    let Some(function) = super::registry::scalar("pg_round_time").filter(|_| value.sql_type.dimensions() == 0) else {
        return value;
    };
    let digits = Typed::literal(ScalarValue::Int32(Some(i32::from(digits))), SqlType::Int4);
    let call = ScalarFunction::new_udf(function, vec![value.expr.unalias(), digits.expr]);
    Typed::new(Expr::ScalarFunction(call), value.sql_type, value.data_type)
}

/// The type itself, unless it is an array of more dimensions than there may be: 54000.
pub(super) fn limited(sql_type: SqlType) -> Result<SqlType> {
    match sql_type.dimensions() {
        0..=DIMENSIONS_MAX => Ok(sql_type),
        count => {
            let message =
                format!("number of array dimensions ({count}) exceeds the maximum allowed ({DIMENSIONS_MAX})");
            Err(Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message))
        }
    }
}

/// The array type with the dimensions that the value has: int[] and int[][] are one type.
fn dimensioned(value: &Typed, to: &SqlType) -> SqlType {
    let dimensions = match &value.expr {
        Expr::Literal(ScalarValue::Utf8(Some(text)), _) if value.is_unknown() => text_dimensions(text).max(1),
        _ => value.sql_type.dimensions(),
    };
    if dimensions == 0 { to.clone() } else { to.innermost().with_dimensions(dimensions) }
}

/// The type of an expression that [`Typing::expression`] made.
pub(super) fn type_of(expr: &Expr, schema: &DFSchema) -> Result<SqlType> {
    match expr {
        Expr::Literal(value, metadata) => {
            let name = metadata.as_ref().and_then(|metadata| metadata.inner().get(SQL_TYPE_KEY));
            match name {
                Some(name) => Ok(SqlType::of_stored(name)?),
                None if value.is_null() || matches!(value, ScalarValue::Utf8(_)) => Ok(SqlType::Unknown),
                None => Ok(SqlType::of_data_type(&value.data_type())),
            }
        }
        Expr::Placeholder(Placeholder { field: None, .. }) => Ok(SqlType::Unknown),
        Expr::Alias(alias) => type_of(&alias.expr, schema),
        expr => Ok(SqlType::of_field(&expr.to_field(schema)?.1)),
    }
}

/// The Arrow type of an expression without columns.
pub(super) fn data_type_of(expr: &Expr) -> Option<DataType> {
    expr.to_field(&DFSchema::empty()).ok().map(|(_, field)| field.data_type().clone())
}

/// The type that values of these types share; text if all are unknown.
pub(super) fn common<'t>(
    types: impl Iterator<Item = (&'t SqlType, &'t DataType)>,
    word: &str,
) -> Result<(SqlType, DataType)> {
    let mut result = SqlType::Unknown;
    let mut decimal: Option<(u8, i8)> = None;
    // The precision of 256 bits, if one of them needs it.
    let mut wide: Option<u8> = None;
    for (sql_type, data_type) in types {
        // oid is the preferred number type, and integers become one by themselves.
        if is_oid(&result) && is_integer(sql_type) || is_integer(&result) && is_oid(sql_type) {
            result = SqlType::Oid;
            continue;
        }
        // Operators, and so joins, bring real and integers or numeric to double precision; rows and branches to real.
        let real = match (&result, sql_type) {
            (SqlType::Float4, other) | (other, SqlType::Float4) => {
                is_integer(other) || matches!(other, SqlType::Numeric(_))
            }
            _ => false,
        };
        if real && word != "JOIN" {
            result = SqlType::Float4;
            continue;
        }
        result = common_type(&result, sql_type).ok_or_else(|| {
            Error::new(
                SqlState::DATATYPE_MISMATCH,
                format!("{word} types {} and {} cannot be matched", result.plain_name(), sql_type.plain_name()),
            )
        })?;
        let digits = match (sql_type, data_type) {
            (_, DataType::Decimal128(precision, scale)) => Some((*precision, *scale)),
            (_, DataType::Decimal256(precision, scale)) => {
                wide = wide.max(Some(*precision));
                Some((38, *scale))
            }
            (integer, _) if is_integer(integer) => match integer_decimal(integer) {
                DataType::Decimal128(precision, scale) => Some((precision, scale)),
                _ => None,
            },
            _ => None,
        };
        decimal = match (decimal, digits) {
            (Some(left), Some(right)) if wide.is_some() => Some((38, left.1.max(right.1))),
            (Some(left), Some(right)) => Some(wider_decimal(left, right)),
            (left, right) => left.or(right),
        };
    }
    if result == SqlType::Unknown {
        result = SqlType::Text;
    }
    let data_type = match (&result, decimal) {
        (SqlType::Numeric(None), Some((_, scale))) if wide.is_some() => {
            // Room for what the others have before the point; a quotient's mark stays.
            let precision = if wide == Some(QUOTIENT_PRECISION) { QUOTIENT_PRECISION } else { QUOTIENT_PRECISION - 1 };
            DataType::Decimal256(precision, scale)
        }
        (SqlType::Numeric(None), Some((precision, scale))) => DataType::Decimal128(precision, scale),
        _ => result.data_type(),
    };
    Ok((result, data_type))
}

/// The decimal that holds values of both; if 38 digits do not, digits after the point go first.
pub(super) fn wider_decimal(left: (u8, i8), right: (u8, i8)) -> (u8, i8) {
    let scale = i16::from(left.1.max(right.1));
    let whole = (i16::from(left.0) - i16::from(left.1)).max(i16::from(right.0) - i16::from(right.1));
    let precision = (whole + scale).clamp(1, 38);
    let scale = if whole + scale > 38 { (38 - whole).max(scale.min(16)) } else { scale };
    (u8::try_from(precision).unwrap_or(38), i8::try_from(scale).unwrap_or(16))
}

/// The decimal type that holds every value of an integer type.
pub(super) fn integer_decimal(integer: &SqlType) -> DataType {
    let digits = match integer {
        SqlType::Int2 => 5,
        SqlType::Int4 => 10,
        _ => 19,
    };
    DataType::Decimal128(digits, 0)
}

/// `varchar(10)` → `varchar`, `numeric(10,2)` → `numeric`.
pub(super) fn without_modifier(sql_type: &SqlType) -> SqlType {
    match sql_type {
        SqlType::Varchar(_) => SqlType::Varchar(None),
        SqlType::Char(_) => SqlType::Text,
        SqlType::Numeric(_) => SqlType::Numeric(None),
        SqlType::Array(item) => SqlType::Array(Arc::new(without_modifier(item))),
        other => other.clone(),
    }
}

/// A column as an expression of its canonical Arrow type.
pub(super) fn column(column: Column, field: &Field) -> Typed {
    reference(Expr::Column(column), field)
}

fn reference(expr: Expr, field: &Field) -> Typed {
    let sql_type = SqlType::of_field(field);
    let typed = Typed::new(expr, sql_type, field.data_type().clone());
    canonical(typed)
}

/// Casts what only DataFusion makes (Utf8, UInt64, nanoseconds) to the type the engine's values have.
fn canonical(value: Typed) -> Typed {
    if value.is_unknown() || is_canonical(&value.data_type) {
        return value;
    }
    let data_type = match &value.sql_type {
        SqlType::Numeric(None) | SqlType::Record => return value,
        SqlType::Array(item) if **item == SqlType::Record => return value,
        other => other.data_type(),
    };
    let field = Field::new("", data_type.clone(), true).with_metadata(type_metadata(&value.sql_type));
    Typed {
        expr: Expr::Cast(Cast::new_from_field(Box::new(value.expr), Arc::new(field))),
        data_type,
        sql_type: value.sql_type,
    }
}

/// The expression under its name, with metadata where the field would not tell its type otherwise.
pub(super) fn labelled(
    value: Typed,
    name: Option<(Option<datafusion::common::TableReference>, String)>,
    schema: &DFSchema,
) -> Expr {
    let bare = match &value.expr {
        Expr::Alias(alias) if name.is_some() => alias.expr.as_ref(),
        other => other,
    };
    let told = bare.to_field(schema).is_ok_and(|(_, field)| SqlType::of_field(&field) == value.sql_type);
    let (relation, name) = match name {
        Some(name) => name,
        None => value.expr.qualified_name(),
    };
    if told {
        let (own_relation, own_name) = bare.qualified_name();
        if own_relation == relation && own_name == name {
            return bare.clone();
        }
        return bare.clone().alias_qualified(relation, name);
    }
    Expr::Alias(Alias::new(bare.clone(), relation, name).with_metadata(Some(field_metadata(&value.sql_type))))
}

/// PostgreSQL's list of argument types: `integer, text`.
pub(super) fn type_list(values: &[Typed]) -> String {
    values.iter().map(|value| value.sql_type.plain_name()).collect::<Vec<_>>().join(", ")
}

pub(super) fn is_json(sql_type: &SqlType) -> bool {
    matches!(sql_type, SqlType::Json | SqlType::Jsonb)
}

pub(super) fn element_of(sql_type: &SqlType) -> Option<SqlType> {
    match sql_type {
        SqlType::Array(item) => Some(item.as_ref().clone()),
        SqlType::Int2Vector => Some(SqlType::Int2),
        SqlType::OidVector => Some(SqlType::Oid),
        _ => None,
    }
}

pub(super) fn is_number(sql_type: &SqlType) -> bool {
    category(sql_type) == types::Category::Number && !is_oid(sql_type)
}

pub(super) fn is_textual(sql_type: &SqlType) -> bool {
    is_text(sql_type)
}
