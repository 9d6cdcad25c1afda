//! The distribution masters make their keys together, and nobody ever has a whole one.
//!
//! ```text
//!   Together::package            --signed--> all: commitments for both keys
//!   Together::deal(packages)     --signed, sealed to the receiver--> each other: its shares
//!   Together::finish(packages, shares)   -> our shares; the transcript, the same for all
//! ```
//!
//! Messages are sealed and signed by the members' OpenPGP keys; how they travel does not matter.
//! What is sealed is signed inside, too: so its receiver can show it to the others, who see who
//! dealt what ([`super::Complaint`]).
//! A party keeps a seed between the rounds and makes the same polynomials of it again: dealing
//! twice gives everybody the same share twice.

use std::collections::BTreeMap;

use bftkv::protocol::{NodeId, Seal, SealError};
use bftkv_threshold::ed25519::{Dkg, DkgDealt, Ed25519Share};
use bftkv_threshold::rand_core::SeedableRng as _;
use bftkv_threshold::{KeyShare as _, Party, Roster, SecretBytes};
use rand_chacha::ChaCha20Rng;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::sign::Role;
use crate::zone::Name;

use super::ceremony::write_key;
use super::key_file::role_word;
use super::text::{Text, from_hex, hex, write};
use super::{Complaint, Error, ShareFile};

const PLAN: &str = "bftkv dm keys together 2";
pub(super) const ROUND_1: &str = "bftkv dm keys together 2 round 1";
pub(super) const ROUND_2: &str = "bftkv dm keys together 2 round 2";
/// The title of the transcript of such a ceremony.
pub(super) const TRANSCRIPT: &str = "bftkv dm key ceremony together 1";
pub(super) const ROUND_1_NAMES: [&str; 2] = ["plan", "party"];
pub(super) const ROUND_2_NAMES: [&str; 4] = ["plan", "party", "to", "seen"];
/// More bytes than any message of the rounds has, sealed or not. Two of them fit into a complaint, in
/// hexadecimal digits.
const MAX_MESSAGE: usize = 12 * 1024;
/// More than a complaint has.
pub(super) const MAX_COMPLAINT: usize = 64 * 1024;
/// A key's state after the second round, and the shares for the others.
type Dealt = (DkgDealt, BTreeMap<Party, SecretBytes>);
const ROLES: [Role; 2] = [Role::Ksk, Role::Zsk];

/// Who makes keys for which zone. All members must have the same plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    apex: Name,
    attempt: u32,
    roster: Roster,
    members: Vec<NodeId>,
}

impl Plan {
    /// Of these members, whose parties are numbered from 1 in this order, so many sign. Members that begin
    /// anew take another attempt: what was signed for one counts in no other.
    ///
    /// # Errors
    ///
    /// [`Error::Threshold`]; [`Error::Malformed`] for a member that is named twice.
    pub fn new(
        apex: Name,
        threshold: usize,
        members: Vec<NodeId>,
        attempt: u32,
    ) -> Result<Self, Error> {
        let distinct: std::collections::BTreeSet<_> = members.iter().collect();
        if distinct.len() != members.len() {
            return Err(Error::Malformed("plan: a member is named twice"));
        }
        let count = u8::try_from(members.len()).unwrap_or(u8::MAX);
        Ok(Self { apex, attempt, roster: Roster::first(count, threshold)?, members })
    }

    /// The zone.
    #[must_use]
    pub fn apex(&self) -> &Name {
        &self.apex
    }

    /// The parties.
    #[must_use]
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// The party of a member.
    #[must_use]
    pub fn party(&self, member: &NodeId) -> Option<Party> {
        let place = self.members.iter().position(|known| known == member)?;
        self.roster.parties().iter().nth(place).copied()
    }

    /// The parties with their members.
    pub fn members(&self) -> impl Iterator<Item = (Party, &NodeId)> {
        self.roster.parties().iter().copied().zip(&self.members)
    }

