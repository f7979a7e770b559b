//! Accessors of `stats_agg`. Those whose plain name is an aggregate's are called `stats_sum`, `stats_stddev`,
//! `stats_variance` and `stats_corr`.

use arrow::array::ArrayRef;
use datafusion_common::Result;

use super::super::aggregate::series::counter::Counter;
use super::super::aggregate::series::rollup::Mergeable;
use super::super::aggregate::series::state::{Kind, Reader, mismatch};
use super::super::aggregate::series::stats::{Joint, Moments, Of};
use super::super::aggregate::sketches::digest::Digest;
use super::super::call::{Call, Value, fail};
use super::super::define::{Function, def};

/// Which variable of a state.
#[derive(Clone, Copy)]
enum Variable {
    /// Of one variable, or of a pair none.
    Only,
    X,
    Y,
}

fn moments(state: &[u8], variable: Variable) -> Value<Moments> {
    Ok(match variable {
        Variable::Only => Moments::decode(state)?,
        Variable::X => Joint::decode(state)?.x,
        Variable::Y => Joint::decode(state)?.y,
    })
}

/// Of two variables: a stats_agg's, or the values of a counter over the seconds since its first.
fn joint(state: &[u8]) -> Value<Joint> {
    Ok(match Reader::kind_of(state)? {
        Kind::Stats2 => Joint::decode(state)?,
        Kind::Counter => Counter::<false>::decode(state)?.line,
        Kind::Gauge => Counter::<true>::decode(state)?.line,
        other => return mismatch("stats_agg(y, x), counter_agg or gauge_agg", other),
    })
}

fn intercept(state: &[u8]) -> Value<Option<f64>> {
    Ok(match Reader::kind_of(state)? {
        Kind::Counter => Counter::<false>::decode(state)?.intercept(),
        Kind::Gauge => Counter::<true>::decode(state)?.intercept(),
        _ => joint(state)?.intercept(),
    })
}

fn num_vals(state: &[u8]) -> Value<i64> {
    let count = match Reader::kind_of(state)? {
        Kind::Stats1 => Moments::decode(state)?.count,
        Kind::Stats2 => Joint::decode(state)?.count(),
        Kind::TDigest => Digest::decode(state)?.count(),
        other => return mismatch("stats_agg or tdigest", other),
    };
    i64::try_from(count).or_else(|_| fail("22003", "bigint out of range"))
}

/// A statistic of a sample or, if the second argument says so, of the population.
fn of(c: &Call<'_>, f: impl Fn(&[u8], Of) -> Value<Option<f64>>) -> Result<ArrayRef> {
    match c.args.len() {
        1 => c.map1(|state| f(state, Of::Sample)),
        _ => c.map2(|state, method| f(state, Of::parse(method)?)),
    }
}

/// A statistic of one variable: alone, and of y and x of a pair.
macro_rules! each {
    ($names:expr, $descriptions:expr, $examples:expr, $signature:literal, $body:expr) => {{
        let ([alone, y, x], [of_alone, of_y, of_x], [show, show_y, show_x]) = ($names, $descriptions, $examples);
        [
            def(alone, of_alone, show).on($signature, |c| $body(c, Variable::Only)),
            def(y, of_y, show_y).on($signature, |c| $body(c, Variable::Y)),
            def(x, of_x, show_x).on($signature, |c| $body(c, Variable::X)),
        ]
    }};
}

fn sum(c: &Call<'_>, variable: Variable) -> Result<ArrayRef> {
    c.map1(|state| Ok(moments(state, variable)?.sum))
}

fn stddev(c: &Call<'_>, variable: Variable) -> Result<ArrayRef> {
    of(c, |state, of| Ok(moments(state, variable)?.stddev(of)))
}

fn variance(c: &Call<'_>, variable: Variable) -> Result<ArrayRef> {
    of(c, |state, of| Ok(moments(state, variable)?.variance(of)))
}

fn skewness(c: &Call<'_>, variable: Variable) -> Result<ArrayRef> {
    of(c, |state, of| Ok(moments(state, variable)?.skewness(of)))
}

fn kurtosis(c: &Call<'_>, variable: Variable) -> Result<ArrayRef> {
    of(c, |state, of| Ok(moments(state, variable)?.kurtosis(of)))
}

