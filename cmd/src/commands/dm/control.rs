//! How an operator talks to a running distribution master: a socket in its folder that only its
//! owner can open. One line asks, one line of JSON answers.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;

use crate::failure::Failure;

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Ask {
    /// How things stand.
    Status,
    /// Vote for nothing, for this reason.
    Hold(String),
    /// Go on, and let pass what is held.
    Release,
}

/// The most bytes of a question.
const MAX_ASK: u64 = 4096;
/// The most bytes of an answer.
const MAX_ANSWER: u64 = 4 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);

/// Opens the socket; one that an earlier process left is in the way of nobody, because the share's
/// file is locked by whoever runs.
pub(super) fn open(path: &Path) -> Result<UnixListener, Failure> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Failure::file(path, &error));
        }
        _ => {}
    }
    UnixListener::bind(path).map_err(|error| {
        Failure::file(path, &error).hint("the path of `state` may be too long for a socket")
    })
}

/// Answers until it is dropped.
pub(super) async fn serve(
    listener: UnixListener,
    answer: impl Fn(Ask) -> serde_json::Value + Send + Sync + 'static,
) {
    let answer = Arc::new(answer);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let answer = Arc::clone(&answer);
        tokio::spawn(async move {
            let (from, mut to) = stream.into_split();
            let mut line = String::new();
            let mut from = tokio::io::BufReader::new(from.take(MAX_ASK));
            let asked = tokio::time::timeout(PATIENCE, from.read_line(&mut line)).await;
            if !matches!(asked, Ok(Ok(_))) {
                return;
            }
            let told = match serde_json::from_str(&line) {
                Ok(ask) => answer(ask),
                Err(error) => serde_json::json!({ "error": error.to_string() }),
            };
            // Whoever went away wanted no answer.
            let _ = to.write_all(format!("{told}\n").as_bytes()).await;
        });
    }
}

/// Asks the DM whose socket this is.
pub(super) fn ask<T: DeserializeOwned>(path: &Path, ask: &Ask) -> Result<T, Failure> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            Failure::failed(format!("no distribution master runs at {}", path.display()))
                .hint("start it: bftkv dm run CONFIG")
        }
        _ => Failure::file(path, &error),
    };
    let mut stream = UnixStream::connect(path).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    let question = serde_json::to_string(ask).map_err(Failure::failed)?;
    stream.write_all(format!("{question}\n").as_bytes()).map_err(failed)?;
    let mut line = String::new();
    BufReader::new(stream.take(MAX_ANSWER)).read_line(&mut line).map_err(failed)?;
    serde_json::from_str(&line)
        .map_err(|error| Failure::failed(format!("{}: {error}: {line}", path.display())))
}
