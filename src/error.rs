//! Errors as the client sees them: SQLSTATE, message, detail, hint, position. The only file that knows SQLSTATEs of
//! errors from below.

use std::panic::Location;

use datafusion::arrow;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
pub use tokio_postgres::error::SqlState;

/// Shorthand for this crate's results.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error for the client.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", .0.message)]
pub struct Error(Box<Report>);

/// The fields of an ErrorResponse or NoticeResponse.
#[derive(Debug, Clone)]
pub struct Report {
    /// SQLSTATE.
    pub code: SqlState,
    /// Primary message: lower case, no full stop.
    pub message: String,
    /// One or more sentences.
    pub detail: Option<String>,
    /// A sentence that can be acted on.
    pub hint: Option<String>,
    /// Character (not byte) in the query's text, from 1.
    pub position: Option<usize>,
    /// Where in PL or SQL the error arose.
    pub context: Option<String>,
    /// The place, and the text it is in, of an error in a statement that the server made or was given within another.
    pub inner: Option<(usize, String)>,
    /// PostgreSQL's name of the function that raises it, for drivers that know an error by it, and where ours does.
    pub routine: Option<(&'static str, &'static Location<'static>)>,
    /// The table, column, constraint a constraint error is about.
    pub schema: Option<String>,
    /// See `schema`.
    pub table: Option<String>,
    /// See `schema`.
    pub column: Option<String>,
    /// The type it is about.
    pub data_type: Option<String>,
    /// See `schema`.
    pub constraint: Option<String>,
    /// Byte offset in the statement's text while it is not yet turned into `position`.
    pub offset: Option<usize>,
    /// Line and column (characters, from 1) in the statement's text while it is not yet turned into `offset`.
    pub location: Option<(u64, u64)>,
    /// The operator that stands at or behind `location`, where the syntax tree does not know its place.
    pub sought: Option<String>,
    /// FATAL: the session ends after it.
    pub fatal: bool,
    /// HTTP refuses the request, whatever the statement.
    pub refusal: Option<Refusal>,
}

/// What HTTP itself refuses: the request, not a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It cannot be understood: 400.
    Malformed,
    /// There is no such address: 404.
    UnknownAddress,
    /// The address takes other methods: 405.
    Method,
    /// The answer cannot have that form: 406.
    Unacceptable,
    /// Its rest did not come in time: 408.
    Late,
    /// It is larger than the limit: 413.
    TooLarge,
    /// The body has a form that is not known: 415.
    MediaType,
    /// Too many run already: 429.
    Busy,
}

impl Refusal {
    fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::UnknownAddress => 404,
            Self::Method => 405,
            Self::Unacceptable => 406,
            Self::Late => 408,
            Self::TooLarge => 413,
            Self::MediaType => 415,
            Self::Busy => 429,
        }
    }

    fn code(self) -> SqlState {
        match self {
            Self::Malformed => SqlState::PROTOCOL_VIOLATION,
            Self::UnknownAddress | Self::Method | Self::Unacceptable | Self::MediaType => {
                SqlState::FEATURE_NOT_SUPPORTED
            }
            Self::Late => SqlState::CONNECTION_FAILURE,
            Self::TooLarge => SqlState::PROGRAM_LIMIT_EXCEEDED,
            Self::Busy => SqlState::TOO_MANY_CONNECTIONS,
        }
    }
}

impl Error {
    /// An error with that SQLSTATE and primary message.
    pub fn new(code: SqlState, message: impl Into<String>) -> Self {
        Self(Box::new(Report {
            code,
            message: message.into(),
            detail: None,
            hint: None,
            position: None,
            context: None,
            inner: None,
            routine: None,
            schema: None,
            table: None,
            column: None,
            data_type: None,
            constraint: None,
            offset: None,
            location: None,
            sought: None,
            fatal: false,
            refusal: None,
        }))
    }

