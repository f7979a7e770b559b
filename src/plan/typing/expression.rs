//! Types of single expressions.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, i256};
use datafusion::common::{Column, ExprSchema, ScalarValue, Spans};
use datafusion::logical_expr::expr::{
    Between, BinaryExpr, Case, Exists, GroupingSet, InList, InSubquery, Like, Placeholder, ScalarFunction,
    SetComparison, Sort, Unnest,
};
use datafusion::logical_expr::{Expr, Operator, Subquery};
use datafusion::sql::sqlparser::ast::BinaryOperator;
use tidemill_udfs::types::{QUOTIENT_PRECISION, SQL_TYPE_KEY, SqlType, power_of_ten};

use super::{Sight, Typed, Typing, element_of, is_textual, parameter_index, reference};
use crate::Result;
use crate::error::{Error, SqlState};
use crate::plan::arithmetic::Arithmetic;
use crate::plan::pending::{PendingFunction, PendingOperator};
use crate::plan::{cast, enums};

impl Typing<'_> {
    /// The expression with types, or unknown.
    pub(in crate::plan) fn expression(&mut self, expr: Expr, sight: &Sight) -> Result<Typed> {
        match expr {
            Expr::Alias(alias) => {
                let inner = self.expression(*alias.expr, sight)?;
                Ok(Typed { expr: inner.expr.alias_qualified(alias.relation, alias.name), ..inner })
            }
            Expr::Column(column) => self.column(column, sight),
            Expr::OuterReferenceColumn(field, column) => {
                for schema in sight.outer.iter().rev() {
                    if let Ok(field) = schema.field_from_column(&column) {
                        let expr = Expr::OuterReferenceColumn(Arc::clone(field), column);
                        return Ok(reference(expr, field));
                    }
                }
                Ok(reference(Expr::OuterReferenceColumn(Arc::clone(&field), column), &field))
            }
            Expr::Literal(value, metadata) => {
                if let Some(name) = metadata.as_ref().and_then(|metadata| metadata.inner().get(SQL_TYPE_KEY)) {
                    let sql_type = SqlType::of_stored(name)?;
                    return Ok(Typed::literal(value, sql_type));
                }
                literal(value)
            }
            Expr::Placeholder(Placeholder { id, .. }) => {
                let index = parameter_index(&id)?;
                if self.parameters.len() <= index {
                    self.parameters.resize(index + 1, SqlType::Unknown);
                }
                match self.parameters[index].clone() {
                    SqlType::Unknown => Ok(Typed::new(
                        Expr::Placeholder(Placeholder::new_with_field(id, None)),
                        SqlType::Unknown,
                        DataType::Null,
                    )),
                    sql_type => Ok(self.placeholder(id, &sql_type)),
                }
            }
            Expr::BinaryExpr(binary) => self.binary(binary, sight),
            Expr::ScalarFunction(call) => self.scalar_function(call, sight),
            // The planner's own bringing of rows to one type.
            Expr::Cast(cast) if PendingFunction::is_value(&cast.expr) => self.expression(*cast.expr, sight),
            Expr::Cast(cast) => {
                let to = SqlType::of_field(&cast.field);
                let value = self.expression(*cast.expr, sight)?;
                self.explicit_cast(value, &to)
            }
            Expr::Case(case) => self.case(case, sight),
            Expr::InList(list) => self.in_list(list, sight),
            Expr::Between(between) => self.between(between, sight),
            Expr::Like(like) => self.like(like, sight, Expr::Like),
            Expr::SimilarTo(like) => self.similar(like, sight),
            Expr::Not(inner) => {
                let value = self.expression(*inner, sight)?;
                Ok(Typed::bool(Expr::Not(Box::new(self.condition(value, "NOT")?))))
            }
            Expr::Negative(inner) => self.negative(*inner, sight),
            Expr::IsNull(inner) => self.null_test(*inner, sight, Expr::IsNull),
            Expr::IsNotNull(inner) => self.null_test(*inner, sight, Expr::IsNotNull),
            Expr::IsTrue(inner) => self.bool_test(*inner, sight, Expr::IsTrue, "IS TRUE"),
            Expr::IsFalse(inner) => self.bool_test(*inner, sight, Expr::IsFalse, "IS FALSE"),
            Expr::IsUnknown(inner) => self.bool_test(*inner, sight, Expr::IsUnknown, "IS UNKNOWN"),
            Expr::IsNotTrue(inner) => self.bool_test(*inner, sight, Expr::IsNotTrue, "IS NOT TRUE"),
            Expr::IsNotFalse(inner) => self.bool_test(*inner, sight, Expr::IsNotFalse, "IS NOT FALSE"),
            Expr::IsNotUnknown(inner) => self.bool_test(*inner, sight, Expr::IsNotUnknown, "IS NOT UNKNOWN"),
            Expr::AggregateFunction(call) => self.aggregate(call, sight),
            Expr::WindowFunction(call) => self.window(*call, sight),
            Expr::Exists(Exists { subquery, negated }) => {
                let subquery = self.subquery(subquery, sight)?;
                Ok(Typed::bool(Expr::Exists(Exists { subquery, negated })))
            }
            Expr::ScalarSubquery(subquery) => {
                let subquery = self.subquery(subquery, sight)?;
                let field = Arc::clone(&subquery.subquery.schema().fields()[0]);
                Ok(reference(Expr::ScalarSubquery(subquery), &field))
            }
            Expr::InSubquery(within) => self.in_subquery(within, sight),
            Expr::SetComparison(comparison) => self.set_comparison(comparison, sight),
            Expr::Unnest(unnest) => {
                let value = self.expression(*unnest.expr, sight)?;
                let item = element_of(&value.sql_type).ok_or_else(|| {
                    Error::new(
                        SqlState::UNDEFINED_FUNCTION,
                        format!("function unnest({}) does not exist", value.sql_type.plain_name()),
                    )
                })?;
                let data_type = match &value.data_type {
                    DataType::List(field) => field.data_type().clone(),
                    _ => item.data_type(),
                };
                let expr = Expr::Unnest(Unnest { expr: Box::new(value.expr), outer: unnest.outer });
                Ok(Typed::new(expr, item, data_type))
            }
            Expr::GroupingSet(sets) => {
                let sets = self.grouping_set(sets, sight)?;
                Ok(Typed::of(Expr::GroupingSet(sets), SqlType::Void))
            }
            Expr::TryCast(_)
            | Expr::ScalarVariable(..)
            | Expr::HigherOrderFunction(_)
            | Expr::Lambda(_)
            | Expr::LambdaVariable(_) => Err(Error::unsupported("this expression is not supported")),
            #[expect(deprecated, reason = "the planner still makes it inside count(*)")]
            wildcard @ Expr::Wildcard { .. } => Ok(Typed::of(wildcard, SqlType::Record)),
        }
    }

    /// An expression that must have a type: unknown becomes text.
    pub(in crate::plan) fn settled_expression(&mut self, expr: Expr, sight: &Sight) -> Result<Typed> {
        let value = self.expression(expr, sight)?;
        self.settled(value)
    }

    fn column(&mut self, column: Column, sight: &Sight) -> Result<Typed> {
        let field = sight.schema.field_from_column(&column)?;
        Ok(super::column(column, field))
    }

    fn binary(&mut self, binary: BinaryExpr, sight: &Sight) -> Result<Typed> {
        if !matches!(binary.op, Operator::And | Operator::Or) {
            let left = self.expression(*binary.left, sight)?;
            let right = self.expression(*binary.right, sight)?;
            return self.operator(&ast_operator(binary.op)?, left, right);
        }
        // Long chains of OR lean to the left: walk down them, do not recurse.
        let op = binary.op;
        let word = if op == Operator::And { "AND" } else { "OR" };
        let mut rights = vec![*binary.right];
        let mut left = *binary.left;
        while let Expr::BinaryExpr(BinaryExpr { left: next, op: next_op, right }) = left {
            if next_op == op {
                rights.push(*right);
                left = *next;
            } else {
                left = Expr::BinaryExpr(BinaryExpr { left: next, op: next_op, right });
                break;
            }
        }
        let first = self.expression(left, sight)?;
        let mut result = self.condition(first, word)?;
        for right in rights.into_iter().rev() {
            let right = self.expression(right, sight)?;
            let right = self.condition(right, word)?;
            result = Expr::BinaryExpr(BinaryExpr::new(Box::new(result), op, Box::new(right)));
        }
        Ok(Typed::bool(result))
    }

    fn scalar_function(&mut self, call: ScalarFunction, sight: &Sight) -> Result<Typed> {
        let ScalarFunction { func, args } = call;
        let names: Vec<Option<String>> = args.iter().map(PendingFunction::unknown_name).collect();
        let mut args = args.into_iter().map(|arg| self.expression(arg, sight)).collect::<Result<Vec<_>>>()?;
        if names.iter().any(Option::is_some) {
            return Err(super::functions::undefined_with_names(func.name(), &names, &args));
        }
        if let Some(pending) = PendingOperator::of(&func) {
            let right = args.pop().ok_or_else(|| Error::internal("an operator without sides"))?;
            let left = args.pop().ok_or_else(|| Error::internal("an operator with one side"))?;
            return self.operator(&pending.op, left, right);
        }
        if let Some((to, data_type)) = cast::target(&func) {
            let args = args.into_iter().map(|arg| arg.expr).collect();
            return Ok(Typed::new(Expr::ScalarFunction(ScalarFunction::new_udf(func, args)), to, data_type));
        }
        if Arithmetic::is(&func) {
            let types: Vec<_> = args.iter().map(|arg| arg.data_type.clone()).collect();
            let data_type = func.return_type(&types)?;
            let sql_type = match SqlType::of_data_type(&data_type) {
                SqlType::Numeric(_) => SqlType::Numeric(None),
                other => other,
            };
            let args = args.into_iter().map(|arg| arg.expr).collect();
            return Ok(Typed::new(Expr::ScalarFunction(ScalarFunction::new_udf(func, args)), sql_type, data_type));
        }
        match PendingFunction::of(&func) {
            Some(PendingFunction { name, .. }) if name == "overlaps" && args.len() == 4 => self.overlaps(args),
            Some(PendingFunction { function: Some(function), .. }) => {
                let function = Arc::clone(function);
                self.function(function, args)
            }
            Some(pending) if pending.name == "pg_typeof" && args.len() == 1 => {
                let oid = args[0].sql_type.oid();
                Ok(Typed::literal(ScalarValue::UInt32(Some(oid)), SqlType::RegType))
            }
            Some(pending) if pending.is_its_argument() && args.len() == 1 => Ok(args.remove(0)),
            Some(PendingFunction { name, .. }) if name.starts_with("enum_") => self.enum_support(name, args),
            Some(pending) => self.cast_by_name(&pending.name, args),
            None => self.function(func, args),
        }
    }

    /// `enum_range('a', x)`: literals beside an enum are its labels.
    fn enum_support(&mut self, name: &str, args: Vec<Typed>) -> Result<Typed> {
        let of = args.iter().map(|arg| &arg.sql_type).find(|sql_type| matches!(sql_type, SqlType::Enum(_))).cloned();
        let mut args = match of {
            Some(of) => args.into_iter().map(|arg| self.decide(arg, &of)).collect::<Result<Vec<_>>>()?,
            None => args,
        };
        match enums::support(name, &mut args)? {
            Some(result) => Ok(result),
            None => Err(super::functions::undefined(name, &args)),
        }
    }

    /// `date(x)`: a function that is none, but has the name of a type, is a cast.
    fn cast_by_name(&mut self, name: &str, mut args: Vec<Typed>) -> Result<Typed> {
        match SqlType::parse(name) {
            Ok(to) if args.len() == 1 && (args[0].is_unknown() || cast::exists(&args[0].sql_type, &to)) => {
                self.explicit_cast(args.remove(0), &to)
            }
            _ => Err(super::functions::undefined(name, &args)),
        }
    }

    /// `(start, end) OVERLAPS (start, length)`
    fn overlaps(&mut self, args: Vec<Typed>) -> Result<Typed> {
        let mut ends = Vec::with_capacity(4);
        let mut args = args.into_iter();
        while let (Some(start), Some(end)) = (args.next(), args.next()) {
            let end = match end.sql_type {
                SqlType::Interval => self.operator(&BinaryOperator::Plus, start.clone(), end)?,
                _ => end,
            };
            ends.extend([start, end]);
        }
        let (ends, ..) = self.unify(ends, "OVERLAPS")?;
        self.call("overlaps", ends)
    }

    fn case(&mut self, case: Case, sight: &Sight) -> Result<Typed> {
        let operand = case.expr.map(|operand| self.expression(*operand, sight)).transpose()?;
        let mut conditions = vec![];
        let mut results = vec![];
        for (when, then) in case.when_then_expr {
            let when = self.expression(*when, sight)?;
            let when = match &operand {
                Some(operand) => self.operator(&BinaryOperator::Eq, operand.clone(), when)?,
                None => when,
            };
            conditions.push(self.condition(when, "CASE/WHEN")?);
            results.push(self.expression(*then, sight)?);
        }
        let has_else = case.else_expr.is_some();
        if let Some(otherwise) = case.else_expr {
            results.push(self.expression(*otherwise, sight)?);
        }
        let (results, sql_type, data_type) = self.unify(results, "CASE")?;
        let mut results: Vec<Box<Expr>> = results.into_iter().map(|result| Box::new(result.expr)).collect();
        let otherwise = if has_else { results.pop() } else { None };
        let branches = conditions.into_iter().map(Box::new).zip(results).collect();
        Ok(Typed::new(Expr::Case(Case::new(None, branches, otherwise)), sql_type, data_type))
    }

    fn in_list(&mut self, list: InList, sight: &Sight) -> Result<Typed> {
        let value = self.expression(*list.expr, sight)?;
        let items = list.list.into_iter().map(|item| self.expression(item, sight)).collect::<Result<Vec<_>>>()?;
        let mut all = vec![value];
        all.extend(items);
        let probe = super::common(all.iter().map(|value| (&value.sql_type, &value.data_type)), "IN");
        if probe.is_err() {
            // As PostgreSQL says it: the first pair that has no `=`.
            let value = all.remove(0);
            for item in all {
                self.operator(&BinaryOperator::Eq, value.clone(), item)?;
            }
            return Err(Error::internal("IN with items of several types"));
        }
        let (all, ..) = self.unify(all, "IN")?;
        let mut all = all.into_iter().map(|value| self.equatable(value)).collect::<Result<Vec<_>>>()?;
        let value = all.remove(0);
        let items = all.into_iter().map(|item| item.expr).collect();
        Ok(Typed::bool(Expr::InList(InList::new(Box::new(value.expr), items, list.negated))))
    }

    fn between(&mut self, between: Between, sight: &Sight) -> Result<Typed> {
        let value = self.expression(*between.expr, sight)?;
        let low = self.expression(*between.low, sight)?;
        let high = self.expression(*between.high, sight)?;
        let (low_op, high_op, join) = if between.negated {
            (BinaryOperator::Lt, BinaryOperator::Gt, Operator::Or)
        } else {
            (BinaryOperator::GtEq, BinaryOperator::LtEq, Operator::And)
        };
        let low = self.operator(&low_op, value.clone(), low)?;
        let high = self.operator(&high_op, value, high)?;
        Ok(Typed::bool(Expr::BinaryExpr(BinaryExpr::new(Box::new(low.expr), join, Box::new(high.expr)))))
    }

    fn like(&mut self, like: Like, sight: &Sight, make: fn(Like) -> Expr) -> Result<Typed> {
        let value = self.expression(*like.expr, sight)?;
        let pattern = self.expression(*like.pattern, sight)?;
        let sign = match (like.negated, like.case_insensitive) {
            (false, false) => "~~",
            (true, false) => "!~~",
            (false, true) => "~~*",
            (true, true) => "!~~*",
        };
        for side in [&value, &pattern] {
            if !side.is_unknown() && !is_textual(&side.sql_type) {
                return Err(super::operators::undefined(sign, &value, &pattern));
            }
        }
        let value = self.implicitly(value, &SqlType::Text)?;
        let pattern = self.implicitly(pattern, &SqlType::Text)?;
        // The engine escapes by backslash only.
        let pattern = match like.escape_char {
            None | Some('\\') => pattern,
            Some(escape) => match &pattern.expr {
                Expr::Literal(ScalarValue::Utf8View(text), _) => Typed::literal(
                    ScalarValue::Utf8View(text.as_ref().map(|text| by_backslash(text, escape))),
                    SqlType::Text,
                ),
                _ => {
                    let escape = ScalarValue::Utf8View(Some(escape.to_string()));
                    self.call("like_escape", vec![pattern, Typed::literal(escape, SqlType::Text)])?
                }
            },
        };
        let like = Like::new(like.negated, Box::new(value.expr), Box::new(pattern.expr), None, like.case_insensitive);
        Ok(Typed::bool(make(like)))
    }

    /// `x SIMILAR TO 'pattern'` as a regular expression.
    fn similar(&mut self, like: Like, sight: &Sight) -> Result<Typed> {
        let value = self.expression(*like.expr, sight)?;
        let pattern = self.expression(*like.pattern, sight)?;
        let value = self.implicitly(value, &SqlType::Text)?;
        let pattern = self.implicitly(pattern, &SqlType::Text)?;
        let Expr::Literal(text, _) = &pattern.expr else {
            return Err(Error::unsupported("SIMILAR TO with a pattern that is not a constant is not supported"));
        };
        let text = match text {
            ScalarValue::Utf8View(text) | ScalarValue::Utf8(text) => text.as_deref(),
            _ => None,
        };
        let regex = text.map(|text| similar_regex(text, like.escape_char.unwrap_or('\\')));
        let regex = Typed::literal(ScalarValue::Utf8View(regex), SqlType::Text);
        let op = if like.negated { Operator::RegexNotMatch } else { Operator::RegexMatch };
        Ok(Typed::bool(Expr::BinaryExpr(BinaryExpr::new(Box::new(value.expr), op, Box::new(regex.expr)))))
    }

    fn negative(&mut self, inner: Expr, sight: &Sight) -> Result<Typed> {
        let value = self.expression(inner, sight)?;
        let value = if value.is_unknown() { self.decide(value, &SqlType::Float8)? } else { value };
        match &value.sql_type {
            sql_type if crate::plan::types::is_integer(sql_type) => {
                let zero = Typed::literal(ScalarValue::new_zero(&value.data_type)?, sql_type.clone());
                self.operator(&BinaryOperator::Minus, zero, value)
            }
            SqlType::Float4 | SqlType::Float8 | SqlType::Numeric(_) => {
                let (sql_type, data_type) = (super::without_modifier(&value.sql_type), value.data_type);
                Ok(Typed::new(Expr::Negative(Box::new(value.expr)), sql_type, data_type))
            }
            SqlType::Interval => self.call("pg_interval_neg", vec![value]),
            other => Err(Error::new(
                SqlState::UNDEFINED_FUNCTION,
                format!("operator does not exist: - {}", other.plain_name()),
            )
            .hint(super::operators::NO_OPERATOR)),
        }
    }

    fn null_test(&mut self, inner: Expr, sight: &Sight, make: fn(Box<Expr>) -> Expr) -> Result<Typed> {
        let value = self.settled_expression(inner, sight)?;
        Ok(Typed::bool(make(Box::new(value.expr))))
    }

    fn bool_test(&mut self, inner: Expr, sight: &Sight, make: fn(Box<Expr>) -> Expr, word: &str) -> Result<Typed> {
        let value = self.expression(inner, sight)?;
        Ok(Typed::bool(make(Box::new(self.condition(value, word)?))))
    }

    /// A subquery's plan, typed with this query's columns in sight.
    fn subquery(&mut self, subquery: Subquery, sight: &Sight) -> Result<Subquery> {
        let mut outer = sight.outer.to_vec();
        outer.push(Arc::new(sight.schema.clone()));
        let plan = self.plan(Arc::unwrap_or_clone(subquery.subquery), &outer, false)?;
        let outer_ref_columns = plan.all_out_ref_exprs();
        Ok(Subquery { subquery: Arc::new(plan), outer_ref_columns, spans: Spans::new() })
    }

    /// Brings a value and a subquery's only column to one type.
    fn beside_subquery(&mut self, value: Typed, subquery: Subquery, op: &BinaryOperator) -> Result<(Expr, Subquery)> {
        let field = Arc::clone(&subquery.subquery.schema().fields()[0]);
        let column = reference(Expr::Column(Column::new_unqualified(field.name())), &field);
        if !value.is_unknown() {
            // Says which operator is missing.
            self.operator(op, value.clone(), column.clone())?;
        }
        let (sql_type, data_type) =
            super::common([&value, &column].into_iter().map(|value| (&value.sql_type, &value.data_type)), "IN")?;
        let value = self.convert_to(value, &sql_type, data_type.clone())?;
        let plan = Arc::unwrap_or_clone(subquery.subquery);
        let plan = self.coerce_output(plan, &[(sql_type, data_type)])?;
        let outer_ref_columns = plan.all_out_ref_exprs();
        Ok((value.expr, Subquery { subquery: Arc::new(plan), outer_ref_columns, spans: subquery.spans }))
    }

    fn in_subquery(&mut self, within: InSubquery, sight: &Sight) -> Result<Typed> {
        let value = self.expression(*within.expr, sight)?;
        let subquery = self.subquery(within.subquery, sight)?;
        let (value, subquery) = self.beside_subquery(value, subquery, &BinaryOperator::Eq)?;
        Ok(Typed::bool(Expr::InSubquery(InSubquery::new(Box::new(value), subquery, within.negated))))
    }

    fn set_comparison(&mut self, comparison: SetComparison, sight: &Sight) -> Result<Typed> {
        let value = self.expression(*comparison.expr, sight)?;
        let subquery = self.subquery(comparison.subquery, sight)?;
        if matches!(value.sql_type.innermost(), SqlType::Enum(_))
            && !matches!(comparison.op, Operator::Eq | Operator::NotEq)
        {
            return Err(Error::unsupported("the order of an enum beside a subquery is not supported")
                .hint("Compare with min or max of the subquery's column."));
        }
        let (value, subquery) = self.beside_subquery(value, subquery, &ast_operator(comparison.op)?)?;
        Ok(Typed::bool(Expr::SetComparison(SetComparison::new(
            Box::new(value),
            subquery,
            comparison.op,
            comparison.quantifier,
        ))))
    }

    fn grouping_set(&mut self, sets: GroupingSet, sight: &Sight) -> Result<GroupingSet> {
        let mut typed = |exprs: Vec<Expr>| -> Result<Vec<Expr>> {
            exprs.into_iter().map(|expr| Ok(self.settled_expression(expr, sight)?.expr)).collect()
        };
        Ok(match sets {
            GroupingSet::Rollup(exprs) => GroupingSet::Rollup(typed(exprs)?),
            GroupingSet::Cube(exprs) => GroupingSet::Cube(typed(exprs)?),
            GroupingSet::GroupingSets(lists) => {
                GroupingSet::GroupingSets(lists.into_iter().map(typed).collect::<Result<Vec<_>>>()?)
            }
        })
    }

    /// ORDER BY's expressions.
    pub(super) fn sorts(&mut self, sorts: Vec<Sort>, sight: &Sight) -> Result<Vec<Sort>> {
        sorts
            .into_iter()
            .map(|sort| {
                let value = self.settled_expression(sort.expr, sight)?;
                let expr = self.ordered(value)?.expr;
                Ok(Sort { expr, asc: sort.asc, nulls_first: sort.nulls_first })
            })
            .collect()
    }
}

