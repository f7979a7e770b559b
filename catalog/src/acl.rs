//! Access control lists: who granted what on an object to whom, and how GRANT and REVOKE change that.
//!
//! An [`crate::record::Object`] has one list. Items of column 0 are about the object itself, others about a column of it
//! (`attnum`). No item of column 0 means the default privileges of such objects, which are not stored; once anything was
//! granted or revoked, the list says everything, the owner's own privileges included. A list from which everything was
//! revoked holds [`AclItem::NOTHING`], to be told from the default.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::{BitAnd, BitOr, Not};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::Oid;

/// A grantee that is everybody.
pub const PUBLIC: Oid = 0;

/// Letters of an aclitem, a bit each from the lowest: the order in which PostgreSQL prints them.
const LETTERS: &str = "arwdDxtXUCTc";

/// A set of privileges.
#[derive(Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord, Hash)]
pub struct Privileges(u16);

impl Privileges {
    /// None.
    pub const NONE: Self = Self(0);
    /// `a`
    pub const INSERT: Self = Self(1);
    /// `r`
    pub const SELECT: Self = Self(1 << 1);
    /// `w`
    pub const UPDATE: Self = Self(1 << 2);
    /// `d`
    pub const DELETE: Self = Self(1 << 3);
    /// `D`
    pub const TRUNCATE: Self = Self(1 << 4);
    /// `x`
    pub const REFERENCES: Self = Self(1 << 5);
    /// `t`
    pub const TRIGGER: Self = Self(1 << 6);
    /// `X`
    pub const EXECUTE: Self = Self(1 << 7);
    /// `U`
    pub const USAGE: Self = Self(1 << 8);
    /// `C`
    pub const CREATE: Self = Self(1 << 9);
    /// `T`
    pub const TEMPORARY: Self = Self(1 << 10);
    /// `c`
    pub const CONNECT: Self = Self(1 << 11);

    /// The set with one letter; empty for another character.
    pub const fn of_letter(letter: char) -> Self {
        let letters = LETTERS.as_bytes();
        let mut at = 0;
        while at < letters.len() {
            if letters[at] as u32 == letter as u32 {
                return Self(1 << at);
            }
            at += 1;
        }
        Self(0)
    }

    /// The set of these letters; other characters count for nothing.
    pub const fn of(letters: &str) -> Self {
        let letters = letters.as_bytes();
        let (mut set, mut at) = (0, 0);
        while at < letters.len() {
            set |= Self::of_letter(letters[at] as char).0;
            at += 1;
        }
        Self(set)
    }

    /// Its letters, in PostgreSQL's order.
    pub fn letters(self) -> impl Iterator<Item = char> {
        LETTERS.chars().enumerate().filter(move |(at, _)| self.0 >> at & 1 == 1).map(|(_, letter)| letter)
    }

    /// True without any.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// True if all of the others are in it.
    pub const fn contains(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// The privileges of both.
    pub const fn union(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// How many there are.
    pub const fn count(self) -> u32 {
        self.0.count_ones()
    }
}

impl BitOr for Privileges {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl BitAnd for Privileges {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Not for Privileges {
    type Output = Self;

    fn not(self) -> Self {
        Self(!self.0 & ((1 << LETTERS.len()) - 1))
    }
}

impl fmt::Debug for Privileges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.letters().collect::<String>())
    }
}

/// What one role granted to another. Stored as text: `[column:]grantee=letters/grantor`, roles by oid, a `*` after a letter
/// that comes with the grant option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AclItem {
    /// The column (`attnum`); 0: the object itself.
    pub column: i32,
    /// To whom; [`PUBLIC`]: everybody.
    pub grantee: Oid,
    /// By whom.
    pub grantor: Oid,
    /// What.
    pub privileges: Privileges,
    /// What of it the grantee may grant on.
    pub options: Privileges,
}

impl AclItem {
    /// Stands in a list from which everything was revoked.
    pub const NOTHING: Self =
        Self { column: 0, grantee: PUBLIC, grantor: 0, privileges: Privileges::NONE, options: Privileges::NONE };

