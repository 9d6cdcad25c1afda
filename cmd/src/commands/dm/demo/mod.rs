//! `bftkv dm demo`.

mod council;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bftkv_dm::agree::{Content, Dm, Status};
use bftkv_dm::node::content_of;
use bftkv_dm::sample;
use bftkv_dm::threshold::Scheme;
use bftkv_dm::zone::{Limits, Name, Zone};
use clap::Args;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use self::council::{DMS, Masters, assemble, dead, liar, signers};
use super::keygen::scheme_of;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Output};
use crate::stop::Stop;

/// Show seven distribution masters in this process that publish one root zone.
///
/// Seven DMs with a key of which four sign (P-256: three) agree on the shipped root zone, sign it and serve it on
/// loopback. Then one is stopped and another lies: it shows a forged DS record, and what it signs
/// is wrong if it is asked to sign. The next real update is published all the same, and it is told
/// who lied. Nothing needs to be installed. With two processors it takes about half a minute.
///
/// Examples:
///
///   bftkv dm demo --out root.signed
///   bftkv dm demo --small --serve
///   bftkv dm demo --small --algorithm p256
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct DemoArgs {
    /// Where the signed zone goes [default: nowhere].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Go on serving until interrupted.
    #[arg(long)]
    serve: bool,

    /// A zone of a few names instead of the whole root zone.
    #[arg(long)]
    small: bool,

    /// ed25519 (15), or p256 (13) with --small: the DMs make presignatures first, which takes as
    /// long as the rest.
    #[arg(long, value_name = "NAME", default_value = "ed25519", value_parser = scheme_of)]
    algorithm: Scheme,
}

/// How long a zone may take. The machine may be busy.
const PATIENCE: Duration = Duration::from_secs(240);
/// How often to look how far they are.
const LOOK: Duration = Duration::from_millis(100);
/// What the liar's source says of this delegation's DS.
const VICTIM: &str = "com.";

const SMALL: &str = "\
. 86400 IN SOA a. b. 2026081300 1800 900 604800 86400
. 518400 IN NS a.
a. 518400 IN A 192.0.2.1
com. 172800 IN NS ns.com.
com. 86400 IN DS 1 15 2 0000000000000000000000000000000000000000000000000000000000000000
ns.com. 172800 IN A 192.0.2.2
net. 172800 IN NS ns.com.
org. 172800 IN NS ns.com.
edu. 172800 IN NS ns.com.
gov. 172800 IN NS ns.com.
int. 172800 IN NS ns.com.
mil. 172800 IN NS ns.com.
arpa. 172800 IN NS ns.com.
";

pub(crate) fn run(args: &DemoArgs, context: &Context) -> Result<Exit, Failure> {
    context.block_on(tell(args, context.output()))?;
    Ok(Exit::Done)
}

/// With which algorithm.
fn checked(args: &DemoArgs) -> Result<Scheme, Failure> {
    match args.algorithm {
        Scheme::EcdsaP256 if !args.small => {
            Err(Failure::usage("seven DMs would presign for the whole root zone for very long")
                .hint("with --algorithm p256, add --small"))
        }
        Scheme::Rsa => Err(Failure::usage("an RSA key needs safe primes, which take long to find")
            .hint("--algorithm ed25519 or p256")),
        scheme => Ok(scheme),
    }
}

fn say(output: Output, text: impl Display) -> Result<(), Failure> {
    if output.is_json() { Ok(()) } else { output::raw(format!("{text}\n").as_bytes()) }
}

async fn tell(args: &DemoArgs, output: Output) -> Result<(), Failure> {
    let scheme = checked(args)?;
    let mut stop = Stop::listen(false)?;
    let folder = tempfile::tempdir().map_err(Failure::failed)?;
    let begun = Instant::now();
    let first = first_zone(args)?;
    let name = if scheme == Scheme::EcdsaP256 { "a P-256" } else { "an Ed25519" };
    let signers = signers(scheme);
    let key = format!("Keys: {DMS} DMs certify each other; {name} key is dealt, {signers} sign.");
    say(output, key)?;
    let mut masters = assemble(folder.path(), first.serial(), scheme).await?;
    let told = tokio::select! {
        told = story(args, output, &first, &mut masters) => told,
        () = stop.wait() => Err(Failure::failed("interrupted")),
    };
    if args.serve && told.is_ok() {
        say(output, "serving until interrupted")?;
        stop.wait().await;
    }
    for master in masters.into_values() {
        master.stop().await?;
    }
    let (zone, named) = told?;
    if output.is_json() {
        let seconds = begun.elapsed().as_secs_f32();
        let named: Vec<u8> = named.iter().map(|dm| dm.number()).collect();
        let told = serde_json::json!({
            "serial": zone.serial(),
            "sets": zone.sets().len(),
            "liars": named,
            "seconds": seconds,
        });
        output::raw(format!("{told}\n").as_bytes())?;
    }
    Ok(())
}

