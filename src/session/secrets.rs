//! Secrets in the texts of statements: others see the statement without them.

use std::borrow::Cow;

/// What is shown for a secret.
pub(crate) const HIDDEN: &str = "********";

/// Words in the names of options and settings whose values are secrets.
const WORDS: &[&str] = &["password", "secret", "token", "_key", "credential"];
/// What names of options of statements begin with: `WHERE token = 'x'` is shown as it is.
const PREFIXES: &[&str] = &["aws_", "azure_", "google_", "kafka."];

/// True for the name of an option whose value is not for others. What AWS calls a key's id is none.
pub(crate) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    WORDS.iter().any(|word| name.contains(word)) && !name.ends_with("key_id")
}

/// The text with stars for strings that follow the name of such an option: `aws_secret_access_key = 'x'`.
pub(crate) fn without_secrets(text: &str) -> Cow<'_, str> {
    let mut shown = String::new();
    // Up to where the text is taken over, and where the next string is looked for.
    let (mut done, mut at) = (0, 0);
    while let Some(quote) = memchr::memchr(b'\'', &text.as_bytes()[at..]) {
        let (start, end) = (at + quote, string_end(text, at + quote));
        if is_secret_option(name_before(&text[..start])) {
            shown.push_str(&text[done..start]);
            shown.push('\'');
            shown.push_str(HIDDEN);
            shown.push('\'');
            done = end;
        }
        at = end;
    }
    if done == 0 {
        return Cow::Borrowed(text);
    }
    shown.push_str(&text[done..]);
    Cow::Owned(shown)
}

fn is_secret_option(name: &str) -> bool {
    let has = |prefix: &&str| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    PREFIXES.iter().any(has) && is_secret(name)
}

/// Behind the string that begins at `start`; a doubled quote does not end it.
fn string_end(text: &str, start: usize) -> usize {
    let mut at = start + 1;
    loop {
        let Some(quote) = memchr::memchr(b'\'', &text.as_bytes()[at..]) else { return text.len() };
        at += quote + 1;
        if text.as_bytes().get(at) != Some(&b'\'') {
            return at;
        }
        at += 1;
    }
}

/// The name that the text ends with, quoted or not, before an equals sign; the mark of an escape string is none.
fn name_before(text: &str) -> &str {
    let is_blank = |c: char| c.is_whitespace() || c == '=';
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '$');
    let text = match text.strip_suffix(['e', 'E']) {
        Some(rest) if rest.ends_with(is_blank) => rest,
        _ => text,
    };
    let text = text.trim_end_matches(is_blank).trim_end_matches(['"', '\'']);
    &text[text.trim_end_matches(is_name).len()..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let cases = [
            ("SELECT 'password', 'x'", None),
            ("SELECT 1", None),
            ("SELECT * FROM t WHERE token = 'x'", None),
            ("(kafka.sasl.password 'it''s', topic 't')", Some("(kafka.sasl.password '********', topic 't')")),
            (
                "COPY t FROM 's3://b/x' WITH (aws_access_key_id 'id', AWS_SECRET_ACCESS_KEY 'a', aws_region 'r')",
                Some(
                    "COPY t FROM 's3://b/x' WITH (aws_access_key_id 'id', AWS_SECRET_ACCESS_KEY '********', aws_region 'r')",
                ),
            ),
            (
                "(kafka.sasl.password = 'a', \"azure_storage_sas_token\"='b', 'google_service_account_key' e'c",
                Some(
                    "(kafka.sasl.password = '********', \"azure_storage_sas_token\"='********', \
                     'google_service_account_key' e'********'",
                ),
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(without_secrets(text), expected.unwrap_or(text));
        }
        assert!(
            is_secret("azure_storage_account_key") && !is_secret("aws_access_key_id") && !is_secret("sasl.username")
        );
    }
}