    /// A grant on the object itself, without grant options.
    pub const fn new(grantee: Oid, grantor: Oid, privileges: Privileges) -> Self {
        Self { column: 0, grantee, grantor, privileges, options: Privileges::NONE }
    }

    /// Its privileges as an aclitem spells them.
    pub fn spelled(&self) -> String {
        let letters = self.privileges.letters();
        letters.fold(String::new(), |mut text, letter| {
            text.push(letter);
            if self.options.contains(Privileges::of_letter(letter)) {
                text.push('*');
            }
            text
        })
    }

    /// The sets that an aclitem's letters spell: privileges and grant options. `None` for other letters.
    pub fn parse_letters(text: &str) -> Option<(Privileges, Privileges)> {
        let (mut privileges, mut options) = (Privileges::NONE, Privileges::NONE);
        let mut last = Privileges::NONE;
        for letter in text.chars() {
            if letter == '*' {
                options = options | last;
                continue;
            }
            last = Privileges::of_letter(letter);
            if last.is_empty() {
                return None;
            }
            privileges = privileges | last;
        }
        Some((privileges, options))
    }

    fn parse(text: &str) -> Option<Self> {
        let (who, grantor) = text.rsplit_once('/')?;
        let (who, letters) = who.split_once('=')?;
        let (column, grantee) = who.split_once(':').unwrap_or(("0", who));
        let (privileges, options) = Self::parse_letters(letters)?;
        let (column, grantee, grantor) = (column.parse().ok()?, grantee.parse().ok()?, grantor.parse().ok()?);
        Some(Self { column, grantee, grantor, privileges, options })
    }
}

impl Serialize for AclItem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let column = if self.column == 0 { String::new() } else { format!("{}:", self.column) };
        serializer.serialize_str(&format!("{column}{}={}/{}", self.grantee, self.spelled(), self.grantor))
    }
}

impl<'de> Deserialize<'de> for AclItem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom(format!("\"{text}\" is not an access privilege")))
    }
}

/// The items of a list about the object (0) or a column; `None`: nothing is stored.
pub fn items(acl: &[AclItem], column: i32) -> Option<Vec<AclItem>> {
    let mut of_column = acl.iter().filter(|item| item.column == column).peekable();
    of_column.peek()?;
    Some(of_column.filter(|item| !item.privileges.is_empty()).copied().collect())
}

/// The list with other items about the object (0) or a column; none for a column: nothing is stored about it.
pub fn with_items(acl: &[AclItem], column: i32, items: &[AclItem]) -> Vec<AclItem> {
    let mut result: Vec<AclItem> = acl.iter().filter(|item| item.column != column).copied().collect();
    let at = result.iter().position(|item| item.column > column).unwrap_or(result.len());
    let nothing = if column == 0 && items.is_empty() { &[AclItem::NOTHING][..] } else { items };
    result.splice(at..at, nothing.iter().map(|item| AclItem { column, ..*item }));
    result
}

/// Why a GRANT or REVOKE cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The grant option would go back to who gave it.
    Circular,
    /// RESTRICT, and the grantee has granted on what is to be revoked.
    Dependent,
}

/// One GRANT or REVOKE on one list.
#[derive(Debug, Clone, Copy)]
pub struct Edit {
    /// The owner, who always has every grant option.
    pub owner: Oid,
    /// In whose name.
    pub grantor: Oid,
    /// To or from whom; [`PUBLIC`]: everybody.
    pub grantee: Oid,
    /// What.
    pub privileges: Privileges,
    /// GRANT … WITH GRANT OPTION; REVOKE GRANT OPTION FOR.
    pub option: bool,
}

impl Edit {
    /// GRANT.
    ///
    /// # Errors
    /// [`Refusal::Circular`].
    pub fn grant(&self, items: &mut Vec<AclItem>) -> Result<(), Refusal> {
        let options = if self.option { self.privileges } else { Privileges::NONE };
        if !options.is_empty() {
            self.check_circular(items, options)?;
        }
        match items.iter_mut().find(|item| item.grantee == self.grantee && item.grantor == self.grantor) {
            Some(item) => {
                item.privileges = item.privileges | self.privileges;
                item.options = item.options | options;
            }
            None => items.push(AclItem { options, ..AclItem::new(self.grantee, self.grantor, self.privileges) }),
        }
        Ok(())
    }

