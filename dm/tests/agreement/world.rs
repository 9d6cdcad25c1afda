//! DMs, a store and a clock, all from one seed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bftkv_dm::agree::{
    Action, Change, Computed, Content, Council, Dm, Hash, Link, Manifest, Mark, Member, Memory,
    Range, SessionValue, Settings, SignedZone, Topic, View,
};
use bftkv_threshold::{
    KeyShare, Roster, Scheme, SecretBytes, ecdsa, ed25519, group_key_from_bytes,
    key_share_from_bytes, rsa,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::sealing::Letters;
use super::work::{Texts, Zone, key, keys_of};

/// What is wrong with a DM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    None,
    /// Gone from this time on.
    Crash(u64),
    /// Forgets all but its memory at this time.
    Restart(u64),
    /// Everything takes it up to three seconds.
    Slow,
    /// Its source shows another DS.
    ForgedDs,
    /// It proposes another DS than all see.
    ForgedManifest,
    /// Its partial signatures are wrong. If it is asked for a proof, it proves the right ones.
    WrongShare,
    /// They are wrong, and so are its proofs.
    WrongProof,
    /// They are wrong, and it proves nothing.
    NoProof,
    /// It gives none.
    NoShare,
    /// It proposes two things for one serial.
    TwoManifests,
    /// It writes under serials and names that are not its own.
    OtherSerial,
    /// Its disk fails half of the time, and at this time it forgets what is not on it.
    BadDisk(u64),
    /// It proposes the new key before its time.
    EarlyKey,
    /// It signs other bytes than those of the manifest, and calls them the zone's.
    WrongSigs,
    /// For presignatures, it deals wrong shares to somebody in this round.
    WrongDealing(u8),
    /// It deals something that its receiver cannot open.
    Garbage,
    /// It deals nothing.
    NoDealing,
    /// Its products are wrong.
    WrongSecond,
    /// It complains about a dealing that is right.
    FalseComplaint,
    /// It proposes presignatures that were used before.
    SpentTwice,
    /// It claims that all presignatures are spent but for the first attempt, and gives no part.
    HighMark,
    /// Its views follow from a manifest that is not there.
    FarView,
    /// Its program makes other bytes of a manifest than those of the others.
    OtherBytes,
    /// It proposes a whole content in pieces that are not there.
    NoPieces,
}

impl Fault {
    pub const ALL: [Self; 11] = [
        Self::Crash(0),
        Self::Restart(0),
        Self::Slow,
        Self::ForgedDs,
        Self::ForgedManifest,
        Self::WrongShare,
        Self::NoShare,
        Self::TwoManifests,
        Self::OtherSerial,
        Self::WrongSigs,
        Self::BadDisk(0),
    ];

    /// Those that came later, so that a seed goes on to mean what it did.
    pub const LATER: [Self; 3] = [Self::FarView, Self::NoPieces, Self::NoShare];

    /// What can be wrong with presignatures.
    pub const PRESIGNING: [Self; 7] = [
        Self::WrongDealing(1),
        Self::WrongDealing(2),
        Self::Garbage,
        Self::NoDealing,
        Self::WrongSecond,
        Self::FalseComplaint,
        Self::SpentTwice,
    ];

    pub fn is_lie(self) -> bool {
        !matches!(
            self,
            Self::None | Self::Crash(_) | Self::Restart(_) | Self::Slow | Self::BadDisk(_)
        )
    }
}

struct Put {
    claimed: Dm,
    topic: Topic,
    value: Vec<u8>,
    next: u64,
}

enum Event {
    Certified(Dm, Topic, Vec<u8>),
    /// What a DM computed that was started as often as this.
    Computed(Dm, u32, Box<Computed>),
    Source(Dm),
}