/// The type of a literal as the SQL planner made it.
fn literal(value: ScalarValue) -> Result<Typed> {
    Ok(match value {
        // Also one that VALUES gave the type of another row.
        value if value.is_null() => {
            Typed::new(Expr::Literal(ScalarValue::Null, None), SqlType::Unknown, DataType::Null)
        }
        ScalarValue::Utf8(text) => {
            Typed::new(Expr::Literal(ScalarValue::Utf8(text), None), SqlType::Unknown, DataType::Utf8)
        }
        ScalarValue::Int64(Some(number)) => match i32::try_from(number) {
            Ok(small) => Typed::literal(ScalarValue::Int32(Some(small)), SqlType::Int4),
            Err(_) => Typed::literal(ScalarValue::Int64(Some(number)), SqlType::Int8),
        },
        ScalarValue::UInt64(Some(number)) => {
            Typed::literal(ScalarValue::Decimal128(Some(i128::from(number)), 20, 0), SqlType::Numeric(None))
        }
        ScalarValue::Decimal128(Some(value), _, scale) if scale < 0 => whole_literal(i256::from_i128(value), scale)?,
        ScalarValue::Decimal256(Some(value), _, scale) if scale < 0 => whole_literal(value, scale)?,
        ScalarValue::Decimal256(_, precision, _) if precision >= QUOTIENT_PRECISION => return Err(too_large()),
        value @ (ScalarValue::Decimal128(..) | ScalarValue::Decimal256(..)) => {
            Typed::literal(value, SqlType::Numeric(None))
        }
        ScalarValue::Binary(bytes) => Typed::literal(ScalarValue::BinaryView(bytes), SqlType::Bytea),
        other => {
            let sql_type = SqlType::of_data_type(&other.data_type());
            super::canonical(Typed::literal(other, sql_type))
        }
    })
}

