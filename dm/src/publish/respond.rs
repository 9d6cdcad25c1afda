//! What a request is answered with. No socket and no clock.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use domain::base::iana::{Class, Opcode, Rcode};
use domain::base::message_builder::{AdditionalBuilder, AnswerBuilder, PushError, TreeCompressor};
use domain::base::rdata::UnknownRecordData;
use domain::base::{Message, MessageBuilder, ParsedName, Question, Ttl};
use domain::rdata::Soa;
use domain::rdata::tsig::Time48;
use domain::tsig::{Key as Tsig, ServerSequence};

use crate::zone::{Key, Name, RrSet, Rtype, Zone, is_after};

use super::access::{Access, TsigKey};
use super::journal::Journal;
use super::step::Step;

/// How a request came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Via {
    /// In a datagram: no transfers, and short answers.
    Udp,
    /// Over a connection.
    Tcp,
}

/// What goes back.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Reply {
    /// Nothing: it was no request.
    Nothing,
    /// One message.
    One(Vec<u8>),
    /// A transfer, as messages in order.
    Transfer(Vec<Vec<u8>>),
}

/// What somebody was sent so far.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Sent {
    /// Whole zones: AXFR, or IXFR from a serial that is not held.
    pub whole: u64,
    /// Increments: IXFR with at least one step.
    pub increments: u64,
    /// Bytes of all increments, without the two of each message's length.
    pub increment_bytes: u64,
}

/// The kinds of answers, as [`Sent`] counts them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Whole,
    Increment,
    Other,
}

type Target = TreeCompressor<Vec<u8>>;
type Answered = (Kind, Vec<AdditionalBuilder<Target>>);

/// Answers for one zone, out of a journal.
#[derive(Debug)]
pub struct Responder {
    apex: Name,
    access: Access,
    journal: RwLock<Journal>,
    /// By the name of the TSIG key, so that strangers cannot make it grow.
    sent: Mutex<BTreeMap<String, Sent>>,
}

/// The most bytes of a message of a transfer. Names can be compressed only within the first
/// 16 KiB (RFC 1035 section 4.1.4).
const TRANSFER_MESSAGE: usize = 16_000;
/// The most bytes of a datagram (DNS flag day 2020).
const DATAGRAM: u16 = 1_232;
/// What a TSIG record may need at the end of a message.
const TSIG_ROOM: usize = 512;

impl Responder {
    /// For a zone of this name, empty yet.
    #[must_use]
    pub fn new(apex: Name, access: Access) -> Self {
        Self { apex, access, journal: RwLock::default(), sent: Mutex::default() }
    }

    /// What was sent, by the name of the key that was shown; by the empty name to whoever needed
    /// none.
    #[must_use]
    pub fn sent(&self) -> BTreeMap<String, Sent> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Serves the next zone from now on. False if its serial is not above the last one, or if it is
    /// another zone.
    pub fn publish(&self, zone: Arc<Zone>) -> bool {
        let is_ours = *zone.apex() == self.apex;
        is_ours && self.journal.write().unwrap_or_else(PoisonError::into_inner).add(zone)
    }

    /// Takes steps that were kept from before a restart, so that the increments go on.
    pub fn restore(&self, steps: Vec<Step>) {
        self.journal.write().unwrap_or_else(PoisonError::into_inner).restore(steps);
    }

    /// The step to what is served from what was served before.
    #[must_use]
    pub fn last_step(&self) -> Option<Arc<Step>> {
        self.journal.read().unwrap_or_else(PoisonError::into_inner).last_step()
    }

    /// The steps from that serial to what is served, as [`Journal::since`].
    #[must_use]
    pub fn since(&self, serial: u32) -> Option<Vec<Arc<Step>>> {
        self.journal.read().unwrap_or_else(PoisonError::into_inner).since(serial)
    }

    /// What is served.
    #[must_use]
    pub fn newest(&self) -> Option<Arc<Zone>> {
        self.journal.read().unwrap_or_else(PoisonError::into_inner).newest().cloned()
    }

