//! What differs between the lines of two runs, as a unified diff. Pure.

/// Lines that are the same, around those that differ.
const CONTEXT: usize = 3;

/// Pairs of lines that are compared at most; where there are more, everything between the first difference and the last
/// is called another.
const MOST_PAIRS: usize = 1 << 20;

/// A line of a diff.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineFate {
    Same,
    Removed,
    Added,
}

/// Hunks with their headers, as `diff -u` writes them without the names of files; nothing where nothing differs.
pub(super) fn unified(old: &[String], new: &[String]) -> Vec<String> {
    let fates = fates(old, new);
    let mut lines = Vec::new();
    let mut at = 0;
    while let Some(hunk) = next_hunk(&fates, at) {
        push_hunk(&fates, &hunk, (old, new), &mut lines);
        at = hunk.end;
    }
    lines
}

/// The next stretch of fates with something that differs in it, and with what stands around.
fn next_hunk(fates: &[LineFate], from: usize) -> Option<std::ops::Range<usize>> {
    let differs = |fate: &LineFate| *fate != LineFate::Same;
    let first = from + fates.get(from..)?.iter().position(differs)?;
    let mut last = first;
    // Two differences whose surroundings touch are in one hunk.
    for (at, fate) in fates.iter().enumerate().skip(first) {
        if at - last > 2 * CONTEXT + 1 {
            break;
        }
        if differs(fate) {
            last = at;
        }
    }
    Some(first.saturating_sub(CONTEXT).max(from)..(last + CONTEXT + 1).min(fates.len()))
}

fn push_hunk(
    fates: &[LineFate],
    hunk: &std::ops::Range<usize>,
    (old, new): (&[String], &[String]),
    lines: &mut Vec<String>,
) {
    let count = |range: std::ops::Range<usize>, not: LineFate| {
        fates.iter().take(range.end).skip(range.start).filter(|fate| **fate != not).count()
    };
    let (of_old, of_new) = (LineFate::Added, LineFate::Removed);
    let (mut old_at, mut new_at) = (count(0..hunk.start, of_old), count(0..hunk.start, of_new));
    let (old_len, new_len) = (count(hunk.clone(), of_old), count(hunk.clone(), of_new));
    // Of an empty stretch the line before it is told.
    let number = |at: usize, len: usize| if len == 0 { at } else { at + 1 };
    lines.push(format!(
        "@@ -{},{old_len} +{},{new_len} @@",
        number(old_at, old_len),
        number(new_at, new_len)
    ));
    for fate in fates.iter().take(hunk.end).skip(hunk.start) {
        let (sign, line) = match fate {
            LineFate::Same => (' ', new.get(new_at)),
            LineFate::Removed => ('-', old.get(old_at)),
            LineFate::Added => ('+', new.get(new_at)),
        };
        old_at += usize::from(*fate != LineFate::Added);
        new_at += usize::from(*fate != LineFate::Removed);
        lines.push(format!("{sign}{}", line.map_or("", String::as_str)));
    }
}

fn fates(old: &[String], new: &[String]) -> Vec<LineFate> {
    let before = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    let (old, new) = (old.get(before..).unwrap_or_default(), new.get(before..).unwrap_or_default());
    let behind = old.iter().rev().zip(new.iter().rev()).take_while(|(old, new)| old == new).count();
    let (old, new) = (&old[..old.len() - behind], &new[..new.len() - behind]);
    let mut fates = vec![LineFate::Same; before];
    if (old.len() + 1).saturating_mul(new.len() + 1) > MOST_PAIRS {
        fates.extend(old.iter().map(|_| LineFate::Removed));
        fates.extend(new.iter().map(|_| LineFate::Added));
    } else {
        fates.extend(compared(old, new));
    }
    fates.resize(fates.len() + behind, LineFate::Same);
    fates
}

