//! Bugs put in on purpose, one at a time, to see that the tests find them.
//!
//! Without the feature `planted` nothing of this exists in the machine code: [`is`] is a constant
//! `false`. The program `bftkv` does not compile with the feature ([`POSSIBLE`]). The command
//! `planted` of the tests plays every bug; `docs/reliability/simulation.md` has its table.

/// Whether this build can have bugs planted in it. A program that ships must check that it cannot.
pub const POSSIBLE: bool = cfg!(feature = "planted");

/// A sentence of the rules that is left out, or said wrongly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(clippy::exhaustive_enums, reason = "tests go through all of them")]
pub enum Bug {
    /// b+1 make a quorum of clients' answers and of S.
    SmallQuorums,
    /// S needs b+1 signers only.
    SmallCertificates,
    /// A quorum of any one clique is enough.
    AnyClique,
    /// A write is done at b+1 acknowledgements.
    FewAcknowledgements,
    /// A read is over at b+1 answers.
    FewAnswers,
    /// Signatures of outsiders count in S.
    OutsidersCount,
    /// A signer counts as often as it signed.
    RepeatedSignersCount,
    /// S may name any configuration.
    AnyConfiguration,
    /// A reader believes an entry without its signatures.
    ReadUnverified,
    /// A server stores an entry without checking its signatures.
    StoreUnverified,
    /// A writer takes shares without checking them.
    SharesUnchecked,
    /// Signed bytes do not say what they are for.
    NoDomain,
    /// Lists of any length are decoded.
    EndlessLists,
    /// Names that begin with a fingerprint are free for all.
    ReservedForNobody,
    /// A share goes to whoever asks for it.
    SenderUnchecked,
    /// Trust on first use is not checked when signing.
    NoTofu,
    /// Signing goes on after a certified Final.
    SealIgnored,
    /// Another owner's outstanding attempt is ignored.
    SlotsIgnored,
    /// An own outstanding Final is ignored.
    FinalForgotten,
    /// A timestamp that was used is signed again.
    OldTimestamps,
    /// There is no bound on timestamps.
    NoBound,
    /// Slots are not limited.
    EndlessSlots,
    /// An abandon does not raise seen(x).
    AbandonForgotten,
    /// A Final can be given up.
    FinalGivenUp,
    /// A stranger's slot falls when any certified entry of another owner is known.
    StrangersSlotFalls,
    /// Requests for one variable run at the same time.
    NoQueue,
    /// A pending attempt hides the certified entry from readers.
    SlotHidesEntry,
    /// Two certified entries at one timestamp convict nobody.
    EquivocationIgnored,
    /// Proofs are believed without looking at their signatures.
    ProofsUnchecked,
    /// Two shares of one signer convict it, whatever they are about.
    AnyTwoShares,
    /// Whoever shows what cannot be checked for want of a certificate is a liar.
    UnknownIsLie,
    /// A refusal pushes a writer's timestamp as far as it likes.
    HintsUnclipped,
    /// An entry is stored although hardly a signer is left that was not cut out.
    LapsedStored,
    /// b vouches are believed, instead of b+1.
    LoneVouch,
    /// b vouches certify an entry, instead of q.
    SmallVouches,
    /// Leaves of a Merkle tree are hashed like its inner nodes.
    LeavesLikeNodes,
    /// A signature over a root does not say for what.
    BatchForAnyPurpose,
    /// A whole entry is not compared with the digest for which it was asked.
    DigestUnchecked,
    /// A digest whose entry nobody has shown yet is passed over.
    DigestSkipped,
    /// Whoever gave the digest of an entry answers for the copy that another one shows.
    DigestOfBadCopyIsLie,
}

#[cfg(feature = "planted")]
mod ground {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Plants a bug in this thread, or none.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    /// Whether this bug is planted.
    #[must_use]
    pub fn is(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }
}

#[cfg(feature = "planted")]
pub use ground::{is, plant};

/// Whether this bug is planted: never in this build.
#[cfg(not(feature = "planted"))]
#[must_use]
#[inline(always)]
pub const fn is(_: Bug) -> bool {
    false
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 40] = [
        Self::SmallQuorums,
        Self::SmallCertificates,
        Self::AnyClique,
        Self::FewAcknowledgements,
        Self::FewAnswers,
        Self::OutsidersCount,
        Self::RepeatedSignersCount,
        Self::AnyConfiguration,
        Self::ReadUnverified,
        Self::StoreUnverified,
        Self::SharesUnchecked,
        Self::NoDomain,
        Self::EndlessLists,
        Self::ReservedForNobody,
        Self::SenderUnchecked,
        Self::NoTofu,
        Self::SealIgnored,
        Self::SlotsIgnored,
        Self::FinalForgotten,
        Self::OldTimestamps,
        Self::NoBound,
        Self::EndlessSlots,
        Self::AbandonForgotten,
        Self::FinalGivenUp,
        Self::StrangersSlotFalls,
        Self::NoQueue,
        Self::SlotHidesEntry,
        Self::EquivocationIgnored,
        Self::ProofsUnchecked,
        Self::AnyTwoShares,
        Self::UnknownIsLie,
        Self::HintsUnclipped,
        Self::LapsedStored,
        Self::LoneVouch,
        Self::SmallVouches,
        Self::LeavesLikeNodes,
        Self::BatchForAnyPurpose,
        Self::DigestUnchecked,
        Self::DigestSkipped,
        Self::DigestOfBadCopyIsLie,
    ];
}
