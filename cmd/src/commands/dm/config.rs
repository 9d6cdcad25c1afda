//! The settings of a distribution master.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use bftkv::NodeId;
use bftkv_dm::agree::{Council, Dm, Settings};
use bftkv_dm::node::{Child, ChildKeys, FileSource, Primary, PrimarySource, Source, read_tsig_key};
use bftkv_dm::publish::{Access, Prefix, Rule, Secondary, TsigKey};
use bftkv_dm::sign::KeySet;
use bftkv_dm::zone::Name;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

use super::{private_folders, read_key_set};
use crate::failure::Failure;

/// What the file says. Paths are relative to its folder.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DmConfig {
    zone: String,
    me: u8,
    masters: Vec<String>,
    #[serde(default = "one")]
    first_serial: u32,
    node: PathBuf,
    writer: PathBuf,
    share: Shares,
    /// Whether gpg holds the OpenPGP key to which the shares are sealed.
    #[serde(default)]
    gpg: bool,
    dnskeys: PathBuf,
    state: PathBuf,
    listen: SocketAddr,
    #[serde(default = "most_percent")]
    most_percent: usize,
    /// How many presignatures to have ahead of need, with a P-256 key.
    presign: Option<usize>,
    /// How many are made at once.
    presign_batch: Option<u16>,
    source: SourceConfig,
    #[serde(default)]
    allow: Vec<AllowConfig>,
    #[serde(default)]
    secondary: Vec<SecondaryConfig>,
    #[serde(default)]
    timing: TimingConfig,
    /// The file's folder.
    #[serde(skip)]
    folder: PathBuf,
}

