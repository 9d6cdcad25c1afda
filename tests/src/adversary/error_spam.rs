//! Refuses everything, each time with another reason.

use bftkv_protocol::{ConfigurationDigest, Outcome, Refusal, Request, Sign, Timestamp};

use super::{ByzantineServer, Lair};

#[derive(Debug)]
pub(super) struct ErrorSpam;

impl ByzantineServer for ErrorSpam {
    fn answer(&mut self, lair: &mut Lair<'_>, request: &Request) -> Option<Outcome> {
        let _ = lair.careless(request);
        let me = lair.signer.id().clone();
        let all = [
            Refusal::Malformed,
            Refusal::UnknownSender,
            Refusal::Busy,
            Refusal::StorageUnavailable,
            Refusal::WrongRealm,
            Refusal::WrongConfiguration { ours: ConfigurationDigest::from_bytes([5; 32]) },
            Refusal::NotMember,
            Refusal::UnknownWriter(me.clone()),
            Refusal::BadWriterSignature,
            Refusal::SenderNotWriter,
            Refusal::OldTimestamp { seen: Timestamp::new(lair.rng.number()) },
            Refusal::TimestampTooFar { limit: Timestamp::ZERO },
            Refusal::UnusableTimestamp,
            Refusal::Outstanding(Vec::new()),
            Refusal::TooManySlots(Vec::new()),
            Refusal::FinalStays,
            Refusal::BadCollectiveSignature("spam ".repeat(20)),
            Refusal::Equivocation(Vec::new()),
            Refusal::Reserved(me),
            Refusal::Lapsed,
            Refusal::Declined("no".to_owned()),
        ];
        Some(Err(lair.rng.pick(&all)?.clone()))
    }
}
