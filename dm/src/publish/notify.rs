//! Telling the secondaries.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use domain::base::iana::{Class, Opcode, Rcode};
use domain::base::message_builder::AdditionalBuilder;
use domain::base::rdata::UnknownRecordData;
use domain::base::{Message, MessageBuilder, ParsedName, Serial, Ttl};
use domain::rdata::Soa;
use domain::rdata::tsig::Time48;
use domain::tsig::{ClientTransaction, Key as Tsig};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::zone::{Name, Rtype, Zone};

use super::access::TsigKey;

/// A server that gets the zone from us.
#[derive(Clone, Debug)]
#[allow(clippy::exhaustive_structs, reason = "callers fill in every field")]
pub struct Secondary {
    /// Where it listens.
    pub address: SocketAddr,
    /// The key that it wants to see; `None`: none.
    pub key: Option<TsigKey>,
}

/// What became of telling a secondary.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Notified {
    /// It has not answered yet, after so many tries.
    Trying(u32),
    /// It knows.
    Acknowledged,
    /// It had the zone already when it was our turn, told by another DM.
    HasIt,
    /// It answered that it does not want to be told by us.
    Refused(String),
}

/// Tells each secondary about each new zone until it knows. The DMs share the work: secondary j is
/// the business of DM j mod n first, and of the next DM if it does not have the zone a while later.
#[derive(Clone, Debug)]
pub struct Notifier {
    secondaries: Arc<[Secondary]>,
    /// Which DM this is, from 0, and of how many.
    place: (usize, usize),
    /// How long a DM has before the next takes over.
    takeover: Duration,
    state: Arc<Mutex<BTreeMap<SocketAddr, (u32, Notified)>>>,
}

/// How long to wait for an answer, at first; doubled for each try (RFC 1996 section 3.6).
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How often it is tried.
const TRIES: u32 = 20;

impl Notifier {
    /// For the DM at this place (from 0) of so many.
    #[must_use]
    pub fn new(secondaries: Vec<Secondary>, place: (usize, usize), takeover: Duration) -> Self {
        Self { secondaries: secondaries.into(), place, takeover, state: Arc::default() }
    }

    /// How it stands with each secondary: the serial it was told, and what came of it.
    #[must_use]
    pub fn status(&self) -> BTreeMap<SocketAddr, (u32, Notified)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells all secondaries about this zone. Ends when each of them knows, or cannot be told;
    /// whoever has a newer zone drops it.
    pub async fn tell(&self, zone: Arc<Zone>) {
        let mut all = JoinSet::new();
        for (number, secondary) in self.secondaries.iter().enumerate() {
            let (this, secondary, zone) = (self.clone(), secondary.clone(), Arc::clone(&zone));
            all.spawn(async move { this.tell_one(number, &secondary, &zone).await });
        }
        while all.join_next().await.is_some() {}
    }

