//! What the demo tells, step by step; every claim is checked before it is told.

use std::fmt::Display;
use std::time::Duration;

use bftkv::protocol::Configurations;
use bftkv::{
    Client, Error, GetOptions, Problem, ProofFile, PutOptions, Timestamp, Value, Variable, Written,
};
use serde_json::json;
use tokio::time::sleep;

use super::cluster::{DemoCluster, NODES};
use crate::failure::{Failure, liars};
use crate::graph_view::GraphView;
use crate::output::{self, Output};
use crate::public_home::PublicHome;

/// How often the reader asks until the liar is among those whom it asks: it asks three of four, so
/// it meets the liar in most reads, once it has forgotten that n4 was away.
pub(super) const MOST_READS: usize = 200;
/// How long it waits between two reads.
pub(super) const READ_PAUSE: Duration = Duration::from_millis(50);

/// Tells the story to its end.
///
/// # Errors
/// Something did not happen as it is told.
pub(super) async fn tell(output: Output) -> Result<(), Failure> {
    let mut story = Story::new(output);
    story.tell().await?;
    story.end()
}

pub(super) struct Story {
    output: Output,
    steps: Vec<String>,
}

impl Story {
    fn new(output: Output) -> Self {
        Self { output, steps: Vec::new() }
    }

    async fn tell(&mut self) -> Result<(), Failure> {
        let mut cluster = self.make_keys()?;
        self.start_nodes(&mut cluster).await?;
        let alice = cluster.client("alice").await?;
        self.put_and_get(&alice).await?;
        self.refuse_stranger(&cluster).await?;
        self.check_proof(&cluster, &alice).await?;
        self.lose_a_node(&mut cluster, &alice).await?;
        self.catch_a_liar(&mut cluster, &alice).await?;
        self.seal(&alice).await?;
        self.catch_a_traitor(&mut cluster, &alice).await?;
        for name in NODES {
            cluster.stop(name).await?;
        }
        Ok(())
    }

    fn make_keys(&mut self) -> Result<DemoCluster, Failure> {
        self.title("Keys. Every node is an OpenPGP certificate; so are the users.")?;
        let cluster = DemoCluster::make()?;
        self.say("The four nodes have certified each other: that makes them a quorum. They have")?;
        self.say(
            "certified alice and trudy. Nobody has certified mallory. There is no leader and no",
        )?;
        self.say("authority above them. This is what `bftkv graph` shows alice:")?;
        self.quote(&GraphView::of(&PublicHome::open(&cluster.home("alice"))?))?;
        Ok(cluster)
    }

    async fn start_nodes(&mut self, cluster: &mut DemoCluster) -> Result<(), Failure> {
        self.title("Nodes. They listen on loopback; messages are signed and encrypted.")?;
        for name in NODES {
            let address = cluster.start(name).await?;
            self.say(format!("{name} listens on {address}"))?;
        }
        Ok(())
    }

    async fn put_and_get(&mut self, alice: &Client) -> Result<(), Failure> {
        self.title("Put and get. Three of four nodes must sign a value before it counts.")?;
        let name = variable("greeting")?;
        for text in ["hello", "hello, world"] {
            let t = put(alice, &name, text, false).await?;
            self.command(format!("put greeting '{text}'"), format!("written at timestamp {t}"))?;
        }
        let found = get(alice, &name).await?;
        claim(found == "hello, world", "a read returns the last value")?;
        self.command("get greeting", &found)?;
        let versions = alice.history(&name, None, 10).await?;
        claim(versions.len() == 2, "old versions stay")?;
        for version in &versions {
            let text = text_of(version.entry.entry().value.as_bytes());
            self.command("history greeting", format!("{}  {text}", version.timestamp))?;
        }
        Ok(())
    }

    async fn refuse_stranger(&mut self, cluster: &DemoCluster) -> Result<(), Failure> {
        self.title("A stranger. Mallory has a certificate, but no node vouches for it.")?;
        let mallory = cluster.client("mallory").await?;
        let tried = try_put(&mallory, &variable("gift")?, "from mallory", false).await?;
        let problem = problem_of(tried)?;
        claim(
            matches!(problem, Problem::NoQuorumCertificate { .. }),
            "a stranger is refused for lack of certifications",
        )?;
        self.command("put gift 'from mallory'", format!("refused: {problem}"))
    }

    async fn check_proof(&mut self, cluster: &DemoCluster, alice: &Client) -> Result<(), Failure> {
        self.title("A proof. A value with its signatures can be checked offline, by anybody.")?;
        let options = GetOptions { proof: true, ..GetOptions::default() };
        let found = alice.get(&variable("greeting")?, options).await?;
        let entry = found.entry.ok_or_else(|| Failure::failed("the greeting is gone"))?;
        let proof = ProofFile::new(entry).to_bytes();
        let home = PublicHome::open(&cluster.home("alice"))?;
        let (configuration, keys) = (home.configuration()?, home.certificates().keyring());
        let known = Configurations::starting_with(configuration.clone());
        let is_valid = |bytes: &[u8]| ProofFile::verify(bytes, &known, keys).is_ok();
        claim(is_valid(&proof), "the proof holds")?;
        let length = proof.len();
        self.command("verify greeting.proof", format!("valid ({length} bytes)"))?;
        let mut changed = proof;
        if let Some(byte) = changed.get_mut(length / 2) {
            *byte ^= 1;
        }
        claim(!is_valid(&changed), "a proof with one bit changed does not hold")?;
        self.command("verify with one bit changed", "invalid")
    }