    /// Whether this looks like a request for a transfer, for whoever counts them.
    #[must_use]
    pub fn is_transfer(request: &[u8]) -> bool {
        Message::from_octets(request)
            .is_ok_and(|message| matches!(message.qtype(), Some(Rtype::AXFR | Rtype::IXFR)))
    }

    /// Whether somebody at this address may transfer, with the right key.
    #[must_use]
    pub fn expects(&self, from: IpAddr) -> bool {
        self.access.expects(from)
    }

    /// Answers a request that came from there at this time (seconds since 1970).
    #[must_use]
    pub fn respond(&self, request: &[u8], from: IpAddr, via: Via, now: u64) -> Reply {
        let Ok(mut message) = Message::from_octets(request.to_vec()) else { return Reply::Nothing };
        if message.header().qr() {
            return Reply::Nothing;
        }
        let now = Time48::from_u64(now);
        let mut tsig = match ServerSequence::request(&self.access, &mut message, now) {
            Ok(tsig) => tsig,
            Err(error) => {
                tracing::info!(%from, "a request with a TSIG that is not right");
                let built = error.build_message(&message, builder(usize::from(DATAGRAM)));
                return built.map_or(Reply::Nothing, |b| Reply::One(b.finish().into_target()));
            }
        };
        let answered = self.answer(&message, from, via, tsig.as_ref().map(ServerSequence::key));
        let (kind, mut messages) = answered.unwrap_or_else(|rcode| {
            tracing::info!(%from, %rcode, "a request that is not answered");
            let refusal = builder(usize::from(DATAGRAM)).start_error(&message, rcode);
            (Kind::Other, vec![refusal.additional()])
        });
        let name = tsig.as_ref().map(|tsig| tsig.key().name().to_string()).unwrap_or_default();
        if let Some(tsig) = &mut tsig {
            for message in &mut messages {
                message.clear_push_limit();
                if tsig.answer(message, now).is_err() {
                    return Reply::Nothing;
                }
            }
        }
        let mut bytes = messages.into_iter().map(|message| message.finish().into_target());
        let is_transfer = matches!(message.qtype(), Some(Rtype::AXFR | Rtype::IXFR));
        match (is_transfer, via) {
            (true, Via::Tcp) => {
                let messages: Vec<_> = bytes.collect();
                self.count(name, kind, messages.iter().map(Vec::len).sum());
                Reply::Transfer(messages)
            }
            _ => bytes.next().map_or(Reply::Nothing, Reply::One),
        }
    }

    fn count(&self, name: String, kind: Kind, bytes: usize) {
        let mut all = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = all.entry(name).or_default();
        match kind {
            Kind::Whole => sent.whole = sent.whole.saturating_add(1),
            Kind::Increment => {
                sent.increments = sent.increments.saturating_add(1);
                let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
                sent.increment_bytes = sent.increment_bytes.saturating_add(bytes);
            }
            Kind::Other => {}
        }
    }

    fn answer(
        &self,
        message: &Message<Vec<u8>>,
        from: IpAddr,
        via: Via,
        key: Option<&Tsig>,
    ) -> Result<Answered, Rcode> {
        if message.header().opcode() != Opcode::QUERY {
            return Err(Rcode::NOTIMP);
        }
        let question = message.sole_question().map_err(|_| Rcode::FORMERR)?;
        if question.qclass() != Class::IN || Name::of(question.qname()) != self.apex {
            return Err(Rcode::REFUSED);
        }
        let journal = self.journal.read().unwrap_or_else(PoisonError::into_inner);
        let zone = journal.newest().ok_or(Rcode::SERVFAIL)?;
        match (question.qtype(), via) {
            (Rtype::AXFR, Via::Udp) => Err(Rcode::REFUSED),
            (Rtype::AXFR | Rtype::IXFR, _) if !self.access.may_transfer(from, key) => {
                Err(Rcode::REFUSED)
            }
            (Rtype::AXFR, Via::Tcp) => whole(message, zone),
            // The newest SOA alone says: come again over a connection (RFC 1995 section 2).
            (Rtype::IXFR, Via::Udp) => only_soa(message, zone),
            (Rtype::IXFR, Via::Tcp) => {
                let serial = client_serial(message).ok_or(Rcode::FORMERR)?;
                // Newer than ours, from another DM: nothing to tell (RFC 1995 section 2).
                if is_after(serial, zone.serial()) {
                    return only_soa(message, zone);
                }
                match journal.since(serial) {
                    Some(steps) => changes(message, zone, &steps),
                    None => whole(message, zone),
                }
            }
            (rtype, via) => Ok((Kind::Other, ordinary(message, &question, zone, rtype, via)?)),
        }
    }
}

