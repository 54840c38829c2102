//! Which code stands at a place of a module's library, read from the library's file when somebody wants to know.
//!
//! A module pays nothing for this: when it panics it writes down addresses and nothing else. The file is read whole, used
//! and forgotten, and so is the one with its line tables where they were split off; how large they may be, and what they
//! say of lines, is bounded, as a stranger built them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use addr2line::Context;
use addr2line::gimli::{Dwarf, EndianSlice, RunTimeEndian, SectionId};
use object::{File, Object as _, ObjectSection as _, ObjectSegment as _, ObjectSymbol as _, SymbolKind};

use super::debug_files::split_off;
use crate::stall::StallDeadline;

/// Bytes of a file that is read for this. Of a larger one only offsets are told.
const LARGEST_FILE: u64 = 128 * 1024 * 1024;

/// Bytes of a file's line tables, which take some twenty times as much when they are read. Of a larger one only the names of
/// functions are told.
const LARGEST_LINES: usize = 8 * 1024 * 1024;

/// Bytes of all else that a file says for debuggers.
const LARGEST_INFO: usize = 32 * 1024 * 1024;

/// How long one backtrace may take; what has no names by then is told by its offset.
const WITHIN: Duration = Duration::from_secs(2);

/// Bytes of a function's name, and of a place.
const LONGEST: usize = 256;

/// Frames of a backtrace that are told.
const MOST_FRAMES: usize = 16;

/// The crates that stand between a module's own code and its panic, or between the host and the module.
const NOT_ITS_OWN: [&str; 6] = ["std", "core", "alloc", "plugin_api", "panic_unwind", "abi_stable"];

/// In the paths of plugin-api's own files.
const BOUNDARY: &str = "plugin-api/src/";

/// One frame of a backtrace, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CodeFrame {
    /// Bytes from the first mapped byte of the library to the call.
    pub offset: usize,
    /// The function's name.
    pub function: Option<String>,
    /// `file:line`; unknown without line tables.
    pub place: Option<String>,
}

impl fmt::Display for CodeFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CodeFrame { offset, function, place } = self;
        match (function, place) {
            (Some(function), Some(place)) => write!(f, "{function} ({place})"),
            (Some(function), None) => write!(f, "{function} (at +{offset:#x})"),
            (None, Some(place)) => write!(f, "+{offset:#x} ({place})"),
            (None, None) => write!(f, "+{offset:#x}"),
        }
    }
}

impl CodeFrame {
    /// One of which nothing is known but where it is.
    fn unknown(offset: usize) -> Self {
        CodeFrame { offset, function: None, place: None }
    }

    /// Whether its code is the module's own, or may be, as its name is unknown.
    fn is_the_modules(&self) -> bool {
        // A function that was inlined has a name without its crate; its file says whose it is.
        let foreign = |place: &String| place.starts_with("/rustc/") || place.contains(BOUNDARY);
        if self.place.as_ref().is_some_and(foreign) {
            return false;
        }
        let Some(function) = &self.function else { return true };
        // `<alloc::vec::Vec<T> as core::ops::Index>::index`, `core::option::unwrap_failed`, `rust_begin_unwind`
        let path = function.trim_start_matches(['<', '&']);
        let first = path.split("::").next().unwrap_or_default();
        !NOT_ITS_OWN.contains(&first)
            && !function.contains("rust_begin_unwind")
            && !function.starts_with("__rust")
    }
}

/// The offsets alone, where nothing else is known.
#[must_use]
pub(super) fn unnamed(offsets: &[usize]) -> Vec<String> {
    shown(offsets.iter().map(|offset| CodeFrame::unknown(*offset)).collect())
}

/// The backtrace of these offsets, innermost first, in words: the module's own frames, or all of them where none can be
/// told for its own. `copy` is what is mapped, `original` where it was taken from: what was split off is there.
///
/// # Errors
/// The file cannot be read.
pub(super) fn backtrace(
    copy: &Path,
    original: Option<&Path>,
    offsets: &[usize],
) -> std::io::Result<Vec<String>> {
    if std::fs::metadata(copy)?.len() > LARGEST_FILE {
        return Ok(unnamed(offsets));
    }
    let bytes = std::fs::read(copy)?;
    Ok(shown(frames(&bytes, original, offsets, StallDeadline::after(WITHIN))))
}

fn shown(frames: Vec<CodeFrame>) -> Vec<String> {
    let own: Vec<&CodeFrame> = frames.iter().filter(|frame| frame.is_the_modules()).collect();
    let told = if own.is_empty() { frames.iter().collect() } else { own };
    told.into_iter().take(MOST_FRAMES).map(ToString::to_string).collect()
}

