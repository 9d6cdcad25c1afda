//! `bftkv dm together run`: all rounds, with the store between the members.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bftkv::protocol::{NodeId, Seal as _};
use bftkv::wot::Sealer;
use bftkv::{Client, GetOptions, PutOptions, Value, Variable};
use bftkv_dm::keys::{Complaint, Plan, Transcript};
use bftkv_dm::threshold::Party;
use clap::Args;

use super::super::sealer_of;
use super::{
    Chosen, Judged, LockArgs, PlanArgs, begin, deal_in, finish_in, forget, message, messages,
    party_in, plan_in, read_text, show, write_private,
};
use crate::commands::put::BACKGROUND;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;

/// Make keys together, all rounds, with the store between the members.
///
/// All members run this at about the same time, with the same zone, threshold and list of members,
/// each in its home, with the certificates of the others and with a quorum certificate, as for
/// `bftkv put`. Two Ed25519 keys are made: KSK and ZSK. Nobody ever has a whole one.
///
/// What a member tells is written once, at a variable that it alone can write: so all read the same.
/// The command ends when all have signed the same transcript. Then the keys can be used; not before.
///
/// It can be stopped and run again: it goes on where it was. Whoever lies is named, and whoever is
/// silent for too long: all others start again without it, in new folders. With the same members once more,
/// all give the same higher --attempt.
///
/// Example:
///
///   bftkv dm together run keys --zone example.com --threshold 3 --members FPR1 FPR2 FPR3 FPR4
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct RunArgs {
    /// A new folder, or that of a run that was stopped.
    #[arg(value_name = "DIR")]
    folder: PathBuf,

    #[command(flatten)]
    plan: PlanArgs,

    /// Give up when nothing has come from anybody for so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    wait: u64,

    #[command(flatten)]
    lock: LockArgs,
}

/// How often the store is asked.
const AGAIN: Duration = Duration::from_secs(1);

pub(super) fn run(args: &RunArgs, context: &Context) -> Result<Exit, Failure> {
    let plan = args.plan.plan()?;
    let home = context.open_home()?;
    let seal = sealer_of(&home)?;
    if args.folder.join("plan.txt").exists() {
        if plan_in(&args.folder)? != plan {
            let text = format!("{} was begun with another plan", args.folder.display());
            return Err(Failure::usage(text).hint("a new folder for other members"));
        }
    } else {
        begin(&args.folder, &plan, &seal)?;
    }
    let party = party_in(&args.folder, &seal)?;
    let (folder, wait) = (args.folder.as_path(), Duration::from_secs(args.wait));
    context.block_on(async {
        let client = Client::open(&home).await?;
        let room = Room { client, plan: &plan, seal: &seal, folder, party, wait };
        let made = room.make_keys(&args.lock, context).await;
        room.client.finish(BACKGROUND).await;
        let next = "all members have signed the same transcript: the keys can be used";
        show(context, party.number(), &made?, next)
    })
}

/// Where the members of one ceremony meet.
struct Room<'a> {
    client: Client,
    plan: &'a Plan,
    seal: &'a Sealer,
    folder: &'a Path,
    party: Party,
    wait: Duration,
}

/// The names of what members tell.
const ROUND_1: &str = "round1";
const ROUND_2: &str = "round2";
const TRANSCRIPT: &str = "transcript";
const COMPLAINT: &str = "complaint";

