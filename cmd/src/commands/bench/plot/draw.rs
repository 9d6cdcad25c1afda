//! A picture as SVG text. Letters stay letters: whoever looks at it has the fonts.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::drawing::DrawingAreaErrorKind;
use plotters::prelude::{
    BLACK, Cartesian2d, ChartBuilder, ChartContext, Color as _, DashedLineSeries, DrawingArea,
    DrawingBackend, IntoDrawingArea as _, IntoLogRange as _, LineSeries, PathElement, RGBColor,
    Ranged, SVGBackend, SeriesLabelPosition, ShapeStyle, WHITE,
};

use super::picture::{Axis, Chart, Line, Picture};

/// The size of one chart, and how high the line above all of them is.
const CHART: (u32, u32) = (520, 400);
const TITLE_HEIGHT: u32 = 36;

const FONT: &str = "sans-serif";

/// Colours that can be told apart on white, also by most who see few (after Okabe and Ito).
const COLORS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(120, 100, 0),
];

/// How much of the height the legend takes for each line in it.
const LEGEND_LINE: f64 = 0.07;

type Drawn<DB> = Result<(), DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;

/// The picture.
///
/// # Errors
/// In words of the library, when something has no place on an axis.
pub(super) fn svg(picture: &Picture) -> Result<String, String> {
    let mut text = String::new();
    let charts = picture.charts.len();
    let width = CHART.0.saturating_mul(u32::try_from(charts).unwrap_or(1));
    let size = (width, CHART.1.saturating_add(TITLE_HEIGHT));
    {
        let whole = SVGBackend::with_string(&mut text, size).into_drawing_area();
        draw(&whole, picture).map_err(|error| error.to_string())?;
    }
    Ok(text)
}

fn draw<DB: DrawingBackend>(whole: &DrawingArea<DB, Shift>, picture: &Picture) -> Drawn<DB> {
    whole.fill(&WHITE)?;
    let below = whole.titled(&picture.title, (FONT, 20))?;
    let places = below.split_evenly((1, picture.charts.len()));
    for (place, chart) in places.iter().zip(&picture.charts) {
        draw_chart(place, chart)?;
    }
    whole.present()
}

fn draw_chart<DB: DrawingBackend>(place: &DrawingArea<DB, Shift>, chart: &Chart) -> Drawn<DB> {
    let (across, up) = (
        range(chart, &chart.across, |p| p.0, 0),
        range(chart, &chart.up, |p| p.1, chart.lines.len()),
    );
    match (chart.across.is_logarithmic, chart.up.is_logarithmic) {
        (false, false) => draw_lines(place, chart, across, up),
        (false, true) => draw_lines(place, chart, across, up.log_scale()),
        (true, false) => draw_lines(place, chart, across.log_scale(), up),
        (true, true) => draw_lines(place, chart, across.log_scale(), up.log_scale()),
    }
}

/// From the smallest to the largest, with a little air, and with room for a legend of so many lines above.
fn range(chart: &Chart, axis: &Axis, of: impl Fn(&(f64, f64)) -> f64, legend: usize) -> Range<f64> {
    let all = chart.lines.iter().flat_map(|line| &line.points).map(of);
    let (least, most) = all.fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(v), b.max(v)));
    let legend = (legend as f64 * LEGEND_LINE).min(0.6);
    if axis.is_logarithmic {
        // Nothing that costs nothing can be shown there.
        let least = least.max(1e-6) / 1.5;
        let most = most.max(least) * 1.5;
        return least..most * (most / least).powf(legend / (1.0 - legend));
    }
    let air = (most - least).max(most.abs() * 0.1).max(1e-6) * 0.05;
    if legend > 0.0 { 0.0..(most + air) / (1.0 - legend) } else { least - air..most + air }
}

fn draw_lines<DB, X, Y>(
    place: &DrawingArea<DB, Shift>,
    chart: &Chart,
    across: X,
    up: Y,
) -> Drawn<DB>
where
    DB: DrawingBackend,
    X: AsRangedCoord<Value = f64>,
    Y: AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64> + Ranged<ValueType = f64>,
    Y::CoordDescType: ValueFormatter<f64> + Ranged<ValueType = f64>,
{
    let on_x = if chart.across.is_logarithmic { short } else { whole };
    let mut builder = ChartBuilder::on(place);
    builder.caption(&chart.title, (FONT, 15)).margin(10);
    builder.x_label_area_size(40).y_label_area_size(60);
    let mut drawn = builder.build_cartesian_2d(across, up)?;
    let mut mesh = drawn.configure_mesh();
    mesh.x_desc(chart.across.label).y_desc(chart.up.label);
    mesh.x_label_formatter(&on_x).y_label_formatter(&short);
    mesh.label_style((FONT, 12)).axis_desc_style((FONT, 13)).x_labels(7).y_labels(7);
    mesh.light_line_style(WHITE).draw()?;
    for (number, line) in chart.lines.iter().enumerate() {
        draw_line(&mut drawn, number, line)?;
    }
    let mut legend = drawn.configure_series_labels();
    legend.position(SeriesLabelPosition::UpperLeft).label_font((FONT, 12));
    legend.background_style(WHITE.mix(0.85)).border_style(BLACK.mix(0.2)).draw()
}

