//! The body of DO: the part of PL/pgSQL that scripts of migrations and mappers use.
//!
//! ```sql
//! BEGIN statement; PERFORM …; IF … THEN … ELSIF … ELSE … END IF; RAISE NOTICE '…', …; EXECUTE …; NULL; BEGIN … END;
//! EXCEPTION WHEN duplicate_object OR SQLSTATE '42P07' THEN …; END
//! ```

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::tokens::{Offsets, is_word, string_of};
use super::{near, tokenize};
use crate::error::SqlState;
use crate::statement::control::{Block, Handler, Level, Located, Raise, RaiseOption, Raised, Step};
use crate::{Error, Result};

/// Nesting of blocks and IFs.
const DEPTH_MAX: usize = 50;
/// What PL/pgSQL has beside: refused by name, not as a syntax error.
const UNSUPPORTED: [&str; 12] =
    ["DECLARE", "LOOP", "WHILE", "FOR", "FOREACH", "CASE", "RETURN", "GET", "ASSERT", "OPEN", "EXIT", "CONTINUE"];

/// The conditions that handlers name (PostgreSQL, appendix A).
const CONDITIONS: &[(&str, &SqlState)] = &[
    ("duplicate_object", &SqlState::DUPLICATE_OBJECT),
    ("duplicate_table", &SqlState::DUPLICATE_TABLE),
    ("duplicate_column", &SqlState::DUPLICATE_COLUMN),
    ("duplicate_schema", &SqlState::DUPLICATE_SCHEMA),
    ("duplicate_database", &SqlState::DUPLICATE_DATABASE),
    ("duplicate_function", &SqlState::DUPLICATE_FUNCTION),
    ("duplicate_alias", &SqlState::DUPLICATE_ALIAS),
    ("undefined_table", &SqlState::UNDEFINED_TABLE),
    ("undefined_column", &SqlState::UNDEFINED_COLUMN),
    ("undefined_object", &SqlState::UNDEFINED_OBJECT),
    ("undefined_function", &SqlState::UNDEFINED_FUNCTION),
    ("undefined_parameter", &SqlState::UNDEFINED_PARAMETER),
    ("invalid_schema_name", &SqlState::INVALID_SCHEMA_NAME),
    ("invalid_catalog_name", &SqlState::INVALID_CATALOG_NAME),
    ("unique_violation", &SqlState::UNIQUE_VIOLATION),
    ("not_null_violation", &SqlState::NOT_NULL_VIOLATION),
    ("check_violation", &SqlState::CHECK_VIOLATION),
    ("foreign_key_violation", &SqlState::FOREIGN_KEY_VIOLATION),
    ("exclusion_violation", &SqlState::EXCLUSION_VIOLATION),
    ("integrity_constraint_violation", &SqlState::INTEGRITY_CONSTRAINT_VIOLATION),
    ("division_by_zero", &SqlState::DIVISION_BY_ZERO),
    ("numeric_value_out_of_range", &SqlState::NUMERIC_VALUE_OUT_OF_RANGE),
    ("invalid_text_representation", &SqlState::INVALID_TEXT_REPRESENTATION),
    ("string_data_right_truncation", &SqlState::STRING_DATA_RIGHT_TRUNCATION),
    ("datetime_field_overflow", &SqlState::DATETIME_FIELD_OVERFLOW),
    ("invalid_datetime_format", &SqlState::INVALID_DATETIME_FORMAT),
    ("data_exception", &SqlState::DATA_EXCEPTION),
    ("syntax_error", &SqlState::SYNTAX_ERROR),
    ("ambiguous_column", &SqlState::AMBIGUOUS_COLUMN),
    ("insufficient_privilege", &SqlState::INSUFFICIENT_PRIVILEGE),
    ("feature_not_supported", &SqlState::FEATURE_NOT_SUPPORTED),
    ("dependent_objects_still_exist", &SqlState::DEPENDENT_OBJECTS_STILL_EXIST),
    ("object_in_use", &SqlState::OBJECT_IN_USE),
    ("object_not_in_prerequisite_state", &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE),
    ("lock_not_available", &SqlState::LOCK_NOT_AVAILABLE),
    ("wrong_object_type", &SqlState::WRONG_OBJECT_TYPE),
    ("invalid_parameter_value", &SqlState::INVALID_PARAMETER_VALUE),
    ("cardinality_violation", &SqlState::CARDINALITY_VIOLATION),
    ("datatype_mismatch", &SqlState::DATATYPE_MISMATCH),
    ("cannot_coerce", &SqlState::CANNOT_COERCE),
    ("query_canceled", &SqlState::QUERY_CANCELED),
    ("raise_exception", &SqlState::RAISE_EXCEPTION),
    ("no_data_found", &SqlState::NO_DATA_FOUND),
    ("too_many_rows", &SqlState::TOO_MANY_ROWS),
    ("invalid_table_definition", &SqlState::INVALID_TABLE_DEFINITION),
    ("invalid_object_definition", &SqlState::INVALID_OBJECT_DEFINITION),
    ("reserved_name", &SqlState::RESERVED_NAME),
    ("read_only_sql_transaction", &SqlState::READ_ONLY_SQL_TRANSACTION),
    ("program_limit_exceeded", &SqlState::PROGRAM_LIMIT_EXCEEDED),
    ("serialization_failure", &SqlState::T_R_SERIALIZATION_FAILURE),
    ("deadlock_detected", &SqlState::T_R_DEADLOCK_DETECTED),
];