    async fn lose_a_node(
        &mut self,
        cluster: &mut DemoCluster,
        alice: &Client,
    ) -> Result<(), Failure> {
        self.title("A node is lost. One of four may be, and nothing stops.")?;
        cluster.stop("n4").await?;
        self.say("n4 is stopped")?;
        let name = variable("greeting")?;
        let text = "hello without n4";
        let t = put(alice, &name, text, false).await?;
        self.command(format!("put greeting '{text}'"), format!("written at timestamp {t}"))?;
        let found = get(alice, &name).await?;
        claim(found == text, "a read works without n4")?;
        self.command("get greeting", &found)
    }

    async fn catch_a_liar(
        &mut self,
        cluster: &mut DemoCluster,
        alice: &Client,
    ) -> Result<(), Failure> {
        self.title("A liar. n4 comes back, stolen: it answers reads with a forged newer value.")?;
        cluster.start_liar("n4").await?;
        self.say("what n4 says from now on: \"I owe the liar a million\"")?;
        let (name, liar) = (variable("greeting")?, cluster.id("n4")?);
        for reads in 1..=MOST_READS {
            sleep(READ_PAUSE).await;
            let found = alice.get(&name, GetOptions::default()).await?;
            let value = found.entry.map(|entry| entry.entry().value.as_bytes().to_vec());
            let told = text_of(value.as_deref().unwrap_or_default());
            claim(told == "hello without n4", "a read returns the truth although n4 lies")?;
            claim(
                found.culprits.keys().all(|culprit| *culprit == liar),
                "nobody honest is accused",
            )?;
            if !found.culprits.is_empty() {
                self.command("get greeting", &told)?;
                for liar in liars(&found.culprits, &alice.names()) {
                    self.say(liar)?;
                }
                return self.say(format!("It was told the truth each time; read {reads} met n4."));
            }
        }
        Err(Failure::failed(format!("the liar was not named in {MOST_READS} reads")))
    }

    async fn seal(&mut self, alice: &Client) -> Result<(), Failure> {
        self.title("A seal. What is written once stays as it is, for its owner, too.")?;
        let name = variable("motto")?;
        let t = put(alice, &name, "trust, but verify", true).await?;
        self.command(
            "put --once motto 'trust, but verify'",
            format!("written at timestamp {t}, sealed"),
        )?;
        let problem = problem_of(try_put(alice, &name, "trust me", false).await?)?;
        claim(matches!(problem, Problem::Sealed(_)), "a sealed variable takes no other value")?;
        self.command("put motto 'trust me'", format!("refused: {problem}"))?;
        let found = get(alice, &name).await?;
        claim(found == "trust, but verify", "the sealed value stays")?;
        self.command("get motto", &found)
    }

    fn end(&mut self) -> Result<(), Failure> {
        if self.output.is_json() {
            let object = json!({ "as_claimed": true, "steps": self.steps });
            return output::raw(format!("{object}\n").as_bytes());
        }
        let next = "\nEverything happened as it is told. A cluster of your own:\n\
                    \x20   bftkv cluster create /tmp/try && bftkv cluster run /tmp/try\n";
        output::raw(next.as_bytes())
    }

    pub(super) fn title(&mut self, title: &str) -> Result<(), Failure> {
        let number = self.steps.len().saturating_add(1);
        self.steps.push(title.to_owned());
        self.write(&format!("\n{number}. {title}"))
    }

    pub(super) fn say(&self, text: impl Display) -> Result<(), Failure> {
        self.write(&format!("   {text}"))
    }

    pub(super) fn quote(&self, text: &impl Display) -> Result<(), Failure> {
        text.to_string().lines().try_for_each(|line| self.write(&format!("   | {line}")))
    }

    pub(super) fn command(
        &self,
        command: impl Display,
        answer: impl Display,
    ) -> Result<(), Failure> {
        let command = command.to_string();
        let sign = if command.is_empty() { ' ' } else { '$' };
        self.write(&format!("   {sign} {command:<36} -> {answer}"))
    }

    fn write(&self, line: &str) -> Result<(), Failure> {
        if self.output.is_json() {
            return Ok(());
        }
        output::raw(format!("{}\n", output::escape(line)).as_bytes())
    }
}

pub(super) fn claim(holds: bool, what: &str) -> Result<(), Failure> {
    if holds {
        return Ok(());
    }
    Err(Failure::failed(format!("the demo failed: it is not so that {what}"))
        .hint("this is a bug: please report it with this output"))
}

pub(super) fn variable(name: &str) -> Result<Variable, Failure> {
    Variable::new(name).map_err(Failure::failed)
}

/// Puts, and hands on what the nodes said.
async fn try_put(
    client: &Client,
    name: &Variable,
    text: &str,
    once: bool,
) -> Result<Result<Written, Error>, Failure> {
    let value = Value::new(text).map_err(Failure::failed)?;
    Ok(client.put(name, value, PutOptions { once, ..PutOptions::default() }).await)
}

/// Puts; gives the timestamp.
pub(super) async fn put(
    client: &Client,
    name: &Variable,
    text: &str,
    once: bool,
) -> Result<Timestamp, Failure> {
    Ok(try_put(client, name, text, once).await??.timestamp)
}

pub(super) async fn get(client: &Client, name: &Variable) -> Result<String, Failure> {
    let found = client.get(name, GetOptions::default()).await?;
    let entry = found.entry.ok_or_else(|| Failure::failed(format!("{name} is absent")))?;
    Ok(text_of(entry.entry().value.as_bytes()))
}

pub(super) fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Why the nodes refused.
fn problem_of(tried: Result<Written, Error>) -> Result<Problem, Failure> {
    match tried {
        Err(Error::Operation(error)) => Ok(error.problem),
        Err(other) => Err(other.into()),
        Ok(written) => Err(Failure::failed(format!(
            "the demo failed: it was written, at timestamp {}, and not refused",
            written.timestamp
        ))),
    }
}