impl Room<'_> {
    async fn make_keys(&self, lock: &LockArgs, context: &Context) -> Result<Vec<PathBuf>, Failure> {
        let signature = self.path(&format!("dm-{}.signed", self.number()));
        let seed = self.path("seed");
        let files = if !signature.exists() {
            // Somebody has to type a passphrase, and may not be there later.
            self.make_shares(&lock.choose(self.number(), context)?).await?
        } else {
            // A run before has them, and may have been stopped before it had forgotten the seed.
            if seed.exists() {
                forget(&seed)?;
            }
            Vec::new()
        };
        self.tell(TRANSCRIPT, &signature).await?;
        let signed = self.collect("signature of the transcript", |_| TRANSCRIPT.to_owned()).await?;
        self.compare(&signed)?;
        self.keep(&signed, |party| format!("dm-{party}.signed"))?;
        Ok(files)
    }

    /// The rounds, up to our shares and our signature of the transcript.
    async fn make_shares(&self, chosen: &Chosen) -> Result<Vec<PathBuf>, Failure> {
        self.tell(ROUND_1, &self.path(&format!("dm-{}.round1", self.number()))).await?;
        let told = self.collect("first round", |_| ROUND_1.to_owned()).await?;
        self.keep(&told, |party| format!("dm-{party}.round1"))?;
        self.deal().await?;
        let to_us = format!("round2/{}", self.number());
        let dealt = self.collect("second round", |_| to_us.clone()).await?;
        self.keep(&dealt, |party| format!("dm-{party}-for-dm-{}.round2", self.number()))?;
        match finish_in(self.folder, self.seal, chosen) {
            Ok(made) => Ok(made),
            Err(failure) => Err(self.complain(failure).await),
        }
    }

    fn number(&self) -> u8 {
        self.party.number()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The others, with their members.
    fn others(&self) -> impl Iterator<Item = (Party, &NodeId)> {
        self.plan.members().filter(|(party, _)| *party != self.party)
    }

    /// Nobody but this member can write it.
    fn variable(&self, member: &NodeId, what: &str) -> Result<Variable, Failure> {
        let name = format!("{member}/dm-keys/{}/{what}", self.plan.hash());
        Variable::new(name).map_err(Failure::failed)
    }

    /// Writes what is in the file, once. What was written by a run before stays.
    async fn tell(&self, what: &str, file: &Path) -> Result<(), Failure> {
        let (bytes, variable) = (message(file)?, self.variable(self.seal.id(), what)?);
        let operation = |error| Failure::operation(error, &self.client.names());
        let found = self.client.get(&variable, GetOptions::default()).await.map_err(operation)?;
        if let Some(entry) = found.entry {
            if entry.entry().value.as_bytes() == bytes {
                return Ok(());
            }
            let text = format!("the store has another {what} of ours for this plan");
            return Err(Failure::failed(text).hint(
                "go on in the folder from which it came; or all members begin anew with a higher --attempt",
            ));
        }
        let value = Value::new(bytes).map_err(Failure::failed)?;
        let options = PutOptions { once: true, ..PutOptions::default() };
        self.client.put(&variable, value, options).await.map(|_| ()).map_err(operation)
    }

    /// What a member has written, if anything. A store that does not answer may do so later.
    async fn read(&self, member: &NodeId, what: &str) -> Result<Option<Vec<u8>>, Failure> {
        let variable = self.variable(member, what)?;
        let found = self.client.get(&variable, GetOptions::default()).await;
        let found = found.map_err(|error| Failure::operation(error, &self.client.names()))?;
        Ok(found.entry.map(|entry| entry.entry().value.as_bytes().to_vec()))
    }

    /// Waits until each of the others has written this.
    async fn collect(
        &self,
        shown: &str,
        what: impl Fn(Party) -> String,
    ) -> Result<BTreeMap<Party, Vec<u8>>, Failure> {
        let mut there = BTreeMap::new();
        let (mut last, mut trouble) = (Instant::now(), None);
        let mut waited_for = BTreeSet::new();
        loop {
            let missing: Vec<_> =
                self.others().filter(|(party, _)| !there.contains_key(party)).collect();
            for (party, member) in &missing {
                match self.read(member, &what(*party)).await {
                    Ok(None) => {}
                    Ok(Some(bytes)) => {
                        self.check_sender(*party, &bytes, &what(*party)).await?;
                        there.insert(*party, bytes);
                        (last, trouble) = (Instant::now(), None);
                    }
                    Err(failure) => trouble = Some(failure),
                }
            }
            let missing: BTreeSet<String> = missing
                .iter()
                .filter(|(party, _)| !there.contains_key(party))
                .map(|(party, _)| format!("dm-{}", party.number()))
                .collect();
            if missing.is_empty() {
                return Ok(there);
            }
            self.look_for_complaints().await?;
            let names = missing.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            if last.elapsed() >= self.wait {
                return Err(trouble.unwrap_or_else(|| {
                    without(Failure::failed(format!("no {shown} from {names}")))
                }));
            }
            if waited_for != missing {
                eprintln!("waiting for the {shown} of {names}");
                waited_for = missing;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Whoever wrote something that it has not signed is named; also to the others, who cannot see what is
    /// for us only.
    async fn check_sender(&self, party: Party, bytes: &[u8], what: &str) -> Result<(), Failure> {
        let Err(error) = self.plan.check_sender(party, bytes, self.seal) else { return Ok(()) };
        let failure = Failure::failed(&error);
        if !what.starts_with(ROUND_2) {
            return Err(without(failure));
        }
        let complaint = Complaint { party: self.party, about: party };
        let complaint = complaint.sign_without_proof((self.plan, self.seal));
        let file = self.complaint_about(party);
        write_private(&file, &complaint.map_err(Failure::failed)?)?;
        Err(self.complain(failure).await)
    }

    fn complaint_about(&self, party: Party) -> PathBuf {
        self.path(&format!("dm-{}-about-dm-{}.complaint", self.number(), party.number()))
    }

    /// Puts what the others told into the folder, as if it had come there by hand.
    fn keep(
        &self,
        told: &BTreeMap<Party, Vec<u8>>,
        name: impl Fn(u8) -> String,
    ) -> Result<(), Failure> {
        told.iter()
            .try_for_each(|(party, bytes)| write_private(&self.path(&name(party.number())), bytes))
    }

    /// The second round. What was dealt before is not dealt again: it may have been read.
    async fn deal(&self) -> Result<(), Failure> {
        let file = |party: Party| {
            self.path(&format!("dm-{}-for-dm-{}.round2", self.number(), party.number()))
        };
        if !self.others().all(|(party, _)| file(party).exists()) {
            deal_in(self.folder, self.seal).map_err(without)?;
        }
        for (party, _) in self.others() {
            self.tell(&format!("round2/{}", party.number()), &file(party)).await?;
        }
        Ok(())
    }

    /// We were dealt something wrong: tells the others, with what proves it if anything does.
    async fn complain(&self, failure: Failure) -> Failure {
        let mut files = self.others().map(|(party, _)| self.complaint_about(party));
        let Some(file) = files.find(|file| file.exists()) else {
            return without(failure);
        };
        match self.tell(COMPLAINT, &file).await {
            Ok(()) => without(failure),
            Err(untold) => {
                let text = format!(
                    "{}; the others were not told: {}",
                    failure.message(),
                    untold.message()
                );
                without(Failure::failed(text))
            }
        }
    }

    /// Whether somebody has shown that somebody lies.
    async fn look_for_complaints(&self) -> Result<(), Failure> {
        // Before all of the first round is here, nobody was dealt anything.
        let told = messages(self.folder, ".round1")?;
        if told.len() < self.plan.roster().size() {
            return Ok(());
        }
        // All have read the same.
        let told = (told.as_slice(), true);
        for (party, member) in self.others() {
            let Ok(Some(complaint)) = self.read(member, COMPLAINT).await else { continue };
            let checked = self.plan.check_sender(party, &complaint, self.seal);
            let judged = checked
                .and_then(|()| Complaint::judge(&complaint, (self.plan, self.seal), told))
                .map_err(|error| {
                    let number = party.number();
                    without(Failure::failed(format!("the complaint of dm-{number}: {error}")))
                })?;
            return Err(without(Failure::failed(Judged::of(judged))));
        }
        Ok(())
    }

    /// All must have signed our transcript.
    fn compare(&self, signed: &BTreeMap<Party, Vec<u8>>) -> Result<(), Failure> {
        let ours = Transcript::from_text(&read_text(&self.path("transcript.txt"))?);
        let ours = ours.map_err(Failure::failed)?;
        for signed in signed.values() {
            let signer = ours.signer(signed, self.seal);
            signer.map_err(|error| without(Failure::failed(error)))?;
        }
        Ok(())
    }
}

fn without(failure: Failure) -> Failure {
    failure.hint("if a member is named here, all others start again without it, in new folders")
}
