//! Time lines against a recomputation second by second.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::series::rollup::Mergeable;
use super::super::two_step::Summary;
use super::heartbeat::Heartbeat;
use super::lttb::downsampled;
use super::states::States;

const SEED: u64 = 20_260_611;

fn states(points: &[(i64, &str)]) -> States {
    let mut states = States::new();
    points.iter().for_each(|(at, state)| states.insert(*at, state));
    states.settle().unwrap();
    states
}

/// The state at every time up to the last point: of points at one time the greatest counts.
fn by_hand<'a>(points: &[(i64, &'a str)]) -> Vec<Option<&'a str>> {
    let mut at: BTreeMap<i64, &str> = BTreeMap::new();
    for (time, state) in points {
        let known = at.entry(*time).or_insert(state);
        *known = (*known).max(state);
    }
    let last = at.keys().last().copied().unwrap_or(0);
    (0..=last).map(|time| at.range(..=time).next_back().map(|(_, state)| *state)).collect()
}

#[test]
fn states_last_until_the_next() {
    let random = &mut StdRng::seed_from_u64(SEED);
    for round in 0..300 {
        let count = random.random_range(1..40);
        let points: Vec<(i64, &str)> = (0..count)
            .map(|_| (random.random_range(0..60), ["idle", "ok", "error"][random.random_range(0..3)]))
            .collect();
        let by_hand = by_hand(&points);
        let end = i64::try_from(by_hand.len()).unwrap() - 1;
        let mut whole = states(&points);
        whole = States::decode(&whole.encode()).unwrap();
        let (from, to) = (random.random_range(-5..50), random.random_range(50..80));
        for state in ["idle", "ok", "error", "none"] {
            let lasted = |from: i64, to: i64| {
                i64::try_from(
                    (0_i64..end).zip(&by_hand).filter(|(t, s)| (from..to).contains(t) && **s == Some(state)).count(),
                )
                .unwrap()
            };
            assert_eq!(whole.duration_in(state, None).unwrap(), lasted(0, end), "round {round}: {state} in {points:?}");
            assert_eq!(whole.duration_in(state, Some((from, to))).unwrap(), lasted(from, to), "round {round}: {state}");
            let mut compact = whole.clone();
            compact.compact();
            let compact = States::decode(&compact.encode()).unwrap();
            assert_eq!(compact.duration_in(state, None).unwrap(), lasted(0, end), "round {round}: {state}");
            assert!(compact.find(state).is_none() || compact.duration_in(state, Some((from, to))).is_err());
        }
        for (time, state) in (0..).zip(&by_hand) {
            assert_eq!(whole.state_at(time).unwrap(), *state, "round {round}: at {time} of {points:?}");
        }
        assert_eq!(whole.state_at(end + 100).unwrap(), *by_hand.last().unwrap());
        let timeline = whole.timeline().unwrap();
        assert!(timeline.windows(2).all(|pair| pair[0].2 == pair[1].1 && pair[0].0 != pair[1].0), "{timeline:?}");
    }
}

/// Buckets of a time line put together are the whole one.
#[test]
fn states_roll_up() {
    let random = &mut StdRng::seed_from_u64(SEED);
    for _ in 0..200 {
        // Distinct times, as what is seen at once at a border is decided by the later bucket.
        let points: Vec<(i64, &str)> = (0..random.random_range(1..60))
            .map(|time| (time * 7 % 61, ["idle", "ok", "error"][random.random_range(0..3)]))
            .collect();
        let whole = states(&points);
        let mut buckets: BTreeMap<i64, Vec<(i64, &str)>> = BTreeMap::new();
        points.iter().for_each(|point| buckets.entry(point.0 / 9).or_default().push(*point));
        for compact in [false, true] {
            let mut parts: Vec<States> = buckets.values().map(|points| states(points)).collect();
            if compact {
                parts.iter_mut().for_each(States::compact);
            }
            let mut rolled = parts.remove(0);
            for part in parts {
                Mergeable::merge(&mut rolled, States::decode(&part.encode()).unwrap()).unwrap();
            }
            for state in ["idle", "ok", "error"] {
                let (got, wanted) = (rolled.duration_in(state, None), whole.duration_in(state, None));
                assert_eq!(got.unwrap(), wanted.unwrap(), "{state} of {points:?}");
            }
            if !compact {
                assert_eq!(rolled.timeline().unwrap(), whole.timeline().unwrap());
            }
        }
    }
    let (mut a, b) = (states(&[(0, "ok"), (10, "ok")]), states(&[(5, "error"), (6, "ok")]));
    assert_eq!(Mergeable::merge(&mut a, b).unwrap_err().code, "22023");
}

#[test]
fn interpolation_fills_a_range() {
    let (before, now) = (states(&[(0, "a"), (8, "b")]), states(&[(12, "a"), (15, "b")]));
    let span = |state, before: Option<&States>| now.interpolated_duration_in(state, (10, 20), before).unwrap();
    assert_eq!((span("a", None), span("b", None)), (3, 5));
    assert_eq!((span("a", Some(&before)), span("b", Some(&before))), (3, 7));
    let mut compact = now.clone();
    compact.compact();
    assert_eq!(compact.interpolated_duration_in("b", (10, 20), Some(&before)).unwrap(), 7);
}

