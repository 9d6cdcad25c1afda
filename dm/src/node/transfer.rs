//! AXFR from a server: one way to see a zone.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use domain::base::iana::{Class, Rcode};
use domain::base::rdata::ComposeRecordData as _;
use domain::base::wire::ParseError;
use domain::base::{Message, MessageBuilder, ParsedName};
use domain::rdata::tsig::Time48;
use domain::rdata::{AllRecordData, Soa};
use domain::tsig::{ClientSequence, Key as Tsig};

use crate::publish::TsigKey;
use crate::zone::{Limits, Name, RrSet, Rtype, Zone, ZoneBuilder};

/// A server that has the zone.
#[derive(Clone, Debug)]
#[allow(clippy::exhaustive_structs, reason = "callers fill in every field")]
pub struct Primary {
    /// Where it listens, with TCP.
    pub address: SocketAddr,
    /// The key that it wants to see, and signs with; `None`: none.
    pub key: Option<TsigKey>,
}

/// Reads a TSIG key from a text: its name, its algorithm and its secret in Base64, with blanks
/// between them.
///
/// # Errors
/// What is wrong with it. The secret is not shown.
pub fn read_tsig_key(text: &str) -> Result<TsigKey, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [name, algorithm, secret] = words.as_slice() else {
        return Err("name, algorithm and secret of a TSIG key are wanted, in one line".to_owned());
    };
    let secret: Vec<u8> = domain::utils::base64::decode(secret)
        .map_err(|_| "the secret of a TSIG key is not in Base64".to_owned())?;
    TsigKey::new(name, algorithm, &secret).map_err(|error| error.to_string())
}

/// How long to wait for the connection, for anything that comes, and for the answer to a question.
const WAIT: Duration = Duration::from_secs(10);
/// How long all of a transfer may take.
const LONGEST: Duration = Duration::from_secs(120);

/// Why there is no zone: the network's fault or the other server's.
type Wrong = String;

impl Primary {
    /// Fetches the zone (RFC 5936) within these limits. Blocks for two minutes at most.
    ///
    /// # Errors
    /// What the server did, for people. A retry helps if it was not there.
    pub fn transfer(&self, apex: &Name, limits: Limits) -> Result<Zone, String> {
        let fetched = self.fetch(apex, limits);
        fetched.map_err(|wrong| format!("AXFR of {apex} from {}: {wrong}", self.address))
    }

    /// The serial of the zone that it has.
    ///
    /// # Errors
    /// As [`Primary::transfer`].
    pub fn serial(&self, apex: &Name) -> Result<u32, String> {
        let fetched = self.ask_serial(apex);
        fetched.map_err(|wrong| format!("SOA of {apex} from {}: {wrong}", self.address))
    }

    /// The DNSKEY set of a zone that it serves, and the signatures over it. They are not verified.
    ///
    /// # Errors
    /// As [`Primary::transfer`].
    pub fn keys(&self, apex: &Name) -> Result<(RrSet, RrSet), String> {
        let fetched = self.ask_keys(apex, WAIT);
        fetched.map_err(|wrong| format!("DNSKEY of {apex} from {}: {wrong}", self.address))
    }

    /// Within that time.
    pub(super) fn ask_keys(&self, apex: &Name, longest: Duration) -> Result<(RrSet, RrSet), Wrong> {
        let mut talk = self.ask((apex, Rtype::DNSKEY), longest)?;
        let message = talk.next()?;
        talk.end()?;
        let (mut ttl, mut keys, mut signatures) = (0, Vec::new(), Vec::new());
        for record in answers(&message)? {
            let record = record?;
            match record.rtype {
                _ if record.owner != *apex => {}
                Rtype::DNSKEY => {
                    ttl = record.ttl;
                    keys.push(record.rdata);
                }
                Rtype::RRSIG => signatures.push(record.rdata),
                _ => {}
            }
        }
        let set = |rtype, records| RrSet::new(rtype, ttl, records).map_err(|it| it.to_string());
        Ok((set(Rtype::DNSKEY, keys)?, set(Rtype::RRSIG, signatures)?))
    }

