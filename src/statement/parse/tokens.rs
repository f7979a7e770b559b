//! A cursor over the tokens of one statement, and byte offsets of token locations.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::SqlState;
use crate::statement::control::{Expression, Name};
use crate::{Error, Result};

/// Turns sqlparser's line and column (characters, from 1) into byte offsets.
#[derive(Debug)]
pub struct Offsets<'a> {
    text: &'a str,
    lines: Vec<usize>,
}

impl<'a> Offsets<'a> {
    /// Finds the lines of a text.
    pub fn new(text: &'a str) -> Self {
        let lines = std::iter::once(0).chain(memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1)).collect();
        Self { text, lines }
    }

    /// The text.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// The byte offset of a line and column, both from 1.
    pub fn at(&self, line: u64, column: u64) -> usize {
        let line = usize::try_from(line).unwrap_or(1).max(1) - 1;
        let column = usize::try_from(column).unwrap_or(1).max(1) - 1;
        let Some(&start) = self.lines.get(line) else { return self.text.len() };
        let rest = &self.text[start..];
        // Nearly all texts are ASCII: then characters are bytes.
        match rest.as_bytes().get(..column) {
            Some(head) if head.is_ascii() => start + column,
            _ => start + rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at),
        }
    }

    /// Where a token begins.
    pub fn start(&self, token: &TokenWithSpan) -> usize {
        self.at(token.span.start.line, token.span.start.column)
    }

    /// Where a token ends.
    pub fn end(&self, token: &TokenWithSpan) -> usize {
        self.at(token.span.end.line, token.span.end.column)
    }
}

/// A cursor over the tokens of one statement.
#[derive(Debug)]
pub(super) struct Tokens<'a> {
    pub(super) text: &'a std::sync::Arc<str>,
    pub(super) offsets: &'a Offsets<'a>,
    tokens: &'a [TokenWithSpan],
    next: usize,
}

/// Where a stretch of tokens that makes an expression ends.
pub(super) type Stop<'s> = &'s dyn Fn(&str) -> bool;

impl<'a> Tokens<'a> {
    pub(super) fn new(text: &'a std::sync::Arc<str>, offsets: &'a Offsets<'a>, tokens: &'a [TokenWithSpan]) -> Self {
        Self { text, offsets, tokens, next: 0 }
    }

