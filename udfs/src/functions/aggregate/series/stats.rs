//! `stats_agg(x)` and `stats_agg(y, x)`: moments of one variable, and of two with what they have in common.
//!
//! Sums of powers of deviations from the mean are kept, and kept up as the mean moves, so that nothing is lost where
//! values are large and near to each other (Welford; Chan, Golub and LeVeque for pairs of states; Pébay for higher
//! powers).

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type};
use datafusion_common::{Result, exec_err};

use super::super::super::call::{Value, fail};
use super::groups::{About, Group, Series, as_float, bytea};
use super::rollup::Mergeable;
use super::state::{Kind, Reader, Writer};

/// Whether the values are all there are, or a sample of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    Population,
    Sample,
}

impl Of {
    pub(crate) fn parse(text: &str) -> Value<Self> {
        match text.to_ascii_lowercase().as_str() {
            "population" | "pop" => Ok(Self::Population),
            "sample" | "samp" => Ok(Self::Sample),
            _ => fail("22023", format!("there is no method \"{text}\", only 'population' and 'sample'")),
        }
    }

    /// What sums of products of deviations are divided by.
    fn divisor(self, count: u64) -> Option<f64> {
        let divisor = match self {
            Self::Population => count,
            Self::Sample => count.saturating_sub(1),
        };
        (divisor > 0).then(|| float(divisor))
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}

/// Of one variable.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Moments {
    pub(crate) count: u64,
    pub(crate) sum: f64,
    mean: f64,
    /// The sums of second, third and fourth powers of deviations from the mean.
    m2: f64,
    m3: f64,
    m4: f64,
}

impl Moments {
    pub(crate) fn push(&mut self, x: f64) {
        let before = float(self.count);
        self.count += 1;
        let n = float(self.count);
        let delta = x - self.mean;
        let step = delta / n;
        let term = delta * step * before;
        self.sum += x;
        self.mean += step;
        self.m4 += term * step * step * (n * n - 3.0 * n + 3.0) + 6.0 * step * step * self.m2 - 4.0 * step * self.m3;
        self.m3 += term * step * (n - 2.0) - 3.0 * step * self.m2;
        self.m2 += term;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = other.clone();
            return;
        }
        let (a, b) = (float(self.count), float(other.count));
        let n = a + b;
        let delta = other.mean - self.mean;
        let step = delta / n;
        let term = delta * step * a * b;
        self.m4 += other.m4
            + term * step * step * (a * a - a * b + b * b)
            + 6.0 * step * step * (a * a * other.m2 + b * b * self.m2)
            + 4.0 * step * (a * other.m3 - b * self.m3);
        self.m3 += other.m3 + term * step * (a - b) + 3.0 * step * (a * other.m2 - b * self.m2);
        self.m2 += other.m2 + term;
        self.mean += step * b;
        self.sum += other.sum;
        self.count = self.count.saturating_add(other.count);
    }

    /// The moments of the values plus a constant.
    pub(crate) fn shift(&mut self, by: f64) {
        self.mean += by;
        self.sum += by * float(self.count);
    }

    pub(crate) fn average(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / float(self.count))
    }

    pub(crate) fn variance(&self, of: Of) -> Option<f64> {
        Some(self.m2 / of.divisor(self.count)?)
    }

    pub(crate) fn stddev(&self, of: Of) -> Option<f64> {
        self.variance(of).map(f64::sqrt)
    }

    /// The third moment over the third power of the standard deviation; without deviation there is none.
    pub(crate) fn skewness(&self, of: Of) -> Option<f64> {
        let deviation = self.stddev(of).filter(|deviation| *deviation != 0.0)?;
        Some(self.m3 / of.divisor(self.count)? / deviation.powi(3))
    }

    /// The fourth moment over the fourth power of the standard deviation: 3 for a normal distribution.
    pub(crate) fn kurtosis(&self, of: Of) -> Option<f64> {
        let variance = self.variance(of).filter(|variance| *variance != 0.0)?;
        Some(self.m4 / of.divisor(self.count)? / (variance * variance))
    }

    fn write(&self, writer: &mut Writer) {
        for value in [self.sum, self.mean, self.m2, self.m3, self.m4] {
            writer.f64(value);
        }
    }

    fn read(count: u64, reader: &mut Reader<'_>) -> Value<Self> {
        Ok(Self {
            count,
            sum: reader.f64()?,
            mean: reader.f64()?,
            m2: reader.f64()?,
            m3: reader.f64()?,
            m4: reader.f64()?,
        })
    }
}