    /// 0A000: what Tidemill does not do.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(SqlState::FEATURE_NOT_SUPPORTED, message)
    }

    /// XX000: a bug of ours.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(SqlState::INTERNAL_ERROR, message)
    }

    /// A request that HTTP itself refuses.
    pub fn refused(refusal: Refusal, message: impl Into<String>) -> Self {
        let mut error = Self::new(refusal.code(), message);
        error.0.refusal = Some(refusal);
        error
    }

    /// With a detail.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// With the name of the function that raises it in PostgreSQL.
    #[must_use]
    #[track_caller]
    pub fn routine(mut self, name: &'static str) -> Self {
        self.0.routine = Some((name, Location::caller()));
        self
    }

    /// With a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// At a byte offset of the statement's text.
    #[must_use]
    pub fn at(mut self, offset: usize) -> Self {
        self.0.offset.get_or_insert(offset);
        self
    }

    /// At a line and column (characters, from 1) of the statement's text: [`Self::resolve`] makes them an offset.
    #[must_use]
    pub fn located(mut self, line: u64, column: u64) -> Self {
        self.0.location.get_or_insert((line, column));
        self
    }

    /// At the next such operator from a line and column of the statement's text on.
    #[must_use]
    pub fn located_before(mut self, line: u64, column: u64, operator: &str) -> Self {
        if self.0.location.is_none() {
            self.0.location = Some((line, column));
            self.0.sought = Some(operator.to_owned());
        }
        self
    }

    /// Without a place in the text: it is about another text than the client's.
    #[must_use]
    pub fn without_location(mut self) -> Self {
        self.0.location = None;
        self.0.sought = None;
        self.0.offset = None;
        self
    }

    /// With the byte offset that its line and column mean in the statement's text.
    #[must_use]
    pub fn resolve(mut self, text: &str) -> Self {
        if let (Some((line, column)), None) = (self.0.location, self.0.offset) {
            self.0.offset = offset_of(text, line, column).and_then(|offset| match &self.0.sought {
                Some(operator) => text.get(offset..)?.find(operator.as_str()).map(|at| offset + at),
                None => Some(offset),
            });
        }
        self
    }

    /// Ends the session.
    #[must_use]
    pub fn fatal(mut self) -> Self {
        self.0.fatal = true;
        self
    }

    /// The fields.
    pub fn report(&self) -> &Report {
        &self.0
    }

    /// The fields, to add to.
    pub fn report_mut(&mut self) -> &mut Report {
        &mut self.0
    }

    /// The status by which HTTP says it.
    pub fn http_status(&self) -> u16 {
        if let Some(refusal) = self.0.refusal {
            return refusal.status();
        }
        match self.code().code() {
            "08P01" => 400,
            "28000" | "28P01" => 401,
            "42501" => 403,
            "42P01" | "3D000" | "3F000" => 404,
            // Cancelled, or above statement_timeout.
            "57014" => 408,
            "23505" | "40001" => 409,
            "53300" => 429,
            "53100" | "53400" => 507,
            "57P01" | "57P03" | "58030" => 503,
            code if code.starts_with("XX") => 500,
            code if code.starts_with("53") => 503,
            _ => 422,
        }
    }

    /// SQLSTATE.
    pub fn code(&self) -> &SqlState {
        &self.0.code
    }
}

/// The byte offset of a line and column (characters, from 1) in a text.
pub fn offset_of(text: &str, line: u64, column: u64) -> Option<usize> {
    let line = usize::try_from(line.checked_sub(1)?).ok()?;
    let column = usize::try_from(column.checked_sub(1)?).ok()?;
    let start = match line {
        0 => 0,
        line => text.match_indices('\n').nth(line - 1).map(|(at, _)| at + 1)?,
    };
    let rest = &text[start..];
    let within = rest.char_indices().map(|(at, _)| at).chain([rest.len()]).nth(column)?;
    Some(start + within)
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        // Several at once: the first is the one to tell.
        if let DataFusionError::Collection(mut errors) = error {
            return if errors.is_empty() { Self::internal("no error") } else { errors.swap_remove(0).into() };
        }
        let span = error.diagnostic().and_then(|diagnostic| diagnostic.span);
        let result = root(&error);
        match span {
            Some(span) if span.start.line > 0 => result.located(span.start.line, span.start.column),
            _ => result,
        }
    }
}