    /// As text, the same for all.
    #[must_use]
    pub fn to_text(&self) -> String {
        let members = self.members().map(|(party, id)| format!("dm-{}: {id}\n", party.number()));
        let (threshold, members) = (self.roster.threshold(), members.collect::<String>());
        let Self { apex, attempt, .. } = self;
        format!("{PLAN}\nzone: {apex}\nattempt: {attempt}\nthreshold: {threshold}\n{members}")
    }

    /// Reads what [`Plan::to_text`] wrote.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`], and as [`Plan::new`].
    pub fn from_text(text: &str) -> Result<Self, Error> {
        let malformed = || Error::Malformed(PLAN);
        let mut values = text.lines().skip(1).map(|line| line.split_once(": ").map(|(_, it)| it));
        let mut next = || values.next().flatten();
        let apex = next().and_then(|zone| zone.parse().ok()).ok_or_else(malformed)?;
        let attempt = next().and_then(|number| number.parse().ok()).ok_or_else(malformed)?;
        let threshold = next().and_then(|k| k.parse().ok()).ok_or_else(malformed)?;
        let mut members = Vec::new();
        while let Some(member) = next() {
            members.push(member.parse().map_err(|_| malformed())?);
        }
        let plan = Self::new(apex, threshold, members, attempt)?;
        if plan.to_text() == text { Ok(plan) } else { Err(malformed()) }
    }

    /// SHA-256 of the text, in hexadecimal digits.
    #[must_use]
    pub fn hash(&self) -> String {
        hex(&Sha256::digest(self.to_text()))
    }

    /// Opens a message: signed by a member, in its own name, for this plan.
    pub(super) fn open(
        &self,
        seal: &dyn Seal,
        message: &[u8],
        title: &'static str,
        names: &[&str],
    ) -> Result<Told, Error> {
        self.open_within(MAX_MESSAGE, seal, message, (title, names))
    }

    /// The same for a message of at most so many bytes, sealed or not.
    pub(super) fn open_within(
        &self,
        limit: usize,
        seal: &dyn Seal,
        message: &[u8],
        (title, names): (&'static str, &[&str]),
    ) -> Result<Told, Error> {
        if message.len() > limit {
            return Err(SealError::Bad(format!("more than {limit} bytes")).into());
        }
        let opened = seal.open(message, limit)?;
        let stranger = || Error::NoMember(opened.sender.to_string());
        let party = self.party(&opened.sender).ok_or_else(stranger)?;
        let wrong = |why| Error::Wrong(party, why);
        // Else nobody else could judge a complaint about it, and whoever complains would look like a liar.
        if !opened.is_for_anybody {
            return Err(wrong("sent something that not everybody can open"));
        }
        let text = String::from_utf8(opened.plaintext).map(Zeroizing::new);
        let text = text.map_err(|_| wrong("sent something that is no text"))?;
        let read = Text::read(&text, title, names).map_err(|_| wrong("sent another message"))?;
        if read.value(0) != self.hash() {
            return Err(wrong("has another plan"));
        }
        if read.value(1) != party.number().to_string() {
            return Err(wrong("claims to be another member"));
        }
        let values = (0..names.len()).map(|place| read.value(place).to_owned()).collect();
        Ok(Told { party, values, body: read.body })
    }

    /// Whether this message, of either round, was signed by this member, for this plan or another. So it
    /// is known whom to name for what is wrong with it.
    ///
    /// # Errors
    ///
    /// [`Error::Wrong`] names the member from whom it came; [`Error::Seal`] if its certificate is
    /// missing or not valid now.
    pub fn check_sender(&self, party: Party, message: &[u8], seal: &dyn Seal) -> Result<(), Error> {
        match seal.open(message, MAX_COMPLAINT) {
            Ok(opened) if self.party(&opened.sender) == Some(party) => Ok(()),
            Ok(_) => Err(Error::Wrong(party, "passes on what somebody else signed")),
            Err(SealError::Bad(_)) => Err(Error::Wrong(party, "sent something that is no message")),
            Err(error) => Err(error.into()),
        }
    }

    /// What the members told all, each once.
    fn told(
        &self,
        seal: &dyn Seal,
        told: &[Vec<u8>],
    ) -> Result<BTreeMap<Party, Zeroizing<Vec<u8>>>, Error> {
        let mut all: BTreeMap<Party, Zeroizing<Vec<u8>>> = BTreeMap::new();
        for message in told {
            let told = self.open(seal, message, ROUND_1, &ROUND_1_NAMES)?;
            if all.get(&told.party).is_some_and(|known| *known != told.body) {
                return Err(Error::Wrong(told.party, "told different things"));
            }
            all.insert(told.party, told.body);
        }
        Ok(all)
    }

    /// A hash of what the members told all; `None` if it is not all there.
    pub(super) fn seen(&self, seal: &dyn Seal, told: &[Vec<u8>]) -> Option<String> {
        let told = self.told(seal, told).ok()?;
        (told.len() == self.roster.size()).then(|| seen(&told))
    }

    /// Opens a dealing, which its dealer has signed twice: gives it as the others can see it, too.
    fn open_dealing(
        &self,
        seal: &dyn Seal,
        message: &[u8],
    ) -> Result<(Told, Zeroizing<Vec<u8>>), Error> {
        let opened = seal.open(message, MAX_COMPLAINT)?;
        let stranger = || Error::NoMember(opened.sender.to_string());
        let carrier = self.party(&opened.sender).ok_or_else(stranger)?;
        let signed = Zeroizing::new(opened.plaintext);
        let told =
            self.open(seal, &signed, ROUND_2, &ROUND_2_NAMES).map_err(|error| match error {
                Error::Seal(_) => Error::Wrong(carrier, "dealt something that is not signed"),
                other => other,
            })?;
        if told.party != carrier {
            return Err(Error::Wrong(carrier, "passes on what another member dealt"));
        }
        Ok((told, signed))
    }
}

/// A message that was opened.
pub(super) struct Told {
    /// Who signed it.
    pub(super) party: Party,
    /// What stands in front, in the order of the names.
    pub(super) values: Vec<String>,
    pub(super) body: Zeroizing<Vec<u8>>,
}

impl Told {
    pub(super) fn value(&self, place: usize) -> &str {
        self.values.get(place).map(String::as_str).unwrap_or_default()
    }