fn of_one() -> Vec<Function> {
    let mut all = vec![];
    all.extend(each!(
        ["stats_sum", "sum_y", "sum_x"],
        [
            "The sum of a stats_agg(x).",
            "The sum of the y of a stats_agg(y, x).",
            "The sum of the x of a stats_agg(y, x)."
        ],
        ["stats_sum(stats_agg(x))", "sum_y(stats_agg(y, x))", "sum_x(stats_agg(y, x))"],
        "bytea -> float8",
        sum
    ));
    all.extend(each!(
        ["stats_stddev", "stddev_y", "stddev_x"],
        [
            "The standard deviation of a stats_agg(x), of a 'sample' or the 'population'.",
            "The standard deviation of the y of a stats_agg(y, x), of a 'sample' or the 'population'.",
            "The standard deviation of the x of a stats_agg(y, x), of a 'sample' or the 'population'.",
        ],
        ["stats_stddev(stats_agg(x))", "stddev_y(stats_agg(y, x))", "stddev_x(stats_agg(y, x), 'population')"],
        "bytea [, text] -> float8",
        stddev
    ));
    all.extend(each!(
        ["stats_variance", "variance_y", "variance_x"],
        [
            "The variance of a stats_agg(x), of a 'sample' or the 'population'.",
            "The variance of the y of a stats_agg(y, x), of a 'sample' or the 'population'.",
            "The variance of the x of a stats_agg(y, x), of a 'sample' or the 'population'.",
        ],
        ["stats_variance(stats_agg(x))", "variance_y(stats_agg(y, x))", "variance_x(stats_agg(y, x), 'population')"],
        "bytea [, text] -> float8",
        variance
    ));
    all.extend(each!(
        ["skewness", "skewness_y", "skewness_x"],
        [
            "How lopsided the values of a stats_agg(x) are about their mean, of a 'sample' or the 'population'.",
            "How lopsided the y of a stats_agg(y, x) are about their mean, of a 'sample' or the 'population'.",
            "How lopsided the x of a stats_agg(y, x) are about their mean, of a 'sample' or the 'population'.",
        ],
        ["skewness(stats_agg(x))", "skewness_y(stats_agg(y, x))", "skewness_x(stats_agg(y, x), 'population')"],
        "bytea [, text] -> float8",
        skewness
    ));
    all.extend(each!(
        ["kurtosis", "kurtosis_y", "kurtosis_x"],
        [
            "How heavy the tails of the values of a stats_agg(x) are, 3 for a normal distribution.",
            "How heavy the tails of the y of a stats_agg(y, x) are, 3 for a normal distribution.",
            "How heavy the tails of the x of a stats_agg(y, x) are, 3 for a normal distribution.",
        ],
        ["kurtosis(stats_agg(x))", "kurtosis_y(stats_agg(y, x))", "kurtosis_x(stats_agg(y, x), 'population')"],
        "bytea [, text] -> float8",
        kurtosis
    ));
    all
}

pub(super) fn functions() -> Vec<Function> {
    let mut all = of_one();
    all.extend([
        def("num_vals", "Of how many values, or pairs of them, a stats_agg or tdigest is.", "num_vals(stats_agg(x))")
            .on("bytea -> int8", |c| c.map1(num_vals)),
        def("average_y", "The average of the y of a stats_agg(y, x).", "average_y(stats_agg(y, x))")
            .on("bytea -> float8", |c| c.map1(|state| Ok(moments(state, Variable::Y)?.average()))),
        def("average_x", "The average of the x of a stats_agg(y, x).", "average_x(stats_agg(y, x))")
            .on("bytea -> float8", |c| c.map1(|state| Ok(moments(state, Variable::X)?.average()))),
        def(
            "slope",
            "The slope of the line through the points of a stats_agg(y, x), counter_agg or gauge_agg.",
            "slope(stats_agg(y, x))",
        )
        .on("bytea -> float8", |c| c.map1(|state| Ok(joint(state)?.slope()))),
        def(
            "intercept",
            "Where the line through the points is at x = 0, of a counter_agg or gauge_agg at 2000-01-01 00:00 UTC.",
            "intercept(stats_agg(y, x))",
        )
        .on("bytea -> float8", |c| c.map1(intercept)),
        def(
            "x_intercept",
            "Where the line through the points of a stats_agg(y, x) has y = 0.",
            "x_intercept(stats_agg(y, x))",
        )
        .on("bytea -> float8", |c| c.map1(|state| Ok(Joint::decode(state)?.x_intercept()))),
        def(
            "stats_corr",
            "The correlation of y and x of a stats_agg(y, x), or of value and time of a counter_agg or gauge_agg.",
            "stats_corr(stats_agg(y, x))",
        )
        .on("bytea -> float8", |c| c.map1(|state| Ok(joint(state)?.corr()))),
        def(
            "covariance",
            "The covariance of y and x of a stats_agg(y, x), of a 'sample' or the 'population'.",
            "covariance(stats_agg(y, x))",
        )
        .on("bytea [, text] -> float8", |c| of(c, |state, of| Ok(Joint::decode(state)?.covariance(of)))),
        def(
            "determination_coeff",
            "How much of the variance of y the line through the points of a stats_agg(y, x) explains, from 0 to 1.",
            "determination_coeff(stats_agg(y, x))",
        )
        .on("bytea -> float8", |c| c.map1(|state| Ok(Joint::decode(state)?.determination()))),
    ]);
    all
}
