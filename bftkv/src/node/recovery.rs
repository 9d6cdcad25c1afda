//! What a node does before it speaks: tells the others from which memory, hears whether it forgot,
//! and if it did, takes a fresh signing key and reads from them what it lost.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bftkv_protocol::client::{Announcing, Source, Standing};
use bftkv_protocol::{
    Announcement, Answer, Configuration, NodeId, Purpose, Refusal, Request, Response, Sign, Store,
    StoreAge, StoreError,
};
use bftkv_wot::OwnKey;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::announced::{Announced, Own};
use super::core::Core;
use super::members::Members;
use crate::home::SALVAGE;
use crate::peers::{Patience, Peers};
use crate::{Certificates, Error, Home, HomeError};

/// How long one round of telling may take.
const ROUND: Duration = Duration::from_secs(5);

/// How long to wait before those are told again who were silent: at first, and at most. Members
/// that start together find each other at once.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// After enough members have accepted, how long to wait for the others: one of them may remember
/// more.
const GRACE: Duration = Duration::from_millis(50);

/// How often members are told how far the store has come. An older copy of it is noticed then.
const TELL_AGAIN: Duration = Duration::from_secs(30);

/// How long a request waits for a node that is starting.
const PATIENCE: Duration = Duration::from_secs(1);

/// Shut until the node may speak.
#[derive(Debug)]
pub(super) struct Gate(watch::Sender<bool>);

impl Gate {
    pub(super) fn shut() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Waits a little for the gate to open.
    ///
    /// # Errors
    /// [`Refusal::CatchingUp`]: ask others, or later.
    pub(super) async fn pass(&self) -> Result<(), Refusal> {
        let mut open = self.0.subscribe();
        match timeout(PATIENCE, open.wait_for(|open| *open)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Refusal::CatchingUp),
        }
    }

    /// Waits for the gate to open, however long it takes.
    pub(super) async fn opened(&self) {
        // It fails only when the gate is gone, and we hold it.
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }

    fn set(&self, open: bool) {
        self.0.send_replace(open);
    }
}

/// Everything that it takes. Cheap to clone.
#[derive(Clone)]
pub(super) struct Recovery {
    pub(super) members: Arc<Members>,
    pub(super) certificates: Certificates,
    pub(super) key: OwnKey,
    pub(super) peers: Peers,
    pub(super) store: Arc<dyn Store>,
    pub(super) announced: Arc<Announced>,
    pub(super) gate: Arc<Gate>,
    /// Where the key lies; `None`: in memory only.
    pub(super) home: Option<PathBuf>,
    /// A random number of this opening of the store.
    pub(super) session: [u8; 16],
    /// A member has announced itself: it is there.
    pub(super) heard: Arc<Notify>,
}

impl Recovery {
    fn configuration(&self) -> Arc<Configuration> {
        Arc::clone(self.members.configurations().newest())
    }

    /// Takes a member's announcement.
    ///
    /// # Errors
    /// The refusal to send back.
    pub(super) fn take(&self, sender: &NodeId, announcement: Announcement) -> Result<(), Refusal> {
        if announcement.realm != *self.configuration().realm() {
            return Err(Refusal::WrongRealm);
        }
        if announcement.node != *sender || !self.configuration().has_member(sender) {
            return Err(Refusal::NotMember);
        }
        announcement.verify(self.certificates.keys()).map_err(|_| Refusal::Malformed)?;
        self.heard.notify_one();
        self.announced.take(announcement)
    }

    /// Runs until the node stops. An error leaves the node silent; it says so.
    pub(super) async fn run(self, core: Arc<Core>) {
        if let Err(error) = self.live(&core).await {
            self.gate.set(false);
            tracing::error!(%error, "this node stays silent: it gives no shares and no answers");
            if matches!(error, Error::Store(StoreError::Corrupt { .. })) {
                tracing::error!("{SALVAGE}");
            }
        }
    }

    async fn live(&self, core: &Arc<Core>) -> Result<(), Error> {
        let mut own = self.assess(self.age().await?);
        loop {
            if own.recovering {
                self.announced.set_own(own)?;
                self.renew(&mut own).await?;
                self.hand_round().await;
            }
            own.age = self.age().await?;
            let mut announcing = self.announcing(&own)?;
            if let Some(later) = self.announce(&mut announcing).await {
                own = forgot(own, &later);
                continue;
            }
            if own.recovering {
                // If members change meanwhile, those of the new configuration are asked.
                while !super::catching_up::catch_up(self, core, Source::Peers, false).await? {}
                own = Own { recovering: false, renewed: false, age: self.age().await?, ..own };
            }
            self.announced.set_own(own)?;
            self.gate.set(true);
            let later = self.keep_telling(&mut own, announcing).await?;
            self.gate.set(false);
            own = forgot(own, &later);
        }
    }

    /// Compares the store with what was written down beside the key.
    fn assess(&self, age: StoreAge) -> Own {
        let new = Own { epoch: 0, age, recovering: false, renewed: false };
        match self.announced.own() {
            None => new,
            Some(own) if self.announced.is_continued(&own, &age) => Own { age, ..own },
            // Lost once more before it had read everything: nothing was signed meanwhile.
            Some(own) if own.recovering => Own { age, epoch: own.epoch.saturating_add(1), ..own },
            Some(own) => {
                tracing::warn!(
                    epoch = own.epoch,
                    "this node has lost its memory: the store is new, or an old copy. It will not \
                     sign with its old key again, and reads what it lost from the others"
                );
                let epoch = own.epoch.saturating_add(1);
                Own { epoch, recovering: true, ..new }
            }
        }
    }

