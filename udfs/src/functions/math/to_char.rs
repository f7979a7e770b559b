//! Numbers as text after a template, and back: to_char's and to_number's `9 0 . , D G S MI PL SG PR L V TH RN EEEE FM`.

use super::super::call::{Value, fail};
use super::super::number::Num;
use super::super::time::ordinal_suffix;
use super::super::time::pattern::Case;

/// One part of a template.
#[derive(Debug, Clone, PartialEq)]
enum Part {
    /// A digit; with 0, a zero where there is none.
    Digit(bool),
    Point,
    Group,
    /// S: a sign next to the number.
    Sign,
    Minus,
    Plus,
    PlusMinus,
    Bracket,
    Currency,
    Ordinal(Case),
    Text(String),
}

/// A template, and what it has.
#[derive(Debug, Default)]
struct Template {
    parts: Vec<Part>,
    fill: bool,
    before: usize,
    after: usize,
    shift: usize,
    roman: Option<Case>,
    exponent: bool,
    /// A 0 stands at or before that digit: zeros fill up from there.
    zero_from: Option<usize>,
    /// The last decimal that is a 0 in the template.
    zero_to: usize,
}

impl Template {
    fn parse(text: &str) -> Value<Self> {
        let mut template = Self::default();
        let (mut rest, mut point, mut shifting) = (text, false, false);
        while let Some(first) = rest.chars().next() {
            let word = |name: &str| rest.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
            let (length, part) = match first.to_ascii_uppercase() {
                '9' | '0' => {
                    template.digit(first == '0', point, shifting);
                    (1, Some(Part::Digit(first == '0')))
                }
                '.' | 'D' if point => return fail("42601", "multiple decimal points"),
                '.' | 'D' => {
                    point = true;
                    (1, Some(Part::Point))
                }
                ',' | 'G' => (1, Some(Part::Group)),
                'S' if word("SG") => (2, Some(Part::PlusMinus)),
                'S' => (1, Some(Part::Sign)),
                'M' if word("MI") => (2, Some(Part::Minus)),
                'P' if word("PL") => (2, Some(Part::Plus)),
                'P' if word("PR") => (2, Some(Part::Bracket)),
                'F' if word("FM") => {
                    template.fill = true;
                    (2, None)
                }
                'L' => (1, Some(Part::Currency)),
                'C' => (1, None),
                'B' => (1, None),
                'V' if point => return fail("42601", "cannot use \"V\" and decimal point together"),
                'V' => {
                    shifting = true;
                    (1, None)
                }
                'T' if word("TH") => (2, Some(Part::Ordinal(if first == 'T' { Case::Upper } else { Case::Lower }))),
                'R' if word("RN") => {
                    template.roman = Some(if first == 'R' { Case::Upper } else { Case::Lower });
                    (2, None)
                }
                'E' if word("EEEE") => {
                    template.exponent = true;
                    (4, None)
                }
                '"' => {
                    let end = rest[1..].find('"').map_or(rest.len(), |at| at + 2);
                    (end, Some(Part::Text(rest[1..end].trim_end_matches('"').to_owned())))
                }
                '\\' if rest[1..].starts_with('"') => (2, Some(Part::Text("\"".into()))),
                _ => (first.len_utf8(), Some(Part::Text(first.into()))),
            };
            template.parts.extend(part);
            rest = &rest[length..];
        }
        Ok(template)
    }

    fn digit(&mut self, zero: bool, point: bool, shifting: bool) {
        if point {
            self.after += 1;
            if zero {
                self.zero_to = self.after;
            }
            return;
        }
        if zero && self.zero_from.is_none() {
            self.zero_from = Some(self.before);
        }
        self.before += 1;
        self.shift += usize::from(shifting);
    }

    fn has(&self, part: &Part) -> bool {
        self.parts.contains(part)
    }
}

/// A number ready to print: digits before and behind the point.
struct Digits {
    negative: bool,
    whole: String,
    fraction: String,
}

impl Digits {
    fn of(text: &str, after: usize) -> Self {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let fraction: String = fraction.chars().chain(std::iter::repeat('0')).take(after).collect();
        Self { negative, whole: whole.to_owned(), fraction }
    }
}

/// to_char(bigint, text)
pub(crate) fn whole(value: i64, template: &str) -> Value<String> {
    decimal(Num::from(value), template)
}

/// to_char(numeric, text)
pub(crate) fn decimal(value: Num, text: &str) -> Value<String> {
    let template = Template::parse(text)?;
    if template.roman.is_some() {
        return Ok(roman(&template, value.round(0)?.value));
    }
    if template.exponent {
        return Ok(scientific(&value.to_string(), template.after));
    }
    let shift = i128::from(10u8).checked_pow(u32::try_from(template.shift).unwrap_or(u32::MAX));
    let Some(shift) = shift else { return fail("22003", "value overflows numeric format") };
    let shifted = value.multiply(Num::new(shift, 0))?;
    let rounded = shifted.round(i32::try_from(template.after).unwrap_or(i32::MAX))?;
    let shown = rounded.to_string();
    let digits = Digits::of(if rounded.value == 0 { shown.trim_start_matches('-') } else { &shown }, template.after);
    Ok(print(&template, digits))
}

