//! Every behaviour by its name.

use super::*;

/// Makes a server's behaviour.
type MakeServer = fn() -> Box<dyn ByzantineServer>;

/// Makes a writer's behaviour.
type MakeWriter = fn() -> Box<dyn ByzantineWriter>;

const SERVERS: &[(&str, MakeServer)] = &[
    ("amnesia", || Box::new(amnesia::Amnesia::default())),
    ("equivocate", || Box::new(equivocating_server::EquivocatingServer)),
    ("error-spam", || Box::new(error_spam::ErrorSpam)),
    ("false-accusation", || Box::new(false_accuser::FalseAccuser)),
    ("false-vouch", || Box::new(false_voucher::FalseVoucher)),
    ("foreign-signatures", || Box::new(foreign_signatures::ForeignSignatures)),
    ("forge", || Box::new(forger::Forger)),
    ("forked-view", || Box::new(forked_view::ForkedView)),
    ("garbage", || Box::new(garbage::Garbage)),
    ("hollow", || Box::new(hollow::Hollow::default())),
    ("huge-answer", || Box::new(huge_answer::HugeAnswer)),
    ("maximum-timestamp", || Box::new(huge_timestamp::HugeTimestamp)),
    ("mixed", || Box::new(mixed::Mixed)),
    ("other-variable", || Box::new(other_variable::OtherVariable)),
    ("refuse", || Box::new(refuser::Refuser)),
    ("repeated-signatures", || Box::new(repeated_signatures::RepeatedSignatures)),
    ("replay", || Box::new(replayer::Replayer::default())),
    ("revoked-signatures", || Box::new(revoked::Revoked::default())),
    ("silent", || Box::new(silent::Silent)),
    ("slow-drip", || Box::new(slow_drip::SlowDrip::default())),
    ("stale", || Box::new(stale_reader::StaleReader)),
    ("thief", || Box::new(thief::Thief)),
    ("twin", || Box::new(twin::Twin::default())),
    ("wrong-value", || Box::new(wrong_value::WrongValue::default())),
];

const WRITERS: &[(&str, MakeWriter)] = &[
    ("abandon-then-store", || Box::new(abandon_then_store::AbandonThenStore)),
    ("break-seal", || Box::new(seal_breaker::SealBreaker)),
    ("collect", || Box::new(collector::Collector)),
    ("foreign-owner", || Box::new(foreign_writer::ForeignWriter)),
    ("give-up", || Box::new(giving_up::GivingUp)),
    ("jump", || Box::new(timestamp_jumper::TimestampJumper)),
    ("lurk", || Box::new(lurking_writer::LurkingWriter)),
    ("overtake", || Box::new(overtaker::Overtaker)),
    ("park", || Box::new(parked::Parked)),
    ("replay-requests", || Box::new(replaying_writer::ReplayingWriter)),
    ("squat", || Box::new(squatter::Squatter)),
    ("two-values", || Box::new(equivocating_writer::EquivocatingWriter)),
];

/// One behaviour of a Byzantine server or writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Adversary {
    name: &'static str,
    is_writer: bool,
}

impl Adversary {
    /// All behaviours of servers, in the order of their names, and then all of writers.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let servers = SERVERS.iter().map(|(name, _)| Self { name, is_writer: false });
        let writers = WRITERS.iter().map(|(name, _)| Self { name, is_writer: true });
        servers.chain(writers).collect()
    }

    /// The behaviour of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|adversary| adversary.name == name)
    }

    /// Each of them alone, and every two of them.
    #[must_use]
    pub fn combinations() -> Vec<[Option<Self>; 2]> {
        let all = Self::all();
        let alone = all.iter().map(|one| [Some(*one), None]);
        let pairs = all.iter().enumerate().flat_map(|(index, one)| {
            all.iter().skip(index.saturating_add(1)).map(|other| [Some(*one), Some(*other)])
        });
        alone.chain(pairs).collect()
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.name
    }

    /// Whether it is a writer's, and not a server's.
    #[must_use]
    pub fn is_writer(self) -> bool {
        self.is_writer
    }

    pub(crate) fn server(self) -> Option<Box<dyn ByzantineServer>> {
        let (_, make) = SERVERS.iter().find(|(name, _)| !self.is_writer && *name == self.name)?;
        Some(make())
    }

    pub(crate) fn writer(self) -> Option<Box<dyn ByzantineWriter>> {
        let (_, make) = WRITERS.iter().find(|(name, _)| self.is_writer && *name == self.name)?;
        Some(make())
    }
}

/// A server's behaviour by chance: one that mixes others in three of ten cases.
pub(crate) fn any_server(rng: &mut Rng) -> Box<dyn ByzantineServer> {
    let mixes = rng.percent(30);
    match rng.pick(SERVERS).filter(|_| !mixes) {
        Some((_, make)) => make(),
        None => Box::new(mixed::Mixed),
    }
}

/// A server that never answers.
pub(crate) fn silent_server() -> Box<dyn ByzantineServer> {
    Box::new(silent::Silent)
}

/// One act of a Byzantine writer, by chance.
pub(crate) fn any_writer(rng: &mut Rng) -> Box<dyn ByzantineWriter> {
    match rng.pick(WRITERS) {
        Some((_, make)) => make(),
        None => Box::new(parked::Parked),
    }
}