/// The error at the root of what DataFusion wrapped it in.
fn root(error: &DataFusionError) -> Error {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => root(inner),
        DataFusionError::Shared(inner) => root(inner),
        DataFusionError::Collection(errors) => match errors.first() {
            Some(first) => root(first),
            None => Error::internal("no error"),
        },
        DataFusionError::ArrowError(inner, _) => arrow(inner),
        DataFusionError::ParquetError(inner) => match inner.as_ref() {
            parquet_error if std::error::Error::source(parquet_error).is_some() => source_of(parquet_error),
            parquet_error => Error::new(SqlState::DATA_CORRUPTED, format!("could not read file: {parquet_error}")),
        },
        DataFusionError::ObjectStore(inner) => {
            Error::new(SqlState::IO_ERROR, format!("could not access file: {inner}"))
        }
        DataFusionError::IoError(inner) => io(inner),
        DataFusionError::SQL(inner, _) => parser(&inner.to_string()),
        DataFusionError::NotImplemented(message) => Error::unsupported(first_line(message)),
        // A subplan in a place that no operator lifts it out of.
        DataFusionError::Internal(message) if message.starts_with("async functions should not be called directly") => {
            Error::unsupported("a subquery that refers to other tables in this place is not supported")
        }
        DataFusionError::Internal(message) => Error::internal(first_line(message)),
        DataFusionError::Plan(message) => plan(message),
        DataFusionError::Configuration(message) => Error::new(SqlState::INVALID_PARAMETER_VALUE, first_line(message)),
        DataFusionError::SchemaError(inner, _) => schema(inner),
        DataFusionError::Execution(message) => execution(message),
        DataFusionError::ExecutionJoin(inner) => Error::internal(format!("a task of the query failed: {inner}")),
        DataFusionError::ResourcesExhausted(message) => {
            Error::new(SqlState::OUT_OF_MEMORY, "out of memory").detail(first_line(message))
        }
        DataFusionError::External(inner) => external(inner.as_ref()),
        DataFusionError::Substrait(message) | DataFusionError::Ffi(message) => Error::internal(first_line(message)),
    }
}

fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().trim_end_matches('.').to_owned()
}