/// Gives the last zone, and who was named.
async fn story(
    args: &DemoArgs,
    output: Output,
    first: &Zone,
    masters: &mut Masters,
) -> Result<(Arc<Zone>, BTreeSet<Dm>), Failure> {
    let start = Instant::now();
    let content = content_of(first).map_err(Failure::failed)?;
    masters.values().for_each(|master| master.source.set(first.serial(), content.clone()));
    let everyone: Vec<Dm> = masters.keys().copied().collect();
    let zone = gather(output, masters, &everyone, first.serial()).await?;
    let (sets, seconds) = (zone.sets().len(), start.elapsed().as_secs_f32());
    let text = format!("The zone, {sets} sets: agreed, signed, checked");
    say(output, format_args!("{text} and the same at all {DMS} after {seconds:.1} s."))?;

    let (Some(dead), Some(liar)) = (dead(), liar()) else { return Err(Failure::failed("no DM")) };
    say(
        output,
        format_args!("\n{dead} is stopped. {liar} lies from now on: it shows a forged DS"),
    )?;
    say(output, format_args!("of {VICTIM} and signs wrongly. The others see the next update."))?;
    if let Some(master) = masters.remove(&dead) {
        master.stop().await?;
    }
    let start = Instant::now();
    let (serial, honest) = next_update(args, &content)?;
    let forged = forge(&honest)?;
    for (dm, master) in &*masters {
        let seen = if *dm == liar { &forged } else { &honest };
        master.source.set(serial, seen.clone());
    }
    if let Some(master) = masters.get(&liar) {
        master.lie();
    }
    let others: Vec<Dm> = masters.keys().copied().filter(|dm| *dm != liar).collect();
    // The first one may have taken more than one serial.
    let zone = gather(output, masters, &others, zone.serial().wrapping_add(1)).await?;
    if content_of(&zone).map_err(Failure::failed)? != honest {
        return Err(Failure::failed("the published zone is not what the honest DMs see"));
    }
    let seconds = start.elapsed().as_secs_f32();
    let text = format!("Serial {}, with one DM down and one lying: published", zone.serial());
    say(output, format_args!("{text} after {seconds:.1} s, the same at all honest DMs;"))?;
    say(output, "the forged DS is not in it.")?;
    let named = report(output, masters, &others)?;
    if let Some(path) = &args.out {
        fs::write(path, zone.to_string()).map_err(|error| Failure::file(path, &error))?;
        say(output, format_args!("written: {}", path.display()))?;
    }
    Ok((zone, named))
}

/// Where they serve, and what they say of the liar.
fn report(output: Output, masters: &Masters, honest: &[Dm]) -> Result<BTreeSet<Dm>, Failure> {
    let mut named = BTreeSet::new();
    let mut told = BTreeSet::new();
    for dm in honest {
        let Some(master) = masters.get(dm) else { continue };
        let status = master.driver.status();
        for dissent in &status.dissent {
            for dm in dissent.seen.keys() {
                told.insert(format!("  {dm} saw something else for {}.", dissent.delegation));
            }
        }
        for (dm, what) in &status.culprits {
            named.insert(*dm);
            told.insert(format!("  liar: {dm}: {what}"));
        }
    }
    told.iter().try_for_each(|line| say(output, line))?;
    for (dm, master) in masters {
        let at = master.server.local_addr();
        say(output, format_args!("  {dm}: dig @{} -p {} . AXFR", at.ip(), at.port()))?;
    }
    Ok(named)
}

