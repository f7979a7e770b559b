//! Domains: casts to them are casts to what is below, and a call that gives the value if it fulfils what the domain asks.
//!
//! The syntax tree of `x::d` becomes `domain('d', x::base, not null, 'd_check', condition on x::base, …)` before names are
//! resolved, so that conditions are typed as all expressions are.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result as DfResult, ScalarValue, internal_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};
use datafusion::sql::sqlparser::ast::{self, DataType as AstType, VisitMut, VisitorMut};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use tidemill_catalog::record::Object;
use tidemill_catalog::user_type::DomainDef;
use tidemill_udfs::types::SqlType;

use super::prepare::{call, cast, string};
use super::typing::{Typed, Typing};
use super::{Scope, prepare};
use crate::error::{Error, Result, SqlState};
use crate::statement::parse::parse_expression;

/// The function's name, which nobody can write.
const NAME: &str = "\u{1}domain";

/// The function of that name.
pub(super) fn function(name: &str) -> Option<Arc<ScalarUDF>> {
    let signature = Signature::one_of(vec![TypeSignature::VariadicAny], Volatility::Immutable);
    (name == NAME).then(|| Arc::new(ScalarUDF::new_from_impl(Checked { signature })))
}

/// Makes calls of casts to domains, in a tree that is prepared.
///
/// # Errors
/// 0A000 for a domain whose base cannot be spelled.
pub(super) fn casts<T: VisitMut>(scope: &Arc<Scope>, tree: &mut T) -> Result<()> {
    match tree.visit(&mut Casts { scope }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Casts<'a> {
    scope: &'a Arc<Scope>,
}

impl VisitorMut for Casts<'_> {
    type Break = Error;

    fn post_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<Error> {
        let ast::Expr::Cast { expr: value, data_type: AstType::Custom(name, modifiers), .. } = expr else {
            return ControlFlow::Continue(());
        };
        let found = self.scope.user_type_named(name).filter(|_| modifiers.is_empty());
        let found = found.and_then(|object| self.scope.domain(object.oid));
        let Some((object, domain)) = found else { return ControlFlow::Continue(()) };
        let value = std::mem::replace(value.as_mut(), prepare::null());
        match checked(self.scope, object, &domain, value) {
            Ok(checked) => {
                *expr = checked;
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    }
}

fn checked(scope: &Scope, object: &Object, domain: &DomainDef, value: ast::Expr) -> Result<ast::Expr> {
    let value = cast(value, base_name(scope, domain)?);
    let not_null = ast::Value::Boolean(domain.not_null);
    let mut args = vec![string(object.name.clone()), value.clone(), ast::Expr::Value(not_null.into())];
    for check in &domain.checks {
        let mut condition = condition(&check.condition, &value)?;
        prepare::expression(&mut condition)?;
        args.extend([string(check.name.clone()), condition]);
    }
    Ok(call(NAME, args))
}

/// The name of the type below a domain.
fn base_name(scope: &Scope, domain: &DomainDef) -> Result<AstType> {
    let base = SqlType::of_stored(&domain.base)?;
    let text = match domain.base_type.and_then(|oid| scope.user_type_with(oid)) {
        None => base.name(),
        Some((object, _)) => {
            let schema = scope.object(object.parent).map_or_else(String::new, |schema| schema.name.clone());
            let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
            format!("{}.{}{}", quoted(&schema), quoted(&object.name), "[]".repeat(base.dimensions()))
        }
    };
    Parser::new(&PostgreSqlDialect {})
        .try_with_sql(&text)
        .and_then(|mut parser| parser.parse_data_type())
        .map_err(|_| Error::unsupported(format!("a domain over {text} is not supported")))
}

/// A domain's condition about an expression in the place of VALUE.
///
/// # Errors
/// 42601 if it does not parse.
pub(crate) fn condition(text: &str, value: &ast::Expr) -> Result<ast::Expr> {
    let mut parsed = parse_expression(text)?;
    let _ = ast::visit_expressions_mut(&mut parsed, |expr| {
        if matches!(expr, ast::Expr::Identifier(ident) if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("value"))
        {
            *expr = ast::Expr::Nested(Box::new(value.clone()));
        }
        ControlFlow::<()>::Continue(())
    });
    Ok(parsed)
}

/// True for the function.
pub(super) fn is_check(function: &ScalarUDF) -> bool {
    function.name() == NAME
}

/// A call of the function, with its arguments' types.
pub(super) fn typed(typing: &mut Typing<'_>, function: &Arc<ScalarUDF>, args: Vec<Typed>) -> Result<Typed> {
    let mut typed = Vec::with_capacity(args.len());
    for (place, arg) in args.into_iter().enumerate() {
        let arg = match place {
            0 => typing.settled(arg)?,
            1 | 2 => arg,
            place if place % 2 == 1 => typing.settled(arg)?,
            _ => Typed::bool(typing.condition(arg, "CHECK")?),
        };
        typed.push(arg);
    }
    let Some(value) = typed.get(1) else { return Err(Error::internal("a check of a domain without a value")) };
    if typed.len() > 3 && value.expr.is_volatile() {
        return Err(Error::unsupported("a cast of a value that changes at each look to a domain with conditions")
            .hint("Compute the value in a subquery or WITH clause that is materialized."));
    }
    let (sql_type, data_type) = (value.sql_type.clone(), value.data_type.clone());
    let args = typed.into_iter().map(|arg| arg.expr).collect();
    Ok(Typed::new(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(function), args)), sql_type, data_type))
}

/// 23502
pub(crate) fn null_error(domain: &str) -> Error {
    Error::new(SqlState::NOT_NULL_VIOLATION, format!("domain {domain} does not allow null values"))
}

/// 23514
pub(crate) fn check_error(domain: &str, check: &str) -> Error {
    let message = format!("value for domain {domain} violates check constraint \"{check}\"");
    let mut error = Error::new(SqlState::CHECK_VIOLATION, message);
    error.report_mut().constraint = Some(check.to_owned());
    error
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    signature: Signature,
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        match types.get(1) {
            Some(value) => Ok(value.clone()),
            None => internal_err!("a check of a domain without a value"),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        match args.arg_fields.get(1) {
            Some(value) => Ok(Arc::new(value.as_ref().clone().with_nullable(true))),
            None => internal_err!("a check of a domain without a value"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let text = |at: usize| match args.args.get(at) {
            Some(ColumnarValue::Scalar(value)) => value.try_as_str().flatten().unwrap_or_default().to_owned(),
            _ => String::new(),
        };
        let Some(value) = args.args.get(1) else { return internal_err!("a check of a domain without a value") };
        if let Some(ColumnarValue::Scalar(ScalarValue::Boolean(Some(true)))) = args.args.get(2) {
            let has_null = match value {
                ColumnarValue::Scalar(value) => value.is_null(),
                ColumnarValue::Array(array) => array.null_count() > 0,
            };
            if has_null {
                return Err(null_error(&text(0)).into());
            }
        }
        for at in (4..args.args.len()).step_by(2) {
            let fails = match &args.args[at] {
                ColumnarValue::Scalar(value) => *value == ScalarValue::Boolean(Some(false)),
                ColumnarValue::Array(array) => array.as_boolean().has_false(),
            };
            if fails {
                return Err(check_error(&text(0), &text(at - 1)).into());
            }
        }
        Ok(value.clone())
    }
}
