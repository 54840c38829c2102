//! What was measured, and how it is shown: medians of runs, each beside what it should be.

use std::collections::BTreeMap;

/// The share of a figure that is noise where two figures of the same program are compared.
const NOISE: f64 = 0.03;

/// What one run of a part found, by name.
#[derive(Default)]
pub(crate) struct RunSamples(Vec<(String, f64)>);

impl RunSamples {
    /// Keeps a figure.
    pub(crate) fn add(&mut self, name: impl Into<String>, figure: f64) {
        self.0.push((name.into(), figure));
    }

    /// Keeps a figure that a program may not have.
    pub(crate) fn add_known(&mut self, name: impl Into<String>, figure: Option<f64>) {
        self.0.extend(figure.map(|figure| (name.into(), figure)));
    }
}

/// The middle ones of several runs, by name.
#[derive(Default)]
pub(crate) struct MedianFigures(BTreeMap<String, f64>);

impl MedianFigures {
    /// Of these runs.
    pub(crate) fn of(runs: &[RunSamples]) -> Self {
        let mut found: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for (name, figure) in runs.iter().flat_map(|run| &run.0) {
            found.entry(name).or_default().push(*figure);
        }
        MedianFigures(found.into_iter().map(|(name, figures)| (name.to_owned(), median(figures))).collect())
    }

    /// The one of this name, if it was measured.
    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }

    /// One in parts of another.
    pub(crate) fn ratio(&self, name: &str, to: &str) -> Option<f64> {
        Some(self.get(name)? / self.get(to)?)
    }

    /// All whose name begins so, with the rest of their names.
    pub(crate) fn beginning_with(&self, prefix: &str) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().filter_map(move |(name, figure)| Some((name.strip_prefix(prefix)?, *figure)))
    }
}

/// The middle one.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

/// The one that so many of a hundred do not exceed.
pub(crate) fn percentile(mut figures: Vec<f64>, hundredths: usize) -> f64 {
    figures.sort_by(f64::total_cmp);
    let last = figures.len().saturating_sub(1);
    figures.get((figures.len() * hundredths / 100).min(last)).copied().unwrap_or_default()
}

/// What a figure should be.
#[derive(Clone, Copy, Debug, PartialEq)]
enum FigureTarget {
    /// It is there to be read.
    None,
    AtMost(f64),
    AtLeast(f64),
    /// At least what this other figure of the same runs is, but for noise.
    NotBelow(f64),
}

impl FigureTarget {
    fn is_reached_by(self, measured: f64) -> bool {
        match self {
            FigureTarget::None => true,
            FigureTarget::AtMost(most) => measured <= most,
            FigureTarget::AtLeast(least) => measured >= least,
            FigureTarget::NotBelow(other) => measured >= other * (1.0 - NOISE),
        }
    }

    fn shown(self, decimals: usize) -> String {
        match self {
            FigureTarget::None => String::new(),
            FigureTarget::AtMost(most) => format!("≤ {}", number(most, decimals)),
            FigureTarget::AtLeast(least) | FigureTarget::NotBelow(least) => {
                format!("≥ {}", number(least, decimals))
            }
        }
    }
}

/// One line of a table.
pub(crate) struct FigureRow {
    what: String,
    measured: Option<f64>,
    decimals: usize,
    target: FigureTarget,
}

impl FigureRow {
    /// A figure without a target.
    pub(crate) fn new(what: impl Into<String>, measured: Option<f64>, decimals: usize) -> Self {
        FigureRow { what: what.into(), measured, decimals, target: FigureTarget::None }
    }

    /// It should not be above this.
    pub(crate) fn at_most(mut self, most: f64) -> Self {
        self.target = FigureTarget::AtMost(most);
        self
    }

    /// It should not be below this.
    pub(crate) fn at_least(mut self, least: f64) -> Self {
        self.target = FigureTarget::AtLeast(least);
        self
    }

    /// It should not be below this other figure, if that was measured.
    pub(crate) fn not_below(mut self, other: Option<f64>) -> Self {
        self.target = other.map_or(FigureTarget::None, FigureTarget::NotBelow);
        self
    }

    fn verdict(&self) -> &'static str {
        match (self.target, self.measured) {
            (FigureTarget::None, _) => "",
            (_, None) => "-",
            (target, Some(measured)) if target.is_reached_by(measured) => "ok",
            _ => "missed",
        }
    }
}

/// What the rows of all parts come to.
#[derive(Default)]
pub(crate) struct FigureTally {
    reached: usize,
    unknown: usize,
    missed: Vec<String>,
}

