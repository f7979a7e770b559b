//! Joins in time, which no grammar here knows: said with tokens that every grammar knows.
//!
//! ```text
//! a ASOF LEFT JOIN b ON c TOLERANCE '10 s'     →  a LEFT JOIN b ON "asof"((c), '10 s')
//! a ASOF JOIN b MATCH_CONDITION (m) ON c       →  a JOIN b ON "asof"((c) AND (m))
//! a ASOF JOIN b USING (k, ts)                  →  a JOIN b USING (k, ts, "asof")      (the last column is the inequality)
//! a LT JOIN b ON (k)                           →  a LEFT JOIN b USING (k, "keys", "lt")
//! a WINDOW JOIN b ON c RANGE BETWEEN 1 s PRECEDING AND CURRENT ROW
//!                                              →  a LEFT JOIN b ON "window"((c), 'preceding 1 s', 'current row', 'include')
//! ```
//! DuckDB's, Snowflake's and QuestDB's spellings. `plan::asof` and `plan::window_join` find the marks again.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::stretch::{closing, duration, is_name, is_word, quoted, stretch};
use super::tokens::Offsets;
use super::{ASOF, ASOF_NEAREST, KEYS, LT, WINDOW};
use crate::{Error, Result};

/// Says every such join in other words.
///
/// # Errors
/// 42601 for one that is incomplete or whose tolerance or window is none, 0A000 for windows without end.
pub(super) fn joins(sql: &str, mut tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>> {
    let mut end = tokens.len();
    let begins = |token: &TokenWithSpan| ["asof", "lt", "window"].iter().any(|word| is_word(token, word));
    // From the last: what follows one has none any more.
    while let Some(at) = tokens[..end].iter().rposition(begins) {
        if !is_name(&tokens, at)
            && let Some(join) = Join::parse(sql, &tokens, at)?
        {
            let range = at..join.end;
            let said = join.said(&tokens);
            tokens.splice(range, said);
        }
        end = at;
    }
    Ok(tokens)
}

/// True if `lt` before JOIN is the alias of what stands before it: its columns are named, and nothing else has that name.
fn is_alias(tokens: &[TokenWithSpan], at: usize) -> bool {
    let period = |place: usize| tokens.get(place).is_some_and(|token| token.token == Token::Period);
    let before_period = |place: usize| place > 0 && period(place - 1);
    let others = || (0..tokens.len()).filter(|place| *place != at && is_word(&tokens[*place], "lt"));
    let is_used = others().any(|place| period(place + 1) && !before_period(place));
    let is_other = others().any(|place| !period(place + 1) && !begins_join(tokens, place));
    is_used && !is_other
}

/// True for LT [LEFT | INNER] JOIN.
pub(super) fn begins_join(tokens: &[TokenWithSpan], at: usize) -> bool {
    let is = |place: usize, text: &str| tokens.get(place).is_some_and(|token| is_word(token, text));
    let sides = ["left", "outer", "inner"];
    let join = (at + 1..).find(|place| !sides.iter().any(|side| is(*place, side))).unwrap_or(at);
    is(join, "join")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Asof,
    Nearest,
    Lt,
    Window,
}

impl Kind {
    fn mark(self) -> &'static str {
        match self {
            Self::Asof => ASOF,
            Self::Nearest => ASOF_NEAREST,
            Self::Lt => LT,
            Self::Window => WINDOW,
        }
    }
}

/// One join: ranges of tokens.
struct Join {
    /// Where its first word is.
    at: usize,
    kind: Kind,
    /// Left rows without a match stay.
    outer: bool,
    join: usize,
    relation: (usize, usize),
    matched: Option<(usize, usize)>,
    on: Option<(usize, usize)>,
    /// Columns, without the parentheses.
    using: Option<(usize, usize)>,
    /// The columns are keys only.
    only_keys: bool,
    /// The tolerance, or the window.
    texts: Vec<String>,
    end: usize,
}

/// Words that begin the parts of a join.
const PARTS: [&str; 5] = ["match_condition", "on", "using", "tolerance", "range"];

