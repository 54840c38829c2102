//! What somebody sees who waits at a terminal; programs that read standard error see nothing of it.

use indicatif::{ProgressBar, ProgressStyle};

/// Bytes that arrive, of so many where that is known.
pub(super) fn bytes(total: Option<u64>) -> ProgressBar {
    match total {
        Some(total) => styled(ProgressBar::new(total), "{bytes} of {total_bytes} {wide_bar}"),
        None => styled(ProgressBar::new_spinner(), "{bytes} {spinner}"),
    }
}

/// Things that are done one by one.
pub(super) fn steps(total: usize, of_what: &'static str) -> ProgressBar {
    styled(ProgressBar::new(total as u64), "{pos} of {len} {msg} {wide_bar}").with_message(of_what)
}

fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
