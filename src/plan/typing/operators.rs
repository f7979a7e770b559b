//! Which operator is meant, by the types of its sides.

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{BinaryExpr, Like};
use datafusion::logical_expr::{Expr, Operator};
use datafusion::sql::sqlparser::ast::BinaryOperator;
use tidemill_udfs::types::{
    NUMERIC_DEFAULT_SCALE, NUMERIC_PRECISION_MAX, QUOTIENT_PRECISION, QUOTIENT_SCALE, SqlType, quotient_type,
};

use super::{Typed, Typing, element_of, is_json, is_number, is_textual};
use crate::Result;
use crate::error::{Error, SqlState};
use crate::plan::arithmetic::Arithmetic;
use crate::plan::enums;
use crate::plan::pending;
use crate::plan::types::{common_type, is_integer, is_oid};

pub(super) const NO_OPERATOR: &str =
    "No operator matches the given name and argument types. You might need to add explicit type casts.";

/// 42883 for an operator that has no such sides.
pub(super) fn undefined(sign: &str, left: &Typed, right: &Typed) -> Error {
    Error::new(
        SqlState::UNDEFINED_FUNCTION,
        format!("operator does not exist: {} {sign} {}", left.sql_type.plain_name(), right.sql_type.plain_name()),
    )
    .hint(NO_OPERATOR)
}

fn native(left: Expr, op: Operator, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
}

/// A comparison with what has columns on the left. `2 < t AND t >= 2` is `t >= 2` to DataFusion's rule that keeps the stricter
/// one of two conditions, wherever its simplifier has not turned the first: in joins, and below our own nodes.
fn compared(left: Expr, op: Operator, right: Expr) -> Expr {
    match op.swap() {
        Some(turned) if left.column_refs().is_empty() && !right.column_refs().is_empty() => native(right, turned, left),
        _ => native(left, op, right),
    }
}