fn first_zone(args: &DemoArgs) -> Result<Zone, Failure> {
    if !args.small {
        return sample::root_zone().map_err(Failure::failed);
    }
    let zone = Zone::read(SMALL.as_bytes(), Some(Name::root()), Limits::default());
    zone.map_err(Failure::failed)
}

/// The first real update that changes more than serial and signatures: on the others there is
/// nothing to agree.
fn next_update(args: &DemoArgs, before: &Content) -> Result<(u32, Content), Failure> {
    let read = |text: &str| {
        let zone = Zone::read(text.as_bytes(), Some(Name::root()), Limits::default());
        let zone = zone.map_err(Failure::failed)?;
        Ok((zone.serial(), content_of(&zone).map_err(Failure::failed)?))
    };
    if args.small {
        return read(&SMALL.replace("2026081300", "2026081301").replace("edu. ", "xyz. "));
    }
    for text in sample::root_zone_updates() {
        let (serial, content) = read(&text.map_err(Failure::failed)?)?;
        if content != *before {
            return Ok((serial, content));
        }
    }
    Err(Failure::failed("no update changes anything"))
}

/// Another DS of com, which would let whoever has its key speak for all of com.
fn forge(content: &Content) -> Result<Content, Failure> {
    let victim = content.sets().iter().find(|(key, _)| key.to_string() == format!("{VICTIM} DS"));
    let (key, value) = victim.ok_or_else(|| Failure::failed("the root zone has no DS of com"))?;
    let mut value = value.clone();
    if let Some(byte) = value.last_mut() {
        *byte ^= 1;
    }
    let mut forged = content.clone();
    forged.insert(key.clone(), value);
    Ok(forged)
}

/// Waits until all of these serve that serial or a later one, the same; tells how far they are.
async fn gather(
    output: Output,
    masters: &Masters,
    who: &[Dm],
    least: u32,
) -> Result<Arc<Zone>, Failure> {
    let start = Instant::now();
    let mut last = String::new();
    loop {
        let masters = || who.iter().filter_map(|dm| masters.get(dm));
        let zones: Vec<Arc<Zone>> = masters()
            .filter_map(|master| master.publisher.zone())
            .filter(|zone| zone.serial() >= least)
            .collect();
        let same = zones.first().filter(|first| zones.iter().all(|zone| zone == *first));
        if let (Some(zone), true) = (same, zones.len() == who.len()) {
            return Ok(Arc::clone(zone));
        }
        let held: Vec<String> = masters().filter_map(|master| master.publisher.held()).collect();
        if let Some(held) = held.first() {
            return Err(Failure::failed(held));
        }
        let drivers: Vec<_> = masters().map(|master| Arc::clone(&master.driver)).collect();
        // The state of a DM is locked while it computes.
        let look = move || drivers.iter().map(|driver| driver.status()).collect::<Vec<_>>();
        let statuses = spawn_blocking(look).await.map_err(Failure::failed)?;
        let progress = progress(&statuses, zones.len());
        let seconds = start.elapsed().as_secs_f32();
        if progress != last {
            say(output, format_args!("  {seconds:5.1} s  {progress}"))?;
            last = progress;
        }
        if start.elapsed() > PATIENCE {
            let text = format!("no zone in {} s: {last}; {statuses:?}", PATIENCE.as_secs());
            return Err(Failure::failed(text).hint("the machine may be too busy; try --small"));
        }
        sleep(LOOK).await;
    }
}

fn progress(statuses: &[Status], served: usize) -> String {
    let of = statuses.len();
    if served > 0 {
        return format!("checked and served by {served} of {of}");
    }
    let signing = statuses.iter().filter_map(|status| status.signing).max();
    let round = statuses.iter().filter_map(|status| status.round).max();
    if let Some(serial) = signing.filter(|signing| round.is_none_or(|round| *signing >= round)) {
        return format!("serial {serial} is certified; being signed");
    }
    if let Some(held) = statuses.iter().find_map(|status| status.held.as_ref()) {
        return format!("held: {held}");
    }
    let views = statuses.iter().filter(|status| status.round == round);
    let views = views.map(|status| status.views.len()).max().unwrap_or(0);
    match round {
        Some(serial) => format!("agreeing on serial {serial}: {views} views"),
        None => "nothing to agree on yet".to_owned(),
    }
}