    fn ask_serial(&self, apex: &Name) -> Result<u32, Wrong> {
        let mut talk = self.ask((apex, Rtype::SOA), WAIT)?;
        let message = talk.next()?;
        talk.end()?;
        let records = message.answer().map_err(malformed)?;
        let first = records.limit_to::<Soa<ParsedName<_>>>().next();
        let soa = first.ok_or_else(|| "an answer without SOA".to_owned())?.map_err(malformed)?;
        Ok(soa.data().serial().into_int())
    }

    fn fetch(&self, apex: &Name, limits: Limits) -> Result<Zone, Wrong> {
        let mut talk = self.ask((apex, Rtype::AXFR), LONGEST)?;
        let mut arriving = Arriving::new(apex, limits);
        while !arriving.done {
            let message = talk.next()?;
            if talk.bytes > limits.bytes {
                return Err(format!("more than {} bytes", limits.bytes));
            }
            arriving.take(&message)?;
        }
        talk.end()?;
        arriving.builder.finish().map_err(|error| error.to_string())
    }

    /// All of it may take so long.
    fn ask(&self, (apex, rtype): (&Name, Rtype), longest: Duration) -> Result<Talk, Wrong> {
        let io = |error: io::Error| error.to_string();
        let until = Instant::now() + longest;
        let mut id = [0; 2];
        getrandom::fill(&mut id).map_err(|error| error.to_string())?;
        let id = u16::from_be_bytes(id);
        let (request, sequence) = self.request((apex, rtype), id)?;
        let mut stream = TcpStream::connect_timeout(&self.address, WAIT).map_err(io)?;
        stream.set_write_timeout(Some(WAIT)).map_err(io)?;
        let length = u16::try_from(request.len()).map_err(|_| "a long request".to_owned())?;
        stream.write_all(&[&length.to_be_bytes(), request.as_slice()].concat()).map_err(io)?;
        Ok(Talk { stream, until, id, sequence, bytes: 0 })
    }

    fn request(
        &self,
        (apex, rtype): (&Name, Rtype),
        id: u16,
    ) -> Result<(Vec<u8>, Option<Sequence>), Wrong> {
        let mut builder = MessageBuilder::new_vec();
        builder.header_mut().set_id(id);
        let mut question = builder.question();
        let asked = question.push((apex.as_domain(), rtype, Class::IN));
        asked.map_err(|_| "no room for the question".to_owned())?;
        let mut request = question.additional();
        if rtype == Rtype::DNSKEY {
            // With the signatures.
            let wanted = request.opt(|opt| {
                opt.set_dnssec_ok(true);
                Ok(())
            });
            wanted.map_err(|_| "no room for EDNS".to_owned())?;
        }
        let Some(key) = &self.key else { return Ok((request.finish(), None)) };
        let sequence = ClientSequence::request(key.inner(), &mut request, now());
        let sequence = sequence.map_err(|_| "no room for TSIG".to_owned())?;
        Ok((request.finish(), Some(sequence)))
    }
}

type Sequence = ClientSequence<Arc<Tsig>>;

/// A question, and its answers as they come.
struct Talk {
    stream: TcpStream,
    /// Until when all must have come.
    until: Instant,
    id: u16,
    sequence: Option<Sequence>,
    bytes: usize,
}

