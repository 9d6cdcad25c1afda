//! `bftkv dm together`.

mod over_store;

use std::fmt;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use bftkv::protocol::{NodeId, Seal as _};
use bftkv::wot::Sealer;
use bftkv_dm::keys::{
    Complaint, Error, Lock, Plan, Together, Verdict, seed_from_text, seed_to_text, system_rng,
};
use bftkv_dm::node::replace_private;
use bftkv_dm::threshold::Party;
use bftkv_dm::threshold::rand_core::RngCore as _;
use bftkv_dm::zone::Name;
use clap::{Args, Subcommand};
use serde::Serialize;
use zeroize::Zeroizing;

use super::{name_of, private_folders, sealer, write_file};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;

/// Make keys among all who get shares.
#[derive(Debug, Subcommand)]
pub(crate) enum TogetherCommand {
    Run(over_store::RunArgs),
    Start(StartArgs),
    Deal(DealArgs),
    Finish(FinishArgs),
    Judge(JudgeArgs),
}

pub(crate) fn run(command: &TogetherCommand, context: &Context) -> Result<Exit, Failure> {
    match command {
        TogetherCommand::Run(args) => over_store::run(args, context),
        TogetherCommand::Start(args) => start(args, context),
        TogetherCommand::Deal(args) => deal(args, context),
        TogetherCommand::Finish(args) => finish(args, context),
        TogetherCommand::Judge(args) => judge(args, context),
    }
}

/// Begin to make keys together by hand: the first of three rounds.
///
/// For members that have no store in common; with one, `bftkv dm together run` does it all. All members run this with the same zone, threshold and list of members, each in its home with
/// the certificates of the others. Two Ed25519 keys are made: KSK and ZSK. Nobody ever has a whole
/// one.
///
/// The file `dm-N.round1` that this leaves in the folder is for all the others, who put it into
/// their folders; how it gets there does not matter, because it is signed. The file `seed` is
/// secret, and gone at the end.
///
/// Examples:
///
///   bftkv dm together start keys --zone example.com --threshold 3 --members FPR1 FPR2 FPR3 FPR4
///   bftkv dm together deal keys           # when all dm-*.round1 are in the folder
///   bftkv dm together finish keys         # when all dm-*-for-dm-N.round2 are
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct StartArgs {
    /// A new folder.
    #[arg(value_name = "DIR")]
    folder: PathBuf,

    #[command(flatten)]
    plan: PlanArgs,
}

/// Who makes keys for which zone.
#[derive(Debug, Args)]
struct PlanArgs {
    /// The zone.
    #[arg(long, value_name = "NAME", default_value = ".", value_parser = name_of)]
    zone: Name,

    /// k: how many sign together.
    #[arg(long, value_name = "K")]
    threshold: usize,

    /// The fingerprints of all members, our own among them, in the same order everywhere.
    #[arg(long, value_name = "FPR", num_args = 1.., required = true)]
    members: Vec<NodeId>,

    /// Higher than before, if the same members begin anew; the same at all.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    attempt: u32,
}

impl PlanArgs {
    fn plan(&self) -> Result<Plan, Failure> {
        let members = self.members.clone();
        let plan = Plan::new(self.zone.clone(), self.threshold, members, self.attempt);
        plan.map_err(Failure::usage)
    }
}

