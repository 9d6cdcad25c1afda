//! The act in which a traitor is caught, proven and cut out.

use std::time::Duration;

use bftkv::protocol::{CertifiedEntry, Configurations};
use bftkv::{Client, Fault, GetOptions, Home, MaliceFile, NodeId, Variable};
use tokio::time::sleep;

use super::cluster::{DemoCluster, NODES};
use super::forger::Forger;
use super::story::{MOST_READS, READ_PAUSE, Story, claim, get, put, text_of, variable};
use super::traitor::Traitor;
use crate::failure::Failure;
use crate::graph_view::GraphView;
use crate::malice_view::MaliceView;
use crate::public_home::PublicHome;

/// How long the others may take to hear of a proof.
const NEWS: Duration = Duration::from_secs(10);

impl Story {
    /// Tells it.
    ///
    /// # Errors
    /// Something did not happen as it is told.
    pub(super) async fn catch_a_traitor(
        &mut self,
        cluster: &mut DemoCluster,
        alice: &Client,
    ) -> Result<(), Failure> {
        self.title("A traitor. n4 now signs two values for one place, together with trudy.")?;
        cluster.stop("n4").await?;
        let (traitor, guilty) = (cluster.start_traitor("n4").await?, cluster.id("n4")?);
        let price = variable("price")?;
        self.sign_twice(cluster, &traitor, &price).await?;
        self.meet(alice, &price, &guilty).await?;
        self.show_proof(cluster, alice, &guilty)?;
        self.title("Cut out. Every honest node checks the proof itself and drops n4 for ever.")?;
        self.spread_the_news(cluster, &guilty).await?;
        let home = PublicHome::open(&cluster.home("alice"))?;
        self.quote(&GraphView::under(&home, &*alice.configuration()?))?;
        self.go_on(alice).await
    }

    /// Trudy may write: her certificate is in order. But she asks for two values at once.
    async fn sign_twice(
        &mut self,
        cluster: &mut DemoCluster,
        traitor: &Traitor,
        price: &Variable,
    ) -> Result<(), Failure> {
        let mut ids = Vec::new();
        for name in NODES {
            ids.push(cluster.id(name)?);
        }
        let [n1, n2, n3, n4] = <[NodeId; 4]>::try_from(ids)
            .map_err(|_| Failure::failed("the demo has other nodes than it thinks"))?;
        let configuration = cluster.configuration("n1")?;
        let trudy = Forger::new(&Home::open(cluster.home("trudy"))?, configuration)?;
        let all = [n1.clone(), n2.clone(), n3.clone()];
        let ten = trudy.gather(price, 1, "10 coins", &[n1, n2, n4.clone()]).await?;
        let thousand = trudy.gather(price, 1, "1000 coins", &[n3, n4]).await?;
        let signatures = |entry: &CertifiedEntry| entry.collective.shares().len();
        claim(signatures(&ten) == 3, "three nodes sign the first value")?;
        claim(signatures(&thousand) == 2, "an honest node signs one value only")?;
        self.say(
            "trudy asks n1, n2, n4 to sign price = 10 coins, and n3, n4 to sign price = 1000",
        )?;
        self.say("coins, both at timestamp 1. Each honest node signs one of them; n4 signs both.")?;
        self.say("10 coins has three signatures and counts. 1000 coins has two: too few.")?;
        claim(trudy.store(&ten, &all).await == 3, "what three nodes signed is stored")?;
        traitor.show(thousand);
        self.say("n4 shows it to readers all the same.")
    }

    /// Alice reads until n4 is among those whose answers she looked at.
    async fn meet(
        &mut self,
        alice: &Client,
        price: &Variable,
        guilty: &NodeId,
    ) -> Result<(), Failure> {
        for _ in 1..=MOST_READS {
            sleep(READ_PAUSE).await;
            let found = alice.get(price, GetOptions::default()).await?;
            let value = found.entry.map(|entry| entry.entry().value.as_bytes().to_vec());
            let told = text_of(value.as_deref().unwrap_or_default());
            claim(told == "10 coins", "a read returns the value that counts")?;
            claim(found.culprits.keys().all(|id| id == guilty), "nobody honest is accused")?;
            if found.culprits.get(guilty) == Some(&Fault::Equivocation) {
                self.command("get price", &told)?;
                return self
                    .say("Two answers, and n4's own signature is under both: that is a proof.");
            }
        }
        Err(Failure::failed(format!("the traitor was not caught in {MOST_READS} reads")))
    }

    fn show_proof(
        &mut self,
        cluster: &DemoCluster,
        alice: &Client,
        guilty: &NodeId,
    ) -> Result<(), Failure> {
        let home = PublicHome::open(&cluster.home("alice"))?;
        let proof = home.certificates().revoked().proof(guilty);
        let proof = proof.ok_or_else(|| Failure::failed("alice has kept no proof"))?;
        self.command("revoked show n4", "who, what, where:")?;
        self.quote(&MaliceView::of(&proof, home.certificates()))?;
        let file = MaliceFile::new(proof).to_bytes();
        let known = Configurations::starting_with((*alice.configuration()?).clone());
        let keys = home.certificates().keyring();
        let holds = |bytes: &[u8]| MaliceFile::verify(bytes, &known, keys).is_ok();
        claim(holds(&file), "the proof of malice holds")?;
        let length = file.len();
        self.command("verify n4.malice", format!("valid ({length} bytes, offline, by anybody)"))?;
        let mut changed = file;
        if let Some(byte) = changed.last_mut() {
            *byte ^= 1;
        }
        claim(!holds(&changed), "a proof of malice with one bit changed does not hold")?;
        self.command("verify with one bit changed", "invalid: nobody can be framed")
    }

    /// Alice told the nodes; each checks the proof before it believes it.
    async fn spread_the_news(
        &mut self,
        cluster: &mut DemoCluster,
        guilty: &NodeId,
    ) -> Result<(), Failure> {
        for name in ["n1", "n2", "n3"] {
            let certificates = cluster.certificates(name)?;
            let cut = async {
                while !certificates.keyring().is_cut(guilty) {
                    sleep(Duration::from_millis(5)).await;
                }
            };
            let heard = tokio::time::timeout(NEWS, cut).await.is_ok();
            claim(heard, "every honest node hears of the proof and cuts the traitor out")?;
        }
        self.say("n1, n2 and n3 have the proof, have cut n4 out, and have revoked their")?;
        self.say("certifications of it, as `gpg --check-sigs` would show. What alice sees now:")
    }

    async fn go_on(&mut self, alice: &Client) -> Result<(), Failure> {
        self.say("It stays in n, so three are still a quorum, and the cluster goes on:")?;
        let name = variable("greeting")?;
        let t = put(alice, &name, "hello without a traitor", false).await?;
        self.command(
            "put greeting 'hello without a traitor'",
            format!("written at timestamp {t}"),
        )?;
        let found = get(alice, &name).await?;
        claim(found == "hello without a traitor", "three nodes go on without the traitor")?;
        self.command("get greeting", &found)
    }
}