    /// Without what the grantee could grant, would the grantor still have it to give?
    fn check_circular(&self, items: &[AclItem], options: Privileges) -> Result<(), Refusal> {
        // The owner's come from nobody.
        if self.grantor == self.owner {
            return Ok(());
        }
        let mut without = items.to_vec();
        while let Some(item) =
            without.iter().find(|item| item.grantee == self.grantee && !item.options.is_empty()).copied()
        {
            let edit = Self { grantor: item.grantor, privileges: item.options, option: true, ..*self };
            edit.revoke(&mut without, true)?;
        }
        let own = without.iter().filter(|item| item.grantee == self.grantor);
        let own = own.fold(Privileges::NONE, |all, item| all | item.options);
        if own.contains(options) { Ok(()) } else { Err(Refusal::Circular) }
    }

    /// REVOKE, with all that was granted on (`cascade`).
    ///
    /// # Errors
    /// [`Refusal::Dependent`] without `cascade`.
    pub fn revoke(&self, items: &mut Vec<AclItem>, cascade: bool) -> Result<(), Refusal> {
        let found = items.iter_mut().find(|item| item.grantee == self.grantee && item.grantor == self.grantor);
        let Some(item) = found else { return Ok(()) };
        let lost = item.options & self.privileges;
        item.options = item.options & !self.privileges;
        if !self.option {
            item.privileges = item.privileges & !self.privileges;
        }
        items.retain(|item| !item.privileges.is_empty());
        if lost.is_empty() || self.grantee == PUBLIC || self.grantee == self.owner {
            return Ok(());
        }
        // What others granted the grantee too is not lost.
        let kept = items.iter().filter(|item| item.grantee == self.grantee);
        let lost = lost & !kept.fold(Privileges::NONE, |all, item| all | item.options);
        while let Some(item) =
            items.iter().find(|item| item.grantor == self.grantee && !(item.privileges & lost).is_empty()).copied()
        {
            if !cascade {
                return Err(Refusal::Dependent);
            }
            let edit = Self { grantor: self.grantee, grantee: item.grantee, privileges: lost, option: false, ..*self };
            edit.revoke(items, cascade)?;
        }
        Ok(())
    }
}

/// The items once the object has another owner: what the old one granted, the new one does.
pub fn with_owner(items: &[AclItem], old: Oid, new: Oid) -> Vec<AclItem> {
    let other = |role: Oid| if role == old { new } else { role };
    let mut result: Vec<AclItem> = vec![];
    for item in items {
        let item = AclItem { grantee: other(item.grantee), grantor: other(item.grantor), ..*item };
        let same = |known: &&mut AclItem| {
            (known.column, known.grantee, known.grantor) == (item.column, item.grantee, item.grantor)
        };
        match result.iter_mut().find(same) {
            Some(known) if !item.privileges.is_empty() => {
                known.privileges = known.privileges | item.privileges;
                known.options = known.options | item.options;
            }
            _ => result.push(item),
        }
    }
    result
}