/// Deal to the others: the second round.
///
/// All `dm-*.round1` must be in the folder. The files `dm-N-for-dm-M.round2` are for member M each,
/// and sealed to it.
///
/// Example: bftkv dm together deal keys
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct DealArgs {
    /// The folder of the first round.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Take what the others dealt: the last round.
///
/// All `dm-*.round1`, and the `dm-*-for-dm-N.round2` that are for us, must be in the folder. The shares
/// and the public keys go there, as from `bftkv dm keygen`, with a transcript that is the same
/// for all, and our signature of it. Do not use the keys before `bftkv dm transcript check` says
/// that all have signed the same.
///
/// Who is named as wrong is to be left out: all others start again without it. If somebody dealt a
/// wrong share, the file `dm-N-about-dm-M.complaint` says so to the others, who check it by `bftkv
/// dm together judge`.
///
/// Example: bftkv dm together finish keys
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct FinishArgs {
    /// The folder of the first rounds.
    #[arg(value_name = "DIR")]
    folder: PathBuf,

    #[command(flatten)]
    lock: LockArgs,
}

/// How the shares are sealed.
#[derive(Debug, Args)]
struct LockArgs {
    /// Seal the shares to the encryption subkey of the home's key instead of with a passphrase.
    #[arg(long)]
    seal_to_key: bool,

    /// Leave the shares unsealed: whoever reads the files has them.
    #[arg(long, conflicts_with = "seal_to_key")]
    no_passphrase: bool,
}

/// What opens our shares, chosen before anything is made.
struct Chosen {
    passphrase: Option<Zeroizing<Vec<u8>>>,
    to_key: bool,
}

impl LockArgs {
    fn choose(&self, number: u8, context: &Context) -> Result<Chosen, Failure> {
        let to_key = self.seal_to_key;
        let passphrase = if self.no_passphrase || to_key {
            None
        } else {
            Some(context.passphrase().choose_bytes(&format!("dm-{number}"))?)
        };
        Ok(Chosen { passphrase, to_key })
    }
}

impl Chosen {
    fn lock<'a>(&'a self, seal: &'a Sealer) -> Lock<'a> {
        match &self.passphrase {
            Some(words) => Lock::Passphrase(words),
            None if self.to_key => Lock::Key { seal, to: seal.id() },
            None => Lock::None,
        }
    }
}

/// Check the complaints of other members.
///
/// A complaint has what was dealt as its dealer signed it, so everybody sees who lies: who dealt, or who
/// complains. All others start again without it. (What only the receiver could see cannot be shown: then it is said
/// that one of the two lies.) The folder's seed is not needed.
///
/// Exit code: 0 if each complaint has a verdict.
///
/// Example: bftkv dm together judge keys dm-1-about-dm-3.complaint
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct JudgeArgs {
    /// The folder of the first rounds.
    #[arg(value_name = "DIR")]
    folder: PathBuf,

    /// The complaints.
    #[arg(value_name = "COMPLAINT", num_args = 1.., required = true)]
    complaints: Vec<PathBuf>,
}

/// What comes of a complaint.
#[derive(Debug, Serialize)]
struct Judged {
    complainer: u8,
    dealer: u8,
    /// `None` if nothing shows which of the two it is.
    liar: Option<u8>,
    why: &'static str,
}

impl Judged {
    fn of((Complaint { party, about }, verdict): (Complaint, Verdict)) -> Self {
        let (complainer, dealer) = (party.number(), about.number());
        let (liar, why) = match verdict {
            Verdict::Dealer(why) => (Some(dealer), why),
            Verdict::Complainer(why) => (Some(complainer), why),
            Verdict::OneOfThem => (None, "nothing shows which"),
        };
        Self { complainer, dealer, liar, why }
    }
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { complainer, dealer, liar, why } = self;
        write!(f, "dm-{complainer} about dm-{dealer}: ")?;
        match liar {
            Some(liar) => write!(f, "dm-{liar} LIES: it {why}"),
            None => write!(f, "one of the two LIES: {why}"),
        }
    }
}

#[derive(Debug, Serialize)]
struct Verdicts {
    verdicts: Vec<Judged>,
}

impl fmt::Display for Verdicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, one) in self.verdicts.iter().enumerate() {
            let end = if place == 0 { "" } else { "\n" };
            write!(f, "{end}{one}")?;
        }
        Ok(())
    }
}

#[derive(Debug, Serialize)]
struct Report {
    party: u8,
    files: Vec<String>,
    next: &'static str,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "we are dm-{}; written:", self.party)?;
        self.files.iter().try_for_each(|file| writeln!(f, "  {file}"))?;
        write!(f, "{}", self.next)
    }
}

fn show(
    context: &Context,
    party: u8,
    files: &[PathBuf],
    next: &'static str,
) -> Result<Exit, Failure> {
    let files = files.iter().map(|file| file.display().to_string()).collect();
    context.output().show(&Report { party, files, next })?;
    Ok(Exit::Done)
}

