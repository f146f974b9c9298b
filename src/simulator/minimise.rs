//! Making a failing history small: as few steps as still break a promise.
//!
//! Delta debugging after Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input" (2002): leave out
//! ever smaller parts as long as it still fails.

/// The smallest set found of `steps` for which `fails`; `steps` itself when it does not fail.
pub(super) fn minimise(steps: Vec<usize>, fails: &dyn Fn(&[usize]) -> bool) -> Vec<usize> {
    let mut kept = steps;
    if !fails(&kept) {
        return kept;
    }
    let mut part = kept.len().div_ceil(2);
    while part > 0 {
        let mut at = 0;
        let mut smaller = false;
        while at < kept.len() {
            let end = (at + part).min(kept.len());
            let rest = [&kept[..at], &kept[end..]].concat();
            if fails(&rest) {
                kept = rest;
                smaller = true;
            } else {
                at = end;
            }
        }
        if !smaller || part > kept.len() {
            part /= 2;
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::minimise;

    #[test]
    fn what_is_left_is_what_is_needed() {
        let fails = |steps: &[usize]| steps.contains(&3) && steps.contains(&17);
        assert_eq!(minimise((0..40).collect(), &fails), [3, 17]);
    }

    #[test]
    fn what_does_not_fail_is_left_alone() {
        assert_eq!(minimise(vec![1, 2], &|_| false), [1, 2]);
    }
}
