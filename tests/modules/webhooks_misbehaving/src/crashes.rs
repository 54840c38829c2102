//! What native code can do to its process, and no compiler forbids for long.

use std::ffi::c_void;
use std::hint::black_box;

unsafe extern "C" {
    fn raise(signal: i32) -> i32;
    fn write(descriptor: i32, bytes: *const c_void, count: usize) -> isize;
}

/// Reads where nothing is.
pub(super) fn segfault() {
    let nowhere = black_box(8) as *const u8;
    // SAFETY: there is none; the process ends here, which is what a test asks for.
    black_box(unsafe { nowhere.read_volatile() });
}

/// A text that is none.
pub(super) fn no_text() -> &'static str {
    // SAFETY: there is none; nobody looks into it as a text, but for the host that is to notice.
    unsafe { std::str::from_utf8_unchecked(black_box(b"\"\xff\xfe\"")) }
}

/// Calls itself until the stack ends.
#[allow(unconditional_recursion)]
pub(super) fn stack_overflow() {
    black_box([0_u8; 4096]);
    stack_overflow();
    black_box([0_u8; 4096]);
}

/// As the system does when memory runs out.
pub(super) fn kill_itself() {
    const SIGKILL: i32 = 9;
    // SAFETY: a plain system call without pointers.
    unsafe { raise(SIGKILL) };
}

/// Writes a frame of 4 GB and nonsense onto every descriptor that might be the host's line.
pub(super) fn write_over_the_line() {
    let nonsense = [0xff_u8; 64];
    for descriptor in 3..32 {
        // SAFETY: the pointer and the length are those of `nonsense`.
        unsafe { write(descriptor, nonsense.as_ptr().cast(), nonsense.len()) };
    }
}
