//! The functions every session has: ours first, then DataFusion's. Made once.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF, WindowUDF};
use tidemill_udfs::functions::FunctionInfo;

pub(super) struct Registry {
    scalar: HashMap<String, Arc<ScalarUDF>>,
    aggregate: HashMap<String, Arc<AggregateUDF>>,
    window: HashMap<String, Arc<WindowUDF>>,
    pub(super) planners: Vec<Arc<dyn ExprPlanner>>,
}

pub(super) static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::new);

/// The scalar function of that name.
pub(super) fn scalar(name: &str) -> Option<Arc<ScalarUDF>> {
    REGISTRY.scalar.get(name).cloned()
}

/// The aggregate function of that name.
pub(super) fn aggregate(name: &str) -> Option<Arc<AggregateUDF>> {
    REGISTRY.aggregate.get(name).cloned()
}

/// The window function of that name.
pub(super) fn window(name: &str) -> Option<Arc<WindowUDF>> {
    REGISTRY.window.get(name).cloned()
}

/// What there is to say about our functions, by name.
pub(super) fn all_info() -> Vec<FunctionInfo> {
    let mut all = tidemill_udfs::functions::all_info();
    all.extend(super::gapfill::all_info());
    all.sort_by_key(|info| info.name);
    all
}

/// What a window function is called with OVER where a scalar function has its name: DataFusion's planner would take that.
pub(super) fn over(name: &str) -> String {
    format!("\u{1}{name}")
}

/// DataFusion's functions that would answer with the engine's name, version or type names instead of PostgreSQL's, or with maps, for
/// which there is no type.
const NOT_OURS: [&str; 8] =
    ["version", "arrow_typeof", "arrow_cast", "map", "map_keys", "map_values", "map_entries", "map_extract"];

impl Registry {
    fn new() -> Self {
        let mut scalar = HashMap::new();
        let mut aggregate = HashMap::new();
        let mut window = HashMap::new();
        for function in SessionStateDefaults::default_scalar_functions() {
            if !NOT_OURS.contains(&function.name()) {
                insert(&mut scalar, function.name().to_owned(), function.aliases().to_vec(), &function);
            }
        }
        for function in tidemill_udfs::functions::all_scalar()
            .into_iter()
            .chain(super::clock::all())
            .chain(super::asof::all())
            .chain(super::latest::all())
            .chain(super::window_join::all())
            .chain(super::gapfill::all())
            .chain([super::record::constructor()])
        {
            insert(&mut scalar, function.name().to_owned(), function.aliases().to_vec(), &function);
        }
        for function in SessionStateDefaults::default_aggregate_functions()
            .into_iter()
            .chain(tidemill_udfs::functions::all_aggregate())
        {
            insert(&mut aggregate, function.name().to_owned(), function.aliases().to_vec(), &function);
        }
        aggregate.insert("avg".to_owned(), super::pending::PendingAverage::udf());
        for function in
            SessionStateDefaults::default_window_functions().into_iter().chain(tidemill_udfs::functions::all_window())
        {
            let mut names = function.aliases().to_vec();
            if scalar.contains_key(function.name()) {
                names.push(over(function.name()));
            }
            insert(&mut window, function.name().to_owned(), names, &function);
        }
        let mut planners: Vec<Arc<dyn ExprPlanner>> = vec![Arc::new(super::pending::Operators)];
        planners.extend(SessionStateDefaults::default_expr_planners());
        Self { scalar, aggregate, window, planners }
    }

    /// The name a function goes by itself, where this one is another name for it.
    pub(super) fn own_name(&self, alias: &str) -> Option<&str> {
        let own = self
            .scalar
            .get(alias)
            .map(|function| function.name())
            .or_else(|| self.aggregate.get(alias).map(|function| function.name()))
            .or_else(|| self.window.get(alias).map(|function| function.name()))?;
        (own != alias).then_some(own)
    }

    pub(super) fn scalars(&self) -> Vec<Arc<ScalarUDF>> {
        self.scalar.values().cloned().collect()
    }

    pub(super) fn aggregates(&self) -> Vec<Arc<AggregateUDF>> {
        self.aggregate.values().cloned().collect()
    }

    pub(super) fn windows(&self) -> Vec<Arc<WindowUDF>> {
        self.window.values().cloned().collect()
    }
}

fn insert<F>(map: &mut HashMap<String, Arc<F>>, name: String, aliases: Vec<String>, function: &Arc<F>) {
    for alias in aliases {
        map.insert(alias, Arc::clone(function));
    }
    map.insert(name, Arc::clone(function));
}

#[cfg(test)]
mod tests;
