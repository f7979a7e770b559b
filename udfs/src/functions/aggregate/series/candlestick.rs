//! `candlestick_agg(ts, price, volume)`: opening, highest, lowest and closing price of a period, and what was traded in
//! it.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type};
use datafusion_common::{Result, exec_err};

use super::super::super::call::Value;
use super::groups::{About, Group, Series, as_float, as_time, bytea};
use super::points::{Point, each_point};
use super::rollup::Mergeable;
use super::state::{Kind, Reader, Writer};

/// What was traded.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Traded {
    volume: f64,
    /// The sum of prices times volumes.
    value: f64,
}

/// The state.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Candlestick {
    pub(crate) open: Point,
    pub(crate) high: Point,
    pub(crate) low: Point,
    pub(crate) close: Point,
    /// Unknown once it is of one of the trades.
    traded: Option<Traded>,
}

/// Is a price below another? NaN is above all, as PostgreSQL orders them.
fn below(a: f64, b: f64) -> bool {
    a < b || (b.is_nan() && !a.is_nan())
}

/// The same price, at an earlier time.
fn earlier(a: Point, b: Point) -> bool {
    a.time < b.time && !below(a.value, b.value) && !below(b.value, a.value)
}

impl Candlestick {
    /// Of one trade.
    pub(crate) fn tick(price: Point, volume: Option<f64>) -> Self {
        let traded = volume.map(|volume| Traded { volume, value: volume * price.value });
        Self { open: price, high: price, low: price, close: price, traded }
    }

    /// Of prices of a period known as such. Its typical price, the mean of high, low and close, stands for all trades.
    pub(crate) fn of(time: i64, [open, high, low, close]: [f64; 4], volume: Option<f64>) -> Self {
        let at = |value| Point { time, value };
        let traded = volume.map(|volume| Traded { volume, value: volume * ((high + low + close) / 3.0) });
        Self { open: at(open), high: at(high), low: at(low), close: at(close), traded }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        // Of one time, the first that arrived.
        if other.open.time < self.open.time {
            self.open = other.open;
        }
        if other.close.time > self.close.time {
            self.close = other.close;
        }
        if below(self.high.value, other.high.value) || earlier(other.high, self.high) {
            self.high = other.high;
        }
        if below(other.low.value, self.low.value) || earlier(other.low, self.low) {
            self.low = other.low;
        }
        self.traded = self
            .traded
            .zip(other.traded)
            .map(|(a, b)| Traded { volume: a.volume + b.volume, value: a.value + b.value });
    }

    pub(crate) fn volume(&self) -> Option<f64> {
        self.traded.map(|traded| traded.volume)
    }

    /// The average price, weighted by volume.
    pub(crate) fn vwap(&self) -> Option<f64> {
        self.traded.filter(|traded| traded.volume != 0.0).map(|traded| traded.value / traded.volume)
    }
}

impl Mergeable for Candlestick {
    const ORDERED: bool = false;

    fn decode(bytes: &[u8]) -> Value<Self> {
        let mut reader = Reader::open(bytes, Kind::Candlestick)?;
        let mut point = || Point::read(&mut reader);
        let (open, high, low, close) = (point()?, point()?, point()?, point()?);
        let traded = match reader.u8()? {
            0 => None,
            1 => Some(Traded { volume: reader.f64()?, value: reader.f64()? }),
            _ => return Reader::invalid("a volume is there or it is not"),
        };
        reader.end()?;
        Ok(Self { open, high, low, close, traded })
    }

    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(Kind::Candlestick);
        for point in [self.open, self.high, self.low, self.close] {
            point.write(&mut writer);
        }
        match self.traded {
            None => writer.u8(0),
            Some(traded) => {
                writer.u8(1);
                writer.f64(traded.volume);
                writer.f64(traded.value);
            }
        }
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
        name: "candlestick_agg",
        signatures: &[
            "candlestick_agg(timestamptz, float8, float8) → bytea",
            "candlestick_agg(timestamp, float8, float8) → bytea",
        ],
        description: "The state of prices and volumes of trades, for open, high, low, close, volume and vwap.",
        example: "vwap(candlestick_agg(ts, price, volume))",
    };
    Series::new::<Candle>(about, |types: &[DataType]| match types {
        [time, price, volume] => Some(vec![as_time(time)?, as_float(price)?, as_float(volume)?]),
        _ => None,
    })
    .counts_repeats()
}

/// The trades of one group.
#[derive(Debug, Default)]
struct Candle(Option<Candlestick>);

impl Candle {
    fn add(&mut self, other: Candlestick) {
        match &mut self.0 {
            Some(known) => known.add(&other),
            None => self.0 = Some(other),
        }
    }
}

impl Group for Candle {
    fn update(
        groups: &mut [Self],
        arguments: &[ArrayRef],
        rows: impl Iterator<Item = (usize, usize)>,
    ) -> Result<usize> {
        let Some(volumes) = arguments[2].as_primitive_opt::<Float64Type>() else {
            return exec_err!("a volume is double precision, not {}", arguments[2].data_type());
        };
        each_point(&arguments[0], &arguments[1], rows, |row, group, price| {
            groups[group].add(Candlestick::tick(price, volumes.is_valid(row).then(|| volumes.value(row))));
            Ok(())
        })?;
        Ok(0)
    }

    fn merge(&mut self, partial: &[u8]) -> Value<()> {
        self.add(Candlestick::decode(partial)?);
        Ok(())
    }

    fn partial(&mut self) -> Value<Option<Vec<u8>>> {
        Ok(self.0.as_ref().map(Candlestick::encode))
    }

    fn results(groups: &mut [Self]) -> Result<ArrayRef> {
        bytea(groups.iter_mut().map(Self::partial))
    }

    fn heap_bytes(&self) -> usize {
        0
    }
}