    /// What it says of the KSK, and of the ZSK.
    pub(super) fn halves(&self) -> (&[u8], &[u8]) {
        halves(&self.body)
    }
}

fn halves(body: &[u8]) -> (&[u8], &[u8]) {
    body.split_at(body.len() / 2)
}

/// A hash of what all members told all.
fn seen(told: &BTreeMap<Party, Zeroizing<Vec<u8>>>) -> String {
    let mut hash = Sha256::new_with_prefix(ROUND_1);
    for (party, body) in told {
        hash.update(party.number().to_be_bytes());
        hash.update(Sha256::digest(body));
    }
    hex(&hash.finalize())
}

/// What a member has at the end.
#[derive(Debug)]
pub struct Made {
    /// Its shares: of the KSK, and of the ZSK.
    pub shares: [ShareFile; 2],
    /// What all members must have alike before the keys are used.
    pub transcript: String,
}

/// One member's part.
pub struct Together<'a> {
    plan: &'a Plan,
    seal: &'a dyn Seal,
    seed: &'a [u8; 32],
    party: Party,
}

impl std::fmt::Debug for Together<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Together").field("party", &self.party).finish_non_exhaustive()
    }
}

impl<'a> Together<'a> {
    /// The part of the member whose key this is, with a secret seed that is used for this plan
    /// only and destroyed afterwards.
    ///
    /// # Errors
    ///
    /// [`Error::NoMember`].
    pub fn new(plan: &'a Plan, seal: &'a dyn Seal, seed: &'a [u8; 32]) -> Result<Self, Error> {
        let party = plan.party(seal.id()).ok_or_else(|| Error::NoMember(seal.id().to_string()))?;
        Ok(Self { plan, seal, seed, party })
    }

    /// Our number.
    #[must_use]
    pub fn party(&self) -> Party {
        self.party
    }