pub struct World {
    pub council: Council,
    pub now: u64,
    pub members: BTreeMap<Dm, Member<Texts>>,
    pub faults: BTreeMap<Dm, Fault>,
    /// What was published, at each honest DM.
    pub zones: BTreeMap<Dm, BTreeMap<u32, Arc<Zone>>>,
    /// Every value that was certified, by topic.
    pub certified: BTreeMap<Topic, Vec<u8>>,
    /// What each DM's source shows from when on.
    pub sources: BTreeMap<Dm, Vec<(u64, u32, Content)>>,
    /// Why a DM last refused a value.
    pub refusals: BTreeMap<(Topic, Dm), (u64, String)>,
    /// How often each was started.
    starts: BTreeMap<Dm, u32>,
    letters: BTreeMap<Dm, Arc<Letters>>,
    scheme: Scheme,
    shares: Vec<SecretBytes>,
    /// Of a key that signs from `roll` on, in milliseconds after the start; and who has none of it.
    pub new_shares: Vec<SecretBytes>,
    pub roll: Option<u64>,
    pub without_new: BTreeSet<Dm>,
    /// How many presignatures each DM wants.
    presignatures: usize,
    /// How many milliseconds a signer needs for its partial signatures.
    pub share_time: u64,
    /// What each DM has on disk.
    disks: BTreeMap<Dm, Memory>,
    voted: BTreeMap<(Dm, Topic), Hash>,
    votes: BTreeMap<(Topic, Hash), BTreeSet<Dm>>,
    puts: Vec<Put>,
    events: BTreeMap<(u64, u64), Event>,
    count: u64,
    rng: ChaCha20Rng,
    seed: u64,
}

fn deal(scheme: Scheme, roster: &Roster, rng: &mut ChaCha20Rng) -> Vec<SecretBytes> {
    fn secrets<S: KeyShare>(shares: Vec<S>) -> Vec<SecretBytes> {
        shares.iter().map(KeyShare::to_secret_bytes).collect()
    }
    match scheme {
        Scheme::Ed25519 => secrets(ed25519::deal(roster, rng).unwrap()),
        Scheme::EcdsaP256 => secrets(ecdsa::deal(roster, rng).unwrap()),
        Scheme::Rsa => {
            // The smallest that there are.
            let all = include_str!("../../../threshold/tests/data/safe-primes.txt");
            let small: Vec<&str> = all.lines().filter(|prime| prime.len() * 8 == 1536).collect();
            let [p, q] = [unhex(small[0]), unhex(small[1])];
            let primes = rsa::SafePrimes::from_be_bytes(&p, &q).unwrap();
            secrets(rsa::deal(roster, &primes, rng).unwrap())
        }
        other => panic!("{other:?}"),
    }
}

fn unhex(hex: &str) -> Vec<u8> {
    let digits = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digits).collect()
}

pub const FIRST: u32 = 2_026_081_300;
const START: u64 = 1_800_000_000_000;

impl World {
    pub fn new(n: u8, k: usize, seed: u64) -> Self {
        Self::with(Scheme::Ed25519, n, k, seed)
    }

    /// With a key of that scheme.
    pub fn with(scheme: Scheme, n: u8, k: usize, seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let council = Council::new(n).unwrap();
        let shares = deal(scheme, &Roster::first(n, k).unwrap(), &mut rng);
        let mut world = Self {
            council,
            now: START,
            members: BTreeMap::new(),
            faults: council.everyone().map(|dm| (dm, Fault::None)).collect(),
            zones: council.everyone().map(|dm| (dm, BTreeMap::new())).collect(),
            certified: BTreeMap::new(),
            sources: BTreeMap::new(),
            refusals: BTreeMap::new(),
            starts: BTreeMap::new(),
            letters: council.everyone().map(|dm| (dm, Arc::new(Letters::of(dm)))).collect(),
            scheme,
            shares,
            new_shares: Vec::new(),
            roll: None,
            without_new: BTreeSet::new(),
            presignatures: 5,
            share_time: 0,
            disks: council.everyone().map(|dm| (dm, Memory::default())).collect(),
            voted: BTreeMap::new(),
            votes: BTreeMap::new(),
            puts: Vec::new(),
            events: BTreeMap::new(),
            count: 0,
            rng,
            seed,
        };
        for dm in council.everyone() {
            world.start(dm);
        }
        world
    }