fn source_of(error: &(dyn std::error::Error + 'static)) -> Error {
    match error.source() {
        Some(source) => external(source),
        // The disk manager's limit on spilled bytes has no error of its own: it is an I/O error with a text.
        None if error.to_string().contains("max_temp_directory_size") => {
            let message = "temporary file size exceeds the limit of --spill";
            Error::new(SqlState::CONFIGURATION_LIMIT_EXCEEDED, message)
                .hint("Let the query sort or group less, or start the server with a larger --spill.")
        }
        None => Error::internal(error.to_string()),
    }
}

/// What is wrong with a regular expression, in PostgreSQL's words where it has them.
fn regex(text: &str) -> Error {
    let reason =
        text.lines().rev().find_map(|line| line.trim().strip_prefix("error: ")).unwrap_or("it cannot be parsed");
    let reason = match reason {
        "unclosed group" | "unopened group" => "parentheses () not balanced",
        "unclosed character class" => "brackets [] not balanced",
        "unclosed counted repetition" => "braces {} not balanced",
        "repetition operator missing expression" => "quantifier operand invalid",
        reason if reason.contains("incomplete escape") => "invalid escape \\ sequence",
        reason if reason.contains("invalid character class range") => "invalid character range",
        other => other,
    };
    Error::new(SqlState::INVALID_REGULAR_EXPRESSION, format!("invalid regular expression: {reason}"))
}

/// An error of ours, or of a crate of ours, that went through DataFusion.
fn external(error: &(dyn std::error::Error + 'static)) -> Error {
    if let Some(error) = error.downcast_ref::<Error>() {
        return error.clone();
    }
    if let Some(error) = error.downcast_ref::<tidemill_udfs::types::ValueError>() {
        return error.clone().into();
    }
    if let Some(error) = error.downcast_ref::<tidemill_catalog::Error>() {
        return catalog(error);
    }
    if let Some(error) = error.downcast_ref::<DataFusionError>() {
        return root(error);
    }
    if let Some(error) = error.downcast_ref::<arrow::error::ArrowError>() {
        return self::arrow(error);
    }
    if let Some(error) = error.downcast_ref::<std::io::Error>() {
        return io(error);
    }
    let text = error.to_string();
    if text.starts_with("regex parse error") {
        return regex(&text);
    }
    source_of(error)
}

fn arrow(error: &arrow::error::ArrowError) -> Error {
    use arrow::error::ArrowError as A;
    match error {
        A::DivideByZero => Error::new(SqlState::DIVISION_BY_ZERO, "division by zero"),
        A::ArithmeticOverflow(_) => Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range"),
        A::ExternalError(inner) => external(inner.as_ref()),
        A::CastError(message) | A::ParseError(message) => {
            Error::new(SqlState::INVALID_TEXT_REPRESENTATION, first_line(message))
        }
        A::ComputeError(message) | A::InvalidArgumentError(message) => execution(message),
        A::NotYetImplemented(message) => Error::unsupported(first_line(message)),
        A::MemoryError(message) => Error::new(SqlState::OUT_OF_MEMORY, "out of memory").detail(message),
        A::IoError(_, inner) => io(inner),
        A::SchemaError(message)
        | A::CsvError(message)
        | A::JsonError(message)
        | A::AvroError(message)
        | A::IpcError(message)
        | A::ParquetError(message)
        | A::CDataInterface(message) => Error::internal(first_line(message)),
        A::DictionaryKeyOverflowError | A::RunEndIndexOverflowError | A::OffsetOverflowError(_) => {
            Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "a batch of values is too large")
        }
    }
}

fn io(error: &std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::StorageFull {
        return Error::new(SqlState::DISK_FULL, "no space left on device");
    }
    match error.get_ref() {
        Some(inner) => external(inner),
        None => Error::new(SqlState::IO_ERROR, error.to_string()),
    }
}

/// `Expected: …, found: x at Line: 1, Column: 8`
fn parser(message: &str) -> Error {
    let message = message.trim_start_matches("sql parser error: ");
    let (what, place) = message.split_once(" at Line: ").unwrap_or((message, ""));
    let result = match what.split_once("found: ") {
        Some((_, found)) if found != "EOF" => {
            Error::new(SqlState::SYNTAX_ERROR, format!("syntax error at or near \"{found}\""))
        }
        Some(_) => Error::new(SqlState::SYNTAX_ERROR, "syntax error at end of input"),
        None => Error::new(SqlState::SYNTAX_ERROR, format!("syntax error: {what}")),
    };
    let mut numbers = place.split(", Column: ").map(str::trim).map(str::parse::<u64>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(line)), Some(Ok(column))) => result.located(line, column),
        _ => result,
    }
}