/// A literal with an exponent, `1e30`: a number without digits after the point.
fn whole_literal(value: i256, scale: i8) -> Result<Typed> {
    let value = value.checked_mul(power_of_ten(-i32::from(scale))?).ok_or_else(too_large)?;
    let digits = value.to_string().trim_start_matches('-').len();
    let precision = u8::try_from(digits).map_err(|_| too_large())?;
    let value = match value.to_i128() {
        Some(value) if precision <= 38 => ScalarValue::Decimal128(Some(value), precision, 0),
        _ if precision < QUOTIENT_PRECISION => ScalarValue::Decimal256(Some(value), precision, 0),
        _ => return Err(too_large()),
    };
    Ok(Typed::literal(value, SqlType::Numeric(None)))
}

/// A SQL regular expression in the words of a usual one.
fn similar_regex(pattern: &str, escape: char) -> String {
    let mut regex = String::from("^(?s:");
    let mut rest = pattern.chars();
    let mut in_brackets = false;
    while let Some(letter) = rest.next() {
        match letter {
            letter if letter == escape => {
                if let Some(escaped) = rest.next() {
                    regex.push_str(&regex_literal(escaped));
                }
            }
            '[' => {
                in_brackets = true;
                regex.push('[');
            }
            ']' => {
                in_brackets = false;
                regex.push(']');
            }
            letter if in_brackets => regex.push(letter),
            '%' => regex.push_str(".*"),
            '_' => regex.push('.'),
            '.' | '^' | '$' | '\\' => regex.push_str(&regex_literal(letter)),
            other => regex.push(other),
        }
    }
    regex.push_str(")$");
    regex
}

