//! The file of a series.

use std::fmt;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::super::report::ClusterReport;
use crate::failure::Failure;
use crate::limited_read;
use crate::output::count;
use crate::utc;

/// The largest file of a series that is read.
const MAX_FILE_BYTES: usize = 16 * 1024 * 1024;

/// What was measured, one cluster after the other, and on what machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in super::super) struct Series {
    /// When it began.
    pub(in super::super) began: String,
    /// Processors that this program may use.
    pub(in super::super) processors: usize,
    /// The largest load of the last minute that was seen, what is measured included: figures of a
    /// busy machine are worth less. `None` where it is not known.
    pub(in super::super) largest_load: Option<f64>,
    /// How long each phase was.
    pub(in super::super) seconds: f64,
    /// One for each cluster.
    pub(in super::super) reports: Vec<ClusterReport>,
    /// What could not be measured, and why.
    pub(in super::super) failed: Vec<String>,
}

impl Series {
    /// Nothing is measured yet.
    pub(super) fn begin(seconds: Duration) -> Self {
        let mut series = Self {
            began: utc::show(utc::seconds(SystemTime::now())),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            largest_load: None,
            seconds: seconds.as_secs_f64(),
            reports: Vec::new(),
            failed: Vec::new(),
        };
        series.note_load();
        series
    }

    /// Looks at the machine's load.
    pub(super) fn note_load(&mut self) {
        let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load: Option<f64> = text.split(' ').next().and_then(|load| load.parse().ok());
        if let Some(load) = load {
            self.largest_load = Some(self.largest_load.map_or(load, |largest| largest.max(load)));
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// It is not there, too large, or not what [`Series::write`] wrote.
    pub(in super::super) fn read(file: &Path) -> Result<Self, Failure> {
        let text = limited_read::read(file, MAX_FILE_BYTES)?;
        serde_json::from_slice(&text).map_err(|error| {
            Failure::usage(format!("{}: {error}", file.display()))
                .hint("it is not the file of a series: `bftkv bench series FILE.json` makes one")
        })
    }

    /// Writes the file, whole or not at all: who is stopped in between leaves the one before.
    ///
    /// # Errors
    /// The disk refuses.
    pub(super) fn write(&self, file: &Path) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(self).map_err(Failure::failed)?;
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let failed = |error: &std::io::Error| Failure::file(file, error);
        let mut builder = tempfile::Builder::new();
        builder.permissions(std::fs::Permissions::from_mode(0o644));
        let mut new = builder.tempfile_in(folder).map_err(|error| failed(&error))?;
        new.write_all(text.as_bytes())
            .and_then(|()| new.write_all(b"\n"))
            .map_err(|error| failed(&error))?;
        new.persist(file).map_err(|error| failed(&error.error))?;
        Ok(())
    }

    /// What it came to.
    pub(super) fn summary(&self, file: &Path) -> Summary {
        let (measured, failed) = (self.reports.len(), self.failed.clone());
        Summary { file: file.to_owned(), measured, failed }
    }
}

/// What a series came to.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    file: PathBuf,
    measured: usize,
    failed: Vec<String>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, measured, failed } = self;
        let file = file.display();
        for one in failed {
            writeln!(f, "not measured: {one}")?;
        }
        writeln!(f, "{file}: {}", count(*measured, "cluster"))?;
        writeln!(f, "plot it:  bftkv bench plot {file} --out .")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_goes_round_through_its_file() {
        let sample = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/series.json"));
        let series = Series::read(sample).unwrap();
        assert!(series.reports.len() > 2 && series.largest_load.is_some());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("again.json");
        std::fs::write(&file, "what was there before").unwrap();
        series.write(&file).unwrap();
        assert_eq!(Series::read(&file).unwrap(), series);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left over");
    }

    #[test]
    fn another_file_is_refused_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("figures.json");
        std::fs::write(&file, r#"{"put": 1, "get": 2}"#).unwrap();
        let refused = Series::read(&file).unwrap_err();
        assert_eq!(refused.exit(), crate::exit::Exit::Usage);
        assert!(refused.message().contains("figures.json"));
    }
}