impl Join {
    /// The join that begins at `at`; `None` if the word is a name.
    fn parse(sql: &str, tokens: &[TokenWithSpan], at: usize) -> Result<Option<Self>> {
        let is = |place: usize, text: &str| tokens.get(place).is_some_and(|token| is_word(token, text));
        let near = |place: usize, hint: &str| super::near(&Offsets::new(sql), tokens.get(place)).hint(hint);
        let mut place = at + 1;
        let kind = match () {
            () if is(at, "lt") => Kind::Lt,
            () if is(at, "window") => Kind::Window,
            () if is(place, "nearest") => Kind::Nearest,
            () => Kind::Asof,
        };
        place += usize::from(kind == Kind::Nearest);
        let mut outer = kind == Kind::Lt || kind == Kind::Window;
        if is(place, "left") && kind != Kind::Window {
            outer = true;
            place += 1 + usize::from(is(place + 1, "outer"));
        } else if is(place, "inner") && kind != Kind::Window {
            outer = false;
            place += 1;
        }
        for side in ["right", "full"] {
            let by = 1 + usize::from(is(place + 1, "outer"));
            if is(place, side) && is(place + by, "join") && kind != Kind::Window {
                let name = if kind == Kind::Lt { "LT" } else { "ASOF" };
                let message = format!("{name} {} JOIN is not supported", side.to_uppercase());
                let error = Error::unsupported(message).hint(format!("Only {name} JOIN and {name} LEFT JOIN are."));
                return Err(error.at(Offsets::new(sql).start(&tokens[at])));
            }
        }
        if !is(place, "join") || kind == Kind::Lt && is_alias(tokens, at) {
            return Ok(None);
        }
        let join = place;
        let begin = place + 1;
        // The first word is the relation's name, whatever it is.
        place = stretch(tokens, (begin + 1).min(tokens.len()), &PARTS);
        if tokens.get(begin).is_some_and(|token| token.token == Token::LParen) {
            place = stretch(tokens, begin, &PARTS);
        }
        let relation = (begin, place);
        let mut matched = None;
        if is(place, "match_condition") {
            let hint = match kind {
                Kind::Window => "Write MATCH_CONDITION (a.ts, b.ts).",
                Kind::Lt => "Write MATCH_CONDITION (a.ts > b.ts).",
                _ => "Write MATCH_CONDITION (a.ts >= b.ts).",
            };
            let close = closing(tokens, place + 1).ok_or_else(|| near(place + 1, hint))?;
            if kind == Kind::Window && comma(tokens, (place + 2, close)).is_none() {
                return Err(near(place + 1, hint));
            }
            matched = Some((place + 2, close));
            place = close + 1;
        }
        let (mut on, mut using, mut only_keys) = (None, None, false);
        if is(place, "on") && !is(place + 1, "conflict") {
            let end = stretch(tokens, place + 1, &["tolerance", "on", "range"]);
            match keys(tokens, place + 1, end).filter(|_| matched.is_none()) {
                Some(keys) => (using, only_keys) = (Some(keys), true),
                None => on = Some((place + 1, end)),
            }
            place = end;
        } else if is(place, "using") {
            let close = closing(tokens, place + 1).ok_or_else(|| near(place + 1, "Write USING (key, ts)."))?;
            if matched.is_some() {
                return Err(near(place, "With MATCH_CONDITION say the keys with ON."));
            }
            using = Some((place + 2, close));
            place = close + 1;
        }
        let mut texts = vec![];
        if kind == Kind::Window {
            (texts, place) = window(sql, tokens, place)?;
        } else if is(place, "tolerance") {
            let (text, next) = duration(tokens, place + 1).ok_or_else(|| {
                near(place + 1, "Write TOLERANCE '10 seconds', or a number where numbers are matched.")
            })?;
            texts.push(text);
            place = next;
        }
        Ok(Some(Self { at, kind, outer, join, relation, matched, on, using, only_keys, texts, end: place }))
    }

