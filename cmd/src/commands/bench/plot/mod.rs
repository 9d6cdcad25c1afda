//! `bftkv bench plot`.

mod draw;
mod figures;
mod picture;

use std::fmt;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::series::Series;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;

/// Draw the figures of a series as SVG files.
///
/// What a put costs over the number of nodes, beside lines that grow as n and as q do, and the same for each
/// node; what puts and gets cost over the size of values; how many puts, gets and operations of
/// a mix are done in a second. A picture for which nothing was measured is left out.
///
/// Examples:
///
///   bftkv bench series figures.json
///   bftkv bench plot figures.json --out docs/benchmarks
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct PlotArgs {
    /// The file that `bftkv bench series` made.
    #[arg(value_name = "FILE.json")]
    file: PathBuf,

    /// The folder for the pictures; it is made. Pictures of the same names are replaced.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// What was drawn.
#[derive(Debug, Serialize)]
struct Drawn {
    files: Vec<PathBuf>,
}

impl fmt::Display for Drawn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.files.iter().try_for_each(|file| writeln!(f, "{}", file.display()))
    }
}

pub(super) fn run(args: &PlotArgs, context: &Context) -> Result<Exit, Failure> {
    let series = Series::read(&args.file)?;
    let pictures = figures::pictures(&series);
    if pictures.is_empty() {
        let message = format!("{}: nothing was measured", args.file.display());
        return Err(Failure::usage(message)
            .hint("let `bftkv bench series` run until it has measured a cluster"));
    }
    std::fs::create_dir_all(&args.out).map_err(|error| Failure::file(&args.out, &error))?;
    let mut files = Vec::new();
    for picture in &pictures {
        let file = args.out.join(format!("{}.svg", picture.name));
        let svg = draw::svg(picture).map_err(Failure::failed)?;
        std::fs::write(&file, svg).map_err(|error| Failure::file(&file, &error))?;
        files.push(file);
    }
    context.output().show(&Drawn { files })?;
    Ok(Exit::Done)
}