    async fn tell_one(&self, number: usize, secondary: &Secondary, zone: &Zone) {
        let (me, of) = self.place;
        let of = of.max(1);
        let rank = (me + of - number % of) % of;
        if rank > 0 {
            let turns = u32::try_from(rank).unwrap_or(u32::MAX);
            sleep(self.takeover.saturating_mul(turns)).await;
            if serial_at(secondary, zone.apex()).await.is_ok_and(|have| has(have, zone.serial())) {
                return self.note(secondary, zone, Notified::HasIt);
            }
        }
        let mut wait = FIRST_WAIT;
        for attempt in 1..=TRIES {
            self.note(secondary, zone, Notified::Trying(attempt));
            let built = |id| notification(zone, id);
            match exchange(secondary, built, wait).await {
                Ok(Rcode::NOERROR) => return self.note(secondary, zone, Notified::Acknowledged),
                Ok(rcode) => {
                    self.note(secondary, zone, Notified::Refused(rcode.to_string()));
                    sleep(wait).await;
                }
                Err(error) => {
                    tracing::debug!(%error, secondary = %secondary.address, "not notified yet");
                    // What failed at once (nobody listens) is not tried again at once.
                    sleep(wait).await;
                }
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
        tracing::warn!(secondary = %secondary.address, "gave up notifying");
    }

    fn note(&self, secondary: &Secondary, zone: &Zone, what: Notified) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.insert(secondary.address, (zone.serial(), what));
    }
}

fn has(have: u32, wanted: u32) -> bool {
    have == wanted || Serial::from(have) > Serial::from(wanted)
}

type Built = AdditionalBuilder<Vec<u8>>;

/// NOTIFY with the new SOA (RFC 1996 section 3.7).
fn notification(zone: &Zone, id: u16) -> Option<Built> {
    let mut builder = MessageBuilder::from_target(Vec::new()).ok()?;
    let header = builder.header_mut();
    header.set_id(id);
    header.set_opcode(Opcode::NOTIFY);
    header.set_aa(true);
    let mut question = builder.question();
    question.push((zone.apex().as_domain(), Rtype::SOA, Class::IN)).ok()?;
    let mut answer = question.answer();
    let set = zone.apex_set(Rtype::SOA)?;
    let data = UnknownRecordData::from_octets(Rtype::SOA, set.records().next()?).ok()?;
    answer.push((zone.apex().as_domain(), Class::IN, Ttl::from_secs(set.ttl()), data)).ok()?;
    Some(answer.additional())
}

/// The serial that the secondary serves.
async fn serial_at(secondary: &Secondary, apex: &Name) -> io::Result<u32> {
    let built = |id| {
        let mut builder = MessageBuilder::from_target(Vec::new()).ok()?;
        builder.header_mut().set_id(id);
        let mut question = builder.question();
        question.push((apex.as_domain(), Rtype::SOA, Class::IN)).ok()?;
        Some(question.additional())
    };
    let answer = converse(secondary, built, FIRST_WAIT * 2).await?;
    let none = || io::Error::new(io::ErrorKind::InvalidData, "no SOA in the answer");
    let records = answer.answer().map_err(|_| none())?;
    let first = records.limit_to::<Soa<ParsedName<_>>>().next().ok_or_else(none)?;
    Ok(first.map_err(|_| none())?.data().serial().into_int())
}

async fn exchange(
    secondary: &Secondary,
    built: impl Fn(u16) -> Option<Built>,
    wait: Duration,
) -> io::Result<Rcode> {
    Ok(converse(secondary, built, wait).await?.header().rcode())
}

/// One question and its answer, over UDP, signed if there is a key.
async fn converse(
    secondary: &Secondary,
    built: impl Fn(u16) -> Option<Built>,
    wait: Duration,
) -> io::Result<Message<Vec<u8>>> {
    let other = |text: &str| io::Error::other(text.to_owned());
    let mut id = [0; 2];
    getrandom::fill(&mut id).map_err(|error| io::Error::other(error.to_string()))?;
    let id = u16::from_be_bytes(id);
    let mut request = built(id).ok_or_else(|| other("cannot build the message"))?;
    let transaction = match &secondary.key {
        None => None,
        Some(key) => Some(
            ClientTransaction::request(key.inner(), &mut request, now())
                .map_err(|_| other("no room for TSIG"))?,
        ),
    };
    let any: SocketAddr = match secondary.address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(secondary.address).await?;
    socket.send(&request.finish()).await?;
    let answer = timeout(wait, answer(&socket, id, transaction.as_ref()));
    answer.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

async fn answer(
    socket: &UdpSocket,
    id: u16,
    transaction: Option<&ClientTransaction<Arc<Tsig>>>,
) -> io::Result<Message<Vec<u8>>> {
    let mut buffer = vec![0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let bytes = buffer.get(..length).unwrap_or_default().to_vec();
        let Ok(mut message) = Message::from_octets(bytes) else { continue };
        if message.header().id() != id || !message.header().qr() {
            continue;
        }
        // Whoever forges an answer would only have us believe that the secondary knows; but then
        // it would not hear of the zone.
        let is_right =
            transaction.is_none_or(|transaction| transaction.answer(&mut message, now()).is_ok());
        if is_right {
            return Ok(message);
        }
    }
}

fn now() -> Time48 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time48::from_u64(since.as_secs())
}
