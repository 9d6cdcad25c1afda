//! A proof of malice, for eyes and programs.

use std::fmt;

use bftkv::Certificates;
use bftkv::protocol::{EquivocationProof, Verify as _};
use serde::Serialize;

use crate::output::escape;
use crate::variable::ShownVariable;

/// What a proof shows.
#[derive(Debug, Serialize)]
pub(crate) struct MaliceView {
    /// The fingerprint of the certificate.
    pub(crate) guilty: String,
    /// Its address, if the certificate is known.
    pub(crate) address: Option<String>,
    /// The key of the certificate that made both signatures.
    key: Option<String>,
    /// What it did, in one word: `share` or `write`.
    offence: &'static str,
    #[serde(flatten)]
    variable: ShownVariable,
    timestamp: u64,
    /// The hashes of the two signed entries.
    entries: [String; 2],
}

impl MaliceView {
    /// What this proof shows.
    pub(crate) fn of(proof: &EquivocationProof, certificates: &Certificates) -> Self {
        let offence = proof.offence();
        let [one, _] = proof.signatures();
        let key = certificates.keyring().made_by(proof.guilty(), &one.packet);
        Self {
            guilty: proof.guilty().to_string(),
            address: certificates.names().remove(proof.guilty()),
            key: key.map(|key| key.to_string()),
            offence: if offence.as_writer { "write" } else { "share" },
            variable: ShownVariable::from(offence.variable),
            timestamp: offence.timestamp.get(),
            entries: offence.entries.map(|hash| hash.to_string()),
        }
    }
}

impl fmt::Display for MaliceView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address.as_deref().unwrap_or("(address not known)");
        let key = self.key.as_deref().unwrap_or("(not named)");
        let deed = match self.offence {
            "write" => "wrote two different values, both certified, at one place",
            _ => "gave its signature as a member to two different values at one place",
        };
        writeln!(f, "guilty:    {} {}", self.guilty, escape(address))?;
        writeln!(f, "key:       {key}")?;
        writeln!(f, "deed:      {deed}")?;
        writeln!(f, "place:     {} at timestamp {}", self.variable.variable, self.timestamp)?;
        let [first, second] = &self.entries;
        writeln!(f, "signed:    {first}")?;
        writeln!(f, "and:       {second}")
    }
}
