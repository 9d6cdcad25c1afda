//! Which bug, from where, and where to look for it.

use bftkv_protocol::planted::Bug;
use bftkv_tests::adversary::Adversary;
use bftkv_tests::sim::{Fault, Faults, Plant, Settings, Shape};

use crate::checks::{self, Check};

/// A bug and how it is put in.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Planted {
    /// In the rules.
    Rule(Bug),
    /// In how the simulator's nodes and clients use them.
    Driver(Plant),
}

/// Where it is looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Search {
    /// In runs of the simulator.
    Runs(Settings),
    /// By a check of its own.
    Check(&'static str, Check),
}

/// One bug of the list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) planted: Planted,
    /// The row of the list of known breaks: section and number, or a sentence of the rules.
    pub(crate) source: &'static str,
    pub(crate) search: Search,
}

impl Case {
    /// The bug's name.
    pub(crate) fn name(&self) -> String {
        match self.planted {
            Planted::Rule(bug) => format!("{bug:?}"),
            Planted::Driver(plant) => format!("{plant:?}"),
        }
    }
}

/// Runs as the seed draws them.
const ANY: Settings = Settings {
    shape: None,
    plant: None,
    over_budget: false,
    adversaries: [None, None],
    faults: Faults::Drawn,
    passwords: false,
    record: false,
};

/// Runs with these adversaries.
fn with(first: &str, second: &str) -> Search {
    let adversaries = [Adversary::named(first), Adversary::named(second)];
    Search::Runs(Settings { adversaries, ..ANY })
}

/// Runs with this adversary as the one liar of four: its answers are always among the first.
fn alone_in_four(name: &str) -> Search {
    let adversaries = [Adversary::named(name), None];
    Search::Runs(Settings { adversaries, shape: Some(Shape::Alone(4)), ..ANY })
}

fn rule(bug: Bug, source: &'static str, search: Search) -> Case {
    Case { planted: Planted::Rule(bug), source, search }
}

fn driver(plant: Plant, source: &'static str) -> Case {
    let search = Search::Runs(Settings {
        plant: Some(plant),
        faults: plant.faults(),
        passwords: plant.needs_passwords(),
        ..ANY
    });
    Case { planted: Planted::Driver(plant), source, search }
}

/// All of them.
pub(crate) fn cases() -> Vec<Case> {
    let mut all: Vec<Case> = Bug::ALL.into_iter().map(of_rules).collect();
    all.extend(Plant::ALL.into_iter().map(of_drivers));
    all
}

