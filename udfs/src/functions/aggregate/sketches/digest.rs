//! `tdigest(buckets, value)` and `percentile_agg(value)`: percentiles of many values in a few kilobytes, most exact at both
//! ends.
//!
//! The merging t-digest with scale function k₁ (Dunning and Ertl, "Computing extremely accurate quantiles using t-digests",
//! 2019): neighbouring values are put together as long as that spans no more than 1 on a scale that is stretched towards the
//! ends, so that there are at most as many centroids as buckets and those of the extremes are single values.

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int32Array};
use arrow::datatypes::{FieldRef, Float64Type, Int32Type};
use datafusion_common::Result;

use super::super::super::call::{Value, fail};
use super::super::super::define::{Function, def};
use super::super::series::rollup::Mergeable;
use super::super::series::state::{Kind, Reader, Writer};
use super::super::two_step::{Summary, aggregated};

/// Buckets of `percentile_agg`: 3 kB, and a rank in the middle is off by less than half a percent.
const BUCKETS_DEFAULT: u32 = 200;
const BUCKETS_MAX: u32 = 10_000;
/// New values are sorted in when there are so many times as many as buckets.
const WAITING_PER_BUCKET: usize = 5;
/// Counts stay exact as doubles up to here.
const COUNT_MAX: u64 = 1 << 53;

/// Values that are near each other.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Centroid {
    mean: f64,
    count: u64,
}

/// The values seen.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Digest {
    buckets: u32,
    /// In ascending order, but for the last `waiting`, which are single values.
    centroids: Vec<Centroid>,
    waiting: usize,
    /// Infinite values are only counted.
    below: u64,
    above: u64,
    sum: f64,
    /// Of the finite values.
    min: f64,
    max: f64,
}

#[expect(clippy::cast_precision_loss, reason = "more than 2^53 values are not counted one by one")]
fn float(count: u64) -> f64 {
    count as f64
}

impl Digest {
    pub(crate) fn new(buckets: u32) -> Self {
        Self {
            buckets,
            centroids: vec![],
            waiting: 0,
            below: 0,
            above: 0,
            sum: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
        }
    }

    fn with_buckets(buckets: i32) -> Value<Self> {
        match u32::try_from(buckets) {
            Ok(buckets) if (1..=BUCKETS_MAX).contains(&buckets) => Ok(Self::new(buckets)),
            _ => fail("22023", format!("number of buckets {buckets} is not between 1 and {BUCKETS_MAX}")),
        }
    }

    /// Adds a value that is not NaN.
    pub(crate) fn insert(&mut self, value: f64) {
        self.sum += value;
        if value.is_infinite() {
            *(if value > 0.0 { &mut self.above } else { &mut self.below }) += 1;
            return;
        }
        (self.min, self.max) = (self.min.min(value), self.max.max(value));
        self.centroids.push(Centroid { mean: value, count: 1 });
        self.waiting += 1;
        if self.waiting >= WAITING_PER_BUCKET * self.buckets as usize {
            self.compress();
        }
    }

    fn add_all(&mut self, other: &Self) {
        self.buckets = self.buckets.max(other.buckets);
        self.below = self.below.saturating_add(other.below);
        self.above = self.above.saturating_add(other.above);
        self.sum += other.sum;
        (self.min, self.max) = (self.min.min(other.min), self.max.max(other.max));
        self.centroids.extend(&other.centroids);
        self.waiting += other.centroids.len();
        self.compress();
    }

    /// Sorts in what is waiting and puts neighbours together.
    fn compress(&mut self) {
        if self.waiting == 0 {
            return;
        }
        self.waiting = 0;
        self.centroids.sort_by(|a, b| a.mean.total_cmp(&b.mean));
        let total = float(self.finite());
        let sorted = std::mem::take(&mut self.centroids);
        let mut out: Vec<Centroid> = Vec::with_capacity((self.buckets as usize + 1).min(sorted.len()));
        let (mut before, mut limit) = (0_u64, self.limit(0.0));
        for next in sorted {
            if let Some(last) = out.last_mut() {
                let count = last.count.saturating_add(next.count);
                if float(before) + float(count) <= limit * total {
                    // Two products, as the difference of two means can be too large for a double.
                    let part = float(next.count) / float(count);
                    last.mean = (last.mean * (1.0 - part) + next.mean * part).clamp(last.mean, next.mean);
                    last.count = count;
                    continue;
                }
                before = before.saturating_add(last.count);
                limit = self.limit(float(before) / total);
            }
            out.push(next);
        }
        self.centroids = out;
    }

    /// How far a centroid may reach that begins at that fraction of all values: to where k₁ has grown by 1.
    fn limit(&self, from: f64) -> f64 {
        use std::f64::consts::{FRAC_PI_2, TAU};
        let angle = (2.0 * from - 1.0).clamp(-1.0, 1.0).asin() + TAU / f64::from(self.buckets);
        if angle >= FRAC_PI_2 { 1.0 } else { (angle.sin() + 1.0) / 2.0 }
    }