/// The privileges, or only their grant options, that a role has by the items to it, to everybody, or to the roles it is in.
pub fn held(items: &[AclItem], roles: &BTreeSet<Oid>, options: bool) -> Privileges {
    let of_role = items.iter().filter(|item| item.grantee == PUBLIC || roles.contains(&item.grantee));
    of_role.fold(Privileges::NONE, |all, item| all | if options { item.options } else { item.privileges })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Oid = 10;
    const ALL: Privileges = Privileges::of("arwdDxt");

    fn edit(grantor: Oid, grantee: Oid, letters: &str, option: bool) -> Edit {
        Edit { owner: OWNER, grantor, grantee, privileges: Privileges::of(letters), option }
    }

    fn shown(items: &[AclItem]) -> Vec<String> {
        items.iter().map(|item| format!("{}={}/{}", item.grantee, item.spelled(), item.grantor)).collect()
    }

    #[test]
    fn letters_are_in_the_order_of_postgres() {
        assert_eq!(Privileges::of("cTCUXtxDdwra").letters().collect::<String>(), "arwdDxtXUCTc");
        assert_eq!((!Privileges::of("arw")).letters().collect::<String>(), "dDxtXUCTc");
    }

    #[test]
    fn items_survive_their_text() {
        for text in ["\"0=r/10\"", "\"11=ar*w/10\"", "\"3:11=r*/12\"", "\"0=/0\""] {
            let item: AclItem = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&item).unwrap(), text);
        }
        for text in ["\"x=r/10\"", "\"0=q/10\"", "\"0r/10\"", "\"0=r\""] {
            assert!(serde_json::from_str::<AclItem>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_emptied_list_is_not_the_default() {
        assert_eq!(items(&[], 0), None);
        let emptied = with_items(&[], 0, &[]);
        assert_eq!(items(&emptied, 0), Some(vec![]));
        let column = with_items(&emptied, 2, &[AclItem::new(11, OWNER, Privileges::SELECT)]);
        assert_eq!(items(&column, 0), Some(vec![]));
        assert_eq!(items(&column, 2).unwrap().len(), 1);
        assert_eq!(items(&with_items(&column, 2, &[]), 2), None);
    }

    #[test]
    fn grants_of_one_grantor_are_one_item() {
        let mut items = vec![AclItem::new(OWNER, OWNER, ALL)];
        edit(OWNER, 11, "r", false).grant(&mut items).unwrap();
        edit(OWNER, 11, "aw", true).grant(&mut items).unwrap();
        assert_eq!(shown(&items), ["10=arwdDxt/10", "11=a*rw*/10"]);
        edit(OWNER, 11, "w", true).revoke(&mut items, false).unwrap();
        assert_eq!(shown(&items), ["10=arwdDxt/10", "11=a*rw/10"]);
        edit(OWNER, 11, "arw", false).revoke(&mut items, false).unwrap();
        assert_eq!(shown(&items), ["10=arwdDxt/10"]);
    }

    #[test]
    fn what_was_granted_on_goes_with_cascade_only() {
        let mut items = vec![];
        edit(OWNER, 11, "r", true).grant(&mut items).unwrap();
        edit(11, 12, "r", true).grant(&mut items).unwrap();
        edit(12, 13, "r", false).grant(&mut items).unwrap();
        let revoke = edit(OWNER, 11, "r", false);
        assert_eq!(revoke.revoke(&mut items.clone(), false), Err(Refusal::Dependent));
        // Someone else gave it too.
        let mut twice = items.clone();
        edit(OWNER, 14, "r", true).grant(&mut twice).unwrap();
        edit(14, 11, "r", true).grant(&mut twice).unwrap();
        revoke.revoke(&mut twice, false).unwrap();
        assert_eq!(shown(&twice), ["12=r*/11", "13=r/12", "14=r*/10", "11=r*/14"]);
        revoke.revoke(&mut items, true).unwrap();
        assert!(items.is_empty(), "{items:?}");
    }

    #[test]
    fn grant_options_do_not_go_back() {
        let mut items = vec![];
        edit(OWNER, 11, "r", true).grant(&mut items).unwrap();
        edit(11, 12, "r", true).grant(&mut items).unwrap();
        assert_eq!(edit(12, 11, "r", true).grant(&mut items), Err(Refusal::Circular));
        edit(12, 11, "r", false).grant(&mut items).unwrap();
    }

    #[test]
    fn a_new_owner_takes_over() {
        let items = [AclItem::new(OWNER, OWNER, ALL), AclItem::new(11, OWNER, Privileges::SELECT)];
        assert_eq!(shown(&with_owner(&items, OWNER, 11)), ["11=arwdDxt/11"]);
        assert_eq!(shown(&with_owner(&items, OWNER, 12)), ["12=arwdDxt/12", "11=r/12"]);
    }
}