/// The frames at these offsets; one offset has several where functions were inlined.
fn frames(bytes: &[u8], original: Option<&Path>, offsets: &[usize], until: StallDeadline) -> Vec<CodeFrame> {
    let Ok(file) = File::parse(bytes) else {
        return offsets.iter().map(|offset| CodeFrame::unknown(*offset)).collect();
    };
    let original = original.filter(|_| !says_lines(&file));
    let split = original.and_then(|original| split_off(&file, original, LARGEST_FILE));
    let split = split.as_deref().and_then(|bytes| File::parse(bytes).ok());
    let first = file.segments().map(|segment| segment.address()).min().unwrap_or_default();
    let address = |offset: usize| first.saturating_add(offset as u64);
    // Names may have been split off together with the lines.
    let tables = [Some(&file), split.as_ref()].into_iter().flatten();
    let named = function_names(tables, offsets.iter().map(|offset| address(*offset)));
    let lines = line_tables(split.as_ref().unwrap_or(&file));
    let mut frames = Vec::new();
    for offset in offsets {
        let name = named.get(&address(*offset)).map(|name| clipped(name));
        let known = match &lines {
            Some(lines) if !until.has_passed() => {
                frames_at(lines, *offset, address(*offset), name.as_deref())
            }
            _ => None,
        };
        let nameless = || vec![CodeFrame { function: name.clone(), ..CodeFrame::unknown(*offset) }];
        frames.extend(known.filter(|known| !known.is_empty()).unwrap_or_else(nameless));
    }
    frames
}

/// Whether the file has its line tables itself.
fn says_lines(file: &File<'_>) -> bool {
    let info = file.section_by_name(SectionId::DebugInfo.name());
    info.is_some_and(|section| section.size() > 0)
}

type FileBytes<'a> = EndianSlice<'a, RunTimeEndian>;

/// What the file says for debuggers; nothing where it says nothing or too much.
fn line_tables<'a>(file: &File<'a>) -> Option<Context<FileBytes<'a>>> {
    let endian = if file.is_little_endian() { RunTimeEndian::Little } else { RunTimeEndian::Big };
    let mut room = LARGEST_INFO;
    let (mut is_there, mut is_too_large) = (false, false);
    let mut section = |id: SectionId| -> Result<FileBytes<'a>, addr2line::gimli::Error> {
        let data =
            file.section_by_name(id.name()).and_then(|section| section.data().ok()).unwrap_or_default();
        is_there |= id == SectionId::DebugInfo && !data.is_empty();
        match id {
            SectionId::DebugLine => is_too_large |= data.len() > LARGEST_LINES,
            _ => match room.checked_sub(data.len()) {
                Some(left) => room = left,
                None => is_too_large = true,
            },
        }
        Ok(EndianSlice::new(data, endian))
    };
    let dwarf = Dwarf::load(&mut section).ok()?;
    if is_too_large || !is_there {
        return None;
    }
    Context::from_dwarf(dwarf).ok()
}

/// The frames at one address, innermost first. The outermost is the function of the symbol table's `name`.
fn frames_at(
    lines: &Context<FileBytes<'_>>,
    offset: usize,
    address: u64,
    name: Option<&str>,
) -> Option<Vec<CodeFrame>> {
    let mut found = lines.find_frames(address).skip_all_loads().ok()?;
    let mut frames = Vec::new();
    while let Some(frame) = found.next().ok()? {
        let function = frame.function.and_then(|function| Some(demangled(&function.raw_name().ok()?)));
        let place = frame.location.and_then(|location| {
            let place = format!("{}:{}", location.file?, location.line?);
            Some(ended(&place))
        });
        frames.push(CodeFrame { offset, function, place });
        // Functions that were inlined into one another without end are nobody's code.
        if frames.len() == MOST_FRAMES {
            break;
        }
    }
    if let (Some(outermost), Some(name)) = (frames.last_mut(), name) {
        outermost.function = Some(name.to_owned());
    }
    Some(frames)
}

/// The names of the functions at these addresses, from the first symbol table that has them; each may be stripped.
fn function_names<'a, 'b: 'a>(
    files: impl Iterator<Item = &'a File<'b>>,
    addresses: impl Iterator<Item = u64>,
) -> BTreeMap<u64, String> {
    let mut named: BTreeMap<u64, Option<String>> = addresses.map(|address| (address, None)).collect();
    let symbols = files.flat_map(|file| file.symbols());
    for symbol in symbols.filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0) {
        let end = symbol.address().saturating_add(symbol.size());
        for (_, name) in named.range_mut(symbol.address()..end).filter(|(_, name)| name.is_none()) {
            *name = symbol.name().ok().map(demangled);
        }
    }
    named.into_iter().filter_map(|(address, name)| Some((address, name?))).collect()
}

/// As it is written in Rust, without the digest at its end.
fn demangled(name: &str) -> String {
    // A name that unfolds to megabytes is cut while it is written.
    let mut shown = ShortText::default();
    // It says so when it is full.
    _ = fmt::write(&mut shown, format_args!("{:#}", rustc_demangle::demangle(name)));
    shown.0
}