    /// With a second key, which signs from so many milliseconds after the start. Before anything happens.
    pub fn with_roll(mut self, k: usize, at: u64) -> Self {
        let roster = Roster::first(u8::try_from(self.council.size()).unwrap(), k).unwrap();
        self.new_shares = deal(self.scheme, &roster, &mut self.rng);
        self.roll = Some(at);
        self.council.everyone().for_each(|dm| self.start(dm));
        self
    }

    /// With so many presignatures ahead of need. Before anything happens.
    pub fn with_presignatures(mut self, count: usize) -> Self {
        self.presignatures = count;
        self.council.everyone().for_each(|dm| self.start(dm));
        self
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.rng.next_u64() % bound
    }

    pub fn since_start(&self) -> u64 {
        self.now - START
    }

    /// With what is on its disk.
    pub fn start(&mut self, dm: Dm) {
        let memory = self.disks[&dm];
        let settings = Settings {
            grace: 500,
            round: 3_000,
            share_wait: 1_500,
            again: 200,
            // Few, because they are dear.
            presignatures: self.presignatures,
            batch: 5,
            presign_wait: 4_000,
            ..Settings::new(dm, self.council, FIRST)
        };
        let place = usize::from(dm.number()) - 1;
        let of = |shares: &[SecretBytes]| {
            shares.get(place).map(|share| key_share_from_bytes(share).unwrap())
        };
        let (share, new_share) = (of(&self.shares).unwrap(), of(&self.new_shares));
        let public =
            |share: &dyn KeyShare| group_key_from_bytes(&share.group().to_bytes()).unwrap();
        let keys = [Some(public(&*share)), new_share.as_deref().map(public)];
        let keys = keys.into_iter().flatten().collect();
        let rng = Box::new(ChaCha20Rng::seed_from_u64(self.rng.next_u64()));
        // Inceptions are so much before the time.
        let backdate = u64::from(settings.backdate_seconds) * 1_000;
        let roll = self.roll.map_or(u64::MAX, |at| START + at - backdate);
        let roll = u32::try_from(roll / 1_000).unwrap_or(u32::MAX);
        let word = if self.faults[&dm] == Fault::OtherBytes { "SOA" } else { "soa" };
        let mut member =
            Member::new(settings, Texts { limit: 6, keys, roll, word }, share, rng, memory);
        if let Some(share) = new_share.filter(|_| !self.without_new.contains(&dm)) {
            member = member.with_share(share);
        }
        member.presign_with(Arc::<Letters>::clone(&self.letters[&dm]));
        *self.starts.entry(dm).or_default() += 1;
        // Half of them have kept their last zone, the others fetch all.
        if self.below(2) == 0
            && let Some((serial, zone)) = self.zones[&dm].last_key_value()
        {
            let manifest = &self.certified[&Topic::Manifest { serial: *serial }];
            let manifest = Arc::new(Manifest::from_bytes(manifest).unwrap());
            member.resume(manifest, zone.content(), Arc::clone(zone)).unwrap();
        }
        self.members.insert(dm, member);
    }

    /// From `at` milliseconds after the start, this DM's source shows this.
    pub fn show(&mut self, dm: Dm, at: u64, serial: u32, mut content: Content) {
        if self.faults[&dm] == Fault::ForgedDs {
            content.insert(key("com", 43), b"forged".to_vec());
        }
        self.sources.entry(dm).or_default().push((START + at, serial, content));
        self.push(START + at, Event::Source(dm));
    }

    /// The next version, with another DS, is at all sources in a moment. Gives when, after the start.
    pub fn show_update(&mut self, update: u32, content: &mut Content) -> u64 {
        content.insert(key("org", 43), format!("ds {update}").into_bytes());
        let at = self.since_start() + 100;
        for who in self.council.everyone() {
            self.show(who, at, FIRST + update, content.clone());
        }
        at
    }

    fn push(&mut self, at: u64, event: Event) {
        self.count += 1;
        self.events.insert((at.max(self.now), self.count), event);
    }

