//! What each operation of a measurement is about.

use clap::Args;

/// How many variables, how large, and whether they are new.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Shape {
    /// Variables in each put and get: with more than one, clients put and get many at once, and
    /// the figures are those of one variable.
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(super) batch: u16,

    /// The size of values.
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=1_048_576))]
    pub(super) value_bytes: u32,

    /// Let each client put so many variables over and over, instead of a new one each time.
    #[arg(long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) variables: Option<u32>,
}

impl Shape {
    /// The same for another process.
    pub(super) fn arguments(&self) -> Vec<String> {
        let variables = self.variables.map(|n| ("--variables", n));
        [("--batch", u32::from(self.batch)), ("--value-bytes", self.value_bytes)]
            .into_iter()
            .chain(variables)
            .flat_map(|(name, value)| [name.to_owned(), value.to_string()])
            .collect()
    }
}