/// By the longest sequence of lines that both have.
fn compared(old: &[String], new: &[String]) -> Vec<LineFate> {
    let width = new.len() + 1;
    // How many lines both have from here on.
    let mut common = vec![0_u32; (old.len() + 1) * width];
    for (row, old_line) in old.iter().enumerate().rev() {
        for (column, new_line) in new.iter().enumerate().rev() {
            let at = row * width + column;
            common[at] = match old_line == new_line {
                true => common[at + width + 1] + 1,
                false => common[at + width].max(common[at + 1]),
            };
        }
    }
    let mut fates = Vec::with_capacity(old.len() + new.len());
    let (mut row, mut column) = (0, 0);
    while row < old.len() || column < new.len() {
        let at = row * width + column;
        let fate = if row == old.len() {
            LineFate::Added
        } else if column == new.len() {
            LineFate::Removed
        } else if old[row] == new[column] {
            LineFate::Same
        } else if common[at + width] >= common[at + 1] {
            LineFate::Removed
        } else {
            LineFate::Added
        };
        row += usize::from(fate != LineFate::Added);
        column += usize::from(fate != LineFate::Removed);
        fates.push(fate);
    }
    fates
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[track_caller]
    fn check(old: &str, new: &str, expected: &[&str]) {
        assert_eq!(unified(&lines(old), &lines(new)), expected, "{old} → {new}");
    }

    #[test]
    fn what_is_the_same_makes_no_diff() {
        check("", "", &[]);
        check("a b c", "a b c", &[]);
    }

    #[test]
    fn lines_that_came_went_and_changed() {
        check("", "a b", &["@@ -0,0 +1,2 @@", "+a", "+b"]);
        check("a b", "", &["@@ -1,2 +0,0 @@", "-a", "-b"]);
        check("a b c", "a x c", &["@@ -1,3 +1,3 @@", " a", "-b", "+x", " c"]);
        check("a b c", "a c", &["@@ -1,3 +1,2 @@", " a", "-b", " c"]);
        check("a c", "a b c", &["@@ -1,2 +1,3 @@", " a", "+b", " c"]);
        check("a b c d", "b x d", &["@@ -1,4 +1,3 @@", "-a", " b", "-c", "+x", " d"]);
    }

    #[test]
    fn three_lines_stand_around_a_change_and_changes_that_are_close_share_a_hunk() {
        check(
            "1 2 3 4 a 5 6 7 8",
            "1 2 3 4 b 5 6 7 8",
            &["@@ -2,7 +2,7 @@", " 2", " 3", " 4", "-a", "+b", " 5", " 6", " 7"],
        );
        check(
            "a 1 2 3 4 5 6 b",
            "x 1 2 3 4 5 6 y",
            &["@@ -1,8 +1,8 @@", "-a", "+x", " 1", " 2", " 3", " 4", " 5", " 6", "-b", "+y"],
        );
        check(
            "a 1 2 3 4 5 6 7 b",
            "x 1 2 3 4 5 6 7 y",
            &[
                "@@ -1,4 +1,4 @@",
                "-a",
                "+x",
                " 1",
                " 2",
                " 3",
                "@@ -6,4 +6,4 @@",
                " 5",
                " 6",
                " 7",
                "-b",
                "+y",
            ],
        );
    }

    #[test]
    fn what_is_too_much_to_compare_is_called_another_between_its_first_and_last_difference() {
        let many = |end: &str| -> Vec<String> { (0..2_000).map(|n| format!("{n}{end}")).collect() };
        let (mut old, mut new) = (many("o"), many("n"));
        old.insert(0, "same".to_owned());
        new.insert(0, "same".to_owned());
        let diff = unified(&old, &new);
        assert_eq!(diff.len(), 1 + 1 + 2_000 + 2_000);
        assert_eq!((diff[0].as_str(), diff[1].as_str()), ("@@ -1,2001 +1,2001 @@", " same"));
    }

    /// Whatever differs, the diff leads from the one to the other.
    #[test]
    fn a_diff_has_all_lines_of_both() {
        for (old, new) in [("a b a b c", "b a c c"), ("x y z", "z y x"), ("a a a", "a a a a")] {
            let diff = unified(&lines(old), &lines(new));
            let side = |drop: char| -> Vec<String> {
                let body = diff.iter().filter(|line| !line.starts_with("@@") && !line.starts_with(drop));
                body.map(|line| line[1..].to_owned()).collect()
            };
            assert_eq!((side('+'), side('-')), (lines(old), lines(new)));
        }
    }
}