fn schema(error: &SchemaError) -> Error {
    let name = |column: &datafusion::common::Column| {
        let shown = column.name.split('\u{1}').next().unwrap_or_default();
        match &column.relation {
            Some(relation) => format!("{}.{shown}", relation.table()),
            None => format!("\"{shown}\""),
        }
    };
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            if let Some(relation) = &field.relation
                && !valid_fields
                    .iter()
                    .any(|valid| valid.relation.as_ref().is_some_and(|valid| valid.table() == relation.table()))
            {
                return Error::new(
                    SqlState::UNDEFINED_TABLE,
                    format!("missing FROM-clause entry for table \"{}\"", relation.table()),
                );
            }
            Error::new(SqlState::UNDEFINED_COLUMN, format!("column {} does not exist", name(field)))
        }
        SchemaError::AmbiguousReference { field } => {
            Error::new(SqlState::AMBIGUOUS_COLUMN, format!("column reference \"{}\" is ambiguous", field.name))
        }
        SchemaError::DuplicateQualifiedField { qualifier, name } => {
            let table = qualifier.table();
            Error::new(SqlState::DUPLICATE_ALIAS, format!("table name \"{table}\" specified more than once"))
                .detail(format!("Both have a column \"{name}\"."))
        }
        SchemaError::DuplicateUnqualifiedField { name } => {
            Error::new(SqlState::DUPLICATE_COLUMN, format!("column \"{name}\" specified more than once"))
        }
    }
}