/// A text that takes so many bytes and no more.
#[derive(Default)]
struct ShortText(String);

impl fmt::Write for ShortText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = LONGEST - self.0.len();
        self.0.push_str(&text[..text.floor_char_boundary(room)]);
        if text.len() > room { Err(fmt::Error) } else { Ok(()) }
    }
}

fn clipped(text: &str) -> String {
    text[..text.floor_char_boundary(LONGEST)].to_owned()
}

/// The end of a place, which says more than its beginning.
fn ended(place: &str) -> String {
    place[place.ceil_char_boundary(place.len().saturating_sub(LONGEST))..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(function: &str) -> CodeFrame {
        CodeFrame { offset: 16, function: Some(function.to_owned()), place: None }
    }

    #[test]
    fn what_is_not_the_modules_own_is_told_by_its_crate() {
        for function in [
            "std::panicking::begin_panic_handler::{{closure}}",
            "core::panicking::panic_fmt",
            "<alloc::vec::Vec<T> as core::ops::index::Index<I>>::index",
            "<&std::path::Path as core::fmt::Debug>::fmt",
            "plugin_api::guard::guarded",
            "rust_begin_unwind",
            "__rust_try",
        ] {
            assert!(!frame(function).is_the_modules(), "{function}");
        }
        for function in [
            "webhooks_door::open",
            "<webhooks_door::Door as plugin_api::module::Module>::handle_event",
            "coreutils::std::open",
            "open_door",
        ] {
            assert!(frame(function).is_the_modules(), "{function}");
        }
    }

    #[test]
    fn what_was_inlined_is_told_by_its_file() {
        let check = |place: &str, expected| {
            let frame = CodeFrame { place: Some(place.to_owned()), ..frame("poll<door::Bell>") };
            assert_eq!(frame.is_the_modules(), expected, "{place}");
        };
        check("/rustc/59807616e1fa/library/core/src/future/future.rs:133", false);
        check("/src/door/plugin-api/src/guard.rs:44", false);
        check("/src/door/src/lib.rs:7", true);
    }

    #[test]
    fn a_frame_is_told_by_what_is_known_of_it() {
        let check = |function: Option<&str>, place: Option<&str>, expected: &str| {
            let owned = |text: Option<&str>| text.map(str::to_owned);
            let frame = CodeFrame { offset: 0x1a, function: owned(function), place: owned(place) };
            assert_eq!(frame.to_string(), expected);
        };
        check(Some("door::open"), Some("src/lib.rs:7"), "door::open (src/lib.rs:7)");
        check(Some("door::open"), None, "door::open (at +0x1a)");
        check(None, Some("src/lib.rs:7"), "+0x1a (src/lib.rs:7)");
        check(None, None, "+0x1a");
    }

    #[test]
    fn only_so_many_frames_are_told_and_the_modules_own_where_there_are_any() {
        let some = vec![frame("core::panicking::panic"), frame("door::open"), frame("std::thread::spawn")];
        assert_eq!(shown(some), ["door::open (at +0x10)"]);
        assert_eq!(shown(vec![frame("core::panicking::panic")]).len(), 1);
        assert_eq!(unnamed(&[7; 100]), vec!["+0x7"; MOST_FRAMES]);
    }

    #[test]
    fn names_and_places_are_short() {
        assert_eq!(demangled("_ZN4door4open17h0123456789abcdefE"), "door::open");
        assert_eq!(demangled(&"x".repeat(1000)).len(), LONGEST);
        assert_eq!(clipped(&"ä".repeat(1000)).len(), LONGEST);
        assert_eq!(ended(&format!("{}/src/lib.rs:77", "ä".repeat(1000))).len(), LONGEST);
    }

    #[test]
    fn of_a_file_that_is_none_offsets_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("none.so");
        std::fs::write(&file, b"\x7fELF and nothing else").unwrap();
        assert_eq!(backtrace(&file, Some(&file), &[16, 32]).unwrap(), ["+0x10", "+0x20"]);
        assert!(backtrace(&folder.path().join("gone.so"), None, &[16]).is_err());
    }

    #[inline(never)]
    fn here() -> usize {
        here as *const () as usize
    }

    #[test]
    fn functions_of_this_program_are_found() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let file = File::parse(program.as_slice()).unwrap();
        let named = |symbol: &object::Symbol<'_, '_>| {
            symbol.name().is_ok_and(|name| name.contains("symbols5tests4here"))
        };
        let at = file.symbols().find(named).unwrap().address();
        let first = file.segments().map(|segment| segment.address()).min().unwrap();
        let offset = usize::try_from(at - first).unwrap();
        assert_ne!(here(), 0);

        let found = frames(&program, None, &[offset], StallDeadline::after(WITHIN));

        let own = found.last().unwrap();
        assert!(
            own.function.as_deref().is_some_and(|name| name.ends_with("symbols::tests::here")),
            "{own:?}"
        );
    }
}
