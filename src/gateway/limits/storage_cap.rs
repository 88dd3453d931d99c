//! When the storage tier is tidied up, so that its cap is not reached: from 90 % of the byte cap back to 85 %.

use crate::session::Capacity;

/// Clean-up starts at this part of `limits.stored_bytes`, in percent.
const HIGH_WATER: u64 = 90;
/// And goes on down to this part.
const LOW_WATER: u64 = 85;

/// Remembers whether a clean-up is under way between the two marks.
#[derive(Default)]
pub(in crate::gateway) struct Watermarks {
    cleaning: bool,
}

impl Watermarks {
    /// What the tier is to be brought down to, given what it holds; `None`: nothing is to be done.
    ///
    /// The number of sessions has no watermarks: a creation displaces exactly one, and only a lowered limit leaves
    /// more than the cap.
    pub(in crate::gateway) fn target(&mut self, limits: Capacity, sessions: u64, bytes: u64) -> Option<Capacity> {
        let part = |percent| limits.bytes.map(|cap| cap / 100 * percent + cap % 100 * percent / 100);
        let (high, low) = (part(HIGH_WATER), part(LOW_WATER));
        self.cleaning = high.is_some_and(|high| bytes > high) || (self.cleaning && low.is_some_and(|low| bytes > low));
        let too_many = limits.sessions.is_some_and(|cap| sessions > cap);
        (self.cleaning || too_many)
            .then_some(Capacity { sessions: limits.sessions, bytes: if self.cleaning { low } else { None } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleans_from_the_high_mark_down_to_the_low_one() {
        let limits = Capacity { sessions: None, bytes: Some(1000) };
        let low = Some(Capacity { sessions: None, bytes: Some(850) });
        let mut marks = Watermarks::default();
        assert_eq!(marks.target(limits, 9, 900), None);
        assert_eq!(marks.target(limits, 9, 901), low);
        assert_eq!(marks.target(limits, 9, 851), low, "goes on below the high mark");
        assert_eq!(marks.target(limits, 9, 850), None);
        assert_eq!(marks.target(limits, 9, 899), None, "and rests until the high mark");
    }

    #[test]
    fn a_lowered_number_of_sessions_is_brought_down_to_itself() {
        let limits = Capacity { sessions: Some(5), bytes: None };
        let mut marks = Watermarks::default();
        assert_eq!(marks.target(limits, 5, 1), None);
        assert_eq!(marks.target(limits, 6, 1), Some(limits));
    }
}