    fn finite(&self) -> u64 {
        self.centroids.iter().fold(0, |sum, centroid| sum.saturating_add(centroid.count))
    }

    /// How many values there are.
    pub(crate) fn count(&self) -> u64 {
        self.finite().saturating_add(self.below).saturating_add(self.above)
    }

    pub(crate) fn min(&self) -> f64 {
        if self.below > 0 {
            f64::NEG_INFINITY
        } else if self.centroids.is_empty() {
            f64::INFINITY
        } else {
            self.min
        }
    }

    pub(crate) fn max(&self) -> f64 {
        if self.above > 0 {
            f64::INFINITY
        } else if self.centroids.is_empty() {
            f64::NEG_INFINITY
        } else {
            self.max
        }
    }

    pub(crate) fn mean(&self) -> f64 {
        self.sum / float(self.count())
    }

    /// The points between which ranks are interpolated: how many values are before, and the value. A centroid's mean is in
    /// the middle of its values.
    fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        let mut before = 0_u64;
        let middles = self.centroids.iter().map(move |centroid| {
            let middle = float(before) + float(centroid.count) / 2.0;
            before = before.saturating_add(centroid.count);
            (middle, centroid.mean)
        });
        [(0.0, self.min)].into_iter().chain(middles).chain([(float(self.finite()), self.max)])
    }

    /// The value below which a fraction of all values are.
    pub(crate) fn percentile(&mut self, fraction: f64) -> f64 {
        self.compress();
        let (finite, place) = (float(self.finite()), fraction * float(self.count()) - float(self.below));
        if self.below > 0 && (place < 0.0 || self.count() == self.below) {
            return f64::NEG_INFINITY;
        }
        if self.above > 0 && (place > finite || finite == 0.0) {
            return f64::INFINITY;
        }
        let (mut left, mut value) = (0.0, self.min);
        for (right, next) in self.points() {
            if place < right {
                let part = (place - left) / (right - left);
                return (value * (1.0 - part) + next * part).clamp(value, next);
            }
            (left, value) = (right, next);
        }
        self.max
    }

    /// The fraction of values that are below a value; of equal ones the half.
    pub(crate) fn rank(&mut self, value: f64) -> f64 {
        self.compress();
        let (below, total) = (float(self.below), float(self.count()));
        if value == f64::NEG_INFINITY {
            return below / 2.0 / total;
        }
        if value == f64::INFINITY {
            return 1.0 - float(self.above) / 2.0 / total;
        }
        if self.centroids.is_empty() || value < self.min {
            return below / total;
        }
        if value > self.max {
            return (below + float(self.finite())) / total;
        }
        // The last point below the value, the first and the last at it, and the first above.
        let (mut lower, mut at, mut upper) = (None, None::<(f64, f64)>, None);
        for (place, mean) in self.points() {
            if mean < value {
                lower = Some((place, mean));
            } else if mean == value {
                at = Some((at.map_or(place, |(first, _)| first), place));
            } else {
                upper = Some((place, mean));
                break;
            }
        }
        let place = match (at, lower, upper) {
            (Some((first, last)), ..) => f64::midpoint(first, last),
            (None, Some((left, a)), Some((right, b))) => {
                // Halves, as the difference of two doubles can be too large for one.
                let part = (value / 2.0 - a / 2.0) / (b / 2.0 - a / 2.0);
                left + (right - left) * part
            }
            _ => 0.0,
        };
        (below + place) / total
    }
}

impl Summary for Digest {
    type Rows<'a> = (Option<&'a Int32Array>, &'a Float64Array);

    fn open<'a>(arrays: &'a [ArrayRef], _: &'a [FieldRef]) -> Result<Self::Rows<'a>> {
        let values = arrays[arrays.len() - 1].as_primitive::<Float64Type>();
        Ok((if arrays.len() > 1 { Some(arrays[0].as_primitive::<Int32Type>()) } else { None }, values))
    }

    fn add(group: &mut Option<Self>, (buckets, values): &Self::Rows<'_>, row: usize) -> Value<()> {
        if values.is_null(row) || values.value(row).is_nan() {
            return Ok(());
        }
        let digest = match (group, buckets) {
            (Some(digest), _) => digest,
            (group, None) => group.insert(Self::new(BUCKETS_DEFAULT)),
            (_, Some(buckets)) if buckets.is_null(row) => return fail("22023", "number of buckets must not be null"),
            (group, Some(buckets)) => group.insert(Self::with_buckets(buckets.value(row))?),
        };
        digest.insert(values.value(row));
        Ok(())
    }