fn only_soa(message: &Message<Vec<u8>>, zone: &Zone) -> Result<Answered, Rcode> {
    let mut out = Records::new(message)?;
    out.put_soa(zone)?;
    Ok((Kind::Other, out.finish()))
}

fn builder(limit: usize) -> MessageBuilder<Target> {
    // A new vector has room, so this does not fail.
    let Ok(mut builder) = MessageBuilder::from_target(TreeCompressor::new(Vec::new()));
    builder.set_push_limit(limit);
    builder
}

/// The serial that the client has: in the SOA of the authority section (RFC 1995 section 3).
fn client_serial(message: &Message<Vec<u8>>) -> Option<u32> {
    let mut records = message.authority().ok()?.limit_to::<Soa<ParsedName<_>>>();
    Some(records.next()?.ok()?.data().serial().into_int())
}

/// A set at the apex, with its signatures if they are wanted.
fn ordinary(
    message: &Message<Vec<u8>>,
    question: &Question<ParsedName<&[u8]>>,
    zone: &Zone,
    rtype: Rtype,
    via: Via,
) -> Result<Vec<AdditionalBuilder<Target>>, Rcode> {
    let opt = message.opt();
    let wants_signatures = opt.as_ref().is_some_and(|opt| opt.dnssec_ok());
    let limit = match (via, &opt) {
        (Via::Tcp, _) => usize::from(u16::MAX) - TSIG_ROOM,
        (Via::Udp, Some(opt)) => usize::from(opt.udp_payload_size().clamp(512, DATAGRAM)),
        (Via::Udp, None) => 512,
    };
    let servfail = |_: PushError| Rcode::SERVFAIL;
    let start = || builder(limit).start_answer(message, Rcode::NOERROR).map_err(servfail);
    let fill = |mut answer: AnswerBuilder<Target>| -> Result<_, PushError> {
        answer.header_mut().set_aa(true);
        let key = Key::new(Name::of(question.qname()), rtype);
        let signatures = Key::signatures_over(&key);
        let soa = Key::new(zone.apex().clone(), Rtype::SOA);
        if let Some(set) = zone.set(&key) {
            push(&mut answer, &key, set)?;
            if let Some(set) = zone.set(&signatures).filter(|_| wants_signatures) {
                push(&mut answer, &signatures, set)?;
            }
            return Ok(answer.additional());
        }
        let mut authority = answer.authority();
        for rdata in zone.set(&soa).into_iter().flat_map(RrSet::records) {
            authority.push(record(&soa, zone.set(&soa).map_or(0, RrSet::ttl), rdata))?;
        }
        Ok(authority.additional())
    };
    let mut answer = match fill(start()?) {
        Ok(answer) => answer,
        Err(_) => {
            let mut cut = start()?;
            cut.header_mut().set_tc(true);
            cut.additional()
        }
    };
    if opt.is_some() {
        let with_opt = answer.opt(|opt| {
            opt.set_udp_payload_size(DATAGRAM);
            opt.set_dnssec_ok(wants_signatures);
            Ok(())
        });
        // Without room for it, it is left out.
        let _ = with_opt;
    }
    Ok(vec![answer])
}

fn push(answer: &mut AnswerBuilder<Target>, key: &Key, set: &RrSet) -> Result<(), PushError> {
    set.records().try_for_each(|rdata| answer.push(record(key, set.ttl(), rdata)))
}

type Composed<'a> = (&'a domain::base::name::Name<[u8]>, Class, Ttl, UnknownRecordData<&'a [u8]>);

