//! Complaints about a wrong dealing, which all others can check.

use bftkv::protocol::{Seal, SealError};
use bftkv_threshold::Party;
use bftkv_threshold::ed25519::dealing_is_right;

use super::Error;
use super::text::write;
use super::together::{MAX_COMPLAINT, Plan, ROUND_1, ROUND_1_NAMES, ROUND_2, ROUND_2_NAMES, Told};

const TITLE: &str = "bftkv dm keys together 2 complaint";
const NAMES: [&str; 3] = ["plan", "party", "about"];

/// Who complains, and about whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(clippy::exhaustive_structs, reason = "a pair")]
pub struct Complaint {
    /// Who got the dealing, and signed the complaint.
    pub party: Party,
    /// Who dealt.
    pub about: Party,
}

/// What comes of a complaint. One of the two lies: it is left out when the others start again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(clippy::exhaustive_enums, reason = "a caller has to handle each")]
pub enum Verdict {
    /// The dealer, and how.
    Dealer(&'static str),
    /// Who complained, and how.
    Complainer(&'static str),
    /// One of the two; nothing shows which.
    OneOfThem,
}

impl Complaint {
    /// The complaint with its proof: what the dealer told all, and what it dealt to us, both as it
    /// signed them.
    pub(super) fn sign(
        self,
        (plan, seal): (&Plan, &dyn Seal),
        package: &[u8],
        dealing: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let length = u32::try_from(package.len()).map_err(|_| Error::Malformed("complaint"))?;
        self.sign_body((plan, seal), &[&length.to_be_bytes(), package, dealing].concat())
    }

    /// The complaint about something that nobody else can see: what was not to be opened, for instance. So
    /// that the others do not think of us alone as whoever went silent.
    ///
    /// # Errors
    ///
    /// [`Error::Seal`].
    pub fn sign_without_proof(self, by: (&Plan, &dyn Seal)) -> Result<Vec<u8>, Error> {
        self.sign_body(by, &[])
    }

    fn sign_body(self, (plan, seal): (&Plan, &dyn Seal), body: &[u8]) -> Result<Vec<u8>, Error> {
        let number = |party: Party| party.number().to_string();
        let head =
            [("plan", plan.hash()), ("party", number(self.party)), ("about", number(self.about))];
        let (_, text) = write(TITLE, &head, body);
        Ok(seal.seal(&[], text.as_bytes())?)
    }

    /// Who lies: everybody who has the members' certificates comes to the same verdict. `told` is
    /// what the members told us in the first round, as far as it is there; `is_broadcast` if all have read the
    /// same of it.
    ///
    /// # Errors
    ///
    /// It is no complaint of a member, for this plan ([`Error::Wrong`], [`Error::NoMember`]); its
    /// signature is wrong, or a certificate is missing or not valid now ([`Error::Seal`]).
    pub fn judge(
        complaint: &[u8],
        (plan, seal): (&Plan, &dyn Seal),
        (told, is_broadcast): (&[Vec<u8>], bool),
    ) -> Result<(Self, Verdict), Error> {
        let text = plan.open_within(MAX_COMPLAINT, seal, complaint, (TITLE, &NAMES))?;
        let party = text.party;
        let parties = plan.roster().parties().iter();
        let mut about = parties.filter(|party| party.number().to_string() == text.value(2));
        let about = about.next().copied().ok_or(Error::Wrong(party, "complains about nobody"))?;
        let this = Self { party, about };
        if text.body.is_empty() && party != about {
            return Ok((this, Verdict::OneOfThem));
        }
        // No honest member complains with something else than what the dealer signed for it.
        let forged = Verdict::Complainer("complains about something that was not dealt to it");
        let Some((package, dealing)) = parts(&text.body) else { return Ok((this, forged)) };
        let package = plan.open(seal, package, ROUND_1, &ROUND_1_NAMES);
        let dealing = plan.open(seal, dealing, ROUND_2, &ROUND_2_NAMES);
        let (package, dealing) = match (package, dealing) {
            (Ok(package), Ok(dealing)) => (package, dealing),
            // What is missing here, and not what anybody did.
            (Err(Error::Seal(error)), _) | (_, Err(Error::Seal(error)))
                if !matches!(error, SealError::Bad(_)) =>
            {
                return Err(error.into());
            }
            _ => return Ok((this, forged)),
        };
        let is_for = dealing.value(2) == party.number().to_string();
        if [package.party, dealing.party] != [about; 2] || !is_for || party == about {
            return Ok((this, forged));
        }
        if tells_others(&package, (plan, seal), told) {
            return Ok((this, Verdict::Dealer("told different things")));
        }
        match plan.seen(seal, told) {
            Some(seen) if seen == dealing.value(3) => {}
            Some(_) if is_broadcast => {
                return Ok((this, Verdict::Dealer("says that it was told other things")));
            }
            // Somebody may have told it other things than us.
            _ => return Ok((this, Verdict::OneOfThem)),
        }
        Ok((this, verdict(plan, party, &package, &dealing)))
    }
}

fn parts(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = body.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

/// Whether its sender told us something else for the same plan.
fn tells_others(package: &Told, (plan, seal): (&Plan, &dyn Seal), told: &[Vec<u8>]) -> bool {
    let mut ours =
        told.iter().filter_map(|message| plan.open(seal, message, ROUND_1, &ROUND_1_NAMES).ok());
    ours.any(|ours| ours.party == package.party && ours.body != package.body)
}

fn verdict(plan: &Plan, to: Party, package: &Told, dealing: &Told) -> Verdict {
    let (commitments, shares) = (package.halves(), dealing.halves());
    let is_right = |package, share| {
        // A malformed package is wrong, too.
        dealing_is_right(plan.roster(), package, to, share).unwrap_or(false)
    };
    if is_right(commitments.0, shares.0) && is_right(commitments.1, shares.1) {
        return Verdict::Complainer("complains about a share that is right");
    }
    Verdict::Dealer("dealt a share that contradicts what it told")
}