/// to_char(double precision, text)
pub(crate) fn double(value: f64, text: &str) -> Value<String> {
    /// Digits of a double that mean something.
    const DIGITS: usize = 15;
    let template = Template::parse(text)?;
    if template.roman.is_some() {
        #[expect(clippy::cast_possible_truncation, reason = "large numbers have no Roman form anyway")]
        return Ok(roman(&template, value.round_ties_even() as i128));
    }
    if template.exponent {
        return Ok(scientific(&format!("{value:e}"), template.after));
    }
    let shifted = value * 10f64.powi(i32::try_from(template.shift).unwrap_or(i32::MAX));
    let whole_digits = format!("{:.0}", shifted.abs()).len();
    let after = template.after.min(DIGITS.saturating_sub(whole_digits));
    if !value.is_finite() {
        let shown = if value.is_nan() { "NaN" } else { "Infinity" };
        let digits = Digits { negative: value < 0.0, whole: shown.into(), fraction: String::new() };
        return Ok(print(&template, digits));
    }
    Ok(print(&template, Digits::of(&format!("{shifted:.after$}"), template.after)))
}

/// ` 1.23e+04`
fn scientific(number: &str, after: usize) -> String {
    let value: f64 = number.parse().unwrap_or(f64::NAN);
    let shown = format!("{value:.after$e}");
    let (mantissa, exponent) = shown.split_once('e').unwrap_or((&shown, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    let blank = if mantissa.starts_with('-') { "" } else { " " };
    format!("{blank}{mantissa}e{sign}{digits:0>2}")
}

/// Right aligned in 15 places.
fn roman(template: &Template, value: i128) -> String {
    const NUMERALS: [(i128, &str); 13] = [
        (1000, "M"),
        (900, "CM"),
        (500, "D"),
        (400, "CD"),
        (100, "C"),
        (90, "XC"),
        (50, "L"),
        (40, "XL"),
        (10, "X"),
        (9, "IX"),
        (5, "V"),
        (4, "IV"),
        (1, "I"),
    ];
    if !(1..4000).contains(&value) {
        return "#".repeat(15);
    }
    let mut rest = value;
    let mut out = String::new();
    for (worth, numeral) in NUMERALS {
        while rest >= worth {
            out.push_str(numeral);
            rest -= worth;
        }
    }
    if template.roman == Some(Case::Lower) {
        out = out.to_ascii_lowercase();
    }
    if template.fill { out } else { format!("{out:>15}") }
}

/// The state of printing one number.
struct Printer<'t> {
    template: &'t Template,
    digits: Digits,
    out: String,
    /// Digits of the template passed before the point.
    passed: usize,
    decimals: usize,
    started: bool,
    signed: bool,
    /// The zero before the point is left out: `.5`
    bare: bool,
    behind_point: bool,
}

fn print(template: &Template, mut digits: Digits) -> String {
    if digits.whole.len() > template.before {
        digits.whole = "#".repeat(template.before);
        digits.fraction = "#".repeat(template.after);
    }
    let own_sign = [Part::Minus, Part::PlusMinus].iter().any(|part| template.has(part));
    let relevant = digits.fraction.trim_end_matches('0').len();
    let bare = template.zero_from.is_none()
        && digits.whole == "0"
        && template.after > 0
        && !(template.fill && relevant == 0 && template.zero_to == 0);
    let mut printer = Printer {
        template,
        digits,
        out: String::new(),
        passed: 0,
        decimals: 0,
        started: false,
        // A sign elsewhere is not written next to the number.
        signed: own_sign || sign_behind(template),
        bare,
        behind_point: false,
    };
    for part in &template.parts {
        printer.part(part, relevant);
    }
    printer.out
}

/// S behind the last digit.
fn sign_behind(template: &Template) -> bool {
    let digit = template.parts.iter().position(|part| matches!(part, Part::Digit(_)));
    let sign = template.parts.iter().position(|part| *part == Part::Sign);
    matches!((digit, sign), (Some(digit), Some(sign)) if sign > digit)
}

impl Printer<'_> {
    fn sign(&mut self) {
        if self.signed {
            return;
        }
        self.signed = true;
        let (minus, plus) = match () {
            () if self.template.has(&Part::Bracket) => ('<', None),
            () if self.template.has(&Part::Sign) => ('-', Some('+')),
            () => ('-', None),
        };
        match plus {
            _ if self.digits.negative => self.out.push(minus),
            Some(plus) => self.out.push(plus),
            None if !self.template.fill => self.out.push(' '),
            None => {}
        }
    }

    fn blank(&mut self) {
        if !self.template.fill {
            self.out.push(' ');
        }
    }

    fn digit(&mut self, zero: bool, relevant: usize) {
        if self.behind_point {
            let digit = self.digits.fraction.as_bytes().get(self.decimals).copied().unwrap_or(b'0');
            self.decimals += 1;
            let needed = self.decimals <= relevant || self.decimals <= self.template.zero_to || digit == b'#';
            if needed || !self.template.fill {
                self.out.push(char::from(digit));
            }
            return;
        }
        let place = self.passed;
        self.passed += 1;
        let missing = self.template.before.saturating_sub(self.digits.whole.len());
        let zeros = zero || self.template.zero_from.is_some_and(|from| place >= from);
        if place < missing || (self.bare && place + 1 == self.template.before) {
            if zeros {
                self.sign();
                self.out.push('0');
                self.started = true;
            } else {
                self.blank();
            }
            return;
        }
        self.sign();
        self.started = true;
        let digit = self.digits.whole.as_bytes().get(place - missing).copied().unwrap_or(b'0');
        self.out.push(char::from(digit));
    }

    fn part(&mut self, part: &Part, relevant: usize) {
        let negative = self.digits.negative;
        match part {
            Part::Digit(zero) => self.digit(*zero, relevant),
            Part::Point => {
                self.sign();
                self.behind_point = true;
                self.out.push('.');
            }
            Part::Group if self.started => self.out.push(','),
            Part::Group => self.blank(),
            Part::Sign if sign_behind(self.template) => self.out.push(if negative { '-' } else { '+' }),
            Part::Sign => {}
            Part::Minus if negative => self.out.push('-'),
            Part::Minus => self.blank(),
            Part::Plus if negative => self.blank(),
            Part::Plus => self.out.push('+'),
            Part::PlusMinus => self.out.push(if negative { '-' } else { '+' }),
            Part::Bracket if negative => self.out.push('>'),
            Part::Bracket => self.blank(),
            Part::Currency => self.out.push(' '),
            Part::Ordinal(case) => {
                let plain = !negative && self.template.after == 0 && !self.digits.whole.starts_with('#');
                if plain {
                    self.out.push_str(ordinal_suffix(&self.digits.whole, *case));
                }
            }
            Part::Text(text) => self.out.push_str(text),
        }
    }
}