fn start(args: &StartArgs, context: &Context) -> Result<Exit, Failure> {
    let (number, file) = begin(&args.folder, &args.plan.plan()?, &sealer(context)?)?;
    show(context, number, &[file], "give it to all the others, and put theirs beside it")
}

/// A new folder with a seed, the plan and our first message. Gives our number and the message's file.
fn begin(folder: &Path, plan: &Plan, seal: &Sealer) -> Result<(u8, PathBuf), Failure> {
    let mut seed = Zeroizing::new([0; 32]);
    system_rng().map_err(Failure::failed)?.fill_bytes(&mut *seed);
    let together = Together::new(plan, seal, &seed).map_err(Failure::failed)?;
    let package = together.package().map_err(Failure::failed)?;

    make_private(folder)?;
    write_private(&folder.join("seed"), seed_to_text(&seed).as_bytes())?;
    let number = together.party().number();
    let file = folder.join(format!("dm-{number}.round1"));
    write_private(&file, &package)?;
    // The last: with it the folder is whole.
    write_file(&folder.join("plan.txt"), &plan.to_text())?;
    Ok((number, file))
}

/// What was left by the first round.
fn begun(folder: &Path) -> Result<(Plan, Zeroizing<[u8; 32]>), Failure> {
    let plan = plan_in(folder)?;
    let seed = Zeroizing::new(read_text(&folder.join("seed"))?);
    let seed = seed_from_text(&seed).ok_or_else(|| Failure::failed("seed: damaged"))?;
    Ok((plan, seed))
}

fn plan_in(folder: &Path) -> Result<Plan, Failure> {
    Plan::from_text(&read_text(&folder.join("plan.txt"))?).map_err(Failure::failed)
}

fn read_text(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| Failure::file(path, &error))
}

/// The messages in the files whose names end so.
fn messages(folder: &Path, end: &str) -> Result<Vec<Vec<u8>>, Failure> {
    let failed = |error: std::io::Error| Failure::file(folder, &error);
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("dm-") && name.ends_with(end) {
            paths.push(path);
        }
    }
    paths.sort();
    paths.iter().map(|path| message(path)).collect()
}

fn message(path: &Path) -> Result<Vec<u8>, Failure> {
    /// More than any message has.
    const MAX_BYTES: u64 = 64 * 1024;
    let failed = |error| Failure::file(path, &error);
    if fs::metadata(path).map_err(failed)?.len() > MAX_BYTES {
        return Err(Failure::failed(format!("{}: too large", path.display())));
    }
    fs::read(path).map_err(failed)
}

fn explain(error: Error) -> Failure {
    let hint = match &error {
        Error::Threshold(bftkv_dm::threshold::Error::TooFew { .. }) => {
            "files of other members are not in the folder yet"
        }
        Error::Seal(_) => "the certificates of all members must be in this home: bftkv cert import",
        _ => return Failure::failed(error),
    };
    Failure::failed(error).hint(hint)
}

fn deal(args: &DealArgs, context: &Context) -> Result<Exit, Failure> {
    let (number, files) = deal_in(&args.folder, &sealer(context)?)?;
    show(context, number, &files, "give each to its member, and put those for us beside them")
}

/// Gives our number, and the files for the others.
fn deal_in(folder: &Path, seal: &Sealer) -> Result<(u8, Vec<PathBuf>), Failure> {
    let (plan, seed) = begun(folder)?;
    let together = Together::new(&plan, seal, &seed).map_err(Failure::failed)?;
    let dealt = together.deal(&messages(folder, ".round1")?).map_err(explain)?;
    let (number, mut files) = (together.party().number(), Vec::new());
    for (party, message) in dealt {
        let file = folder.join(format!("dm-{number}-for-dm-{}.round2", party.number()));
        write_private(&file, &message)?;
        files.push(file);
    }
    Ok((number, files))
}

fn finish(args: &FinishArgs, context: &Context) -> Result<Exit, Failure> {
    let seal = sealer(context)?;
    let number = party_in(&args.folder, &seal)?.number();
    let chosen = args.lock.choose(number, context)?;
    let files = finish_in(&args.folder, &seal, &chosen)?;
    let next = "give dm-N.signed to all, and use nothing before `bftkv dm transcript check`";
    show(context, number, &files, next)
}