fn record<'a>(key: &'a Key, ttl: u32, rdata: &'a [u8]) -> Composed<'a> {
    // Data in a set have at most 65,000 bytes, so the empty ones never take their place.
    let data = UnknownRecordData::from_octets(key.rtype(), rdata);
    let data = data.or_else(|_| UnknownRecordData::from_octets(key.rtype(), [].as_slice()));
    let Ok(data) = data else { unreachable!("no data are not too long") };
    (key.name().as_domain(), Class::IN, Ttl::from_secs(ttl), data)
}

/// AXFR: all records between two copies of the SOA (RFC 5936 section 2.2).
fn whole(message: &Message<Vec<u8>>, zone: &Zone) -> Result<Answered, Rcode> {
    let mut out = Records::new(message)?;
    out.put_soa(zone)?;
    for (key, set) in zone.sets() {
        if *key.name() != *zone.apex() || key.rtype() != Rtype::SOA {
            out.put(key, set)?;
        }
    }
    out.put_soa(zone)?;
    Ok((Kind::Whole, out.finish()))
}

/// IXFR: the steps one after the other (RFC 1995 section 4). If that is more than the zone, the
/// zone.
fn changes(
    message: &Message<Vec<u8>>,
    zone: &Zone,
    steps: &[Arc<Step>],
) -> Result<Answered, Rcode> {
    let size: usize = steps.iter().map(|step| step.records()).sum();
    if size >= zone.records() {
        return whole(message, zone);
    }
    let soa = Key::new(zone.apex().clone(), Rtype::SOA);
    let mut out = Records::new(message)?;
    out.put_soa(zone)?;
    for step in steps {
        out.put(&soa, step.from())?;
        step.gone().iter().try_for_each(|(key, set)| out.put(key, set))?;
        out.put(&soa, step.to())?;
        step.added().iter().try_for_each(|(key, set)| out.put(key, set))?;
    }
    if steps.is_empty() {
        return Ok((Kind::Other, out.finish()));
    }
    out.put_soa(zone)?;
    Ok((Kind::Increment, out.finish()))
}

/// Records in as many messages as they need.
struct Records<'a> {
    request: &'a Message<Vec<u8>>,
    full: Vec<AdditionalBuilder<Target>>,
    current: AnswerBuilder<Target>,
}

impl<'a> Records<'a> {
    fn new(request: &'a Message<Vec<u8>>) -> Result<Self, Rcode> {
        let current = Self::start(request, TRANSFER_MESSAGE)?;
        Ok(Self { request, full: Vec::new(), current })
    }

    fn start(request: &Message<Vec<u8>>, limit: usize) -> Result<AnswerBuilder<Target>, Rcode> {
        let started = builder(limit).start_answer(request, Rcode::NOERROR);
        let mut started = started.map_err(|_| Rcode::SERVFAIL)?;
        started.header_mut().set_aa(true);
        Ok(started)
    }

    fn put_soa(&mut self, zone: &Zone) -> Result<(), Rcode> {
        let key = Key::new(zone.apex().clone(), Rtype::SOA);
        let set = zone.set(&key).ok_or(Rcode::SERVFAIL)?;
        self.put(&key, set)
    }

    fn put(&mut self, key: &Key, set: &RrSet) -> Result<(), Rcode> {
        for rdata in set.records() {
            if self.current.push(record(key, set.ttl(), rdata)).is_ok() {
                continue;
            }
            // A record that is larger than a usual message has one of its own.
            let limit = TRANSFER_MESSAGE.max(rdata.len() + TSIG_ROOM);
            let limit = limit.min(usize::from(u16::MAX) - TSIG_ROOM);
            let fresh = Self::start(self.request, limit)?;
            self.full.push(std::mem::replace(&mut self.current, fresh).additional());
            let pushed = self.current.push(record(key, set.ttl(), rdata));
            pushed.map_err(|_| Rcode::SERVFAIL)?;
        }
        Ok(())
    }

    fn finish(mut self) -> Vec<AdditionalBuilder<Target>> {
        self.full.push(self.current.additional());
        self.full
    }
}

// The keys are found by name and algorithm.
const _: fn(&Access) = |access| {
    fn is_store<S: domain::tsig::KeyStore<Key = TsigKey>>(_: &S) {}
    is_store(access);
};