/// Parses the body.
///
/// # Errors
/// 42601; 0A000 for what PL/pgSQL has and DO here has not.
pub(super) fn parse(body: &str) -> Result<Block> {
    let tokens = tokenize(body)?;
    let mut reader = Reader { body, offsets: Offsets::new(body), tokens: &tokens, at: 0 };
    if reader.is("DECLARE") {
        return Err(reader.unsupported("DECLARE"));
    }
    reader.expect("BEGIN")?;
    let block = reader.block(1)?;
    reader.eat_token(&Token::SemiColon);
    match reader.tokens.get(reader.at) {
        None => Ok(block),
        Some(_) => Err(reader.error()),
    }
}

/// The state of a condition, by PostgreSQL's name.
///
/// # Errors
/// 42704
pub(crate) fn condition(name: &str) -> Result<SqlState> {
    match CONDITIONS.iter().find(|(condition, _)| *condition == name) {
        Some((_, state)) => Ok((*state).clone()),
        None => Err(Error::new(SqlState::UNDEFINED_OBJECT, format!("unrecognized exception condition \"{name}\""))),
    }
}

/// True for five digits and capitals.
pub(crate) fn is_code(text: &str) -> bool {
    text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
}

struct Reader<'a> {
    body: &'a str,
    offsets: Offsets<'a>,
    tokens: &'a [TokenWithSpan],
    at: usize,
}

