//! What every command needs: the home, the output, passphrases, a runtime.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bftkv::Home;

use crate::args::Global;
use crate::failure::Failure;
use crate::output::Output;
use crate::passphrase::PassphraseSource;
use crate::public_home::PublicHome;

/// How long the end of the program waits for threads that still write.
const LAST_WRITES: Duration = Duration::from_secs(1);

/// What every command needs.
#[derive(Debug)]
pub(crate) struct Context {
    home: PathBuf,
    output: Output,
    passphrase: PassphraseSource,
}

impl Context {
    /// From the options of every command.
    ///
    /// # Errors
    /// No home is named and there is no home folder, or the passphrase cannot be read.
    pub(crate) fn new(global: &Global) -> Result<Self, Failure> {
        let default = || std::env::home_dir().map(|folder| folder.join(".bftkv"));
        let home = global.home.clone().or_else(default).ok_or_else(|| {
            Failure::usage("no home: neither --home nor BFTKV_HOME nor HOME is set")
        })?;
        let passphrase = PassphraseSource::new(global.passphrase_fd)?;
        Ok(Self { home, output: Output::new(global.json), passphrase })
    }

    /// The home's folder; it need not exist.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// Where results go.
    pub(crate) fn output(&self) -> Output {
        self.output
    }

    /// Where passphrases come from.
    pub(crate) fn passphrase(&self) -> &PassphraseSource {
        &self.passphrase
    }

    /// Opens the home with its secret key.
    ///
    /// # Errors
    /// It is no home, or the key needs a passphrase that is not given.
    pub(crate) fn open_home(&self) -> Result<Home, Failure> {
        Ok(Home::open_with(&self.home, &|key| self.passphrase.ask(key))?)
    }

    /// Opens the home without its secrets: no passphrase is needed.
    ///
    /// # Errors
    /// It is no home.
    pub(crate) fn look_at_home(&self) -> Result<PublicHome, Failure> {
        PublicHome::open(&self.home)
    }

    /// Runs something asynchronous to its end.
    ///
    /// # Errors
    /// Those of `work`, or the system gives no threads.
    pub(crate) fn block_on<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.map_err(Failure::failed)?;
        let result = runtime.block_on(work);
        // A thread that reads stdin cannot be stopped; what writes to disk is done long before.
        runtime.shutdown_timeout(LAST_WRITES);
        result
    }
}