    /// Makes a fresh signing subkey, unless there is one already.
    async fn renew(&self, own: &mut Own) -> Result<(), Error> {
        if own.renewed {
            return Ok(());
        }
        let (key, home) = (self.key.clone(), self.home.clone());
        let fresh = blocking(move || {
            let fresh = key.with_fresh_signing_key()?;
            if let Some(home) = home {
                fresh.replace_file(&home.join(Home::KEY))?;
            }
            Ok(fresh)
        });
        let fresh = fresh.await?.map_err(HomeError::Key)?;
        self.certificates.import(fresh.record().clone())?;
        self.key.adopt(fresh);
        own.renewed = true;
        self.announced.set_own(*own)?;
        tracing::warn!(
            "this node signs with a fresh subkey from now on; its certificate has changed"
        );
        Ok(())
    }

    /// Hands the own certificate to everybody, and takes theirs: what they signed must be checked.
    async fn hand_round(&self) {
        let Some(join) = self.peers.join_request() else { return };
        let mut answers = self.peers.ask(self.others(), join, Patience::within(ROUND));
        while let Some((_, response)) = answers.recv().await {
            self.learn(response.ok());
        }
    }

    /// Keeps certificates that a member sent.
    pub(super) fn learn(&self, response: Option<Response>) {
        let Some(Response { outcome: Ok(Answer::Certificates(found)), .. }) = response else {
            return;
        };
        for certificate in &found {
            if let Err(error) = self.certificates.add(certificate) {
                tracing::debug!(%error, "a node sent a certificate that cannot be used");
            }
        }
    }

    pub(super) fn others(&self) -> BTreeSet<NodeId> {
        self.members.others()
    }

    fn announcing(&self, own: &Own) -> Result<Announcing, Error> {
        let (realm, node) = (self.configuration().realm().clone(), self.key.id().clone());
        let (epoch, session, age) = (own.epoch, self.session, own.age);
        let bytes = Announcement::statement(&realm, &node, epoch, &age, &session);
        let signature = self.key.sign(Purpose::Announcement, &bytes)?;
        let announcement = Announcement { realm, node, epoch, age, session, signature };
        Ok(Announcing::new(self.configuration(), announcement))
    }

    /// Tells the others until enough of them accept. Gives what shows that this node forgot.
    async fn announce(&self, announcing: &mut Announcing) -> Option<Announcement> {
        let mut pause = FIRST_PAUSE;
        loop {
            self.round(announcing).await;
            match announcing.standing() {
                Standing::Outdated(later) => return Some(*later),
                Standing::Accepted => return None,
                _ => {}
            }
            if pause == LONGEST_PAUSE {
                let waits_for = announcing.missing();
                tracing::info!(?waits_for, "this node is silent until more members have answered");
            }
            // Who has just announced itself answers now. Nobody makes this go round faster than that.
            sleep(FIRST_PAUSE).await;
            let _ = timeout(pause.saturating_sub(FIRST_PAUSE), self.heard.notified()).await;
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
    }

    /// Tells everybody once who has not acknowledged.
    async fn round(&self, announcing: &mut Announcing) {
        let request = Request::Announce(Box::new(announcing.announcement().clone()));
        let mut answers = self.peers.ask(announcing.missing(), request, Patience::within(ROUND));
        let mut enough: Option<Instant> = None;
        loop {
            let end = enough.unwrap_or_else(|| Instant::now() + ROUND);
            tokio::select! {
                heard = answers.recv() => {
                    let Some((node, response)) = heard else { return };
                    announcing.handle_response(&node, response, self.certificates.keys());
                }
                () = sleep_until(end) => return,
            }
            match announcing.standing() {
                Standing::Waiting => {}
                Standing::Outdated(_) => return,
                _ => enough = enough.or_else(|| Some(Instant::now() + GRACE)),
            }
        }
    }

    /// Tells the rest, and from time to time how far the store has come. Ends when it turns out
    /// that this node forgot.
    async fn keep_telling(
        &self,
        own: &mut Own,
        mut announcing: Announcing,
    ) -> Result<Announcement, Error> {
        let mut pause = FIRST_PAUSE;
        loop {
            if announcing.missing().is_empty() {
                pause = TELL_AGAIN;
            }
            sleep(pause).await;
            let age = if pause == TELL_AGAIN { self.age().await? } else { own.age };
            if age != own.age {
                own.age = age;
                self.announced.set_own(*own)?;
                announcing = self.announcing(own)?;
            }
            pause = pause.saturating_mul(2).min(TELL_AGAIN);
            self.round(&mut announcing).await;
            if let Standing::Outdated(later) = announcing.standing() {
                return Ok(*later);
            }
        }
    }

    async fn age(&self) -> Result<StoreAge, Error> {
        let store = Arc::clone(&self.store);
        Ok(blocking(move || store.age()).await??)
    }
}

/// The others remember more than this node does.
fn forgot(own: Own, later: &Announcement) -> Own {
    tracing::warn!(
        epoch = later.epoch,
        "this node has lost its memory: other members show what it announced. It will not sign \
         with its old key again, and reads what it lost from them"
    );
    let epoch = own.epoch.max(later.epoch).saturating_add(1);
    Own { epoch, recovering: true, renewed: own.recovering && own.renewed, ..own }
}

/// Work for a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StoreError> {
    // It fails only if the thread panicked or the program ends.
    tokio::task::spawn_blocking(work).await.map_err(|error| StoreError::Io(error.to_string()))
}
