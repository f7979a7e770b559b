//! `a IS [NOT] DISTINCT FROM b` holds no more than `b` together, but sqlparser takes all that follows as its right side, AND
//! and OR too. Here it is an operator that sqlparser knows the strength of, and becomes itself again in the tree.
//!
//! ```text
//! a IS DISTINCT FROM b AND c   →   a <=> "distinct"(b) AND c   →   (a IS DISTINCT FROM b) AND c
//! ```

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectNamePart, Value, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};

/// Around the right side of IS DISTINCT FROM.
const DISTINCT: &str = "\u{1}distinct";
/// Around that of IS NOT DISTINCT FROM.
const SAME: &str = "\u{1}same";

/// Says it with the operator.
pub(super) fn operands(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut end = tokens.len();
    // From the last: an operand may have one in parentheses of its own.
    while let Some(at) = tokens[..end].iter().rposition(|token| is_word(token, "distinct")) {
        end = at;
        let is = |back: usize, text: &str| at.checked_sub(back).is_some_and(|place| is_word(&tokens[place], text));
        let negated = is(1, "not") && is(2, "is");
        if !tokens.get(at + 1).is_some_and(|token| is_word(token, "from")) || !(is(1, "is") || negated) {
            continue;
        }
        let (begin, is_at) = (at + 2, if negated { at - 2 } else { at - 1 });
        let stop = operand_end(&tokens, begin);
        if stop > begin {
            let (span, last) = (tokens[is_at].span, tokens[stop - 1].span);
            let value = if negated { SAME } else { DISTINCT }.to_owned();
            let name = Token::Word(Word { value, quote_style: Some('"'), keyword: Keyword::NoKeyword });
            let mut said =
                [Token::Spaceship, name, Token::LParen].map(|token| TokenWithSpan::new(token, span)).to_vec();
            said.extend_from_slice(&tokens[begin..stop]);
            said.push(TokenWithSpan::new(Token::RParen, last));
            tokens.splice(is_at..stop, said);
            end = is_at;
        }
    }
    tokens
}

/// The tree as it was meant.
pub(super) fn restore(tokens: &[TokenWithSpan], tree: &mut impl VisitMut) {
    struct Restore;
    impl VisitorMut for Restore {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if let Expr::BinaryOp { left, op: BinaryOperator::Spaceship, right } = expr
                && let Some((is_same, operand)) = operand(right)
            {
                let left = std::mem::replace(left.as_mut(), Expr::Value(Value::Null.into()));
                *expr = if is_same {
                    Expr::IsNotDistinctFrom(Box::new(left), Box::new(operand))
                } else {
                    Expr::IsDistinctFrom(Box::new(left), Box::new(operand))
                };
            }
            ControlFlow::Continue(())
        }
    }
    if tokens.iter().any(|token| token.token == Token::Spaceship) {
        let _ = tree.visit(&mut Restore);
    }
}

/// What the mark is around.
fn operand(marked: &mut Expr) -> Option<(bool, Expr)> {
    let Expr::Function(function) = marked else { return None };
    let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else { return None };
    let is_same = name.value == SAME;
    if !is_same && name.value != DISTINCT {
        return None;
    }
    let FunctionArguments::List(list) = &mut function.args else { return None };
    match list.args.pop() {
        Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(operand))) => Some((is_same, operand)),
        _ => None,
    }
}

fn word(token: &TokenWithSpan) -> Option<String> {
    match &token.token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_lowercase()),
        _ => None,
    }
}

fn is_word(token: &TokenWithSpan, text: &str) -> bool {
    word(token).is_some_and(|word| word == text)
}

/// Words that end an operand.
const ENDS: [&str; 38] = [
    "and",
    "or",
    "then",
    "when",
    "else",
    "end",
    "is",
    "from",
    "as",
    "asc",
    "desc",
    "nulls",
    "on",
    "using",
    "set",
    "where",
    "group",
    "having",
    "order",
    "limit",
    "offset",
    "fetch",
    "union",
    "intersect",
    "except",
    "window",
    "for",
    "returning",
    "join",
    "inner",
    "full",
    "cross",
    "natural",
    "asof",
    "tolerance",
    "over",
    "filter",
    "within",
];
/// Words that go on with it.
const GOES_ON: [&str; 16] = [
    "collate",
    "at",
    "time",
    "zone",
    "like",
    "ilike",
    "similar",
    "to",
    "in",
    "between",
    "not",
    "symmetric",
    "overlaps",
    "operator",
    "escape",
    "precision",
];

/// Where the operand that begins at `begin` ends: before a word that no operand has, or at an alias.
fn operand_end(tokens: &[TokenWithSpan], begin: usize) -> usize {
    let (mut depth, mut cases, mut betweens) = (0_usize, 0_usize, 0_usize);
    // The token before can be the end of a value: a word after it is an alias.
    let mut value_ends = false;
    for (place, token) in tokens.iter().enumerate().skip(begin) {
        match &token.token {
            Token::LParen | Token::LBracket => depth += 1,
            Token::RParen | Token::RBracket if depth == 0 => return place,
            Token::RParen | Token::RBracket => depth -= 1,
            Token::Comma | Token::SemiColon if depth == 0 => return place,
            Token::Word(quoted) if depth == 0 => {
                let text = word(token).unwrap_or_default();
                match text.as_str() {
                    "case" => cases += 1,
                    "end" if cases > 0 => {
                        cases -= 1;
                        value_ends = true;
                        continue;
                    }
                    "between" => betweens += 1,
                    "and" if betweens > 0 => betweens -= 1,
                    _ if cases > 0 => {}
                    text if ENDS.contains(&text) => return place,
                    text => {
                        let goes_on = GOES_ON.contains(&text);
                        if value_ends && !goes_on {
                            return place;
                        }
                        value_ends = !goes_on && text != "interval" || quoted.quote_style.is_some();
                        continue;
                    }
                }
                value_ends = false;
                continue;
            }
            _ => {}
        }
        value_ends = depth == 0
            && matches!(
                token.token,
                Token::RParen
                    | Token::RBracket
                    | Token::Number(..)
                    | Token::SingleQuotedString(_)
                    | Token::EscapedStringLiteral(_)
                    | Token::Placeholder(_)
            );
    }
    tokens.len()
}