impl Typing<'_> {
    /// `left op right`.
    pub(super) fn operator(&mut self, op: &BinaryOperator, left: Typed, right: Typed) -> Result<Typed> {
        use BinaryOperator as B;
        match op {
            B::Eq => self.comparison(Operator::Eq, "=", left, right),
            B::NotEq => self.comparison(Operator::NotEq, "<>", left, right),
            B::Lt => self.comparison(Operator::Lt, "<", left, right),
            B::LtEq => self.comparison(Operator::LtEq, "<=", left, right),
            B::Gt => self.comparison(Operator::Gt, ">", left, right),
            B::GtEq => self.comparison(Operator::GtEq, ">=", left, right),
            B::Spaceship => self.comparison(Operator::IsNotDistinctFrom, "=", left, right),
            B::Custom(word) if word == "is distinct from" => {
                self.comparison(Operator::IsDistinctFrom, "=", left, right)
            }
            B::Plus | B::Minus | B::Multiply | B::Divide | B::Modulo => self.arithmetic(op, left, right),
            B::PGExp => self.power(left, right),
            B::StringConcat => self.concat(left, right),
            B::PGRegexMatch => self.regex(Operator::RegexMatch, "~", left, right),
            B::PGRegexIMatch => self.regex(Operator::RegexIMatch, "~*", left, right),
            B::PGRegexNotMatch => self.regex(Operator::RegexNotMatch, "!~", left, right),
            B::PGRegexNotIMatch => self.regex(Operator::RegexNotIMatch, "!~*", left, right),
            B::PGLikeMatch => self.like_operator(false, false, "~~", left, right),
            B::PGNotLikeMatch => self.like_operator(true, false, "!~~", left, right),
            B::PGILikeMatch => self.like_operator(false, true, "~~*", left, right),
            B::PGNotILikeMatch => self.like_operator(true, true, "!~~*", left, right),
            B::BitwiseAnd
            | B::BitwiseOr
            | B::BitwiseXor
            | B::PGBitwiseXor
            | B::PGBitwiseShiftLeft
            | B::PGBitwiseShiftRight => self.bits(op, left, right),
            B::Arrow | B::LongArrow | B::HashArrow | B::HashLongArrow | B::HashMinus => self.json_path(op, left, right),
            B::AtArrow | B::ArrowAt => self.contains(op, left, right),
            B::PGOverlap => self.overlap(left, right),
            B::Question => self.json_exists("jsonb_exists", "?", left, right, &SqlType::Text),
            B::QuestionPipe => self.json_exists("jsonb_exists_any", "?|", left, right, &text_array()),
            B::QuestionAnd => self.json_exists("jsonb_exists_all", "?&", left, right, &text_array()),
            B::PGStartsWith => {
                let left = self.implicitly(left, &SqlType::Text)?;
                let right = self.implicitly(right, &SqlType::Text)?;
                self.call("starts_with", vec![left, right])
            }
            B::PGCustomBinaryOperator(path) => self.named_operator(path, left, right),
            other => Err(undefined(&other.to_string(), &left, &right)),
        }
    }

    /// `OPERATOR(pg_catalog.~)`, as psql writes.
    fn named_operator(&mut self, path: &[String], left: Typed, right: Typed) -> Result<Typed> {
        use BinaryOperator as B;
        let sign = path.last().map_or("", String::as_str);
        let op = match sign {
            "=" => B::Eq,
            "<>" | "!=" => B::NotEq,
            "<" => B::Lt,
            "<=" => B::LtEq,
            ">" => B::Gt,
            ">=" => B::GtEq,
            "+" => B::Plus,
            "-" => B::Minus,
            "*" => B::Multiply,
            "/" => B::Divide,
            "%" => B::Modulo,
            "||" => B::StringConcat,
            "~" => B::PGRegexMatch,
            "~*" => B::PGRegexIMatch,
            "!~" => B::PGRegexNotMatch,
            "!~*" => B::PGRegexNotIMatch,
            "~~" => B::PGLikeMatch,
            "~~*" => B::PGILikeMatch,
            "!~~" => B::PGNotLikeMatch,
            "!~~*" => B::PGNotILikeMatch,
            "->" => B::Arrow,
            "->>" => B::LongArrow,
            "@>" => B::AtArrow,
            "<@" => B::ArrowAt,
            "&&" => B::PGOverlap,
            other => return Err(undefined(other, &left, &right)),
        };
        self.operator(&op, left, right)
    }

    fn comparison(&mut self, op: Operator, sign: &str, left: Typed, right: Typed) -> Result<Typed> {
        if matches!(left.sql_type, SqlType::Json) || matches!(right.sql_type, SqlType::Json) {
            return Err(undefined(sign, &left, &right));
        }
        // `regtype = 'int4'`, `oid = 'name'::regclass`
        let Some(shared) = common_type(&left.sql_type, &right.sql_type) else {
            return Err(undefined(sign, &left, &right));
        };
        let (left, right) = self.shared_sides(left, right, &shared)?;
        if let (Some(zero), true) = (zero_literal(&right.expr), ordinary(op)) {
            return Ok(Typed::bool(beside_zero(op, left.expr, zero)));
        }
        if let (Some(zero), true) = (zero_literal(&left.expr), ordinary(op)) {
            let op = op.swap().unwrap_or(op);
            return Ok(Typed::bool(beside_zero(op, right.expr, zero)));
        }
        if shared == SqlType::Jsonb && ordinary(op) {
            // Numbers are equal whatever zeros they are written with, and the order is not that of the text.
            let order = self.call("jsonb_cmp", vec![left, right])?;
            let zero = Typed::literal(ScalarValue::Int32(Some(0)), SqlType::Int4);
            return Ok(Typed::bool(native(order.expr, op, zero.expr)));
        }
        let is_order = matches!(op, Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq);
        let (left, right) = if is_order {
            (self.ordered(left)?, self.ordered(right)?)
        } else {
            (self.equatable(left)?, self.equatable(right)?)
        };
        Ok(Typed::bool(compared(left.expr, op, right.expr)))
    }

    /// What stands for the value where it is sorted, where its Arrow values do not compare as PostgreSQL's.
    pub(super) fn ordered(&mut self, value: Typed) -> Result<Typed> {
        Ok(enums::ordinal(self.equatable(value)?))
    }

    /// What stands for the value where it is looked whether it equals others.
    pub(super) fn equatable(&mut self, value: Typed) -> Result<Typed> {
        if value.sql_type == SqlType::Interval { self.call("pg_interval_order", vec![value]) } else { Ok(value) }
    }

    /// Both sides of a comparison in one type; numerics keep their own scale, the engine compares them so.
    fn shared_sides(&mut self, left: Typed, right: Typed, shared: &SqlType) -> Result<(Typed, Typed)> {
        if *shared == SqlType::Unknown {
            return Ok((self.decide(left, &SqlType::Text)?, self.decide(right, &SqlType::Text)?));
        }
        if let SqlType::Numeric(_) = shared {
            let mut one = |value: Typed| -> Result<Typed> {
                match value.sql_type {
                    SqlType::Numeric(_) => Ok(value),
                    _ => self.convert(value, &SqlType::Numeric(None)),
                }
            };
            let (left, right) = (one(left)?, one(right)?);
            if let (DataType::Decimal128(..), DataType::Decimal128(..)) = (&left.data_type, &right.data_type) {
                return Ok((left, right));
            }
            let scale = |data_type: &DataType| match data_type {
                DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => *scale,
                _ => 0,
            };
            let wide = DataType::Decimal256(QUOTIENT_PRECISION, scale(&left.data_type).max(scale(&right.data_type)));
            return Ok((with_decimal(left, wide.clone()), with_decimal(right, wide)));
        }
        Ok((self.convert(left, shared)?, self.convert(right, shared)?))
    }

    fn arithmetic(&mut self, op: &BinaryOperator, left: Typed, right: Typed) -> Result<Typed> {
        use SqlType as T;
        let sign = op.to_string();
        let logical = pending::operator(op).ok_or_else(|| Error::internal("an arithmetic operator"))?;
        // An unknown side takes the other's type, as PostgreSQL prefers it; beside a date or time an interval.
        let (left, right) = match (left.is_unknown(), right.is_unknown()) {
            (true, true) => return Err(ambiguous(&sign)),
            (true, false) => {
                let to = match (&right.sql_type, op) {
                    (T::Interval, BinaryOperator::Multiply | BinaryOperator::Divide) => T::Float8,
                    (T::Interval, BinaryOperator::Plus) if date_like(&left.expr) => T::TimestampTz,
                    (T::Date, BinaryOperator::Plus) => T::Int4,
                    (T::Timestamp | T::TimestampTz | T::Time, BinaryOperator::Plus) => T::Interval,
                    (other, _) => super::without_modifier(other),
                };
                (self.decide(left, &to)?, right)
            }
            (false, true) => {
                let to = match (&left.sql_type, op) {
                    (T::Interval, BinaryOperator::Multiply | BinaryOperator::Divide) => T::Float8,
                    (T::Timestamp | T::TimestampTz | T::Time, BinaryOperator::Plus) => T::Interval,
                    (T::Timestamp | T::TimestampTz | T::Time, BinaryOperator::Minus) if !date_like(&right.expr) => {
                        T::Interval
                    }
                    (T::Date, BinaryOperator::Plus) => T::Int4,
                    (T::Jsonb, BinaryOperator::Minus) => T::Text,
                    (other, _) => super::without_modifier(other),
                };
                let right = self.decide(right, &to)?;
                (left, right)
            }
            (false, false) => (left, right),
        };
        if is_number(&left.sql_type) && is_number(&right.sql_type) {
            return self.number(op, logical, left, right);
        }
        let undefined = |left: &Typed, right: &Typed| undefined(&sign, left, right);
        match (&left.sql_type, op, &right.sql_type) {
            (T::Date, BinaryOperator::Plus, T::Int2 | T::Int4 | T::Time) => self.call("pg_date_add", vec![left, right]),
            (T::Int2 | T::Int4 | T::Time, BinaryOperator::Plus, T::Date) => self.call("pg_date_add", vec![right, left]),
            (T::Date, BinaryOperator::Minus, T::Int2 | T::Int4 | T::Time) => {
                self.call("pg_date_sub", vec![left, right])
            }
            (T::Date, BinaryOperator::Minus, T::Date) => self.call("pg_date_diff", vec![left, right]),
            (T::Date | T::Timestamp | T::TimestampTz, BinaryOperator::Plus, T::Interval) => {
                self.call("pg_timestamp_add_interval", vec![left, right])
            }
            (T::Date | T::Timestamp | T::TimestampTz, BinaryOperator::Minus, T::Interval) => {
                self.call("pg_timestamp_sub_interval", vec![left, right])
            }
            (T::Interval, BinaryOperator::Plus, T::Date | T::Timestamp | T::TimestampTz) => {
                self.call("pg_timestamp_add_interval", vec![right, left])
            }
            (
                T::Date | T::Timestamp | T::TimestampTz,
                BinaryOperator::Minus,
                T::Date | T::Timestamp | T::TimestampTz,
            ) => {
                let shared = common_type(&left.sql_type, &right.sql_type).ok_or_else(|| undefined(&left, &right))?;
                let (left, right) = (self.convert(left, &shared)?, self.convert(right, &shared)?);
                self.call("pg_timestamp_diff", vec![left, right])
            }
            (T::Time, BinaryOperator::Minus, T::Time) => self.call("pg_time_diff", vec![left, right]),
            (T::Time, BinaryOperator::Plus, T::Interval) => self.call("pg_time_add_interval", vec![left, right]),
            (T::Time, BinaryOperator::Minus, T::Interval) => self.call("pg_time_sub_interval", vec![left, right]),
            (T::Interval, BinaryOperator::Plus, T::Time) => self.call("pg_time_add_interval", vec![right, left]),
            (T::Interval, BinaryOperator::Plus, T::Interval) => self.call("pg_interval_add", vec![left, right]),
            (T::Interval, BinaryOperator::Minus, T::Interval) => self.call("pg_interval_sub", vec![left, right]),
            (T::Interval, BinaryOperator::Multiply, number) if is_number(number) => {
                let number = self.convert(right, &T::Float8)?;
                self.call("pg_interval_mul", vec![left, number])
            }
            (number, BinaryOperator::Multiply, T::Interval) if is_number(number) => {
                let number = self.convert(left, &T::Float8)?;
                self.call("pg_interval_mul", vec![right, number])
            }
            (T::Interval, BinaryOperator::Divide, number) if is_number(number) => {
                let number = self.convert(right, &T::Float8)?;
                self.call("pg_interval_div", vec![left, number])
            }
            (T::Jsonb, BinaryOperator::Minus, T::Text | T::Int2 | T::Int4 | T::Array(_)) => {
                self.call("jsonb_delete", vec![left, right])
            }
            (l, _, r) if is_oid(l) && is_integer(r) || is_integer(l) && is_oid(r) || is_oid(l) && is_oid(r) => {
                let (left, right) = (self.convert(left, &T::Int8)?, self.convert(right, &T::Int8)?);
                self.number(op, logical, left, right)
            }
            _ => Err(undefined(&left, &right)),
        }
    }

    fn number(&mut self, op: &BinaryOperator, logical: Operator, left: Typed, right: Typed) -> Result<Typed> {
        use SqlType as T;
        let shared =
            common_type(&left.sql_type, &right.sql_type).ok_or_else(|| undefined(&op.to_string(), &left, &right))?;
        match shared {
            T::Numeric(_) => self.numeric(op, logical, left, right),
            T::Float4 | T::Float8 => {
                let (left, right) = (self.convert(left, &shared)?, self.convert(right, &shared)?);
                let operation = match op {
                    BinaryOperator::Plus => Arithmetic::FloatAdd,
                    BinaryOperator::Minus => Arithmetic::FloatSubtract,
                    BinaryOperator::Multiply => Arithmetic::FloatMultiply,
                    BinaryOperator::Divide => Arithmetic::FloatDivide,
                    _ => return Err(undefined("%", &left, &right)),
                };
                Ok(Typed::of(operation.call(left.expr, right.expr), shared))
            }
            integer => {
                let (left, right) = (self.convert(left, &integer)?, self.convert(right, &integer)?);
                let expr = match op {
                    BinaryOperator::Plus => Arithmetic::Add.call(left.expr, right.expr),
                    BinaryOperator::Minus => Arithmetic::Subtract.call(left.expr, right.expr),
                    BinaryOperator::Multiply => Arithmetic::Multiply.call(left.expr, right.expr),
                    _ => native(left.expr, logical, right.expr),
                };
                Ok(Typed::of(expr, integer))
            }
        }
    }

    fn numeric(&mut self, op: &BinaryOperator, logical: Operator, left: Typed, right: Typed) -> Result<Typed> {
        let any = SqlType::Numeric(None);
        let mut decimal = |value: Typed| -> Result<Typed> {
            match value.sql_type {
                SqlType::Numeric(_) => Ok(value),
                _ => self.convert(value, &any),
            }
        };
        let (left, right) = (decimal(left)?, decimal(right)?);
        if matches!(op, BinaryOperator::Divide) {
            return Ok(Typed::new(Arithmetic::NumericDivide.call(left.expr, right.expr), any, quotient_type()));
        }
        let (lp, ls, rp, rs) = match (&left.data_type, &right.data_type) {
            (DataType::Decimal128(lp, ls), DataType::Decimal128(rp, rs)) => (*lp, *ls, *rp, *rs),
            _ => return wide_numeric(op, logical, left, right),
        };
        match op {
            BinaryOperator::Multiply if ls + rs > 16 || lp + rp > 37 => {
                let scale = (ls + rs).min(16.max(ls).max(rs));
                // A product of what is stored with zeros that it did not come with has such zeros too.
                let stored = |p, s| (p, s) == (NUMERIC_PRECISION_MAX, NUMERIC_DEFAULT_SCALE);
                let precision = if scale == NUMERIC_DEFAULT_SCALE && (stored(lp, ls) || stored(rp, rs)) {
                    NUMERIC_PRECISION_MAX
                } else {
                    crate::plan::arithmetic::precision(scale)
                };
                let expr = Arithmetic::NumericMultiply(precision, scale).call(left.expr, right.expr);
                Ok(Typed::new(expr, any, DataType::Decimal128(precision, scale)))
            }
            _ => {
                let types = (&left.data_type, &right.data_type);
                let data_type = datafusion::logical_expr::binary::BinaryTypeCoercer::new(types.0, &logical, types.1)
                    .get_result_type()?;
                Ok(Typed::new(native(left.expr, logical, right.expr), any, data_type))
            }
        }
    }

    fn power(&mut self, left: Typed, right: Typed) -> Result<Typed> {
        let numeric = matches!(left.sql_type, SqlType::Numeric(_)) || matches!(right.sql_type, SqlType::Numeric(_));
        for side in [&left, &right] {
            if !side.is_unknown() && !is_number(&side.sql_type) {
                return Err(undefined("^", &left, &right));
            }
        }
        let left = self.implicitly(left, &SqlType::Float8)?;
        let right = self.implicitly(right, &SqlType::Float8)?;
        let result = self.call("power", vec![left, right])?;
        if numeric { self.explicit_cast(result, &SqlType::Numeric(None)) } else { Ok(result) }
    }

    fn concat(&mut self, left: Typed, right: Typed) -> Result<Typed> {
        let (left_item, right_item) = (element_of(&left.sql_type), element_of(&right.sql_type));
        match (left_item, right_item) {
            (Some(_), Some(_)) => return self.call("array_concat", vec![left, right]),
            (Some(_), None) if right.is_unknown() => {
                let sql_type = left.sql_type.clone();
                let right = self.decide(right, &sql_type)?;
                return self.call("array_concat", vec![left, right]);
            }
            (Some(_), None) => return self.call("array_append", vec![left, right]),
            (None, Some(_)) if left.is_unknown() => {
                let sql_type = right.sql_type.clone();
                let left = self.decide(left, &sql_type)?;
                return self.call("array_concat", vec![left, right]);
            }
            (None, Some(_)) => return self.call("array_prepend", vec![left, right]),
            (None, None) => {}
        }
        if left.sql_type == SqlType::Jsonb || right.sql_type == SqlType::Jsonb {
            let left = self.implicitly(left, &SqlType::Jsonb)?;
            let right = self.implicitly(right, &SqlType::Jsonb)?;
            return self.call("jsonb_concat", vec![left, right]);
        }
        if left.sql_type == SqlType::Bytea && right.sql_type == SqlType::Bytea {
            return Ok(Typed::of(native(left.expr, Operator::StringConcat, right.expr), SqlType::Bytea));
        }
        let text = |side: &Typed| side.is_unknown() || is_textual(&side.sql_type);
        if !text(&left) && !text(&right) {
            return Err(undefined("||", &left, &right));
        }
        let left = if left.is_unknown() {
            self.decide(left, &SqlType::Text)?
        } else {
            self.explicit_cast(left, &SqlType::Text)?
        };
        let right = if right.is_unknown() {
            self.decide(right, &SqlType::Text)?
        } else {
            self.explicit_cast(right, &SqlType::Text)?
        };
        Ok(Typed::of(native(left.expr, Operator::StringConcat, right.expr), SqlType::Text))
    }

    fn texts(&mut self, sign: &str, left: Typed, right: Typed) -> Result<(Typed, Typed)> {
        for side in [&left, &right] {
            if !side.is_unknown() && !is_textual(&side.sql_type) {
                return Err(undefined(sign, &left, &right));
            }
        }
        Ok((self.implicitly(left, &SqlType::Text)?, self.implicitly(right, &SqlType::Text)?))
    }

    fn regex(&mut self, op: Operator, sign: &str, left: Typed, right: Typed) -> Result<Typed> {
        let (left, right) = self.texts(sign, left, right)?;
        Ok(Typed::bool(native(left.expr, op, right.expr)))
    }

    fn like_operator(&mut self, negated: bool, any_case: bool, sign: &str, left: Typed, right: Typed) -> Result<Typed> {
        let (left, right) = self.texts(sign, left, right)?;
        Ok(Typed::bool(Expr::Like(Like::new(negated, Box::new(left.expr), Box::new(right.expr), None, any_case))))
    }

    fn bits(&mut self, op: &BinaryOperator, left: Typed, right: Typed) -> Result<Typed> {
        let logical = pending::operator(op).ok_or_else(|| Error::internal("a bit operator"))?;
        let sign = match op {
            BinaryOperator::PGBitwiseXor | BinaryOperator::BitwiseXor => "#".to_owned(),
            other => other.to_string(),
        };
        let left = if left.is_unknown() { self.decide(left, &SqlType::Int4)? } else { left };
        let right = if right.is_unknown() { self.decide(right, &SqlType::Int4)? } else { right };
        if !is_integer(&left.sql_type) || !is_integer(&right.sql_type) {
            return Err(undefined(&sign, &left, &right));
        }
        let shared = match op {
            // The number of places says nothing about the result.
            BinaryOperator::PGBitwiseShiftLeft | BinaryOperator::PGBitwiseShiftRight => left.sql_type.clone(),
            _ => common_type(&left.sql_type, &right.sql_type).unwrap_or(SqlType::Int8),
        };
        let left = self.convert(left, &shared)?;
        let right = self.explicit_cast(right, &shared)?;
        Ok(Typed::of(native(left.expr, logical, right.expr), shared))
    }

    fn json_path(&mut self, op: &BinaryOperator, left: Typed, right: Typed) -> Result<Typed> {
        let (name, wants_path) = match op {
            BinaryOperator::Arrow => ("json_get", false),
            BinaryOperator::LongArrow => ("json_get_text", false),
            BinaryOperator::HashArrow => ("json_get_path", true),
            BinaryOperator::HashLongArrow => ("json_get_path_text", true),
            _ => ("jsonb_delete_path", true),
        };
        if !is_json(&left.sql_type) {
            return Err(undefined(&op.to_string(), &left, &right));
        }
        let json = left.sql_type.clone();
        let right = match (wants_path, &right.sql_type) {
            (true, _) => self.implicitly(right, &text_array())?,
            (false, SqlType::Unknown) => self.decide(right, &SqlType::Text)?,
            (false, sql_type) if is_integer(sql_type) => self.convert(right, &SqlType::Int4)?,
            (false, sql_type) if is_textual(sql_type) => self.convert(right, &SqlType::Text)?,
            _ => return Err(undefined(&op.to_string(), &left, &right)),
        };
        let result = self.call(name, vec![left, right])?;
        Ok(match op {
            BinaryOperator::LongArrow | BinaryOperator::HashLongArrow => Typed { sql_type: SqlType::Text, ..result },
            _ => Typed { sql_type: json, ..result },
        })
    }

    fn contains(&mut self, op: &BinaryOperator, left: Typed, right: Typed) -> Result<Typed> {
        let (left, right) = match (left.is_unknown(), right.is_unknown()) {
            (true, false) => {
                let to = right.sql_type.clone();
                (self.decide(left, &to)?, right)
            }
            (false, true) => {
                let to = left.sql_type.clone();
                let right = self.decide(right, &to)?;
                (left, right)
            }
            _ => (left, right),
        };
        let forward = *op == BinaryOperator::AtArrow;
        if element_of(&left.sql_type).is_some() && element_of(&right.sql_type).is_some() {
            let args = if forward { vec![left, right] } else { vec![right, left] };
            return self.call("array_has_all", args);
        }
        if left.sql_type == SqlType::Jsonb && right.sql_type == SqlType::Jsonb {
            return self.call(if forward { "jsonb_contains" } else { "jsonb_contained" }, vec![left, right]);
        }
        Err(undefined(&op.to_string(), &left, &right))
    }

    fn overlap(&mut self, left: Typed, right: Typed) -> Result<Typed> {
        let shared = common_type(&left.sql_type, &right.sql_type)
            .filter(|shared| element_of(shared).is_some())
            .ok_or_else(|| undefined("&&", &left, &right))?;
        let (left, right) = (self.implicitly(left, &shared)?, self.implicitly(right, &shared)?);
        self.call("array_has_any", vec![left, right])
    }

    fn json_exists(&mut self, name: &str, sign: &str, left: Typed, right: Typed, key: &SqlType) -> Result<Typed> {
        if left.sql_type != SqlType::Jsonb {
            return Err(undefined(sign, &left, &right));
        }
        let right = self.implicitly(right, key)?;
        self.call(name, vec![left, right])
    }
}

