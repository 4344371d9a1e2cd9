//! Medians, and intervals of paired ratios.

use crate::record::mix;

const RESAMPLES: u64 = 4_000;

/// A ratio of two rows, of pairs that were measured in the same round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ratio {
    pub(crate) median: f64,
    /// The 95 % interval of the median, by bootstrap over rounds.
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// The median; `None` of nothing.
pub(crate) fn median(figures: &[f64]) -> Option<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// The greatest over the least.
pub(crate) fn spread(figures: &[f64]) -> Option<f64> {
    let least = figures.iter().copied().min_by(f64::total_cmp)?;
    let greatest = figures.iter().copied().max_by(f64::total_cmp)?;
    (least > 0.0).then(|| greatest / least)
}

/// The ratio of the first of each pair to the second. The resampling is seeded: a report can be made again.
pub(crate) fn ratio(pairs: &[(f64, f64)]) -> Option<Ratio> {
    let ratios: Vec<f64> =
        pairs.iter().filter(|(_, than)| *than > 0.0).map(|(figure, than)| figure / than).collect();
    let middle = median(&ratios)?;
    let mut medians: Vec<f64> = (0..RESAMPLES)
        .filter_map(|resample| {
            let draw = |at: usize| mix(resample << 16 | at as u64) as usize % ratios.len();
            let drawn: Vec<f64> = (0..ratios.len()).map(|at| ratios[draw(at)]).collect();
            median(&drawn)
        })
        .collect();
    medians.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| medians[((medians.len() - 1) as f64 * share) as usize];
    Some(Ratio { median: middle, low: at(0.025), high: at(0.975) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn an_interval_holds_the_median_and_is_the_same_every_time() {
        let pairs: Vec<(f64, f64)> = (0..20).map(|round| (100.0 + f64::from(round), 50.0)).collect();
        let (first, second) = (ratio(&pairs).unwrap(), ratio(&pairs).unwrap());
        assert!(first.low <= first.median && first.median <= first.high);
        assert!(first.low > 2.0 && first.high < 2.4);
        assert_eq!((first.low, first.high), (second.low, second.high));
    }

    #[test]
    fn rows_that_drift_together_have_a_narrow_ratio() {
        let pairs: Vec<(f64, f64)> =
            (1..=9).map(|round| (f64::from(round) * 3.0, f64::from(round))).collect();
        let ratio = ratio(&pairs).unwrap();
        assert!((ratio.low - 3.0).abs() < 1e-9 && (ratio.high - 3.0).abs() < 1e-9);
    }
}