impl Talk {
    fn next(&mut self) -> Result<Message<Vec<u8>>, Wrong> {
        let bytes = self.read().map_err(|error| error.to_string())?;
        self.bytes = self.bytes.saturating_add(bytes.len());
        let mut message = Message::from_octets(bytes).map_err(|_| "no message of DNS")?;
        if let Some(sequence) = &mut self.sequence {
            let answered = sequence.answer(&mut message, now());
            answered.map_err(|error| format!("TSIG: {error}"))?;
        }
        let header = message.header();
        if header.id() != self.id || !header.qr() {
            return Err("an answer to something else".to_owned());
        }
        if header.rcode() != Rcode::NOERROR {
            return Err(format!("it answers {}", header.rcode()));
        }
        Ok(message)
    }

    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 2];
        self.fill(&mut length)?;
        let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
        self.fill(&mut message)?;
        Ok(message)
    }

    /// The time is looked at before each read: whoever sends a byte now and then is not waited for.
    fn fill(&mut self, mut rest: &mut [u8]) -> io::Result<()> {
        use io::ErrorKind::{Interrupted, TimedOut, UnexpectedEof, WouldBlock};
        let late = || io::Error::new(TimedOut, "it takes too long");
        while !rest.is_empty() {
            let left = self.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(late());
            }
            self.stream.set_read_timeout(Some(left.min(WAIT)))?;
            match self.stream.read(rest) {
                Ok(0) => return Err(UnexpectedEof.into()),
                Ok(count) => rest = rest.get_mut(count..).unwrap_or_default(),
                Err(error) if error.kind() == Interrupted => {}
                Err(error) if matches!(error.kind(), WouldBlock | TimedOut) => return Err(late()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Otherwise the last records would be nobody's.
    fn end(self) -> Result<(), Wrong> {
        let Some(sequence) = self.sequence else { return Ok(()) };
        sequence.done().map_err(|error| format!("TSIG: {error}"))
    }
}

/// A record of an answer, its data in canonical form.
struct Record {
    owner: Name,
    rtype: Rtype,
    class: Class,
    ttl: u32,
    rdata: Vec<u8>,
}

fn malformed(_: ParseError) -> Wrong {
    "a malformed message".to_owned()
}

fn answers(
    message: &Message<Vec<u8>>,
) -> Result<impl Iterator<Item = Result<Record, Wrong>>, Wrong> {
    let records = message.answer().map_err(malformed)?;
    Ok(records.limit_to::<AllRecordData<_, ParsedName<_>>>().map(|record| {
        let record = record.map_err(malformed)?;
        let (owner, ttl) = (Name::of(record.owner()), record.ttl().as_secs());
        let (rtype, class) = (record.rtype(), record.class());
        let mut rdata = Vec::new();
        let composed = record.data().compose_canonical_rdata(&mut rdata);
        composed.map_err(|_| "a long record".to_owned())?;
        Ok(Record { owner, rtype, class, ttl, rdata })
    }))
}

/// What came so far: the zone stands between two SOA records.
struct Arriving {
    builder: ZoneBuilder,
    apex: Name,
    first: Option<Vec<u8>>,
    done: bool,
}

impl Arriving {
    fn new(apex: &Name, limits: Limits) -> Self {
        let builder = ZoneBuilder::new(Some(apex.clone()), limits);
        Self { builder, apex: apex.clone(), first: None, done: false }
    }

    fn take(&mut self, message: &Message<Vec<u8>>) -> Result<(), Wrong> {
        for record in answers(message)? {
            if self.done {
                return Err("records after the last SOA".to_owned());
            }
            self.add(record?)?;
        }
        if self.first.is_none() {
            return Err("an empty answer".to_owned());
        }
        Ok(())
    }

    fn add(&mut self, record: Record) -> Result<(), Wrong> {
        let Record { owner, rtype, class, ttl, rdata } = record;
        let is_soa = rtype == Rtype::SOA && owner == self.apex;
        match &self.first {
            None if !is_soa => return Err("the first record is no SOA".to_owned()),
            Some(first) if is_soa => {
                self.done = true;
                if *first != rdata {
                    return Err("the zone changed while it was sent".to_owned());
                }
                return Ok(());
            }
            _ => {}
        }
        let added = self.builder.add(None, owner, (rtype, class), ttl, &rdata);
        added.map_err(|error| error.to_string())?;
        self.first.get_or_insert(rdata);
        Ok(())
    }
}

fn now() -> Time48 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time48::from_u64(since.as_secs())
}