fn text_array() -> SqlType {
    SqlType::Array(std::sync::Arc::new(SqlType::Text))
}

fn ambiguous(sign: &str) -> Error {
    Error::new(SqlState::AMBIGUOUS_FUNCTION, format!("operator is not unique: unknown {sign} unknown"))
        .hint("Could not choose a best candidate operator. You might need to add explicit type casts.")
}

/// The comparisons that say nothing special of NULL.
fn ordinary(op: Operator) -> bool {
    !matches!(op, Operator::IsDistinctFrom | Operator::IsNotDistinctFrom)
}

/// True for a literal that reads like a date rather than an interval: `'2024-01-01'`.
fn date_like(expr: &Expr) -> bool {
    let Expr::Literal(ScalarValue::Utf8(Some(text)), _) = expr else { return false };
    let text = text.trim();
    text.len() >= 8 && text.as_bytes().get(4) == Some(&b'-') && text[..4].bytes().all(|byte| byte.is_ascii_digit())
}

/// Numerics of which one is a quotient or a literal of many digits: 256 bits.
fn wide_numeric(op: &BinaryOperator, logical: Operator, left: Typed, right: Typed) -> Result<Typed> {
    let (left, right) = (widened(left), widened(right));
    let (DataType::Decimal256(lp, ls), DataType::Decimal256(rp, rs)) = (&left.data_type, &right.data_type) else {
        return Err(Error::internal("numeric that is not a decimal"));
    };
    let (significant, scale) = ((*lp).max(*rp) == QUOTIENT_PRECISION, *ls.max(rs));
    // A product of products: digits that no quotient has.
    let crowded = matches!(op, BinaryOperator::Multiply) && ls + rs > 2 * QUOTIENT_SCALE;
    let (left, right) = if crowded {
        let fewer = DataType::Decimal256(QUOTIENT_PRECISION, QUOTIENT_SCALE);
        (with_decimal(left, fewer.clone()), with_decimal(right, fewer))
    } else {
        (left, right)
    };
    let data_type =
        datafusion::logical_expr::binary::BinaryTypeCoercer::new(&left.data_type, &logical, &right.data_type)
            .get_result_type()?;
    let result = Typed::new(native(left.expr, logical, right.expr), SqlType::Numeric(None), data_type);
    // The marks of a quotient stay on what is computed from it.
    let kept = match &result.data_type {
        DataType::Decimal256(QUOTIENT_PRECISION, _) => return Ok(result),
        DataType::Decimal256(_, scale) if significant => DataType::Decimal256(QUOTIENT_PRECISION, *scale),
        _ if significant => DataType::Decimal256(QUOTIENT_PRECISION, scale),
        _ => return Ok(result),
    };
    Ok(with_decimal(result, kept))
}