/// What DataFusion's SQL planner says of a user's mistake, in PostgreSQL's words.
fn plan(message: &str) -> Error {
    let message = first_line(message);
    let grouping = |column: &str| {
        Error::new(
            SqlState::GROUPING_ERROR,
            format!("column \"{column}\" must appear in the GROUP BY clause or be used in an aggregate function"),
        )
    };
    if let Some((_, rest)) = message.split_once("While expanding wildcard, column \"") {
        return grouping(rest.split("\" must appear").next().unwrap_or(rest));
    }
    if let Some(rest) = message.strip_prefix("HAVING clause references: ") {
        return grouping(rest.split(" must appear").next().unwrap_or(rest));
    }
    let (code, text) = if message.contains("queries have different number of columns")
        || message.contains("queries must have the same number of columns")
    {
        let op = message.split(' ').next().unwrap_or("UNION").to_uppercase();
        (SqlState::SYNTAX_ERROR, format!("each {op} query must have the same number of columns"))
    } else if message.starts_with("Aggregate functions are not allowed in the WHERE clause") {
        (SqlState::GROUPING_ERROR, "aggregate functions are not allowed in WHERE".to_owned())
    } else if message.starts_with("Too many columns! The subquery should only return one column") {
        (SqlState::SYNTAX_ERROR, "subquery must return only one column".to_owned())
    } else if message.starts_with("SELECT * with no tables specified") {
        (SqlState::SYNTAX_ERROR, "SELECT * with no tables specified is not valid".to_owned())
    } else if let Some(position) = between(&message, "Order by column out of bounds, specified: ", ",") {
        (SqlState::INVALID_COLUMN_REFERENCE, format!("ORDER BY position {position} is not in select list"))
    } else if message.starts_with("Order by index starts at 1") {
        (SqlState::INVALID_COLUMN_REFERENCE, "ORDER BY position 0 is not in select list".to_owned())
    } else if let Some(position) = between(&message, "Cannot find column with position ", " in SELECT") {
        (SqlState::INVALID_COLUMN_REFERENCE, format!("GROUP BY position {position} is not in select list"))
    } else if let Some(name) = between(&message, "WITH query name \"", "\"") {
        (SqlState::DUPLICATE_ALIAS, format!("WITH query name \"{name}\" specified more than once"))
    } else if let Some(name) = between(&message, "The window ", " is not defined!") {
        (SqlState::UNDEFINED_OBJECT, format!("window \"{name}\" does not exist"))
    } else if let Some(name) = between(&message, "The window ", " is defined multiple times!") {
        (SqlState::WINDOWING_ERROR, format!("window \"{name}\" is already defined"))
    } else if let Some(name) = between(&message, "Invalid function '", "'") {
        (SqlState::UNDEFINED_FUNCTION, format!("function {name}() does not exist"))
    } else if let Some(name) = between(&message, "Invalid qualifier ", " ") {
        (SqlState::UNDEFINED_TABLE, format!("missing FROM-clause entry for table \"{name}\""))
    } else if let Some(rest) = message.strip_prefix("Source table contains ") {
        let have = rest.split(' ').next().unwrap_or("0");
        let given = between(rest, "but only ", " ").unwrap_or("0");
        (
            SqlState::INVALID_COLUMN_REFERENCE,
            format!("table has {have} columns available but {given} columns specified"),
        )
    } else if let Some(name) = between(&message, "Function '", "' failed to match any signature") {
        let given = between(&message, "(DataType: ", ")").map_or_else(String::new, |given| match given {
            "Utf8" | "Utf8View" => "text".to_owned(),
            "Boolean" => "boolean".to_owned(),
            "Date32" => "date".to_owned(),
            other if other.starts_with("Timestamp") => "timestamp without time zone".to_owned(),
            other => other.to_lowercase(),
        });
        return Error::new(SqlState::UNDEFINED_FUNCTION, format!("function {name}({given}) does not exist"))
            .hint("No function matches the given name and argument types. You might need to add explicit type casts.");
    } else if message.starts_with("SELECT DISTINCT ON expressions must match") {
        (SqlState::INVALID_COLUMN_REFERENCE, message.clone())
    } else if message.starts_with("For SELECT DISTINCT, ORDER BY expressions") {
        (
            SqlState::INVALID_COLUMN_REFERENCE,
            "for SELECT DISTINCT, ORDER BY expressions must appear in select list".to_owned(),
        )
    } else if message.contains("to grouping function is not in grouping columns") {
        (
            SqlState::GROUPING_ERROR,
            "arguments to GROUPING must be grouping expressions of the associated query level".to_owned(),
        )
    } else if message.starts_with("Inconsistent data length across values list") {
        (SqlState::SYNTAX_ERROR, "VALUES lists must all be the same length".to_owned())
    } else if let Some(value) = between(&message, "Percentile value must be between 0.0 and 1.0 inclusive, ", " ") {
        (SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("percentile value {value} is not between 0 and 1"))
    } else if message.starts_with("Invalid window frame: start bound") {
        (SqlState::WINDOWING_ERROR, "frame starting from following row cannot have preceding rows".to_owned())
    } else if message.starts_with("LIMIT must be") {
        (SqlState::INVALID_ROW_COUNT_IN_LIMIT_CLAUSE, "LIMIT must not be negative".to_owned())
    } else if message.starts_with("OFFSET must be") {
        (SqlState::INVALID_ROW_COUNT_IN_RESULT_OFFSET_CLAUSE, "OFFSET must not be negative".to_owned())
    } else if message.starts_with("Cannot create filter with non-boolean predicate") {
        let given = match message.rsplit(' ').next().unwrap_or_default() {
            "Int64" if message.contains("'Int64(") => "integer",
            other => arrow_name(other),
        };
        (SqlState::DATATYPE_MISMATCH, format!("argument of WHERE must be type boolean, not type {given}"))
    } else if message.starts_with("Projections require unique expression names") {
        (SqlState::DUPLICATE_COLUMN, "a column is selected more than once".to_owned())
    } else if message.contains("Correlated scalar subquery must be aggregated")
        || message.contains("correlated")
        || message.contains("Physical plan does not support logical expression")
    {
        (SqlState::FEATURE_NOT_SUPPORTED, format!("this subquery is not supported: {message}"))
    } else if let Some(given) = message.strip_prefix("Unary operator 'NOT' requires a boolean expression, got ") {
        let given = arrow_name(given);
        (SqlState::DATATYPE_MISMATCH, format!("argument of NOT must be type boolean, not type {given}"))
    } else if message.starts_with("Unary operator ") {
        (SqlState::UNDEFINED_FUNCTION, "operator does not exist for a value of this type".to_owned())
    } else if message.starts_with("Invalid escape character in LIKE expression") {
        return Error::new(SqlState::INVALID_ESCAPE_SEQUENCE, "invalid escape string")
            .hint("Escape string must be empty or one character.");
    } else if message.starts_with("Cannot coerce") || message.starts_with("Cannot infer common") {
        (SqlState::DATATYPE_MISMATCH, message.clone())
    } else {
        (SqlState::SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION, message.clone())
    };
    Error::new(code, text)
}