/// A LIKE pattern with backslashes in place of another escape character.
fn by_backslash(pattern: &str, escape: char) -> String {
    let mut result = String::with_capacity(pattern.len());
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        if letter == escape {
            result.push('\\');
            result.extend(letters.next());
        } else {
            if letter == '\\' {
                result.push('\\');
            }
            result.push(letter);
        }
    }
    result
}

fn regex_literal(letter: char) -> String {
    if letter.is_alphanumeric() { letter.to_string() } else { format!("\\{letter}") }
}

fn too_large() -> Error {
    Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "numeric field overflow")
        .detail("A numeric literal holds at most 75 digits.")
}

fn ast_operator(op: Operator) -> Result<BinaryOperator> {
    use BinaryOperator as B;
    Ok(match op {
        Operator::Eq => B::Eq,
        Operator::NotEq => B::NotEq,
        Operator::Lt => B::Lt,
        Operator::LtEq => B::LtEq,
        Operator::Gt => B::Gt,
        Operator::GtEq => B::GtEq,
        Operator::Plus => B::Plus,
        Operator::Minus => B::Minus,
        Operator::Multiply => B::Multiply,
        Operator::Divide => B::Divide,
        Operator::Modulo => B::Modulo,
        Operator::StringConcat => B::StringConcat,
        Operator::BitwiseAnd => B::BitwiseAnd,
        Operator::BitwiseOr => B::BitwiseOr,
        Operator::BitwiseXor => B::PGBitwiseXor,
        Operator::BitwiseShiftLeft => B::PGBitwiseShiftLeft,
        Operator::BitwiseShiftRight => B::PGBitwiseShiftRight,
        Operator::RegexMatch => B::PGRegexMatch,
        Operator::RegexIMatch => B::PGRegexIMatch,
        Operator::RegexNotMatch => B::PGRegexNotMatch,
        Operator::RegexNotIMatch => B::PGRegexNotIMatch,
        Operator::LikeMatch => B::PGLikeMatch,
        Operator::ILikeMatch => B::PGILikeMatch,
        Operator::NotLikeMatch => B::PGNotLikeMatch,
        Operator::NotILikeMatch => B::PGNotILikeMatch,
        Operator::IsDistinctFrom => B::Custom("is distinct from".into()),
        Operator::IsNotDistinctFrom => B::Spaceship,
        other => return Err(Error::unsupported(format!("operator {other} is not supported"))),
    })
}
