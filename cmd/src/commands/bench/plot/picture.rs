//! A picture as plain data: what is drawn, not how.

/// Charts side by side.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Picture {
    /// The name of its file, without an ending.
    pub(super) name: String,
    /// What stands above.
    pub(super) title: String,
    /// From left to right.
    pub(super) charts: Vec<Chart>,
}

/// Lines over one pair of axes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Chart {
    /// What stands above.
    pub(super) title: String,
    /// What is from left to right.
    pub(super) across: Axis,
    /// What goes up.
    pub(super) up: Axis,
    /// Lines with at least one point.
    pub(super) lines: Vec<Line>,
}

/// An axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Axis {
    /// What it is.
    pub(super) label: &'static str,
    /// Whether ten times as much is always as far.
    pub(super) is_logarithmic: bool,
}

/// A line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    /// Its name in the legend.
    pub(super) label: String,
    /// Through these, from left to right.
    pub(super) points: Vec<(f64, f64)>,
    /// Whether it was computed to compare with, and not measured.
    pub(super) is_guide: bool,
}

impl Chart {
    /// Without lines that have no points; `None` if none is left.
    pub(super) fn with_points(mut self) -> Option<Self> {
        self.lines.retain(|line| !line.points.is_empty());
        (!self.lines.is_empty()).then_some(self)
    }
}

impl Picture {
    /// A picture of the charts that have something to show; `None` if none has.
    pub(super) fn of(
        name: String,
        title: String,
        charts: impl IntoIterator<Item = Chart>,
    ) -> Option<Self> {
        let charts: Vec<Chart> = charts.into_iter().filter_map(Chart::with_points).collect();
        (!charts.is_empty()).then_some(Self { name, title, charts })
    }
}