    fn delay(&mut self, dm: Dm) -> u64 {
        let most = if self.faults[&dm] == Fault::Slow { 3_000 } else { 80 };
        1 + self.below(most)
    }

    pub fn honest(&self) -> Vec<Dm> {
        let is_honest = |dm: &Dm| !self.faults[dm].is_lie();
        self.members.keys().copied().filter(is_honest).collect()
    }

    /// Runs until all honest DMs have a zone with this content, or for so long.
    pub fn run_until(&mut self, content: &Content, most: u64) -> bool {
        let end = self.now + most;
        while self.now < end {
            self.run(100);
            let has =
                |dm: &Dm| self.members[dm].zone().is_some_and(|zone| zone.content() == *content);
            if self.honest().iter().all(has) {
                return true;
            }
        }
        false
    }

    /// Runs for so many milliseconds.
    pub fn run(&mut self, time: u64) {
        let end = self.now + time;
        while self.now < end {
            self.now += 20;
            self.fail();
            while let Some(entry) = self.events.first_entry() {
                if entry.key().0 > self.now {
                    break;
                }
                let event = entry.remove();
                self.happen(event);
            }
            self.try_puts();
            if !self.now.is_multiple_of(100) {
                continue;
            }
            for dm in self.council.everyone() {
                if let Some(member) = self.members.get_mut(&dm) {
                    member.handle_tick(self.now);
                }
                self.drain(dm);
            }
        }
    }

    fn fail(&mut self) {
        for (dm, fault) in self.faults.clone() {
            match fault {
                Fault::Crash(at) if self.since_start() >= at => drop(self.members.remove(&dm)),
                Fault::Restart(at) | Fault::BadDisk(at) if self.since_start() >= at => {
                    self.start(dm);
                    self.faults.insert(dm, Fault::None);
                    self.source(dm);
                }
                _ => {}
            }
        }
    }

    fn source(&mut self, dm: Dm) {
        let seen = self.sources.get(&dm).into_iter().flatten().rfind(|(at, ..)| *at <= self.now);
        let Some((_, serial, content)) = seen.cloned() else { return };
        if let Some(member) = self.members.get_mut(&dm) {
            member.handle_source(serial, Arc::new(content), self.now);
            self.drain(dm);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Source(dm) => self.source(dm),
            Event::Computed(dm, start, computed) => {
                let is_same = self.starts[&dm] == start;
                if let Some(member) = self.members.get_mut(&dm).filter(|_| is_same) {
                    member.handle_computed(*computed, self.now);
                    self.drain(dm);
                }
            }
            Event::Certified(dm, topic, value) => {
                if let Some(member) = self.members.get_mut(&dm) {
                    member.handle_certified(topic, value, self.now);
                    self.drain(dm);
                }
            }
        }
    }

    fn drain(&mut self, dm: Dm) {
        while let Some(action) = self.members.get_mut(&dm).and_then(Member::poll) {
            match action {
                Action::Poll => {
                    let at = self.now + self.delay(dm);
                    self.push(at, Event::Source(dm));
                }
                Action::Fetch(topic) => {
                    if let Some(value) = self.certified.get(&topic).cloned() {
                        let at = self.now + self.delay(dm);
                        self.push(at, Event::Certified(dm, topic, value));
                    }
                }
                Action::Commit { manifest, zone } => {
                    assert_eq!(zone.serial, manifest.serial);
                    self.zones.get_mut(&dm).unwrap().insert(zone.serial, zone);
                }
                Action::Compute(job) => {
                    self.letters[&dm].lie(self.faults[&dm]);
                    let (at, start) = (self.now + self.delay(dm), self.starts[&dm]);
                    self.push(at, Event::Computed(dm, start, Box::new(job.run())));
                }
                Action::Publish { topic, value } => self.write(dm, topic, value),
                other => panic!("{other:?}"),
            }
        }
    }