/// to_number(text, text)
pub(crate) fn to_number(text: &str, template: &str) -> Value<Option<Num>> {
    if template.is_empty() {
        return Ok(None);
    }
    let template = Template::parse(template)?;
    if template.roman.is_some() {
        return fail("0A000", "\"RN\" not supported for input");
    }
    if template.exponent {
        return fail("0A000", "\"EEEE\" not supported for input");
    }
    let mut rest = text;
    let (mut digits, mut negative, mut point) = (String::new(), false, false);
    for part in &template.parts {
        if rest.is_empty() {
            break;
        }
        match part {
            Part::Digit(_) | Part::Point => {
                if digits.is_empty() {
                    rest = rest.trim_start();
                    if let Some(after) = rest.strip_prefix(['-', '<']) {
                        negative = true;
                        rest = after;
                    } else if let Some(after) = rest.strip_prefix('+') {
                        rest = after;
                    }
                }
                match rest.chars().next() {
                    Some('.') if !point && template.has(&Part::Point) => {
                        point = true;
                        digits.push('.');
                        rest = &rest[1..];
                        // The place of a digit still takes one behind the point.
                        if let (Part::Digit(_), Some(digit)) = (part, rest.chars().next().filter(char::is_ascii_digit))
                        {
                            digits.push(digit);
                            rest = &rest[1..];
                        }
                    }
                    Some(digit) if digit.is_ascii_digit() && *part != Part::Point => {
                        digits.push(digit);
                        rest = &rest[1..];
                    }
                    _ => {}
                }
            }
            Part::Group => rest = rest.strip_prefix(',').unwrap_or(rest),
            Part::Sign | Part::Minus | Part::Plus | Part::PlusMinus | Part::Bracket => {
                let trimmed = rest.trim_start();
                if let Some(after) = trimmed.strip_prefix(['-', '+', '>', '<']) {
                    negative |= trimmed.starts_with(['-', '<']);
                    rest = after;
                }
            }
            Part::Currency | Part::Text(_) => {
                let count = if let Part::Text(text) = part { text.chars().count() } else { 1 };
                for _ in 0..count {
                    let data = |c: char| c.is_ascii_digit() || matches!(c, '.' | ',' | '+' | '-');
                    match rest.chars().next() {
                        Some(c) if !data(c) => rest = &rest[c.len_utf8()..],
                        _ => break,
                    }
                }
            }
            Part::Ordinal(_) => rest = rest.get(2..).unwrap_or(""),
        }
    }
    if rest.starts_with('-') {
        negative = true;
    }
    match Num::parse(&digits) {
        Some(number) => {
            let scale = 10i128.checked_pow(u32::try_from(template.shift).unwrap_or(u32::MAX)).unwrap_or(1);
            let number = if scale > 1 { number.divide(Num::new(scale, 0), 16)?.trim() } else { number };
            Ok(Some(if negative { Num::new(-number.value, number.scale) } else { number }))
        }
        None => fail(
            "22P02",
            format!("invalid input syntax for type numeric: \"{}\"", if digits.is_empty() { " " } else { &digits }),
        ),
    }
}
