//! Hidden columns that every relation has: `tableoid`. A reference is replaced by the oid of the relation it belongs to, while
//! the syntax tree is made ready, so that no relation carries a column which `*` would have to hide.

use datafusion::sql::sqlparser::ast::{
    DataType as AstType, Expr, Ident, ObjectName, ObjectNamePart, Query, Select, SelectItem, TableFactor,
    TableWithJoins,
};

use super::prepare::{cast, folded, string};

const TABLE_OID: &str = "tableoid";

/// The relations in sight of the expressions being visited, innermost query last.
#[derive(Debug, Default)]
pub(super) struct SystemColumns {
    levels: Vec<Vec<Source>>,
    /// Names of WITH queries, which have no oid.
    with: Vec<String>,
}

/// What stands in FROM under one name.
#[derive(Debug)]
struct Source {
    name: String,
    /// `None`: no relation of the catalog.
    relation: Option<ObjectName>,
}

impl SystemColumns {
    /// A query begins.
    pub(super) fn enter_query(&mut self, query: &Query) {
        let tables = query.with.iter().flat_map(|with| &with.cte_tables);
        self.with.extend(tables.map(|table| folded(&table.alias.name)));
    }

    /// A SELECT begins. Its output columns keep the name of a column that is about to be replaced.
    pub(super) fn enter(&mut self, select: &mut Select) {
        let mut sources = vec![];
        select.from.iter().for_each(|table| self.collect(table, &mut sources));
        self.levels.push(sources);
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) = item
                && self.relation(expr).is_some()
            {
                let expr = expr.clone();
                *item = SelectItem::ExprWithAlias { expr, alias: Ident::new(TABLE_OID) };
            }
        }
    }

    /// A SELECT ends.
    pub(super) fn leave(&mut self) {
        self.levels.pop();
    }

    /// What a hidden column stands for, if the expression is one.
    pub(super) fn replacement(&self, expr: &Expr) -> Option<Expr> {
        let relation = self.relation(expr)?;
        let quoted = |part: &ObjectNamePart| {
            let name = part.as_ident().map(folded).unwrap_or_default();
            format!("\"{}\"", name.replace('"', "\"\""))
        };
        let name = relation.0.iter().map(quoted).collect::<Vec<_>>().join(".");
        let oid = ObjectName(vec![ObjectNamePart::Identifier(Ident::new("oid"))]);
        Some(cast(cast(string(name), AstType::Regclass), AstType::Custom(oid, vec![])))
    }

    /// The relation whose `tableoid` this is.
    fn relation(&self, expr: &Expr) -> Option<&ObjectName> {
        match expr {
            Expr::Identifier(column) if folded(column) == TABLE_OID => match self.levels.last()?.as_slice() {
                [Source { relation, .. }] => relation.as_ref(),
                _ => None,
            },
            Expr::CompoundIdentifier(parts) => {
                let [.., table, column] = parts.as_slice() else { return None };
                if folded(column) != TABLE_OID {
                    return None;
                }
                let table = folded(table);
                let mut sources = self.levels.iter().rev().flatten();
                sources.find(|source| source.name == table)?.relation.as_ref()
            }
            _ => None,
        }
    }

    fn collect(&self, table: &TableWithJoins, sources: &mut Vec<Source>) {
        for factor in std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation)) {
            match factor {
                TableFactor::NestedJoin { table_with_joins, .. } => self.collect(table_with_joins, sources),
                TableFactor::Table { name, alias, args: None, .. } => {
                    let own = name.0.last().and_then(ObjectNamePart::as_ident).map(folded).unwrap_or_default();
                    let is_with = name.0.len() == 1 && self.with.contains(&own);
                    let name_here = alias.as_ref().map_or(own, |alias| folded(&alias.name));
                    sources.push(Source { name: name_here, relation: (!is_with).then(|| name.clone()) });
                }
                TableFactor::Derived { alias, .. } | TableFactor::Function { alias, .. } => {
                    let name = alias.as_ref().map(|alias| folded(&alias.name)).unwrap_or_default();
                    sources.push(Source { name, relation: None });
                }
                _ => sources.push(Source { name: String::new(), relation: None }),
            }
        }
    }
}
