//! When the storage tier is tidied up, so that its cap is not reached: from 90 % of the byte cap back to 85 %.

use crate::session::Capacity;

/// Clean-up starts at this part of `limits.stored_bytes`, in percent.
const HIGH_WATER: u64 = 90;
/// And goes on down to this part.
const LOW_WATER: u64 = 85;

/// Remembers whether a clean-up is under way between the two marks, and what began it.
#[derive(Default)]
pub(in crate::gateway) struct Watermarks {
    cleaning: bool,
    /// A lowered limit began it.
    gently: bool,
    /// The byte cap at the last look, `u64::MAX` if there was none.
    cap: Option<u64>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) struct CleanUp {
    /// What the tier is to be brought down to.
    pub(in crate::gateway) target: Capacity,
    /// A limit was lowered: the surplus goes at a bounded rate. Otherwise the tier is filling up, and it goes faster than
    /// newcomers can come.
    pub(in crate::gateway) gently: bool,
}

impl Watermarks {
    /// What is to be done, given what the tier holds; `None`: nothing.
    ///
    /// The number of sessions has no watermarks: a creation displaces exactly one, and only a lowered limit leaves
    /// more than the cap. So it is with bytes, and a process that starts above its cap was away when it was lowered.
    pub(in crate::gateway) fn clean_up(&mut self, limits: Capacity, sessions: u64, bytes: u64) -> Option<CleanUp> {
        let part = |percent| limits.bytes.map(|cap| cap / 100 * percent + cap % 100 * percent / 100);
        let (high, low) = (part(HIGH_WATER), part(LOW_WATER));
        let cap = limits.bytes.unwrap_or(u64::MAX);
        let is_lowered = self.cap.replace(cap).is_some_and(|before| cap < before) || bytes > cap;
        self.cleaning = high.is_some_and(|high| bytes > high) || (self.cleaning && low.is_some_and(|low| bytes > low));
        self.gently = self.cleaning && (self.gently || is_lowered);
        if self.cleaning && !self.gently {
            return Some(CleanUp { target: Capacity { sessions: None, bytes: low }, gently: false });
        }
        let too_many = limits.sessions.is_some_and(|cap| sessions > cap);
        let target = Capacity { sessions: limits.sessions, bytes: if self.cleaning { low } else { None } };
        (self.cleaning || too_many).then_some(CleanUp { target, gently: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_once(bytes: u64) -> CleanUp {
        CleanUp { target: Capacity { sessions: None, bytes: Some(bytes) }, gently: false }
    }

    fn gently(target: Capacity) -> CleanUp {
        CleanUp { target, gently: true }
    }

    #[test]
    fn cleans_from_the_high_mark_down_to_the_low_one() {
        let limits = Capacity { sessions: None, bytes: Some(1000) };
        let mut marks = Watermarks::default();
        assert_eq!(marks.clean_up(limits, 9, 900), None);
        assert_eq!(marks.clean_up(limits, 9, 901), Some(at_once(850)));
        assert_eq!(marks.clean_up(limits, 9, 851), Some(at_once(850)), "goes on below the high mark");
        assert_eq!(marks.clean_up(limits, 9, 850), None);
        assert_eq!(marks.clean_up(limits, 9, 899), None, "and rests until the high mark");
    }

    #[test]
    fn a_lowered_number_of_sessions_is_brought_down_to_itself_gently() {
        let limits = Capacity { sessions: Some(5), bytes: None };
        let mut marks = Watermarks::default();
        assert_eq!(marks.clean_up(limits, 5, 1), None);
        assert_eq!(marks.clean_up(limits, 6, 1), Some(gently(limits)));
    }

    #[test]
    fn a_lowered_byte_cap_is_reached_gently() {
        let of = |bytes| Capacity { sessions: None, bytes };
        // It was lowered while the process ran: from another cap, from none, and so little that nothing is above it;
        // and while it was away.
        for (before, cap, held) in [(Some(2000), 1000, 1500), (None, 1000, 1500), (Some(1100), 1000, 950)] {
            let mut marks = Watermarks::default();
            assert_eq!(marks.clean_up(of(before), 9, held), None);
            for bytes in [held, 900, 851] {
                assert_eq!(marks.clean_up(of(Some(cap)), 9, bytes), Some(gently(of(Some(850)))), "{before:?} {bytes}");
            }
            assert_eq!(marks.clean_up(of(Some(cap)), 9, 850), None);
            assert_eq!(marks.clean_up(of(Some(cap)), 9, 901), Some(at_once(850)), "what has grown since");
        }
        let mut marks = Watermarks::default();
        assert_eq!(marks.clean_up(of(Some(1000)), 9, 1001), Some(gently(of(Some(850)))));
    }

    #[test]
    fn growth_is_met_before_a_lowered_number_of_sessions() {
        let limits = Capacity { sessions: Some(5), bytes: Some(1000) };
        let mut marks = Watermarks::default();
        assert_eq!(marks.clean_up(limits, 6, 950), Some(at_once(850)));
        assert_eq!(marks.clean_up(limits, 6, 850), Some(gently(Capacity { bytes: None, ..limits })));
    }
}
