//! `docs/roaming.md`, "What is claimed": how many guesses there are on line.

use std::collections::{BTreeMap, BTreeSet};

use bftkv_protocol::{NodeId, Nonce, Variable};
use bftkv_roaming::server::ATTEMPTS;

use super::{Facts, Invariant, Observation};

/// Whose budget it is: of this variable; of the owner's certificates, or of strangers.
type Budget = (Variable, bool);

/// Who asked for what.
type Guess = (NodeId, Vec<u8>);

/// Each honest node answers at most L wrong guesses, and one more a day, whatever crashes. So at most
/// floor((n-f)(L+d)/(t-f)) of them have the t-f honest answers that, with those of f liars, tell whether a guess
/// is right. An evaluation whose asker has shown that he knew the password is no guess.
#[derive(Debug, Default)]
pub(super) struct Guesses {
    /// By node, and by memory: one that lost its memory is one of the f until attempts come back.
    answered: BTreeMap<(NodeId, u64, Budget), BTreeSet<Guess>>,
    by_nonce: BTreeMap<(NodeId, Nonce), (u64, Budget, Guess)>,
    proven: BTreeSet<(NodeId, Nonce)>,
}

impl Invariant for Guesses {
    fn name(&self) -> &'static str {
        "guesses at a password are counted"
    }

    fn note(&mut self, facts: &Facts, observation: &Observation<'_>) -> Result<(), String> {
        match observation {
            Observation::Proven { node, nonce } => {
                self.prove(node, *nonce);
                Ok(())
            }
            Observation::Evaluated { node, memory, asker, record, known, element, nonce, days } => {
                let session = ((*node).clone(), *nonce);
                if self.proven.contains(&session) {
                    return Ok(());
                }
                let budget = (record.variable().clone(), *known);
                let guess = ((*asker).clone(), element.as_bytes().to_vec());
                self.by_nonce.insert(session, (*memory, budget.clone(), guess.clone()));
                let place = ((*node).clone(), *memory, budget.clone());
                let answered = self.answered.entry(place).or_default();
                answered.insert(guess);
                let most = u64::from(ATTEMPTS).saturating_add(*days);
                if number(answered.len()) > most {
                    let count = answered.len();
                    return Err(format!("{node} has answered {count} guesses of {most}"));
                }
                let f = facts.traitors.iter().filter(|id| record.index_of(id).is_some()).count();
                let (n, t) = (record.nodes().len(), record.threshold());
                let honest = number(n.saturating_sub(f)).saturating_mul(most);
                let needed = t.saturating_sub(f);
                let most = honest.checked_div(number(needed)).unwrap_or(0);
                let guesses = self.complete(&budget, needed);
                if guesses > most && *memory == 0 {
                    return Err(format!("{guesses} guesses had {needed} honest answers"));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Guesses {
    /// How many guesses so many honest nodes have answered.
    fn complete(&self, budget: &Budget, needed: usize) -> u64 {
        let mut answers: BTreeMap<&Guess, usize> = BTreeMap::new();
        for ((_, _, of), guesses) in &self.answered {
            for guess in guesses.iter().filter(|_| of == budget) {
                let count = answers.entry(guess).or_default();
                *count = count.saturating_add(1);
            }
        }
        number(answers.values().filter(|count| **count >= needed).count())
    }

    fn prove(&mut self, node: &NodeId, nonce: Nonce) {
        let session = (node.clone(), nonce);
        if let Some((memory, budget, guess)) = self.by_nonce.get(&session)
            && let Some(answered) = self.answered.get_mut(&(node.clone(), *memory, budget.clone()))
        {
            answered.remove(guess);
        }
        self.proven.insert(session);
    }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
