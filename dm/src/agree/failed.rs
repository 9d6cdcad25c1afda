//! Who gave no part of a signature, or a wrong one.

use std::collections::BTreeMap;

use super::council::Dm;

/// Who failed, and for how many zones it is asked last for that. Whoever is slow is no liar, and who was one may have
/// been mended since; who fails each time it is asked is asked ever less often.
#[derive(Debug, Default)]
pub(super) struct Failed(BTreeMap<Dm, Failure>);

#[derive(Debug, Default)]
struct Failure {
    times: u32,
    /// How many zones are to be signed before it is asked as the others are.
    rest: u32,
}

impl Failed {
    /// 2^8 zones at most.
    const MOST: u32 = 8;

    pub(super) fn note(&mut self, dm: Dm) {
        let failure = self.0.entry(dm).or_default();
        failure.times = failure.times.saturating_add(1);
        failure.rest = 1 << failure.times.min(Self::MOST);
    }

    /// A zone was signed: what was long ago counts less.
    pub(super) fn note_success(&mut self) {
        for failure in self.0.values_mut() {
            // Whoever has not been asked for so long begins as somebody who failed once less.
            match failure.rest {
                0 => failure.times /= 2,
                _ => failure.rest -= 1,
            }
        }
        self.0.retain(|_, failure| failure.times > 0);
    }

    /// How often, of somebody who is asked last; 0 for the others.
    pub(super) fn times(&self, dm: Dm) -> u32 {
        self.0.get(&dm).filter(|failure| failure.rest > 0).map_or(0, |failure| failure.times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_fails_each_time_is_asked_ever_less_often() {
        let (mut failed, dm) = (Failed::default(), Dm::FIRST);
        let mut asked = Vec::new();
        for zone in 0..100 {
            if failed.times(dm) == 0 {
                asked.push(zone);
                failed.note(dm);
            }
            failed.note_success();
        }
        assert_eq!(asked, [0, 2, 6, 14, 30, 62]);
        // And who fails no more is soon as the others are.
        (0..300).for_each(|_| failed.note_success());
        assert!(failed.0.is_empty());
    }
}