fn widened(value: Typed) -> Typed {
    match value.data_type {
        DataType::Decimal128(precision, scale) => with_decimal(value, DataType::Decimal256(precision, scale)),
        _ => value,
    }
}

/// The value in another decimal type, by Arrow.
fn with_decimal(value: Typed, data_type: DataType) -> Typed {
    if value.data_type == data_type {
        return value;
    }
    let field = Field::new("", data_type.clone(), true).with_metadata(super::type_metadata(&value.sql_type));
    let cast = datafusion::logical_expr::Cast::new_from_field(Box::new(value.expr), std::sync::Arc::new(field));
    Typed::new(Expr::Cast(cast), value.sql_type, data_type)
}

/// The zero that sorts as a comparison with zero wants it: the engine puts -0 before 0, PostgreSQL beside it.
fn zero_literal(expr: &Expr) -> Option<fn(f64) -> Typed> {
    match expr {
        Expr::Literal(ScalarValue::Float64(Some(0.0)), _) => {
            Some(|zero| Typed::literal(ScalarValue::Float64(Some(zero)), SqlType::Float8))
        }
        Expr::Literal(ScalarValue::Float32(Some(0.0)), _) => Some(|zero| {
            let zero = if zero.is_sign_negative() { -0.0 } else { 0.0 };
            Typed::literal(ScalarValue::Float32(Some(zero)), SqlType::Float4)
        }),
        _ => None,
    }
}

/// `x op 0`, for both zeros.
fn beside_zero(op: Operator, value: Expr, zero: fn(f64) -> Typed) -> Expr {
    let compare = |op: Operator, at: f64| native(value.clone(), op, zero(at).expr);
    match op {
        Operator::Eq => native(compare(Operator::GtEq, -0.0), Operator::And, compare(Operator::LtEq, 0.0)),
        Operator::NotEq => native(compare(Operator::Lt, -0.0), Operator::Or, compare(Operator::Gt, 0.0)),
        Operator::Lt | Operator::GtEq => compare(op, -0.0),
        _ => compare(op, 0.0),
    }
}