#[test]
fn heartbeats_are_signs_of_life() {
    let random = &mut StdRng::seed_from_u64(SEED);
    for round in 0..300 {
        let (start, end) = (random.random_range(0..20), random.random_range(30..120));
        let beats: Vec<i64> = (0..random.random_range(1..30)).map(|_| random.random_range(-5..130)).collect();
        let liveness = random.random_range(1..12);
        let alive = |time: i64| {
            (start..end).contains(&time) && beats.iter().any(|beat| (*beat..beat + liveness).contains(&time))
        };
        let mut parts = vec![Heartbeat::new(start, end); 3];
        beats.iter().for_each(|beat| parts[random.random_range(0..3)].insert(*beat, liveness));
        let mut whole = parts.pop().unwrap();
        for mut part in parts {
            Summary::merge(&mut whole, Heartbeat::read(&part.write()).unwrap()).unwrap();
        }
        let whole = Heartbeat::read(&whole.write()).unwrap();
        let length = |ranges: Vec<(i64, i64)>| ranges.iter().map(|range| range.1 - range.0).sum::<i64>();
        let up = i64::try_from((start..end).filter(|time| alive(*time)).count()).unwrap();
        assert_eq!(length(whole.live()), up, "round {round}: {beats:?} for {liveness} in {start}..{end}");
        assert_eq!(length(whole.dead()), end - start - up, "round {round}");
        let begins =
            |state: bool| (start..end).filter(|t| alive(*t) == state && (*t == start || alive(t - 1) != state)).count();
        assert_eq!((whole.live().len(), whole.dead().len()), (begins(true), begins(false)), "round {round}");
        for time in start - 3..end + 3 {
            assert_eq!(whole.live_at(time), alive(time), "round {round}: at {time}");
        }
    }
}

#[test]
fn heartbeats_go_over_the_border() {
    let (mut a, mut b, mut whole) = (Heartbeat::new(0, 10), Heartbeat::new(10, 20), Heartbeat::new(0, 20));
    for beat in [1, 9, 17] {
        (if beat < 10 { &mut a } else { &mut b }).insert(beat, 5);
        whole.insert(beat, 5);
    }
    Mergeable::merge(&mut a, b).unwrap();
    assert_eq!((a.live(), a.dead()), (whole.live(), whole.dead()));
    assert_eq!(a.live(), [(1, 6), (9, 14), (17, 20)]);
}

#[test]
fn damaged_states_are_errors() {
    let random = &mut StdRng::seed_from_u64(SEED);
    let runs = states(&[(0, "a"), (5, "b"), (9, "a"), (11, "c")]);
    let mut compact = runs.clone();
    compact.compact();
    let mut beats = Heartbeat::new(0, 100);
    [3, 50, 90].iter().for_each(|beat| beats.insert(*beat, 20));
    let used = |bytes: &[u8]| {
        if let Ok(mut states) = States::decode(bytes) {
            let _ = states.duration_in("a", Some((0, 10)));
            let _ = (states.state_at(4).map(|_| ()), states.timeline(), states.durations());
            let _ = states.interpolated_duration_in("a", (i64::MIN, i64::MAX), Some(&states));
            let again = states.clone();
            let _ = Mergeable::merge(&mut states, again);
            states.encode();
        }
        if let Ok(mut beats) = Heartbeat::decode(bytes) {
            let _ = (beats.live(), beats.dead(), beats.live_at(5));
            let again = beats.clone();
            Mergeable::merge(&mut beats, again).unwrap();
            beats.encode();
        }
    };
    for state in [runs.encode(), compact.encode(), beats.write()] {
        for length in 0..state.len() {
            assert!(States::decode(&state[..length]).is_err() && Heartbeat::decode(&state[..length]).is_err());
        }
        for _ in 0..20_000 {
            let mut other = state.clone();
            for _ in 0..random.random_range(1..5) {
                let at = random.random_range(3..other.len());
                other[at] = [0, 1, 0x7f, 0x80, 0xff, random.random()][random.random_range(0..6)];
            }
            used(&other);
        }
    }
}

#[test]
fn a_thinned_series_keeps_its_shape() {
    let wave = |at: i64| ((at as f64) / 20.0).sin() + if at == 333 { 40.0 } else { 0.0 };
    let points: Vec<(i64, f64)> = (0..1000).map(|at| (at * 1_000_000, wave(at))).collect();
    for resolution in [3, 4, 10, 99, 998, 999] {
        let kept = downsampled(&points, resolution);
        assert_eq!(kept.len(), resolution);
        assert_eq!((kept[0], kept[resolution - 1]), (points[0], points[999]));
        assert!(kept.iter().all(|point| points.contains(point)) && kept.is_sorted_by(|a, b| a.0 < b.0));
        assert!(kept.contains(&points[333]), "the peak stays with {resolution} points");
    }
    assert_eq!(downsampled(&points, 1000), points);
    assert_eq!(downsampled(&points[..2], 3), points[..2]);
    // By hand: of the middle three the one that is farthest from the line between both ends.
    let few = [(0, 0.0), (1, 1.0), (2, -3.0), (3, 2.0), (4, 0.0)];
    assert_eq!(downsampled(&few, 3), [(0, 0.0), (2, -3.0), (4, 0.0)]);
    let same_time = [(i64::MIN, f64::NAN), (0, f64::INFINITY), (0, 1.0), (i64::MAX, 2.0)];
    assert_eq!(downsampled(&same_time, 3).len(), 3);
}
