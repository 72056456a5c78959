//! The results as pictures: for the disks of each content, how many times the other program's requests per second ours
//! serves.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::case::{Content, QEMU, RINGWRIGHT, TRACKED};
use super::report::{Cell, cells};

/// Sizes in pixels.
const WIDTH: f64 = 900.0;
const LABELS: f64 = 260.0;
const FIGURES: f64 = 220.0;
const BAR: f64 = 11.0;
const GAP: f64 = 9.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = 34.0;

/// Bars do not go further than this ratio; the number beside them is right.
const MOST: f64 = 8.0;

/// The bars of each cell: whose, and in which colour.
const BARS: [(&str, &str); 2] = [(RINGWRIGHT, "#2a6f97"), (TRACKED, "#89c2d9")];

/// Writes a picture for each content that there are results of.
pub fn draw(records: &[Value], folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for content in Content::ALL {
        let cells: Vec<_> = cells(records, content).collect();
        if cells.is_empty() {
            continue;
        }
        let file = folder.join(format!("block-{}.svg", content.name()));
        fs::write(&file, picture(content, &cells))
            .with_context(|| format!("cannot write {}", file.display()))?;
        eprintln!("{}", file.display());
    }
    Ok(())
}

/// The picture as SVG.
fn picture(content: Content, cells: &[Cell<'_>]) -> String {
    let bars: Vec<_> = BARS
        .into_iter()
        .filter(|(subject, _)| cells.iter().any(|cell| cell.ratio(subject).is_some()))
        .collect();
    let row = bars.len() as f64 * BAR + GAP;
    let bottom = TOP + cells.len() as f64 * row;
    let height = bottom + BOTTOM;
    let ratios = cells
        .iter()
        .flat_map(|cell| bars.iter().filter_map(|(subject, _)| cell.ratio(subject)));
    let most = ratios.fold(content.target(), f64::max).ceil().min(MOST);
    let x = |ratio: f64| LABELS + ratio / most * (WIDTH - LABELS - FIGURES);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    let mut text = |x: f64, y: f64, anchor: &str, words: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>"
        );
    };
    text(
        10.0,
        20.0,
        "start",
        &format!(
            "{}: requests per second, in times of those of {QEMU}",
            content.title()
        ),
    );
    for (number, cell) in cells.iter().enumerate() {
        let y = TOP + number as f64 * row + (row - GAP) / 2.0 + 4.0;
        let queues = if cell.queues() == 1 { "queue" } else { "queues" };
        text(
            LABELS - 8.0,
            y,
            "end",
            &format!("{}, {} {queues}", cell.request(), cell.queues()),
        );
        let rate = |subject| cell.rate(subject).unwrap_or(f64::NAN);
        text(
            WIDTH - 10.0,
            y,
            "end",
            &format!("{:.0} to {:.0} per second", rate(RINGWRIGHT), rate(QEMU)),
        );
    }
    for step in 0..=most as u32 {
        text(x(step.into()), bottom + 18.0, "middle", &step.to_string());
    }
    let mut shape = |shape: String| svg.push_str(&(shape + "\n"));
    for (place, (subject, colour)) in bars.iter().enumerate() {
        let (left, top) = (10.0 + 180.0 * place as f64, 32.0);
        shape(format!(
            "<rect x=\"{left}\" y=\"{top}\" width=\"12\" height=\"12\" fill=\"{colour}\"/>"
        ));
        shape(format!(
            "<text x=\"{}\" y=\"{}\">{subject}</text>",
            left + 18.0,
            top + 10.0
        ));
        for (number, cell) in cells.iter().enumerate() {
            let top = TOP + number as f64 * row + place as f64 * BAR;
            let Some(ratio) = cell.ratio(subject) else {
                continue;
            };
            let end = x(ratio.min(most));
            shape(format!(
                "<rect x=\"{LABELS}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{}\" fill=\"{colour}\"/>",
                end - LABELS,
                BAR - 1.0
            ));
            shape(format!(
                "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"9\">{ratio:.2}</text>",
                end + 4.0,
                top + BAR - 2.0
            ));
        }
    }
    for (ratio, dashes) in [(1.0, "none"), (content.target(), "4 3")] {
        shape(format!(
            "<line x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{1}\" y2=\"{bottom:.1}\" stroke=\"#444\" stroke-dasharray=\"{dashes}\"/>",
            x(ratio),
            TOP - 6.0
        ));
    }
    svg + "</svg>\n"
}