    /// The manifest that this liar writes instead of one.
    fn forge(&self, dm: Dm, value: &[u8]) -> Vec<u8> {
        let Ok(mut manifest) = Manifest::from_bytes(value) else { return value.to_vec() };
        match self.faults[&dm] {
            Fault::ForgedManifest => {
                let seen = &self.sources[&dm];
                let honest = seen.iter().find(|(.., content)| content.root() == manifest.root);
                if let (Change::Sets(delta), Some((.., content))) = (&mut manifest.change, honest) {
                    let forged = (key("com", 43), b"forged".to_vec());
                    let mut content = content.clone();
                    content.insert(forged.0.clone(), forged.1.clone());
                    delta.insert(forged.0, Some(forged.1));
                    manifest.root = content.root();
                }
            }
            Fault::EarlyKey => manifest.keys = keys_of(1),
            Fault::NoPieces => manifest.change = Change::Whole(vec![Hash::of(b"nothing")]),
            _ => {}
        }
        manifest.to_bytes()
    }

    fn write(&mut self, dm: Dm, topic: Topic, value: Vec<u8>) {
        let forged = self.forge(dm, &value);
        let work = if let Topic::Share { .. } = topic { self.share_time } else { 0 };
        let next = self.now + work + self.delay(dm);
        let mut put = |claimed, topic, value| self.puts.push(Put { claimed, topic, value, next });
        match (self.faults[&dm], topic) {
            (Fault::ForgedManifest | Fault::EarlyKey | Fault::NoPieces, Topic::Manifest { .. }) => {
                put(dm, topic, forged)
            }
            (Fault::TwoManifests, Topic::Manifest { .. }) => {
                let mut manifest = Manifest::from_bytes(&value).unwrap();
                manifest.inception += 1;
                manifest.expiry += 1;
                put(dm, topic, manifest.to_bytes());
                put(dm, topic, value);
                self.puts.reverse();
            }
            (Fault::WrongShare | Fault::WrongProof | Fault::NoProof, Topic::Share { .. }) => {
                let mut value = value;
                // A number of that scheme all the same, and not only some bytes.
                let last = value.len() - 1;
                value[if self.scheme == Scheme::Rsa { last } else { 0 }] ^= 1;
                put(dm, topic, value);
            }
            (Fault::WrongProof, Topic::Proof { .. }) => {
                let mut value = value;
                *value.last_mut().unwrap() ^= 1;
                put(dm, topic, value);
            }
            (Fault::NoProof, Topic::Proof { .. }) => {}
            (Fault::NoShare | Fault::HighMark, Topic::Share { .. }) => {}
            (Fault::FarView, Topic::View { serial, .. }) => {
                let mut view = View::from_bytes(&value).unwrap();
                view.newest = Link { serial: serial - 1, hash: Hash::of(b"nothing") };
                put(dm, topic, view.to_bytes());
            }
            (Fault::WrongSigs, Topic::Sigs { .. } | Topic::Signed { .. }) => {
                let mut value = value;
                *value.last_mut().unwrap() ^= 1;
                put(dm, topic, value);
            }
            (Fault::OtherSerial, Topic::Manifest { serial }) => {
                let mut manifest = Manifest::from_bytes(&value).unwrap();
                for ahead in [1, 1000] {
                    manifest.serial = serial + ahead;
                    put(dm, Topic::Manifest { serial: serial + ahead }, manifest.to_bytes());
                }
            }
            (Fault::OtherSerial, Topic::View { serial, .. }) => {
                put(dm, Topic::View { serial: serial + 100_000, dm }, value.clone());
                put(dm, topic, value);
            }
            _ => {
                for (topic, value) in self.bend_presigning(dm, topic, value) {
                    self.puts.push(Put { claimed: dm, topic, value, next });
                }
            }
        }
    }