/// A count that adds up without overflow however often states are rolled up.
pub(crate) fn read_count(reader: &mut Reader<'_>) -> Value<u64> {
    match reader.u64()? {
        0 => Reader::invalid("it is of no values"),
        count if count < 1 << 53 => Ok(count),
        _ => Reader::invalid("it is of too many values"),
    }
}

impl Mergeable for Moments {
    const ORDERED: bool = false;

    fn decode(bytes: &[u8]) -> Value<Self> {
        let mut reader = Reader::open(bytes, Kind::Stats1)?;
        let count = read_count(&mut reader)?;
        let moments = Self::read(count, &mut reader)?;
        reader.end()?;
        Ok(moments)
    }

    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(Kind::Stats1);
        writer.u64(self.count);
        self.write(&mut writer);
        writer.finish()
    }

    fn merge(&mut self, next: Self) -> Value<()> {
        self.add(&next);
        Ok(())
    }
}

/// Of two variables.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Joint {
    pub(crate) y: Moments,
    pub(crate) x: Moments,
    /// The sum of products of deviations.
    xy: f64,
}

impl Joint {
    pub(crate) fn count(&self) -> u64 {
        self.x.count
    }

    pub(crate) fn push(&mut self, y: f64, x: f64) {
        let before = x - self.x.mean;
        self.x.push(x);
        self.y.push(y);
        self.xy += before * (y - self.y.mean);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        if self.count() > 0 && other.count() > 0 {
            let (a, b) = (float(self.count()), float(other.count()));
            self.xy += other.xy + (other.x.mean - self.x.mean) * (other.y.mean - self.y.mean) * (a * b / (a + b));
        } else {
            self.xy += other.xy;
        }
        self.x.add(&other.x);
        self.y.add(&other.y);
    }

    /// Of the line through the values, by least squares; none if all are above each other.
    pub(crate) fn slope(&self) -> Option<f64> {
        (self.count() > 0 && self.x.m2 != 0.0).then(|| self.xy / self.x.m2)
    }

    pub(crate) fn intercept(&self) -> Option<f64> {
        Some(self.y.mean - self.slope()? * self.x.mean)
    }

    /// Where the line is zero.
    pub(crate) fn x_intercept(&self) -> Option<f64> {
        let slope = self.slope().filter(|slope| *slope != 0.0)?;
        Some(self.x.mean - self.y.mean / slope)
    }

    pub(crate) fn corr(&self) -> Option<f64> {
        let (x, y) = (self.x.m2, self.y.m2);
        (self.count() > 0 && x != 0.0 && y != 0.0).then(|| self.xy / (x.sqrt() * y.sqrt()))
    }

    /// The square of the correlation; 1 for a level line, as PostgreSQL's regr_r2.
    pub(crate) fn determination(&self) -> Option<f64> {
        let (x, y) = (self.x.m2, self.y.m2);
        if self.count() == 0 || x == 0.0 {
            return None;
        }
        Some(if y == 0.0 { 1.0 } else { (self.xy / x) * (self.xy / y) })
    }

    pub(crate) fn covariance(&self, of: Of) -> Option<f64> {
        Some(self.xy / of.divisor(self.count())?)
    }

