//! PostgreSQL's special forms as calls of functions: `substring(x FROM y)`, `timestamp(0)`, `name => value`, `OVERLAPS`.
//!
//! Part of making a syntax tree ready ([`super::prepare`]); nothing here looks at types.

use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, DataType as AstType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments,
    Ident, Parens, Subscript, TimezoneInfo, UnaryOperator, Value, ValueWithSpan,
};

use super::gapfill;
use super::prepare::{call, cast, joined, not, null, number, row_items, string};
use crate::Result;
use crate::error::{Error, SqlState};

/// The name under which a value stands in VALUES, so that its type is looked at with those of the other rows. To the planner
/// it has its own type.
pub(super) const VALUE: &str = "\u{1}value";

/// As [`VALUE`], of the other rows: to the planner it has no type.
pub(super) const UNTYPED_VALUE: &str = "\u{1}untyped";

/// Begins the name of a function around an argument whose name, which ends it, the function does not know.
pub(super) const UNKNOWN_NAME: &str = "\u{1}named ";

/// Says a special form as a call. True: the expression was replaced, and is to be looked at again.
///
/// # Errors
/// 42883 for named arguments that the function does not have.
pub(super) fn rewrite(expr: &mut Expr) -> Result<bool> {
    let take = |place: &mut Box<Expr>| std::mem::replace(place.as_mut(), null());
    match expr {
        Expr::Substring { expr: text, substring_from, substring_for, .. } => {
            let mut args = vec![take(text)];
            args.push(substring_from.as_mut().map_or_else(|| number("1"), &take));
            args.extend(substring_for.as_mut().map(take));
            *expr = call("substr", args);
        }
        Expr::Overlay { expr: text, overlay_what, overlay_from, overlay_for } => {
            let mut args = vec![take(text), take(overlay_what), take(overlay_from)];
            args.extend(overlay_for.as_mut().map(take));
            *expr = call("overlay", args);
        }
        // Any array is one already.
        Expr::Cast { expr: value, data_type: AstType::Custom(name, _), .. }
            if name.to_string().eq_ignore_ascii_case("anyarray") =>
        {
            *expr = take(value);
        }
        Expr::Cast { expr: value, data_type, .. } => {
            let Some((plain, digits)) = without_precision(data_type) else { return Ok(false) };
            let value = cast(take(value), plain);
            *expr = call("pg_round_time", vec![value, number(&digits.to_string())]);
        }
        Expr::BinaryOp { left, op: BinaryOperator::Overlaps, right } => {
            let (Some(left), Some(right)) = (row_items(left), row_items(right)) else { return Ok(false) };
            if left.len() != 2 || right.len() != 2 {
                return Err(Error::new(
                    SqlState::SYNTAX_ERROR,
                    "wrong number of parameters on OVERLAPS expression".to_owned(),
                ));
            }
            *expr = call("overlaps", [left, right].concat());
        }
        Expr::Between { expr: value, negated, low, high } => {
            if !unmarked(low) {
                return Ok(false);
            }
            let between = |low: &Expr, high: &Expr| Expr::Between {
                expr: value.clone(),
                negated: false,
                low: Box::new(low.clone()),
                high: Box::new(high.clone()),
            };
            let either = Expr::BinaryOp {
                left: Box::new(between(low, high)),
                op: BinaryOperator::Or,
                right: Box::new(between(high, low)),
            };
            *expr = if *negated { not(either) } else { either };
        }
        Expr::IsNull(row) | Expr::IsNotNull(row) if row_items(row).is_some() => {
            let items = row_items(row).unwrap_or_default();
            let is_null = matches!(expr, Expr::IsNull(_));
            let test = |item: Expr| {
                if is_null { Expr::IsNull(Box::new(item)) } else { Expr::IsNotNull(Box::new(item)) }
            };
            *expr = joined(items.into_iter().map(test).collect(), BinaryOperator::And);
        }
        Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } if is_string(right) => {
            *expr = call("array_has", vec![take(right), take(left)]);
        }
        Expr::CompoundFieldAccess { access_chain, .. } => {
            for access in access_chain {
                if let AccessExpr::Subscript(Subscript::Slice { lower_bound, upper_bound, .. }) = access {
                    // A slice without a bound goes to the array's own.
                    lower_bound.get_or_insert_with(|| number("1"));
                    upper_bound.get_or_insert_with(|| number("2147483647"));
                }
            }
            return Ok(false);
        }
        Expr::Function(function) => {
            let name = function.name.to_string().to_lowercase();
            if let Some(digits) = clock_precision(&name, function) {
                *expr = call("pg_round_time", vec![call(&name, vec![]), digits]);
                return Ok(true);
            }
            if name == "age"
                && let Some([since]) = arguments(function).as_deref()
            {
                *expr = call("age", vec![call("current_date", vec![]), since.clone()]);
                return Ok(true);
            }
            if name == "row"
                && let Some(items) = arguments(function)
            {
                let named = items.into_iter().enumerate();
                let args = named.flat_map(|(at, item)| [string(format!("f{}", at + 1)), item]).collect();
                *expr = call("named_struct", args);
                return Ok(false);
            }
            return by_position(&name, function);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Hides the types of VALUES from the planner, which would bring the rows to one type by its own rules: of all columns but
/// those in which every row has the same plain kind of literal.
pub(super) fn values(rows: &mut [Parens<Vec<Expr>>]) {
    let width = rows.first().map_or(0, |row| row.content.len());
    for column in 0..width {
        let mut kinds = rows.iter().filter_map(|row| row.content.get(column)).filter(|expr| !is_null(expr)).map(kind);
        let first = kinds.next().unwrap_or(Some(Kind::Text));
        if first.is_some() && kinds.all(|kind| kind == first) {
            continue;
        }
        // One row shows the planner what the column is about: not a string, which may become anything.
        let tells = |row: &Parens<Vec<Expr>>| {
            row.content.get(column).is_some_and(|expr| !is_null(expr) && kind(expr) != Some(Kind::Text))
        };
        let telling = rows.iter().position(tells).unwrap_or(0);
        for (row, expr) in rows.iter_mut().enumerate().filter_map(|(at, row)| Some((at, row.content.get_mut(column)?)))
        {
            // DEFAULT is said like a column.
            if !matches!(expr, Expr::Identifier(_)) {
                let value = std::mem::replace(expr, null());
                *expr = call(if row == telling { VALUE } else { UNTYPED_VALUE }, vec![value]);
            }
        }
    }
}

/// Literals whose type one row alone tells.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Integer,
    Text,
    Bool,
}

fn kind(expr: &Expr) -> Option<Kind> {
    match expr {
        Expr::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus, expr: inner } => {
            kind(inner).filter(|kind| *kind == Kind::Integer)
        }
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) if digits.len() < 10 && digits.bytes().all(|digit| digit.is_ascii_digit()) => {
                Some(Kind::Integer)
            }
            Value::SingleQuotedString(_) => Some(Kind::Text),
            Value::Boolean(_) => Some(Kind::Bool),
            _ => None,
        },
        _ => None,
    }
}

