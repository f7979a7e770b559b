//! Names of objects: part by part between slashes, as names of files, with `**` for any folders. A place without wildcards is a
//! folder, and has all objects below it.

use super::super::{has_wildcard, matches};

/// See the module.
pub(super) struct Pattern<'p> {
    parts: Vec<&'p str>,
    is_folder: bool,
}

impl<'p> Pattern<'p> {
    pub(super) fn new(key: &'p str) -> Self {
        let parts = key.split('/').filter(|part| !part.is_empty()).collect();
        Self { parts, is_folder: !has_wildcard(key.as_bytes()) }
    }

    /// The folder that all names are below.
    pub(super) fn prefix(&self) -> String {
        let plain = self.parts.iter().take_while(|part| !has_wildcard(part.as_bytes()));
        plain.copied().collect::<Vec<_>>().join("/")
    }

    /// Whether it stands for an object.
    pub(super) fn takes(&self, name: &str) -> bool {
        let names: Vec<&str> = name.split('/').collect();
        if self.is_folder {
            return names.len() > self.parts.len() && names.starts_with(&self.parts);
        }
        // For each number of the name's parts: whether the pattern's parts so far can stand for them.
        let mut reached = vec![false; names.len() + 1];
        reached[0] = true;
        for (at, part) in self.parts.iter().enumerate() {
            let mut next = vec![false; names.len() + 1];
            for end in 0..=names.len() {
                next[end] = if *part == "**" {
                    // Any number of folders that are not hidden; at the end the object's own name too.
                    let name = end.checked_sub(1).map(|before| names[before]);
                    let is_last = at + 1 == self.parts.len();
                    let goes_on = name.is_some_and(|name| !name.starts_with('.') && (is_last || end < names.len()));
                    (reached[end] && (!is_last || end < names.len()))
                        || (goes_on && (next[end - 1] || reached[end - 1]))
                } else {
                    end > 0 && reached[end - 1] && fits(part, names[end - 1])
                };
            }
            reached = next;
        }
        reached[names.len()]
    }
}

fn fits(part: &str, name: &str) -> bool {
    if !has_wildcard(part.as_bytes()) {
        return part == name;
    }
    let is_hidden = name.starts_with('.') && !part.starts_with('.');
    !is_hidden && matches(part.as_bytes(), name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn names_and_patterns() {
        let cases = [
            ("dir/*.json", "dir", "dir/a.json", true),
            ("dir/*.json", "dir", "dir/b/a.json", false),
            ("dir/*.json", "dir", "dir/.a.json", false),
            ("*/x[12].json", "", "a/x1.json", true),
            ("*/x[12].json", "", "a/x3.json", false),
            ("a/**/*.json", "a", "a/x.json", true),
            ("a/**/*.json", "a", "a/b/c/x.json", true),
            ("a/**/*.json", "a", "a/b/.c/x.json", false),
            ("a/**/*.json", "a", "b/x.json", false),
            ("a/**", "a", "a/b/c", true),
            ("a/**", "a", "a", false),
            ("**/b/*", "", "x/y/b/c", true),
            ("**/b/*", "", "x/y/c/c", false),
            ("a/b/", "a/b", "a/b/c/d", true),
            ("a/b", "a/b", "a/bc", false),
            ("a/b", "a/b", "a/b", false),
            ("", "", "anything", true),
        ];
        for (pattern, prefix, name, expected) in cases {
            let compiled = Pattern::new(pattern);
            assert_eq!(compiled.prefix(), prefix, "{pattern}");
            assert_eq!(compiled.takes(name), expected, "{pattern} {name}");
        }
    }
}
