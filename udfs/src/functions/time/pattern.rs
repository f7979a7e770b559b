//! The template language of to_char, to_date and to_timestamp: `YYYY-MM-DD HH24:MI:SS`.

/// What a template part stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    /// A.D. or B.C., with dots or without
    Era(bool),
    /// A.M. or P.M., with dots or without
    Meridiem(bool),
    Century,
    WeekdayName,
    WeekdayShort,
    DayOfYear,
    IsoDayOfYear,
    DayOfMonth,
    DayOfWeek,
    IsoDayOfWeek,
    /// A fraction of a second of that many digits.
    Fraction(u32),
    Hour12,
    Hour24,
    IsoYear(usize),
    IsoWeek,
    Julian,
    MonthName,
    MonthShort,
    Month,
    Minute,
    Milliseconds,
    Microseconds,
    Quarter,
    RomanMonth,
    SecondsOfDay,
    Second,
    ZoneName,
    ZoneHours,
    ZoneMinutes,
    ZoneOffset,
    WeekOfYear,
    WeekOfMonth,
    /// 1,234
    YearComma,
    Year(usize),
}

/// How a name is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    Upper,
    Title,
    Lower,
}

/// One part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Field {
        key: Key,
        case: Case,
        /// FM: no blanks and zeros to fill up
        fill: bool,
        /// th or TH behind the number
        ordinal: Option<Case>,
    },
    /// Printed as it is; when reading, as many characters are skipped.
    Text(String),
    /// A blank or a sign: when reading, stands for any of them.
    Separator(char),
}

/// A template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    pub(crate) parts: Vec<Part>,
    /// FX: blanks and signs have to be as in the template.
    pub(crate) exact: bool,
}

/// Names in upper case, longest first where one begins another.
const KEYS: &[(&str, Key)] = &[
    ("A.D.", Key::Era(true)),
    ("A.M.", Key::Meridiem(true)),
    ("AD", Key::Era(false)),
    ("AM", Key::Meridiem(false)),
    ("B.C.", Key::Era(true)),
    ("BC", Key::Era(false)),
    ("CC", Key::Century),
    ("DAY", Key::WeekdayName),
    ("DDD", Key::DayOfYear),
    ("DD", Key::DayOfMonth),
    ("DY", Key::WeekdayShort),
    ("D", Key::DayOfWeek),
    ("FF1", Key::Fraction(1)),
    ("FF2", Key::Fraction(2)),
    ("FF3", Key::Fraction(3)),
    ("FF4", Key::Fraction(4)),
    ("FF5", Key::Fraction(5)),
    ("FF6", Key::Fraction(6)),
    ("HH24", Key::Hour24),
    ("HH12", Key::Hour12),
    ("HH", Key::Hour12),
    ("IDDD", Key::IsoDayOfYear),
    ("ID", Key::IsoDayOfWeek),
    ("IW", Key::IsoWeek),
    ("IYYY", Key::IsoYear(4)),
    ("IYY", Key::IsoYear(3)),
    ("IY", Key::IsoYear(2)),
    ("I", Key::IsoYear(1)),
    ("J", Key::Julian),
    ("MI", Key::Minute),
    ("MM", Key::Month),
    ("MONTH", Key::MonthName),
    ("MON", Key::MonthShort),
    ("MS", Key::Milliseconds),
    ("OF", Key::ZoneOffset),
    ("P.M.", Key::Meridiem(true)),
    ("PM", Key::Meridiem(false)),
    ("Q", Key::Quarter),
    ("RM", Key::RomanMonth),
    ("SSSSS", Key::SecondsOfDay),
    ("SSSS", Key::SecondsOfDay),
    ("SS", Key::Second),
    ("TZH", Key::ZoneHours),
    ("TZM", Key::ZoneMinutes),
    ("TZ", Key::ZoneName),
    ("US", Key::Microseconds),
    ("WW", Key::WeekOfYear),
    ("W", Key::WeekOfMonth),
    ("Y,YYY", Key::YearComma),
    ("YYYY", Key::Year(4)),
    ("YYY", Key::Year(3)),
    ("YY", Key::Year(2)),
    ("Y", Key::Year(1)),
];

fn starts(text: &str, name: &str) -> bool {
    text.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
}

/// Names are as the template writes them: MONTH, Month, month.
fn case_of(written: &str) -> Case {
    let mut letters = written.chars().filter(char::is_ascii_alphabetic);
    match (letters.next(), letters.next()) {
        (Some(first), _) if first.is_ascii_lowercase() => Case::Lower,
        (_, Some(second)) if second.is_ascii_lowercase() => Case::Title,
        _ => Case::Upper,
    }
}

impl Pattern {
    /// Reads a template.
    pub(crate) fn parse(template: &str) -> Self {
        let (mut parts, mut exact, mut fill, mut rest) = (vec![], false, false, template);
        'parts: while !rest.is_empty() {
            if starts(rest, "FM") {
                fill = true;
                rest = &rest[2..];
                continue;
            }
            if starts(rest, "FX") {
                exact = true;
                rest = &rest[2..];
                continue;
            }
            if starts(rest, "TM") {
                rest = &rest[2..];
                continue;
            }
            for (name, key) in KEYS {
                if starts(rest, name) {
                    let case = case_of(&rest[..name.len()]);
                    rest = &rest[name.len()..];
                    let mut ordinal = None;
                    if starts(rest, "TH") {
                        ordinal = Some(if rest.starts_with("TH") { Case::Upper } else { Case::Lower });
                        rest = &rest[2..];
                    } else if starts(rest, "SP") {
                        rest = &rest[2..];
                    }
                    parts.push(Part::Field { key: *key, case, fill, ordinal });
                    fill = false;
                    continue 'parts;
                }
            }
            fill = false;
            rest = literal(rest, &mut parts);
        }
        Self { parts, exact }
    }
}

/// Reads quoted text, an escaped character, or one character; gives the rest.
fn literal<'a>(rest: &'a str, parts: &mut Vec<Part>) -> &'a str {
    if let Some(quoted) = rest.strip_prefix('"') {
        let mut text = String::new();
        let mut characters = quoted.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    parts.push(Part::Text(text));
                    return &quoted[at + 1..];
                }
                '\\' => text.extend(characters.next().map(|(_, escaped)| escaped)),
                other => text.push(other),
            }
        }
        parts.push(Part::Text(text));
        return "";
    }
    if let Some(after) = rest.strip_prefix("\\\"") {
        parts.push(Part::Text("\"".into()));
        return after;
    }
    let character = rest.chars().next().expect("the template is not at its end");
    if character.is_ascii() && !character.is_ascii_alphanumeric() {
        parts.push(Part::Separator(character));
    } else {
        parts.push(Part::Text(character.into()));
    }
    &rest[character.len_utf8()..]
}

/// January to December.
pub(crate) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Sunday to Saturday.
pub(crate) const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Months in Roman numbers.
pub(crate) const ROMAN_MONTHS: [&str; 12] = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"];