    pub(crate) fn write(&self, writer: &mut Writer) {
        writer.u64(self.count());
        self.y.write(writer);
        self.x.write(writer);
        writer.f64(self.xy);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Value<Self> {
        let count = read_count(reader)?;
        Ok(Self { y: Moments::read(count, reader)?, x: Moments::read(count, reader)?, xy: reader.f64()? })
    }
}

impl Mergeable for Joint {
    const ORDERED: bool = false;

    fn decode(bytes: &[u8]) -> Value<Self> {
        let mut reader = Reader::open(bytes, Kind::Stats2)?;
        let joint = Self::read(&mut reader)?;
        reader.end()?;
        Ok(joint)
    }

    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(Kind::Stats2);
        self.write(&mut writer);
        writer.finish()
    }

    fn merge(&mut self, next: Self) -> Value<()> {
        self.add(&next);
        Ok(())
    }
}

/// The function.
pub(crate) fn function() -> Series {
    let about = About {
        name: "stats_agg",
        signatures: &["stats_agg(float8) → bytea", "stats_agg(float8, float8) → bytea"],
        description: "The state of statistics of x, or of y and x, for average, stats_stddev, slope and many more.",
        example: "skewness(stats_agg(price))",
    };
    Series::new::<Stats>(about, |types: &[DataType]| match types {
        [x] => Some(vec![as_float(x)?]),
        [y, x] => Some(vec![as_float(y)?, as_float(x)?]),
        _ => None,
    })
    .counts_repeats()
}

/// The values of one group.
#[derive(Debug, Default)]
enum Stats {
    #[default]
    None,
    One(Moments),
    Two(Box<Joint>),
}

fn floats(array: &ArrayRef) -> Result<&arrow::array::Float64Array> {
    match array.as_primitive_opt::<Float64Type>() {
        Some(floats) => Ok(floats),
        None => exec_err!("double precision was expected, not {}", array.data_type()),
    }
}

impl Stats {
    fn one(&mut self) -> &mut Moments {
        if !matches!(self, Self::One(_)) {
            *self = Self::One(Moments::default());
        }
        match self {
            Self::One(moments) => moments,
            _ => unreachable!("it was made so above"),
        }
    }

    fn two(&mut self) -> &mut Joint {
        if !matches!(self, Self::Two(_)) {
            *self = Self::Two(Box::default());
        }
        match self {
            Self::Two(joint) => joint,
            _ => unreachable!("it was made so above"),
        }
    }
}

impl Group for Stats {
    fn update(
        groups: &mut [Self],
        arguments: &[ArrayRef],
        rows: impl Iterator<Item = (usize, usize)>,
    ) -> Result<usize> {
        if let [x] = arguments {
            let x = floats(x)?;
            for (row, group) in rows.filter(|(row, _)| x.is_valid(*row)) {
                groups[group].one().push(x.value(row));
            }
            return Ok(0);
        }
        let (y, x) = (floats(&arguments[0])?, floats(&arguments[1])?);
        let mut bytes = 0;
        for (row, group) in rows.filter(|(row, _)| y.is_valid(*row) && x.is_valid(*row)) {
            if matches!(groups[group], Self::None) {
                bytes += size_of::<Joint>();
            }
            groups[group].two().push(y.value(row), x.value(row));
        }
        Ok(bytes)
    }

    fn merge(&mut self, partial: &[u8]) -> Value<()> {
        match Reader::kind_of(partial)? {
            Kind::Stats1 => self.one().add(&Moments::decode(partial)?),
            _ => self.two().add(&Joint::decode(partial)?),
        }
        Ok(())
    }

    fn partial(&mut self) -> Value<Option<Vec<u8>>> {
        Ok(match self {
            Self::None => None,
            Self::One(moments) => Some(moments.encode()),
            Self::Two(joint) => Some(joint.encode()),
        })
    }

    fn results(groups: &mut [Self]) -> Result<ArrayRef> {
        bytea(groups.iter_mut().map(Self::partial))
    }

    fn heap_bytes(&self) -> usize {
        if matches!(self, Self::Two(_)) { size_of::<Joint>() } else { 0 }
    }
}