fn is_null(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(ValueWithSpan { value: Value::Null, .. }))
}

/// Takes the mark of SYMMETRIC off the first bound, which the tokens' reader put where that word stood.
fn unmarked(low: &mut Expr) -> bool {
    match low {
        Expr::UnaryOp { op: UnaryOperator::PGPrefixFactorial, expr } => {
            *low = std::mem::replace(expr.as_mut(), null());
            true
        }
        Expr::BinaryOp { left, .. } => unmarked(left),
        Expr::Cast { expr, .. } | Expr::CompoundFieldAccess { root: expr, .. } => unmarked(expr),
        _ => false,
    }
}

fn is_string(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => is_string(inner),
        other => matches!(other, Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(_), .. })),
    }
}

fn arguments(function: &Function) -> Option<Vec<Expr>> {
    let FunctionArguments::List(list) = &function.args else { return None };
    list.args
        .iter()
        .map(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
            _ => None,
        })
        .collect()
}

/// The type without its number of digits of a second, and that number.
fn without_precision(data_type: &AstType) -> Option<(AstType, u64)> {
    let (plain, digits) = match data_type {
        AstType::Timestamp(Some(digits), zone) => (AstType::Timestamp(None, *zone), *digits),
        AstType::Time(Some(digits), zone @ (TimezoneInfo::None | TimezoneInfo::WithoutTimeZone)) => {
            (AstType::Time(None, *zone), *digits)
        }
        AstType::Interval { fields, precision: Some(digits) } => {
            (AstType::Interval { fields: *fields, precision: None }, *digits)
        }
        _ => return None,
    };
    // More digits than six are six.
    Some((plain, digits.min(6)))
}