    /// What a DM writes that lies about presignatures, or what an honest one does.
    fn bend_presigning(&self, dm: Dm, topic: Topic, mut value: Vec<u8>) -> Vec<(Topic, Vec<u8>)> {
        match (self.faults[&dm], topic) {
            (Fault::NoDealing, Topic::Dealt { .. }) => return Vec::new(),
            // Of the first opening's challenge.
            (Fault::WrongSecond, Topic::Second { .. }) => value[2 + 33 + 9] ^= 1,
            (Fault::FalseComplaint, Topic::Second { batch, .. }) => {
                let topic = Topic::Complaint { batch, round: 1, dm };
                return self.letters[&dm].complaint().map(|it| (topic, it)).into_iter().collect();
            }
            (Fault::HighMark, Topic::Nonces { attempt: 1.., .. }) => {
                let title = b"bftkv dm presign holdings 1";
                let found = value.windows(title.len()).position(|window| window == title);
                let at = found.unwrap() + title.len();
                value[at..at + 6].fill(0xff);
            }
            (Fault::SpentTwice, Topic::Session { .. }) => {
                let uses = used_before(&self.certified, &value);
                let session = SessionValue::from_bytes(&value).unwrap();
                value = SessionValue { uses, ..session }.to_bytes();
            }
            _ => {}
        }
        vec![(topic, value)]
    }

    /// Every DM votes; a liar for everything.
    fn try_puts(&mut self) {
        let due: Vec<Put> = self.puts.extract_if(.., |put| put.next <= self.now).collect();
        for mut put in due {
            let hash = Hash::of(&put.value);
            for dm in self.council.everyone() {
                if self.votes_for(dm, &put, hash) {
                    self.votes.entry((put.topic, hash)).or_default().insert(dm);
                }
            }
            let votes = self.votes.get(&(put.topic, hash)).map_or(0, BTreeSet::len);
            if votes >= self.council.quorum() {
                self.certify(put.topic, put.value);
            } else {
                // As the real writer, it tries again for a while.
                put.next = self.now + 100 + self.below(100);
                let is_over = put.topic.serial().is_some_and(|serial| serial + 3 < self.newest())
                    || put.topic.batch().is_some_and(|batch| batch + 8 < self.newest_batch());
                if !is_over && self.count < 400_000 {
                    self.puts.push(put);
                }
            }
        }
    }

    fn newest_batch(&self) -> u32 {
        self.certified.keys().filter_map(Topic::batch).max().unwrap_or(0)
    }

    fn newest(&self) -> u32 {
        self.zones.values().filter_map(|zones| zones.keys().last()).max().copied().unwrap_or(0)
    }

    fn votes_for(&mut self, dm: Dm, put: &Put, hash: Hash) -> bool {
        if self.faults[&dm].is_lie() {
            return true;
        }
        if put.topic.writer(self.council) != put.claimed {
            return false;
        }
        if let Some(before) = self.voted.get(&(dm, put.topic)) {
            return *before == hash;
        }
        let Some(member) = self.members.get_mut(&dm) else { return false };
        let judged = member.judge(put.topic, &put.value, self.now);
        if let Err(refusal) = &judged {
            self.refusals.insert((put.topic, dm), (self.now - START, refusal.to_string()));
        }
        let voted = match judged {
            Err(_) => false,
            Ok(None) => true,
            Ok(Some(memory)) => self.save(dm, memory),
        };
        if voted {
            self.voted.insert((dm, put.topic), hash);
            self.check_disk(dm, put);
        }
        self.drain(dm);
        voted
    }

    /// Whether it is on disk for sure. If it is not, it may be there all the same.
    fn save(&mut self, dm: Dm, memory: Memory) -> bool {
        let chance = if matches!(self.faults[&dm], Fault::BadDisk(_)) { self.below(4) } else { 3 };
        if chance > 0 {
            self.disks.insert(dm, memory);
        }
        if chance > 1 {
            self.members.get_mut(&dm).unwrap().handle_saved(memory);
        }
        chance > 1
    }

    /// A vote that leaves is one that a restart remembers.
    fn check_disk(&self, dm: Dm, put: &Put) {
        let (disk, topic) = (self.disks[&dm], put.topic);
        let is_there = match topic {
            Topic::Manifest { serial } => disk.voted.is_some_and(|voted| voted.serial >= serial),
            Topic::Signed { serial } => disk.locked >= serial,
            Topic::Session { .. } => end_of(&put.value) <= disk.spent,
            Topic::First { batch, dm: of } if of == dm => disk.batch >= batch,
            _ => true,
        };
        assert!(is_there, "seed {}: {dm} votes for {topic}, with {disk:?} on disk", self.seed);
    }

