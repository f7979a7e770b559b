//! Types that users make: enums and domains. What a column of such a type is, its definition says by itself
//! ([`crate::record::ColumnDef::sql_type`]); a change of the type puts all tables that have it anew, in the same transaction.

use serde::{Deserialize, Serialize};

use crate::Oid;
use crate::record::CheckDef;

/// A type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TypeDef {
    /// pg_type.oid of its array.
    pub array_oid: Oid,
    /// What it is.
    pub kind: TypeKind,
}

/// What a type is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TypeKind {
    /// An enum: its labels in their order.
    Enum(Vec<EnumLabel>),
    /// A domain.
    Domain(DomainDef),
}

/// A label of an enum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnumLabel {
    /// pg_enum.oid
    pub oid: Oid,
    /// pg_enum.enumsortorder
    pub order: f32,
    /// Its text.
    pub name: String,
}

/// A domain: a type with conditions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DomainDef {
    /// The type its values are of, spelled as a column's.
    pub base: String,
    /// The enum that type is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_type: Option<Oid>,
    /// NOT NULL
    #[serde(default)]
    pub not_null: bool,
    /// DEFAULT, SQL text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// CHECK constraints: conditions on VALUE.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckDef>,
}

impl TypeDef {
    /// The labels, if it is an enum.
    pub fn labels(&self) -> Option<&[EnumLabel]> {
        match &self.kind {
            TypeKind::Enum(labels) => Some(labels),
            TypeKind::Domain(_) => None,
        }
    }

    /// The domain, if it is one.
    pub fn domain(&self) -> Option<&DomainDef> {
        match &self.kind {
            TypeKind::Enum(_) => None,
            TypeKind::Domain(domain) => Some(domain),
        }
    }

    /// The oids of its array and its constraints.
    pub(crate) fn part_oids(&self) -> impl Iterator<Item = Oid> {
        let checks = self.domain().into_iter().flat_map(|domain| domain.checks.iter().map(|check| check.oid));
        std::iter::once(self.array_oid).chain(checks)
    }
}