/// `current_timestamp(2)`
fn clock_precision(name: &str, function: &Function) -> Option<Expr> {
    if !matches!(name, "current_timestamp" | "localtimestamp") {
        return None;
    }
    match arguments(function)?.as_slice() {
        [digits] => Some(digits.clone()),
        _ => None,
    }
}

/// Functions whose arguments have names: the names in order, and what stands for one that is not given.
const NAMED: [(&str, &[&str], Option<&str>); 16] = [
    ("make_interval", &["years", "months", "weeks", "days", "hours", "mins", "secs"], Some("0")),
    ("make_date", &["year", "month", "day"], None),
    ("make_time", &["hour", "min", "sec"], None),
    ("make_timestamp", &["year", "month", "mday", "hour", "min", "sec"], None),
    ("make_timestamptz", &["year", "month", "mday", "hour", "min", "sec", "timezone"], None),
    ("jsonb_set", &["jsonb_in", "path", "replacement", "create_if_missing"], None),
    ("jsonb_insert", &["jsonb_in", "path", "replacement", "insert_after"], None),
    ("parse_ident", &["str", "strict"], None),
    ("time_bucket", &["bucket_width", "ts", "offset"], None),
    ("time_bucket", &["bucket_width", "ts", "origin"], None),
    ("time_bucket", &["bucket_width", "ts", "origin", "offset"], None),
    ("time_bucket", &["bucket_width", "ts", "timezone", "origin", "offset"], Some("null")),
    (gapfill::BUCKET, &["bucket_width", "ts", "timezone", "start", "finish", "origin", "offset"], Some("null")),
    ("locf", &["value", "prev", "treat_null_as_missing"], Some("null")),
    ("interpolate", &["value", "prev", "next", "treat_null_as_missing"], Some("null")),
    ("interpolate_at", &["value", "ts", "prev", "next", "treat_null_as_missing"], Some("null")),
];

/// `f(b => 2)` as `f(default, 2)`.
fn by_position(name: &str, function: &mut Function) -> Result<bool> {
    let FunctionArguments::List(list) = &mut function.args else { return Ok(false) };
    let is_named = |arg: &FunctionArg| matches!(arg, FunctionArg::Named { .. } | FunctionArg::ExprNamed { .. });
    if !list.args.iter().any(is_named) {
        return Ok(false);
    }
    let missing =
        || Error::new(SqlState::UNDEFINED_FUNCTION, format!("function {name} does not have arguments of these names"));
    let word = |arg: &FunctionArg| match arg {
        FunctionArg::Named { name: word, .. } | FunctionArg::ExprNamed { name: Expr::Identifier(word), .. } => {
            Some(word.value.to_lowercase())
        }
        _ => None,
    };
    // A function of several signatures: the first that has all the names, where no argument without one stands already.
    let given: Vec<String> = list.args.iter().filter_map(word).collect();
    let unnamed = list.args.len() - given.len();
    let fits = |names: &[&str], from: usize| {
        // Before arguments with names, a third one without is the zone.
        let is_zone = unnamed <= 2 || names.get(2) != Some(&"origin");
        is_zone && given.iter().all(|word| names.iter().skip(from).any(|known| known == word)) && unnamed <= names.len()
    };
    let signatures = || NAMED.iter().filter(|(known, ..)| *known == name);
    let found = signatures()
        .find(|(_, names, _)| fits(names, unnamed))
        .or_else(|| signatures().find(|(_, names, _)| fits(names, 0)));
    let Some((_, names, default)) = found else {
        if super::registry::aggregate(name).is_some() {
            return Err(missing());
        }
        unknown_names(&mut list.args);
        return Ok(false);
    };
    let mut places: Vec<Option<Expr>> = vec![None; names.len()];
    for (position, arg) in list.args.drain(..).enumerate() {
        let (place, value) = match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => (position, value),
            FunctionArg::Named { name: Ident { value: word, .. }, arg: FunctionArgExpr::Expr(value), .. }
            | FunctionArg::ExprNamed {
                name: Expr::Identifier(Ident { value: word, .. }),
                arg: FunctionArgExpr::Expr(value),
                ..
            } => {
                let word = word.to_lowercase();
                (names.iter().position(|known| *known == word).ok_or_else(missing)?, value)
            }
            _ => return Err(missing()),
        };
        let slot = places.get_mut(place).ok_or_else(missing)?;
        if slot.replace(value).is_some() {
            let message = format!("argument name \"{}\" used more than once", names[place]);
            return Err(Error::new(SqlState::SYNTAX_ERROR, message));
        }
    }
    let given = places.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    // Fewer arguments would be read as others.
    let given = if name == gapfill::BUCKET { names.len() } else { given };
    for place in places.into_iter().take(given) {
        let value = match (place, default) {
            (Some(value), _) => value,
            (None, Some("null")) => null(),
            (None, Some(default)) => number(default),
            (None, None) => return Err(missing()),
        };
        // As a third argument without a name, a text would be the zone or the origin.
        let value = match &value {
            Expr::Value(text) if names.get(list.args.len()) == Some(&"offset") && is_text(text) => {
                cast(value, AstType::Interval { fields: None, precision: None })
            }
            _ => value,
        };
        list.args.push(FunctionArg::Unnamed(FunctionArgExpr::Expr(value)));
    }
    Ok(false)
}

