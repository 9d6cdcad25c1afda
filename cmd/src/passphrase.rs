//! Passphrases: from a prompt or a file descriptor, never from arguments or the environment.

use std::cell::RefCell;
use std::fs::File;
use std::io::Read as _;

use bftkv::NodeId;
use bftkv::wot::Passphrase;
use zeroize::Zeroizing;

use crate::failure::Failure;

/// The longest passphrase that is read, in bytes.
const MAX_BYTES: u64 = 1024;

/// Where passphrases come from.
#[derive(Debug)]
pub(crate) struct PassphraseSource {
    from_fd: RefCell<Option<Zeroizing<Vec<u8>>>>,
    is_from_fd: bool,
}

impl PassphraseSource {
    /// Reads from the file descriptor, if one is given; else asks when it is needed.
    ///
    /// # Errors
    /// The file descriptor cannot be read.
    pub(crate) fn new(fd: Option<u32>) -> Result<Self, Failure> {
        let from_fd = fd.map(read_fd).transpose()?;
        Ok(Self { is_from_fd: fd.is_some(), from_fd: RefCell::new(from_fd) })
    }

    /// The passphrase of an existing key.
    pub(crate) fn ask(&self, key: &NodeId) -> Option<Passphrase> {
        if self.is_from_fd {
            return self.from_fd.borrow().clone().map(Passphrase::new);
        }
        prompt(&format!("Passphrase for {key}: ")).ok()
    }

    /// The passphrase for a new key, typed twice.
    ///
    /// # Errors
    /// There is no terminal, or the two differ.
    pub(crate) fn choose(&self) -> Result<Option<Passphrase>, Failure> {
        if self.is_from_fd {
            return Ok(self.from_fd.borrow().clone().map(Passphrase::new));
        }
        Ok(Some(Passphrase::new(choose("New passphrase")?)))
    }

    /// The passphrase of something else than a certificate, as bytes.
    pub(crate) fn bytes(&self, text: &str) -> Option<Zeroizing<Vec<u8>>> {
        if self.is_from_fd {
            return self.from_fd.borrow().clone();
        }
        let typed = rpassword::prompt_password(text).ok().map(Zeroizing::new)?;
        Some(Zeroizing::new(typed.as_bytes().to_vec()))
    }

    /// A new passphrase for something else than a certificate, typed twice.
    ///
    /// # Errors
    /// There is no terminal, or the two differ.
    pub(crate) fn choose_bytes(&self, what: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
        match self.from_fd.borrow().clone() {
            Some(bytes) => Ok(bytes),
            None => choose(&format!("New passphrase for {what}")),
        }
    }

    /// Whether a passphrase was handed over.
    pub(crate) fn is_given(&self) -> bool {
        self.is_from_fd
    }
}

fn choose(what: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let no_terminal = |error| {
        Failure::failed(format!("cannot ask for a passphrase: {error}"))
            .hint("hand it over with --passphrase-fd")
    };
    let ask = |text: &str| rpassword::prompt_password(text).map(Zeroizing::new);
    let first = ask(&format!("{what}: ")).map_err(no_terminal)?;
    let again = ask("Once more: ").map_err(no_terminal)?;
    if *first != *again {
        return Err(Failure::failed("the two passphrases differ"));
    }
    Ok(Zeroizing::new(first.as_bytes().to_vec()))
}

fn prompt(text: &str) -> std::io::Result<Passphrase> {
    let typed = Zeroizing::new(rpassword::prompt_password(text)?);
    Ok(Passphrase::new(typed.as_bytes().to_vec()))
}

/// The first line of what is readable there.
fn read_fd(fd: u32) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let failed = |error| Failure::failed(format!("--passphrase-fd {fd}: {error}"));
    let file = File::open(format!("/dev/fd/{fd}")).map_err(failed)?;
    // Room for all of it, so that no copy is left behind by growing.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::from(u16::MAX)));
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(Zeroizing::new(line.to_vec()))
}