/// The share of one ZSK, or of several while one gives way to another.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Shares {
    One(PathBuf),
    Several(Vec<PathBuf>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceConfig {
    file: Option<PathBuf>,
    axfr: Option<SocketAddr>,
    key: Option<PathBuf>,
    /// Delegations whose DS records follow the keys that they show.
    #[serde(default)]
    child: Vec<ChildConfig>,
    /// How often they are asked, in seconds.
    child_every_s: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChildConfig {
    zone: String,
    server: SocketAddr,
    key: Option<PathBuf>,
}

/// How often the keys of delegated zones are asked for, in seconds.
const CHILD_EVERY: u32 = 60;
/// What was accepted of them, in the folder of the state.
const CHILDREN: &str = "children";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AllowConfig {
    from: String,
    key: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SecondaryConfig {
    address: SocketAddr,
    key: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct TimingConfig {
    grace_ms: Option<u64>,
    round_ms: Option<u64>,
    share_wait_ms: Option<u64>,
    again_ms: Option<u64>,
    presign_wait_ms: Option<u64>,
}

fn one() -> u32 {
    1
}

fn most_percent() -> usize {
    20
}

impl DmConfig {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read, or says what makes no sense.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path).map_err(|error| {
            Failure::file(path, &error).hint("docs/dm.md shows what the settings of a DM look like")
        })?;
        let mut config: Self = toml::from_str(&text)
            .map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        config.folder = if folder == Path::new("") { PathBuf::from(".") } else { folder.into() };
        Ok(config)
    }

    fn at(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }

    /// The zone's name.
    pub(super) fn apex(&self) -> Result<Name, Failure> {
        super::name_of(&self.zone).map_err(Failure::usage)
    }

    /// The name of the zone in the names of variables.
    pub(super) fn zone_word(&self) -> Result<String, Failure> {
        let apex = self.apex()?;
        let word = apex.to_string().trim_end_matches('.').to_owned();
        Ok(if word.is_empty() { "root".to_owned() } else { word })
    }

    /// How many DMs there are.
    pub(super) fn council(&self) -> Result<Council, Failure> {
        let (n, min, max) = (self.masters.len(), Council::MIN, Council::MAX);
        u8::try_from(n).ok().and_then(Council::new).ok_or_else(|| {
            Failure::failed(format!("`masters` names {n} certificates"))
                .hint(format!("between {min} and {max} DMs act as one; name one for each"))
        })
    }

    /// Which DM this is.
    pub(super) fn me(&self) -> Result<Dm, Failure> {
        let council = self.council()?;
        Dm::new(self.me).filter(|me| council.contains(*me)).ok_or_else(|| {
            Failure::failed(format!("`me` is {}, and there are {} DMs", self.me, council.size()))
        })
    }

    /// With which certificates the DMs write.
    pub(super) fn writers(&self) -> Result<Vec<(NodeId, Dm)>, Failure> {
        let one = |(number, text): (u8, &String)| {
            let id = text.replace(' ', "").parse::<NodeId>();
            let id = id.map_err(|error| Failure::failed(format!("`masters`: {text}: {error}")))?;
            let dm = Dm::new(number).ok_or_else(|| Failure::failed("too many DMs"))?;
            Ok((id, dm))
        };
        let writers: Result<Vec<(NodeId, Dm)>, Failure> =
            (1..).zip(&self.masters).map(one).collect();
        let writers = writers?;
        let mut ids: Vec<&NodeId> = writers.iter().map(|(id, _)| id).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() != writers.len() {
            return Err(Failure::failed("`masters` names one certificate twice"));
        }
        Ok(writers)
    }

    /// Who this DM is and how long it waits.
    pub(super) fn settings(&self) -> Result<Settings, Failure> {
        let usual = Settings::new(self.me()?, self.council()?, self.first_serial.max(1));
        let timing = &self.timing;
        Ok(Settings {
            apex: self.apex()?.labels().count(),
            grace: timing.grace_ms.unwrap_or(usual.grace),
            round: timing.round_ms.unwrap_or(usual.round),
            share_wait: timing.share_wait_ms.unwrap_or(usual.share_wait),
            again: timing.again_ms.unwrap_or(usual.again).max(50),
            presignatures: self.presign.unwrap_or(usual.presignatures),
            batch: self.presign_batch()?.unwrap_or(usual.batch),
            presign_wait: timing.presign_wait_ms.unwrap_or(usual.presign_wait),
            ..usual
        })
    }

    fn presign_batch(&self) -> Result<Option<u16>, Failure> {
        let (least, most) = (1, Settings::MAX_BATCH);
        match self.presign_batch {
            Some(batch) if !(least..=most).contains(&batch) => {
                let text = format!("`presign_batch` is {batch}");
                Err(Failure::failed(text).hint(format!("between {least} and {most}")))
            }
            other => Ok(other),
        }
    }

    /// The home of the node in the store.
    pub(super) fn node(&self) -> PathBuf {
        self.at(&self.node)
    }

    /// The home of the certificate with which this DM writes.
    pub(super) fn writer(&self) -> PathBuf {
        self.at(&self.writer)
    }

    /// The files of the shares, one for each ZSK.
    pub(super) fn shares(&self) -> Vec<PathBuf> {
        let named = match &self.share {
            Shares::One(path) => std::slice::from_ref(path),
            Shares::Several(paths) => paths,
        };
        named.iter().map(|path| self.at(path)).collect()
    }

    /// Whether gpg opens them.
    pub(super) fn opens_by_gpg(&self) -> bool {
        self.gpg
    }

    /// A file in the folder where votes and the zone are kept.
    pub(super) fn state(&self, name: &str) -> PathBuf {
        self.at(&self.state).join(name)
    }

    /// Makes the folder of the state, for its owner only.
    pub(super) fn make_state(&self) -> Result<(), Failure> {
        let path = self.at(&self.state);
        let made = private_folders().recursive(true).create(&path);
        made.map_err(|error| Failure::file(&path, &error))
    }

    /// Where to answer questions.
    pub(super) fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// How many of a hundred sets may change without an operator.
    pub(super) fn most_percent(&self) -> usize {
        self.most_percent
    }

    /// The DNSKEY sets that were signed ahead.
    pub(super) fn key_sets(&self) -> Result<Vec<KeySet>, Failure> {
        let (folder, apex) = (self.at(&self.dnskeys), self.apex()?);
        let entries = fs::read_dir(&folder).map_err(|error| {
            Failure::file(&folder, &error).hint("bftkv dm ksk sign --out makes this folder")
        })?;
        let mut sets = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| Failure::file(&folder, &error))?.path();
            if path.extension().is_none_or(|word| word != "zone") {
                continue;
            }
            sets.push(read_key_set(&path, &apex)?);
        }
        if sets.is_empty() {
            return Err(Failure::failed(format!("{}: no DNSKEY set", folder.display()))
                .hint("bftkv dm ksk sign --out makes this folder"));
        }
        Ok(sets)
    }

    /// Where the zone is seen.
    pub(super) fn source(&self) -> Result<Arc<dyn Source>, Failure> {
        let apex = self.apex()?;
        let source: Arc<dyn Source> = match (&self.source.file, self.source.axfr) {
            (Some(path), None) => Arc::new(FileSource::new(self.at(path), apex)),
            (None, Some(address)) => {
                let key = self.key(self.source.key.as_deref())?;
                Arc::new(PrimarySource::new(Primary { address, key }, apex))
            }
            _ => {
                return Err(Failure::failed("`source` needs either `file` or `axfr`")
                    .hint("file = \"PATH\" is a zone file, axfr = \"ADDRESS:PORT\" a server"));
            }
        };
        let child = |child: &ChildConfig| {
            let name = child.zone.parse();
            let name = name.map_err(|error| Failure::failed(format!("`source.child`: {error}")))?;
            let server = Primary { address: child.server, key: self.key(child.key.as_deref())? };
            Ok(Child { name, server })
        };
        let children: Result<Vec<Child>, Failure> = self.source.child.iter().map(child).collect();
        let children = children?;
        if children.is_empty() {
            return Ok(source);
        }
        let kept = self.state(CHILDREN);
        let every = self.source.child_every_s.unwrap_or(CHILD_EVERY).max(1);
        let every = Duration::from_secs(every.into());
        let source = ChildKeys::new(source, children, every, kept.clone());
        source.map(|source| Arc::new(source) as Arc<dyn Source>).map_err(|error| {
            Failure::file(&kept, &error)
                .hint("without the file the DS records of the zone's own source count again")
        })
    }

    /// Who may have the zone.
    pub(super) fn access(&self) -> Result<Access, Failure> {
        let rule = |allow: &AllowConfig| {
            let from: Result<Prefix, String> = allow.from.parse();
            let from = from.map_err(|error| Failure::failed(format!("`allow`: {error}")))?;
            Ok(Rule { from, key: self.key(allow.key.as_deref())? })
        };
        let rules: Result<Vec<Rule>, Failure> = self.allow.iter().map(rule).collect();
        Ok(Access::new(rules?))
    }

    /// Who is told of a new zone.
    pub(super) fn secondaries(&self) -> Result<Vec<Secondary>, Failure> {
        let one = |secondary: &SecondaryConfig| {
            let key = self.key(secondary.key.as_deref())?;
            Ok(Secondary { address: secondary.address, key })
        };
        self.secondary.iter().map(one).collect()
    }

    fn key(&self, path: Option<&Path>) -> Result<Option<TsigKey>, Failure> {
        let Some(path) = path else { return Ok(None) };
        let path = self.at(path);
        let text = fs::read_to_string(&path).map_err(|error| Failure::file(&path, &error))?;
        let key = read_tsig_key(&text);
        key.map(Some).map_err(|error| {
            Failure::failed(format!("{}: {error}", path.display()))
                .hint("for instance: secondary.example. hmac-sha256 BASE64")
        })
    }
}