/// Arguments with names that the function does not have, as ones without that say so: what is wrong is told with their types.
fn unknown_names(args: &mut [FunctionArg]) {
    for arg in args {
        let (word, value) = match arg {
            FunctionArg::Named { name: word, arg: FunctionArgExpr::Expr(value), .. }
            | FunctionArg::ExprNamed { name: Expr::Identifier(word), arg: FunctionArgExpr::Expr(value), .. } => {
                (word.value.to_lowercase(), value)
            }
            _ => continue,
        };
        let value = std::mem::replace(value, null());
        *arg = FunctionArg::Unnamed(FunctionArgExpr::Expr(call(&format!("{UNKNOWN_NAME}{word}"), vec![value])));
    }
}

fn is_text(value: &ValueWithSpan) -> bool {
    matches!(value.value, Value::SingleQuotedString(_))
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    #[test]
    fn special_forms_become_calls() {
        let check = |sql: &str, expected: &str| {
            let mut expr = Parser::new(&PostgreSqlDialect {}).try_with_sql(sql).unwrap().parse_expr().unwrap();
            rewrite(&mut expr).unwrap();
            assert_eq!(expr.to_string(), expected, "{sql}");
        };
        check("substring(a from 2 for 3)", "substr(a, 2, 3)");
        check("substring(a for 3)", "substr(a, 1, 3)");
        check("a::timestamp(0)", "pg_round_time(a::TIMESTAMP, 0)");
        check("current_timestamp(2)", "pg_round_time(current_timestamp(), 2)");
        check("make_interval(days => 10, hours => 2)", "make_interval(0, 0, 0, 10, 2)");
        check("make_date(2024, day => 2, month => 1)", "make_date(2024, 1, 2)");
        check("row(1, 'a')", "named_struct('f1', 1, 'f2', 'a')");
        check("(a, b) overlaps (c, d)", "overlaps(a, b, c, d)");
        check("a[2:]", "a[2:2147483647]");
        check("(a, 1) is null", "a IS NULL AND 1 IS NULL");
        check("x between !! a + 1 and b", "x BETWEEN a + 1 AND b OR x BETWEEN b AND a + 1");
        check("age(x)", "age(current_date(), x)");
        check("x = any('{1}')", "array_has('{1}', x)");
    }

    #[test]
    fn wrong_names_are_refused() {
        let check = |sql: &str, code: SqlState| {
            let mut expr = Parser::new(&PostgreSqlDialect {}).try_with_sql(sql).unwrap().parse_expr().unwrap();
            assert_eq!(*rewrite(&mut expr).unwrap_err().code(), code, "{sql}");
        };
        check("sum(nothing => 1)", SqlState::UNDEFINED_FUNCTION);
        check("make_date(1, year => 1)", SqlState::SYNTAX_ERROR);
    }
}
