//! Values of JSON, one at a time.

use super::lex::{LexFault, Lexer, unescape};
use crate::rows::slot::Scratch;
use crate::value::{Span, Value};

/// The value the lexer is at, which moves behind it. Strings with escapes go to the scratch text; arrays and objects, of
/// at most `depth` within each other, stay whole.
#[inline]
pub(crate) fn read_value(
    lexer: &mut Lexer<'_>,
    scratch: &mut Scratch,
    depth: usize,
    stack: &mut Vec<bool>,
) -> Result<Value, LexFault> {
    match lexer.peek() {
        Some(b'"') => {
            let quoted = lexer.string()?;
            if !quoted.escaped {
                return Ok(Value::Text(Span { start: quoted.start, end: quoted.end, changed: false }));
            }
            let start = scratch.text.len();
            unescape(&lexer.text[quoted.start..quoted.end], &mut scratch.text)?;
            Ok(Value::Text(Span { start, end: scratch.text.len(), changed: true }))
        }
        Some(b'-' | b'0'..=b'9') => lexer.number().map(Value::Number),
        Some(b'n') => lexer.word("null").map(|()| Value::Null),
        Some(b't') => lexer.word("true").map(|()| Value::Bool(true)),
        Some(b'f') => lexer.word("false").map(|()| Value::Bool(false)),
        Some(b'{') => lexer.nested(depth, stack).map(Value::Object),
        Some(b'[') => lexer.nested(depth, stack).map(Value::Array),
        _ => Err(LexFault::Syntax),
    }
}