fn draw_line<DB, X, Y>(
    drawn: &mut ChartContext<'_, DB, Cartesian2d<X, Y>>,
    number: usize,
    line: &Line,
) -> Drawn<DB>
where
    DB: DrawingBackend,
    X: Ranged<ValueType = f64>,
    Y: Ranged<ValueType = f64>,
{
    let own = COLORS.iter().cycle().nth(number).unwrap_or(&BLACK);
    let color = if line.is_guide { BLACK.mix(0.45) } else { own.mix(1.0) };
    let style = ShapeStyle { color, filled: !line.is_guide, stroke_width: 2 };
    let points = line.points.clone();
    let series = if line.is_guide {
        drawn.draw_series(DashedLineSeries::new(points, 4, 4, style))?
    } else {
        drawn.draw_series(LineSeries::new(points, style).point_size(3))?
    };
    let key = move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style);
    series.label(&line.label).legend(key);
    Ok(())
}

/// A number of things: there are no halves.
fn whole(number: &f64) -> String {
    if number.fract() == 0.0 { short(number) } else { String::new() }
}

/// A number on an axis: without digits that say nothing.
fn short(number: &f64) -> String {
    let number = *number;
    match number.abs() {
        size if size >= 1e6 => format!("{:.0}M", number / 1e6),
        size if size >= 1e4 => format!("{:.0}k", number / 1e3),
        size if size >= 10.0 => format!("{number:.0}"),
        size if size >= 1.0 => format!("{}", (number * 10.0).round() / 10.0),
        0.0 => "0".to_owned(),
        _ => format!("{}", (number * 1000.0).round() / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::super::series::Series;
    use super::super::figures::pictures;
    use super::*;

    /// Whether every element that begins also ends, in order; and the text between.
    fn text_of(svg: &str) -> Option<String> {
        let (mut open, mut text, mut rest) = (Vec::new(), String::new(), svg);
        while let Some((before, after)) = rest.split_once('<') {
            text.push_str(before);
            let (tag, after) = after.split_once('>')?;
            let name = tag.trim_start_matches('/').split([' ', '/']).next()?;
            match (tag.starts_with('/'), tag.ends_with('/') || tag.starts_with(['?', '!'])) {
                (true, _) => (open.pop()? == name).then_some(())?,
                (false, false) => open.push(name),
                (false, true) => {}
            }
            (tag.matches('"').count() % 2 == 0).then_some(())?;
            rest = after;
        }
        open.is_empty().then_some(text)
    }

    #[test]
    fn a_series_gives_pictures_with_its_labels() {
        let sample = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/series.json"));
        let pictures = pictures(&Series::read(sample).unwrap());
        let names: Vec<&str> = pictures.iter().map(|picture| picture.name.as_str()).collect();
        let expected =
            ["put-over-nodes-1", "put-over-nodes-1x256", "cost-over-size", "throughput", "mixes"];
        assert_eq!(names, expected);
        for picture in &pictures {
            let drawn = svg(picture).unwrap();
            let text = text_of(&drawn).unwrap_or_else(|| panic!("{}: {drawn}", picture.name));
            assert!(text.contains(&picture.title), "{text}");
            for chart in &picture.charts {
                assert!(text.contains(&chart.title) && text.contains(chart.across.label), "{text}");
                for line in &chart.lines {
                    assert!(text.contains(&line.label), "{}: {text}", line.label);
                }
            }
            // Every measured point has its dot.
            let lines = picture.charts.iter().flat_map(|chart| &chart.lines);
            let dots: usize = lines.filter(|l| !l.is_guide).map(|l| l.points.len()).sum();
            assert_eq!(drawn.matches("<circle").count(), dots, "{}", picture.name);
        }
    }

    #[test]
    fn numbers_on_axes_are_short() {
        let told = [0.0, 0.0123, 0.5, 4.25, 100.0, 16_384.0, 1_048_576.0].map(|n| short(&n));
        assert_eq!([7.0, 7.5].map(|n| whole(&n)), ["7", ""]);
        assert_eq!(told, ["0", "0.012", "0.5", "4.3", "100", "16k", "1M"]);
    }
}