fn of_rules(bug: Bug) -> Case {
    let any = Search::Runs(ANY);
    let shape = Some(Shape::Alone(4));
    let cut_out = Search::Runs(Settings { shape, faults: Faults::With(Fault::CutOut), ..ANY });
    let two_cliques = Search::Runs(Settings { shape: Some(Shape::TwoCliques(4, 4, 4)), ..ANY });
    let check = |name, check: Check| Search::Check(name, check);
    match bug {
        Bug::SmallQuorums => rule(bug, "1.5, 1.22", any),
        Bug::SmallCertificates => rule(bug, "R4 (b+1 of the text)", with("equivocate", "lurk")),
        Bug::AnyClique => rule(bug, "1.9, 2.16, A3", two_cliques),
        Bug::FewAcknowledgements => rule(bug, "1.5", any),
        Bug::FewAnswers => rule(bug, "1.5, 2.8", any),
        Bug::OutsidersCount => rule(bug, "2.12, A2", with("foreign-signatures", "lurk")),
        Bug::RepeatedSignersCount => rule(bug, "A1", with("repeated-signatures", "lurk")),
        Bug::AnyConfiguration => {
            let name = "another configuration certifies nothing";
            rule(bug, "2.6, 2.10", check(name, checks::another_configuration_certifies_nothing))
        }
        Bug::ReadUnverified => rule(bug, "1.11, 1.13", with("forge", "wrong-value")),
        Bug::StoreUnverified => rule(bug, "1.3, A13", with("foreign-signatures", "lurk")),
        Bug::SharesUnchecked => rule(bug, "1.23", alone_in_four("other-variable")),
        Bug::NoDomain => {
            let name = "signed bytes name their purpose";
            rule(bug, "1.3, 1.6", check(name, checks::signed_bytes_name_their_purpose))
        }
        Bug::EndlessLists => {
            let name = "endless lists do not decode";
            rule(bug, "1.15", check(name, checks::endless_lists_do_not_decode))
        }
        Bug::ReservedForNobody => {
            let name = "reserved names are kept";
            rule(bug, "1.8, 2.9", check(name, checks::reserved_names_are_kept))
        }
        Bug::SenderUnchecked => rule(bug, "1.4, A17", with("thief", "collect")),
        Bug::NoTofu => rule(bug, "1.11, A9", any),
        Bug::SealIgnored => rule(bug, "R3 sealed", with("break-seal", "two-values")),
        Bug::SlotsIgnored => rule(bug, "R3 slots", any),
        Bug::FinalForgotten => rule(bug, "R3 Final", with("break-seal", "lurk")),
        Bug::OldTimestamps => rule(bug, "1.18, 2.5", any),
        Bug::NoBound => rule(bug, "1.12, 2.1, A7", with("jump", "maximum-timestamp")),
        Bug::EndlessSlots => rule(bug, "2.2, 2.14", with("park", "two-values")),
        Bug::AbandonForgotten => {
            let name = "what was abandoned is not signed later";
            rule(bug, "1.16, 2.2", check(name, checks::what_was_abandoned_is_not_signed_later))
        }
        Bug::FinalGivenUp => rule(bug, "R3 Final", with("break-seal", "lurk")),
        Bug::StrangersSlotFalls => rule(bug, "R3 slots", with("abandon-then-store", "lurk")),
        Bug::NoQueue => rule(bug, "1.18", any),
        Bug::SlotHidesEntry => rule(bug, "1.14, A8", any),
        Bug::EquivocationIgnored => {
            let name = "two certified entries convict who signed both";
            rule(bug, "2.4, 1.10", check(name, checks::two_certified_entries_convict))
        }
        Bug::ProofsUnchecked => rule(bug, "1.10, 2.4, A14", with("false-accusation", "lurk")),
        Bug::AnyTwoShares => rule(bug, "2.4, A14", with("false-accusation", "lurk")),
        Bug::UnknownIsLie => rule(bug, "1.17, R6", any),
        Bug::LapsedStored => rule(bug, "R4 (b+1 uncut)", cut_out),
        Bug::LoneVouch => rule(bug, "R4 (vouches)", cut_out),
        Bug::SmallVouches => rule(bug, "R4 (vouches)", with("false-vouch", "lurk")),
        Bug::HintsUnclipped => rule(bug, "1.12, A7", with("maximum-timestamp", "park")),
        Bug::LeavesLikeNodes => {
            let name = "roots are those of RFC 9162";
            rule(bug, "ADR 0016", check(name, checks::roots_are_those_of_rfc_9162))
        }
        Bug::DigestUnchecked | Bug::DigestSkipped | Bug::DigestOfBadCopyIsLie => of_digests(bug),
        Bug::BatchForAnyPurpose => {
            let name = "a root over entries certifies nothing";
            rule(bug, "ADR 0016", check(name, checks::a_root_over_entries_certifies_nothing))
        }
    }
}

fn of_digests(bug: Bug) -> Case {
    let search = match bug {
        Bug::DigestUnchecked => alone_in_four("hollow"),
        Bug::DigestOfBadCopyIsLie => alone_in_four("forge"),
        _ => Search::Runs(ANY),
    };
    rule(bug, "ADR 0020", search)
}

fn of_drivers(plant: Plant) -> Case {
    let source = match plant {
        Plant::ShareBeforeSync => "2.4, 1.21",
        Plant::ForgetMarks => "2.5, A6",
        Plant::NoWriteBack => "2.7",
        Plant::AbandonAssembled => "1.16, R2",
        Plant::ForgetHome => "R2 (writer's slot)",
        Plant::NoHomeLock => "R2 (two processes)",
        Plant::MaxTimestamp => "1.12, 2.1",
        Plant::BlindIdentities => "1.1, 2.13, A10",
        Plant::AcknowledgeBeforeSync => "1.21",
        Plant::ShareForAnybody => "1.6, A17",
        Plant::BlameTheSilent => "1.10, R6",
        Plant::DropHistory => "2.14",
        Plant::LastStoredIsLatest => "1.21",
        Plant::ServeAtOnce => "R1 (members)",
        Plant::NewestOnly => "design 6",
        Plant::AnswersOn => "R1 (members stop)",
        Plant::VotesTwice => "R1 (one successor)",
        Plant::VouchUnstored => "R4 (vouches)",
        Plant::NeverRepairs => "R4 (repair)",
        Plant::EvaluateBeforeSync => "docs/roaming.md, get",
        Plant::SignWithoutShare => "docs/roaming.md, put",
        Plant::OldRecords => "docs/roaming.md, change",
        Plant::MixesParts => "ADR 0016",
        _ => "",
    };
    driver(plant, source)
}
