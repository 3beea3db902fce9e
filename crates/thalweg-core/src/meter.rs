//! The token bucket behind [`crate::Cells::admit`], with time as an argument.

use thalweg_abi::meter::MeterRow;

/// Takes `cost` nanoseconds of credit from a bucket that fills by one nanosecond each nanosecond and
/// holds at most `cost × burst`. Returns whether there was enough.
///
/// The first use finds a full bucket. A `cost` of zero means "no limit".
#[inline(always)]
pub fn take(row: &mut MeterRow, now: u64, cost: u64, burst: u64) -> bool {
    let most = cost.wrapping_mul(burst);
    let passed = now.wrapping_sub(row.at);
    let fresh = row.at == 0 || passed > most;
    let filled = if fresh { most } else { row.credit + passed };
    let credit = if filled > most { most } else { filled };
    row.at = now;
    if credit < cost {
        row.credit = credit;
        return false;
    }
    row.credit = credit - cost;
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lets_a_burst_through_and_then_the_rate() {
        let mut row = MeterRow::default();
        let (cost, burst) = (1_000, 3);
        let start = 5_000_000;
        assert!((0..3).all(|_| take(&mut row, start, cost, burst)));
        assert!(!take(&mut row, start, cost, burst));
        assert!(!take(&mut row, start + 999, cost, burst));
        assert!(take(&mut row, start + 1_000, cost, burst));
        let passed = (0..100_000u64).filter(|i| take(&mut row, start + 2_000 + i, cost, burst));
        assert!((100..=102).contains(&passed.count()));
    }

    #[test]
    fn never_overflows() {
        let mut row = MeterRow { at: u64::MAX, credit: u64::MAX / 2 };
        take(&mut row, 0, u64::MAX, u64::MAX);
        take(&mut row, u64::MAX, 1, 1);
    }
}
