//! Types that users made, by name and by oid.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast;
use tidemill_catalog::Oid;
use tidemill_catalog::record::{Body, Object};
use tidemill_catalog::snapshot::{NameClass, Snapshot};
use tidemill_catalog::user_type::{DomainDef, TypeDef, TypeKind};
use tidemill_udfs::types::{EnumType, SqlType};

use super::prepare::folded;
use super::{Scope, TEMP_SCHEMA};
use crate::error::{Error, Result, SqlState};

/// What an object of kind type says.
pub(crate) fn definition(object: &Object) -> Result<&Arc<TypeDef>> {
    match &object.body {
        Body::Type(def) => Ok(def),
        _ => Err(Error::internal(format!("\"{}\" is not a type", object.name))),
    }
}

/// The enum that an object and its definition make.
pub(crate) fn enum_type(object: &Object, array_oid: Oid, labels: impl Iterator<Item = String>) -> EnumType {
    EnumType { oid: object.oid, array_oid, name: object.name.clone(), labels: labels.collect() }
}

/// The type of the values: the enum, or what is below the domain.
pub(crate) fn sql_type(object: &Object) -> Result<SqlType> {
    let def = definition(object)?;
    match &def.kind {
        TypeKind::Enum(labels) => {
            let labels = labels.iter().map(|label| label.name.clone());
            Ok(SqlType::Enum(Arc::new(enum_type(object, def.array_oid, labels))))
        }
        TypeKind::Domain(domain) => Ok(SqlType::of_stored(&domain.base)?),
    }
}

/// The enum that a type is, or an array's items are.
pub(crate) fn of(sql_type: &SqlType) -> Option<Oid> {
    match sql_type.innermost() {
        SqlType::Enum(of) => Some(of.oid),
        _ => None,
    }
}

/// 42704
pub(crate) fn undefined(name: &str) -> Error {
    Error::new(SqlState::UNDEFINED_OBJECT, format!("type \"{name}\" does not exist"))
}

/// The types that users made which a query casts to.
pub(crate) fn cast_to(scope: &Scope, query: &ast::Query) -> Vec<Oid> {
    let mut found = vec![];
    let _ = ast::visit_expressions(query, |expr| {
        let mut data_type = match expr {
            ast::Expr::Cast { data_type, .. } => data_type,
            ast::Expr::TypedString(typed) => &typed.data_type,
            _ => return ControlFlow::<()>::Continue(()),
        };
        while let ast::DataType::Array(
            ast::ArrayElemTypeDef::SquareBracket(item, _) | ast::ArrayElemTypeDef::AngleBracket(item),
        ) = data_type
        {
            data_type = item;
        }
        if let ast::DataType::Custom(name, _) = data_type {
            found.extend(scope.user_type_named(name).map(|object| object.oid));
        }
        ControlFlow::Continue(())
    });
    found.sort_unstable();
    found.dedup();
    found
}

impl Scope {
    /// The type of that name in a syntax tree, if users made it.
    pub(crate) fn user_type_named(&self, name: &ast::ObjectName) -> Option<&Arc<Object>> {
        let parts: Vec<String> = name.0.iter().map(|part| part.as_ident().map(folded)).collect::<Option<_>>()?;
        match parts.as_slice() {
            // The server's own types come first.
            [name] if SqlType::parse(name).is_ok() => None,
            [name] => self.user_type(None, name),
            [schema, name] => self.user_type(Some(schema), name),
            _ => None,
        }
    }

    fn snapshot_of(&self, schema: Oid) -> &Arc<Snapshot> {
        if schema >= TEMP_SCHEMA { &self.temp } else { &self.snapshot }
    }

    /// The type of that name that users made: in that schema, or the first on the search path.
    pub(crate) fn user_type(&self, schema: Option<&str>, name: &str) -> Option<&Arc<Object>> {
        let within = |schema: Oid| self.snapshot_of(schema).catalog.find(schema, NameClass::Type, name);
        let named = |schema: &str| match schema {
            "pg_temp" => Some(TEMP_SCHEMA),
            schema => self.snapshot.catalog.find(self.database, NameClass::Schema, schema).map(|object| object.oid),
        };
        match schema {
            Some(schema) => within(named(schema)?),
            None => within(TEMP_SCHEMA)
                .or_else(|| self.search_path.iter().filter_map(|schema| named(schema)).find_map(within)),
        }
    }

    /// The type that users made with that oid, or whose array has it.
    pub(crate) fn user_type_with(&self, oid: Oid) -> Option<(&Arc<Object>, bool)> {
        let find = |snapshot: &'_ Arc<Snapshot>| {
            let own = snapshot.catalog.parts.get(&oid).copied();
            (own.unwrap_or(oid), own.is_some())
        };
        for snapshot in [&self.snapshot, &self.temp] {
            let (found, is_part) = find(snapshot);
            if let Some(object) = snapshot.catalog.get(found)
                && let Body::Type(def) = &object.body
                && (!is_part || def.array_oid == oid)
            {
                return Some((object, is_part));
            }
        }
        None
    }

    /// The type with that oid.
    pub(crate) fn type_with(&self, oid: Oid) -> Option<SqlType> {
        if let Some(known) = SqlType::from_oid(oid, -1) {
            return Some(known);
        }
        let (object, is_array) = self.user_type_with(oid)?;
        let item = sql_type(object).ok()?;
        Some(if is_array { SqlType::Array(Arc::new(item)) } else { item })
    }

    /// The domain with that oid, as it was declared.
    pub(crate) fn declared_domain(&self, oid: Oid) -> Option<(&Arc<Object>, &DomainDef)> {
        let object = self.snapshot_of(oid).catalog.get(oid)?;
        match &object.body {
            Body::Type(def) => Some((object, def.domain()?)),
            _ => None,
        }
    }

    /// The domain with that oid, with what the domains below it ask: their conditions come first, as in PostgreSQL.
    pub(crate) fn domain(&self, oid: Oid) -> Option<(&Arc<Object>, Cow<'_, DomainDef>)> {
        let (object, own) = self.declared_domain(oid)?;
        let Some((_, below)) = own.base_type.and_then(|base| self.domain(base)) else {
            return Some((object, Cow::Borrowed(own)));
        };
        let mut all = below.into_owned();
        all.not_null |= own.not_null;
        all.checks.extend(own.checks.iter().cloned());
        all.default.clone_from(&own.default);
        Some((object, Cow::Owned(all)))
    }

    /// True if a type is that domain, or a domain over it.
    pub(crate) fn is_over(&self, mut oid: Oid, domain: Oid) -> bool {
        loop {
            if oid == domain {
                return true;
            }
            match self.declared_domain(oid).and_then(|(_, def)| def.base_type) {
                Some(base) => oid = base,
                None => return false,
            }
        }
    }

    /// All types that users made, in the session's database.
    pub(crate) fn user_types(&self) -> impl Iterator<Item = (&Arc<Object>, &Arc<TypeDef>)> {
        let here =
            self.snapshot.catalog.children(self.database).flat_map(|schema| self.snapshot.catalog.children(schema.oid));
        let temporary = self.temp.catalog.children(TEMP_SCHEMA);
        here.chain(temporary).filter_map(|object| match &object.body {
            Body::Type(def) => Some((object, def)),
            _ => None,
        })
    }
}