    fn merge(&mut self, other: Self) -> Value<()> {
        self.add_all(&other);
        Ok(())
    }

    fn write(&mut self) -> Vec<u8> {
        self.compress();
        Mergeable::encode(self)
    }

    fn read(bytes: &[u8]) -> Value<Self> {
        Mergeable::decode(bytes)
    }

    fn heap_bytes(&self) -> usize {
        self.centroids.capacity() * size_of::<Centroid>()
    }
}

impl Mergeable for Digest {
    const ORDERED: bool = false;

    fn decode(bytes: &[u8]) -> Value<Self> {
        let mut reader = Reader::open(bytes, Kind::TDigest)?;
        let mut digest = Self::new(reader.u32()?);
        (digest.below, digest.above) = (reader.u64()?, reader.u64()?);
        (digest.sum, digest.min, digest.max) = (reader.f64()?, reader.f64()?, reader.f64()?);
        let count = reader.u32()? as usize;
        if !(1..=BUCKETS_MAX).contains(&digest.buckets) || count > reader.left() / size_of::<Centroid>() {
            return Reader::invalid("number of buckets");
        }
        for _ in 0..count {
            digest.centroids.push(Centroid { mean: reader.f64()?, count: reader.u64()? });
        }
        reader.end()?;
        let means = || digest.centroids.iter().map(|centroid| centroid.mean);
        let ordered = means().all(|mean| digest.min <= mean && mean <= digest.max) && means().is_sorted();
        let finite = digest.centroids.is_empty() || (digest.min.is_finite() && digest.max.is_finite());
        if !ordered || !finite || digest.centroids.iter().any(|centroid| centroid.count == 0) {
            return Reader::invalid("centroids");
        }
        if digest.count() == 0 || digest.count() > COUNT_MAX {
            return Reader::invalid("number of values");
        }
        if digest.centroids.is_empty() {
            (digest.min, digest.max) = (f64::INFINITY, f64::NEG_INFINITY);
        }
        Ok(digest)
    }

    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(Kind::TDigest);
        writer.u32(self.buckets);
        writer.u64(self.below);
        writer.u64(self.above);
        [self.sum, self.min, self.max].into_iter().for_each(|value| writer.f64(value));
        writer.u32(u32::try_from(self.centroids.len()).expect("some thousand centroids"));
        for centroid in &self.centroids {
            writer.f64(centroid.mean);
            writer.u64(centroid.count);
        }
        writer.finish()
    }

    fn merge(&mut self, next: Self) -> Value<()> {
        self.add_all(&next);
        Ok(())
    }
}

/// The aggregates.
pub(super) fn aggregates() -> Vec<Function> {
    vec![
        def(
            "tdigest",
            "A state that knows percentiles, with a number of buckets from 1 to 10000: more are more exact.",
            "approx_percentile(0.99, tdigest(400, duration))",
        )
        .on("int4, float8 -> bytea", aggregated),
        def(
            "percentile_agg",
            "A state that knows percentiles: tdigest of 200 buckets.",
            "approx_percentile(0.99, percentile_agg(duration))",
        )
        .on("float8 -> bytea", aggregated),
    ]
}

/// The accessors, but for those that states of other kinds have too.
pub(super) fn accessors() -> Vec<Function> {
    vec![
        def(
            "approx_percentile",
            "The value below which about that fraction of a state's values are.",
            "approx_percentile(0.99, percentile_agg(duration))",
        )
        .on("float8, bytea -> float8", |c| {
            c.map2(|fraction: f64, state: &[u8]| {
                if !(0.0..=1.0).contains(&fraction) {
                    return fail("22003", format!("percentile value {fraction} is not between 0 and 1"));
                }
                Ok(Digest::decode(state)?.percentile(fraction))
            })
        }),
        def(
            "approx_percentile_rank",
            "About which fraction of a state's values are below a value.",
            "approx_percentile_rank(0.5, percentile_agg(duration))",
        )
        .on("float8, bytea -> float8", |c| {
            c.map2(|value: f64, state: &[u8]| {
                let mut digest = Digest::decode(state)?;
                Ok(if value.is_nan() { None } else { Some(digest.rank(value)) })
            })
        }),
        def("mean", "The mean of a state's values.", "mean(percentile_agg(duration))")
            .on("bytea -> float8", |c| c.map1(|state: &[u8]| Ok(Digest::decode(state)?.mean()))),
        def("min_val", "The least of a state's values.", "min_val(percentile_agg(duration))")
            .on("bytea -> float8", |c| c.map1(|state: &[u8]| Ok(Digest::decode(state)?.min()))),
        def("max_val", "The greatest of a state's values.", "max_val(percentile_agg(duration))")
            .on("bytea -> float8", |c| c.map1(|state: &[u8]| Ok(Digest::decode(state)?.max()))),
    ]
}