/// PostgreSQL's name of a type that DataFusion names in a message.
fn arrow_name(given: &str) -> &str {
    match given.trim_end_matches('.') {
        "Int16" => "smallint",
        "Int32" => "integer",
        "Int64" => "bigint",
        "Float32" => "real",
        "Float64" => "double precision",
        "Utf8" | "Utf8View" => "text",
        "Date32" => "date",
        other if other.starts_with("Decimal") => "numeric",
        other if other.starts_with("Timestamp") => "timestamp",
        other => other,
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}

/// What goes wrong in the middle of a query.
fn execution(message: &str) -> Error {
    let message = first_line(message);
    let lower = message.to_lowercase();
    if lower.contains("divide by zero") || lower.contains("division by zero") {
        return Error::new(SqlState::DIVISION_BY_ZERO, "division by zero");
    }
    if message.starts_with("step can't be 0 for function generate_series") {
        return Error::new(SqlState::INVALID_PARAMETER_VALUE, "step size cannot equal zero");
    }
    if lower.contains("more than one row") {
        return Error::new(
            SqlState::CARDINALITY_VIOLATION,
            "more than one row returned by a subquery used as an expression",
        );
    }
    if lower.contains("overflow") || lower.contains("too large to store") || lower.contains("out of range") {
        return Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range").detail(message);
    }
    if lower.contains("regex") || lower.contains("regular expression") {
        return Error::new(SqlState::INVALID_REGULAR_EXPRESSION, format!("invalid regular expression: {message}"));
    }
    Error::new(SqlState::DATA_EXCEPTION, message)
}

fn catalog(error: &tidemill_catalog::Error) -> Error {
    use tidemill_catalog::Error as C;
    let message = error.to_string();
    match error {
        C::NotFound { kind, .. } => {
            let code = match *kind {
                "relation" => SqlState::UNDEFINED_TABLE,
                "schema" => SqlState::INVALID_SCHEMA_NAME,
                "database" => SqlState::INVALID_CATALOG_NAME,
                _ => SqlState::UNDEFINED_OBJECT,
            };
            Error::new(code, message)
        }
        C::AlreadyExists { kind, .. } => {
            let code = match *kind {
                "relation" => SqlState::DUPLICATE_TABLE,
                "schema" => SqlState::DUPLICATE_SCHEMA,
                "database" => SqlState::DUPLICATE_DATABASE,
                _ => SqlState::DUPLICATE_OBJECT,
            };
            Error::new(code, message)
        }
        C::Conflict { detail, .. } => Error::new(SqlState::T_R_SERIALIZATION_FAILURE, message).detail(detail.clone()),
        C::Invalid(_) => Error::new(SqlState::INVALID_PARAMETER_VALUE, message),
        C::OutOfResources(_) => Error::new(SqlState::INSUFFICIENT_RESOURCES, message),
        C::DiskFull { .. } => {
            Error::new(SqlState::DISK_FULL, message).hint("Nothing was changed. Make room on the disk, then try again.")
        }
        C::Poisoned(_) => Error::new(SqlState::IO_ERROR, message).fatal(),
        C::Corrupt { .. } => Error::new(SqlState::DATA_CORRUPTED, message),
        C::Locked(_) => Error::new(SqlState::LOCK_FILE_EXISTS, message),
        C::Io { .. } => Error::new(SqlState::IO_ERROR, message),
        C::DataFusion(inner) => root(inner),
    }
}

impl From<tidemill_catalog::Error> for Error {
    fn from(error: tidemill_catalog::Error) -> Self {
        catalog(&error)
    }
}

impl From<tidemill_udfs::types::ValueError> for Error {
    fn from(error: tidemill_udfs::types::ValueError) -> Self {
        let mut result = Self::new(SqlState::from_code(error.code), error.message);
        result.0.detail = error.detail;
        result.0.hint = error.hint;
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_of_http() {
        let cases = [
            (SqlState::SYNTAX_ERROR, 422),
            (SqlState::FEATURE_NOT_SUPPORTED, 422),
            (SqlState::PROTOCOL_VIOLATION, 400),
            (SqlState::INVALID_PASSWORD, 401),
            (SqlState::INSUFFICIENT_PRIVILEGE, 403),
            (SqlState::UNDEFINED_TABLE, 404),
            (SqlState::QUERY_CANCELED, 408),
            (SqlState::UNIQUE_VIOLATION, 409),
            (SqlState::TOO_MANY_CONNECTIONS, 429),
            (SqlState::INTERNAL_ERROR, 500),
            (SqlState::OUT_OF_MEMORY, 503),
            (SqlState::ADMIN_SHUTDOWN, 503),
            (SqlState::DISK_FULL, 507),
        ];
        for (code, status) in cases {
            assert_eq!(Error::new(code.clone(), "m").http_status(), status, "{}", code.code());
        }
        assert_eq!(Error::refused(Refusal::MediaType, "m").http_status(), 415);
        assert_eq!(Error::refused(Refusal::Busy, "m").code().code(), "53300");
    }

    #[test]
    fn places_become_offsets() {
        let text = "select 1\nfrom é.x";
        assert_eq!(offset_of(text, 1, 1), Some(0));
        assert_eq!(offset_of(text, 2, 6), Some(14));
        assert_eq!(offset_of(text, 2, 7), Some(16));
        assert_eq!(offset_of(text, 9, 1), None);
        assert_eq!(Error::internal("x").located(2, 1).resolve(text).report().offset, Some(9));
    }

    #[test]
    fn errors_have_postgresqls_codes_and_words() {
        let check = |error: DataFusionError, code: &str, message: &str| {
            let error = Error::from(error);
            assert_eq!((error.code().code(), error.report().message.as_str()), (code, message));
        };
        let external = |error: tidemill_catalog::Error| DataFusionError::External(Box::new(error)).context("scan");
        check(DataFusionError::from(arrow::error::ArrowError::DivideByZero), "22012", "division by zero");
        check(
            external(tidemill_catalog::Error::NotFound { kind: "relation", name: "t".into() }),
            "42P01",
            "relation \"t\" does not exist",
        );
        check(
            external(tidemill_catalog::Error::Conflict { oid: 1, detail: String::new() }),
            "40001",
            "could not serialize access due to concurrent update",
        );
        check(DataFusionError::ResourcesExhausted("x".into()), "53200", "out of memory");
        let spill =
            |error: std::io::Error| DataFusionError::from(arrow::error::ArrowError::from(error)).context("sort");
        let full = "The used disk space has exceeded the limit: increase `datafusion.runtime.max_temp_directory_size`.";
        let limit = "temporary file size exceeds the limit of --spill";
        check(spill(std::io::Error::other(full)), "53400", limit);
        check(DataFusionError::IoError(std::io::Error::other(full)), "53400", limit);
        let no_space = || std::io::Error::from(std::io::ErrorKind::StorageFull);
        check(spill(no_space()), "53100", "no space left on device");
        check(DataFusionError::External(Box::new(no_space())), "53100", "no space left on device");
        check(
            DataFusionError::from(tidemill_udfs::types::ValueError::new("22P02", "bad")).context("a").context("b"),
            "22P02",
            "bad",
        );
    }
}
