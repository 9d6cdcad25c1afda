//! Each message counts once, without a clock and with bounded memory.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use bftkv_protocol::{NodeId, Nonce, SealError};

use super::envelope::Challenge;
use crate::TransportRefusal;

/// After how many requests a challenge is renewed. Both epochs together keep at most three times
/// as many nonces, about 130 bytes each: 3 MiB.
pub(crate) const RENEW_AFTER: usize = 8192;

/// The challenges that a server accepts, and what was seen under each.
///
/// A request must carry the current challenge or the one before; its nonce must be new under it.
/// Challenges are random and never stored, so whatever was sent before a restart, or before two
/// renewals, is refused. Nonces are counted per sender: nobody can use up a nonce of another.
#[derive(Debug)]
pub(crate) struct Challenges {
    epochs: Mutex<Epochs>,
    renew_after: usize,
}

#[derive(Debug)]
struct Epochs {
    current: Epoch,
    previous: Option<Epoch>,
}

#[derive(Debug)]
struct Epoch {
    challenge: Challenge,
    seen: HashSet<(NodeId, Nonce)>,
}

impl Challenges {
    /// # Errors
    /// Without random numbers.
    pub(crate) fn new(renew_after: usize) -> Result<Self, SealError> {
        let epochs = Mutex::new(Epochs { current: Epoch::new()?, previous: None });
        Ok(Self { epochs, renew_after })
    }

    /// What the next request shall carry.
    pub(crate) fn current(&self) -> Challenge {
        self.lock().current.challenge
    }

    /// Accepts a message of `sender`, once. The caller has verified its signature.
    pub(crate) fn admit(
        &self,
        sender: &NodeId,
        nonce: Nonce,
        challenge: Option<Challenge>,
    ) -> Result<(), TransportRefusal> {
        let challenge = challenge.ok_or(TransportRefusal::StaleChallenge)?;
        let mut epochs = self.lock();
        let limit = self.renew_after.saturating_mul(2);
        let epoch = epochs.named(challenge).ok_or(TransportRefusal::StaleChallenge)?;
        // Only the previous epoch can be full: its stragglers get the fresh challenge.
        if epoch.seen.len() >= limit {
            return Err(TransportRefusal::StaleChallenge);
        }
        if !epoch.seen.insert((sender.clone(), nonce)) {
            return Err(TransportRefusal::Replayed);
        }
        if epochs.current.seen.len() >= self.renew_after {
            epochs.renew();
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Epochs> {
        // Nothing that runs under this lock leaves the epochs half changed.
        self.epochs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Epochs {
    fn named(&mut self, challenge: Challenge) -> Option<&mut Epoch> {
        let epochs = [Some(&mut self.current), self.previous.as_mut()];
        epochs.into_iter().flatten().find(|epoch| epoch.challenge == challenge)
    }

    fn renew(&mut self) {
        // Without random numbers the old challenge stays for another request; the system's
        // generator cannot fail once it has worked, which it did at the start.
        if let Ok(fresh) = Epoch::new() {
            self.previous = Some(std::mem::replace(&mut self.current, fresh));
        }
    }
}

impl Epoch {
    fn new() -> Result<Self, SealError> {
        Ok(Self { challenge: Challenge::random()?, seen: HashSet::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TransportRefusal::{Replayed, StaleChallenge};

    fn node(byte: u8) -> NodeId {
        NodeId::from_bytes(&[byte; 20]).unwrap()
    }

    fn nonce(number: u8) -> Nonce {
        Nonce::from_bytes([number; 32])
    }

    #[test]
    fn a_message_counts_once_and_only_with_a_challenge() {
        let challenges = Challenges::new(100).unwrap();
        let now = Some(challenges.current());
        assert_eq!(challenges.admit(&node(1), nonce(1), None), Err(StaleChallenge));
        assert_eq!(challenges.admit(&node(1), nonce(1), now), Ok(()));
        assert_eq!(challenges.admit(&node(1), nonce(1), now), Err(Replayed));
        assert_eq!(challenges.admit(&node(2), nonce(1), now), Ok(()), "another sender's nonce");
        let restarted = Challenges::new(100).unwrap();
        assert_eq!(restarted.admit(&node(1), nonce(1), now), Err(StaleChallenge));
    }

    #[test]
    fn the_previous_challenge_is_accepted_and_the_one_before_is_not() {
        let challenges = Challenges::new(2).unwrap();
        let first = challenges.current();
        for i in 0..2 {
            assert_eq!(challenges.admit(&node(1), nonce(i), Some(first)), Ok(()));
        }
        let second = challenges.current();
        assert_ne!(first, second);
        assert_eq!(challenges.admit(&node(1), nonce(0), Some(first)), Err(Replayed));
        assert_eq!(challenges.admit(&node(1), nonce(2), Some(first)), Ok(()));
        for i in 3..5 {
            assert_eq!(challenges.admit(&node(1), nonce(i), Some(second)), Ok(()));
        }
        assert_eq!(challenges.admit(&node(1), nonce(9), Some(first)), Err(StaleChallenge));
    }

    #[test]
    fn memory_is_bounded() {
        let challenges = Challenges::new(4).unwrap();
        let first = challenges.current();
        let accepted =
            (0..100).filter(|i| challenges.admit(&node(1), nonce(*i), Some(first)).is_ok());
        assert_eq!(accepted.count(), 8);
        let epochs = challenges.lock();
        let kept = epochs.current.seen.len() + epochs.previous.as_ref().unwrap().seen.len();
        assert!(kept <= 12, "{kept}");
    }
}