    pub(super) fn peek(&self) -> &'a Token {
        self.tokens.get(self.next).map_or(&Token::EOF, |token| &token.token)
    }

    fn peek_at(&self, ahead: usize) -> &'a Token {
        self.tokens.get(self.next + ahead).map_or(&Token::EOF, |token| &token.token)
    }

    pub(super) fn advance(&mut self) -> &'a Token {
        let token = self.peek();
        self.next += 1;
        token
    }

    pub(super) fn at_end(&self) -> bool {
        self.next >= self.tokens.len()
    }

    pub(super) fn position(&self) -> usize {
        self.next
    }

    pub(super) fn rewind(&mut self, position: usize) {
        self.next = position;
    }

    /// The tokens not yet read.
    pub(super) fn rest(&self) -> &'a [TokenWithSpan] {
        &self.tokens[self.next.min(self.tokens.len())..]
    }

    /// Byte offset of the next token.
    pub(super) fn offset(&self) -> usize {
        self.tokens.get(self.next).map_or(self.offsets.text().len(), |token| self.offsets.start(token))
    }

    /// Byte offset where the last token read ends; `begin`: where the stretch began, for an empty one.
    pub(super) fn end_offset(&self, begin: usize) -> usize {
        match self.tokens.get(begin.max(self.next.saturating_sub(1))) {
            Some(token) if self.next > begin => self.offsets.end(token),
            _ => self.offset(),
        }
    }

    /// `syntax error at or near` the next token.
    pub(super) fn error(&self) -> Error {
        super::near(self.offsets, self.tokens.get(self.next))
    }

    /// True if the next token is that unquoted word (upper case), any keyword class.
    pub(super) fn is(&self, word: &str) -> bool {
        is_word(self.peek(), word)
    }

    /// True if the next tokens are these words.
    pub(super) fn are(&self, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(at, word)| is_word(self.peek_at(at), word))
    }

    /// Takes the words if they come next.
    pub(super) fn eat(&mut self, words: &[&str]) -> bool {
        let found = self.are(words);
        if found {
            self.next += words.len();
        }
        found
    }

    /// Takes one of the words, if it comes next.
    pub(super) fn eat_any(&mut self, words: &[&'static str]) -> Option<&'static str> {
        let found = words.iter().find(|word| self.is(word)).copied();
        if found.is_some() {
            self.next += 1;
        }
        found
    }

    pub(super) fn expect(&mut self, words: &[&str]) -> Result<()> {
        for word in words {
            if !self.eat(&[word]) {
                return Err(self.error());
            }
        }
        Ok(())
    }

    pub(super) fn eat_token(&mut self, token: &Token) -> bool {
        let found = self.peek() == token;
        if found {
            self.next += 1;
        }
        found
    }

    pub(super) fn expect_token(&mut self, token: &Token) -> Result<()> {
        if self.eat_token(token) { Ok(()) } else { Err(self.error()) }
    }

    pub(super) fn expect_end(&self) -> Result<()> {
        if self.at_end() { Ok(()) } else { Err(self.error()) }
    }

    /// An identifier, folded: any unquoted word or a quoted one.
    pub(super) fn identifier(&mut self) -> Result<String> {
        match self.peek() {
            Token::Word(word) => {
                self.next += 1;
                if word.quote_style.is_some() {
                    if word.value.is_empty() {
                        self.next -= 1;
                        return Err(Error::new(
                            SqlState::SYNTAX_ERROR,
                            "zero-length delimited identifier at or near \"\"\"\"",
                        )
                        .at(self.offset()));
                    }
                    Ok(word.value.clone())
                } else {
                    Ok(fold(&word.value))
                }
            }
            _ => Err(self.error()),
        }
    }

    /// A possibly qualified name.
    pub(super) fn name(&mut self) -> Result<Name> {
        let offset = self.offset();
        let mut parts = vec![self.identifier()?];
        while self.eat_token(&Token::Period) {
            parts.push(self.identifier()?);
        }
        if parts.len() > 3 {
            return Err(Error::new(
                SqlState::SYNTAX_ERROR,
                format!("improper qualified name (too many dotted names): {}", parts.join(".")),
            )
            .at(offset));
        }
        Ok(Name { parts, offset })
    }

    pub(super) fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.eat_token(&Token::Comma) {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// `( item, … )`
    pub(super) fn parenthesized<T>(&mut self, item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        self.expect_token(&Token::LParen)?;
        let items = self.list(item)?;
        self.expect_token(&Token::RParen)?;
        Ok(items)
    }

    /// A string literal of any spelling.
    pub(super) fn string(&mut self) -> Result<String> {
        match string_of(self.peek()) {
            Some(text) => {
                self.next += 1;
                Ok(text)
            }
            None => Err(self.error()),
        }
    }

    /// A signed integer.
    pub(super) fn integer(&mut self) -> Result<i64> {
        let start = self.next;
        let negative = self.eat_token(&Token::Minus);
        if !negative {
            self.eat_token(&Token::Plus);
        }
        if let Token::Number(text, _) = self.peek()
            && let Ok(number) = text.parse::<i64>()
        {
            self.next += 1;
            return Ok(if negative { -number } else { number });
        }
        self.next = start;
        Err(self.error())
    }

    /// An expression that ends at the end, at an unmatched `)`, at a comma, or at an unquoted word for which `stop` holds
    /// (never at its first token).
    pub(super) fn expression(&mut self, stop: Stop<'_>) -> Result<Expression> {
        let begin = self.next;
        let mut depth = 0usize;
        while let Some(token) = self.tokens.get(self.next) {
            match &token.token {
                Token::LParen | Token::LBracket => depth += 1,
                Token::RParen | Token::RBracket if depth == 0 => break,
                Token::RParen | Token::RBracket => depth -= 1,
                Token::Comma if depth == 0 => break,
                Token::Word(word)
                    if depth == 0
                        && self.next > begin
                        && word.quote_style.is_none()
                        && stop(&word.value.to_uppercase()) =>
                {
                    break;
                }
                _ => {}
            }
            self.next += 1;
        }
        let tokens = &self.tokens[begin..self.next];
        let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else { return Err(self.error()) };
        let (start, end) = (self.offsets.start(first), self.offsets.end(last));
        Ok(Expression {
            ast: super::expression(self.offsets, tokens)?,
            text: self.offsets.text()[start..end].to_owned(),
            offset: start,
        })
    }
}

/// The text of a string literal token.
pub(super) fn string_of(token: &Token) -> Option<String> {
    match token {
        Token::SingleQuotedString(text)
        | Token::EscapedStringLiteral(text)
        | Token::UnicodeStringLiteral(text)
        | Token::NationalStringLiteral(text) => Some(text.clone()),
        Token::DollarQuotedString(text) => Some(text.value.clone()),
        _ => None,
    }
}

/// Folds an unquoted identifier as PostgreSQL does: ASCII to lower case, cut to 63 bytes.
pub(super) fn fold(word: &str) -> String {
    let mut folded = word.to_ascii_lowercase();
    if folded.len() > 63 {
        let mut end = 63;
        while !folded.is_char_boundary(end) {
            end -= 1;
        }
        folded.truncate(end);
    }
    folded
}

pub(super) fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(found) if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word))
}