    fn certify(&mut self, topic: Topic, value: Vec<u8>) {
        let before = self.certified.insert(topic, value.clone());
        assert!(before.is_none_or(|before| before == value), "seed {}: {topic}", self.seed);
        if let Topic::Session { .. } = topic {
            self.check_spent(topic, &value);
        }
        for dm in self.council.everyone() {
            // Some are told later only when they ask.
            if self.below(5) > 0 {
                let at = self.now + self.delay(dm);
                self.push(at, Event::Certified(dm, topic, value.clone()));
            }
        }
    }

    /// No presignature is used in two sessions.
    fn check_spent(&self, topic: Topic, value: &[u8]) {
        let uses = uses_of(value);
        for (other, value) in self.certified.iter().filter(|(other, _)| **other != topic) {
            if let Topic::Session { .. } = other {
                let overlap = |a: &Range, b: &Range| a.start() < b.end() && b.start() < a.end();
                let both = uses_of(value).into_iter().find(|b| uses.iter().any(|a| overlap(a, b)));
                assert_eq!(both, None, "seed {}: in {topic} and {other}", self.seed);
            }
        }
    }

    /// For whoever looks for what went wrong.
    pub fn explain(&self) -> String {
        let mut out = format!("\n{:?}\n", self.faults);
        for ((topic, who), (at, why)) in &self.refusals {
            out += &format!("{topic} refused by {who} at {at} ms: {why}\n");
        }
        for (who, member) in &self.members {
            out += &format!("{who}: {:?}\n", member.status());
        }
        out
    }

    /// No serial has two manifests or zones, every later zone follows from the one before, and no
    /// forged set is in any.
    pub fn check(&self) {
        let mut all: BTreeMap<u32, Hash> = BTreeMap::new();
        for dm in self.honest() {
            for (serial, zone) in &self.zones[&dm] {
                let have = *all.entry(*serial).or_insert(zone.digest());
                assert_eq!(have, zone.digest(), "seed {}: {dm} serial {serial}", self.seed);
                let forged = zone.sets.values().any(|(value, _)| value == b"forged");
                assert!(!forged, "seed {}: {dm} serial {serial} is forged", self.seed);
                self.check_follows(*serial, &all);
            }
        }
    }

    fn check_follows(&self, serial: u32, published: &BTreeMap<u32, Hash>) {
        let Some((below, _)) = published.range(..serial).next_back() else { return };
        let mut at = serial;
        while at > *below {
            let bytes = &self.certified[&Topic::Manifest { serial: at }];
            at = Manifest::from_bytes(bytes).unwrap().prev.serial;
        }
        assert_eq!(at, *below, "seed {}: {serial} does not follow from {below}", self.seed);
    }
}

fn uses_of(session: &[u8]) -> Vec<Range> {
    SessionValue::from_bytes(session).unwrap().uses
}

fn end_of(session: &[u8]) -> Mark {
    uses_of(session).last().map(Range::end).unwrap_or_default()
}

/// As many presignatures as this session needs, from the beginning of another one that was certified,
/// if there is one.
fn used_before(certified: &BTreeMap<Topic, Vec<u8>>, session: &[u8]) -> Vec<Range> {
    let uses = uses_of(session);
    let need: u16 = uses.iter().map(|range| range.count).sum();
    let others = certified.iter().filter(|(topic, _)| matches!(topic, Topic::Session { .. }));
    let other = others.map(|(_, value)| uses_of(value)).rfind(|other| !other.is_empty());
    let Some(before) = other else { return uses };
    let first = Range { count: need.min(before[0].count), ..before[0] };
    let left = need - first.count;
    let last = Range { batch: first.batch + 1, first: 0, count: left };
    if left == 0 { vec![first] } else { vec![first, last] }
}