    fn start(&self) -> Result<[(Dkg, Vec<u8>); 2], Error> {
        let one = |role| {
            let hash = Sha256::new_with_prefix(self.seed).chain_update(self.plan.to_text());
            let seed =
                Zeroizing::new(<[u8; 32]>::from(hash.chain_update(role_word(role)).finalize()));
            let mut rng = ChaCha20Rng::from_seed(*seed);
            Dkg::start(&self.plan.roster, self.party, &mut rng)
        };
        let [ksk, zsk] = ROLES.map(one);
        Ok([ksk?, zsk?])
    }

    /// What we tell all the others, signed: the first round.
    ///
    /// # Errors
    ///
    /// [`Error::Seal`].
    pub fn package(&self) -> Result<Vec<u8>, Error> {
        let [(_, ksk), (_, zsk)] = self.start()?;
        let head = [("plan", self.plan.hash()), ("party", self.party.number().to_string())];
        let (_, text) = write(ROUND_1, &head, &[ksk, zsk].concat());
        Ok(self.seal.seal(&[], text.as_bytes())?)
    }

    /// Takes what all members told, our own among it, and deals: a message for each other member.
    ///
    /// # Errors
    ///
    /// [`Error::Wrong`] names the member whose message is not right; [`Error::Threshold`], among
    /// it [`bftkv_threshold::Error::TooFew`] while messages are missing.
    pub fn deal(&self, told: &[Vec<u8>]) -> Result<BTreeMap<Party, Vec<u8>>, Error> {
        let ([(_, mut for_ksk), (_, mut for_zsk)], seen) = self.dealt(told)?;
        let mut messages = BTreeMap::new();
        for (party, member) in self.plan.members().filter(|(party, _)| *party != self.party) {
            let (Some(ksk), Some(zsk)) = (for_ksk.remove(&party), for_zsk.remove(&party)) else {
                return Err(bftkv_threshold::Error::Inconsistent.into());
            };
            let body = Zeroizing::new([ksk.as_slice(), zsk.as_slice()].concat());
            let head = [
                ("plan", self.plan.hash()),
                ("party", self.party.number().to_string()),
                ("to", party.number().to_string()),
                ("seen", seen.clone()),
            ];
            let (_, text) = write(ROUND_2, &head, &body);
            let signed = Zeroizing::new(self.seal.seal(&[], text.as_bytes())?);
            messages.insert(party, self.seal.seal(std::slice::from_ref(member), &signed)?);
        }
        Ok(messages)
    }

    /// With the hash of what all told.
    fn dealt(&self, told: &[Vec<u8>]) -> Result<([Dealt; 2], String), Error> {
        let told = self.plan.told(self.seal, told)?;
        let [for_ksk, for_zsk] = [0, 1].map(|role| {
            let half = |(party, body): (&Party, &Zeroizing<Vec<u8>>)| {
                let halves = halves(body);
                (*party, if role == 0 { halves.0 } else { halves.1 }.to_vec())
            };
            told.iter().map(half).collect()
        });
        let [(ksk, _), (zsk, _)] = self.start()?;
        Ok(([ksk.deal(&for_ksk)?, zsk.deal(&for_zsk)?], seen(&told)))
    }

