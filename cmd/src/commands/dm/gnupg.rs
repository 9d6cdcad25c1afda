//! Keys that GnuPG has: in its agent, or on a card.

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::thread;

use bftkv_dm::keys::KeyHolder;
use zeroize::Zeroizing;

/// Opens messages with the program `gpg`, whose agent asks for a passphrase or a card's PIN.
/// `GNUPGHOME` and `GPG_TTY` mean what they always do.
pub(super) struct Gnupg;

/// The most of what gpg complains that is shown.
const MAX_COMPLAINT: u64 = 4 * 1024;

impl KeyHolder for Gnupg {
    fn decrypt(&self, sealed: &[u8], limit: usize) -> Result<Zeroizing<Vec<u8>>, String> {
        // Whoever sealed the share need not be known to gpg, nor believed.
        let mut gpg = Command::new("gpg")
            .args(["--batch", "--quiet", "--skip-verify", "--decrypt"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("gpg cannot be started: {error}"))?;
        let (plain, complaint) = talk(&mut gpg, sealed, limit);
        let status = gpg.wait().map_err(|error| format!("gpg: {error}"))?;
        if !status.success() {
            return Err(complaint.trim_end().to_owned());
        }
        let plain = plain.map_err(|error| format!("gpg: {error}"))?;
        if plain.len() > limit {
            return Err("what gpg decrypted is no share".to_owned());
        }
        Ok(plain)
    }
}

/// Gives gpg the message, and takes what it decrypts and what it complains, side by side, so that
/// no pipe is full while another is waited for.
fn talk(
    gpg: &mut Child,
    sealed: &[u8],
    limit: usize,
) -> (std::io::Result<Zeroizing<Vec<u8>>>, String) {
    let (input, output, complaints) = (gpg.stdin.take(), gpg.stdout.take(), gpg.stderr.take());
    thread::scope(|scope| {
        // When gpg does not want the message it says why, and ends.
        scope.spawn(move || input.and_then(|mut input| input.write_all(sealed).ok()));
        let complaint = scope.spawn(move || {
            let mut text = Vec::new();
            if let Some(mut complaints) = complaints {
                let _ = (&mut complaints).take(MAX_COMPLAINT).read_to_end(&mut text);
                let _ = std::io::copy(&mut complaints, &mut std::io::sink());
            }
            String::from_utf8_lossy(&text).into_owned()
        });
        // Room for all of it, so that growing leaves no copy behind; a byte more shows too much.
        let most = limit.saturating_add(1);
        let mut plain = Zeroizing::new(Vec::with_capacity(most));
        let read = output.map_or(Ok(0), |output| {
            output.take(u64::try_from(most).unwrap_or(u64::MAX)).read_to_end(&mut plain)
        });
        (read.map(|_| plain), complaint.join().unwrap_or_default())
    })
}