impl FigureTally {
    /// Counts the rows of a part.
    pub(crate) fn count(&mut self, part: &str, rows: &[FigureRow]) {
        for row in rows {
            match row.verdict() {
                "ok" => self.reached += 1,
                "-" => self.unknown += 1,
                "missed" => {
                    let measured = shown(row.measured, row.decimals);
                    let target = row.target.shown(row.decimals);
                    self.missed.push(format!("{part}: {}: {measured} ({target})", row.what));
                }
                _ => {}
            }
        }
    }

    /// All of it, for people.
    pub(crate) fn text(&self) -> String {
        let all = self.reached + self.missed.len();
        let mut text = format!("{} of {all} figures reach their target", self.reached);
        if self.unknown > 0 {
            text += &format!("; {} could not be measured", self.unknown);
        }
        for missed in &self.missed {
            text += &format!("\nmissed: {missed}");
        }
        text
    }
}

/// A table in Markdown. With the figures of another version, both and their ratio.
pub(crate) fn table(rows: &[FigureRow], before: Option<&[FigureRow]>) -> String {
    let mut text = String::from(match before {
        None => "| figure | measured | target | |\n|---|--:|--:|---|\n",
        Some(_) => "| figure | before | measured | measured/before | target | |\n|---|--:|--:|--:|--:|---|\n",
    });
    for row in rows {
        let measured = shown(row.measured, row.decimals);
        let target = row.target.shown(row.decimals);
        let columns = match before {
            None => measured,
            Some(before) => {
                let same = before.iter().find(|other| other.what == row.what);
                let other = same.and_then(|same| same.measured);
                let ratio = row.measured.zip(other).map(|(measured, other)| measured / other);
                format!("{} | {measured} | {}", shown(other, row.decimals), shown(ratio, 2))
            }
        };
        text += &format!("| {} | {columns} | {target} | {} |\n", row.what, row.verdict());
    }
    text
}

fn shown(figure: Option<f64>, decimals: usize) -> String {
    figure
        .filter(|figure| figure.is_finite())
        .map_or_else(|| "-".to_owned(), |figure| number(figure, decimals))
}

fn number(figure: f64, decimals: usize) -> String {
    format!("{figure:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(runs: &[&[(&str, f64)]]) -> MedianFigures {
        let runs: Vec<RunSamples> = runs
            .iter()
            .map(|run| RunSamples(run.iter().map(|(name, figure)| ((*name).to_owned(), *figure)).collect()))
            .collect();
        MedianFigures::of(&runs)
    }

    #[test]
    fn the_middle_of_three_runs_counts() {
        let found = found(&[&[("rate 1", 3.0)], &[("rate 1", 1.0), ("rate 2", 4.0)], &[("rate 1", 2.0)]]);

        assert_eq!(found.get("rate 1"), Some(2.0));
        assert_eq!(found.get("rate 3"), None);
        assert_eq!(found.ratio("rate 2", "rate 1"), Some(2.0));
        assert_eq!(found.beginning_with("rate ").collect::<Vec<_>>(), [("1", 2.0), ("2", 4.0)]);
        assert_eq!(percentile((1..=200).map(f64::from).collect(), 99), 199.0);
    }

    #[test]
    fn a_figure_stands_beside_its_target() {
        let rows = [
            FigureRow::new("rate", Some(98.0), 0).not_below(Some(100.0)),
            FigureRow::new("cost", Some(2.9), 1).at_most(2.8),
            FigureRow::new("fsyncs", None, 0).at_most(15.0),
            FigureRow::new("share", Some(0.95), 2).at_least(0.9),
            FigureRow::new("CPU", Some(31.4), 0),
        ];

        assert_eq!(
            table(&rows, None),
            "| figure | measured | target | |\n|---|--:|--:|---|\n| rate | 98 | ≥ 100 | ok |\n\
             | cost | 2.9 | ≤ 2.8 | missed |\n| fsyncs | - | ≤ 15 | - |\n| share | 0.95 | ≥ 0.90 | ok |\n\
             | CPU | 31 |  |  |\n"
        );
        let mut tally = FigureTally::default();
        tally.count("cost", &rows);
        assert_eq!(
            tally.text(),
            "2 of 3 figures reach their target; 1 could not be measured\nmissed: cost: cost: 2.9 (≤ 2.8)"
        );
    }

    #[test]
    fn two_versions_stand_beside_each_other() {
        let before = [FigureRow::new("cost", Some(4.0), 1).at_most(2.8)];
        let rows = [FigureRow::new("cost", Some(2.0), 1).at_most(2.8), FigureRow::new("new", Some(1.0), 0)];

        assert_eq!(
            table(&rows, Some(&before)),
            "| figure | before | measured | measured/before | target | |\n|---|--:|--:|--:|--:|---|\n\
             | cost | 4.0 | 2.0 | 0.50 | ≤ 2.8 | ok |\n| new | - | 1 | - |  |  |\n"
        );
    }
}