    /// Takes what all told, and the shares that the others dealt to us, and makes our shares.
    ///
    /// # Errors
    ///
    /// As [`Together::deal`]; [`Error::Wrong`] also for a member that was told other things than
    /// we were; [`Error::WrongDealing`] with a complaint that the others can check, [`Error::Unusable`]
    /// with one that they cannot. Start again, without whoever lied.
    pub fn finish(&self, told: &[Vec<u8>], shares: &[Vec<u8>]) -> Result<Made, Error> {
        let ([(ksk, _), (zsk, _)], seen) = self.dealt(told)?;
        let (mut for_ksk, mut for_zsk) = (BTreeMap::new(), BTreeMap::new());
        let mut dealings = BTreeMap::new();
        for message in shares {
            let opened = self.plan.open_dealing(self.seal, message);
            let (dealing, signed) = opened.map_err(|error| self.unusable(error))?;
            let party = dealing.party;
            if dealing.value(2) != self.party.number().to_string() {
                let wrong = Error::Wrong(party, "dealt this to another member");
                return Err(self.unusable(wrong));
            }
            if dealing.value(3) != seen {
                dealings.insert(party, signed);
                let offence = bftkv_threshold::Offence::WrongDealing;
                let wrong = bftkv_threshold::Error::Caught { party, offence };
                return Err(match self.complain(wrong, told, &dealings) {
                    Error::WrongDealing { party, complaint, .. } => {
                        let why = "says that it was told other things than we were";
                        Error::Unusable { party, why, complaint }
                    }
                    other => other,
                });
            }
            let (ksk, zsk) = dealing.halves();
            for_ksk.insert(party, SecretBytes::new(ksk.to_vec()));
            for_zsk.insert(party, SecretBytes::new(zsk.to_vec()));
            dealings.insert(party, signed);
        }
        let complain = |error| self.complain(error, told, &dealings);
        let made =
            [ksk.finish(&for_ksk).map_err(complain)?, zsk.finish(&for_zsk).map_err(complain)?];
        let transcript = self.transcript(&made, [ksk.transcript(), zsk.transcript()])?;
        let [ksk, zsk] = made;
        let file = |role, share| ShareFile::new(self.plan.apex.clone(), role, Box::new(share));
        Ok(Made { shares: [file(Role::Ksk, ksk), file(Role::Zsk, zsk)], transcript })
    }

    /// A message to us that names its sender, with a complaint that proves nothing; other errors as they are.
    fn unusable(&self, error: Error) -> Error {
        let Error::Wrong(party, why) = error else { return error };
        let complaint = Complaint { party: self.party, about: party };
        match complaint.sign_without_proof((self.plan, self.seal)) {
            Ok(complaint) => Error::Unusable { party, why, complaint },
            Err(error) => error,
        }
    }

    /// A wrong dealing with what proves it; other errors as they are.
    fn complain(
        &self,
        error: bftkv_threshold::Error,
        told: &[Vec<u8>],
        dealings: &BTreeMap<Party, Zeroizing<Vec<u8>>>,
    ) -> Error {
        let bftkv_threshold::Error::Caught { party, offence } = error else { return error.into() };
        let is_by = |message: &&Vec<u8>| {
            let told = self.plan.open(self.seal, message, ROUND_1, &ROUND_1_NAMES);
            told.is_ok_and(|told| told.party == party)
        };
        let (Some(package), Some(dealing)) = (told.iter().find(is_by), dealings.get(&party)) else {
            return error.into();
        };
        let complaint = Complaint { party: self.party, about: party };
        match complaint.sign((self.plan, self.seal), package, dealing) {
            Ok(complaint) => Error::WrongDealing { party, offence, complaint },
            Err(error) => error,
        }
    }

    fn transcript(&self, made: &[Ed25519Share; 2], told: [[u8; 32]; 2]) -> Result<String, Error> {
        let (k, n) = (self.plan.roster.threshold(), self.plan.roster.size());
        let mut text =
            format!("{TRANSCRIPT}\nzone: {}\nshares: {n}\nthreshold: {k}\n", self.plan.apex);
        for (party, member) in self.plan.members() {
            text.push_str(&format!("dm-{}: {member}\n", party.number()));
        }
        for ((role, share), told) in ROLES.into_iter().zip(made).zip(told) {
            write_key(&mut text, &self.plan.apex, role, share.group())?;
            text.push_str(&format!("{} told: {}\n", role_word(role), hex(&told)));
        }
        Ok(text)
    }
}

/// The seed in hexadecimal digits, as it is kept between the rounds.
#[must_use]
pub fn seed_to_text(seed: &[u8; 32]) -> Zeroizing<String> {
    Zeroizing::new(hex(seed) + "\n")
}

/// Reads what [`seed_to_text`] wrote; `None` for anything else.
#[must_use]
pub fn seed_from_text(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    from_hex(text)?.as_slice().try_into().ok().map(Zeroizing::new)
}
