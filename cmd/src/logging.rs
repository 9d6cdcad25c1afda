//! Logs go to stderr: what the settings say, or more with -v.

use bftkv::{Config, Home, LogConfig};
use tracing_subscriber::EnvFilter;

use crate::args::Global;
use crate::context::Context;
use crate::failure::Failure;

/// Starts logging.
///
/// # Errors
/// The level in the settings is none.
pub(crate) fn start(global: &Global, context: &Context) -> Result<(), Failure> {
    // A home that cannot be read is reported by the command that needs it.
    let settings = Config::read(&context.home().join(Home::CONFIG)).map(|config| config.log);
    let settings = settings.unwrap_or_default();
    let level = level(global.verbose, &settings);
    let filter = EnvFilter::try_new(level)
        .map_err(|error| Failure::failed(format!("log.level {level:?}: {error}")))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // It is set once, at the start of the program, so it cannot have been set before.
    if global.log_json || settings.json {
        builder.json().init();
    } else {
        builder.with_ansi(false).init();
    }
    Ok(())
}

fn level(verbose: u8, settings: &LogConfig) -> &str {
    match verbose {
        0 => &settings.level,
        1 => "warn,bftkv=info,bftkv_transport=info,bftkv_storage=info,bftkv_wot=info",
        2 => "info,bftkv=debug,bftkv_transport=debug,bftkv_storage=debug,bftkv_wot=debug",
        _ => "trace",
    }
}