    /// The same in words that every grammar knows, at the places of those that were written.
    fn said(&self, tokens: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
        let name = self.kind.mark();
        let span = tokens[self.at].span;
        let token = |token: Token| TokenWithSpan::new(token, span);
        let word = |text: &str| token(Token::make_keyword(text));
        let mut said = vec![];
        said.extend(self.outer.then(|| word("LEFT")));
        said.push(tokens[self.join].clone());
        said.extend_from_slice(&tokens[self.relation.0..self.relation.1]);
        // A stored text ends where the last token does.
        let last = TokenWithSpan::new(Token::RParen, tokens[self.end - 1].span);
        if let Some((begin, end)) = self.using {
            said.extend([word("USING"), token(Token::LParen)]);
            said.extend_from_slice(&tokens[begin..end]);
            if self.only_keys {
                said.extend([token(Token::Comma), token(quoted(KEYS.to_owned()))]);
            }
            let texts: String = self.texts.iter().map(|text| format!("|{text}")).collect();
            said.extend([token(Token::Comma), token(quoted(format!("{name}{texts}"))), last]);
            return said;
        }
        said.extend([word("ON"), token(quoted(name.to_owned())), token(Token::LParen)]);
        // A window's match condition is a pair, and comes last.
        let pair = self.matched.filter(|_| self.kind == Kind::Window);
        let conditions = self.on.iter().chain(self.matched.iter().filter(|_| pair.is_none()));
        let before = said.len();
        for (begin, end) in conditions {
            if said.len() > before {
                said.push(word("AND"));
            }
            said.push(token(Token::LParen));
            said.extend_from_slice(&tokens[*begin..*end]);
            said.push(token(Token::RParen));
        }
        if said.len() == before {
            said.push(word("TRUE"));
        }
        for text in &self.texts {
            said.extend([token(Token::Comma), token(Token::SingleQuotedString(text.clone()))]);
        }
        if let Some((begin, end)) = pair
            && let Some(middle) = comma(tokens, (begin, end))
        {
            said.extend([token(Token::Comma), token(Token::LParen)]);
            said.extend_from_slice(&tokens[begin..middle]);
            said.extend([token(Token::RParen), token(Token::GtEq), token(Token::LParen)]);
            said.extend_from_slice(&tokens[middle + 1..end]);
            said.push(token(Token::RParen));
        }
        said.push(last);
        said
    }
}

/// `(k, l)`: names alone, from `begin` to `end`; the range within the parentheses.
fn keys(tokens: &[TokenWithSpan], begin: usize, end: usize) -> Option<(usize, usize)> {
    let close = closing(tokens, begin).filter(|close| close + 1 == end)?;
    let names = &tokens[begin + 1..close];
    let fits = |(at, token): (usize, &TokenWithSpan)| match token.token {
        Token::Word(_) => at % 2 == 0,
        Token::Comma => at % 2 == 1,
        _ => false,
    };
    (names.len() % 2 == 1 && names.iter().enumerate().all(fits)).then_some((begin + 1, close))
}

/// The comma between two expressions.
fn comma(tokens: &[TokenWithSpan], (begin, end): (usize, usize)) -> Option<usize> {
    let at = stretch(tokens, begin, &[]);
    let is_comma = tokens.get(at).is_some_and(|token| token.token == Token::Comma);
    (is_comma && at > begin && at + 1 < end && stretch(tokens, at + 1, &[]) == end).then_some(at)
}

/// `RANGE BETWEEN … AND … [INCLUDE | EXCLUDE PREVAILING]` as three texts, and the place after it.
fn window(sql: &str, tokens: &[TokenWithSpan], at: usize) -> Result<(Vec<String>, usize)> {
    const HINT: &str = "Write RANGE BETWEEN '10 seconds' PRECEDING AND CURRENT ROW [INCLUDE | EXCLUDE PREVAILING].";
    let is = |place: usize, text: &str| tokens.get(place).is_some_and(|token| is_word(token, text));
    let near = |place: usize| super::near(&Offsets::new(sql), tokens.get(place)).hint(HINT);
    let bound = |place: usize| -> Result<(String, usize)> {
        if is(place, "current") && is(place + 1, "row") {
            return Ok(("current row".to_owned(), place + 2));
        }
        if is(place, "unbounded") {
            let error = Error::unsupported("UNBOUNDED is not supported in a WINDOW JOIN");
            let error = error.hint("Name the greatest distance, like '10 years' PRECEDING.");
            return Err(error.at(Offsets::new(sql).start(&tokens[place])));
        }
        let (text, next) = duration(tokens, place).ok_or_else(|| near(place))?;
        let direction = ["preceding", "following"].into_iter().find(|direction| is(next, direction));
        let direction = direction.ok_or_else(|| near(next))?;
        Ok((format!("{direction} {text}"), next + 1))
    };
    if !is(at, "range") {
        return Err(near(at));
    }
    if !is(at + 1, "between") {
        return Err(near(at + 1));
    }
    let (low, next) = bound(at + 2)?;
    if !is(next, "and") {
        return Err(near(next));
    }
    let (high, mut end) = bound(next + 1)?;
    let prevailing = ["include", "exclude"].into_iter().find(|word| is(end, word) && is(end + 1, "prevailing"));
    end += 2 * usize::from(prevailing.is_some());
    Ok((vec![low, high, prevailing.unwrap_or("include").to_owned()], end))
}
