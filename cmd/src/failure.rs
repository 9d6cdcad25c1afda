//! What went wrong, for the person at the keyboard: what happened, what to do next, who lied.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use bftkv::protocol::{RegistrationRefusal, StoreError};
use bftkv::roaming::client::Problem as Login;
use bftkv::storage::OpenError;
use bftkv::{Error, Fault, HomeError, NodeId, Problem};
use serde::Serialize;
use serde_json::json;

use crate::exit::Exit;
use crate::output::escape;

/// A node that was caught lying.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Liar {
    /// Its certificate.
    pub(crate) fingerprint: String,
    /// Its address, if its certificate is known.
    pub(crate) address: Option<String>,
    /// What it did.
    pub(crate) fault: String,
}

impl fmt::Display for Liar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address.as_deref().unwrap_or("(address not known)");
        write!(f, "liar: {} {}: {}", self.fingerprint, escape(address), self.fault)
    }
}

/// Puts addresses to the fingerprints of those who lied.
pub(crate) fn liars(
    culprits: &BTreeMap<NodeId, Fault>,
    names: &BTreeMap<NodeId, String>,
) -> Vec<Liar> {
    let liar = |(id, fault): (&NodeId, &Fault)| Liar {
        fingerprint: id.to_string(),
        address: names.get(id).cloned(),
        fault: fault.to_string(),
    };
    culprits.iter().map(liar).collect()
}

/// A command that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
    hints: Vec<String>,
    liars: Vec<Liar>,
}

impl Failure {
    /// A failure with this exit code.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hints: Vec::new(), liars: Vec::new() }
    }

    /// A failure that no other code fits.
    pub(crate) fn failed(message: impl fmt::Display) -> Self {
        Self::new(Exit::Failed, message.to_string())
    }

    /// Arguments that make no sense.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message.to_string())
    }

    /// A file that cannot be read or written.
    pub(crate) fn file(path: &Path, error: &std::io::Error) -> Self {
        Self::failed(format!("{}: {error}", path.display()))
    }

    /// Adds what to do next.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Names whoever lied on the way.
    pub(crate) fn with_liars(mut self, liars: Vec<Liar>) -> Self {
        self.liars = liars;
        self
    }

    /// An operation that failed, with the names of nodes.
    pub(crate) fn operation(error: Error, names: &BTreeMap<NodeId, String>) -> Self {
        let found = liars(&error.culprits(), names);
        let mut failure = Self::from(error).with_liars(found);
        // People know nodes by their addresses.
        for (id, address) in names {
            failure.message = failure.message.replace(&id.to_string(), address);
        }
        failure
    }

    /// What happened, without hints.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// Writes it to stderr: lines for people, or one JSON object.
    pub(crate) fn print(&self, json: bool) {
        if json {
            let object = json!({
                "error": self.message,
                "kind": self.exit.word(),
                "exit": self.exit.number(),
                "hints": self.hints,
                "liars": self.liars,
            });
            eprintln!("{object}");
        } else {
            eprint!("{self}");
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", escape(&self.message))?;
        self.hints.iter().try_for_each(|hint| writeln!(f, "hint: {}", escape(hint)))?;
        self.liars.iter().try_for_each(|liar| writeln!(f, "{liar}"))
    }
}

/// What to do when no attempts are left.
const RESET: &str = "wait, or have the owner's key give attempts back, which it can once a day: \
                     `bftkv password reset`";

/// What to do about a password that did not open.
fn from_password(problem: &Login) -> Failure {
    let message = problem.to_string();
    match problem {
        Login::WrongPassword { left: 0 } => Failure::new(Exit::Refused, message).hint(RESET),
        Login::WrongPassword { .. } => Failure::new(Exit::Refused, message),
        Login::NoAttempts { .. } => Failure::new(Exit::Refused, message).hint(RESET),
        Login::TooFew { .. } | Login::Outdated => Failure::new(Exit::TryAgain, message)
            .hint("try again when more nodes can be reached: `bftkv graph` lists them"),
        Login::Registration { refusal, by } => from_registration(refusal, by, message),
        _ => Failure::failed(message),
    }
}

