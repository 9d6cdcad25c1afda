//! Where the DMs' values stand.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bftkv::{CertifiedEntry, Client, GetOptions, PutOptions, Value, Variable};

/// What a [`Board`] does, as it is going on.
pub type Boarding<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where the DMs write and read: the store. A trait, so that a test can stand in front of it and
/// be a DM that lies or dies in the middle.
pub trait Board: Send + Sync {
    /// Writes a value once, under our name. Tries for so long.
    ///
    /// # Errors
    /// Why it is not certified, perhaps not yet. The same can be tried again.
    fn write<'a>(
        &'a self,
        variable: &'a Variable,
        value: Value,
        patience: Duration,
    ) -> Boarding<'a, Result<(), String>>;

    /// What is certified there; `None` if there is nothing, or it cannot be had now.
    fn read<'a>(&'a self, variable: &'a Variable) -> Boarding<'a, Option<CertifiedEntry>>;
}

/// How long to look for a value.
const PATIENCE: Duration = Duration::from_secs(20);

impl Board for Client {
    fn write<'a>(
        &'a self,
        variable: &'a Variable,
        value: Value,
        patience: Duration,
    ) -> Boarding<'a, Result<(), String>> {
        let options = PutOptions { once: true, deadline: Some(patience) };
        Box::pin(async move {
            self.put(variable, value, options).await.map(drop).map_err(|error| error.to_string())
        })
    }

    fn read<'a>(&'a self, variable: &'a Variable) -> Boarding<'a, Option<CertifiedEntry>> {
        let options = GetOptions { deadline: Some(PATIENCE), ..GetOptions::default() };
        Box::pin(async move { self.get(variable, options).await.ok()?.entry })
    }
}

/// How long one try to write may take, and the pauses between tries. Both double: on a machine that
/// has too much to do, tries that are too short never end well.
#[derive(Clone, Copy)]
pub(super) struct Waits {
    pub(super) patience: Duration,
    pub(super) longest_patience: Duration,
    pub(super) pause: Duration,
    pub(super) longest_pause: Duration,
}

/// Writes until it is certified or `is_over`, however long the others are away; every failed try is
/// told. Whether it is certified.
pub(super) async fn persist(
    board: &dyn Board,
    (variable, value): (&Variable, &Value),
    waits: Waits,
    is_over: impl Fn() -> bool,
    failed: impl Fn(String),
) -> bool {
    let (mut patience, mut pause) = (waits.patience, waits.pause);
    loop {
        match board.write(variable, value.clone(), patience).await {
            Ok(()) => return true,
            Err(error) => failed(error),
        }
        if is_over() {
            return false;
        }
        // Some refusals come at once.
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(waits.longest_pause);
        patience = (patience * 2).min(waits.longest_patience);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// A store that has too few nodes for so many tries.
    struct Away(AtomicU32);

    impl Board for Away {
        fn write<'a>(
            &'a self,
            _: &'a Variable,
            _: Value,
            _: Duration,
        ) -> Boarding<'a, Result<(), String>> {
            Box::pin(async move {
                let is_back = self.0.fetch_sub(1, Ordering::Relaxed) == 1;
                if is_back { Ok(()) } else { Err("too few nodes".to_owned()) }
            })
        }

        fn read<'a>(&'a self, _: &'a Variable) -> Boarding<'a, Option<CertifiedEntry>> {
            Box::pin(async { None })
        }
    }

    #[tokio::test]
    async fn what_could_not_be_written_a_thousand_times_is_written_when_the_others_are_back() {
        let (variable, value) = (Variable::new("x").unwrap(), Value::new("y").unwrap());
        let (away, failures) = (Away(AtomicU32::new(1_000)), AtomicU32::new(0));
        let none = Duration::ZERO;
        let waits =
            Waits { patience: none, longest_patience: none, pause: none, longest_pause: none };
        let failed = |_| {
            failures.fetch_add(1, Ordering::Relaxed);
        };
        let what = (&variable, &value);
        assert!(persist(&away, what, waits, || false, failed).await);
        assert_eq!(failures.load(Ordering::Relaxed), 999);
        let is_over = || failures.load(Ordering::Relaxed) > 1_001;
        away.0.store(100, Ordering::Relaxed);
        assert!(!persist(&away, what, waits, is_over, failed).await, "its serial is over");
    }
}