impl Reader<'_> {
    fn is(&self, word: &str) -> bool {
        self.tokens.get(self.at).is_some_and(|token| is_word(&token.token, word))
    }

    fn is_any(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.is(word))
    }

    fn eat(&mut self, word: &str) -> bool {
        let found = self.is(word);
        self.at += usize::from(found);
        found
    }

    fn eat_token(&mut self, token: &Token) -> bool {
        let found = self.tokens.get(self.at).is_some_and(|next| next.token == *token);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, word: &str) -> Result<()> {
        if self.eat(word) { Ok(()) } else { Err(self.error()) }
    }

    fn semicolon(&mut self) -> Result<()> {
        if self.eat_token(&Token::SemiColon) { Ok(()) } else { Err(self.error()) }
    }

    fn error(&self) -> Error {
        near(&self.offsets, self.tokens.get(self.at))
    }

    fn unsupported(&self, what: &str) -> Error {
        Error::unsupported(format!("{what} in DO is not supported"))
    }

    /// What follows BEGIN.
    fn block(&mut self, depth: usize) -> Result<Block> {
        let steps = self.steps(&["EXCEPTION", "END"], depth)?;
        let mut handlers = vec![];
        if self.eat("EXCEPTION") {
            while self.eat("WHEN") {
                handlers.push(self.handler(depth)?);
            }
        }
        self.expect("END")?;
        Ok(Block { steps, handlers })
    }

    fn handler(&mut self, depth: usize) -> Result<Handler> {
        let mut states = vec![];
        loop {
            let name = match self.tokens.get(self.at).map(|token| &token.token) {
                Some(Token::Word(word)) => word.value.to_lowercase(),
                _ => return Err(self.error()),
            };
            self.at += 1;
            if name == "sqlstate" {
                states.push(Some(self.state()?));
            } else if name == "others" {
                states.push(None);
            } else {
                states.push(Some(condition(&name)?));
            }
            if !self.eat("OR") {
                break;
            }
        }
        self.expect("THEN")?;
        Ok(Handler { states, steps: self.steps(&["WHEN", "END"], depth)? })
    }

    /// What follows SQLSTATE.
    fn state(&mut self) -> Result<SqlState> {
        let code = self.tokens.get(self.at).and_then(|token| string_of(&token.token)).ok_or_else(|| self.error())?;
        if !is_code(&code) {
            let message = format!("invalid SQLSTATE code at or near \"'{code}'\"");
            return Err(Error::new(SqlState::SYNTAX_ERROR, message));
        }
        self.at += 1;
        Ok(SqlState::from_code(&code))
    }

    /// Steps until one of the words, which is not read.
    fn steps(&mut self, until: &[&str], depth: usize) -> Result<Vec<Located>> {
        if depth > DEPTH_MAX {
            return Err(Error::new(SqlState::STATEMENT_TOO_COMPLEX, "stack depth limit exceeded"));
        }
        let mut steps = vec![];
        while !self.is_any(until) {
            let line = self.tokens.get(self.at).map_or(1, |token| token.span.start.line);
            steps.push(Located { line, step: self.step(depth)? });
        }
        Ok(steps)
    }

    fn step(&mut self, depth: usize) -> Result<Step> {
        if self.at >= self.tokens.len() {
            return Err(self.error());
        }
        if let Some(word) = UNSUPPORTED.iter().find(|word| self.is(word)) {
            return Err(self.unsupported(word));
        }
        if self.eat("NULL") {
            self.semicolon()?;
            return Ok(Step::Null);
        }
        if self.eat("BEGIN") {
            let block = self.block(depth + 1)?;
            self.semicolon()?;
            return Ok(Step::Block(block));
        }
        if self.eat("IF") {
            return self.branches(depth);
        }
        if self.eat("RAISE") {
            return self.raise();
        }
        if self.eat("EXECUTE") {
            let text = self.until(&[])?;
            self.semicolon()?;
            return Ok(Step::Execute(text));
        }
        let perform = self.eat("PERFORM");
        let text = self.until(&[])?;
        self.semicolon()?;
        if perform {
            return Ok(Step::Perform(text));
        }
        let mut parsed = super::parse(&text)?;
        match (parsed.pop(), parsed.is_empty()) {
            (Some(parsed), true) => Ok(Step::Sql(Box::new(parsed))),
            _ => Err(self.error()),
        }
    }

    /// What follows IF.
    fn branches(&mut self, depth: usize) -> Result<Step> {
        let mut branches = vec![];
        let mut otherwise = vec![];
        loop {
            let condition = self.until(&["THEN"])?;
            self.expect("THEN")?;
            branches.push((condition, self.steps(&["ELSIF", "ELSEIF", "ELSE", "END"], depth + 1)?));
            if self.eat("ELSIF") || self.eat("ELSEIF") {
                continue;
            }
            if self.eat("ELSE") {
                otherwise = self.steps(&["END"], depth + 1)?;
            }
            self.expect("END")?;
            self.expect("IF")?;
            self.semicolon()?;
            return Ok(Step::If { branches, otherwise });
        }
    }

    /// What follows RAISE.
    fn raise(&mut self) -> Result<Step> {
        let levels = [
            ("DEBUG", Level::Notice("DEBUG")),
            ("LOG", Level::Notice("LOG")),
            ("INFO", Level::Notice("INFO")),
            ("NOTICE", Level::Notice("NOTICE")),
            ("WARNING", Level::Notice("WARNING")),
            ("EXCEPTION", Level::Exception),
        ];
        let level = levels.into_iter().find(|(word, _)| self.is(word));
        self.at += usize::from(level.is_some());
        let level = level.map_or(Level::Exception, |(_, level)| level);
        let raised = self.raised()?;
        let mut options = vec![];
        if self.eat("USING") {
            loop {
                let known = RaiseOption::ALL.into_iter().find(|(word, _)| self.is(word));
                let Some((_, option)) = known else { return Err(self.no_option()) };
                self.at += 1;
                if !self.eat_token(&Token::Eq) && !self.eat_token(&Token::Assignment) {
                    return Err(self.error());
                }
                options.push((option, self.stretch(&[], true)?));
                if !self.eat_token(&Token::Comma) {
                    break;
                }
            }
        }
        self.semicolon()?;
        Ok(Step::Raise(Raise { level, raised, options }))
    }

    fn raised(&mut self) -> Result<Raised> {
        if self.is("USING") || self.tokens.get(self.at).is_some_and(|token| token.token == Token::SemiColon) {
            return Ok(Raised::Nothing);
        }
        if self.eat("SQLSTATE") {
            let state = self.state()?;
            let name = state.code().to_owned();
            return Ok(Raised::Condition(state, name));
        }
        match self.tokens.get(self.at).map(|token| &token.token) {
            Some(Token::Word(word)) => {
                let name = word.value.to_lowercase();
                let state = condition(&name)?;
                self.at += 1;
                Ok(Raised::Condition(state, name))
            }
            Some(token) => {
                let format = string_of(token).ok_or_else(|| self.error())?;
                self.at += 1;
                let mut arguments = vec![];
                while self.eat_token(&Token::Comma) {
                    arguments.push(self.stretch(&["USING"], true)?);
                }
                let holes = format.replace("%%", "").matches('%').count();
                if holes != arguments.len() {
                    let few = if holes > arguments.len() { "few" } else { "many" };
                    let message = format!("too {few} parameters specified for RAISE");
                    return Err(Error::new(SqlState::SYNTAX_ERROR, message));
                }
                Ok(Raised::Format(format, arguments))
            }
            None => Err(self.error()),
        }
    }

    fn no_option(&self) -> Error {
        let mut error = self.error();
        let message = &mut error.report_mut().message;
        *message = message.replace("syntax error", "unrecognized RAISE statement option");
        error
    }

    /// The text until a semicolon or one of the words, neither within parentheses or CASE.
    fn until(&mut self, words: &[&str]) -> Result<String> {
        self.stretch(words, false)
    }

    fn stretch(&mut self, words: &[&str], to_comma: bool) -> Result<String> {
        let begin = self.at;
        let mut open = 0_usize;
        while let Some(next) = self.tokens.get(self.at) {
            match &next.token {
                Token::SemiColon => break,
                Token::Comma if to_comma && open == 0 => break,
                Token::LParen | Token::LBracket => open += 1,
                Token::RParen | Token::RBracket => open = open.saturating_sub(1),
                _ if open == 0 && self.is_any(words) => break,
                token if is_word(token, "CASE") => open += 1,
                token if is_word(token, "END") && open > 0 => open -= 1,
                _ => {}
            }
            self.at += 1;
        }
        if begin == self.at {
            return Err(self.error());
        }
        let (start, end) = (self.offsets.start(&self.tokens[begin]), self.offsets.end(&self.tokens[self.at - 1]));
        Ok(self.body[start..end].to_owned())
    }
}
