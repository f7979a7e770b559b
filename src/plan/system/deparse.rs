//! Defaults as PostgreSQL's pg_get_expr shows them: constants with their types.

use std::borrow::Cow;

use datafusion::sql::sqlparser::ast::{CastKind, Expr, UnaryOperator, Value};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use tidemill_catalog::record::ColumnDef;
use tidemill_udfs::types::SqlType;

use crate::plan::types::sql_type_of;

/// A column's default, if it has one that is not NULL: PostgreSQL keeps none for DEFAULT NULL.
pub(crate) fn default_text(column: &ColumnDef) -> Option<Cow<'_, str>> {
    let text = column.default.as_deref()?;
    let parsed = Parser::new(&PostgreSqlDialect {}).try_with_sql(text).and_then(|mut parser| parser.parse_expr());
    let (Ok(parsed), Ok(sql_type)) = (parsed, SqlType::of_stored(&column.sql_type)) else { return Some(text.into()) };
    match &parsed {
        Expr::Value(value) if value.value == Value::Null => None,
        parsed => Some(constant(parsed, &sql_type).map_or(text.into(), Cow::Owned)),
    }
}

/// A constant as `get_const_expr` of PostgreSQL's ruleutils.c writes it; `None` for other expressions.
fn constant(expr: &Expr, sql_type: &SqlType) -> Option<String> {
    match expr {
        Expr::Nested(inner) => constant(inner, sql_type),
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(labelled(text, sql_type)),
            Value::Number(digits, _) => Some(number(digits.clone())),
            Value::Boolean(value) => Some(value.to_string()),
            _ => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match expr.as_ref() {
            Expr::Value(value) => match &value.value {
                Value::Number(digits, _) => Some(number(format!("-{digits}"))),
                _ => None,
            },
            _ => None,
        },
        Expr::Cast { kind: CastKind::DoubleColon | CastKind::Cast, expr, data_type, .. } => match expr.as_ref() {
            Expr::Value(value) => match &value.value {
                Value::SingleQuotedString(text) => {
                    // Of the types that users made only the column's can be meant.
                    let own = Some(sql_type.clone()).filter(|own| matches!(own.innermost(), SqlType::Enum(_)));
                    Some(labelled(text, &sql_type_of(None, data_type).ok().or(own)?))
                }
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

/// A string that is read as that type.
fn labelled(text: &str, sql_type: &SqlType) -> String {
    match sql_type {
        SqlType::Int4 if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => text.to_owned(),
        SqlType::Bool => match text.trim().to_ascii_lowercase().as_str() {
            "t" | "true" | "y" | "yes" | "on" | "1" => "true".to_owned(),
            _ => "false".to_owned(),
        },
        SqlType::Char(_) => format!("'{}'::bpchar", text.replace('\'', "''")),
        other => format!("'{}'::{}", text.replace('\'', "''"), other.plain_name()),
    }
}

/// A literal that is a number by itself: int4, int8 or numeric, whatever the column's type is.
fn number(digits: String) -> String {
    let is_whole = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    match (digits.parse::<i64>(), digits.starts_with('-')) {
        (Ok(value), is_negative) if i32::try_from(value).is_ok() => {
            if is_negative {
                format!("'{digits}'::integer")
            } else {
                digits
            }
        }
        (Ok(_), _) => format!("'{digits}'::bigint"),
        (Err(_), false) if !is_whole => digits,
        (Err(_), _) => format!("'{digits}'::numeric"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_have_their_types() {
        let cases = [
            ("integer", "0", "0"),
            ("integer", "-1", "'-1'::integer"),
            ("integer", "'5'", "5"),
            ("bigint", "5", "5"),
            ("bigint", "'5'", "'5'::bigint"),
            ("bigint", "99999999999", "'99999999999'::bigint"),
            ("numeric(10,2)", "0", "0"),
            ("numeric(10,2)", "'0'", "'0'::numeric"),
            ("numeric", "-1.5", "'-1.5'::numeric"),
            ("double precision", "1.5", "1.5"),
            ("character varying(5)", "'it''s'", "'it''s'::character varying"),
            ("character(3)", "'a'", "'a'::bpchar"),
            ("boolean", "'f'", "false"),
            ("boolean", "TRUE", "true"),
            ("text", "('a')", "'a'::text"),
            ("json", "'{}'::jsonb", "'{}'::jsonb"),
            ("text[]", "'{}'", "'{}'::text[]"),
            ("timestamp with time zone", "now()", "now()"),
        ];
        for (sql_type, default, shown) in cases {
            let mut column = ColumnDef {
                id: 1,
                name: "c".to_owned(),
                physical_name: "c".to_owned(),
                sql_type: sql_type.to_owned(),
                data_type: SqlType::parse(sql_type).unwrap().data_type(),
                nullable: true,
                default: Some(default.to_owned()),
                missing_value: None,
                user_type: None,
                sequence: None,
                source_field: None,
                comment: None,
            };
            assert_eq!(default_text(&column).as_deref(), Some(shown), "{sql_type} {default}");
            column.default = Some("NULL".to_owned());
            assert_eq!(default_text(&column), None);
        }
    }
}