/// What to do about a user ID that the nodes do not give.
fn from_registration(
    refusal: &RegistrationRefusal,
    by: &BTreeSet<NodeId>,
    message: String,
) -> Failure {
    let exit = if refusal.may_pass() { Exit::TryAgain } else { Exit::Refused };
    let by: Vec<String> = by.iter().map(ToString::to_string).collect();
    let message = if by.is_empty() { message } else { format!("{message} ({})", by.join(", ")) };
    let hint = match refusal {
        RegistrationRefusal::Waiting => {
            "have the operators compare your fingerprint and approve (`bftkv registration approve`), \
             then run the same command again"
        }
        RegistrationRefusal::Closed => {
            "have the operators certify your certificate (`bftkv cert certify`)"
        }
        RegistrationRefusal::Taken => {
            "if the user ID is yours and its key lost: `bftkv recover` with its password"
        }
        RegistrationRefusal::NoRecord => "`bftkv register` makes one",
        _ => return Failure::new(exit, message),
    };
    Failure::new(exit, message).hint(hint)
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match &error {
            Error::Operation(operation) => from_problem(&operation.problem),
            Error::Password(failure) => from_password(&failure.problem),
            Error::Home(home) => from_home(home),
            Error::Roaming(bftkv::roaming::Error::NoChoice { .. }) => {
                Self::usage(&error).hint("leave --threshold out")
            }
            Error::Quorum(_) | Error::NotConfigured => Self::failed(&error)
                .hint("`bftkv graph` shows the certificates and which certifications lack"),
            Error::NotMember(_) => Self::failed(&error).hint(
                "have the members certify this node (`bftkv cert certify`), and certify them",
            ),
            Error::Listen(_) => Self::failed(&error)
                .hint("stop what listens there, or choose an address with --listen"),
            Error::Store(StoreError::Corrupt { .. })
            | Error::OpenStore(OpenError::Store(StoreError::Corrupt { .. })) => Self::failed(
                &error,
            )
            .hint("`bftkv serve --salvage` keeps what is sound and reads the rest from the others"),
            _ => Self::failed(&error),
        }
    }
}

impl From<HomeError> for Failure {
    fn from(error: HomeError) -> Self {
        from_home(&error)
    }
}

impl From<bftkv::ConfigError> for Failure {
    fn from(error: bftkv::ConfigError) -> Self {
        Self::failed(error)
    }
}

fn from_home(error: &HomeError) -> Failure {
    let failure = Failure::failed(error);
    match error {
        HomeError::NotAHome(_) => {
            failure.hint("for a look around without any set-up: `bftkv demo`")
        }
        HomeError::Key(bftkv::wot::KeyError::Passphrase(_)) => {
            failure.hint("type it at the prompt, or hand it over with --passphrase-fd")
        }
        _ => failure,
    }
}

fn from_problem(problem: &Problem) -> Failure {
    let failure = Failure::new(exit_of(problem), problem.to_string());
    match hint_for(problem) {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// Which exit code a problem of the protocol gets.
fn exit_of(problem: &Problem) -> Exit {
    match problem {
        Problem::NotOwner(_)
        | Problem::Sealed(_)
        | Problem::OutstandingFinal(_)
        | Problem::NoQuorumCertificate { .. }
        | Problem::Refused { .. } => Exit::Refused,
        Problem::Contention
        | Problem::Blocked { .. }
        | Problem::Unreachable { .. }
        | Problem::OtherConfiguration { .. } => Exit::TryAgain,
        Problem::Unknown { .. } => Exit::Unknown,
        _ => Exit::Failed,
    }
}

/// What to do next.
fn hint_for(problem: &Problem) -> Option<&'static str> {
    Some(match problem {
        Problem::NotOwner(_) => "choose another variable: whoever wrote one first owns it",
        Problem::Sealed(_) => "nobody can change it any more; choose another variable",
        Problem::NoQuorumCertificate { .. } => {
            "have more than b members certify your certificate (`bftkv cert export -a`, and on \
             their nodes `bftkv cert certify`), import what comes back, then `bftkv join`"
        }
        Problem::Blocked { .. } => {
            "names that begin with your full fingerprint and `/` cannot be blocked by others"
        }
        Problem::Refused { .. } => "`bftkv graph` here and at a node shows whether they agree",
        Problem::Unreachable { .. } => {
            "see that the nodes run (`bftkv graph` lists them) and try again"
        }
        Problem::Unknown { .. } => "`bftkv get` the variable to see what it holds now",
        Problem::OtherConfiguration { .. } => "`bftkv join`, then try again",
        Problem::Own(_) => "see that the home is on a disk that is writable and not full",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_says_what_it_is() {
        let liar = Liar {
            fingerprint: "ab".repeat(20),
            address: Some("http://h:1".to_owned()),
            fault: "lied".to_owned(),
        };
        let failure = Failure::usage("no\x1b[2J").hint("do this").with_liars(vec![liar]);
        let text = failure.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "error: no\\x1b[2J", "nothing steers the terminal");
        assert_eq!(lines[1], "hint: do this");
        assert!(lines[2].starts_with("liar: abab") && lines[2].ends_with("http://h:1: lied"));
    }

    #[test]
    fn problems_have_the_documented_codes() {
        let unreachable = Problem::Unreachable {
            phase: bftkv::protocol::client::Phase::Read,
            have: 1,
            need: 3,
            missing: BTreeSet::new(),
        };
        assert_eq!(exit_of(&unreachable), Exit::TryAgain);
        let unknown = Problem::Unknown {
            timestamp: bftkv::Timestamp::new(1),
            have: 1,
            need: 3,
            missing: BTreeSet::new(),
        };
        assert_eq!(exit_of(&unknown), Exit::Unknown);
        let refused = Problem::Refused { code: 1, reason: String::new() };
        assert_eq!(exit_of(&refused), Exit::Refused);
        assert_eq!(exit_of(&Problem::Own(String::new())), Exit::Failed);
    }
}
