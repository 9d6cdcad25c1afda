//! Sealing without cryptography: who may open a letter and who signed it stands on it.

use std::sync::Mutex;

use bftkv_dm::agree::{Dm, NotSigned, Sealing};
use bftkv_threshold::SecretBytes;

use super::world::Fault;

/// Of one DM, which may lie.
#[derive(Debug)]
pub struct Letters {
    me: Dm,
    fault: Mutex<Fault>,
    /// The last that it opened.
    opened: Mutex<Vec<u8>>,
}

impl Letters {
    pub fn of(me: Dm) -> Self {
        Self { me, fault: Mutex::new(Fault::None), opened: Mutex::new(Vec::new()) }
    }

    pub fn lie(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    /// About the dealing that it opened last, which is right.
    pub fn complaint(&self) -> Option<Vec<u8>> {
        let signed = self.opened.lock().unwrap().clone();
        let about = *signed.first()?;
        let length = u32::try_from(signed.len()).unwrap().to_be_bytes();
        Some([&b"bftkv dm presign complaint 1"[..], &[about], &length, &signed].concat())
    }
}

/// The round stands in the head of what is dealt.
fn round_of(text: &[u8]) -> u8 {
    let key_and_count = 32 + 2;
    text[b"bftkv dm presign dealing 1".len() + key_and_count + 4]
}

impl Sealing for Letters {
    fn seal(&self, to: Dm, text: &[u8]) -> Result<Vec<u8>, String> {
        let mut letter = [&[to.number(), self.me.number()], text].concat();
        let is_first = to.number() == if self.me.number() == 1 { 2 } else { 1 };
        match *self.fault.lock().unwrap() {
            Fault::WrongDealing(round) if is_first && round == round_of(text) => {
                *letter.last_mut().unwrap() ^= 1;
            }
            Fault::Garbage if is_first => letter = vec![0],
            _ => {}
        }
        Ok(letter)
    }

    fn open(&self, sealed: &[u8]) -> Result<SecretBytes, String> {
        match sealed.split_first() {
            Some((to, signed)) if *to == self.me.number() => {
                *self.opened.lock().unwrap() = signed.to_vec();
                Ok(SecretBytes::new(signed.to_vec()))
            }
            _ => Err("not for us".into()),
        }
    }

    fn check(&self, signed: &[u8]) -> Result<(Dm, SecretBytes), NotSigned> {
        let forged = || NotSigned::Forged("nobody signed it".into());
        let (by, text) = signed.split_first().ok_or_else(forged)?;
        Ok((Dm::new(*by).ok_or_else(forged)?, SecretBytes::new(text.to_vec())))
    }
}