fn party_in(folder: &Path, seal: &Sealer) -> Result<Party, Failure> {
    let stranger = || Failure::failed(Error::NoMember(seal.id().to_string()));
    plan_in(folder)?.party(seal.id()).ok_or_else(stranger)
}

/// Makes our shares and signs the transcript, or leaves a complaint. Gives the files.
fn finish_in(folder: &Path, seal: &Sealer, chosen: &Chosen) -> Result<Vec<PathBuf>, Failure> {
    let (plan, seed) = begun(folder)?;
    let together = Together::new(&plan, seal, &seed).map_err(Failure::failed)?;
    let number = together.party().number();
    let told = messages(folder, ".round1")?;
    let ours = messages(folder, &format!("-for-dm-{number}.round2"))?;
    let made = together.finish(&told, &ours).map_err(|error| match &error {
        Error::WrongDealing { party, complaint, .. } | Error::Unusable { party, complaint, .. } => {
            let name = format!("dm-{number}-about-dm-{}.complaint", party.number());
            let file = folder.join(name);
            match write_private(&file, complaint) {
                Ok(()) => Failure::failed(&error).hint(format!(
                    "give {} to all the others: bftkv dm together judge",
                    file.display()
                )),
                Err(failure) => failure,
            }
        }
        _ => explain(error),
    })?;
    let transcript = bftkv_dm::keys::Transcript::from_text(&made.transcript);
    let signed = transcript.and_then(|it| it.sign(seal)).map_err(Failure::failed)?;

    let mut rng = system_rng().map_err(Failure::failed)?;
    private_folders()
        .recursive(true)
        .create(folder.join("offline"))
        .map_err(|error| Failure::file(folder, &error))?;
    let mut files = Vec::new();
    for (share, name) in made.shares.iter().zip(["offline/ksk", "zsk"]) {
        let file = folder.join(format!("{name}.share"));
        // Of a try that was interrupted: the seed makes the same share.
        let _ = fs::remove_file(&file);
        share.create(&file, chosen.lock(seal), &mut rng).map_err(Failure::failed)?;
        let public = folder.join(format!("{}.key", name.trim_start_matches("offline/")));
        write_file(&public, &share.key_file().map_err(Failure::failed)?.to_text())?;
        files.extend([file, public]);
    }
    let transcript = folder.join("transcript.txt");
    write_file(&transcript, &made.transcript)?;
    let signature = folder.join(format!("dm-{number}.signed"));
    write_private(&signature, &signed)?;
    forget(&folder.join("seed"))?;
    files.extend([transcript, signature]);
    Ok(files)
}

fn judge(args: &JudgeArgs, context: &Context) -> Result<Exit, Failure> {
    let plan = plan_in(&args.folder)?;
    let seal = sealer(context)?;
    let told = messages(&args.folder, ".round1")?;
    let judge = |path: &PathBuf| {
        let failed = |error| Failure::failed(format!("{}: {error}", path.display()));
        // Files may say other things to others.
        let told = (told.as_slice(), false);
        let judged = Complaint::judge(&message(path)?, (&plan, &seal), told);
        Ok(Judged::of(judged.map_err(failed)?))
    };
    let verdicts = args.complaints.iter().map(judge).collect::<Result<_, Failure>>()?;
    context.output().show(&Verdicts { verdicts })?;
    Ok(Exit::Done)
}

fn make_private(folder: &Path) -> Result<(), Failure> {
    private_folders().create(folder).map_err(|error| Failure::file(folder, &error))
}

/// Writes a file for its owner, at once; over one of an earlier try, if the round is done again.
fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    replace_private(path, bytes).map_err(|error| Failure::file(path, &error))
}

/// Overwrites and deletes the seed.
fn forget(path: &Path) -> Result<(), Failure> {
    let overwrite = || {
        let mut file = fs::OpenOptions::new().write(true).open(path)?;
        file.write_all(&[b'0'; 65])?;
        file.sync_all()?;
        fs::remove_file(path)
    };
    overwrite().map_err(|error| Failure::file(path, &error))
}
